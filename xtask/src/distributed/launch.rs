//! Starting processes with `mpirun`, and reading what they print.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Library;
use crate::{Result, process};

/// The programs of an MPI library.
pub(super) struct Launcher {
    mpirun: String,
    pub(super) compiler: String,
    /// The name of the library.
    pub(super) library: &'static str,
    is_openmpi: bool,
}

impl Launcher {
    pub(super) fn find(library: Library) -> Result<Self> {
        let suffix = match library {
            Library::Openmpi => "openmpi",
            Library::Mpich => "mpich",
        };
        for end in [format!(".{suffix}"), String::new()] {
            let (mpirun, compiler) = (format!("mpirun{end}"), format!("mpicc{end}"));
            let Ok(output) = Command::new(&mpirun).arg("--version").output() else { continue };
            let is_openmpi = String::from_utf8_lossy(&output.stdout).contains("Open MPI");
            if is_openmpi != (library == Library::Openmpi) {
                continue;
            }
            if Command::new(&compiler).arg("--version").output().is_err() {
                return Err(format!(
                    "{compiler} is missing: install the development files of the MPI library \
                     (Debian: lib{suffix}-dev)"
                ));
            }
            return Ok(Self { mpirun, compiler, library: suffix, is_openmpi });
        }
        Err(format!("mpirun of {suffix} is missing (Debian: openmpi-bin or mpich)"))
    }

    pub(super) fn is_openmpi(&self) -> bool {
        self.is_openmpi
    }

    /// `mpirun` without the number of processes.
    pub(super) fn mpirun(&self) -> Command {
        let mut command = Command::new(&self.mpirun);
        if self.is_openmpi {
            command.args(["--allow-run-as-root", "--oversubscribe"]);
        }
        command
    }

    /// A program on this many processes, each of which may use all cores.
    pub(super) fn command(&self, processes: usize, program: &Path) -> Command {
        let mut command = self.mpirun();
        if self.is_openmpi {
            command.args(["--bind-to", "none"]);
        }
        command.args(["-n", &processes.to_string()]).arg(program);
        command
    }

    /// The same, where the death of one process does not end the others at once.
    pub(super) fn surviving(&self, processes: usize, program: &Path) -> Command {
        let mut command = self.mpirun();
        match self.is_openmpi {
            true => command.args(["--bind-to", "none", "--enable-recovery"]),
            false => command.arg("-disable-auto-cleanup"),
        };
        command.args(["-n", &processes.to_string()]).arg(program);
        command
    }

    /// A program on processes that divide this many cores among themselves.
    pub(super) fn pinned(&self, processes: usize, cores: usize, program: &Path) -> Command {
        let mut command = self.mpirun();
        let each = (cores / processes).max(1);
        match self.is_openmpi {
            true => command.args(["--map-by", &format!("slot:PE={each}"), "--bind-to", "core"]),
            false => command.args(["-bind-to", &format!("core:{each}")]),
        };
        command.args(["-n", &processes.to_string()]).arg(program);
        command
    }
}

/// What the processes printed, line by line.
pub(super) struct Output(Vec<String>);

/// The number of the process in a line, and what follows it.
fn hash_in(line: &str) -> Option<(usize, &str)> {
    let (rank, hash) = line.strip_prefix("process ")?.split_once(": ")?;
    Some((rank.parse().ok()?, hash))
}

impl Output {
    /// The processes that printed a hash, with it.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (usize, &str)> {
        let hashes = self.0.iter().filter_map(|line| hash_in(line));
        hashes.filter(|(_, hash)| {
            hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// Whether process `rank` named `dead` as the reason of its end.
    pub(super) fn blames(&self, rank: usize, dead: usize) -> bool {
        let (own, other) = (format!("process {rank} of "), format!("process {dead} "));
        self.0.iter().any(|line| line.starts_with(&own) && line.contains(&other))
    }

    /// The samples in a second.
    pub(super) fn speed(&self) -> Result<f64> {
        self.number("processes: ")
    }

    /// The number that follows a name.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        let of = |line: &String| line.split_once(name)?.1.split(' ').next()?.parse().ok();
        self.0.iter().find_map(of).ok_or_else(|| format!("no `{name}` in\n{}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        self.0.join("\n")
    }
}

/// Processes that run.
pub(super) struct Running {
    child: Child,
    lines: Receiver<String>,
    output: Output,
}

/// Starts a command and reads its output.
pub(super) fn start(command: &mut Command) -> Result<Running> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = process::display(command);
    let mut child = command.spawn().map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    let (sender, lines) = channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(|line| line.ok()) {
                let _ = sender.send(line);
            }
        });
    }
    Ok(Running { child, lines, output: Output(Vec::new()) })
}

/// Runs a command that must succeed.
pub(super) fn output(command: &mut Command) -> Result<Output> {
    let shown = process::display(command);
    let mut running = start(command)?;
    let status = running.child.wait().map_err(|error| format!("`{shown}`: {error}"))?;
    running.output.0.extend(running.lines.iter());
    match status.success() {
        true => Ok(running.output),
        false => Err(format!("`{shown}` failed ({status}):\n{}", running.output.text())),
    }
}

impl Running {
    /// The process id of a rank, which the program prints first.
    pub(super) fn process_id(&mut self, rank: usize) -> Result<String> {
        let start = format!("process {rank} of ");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|_| {
                format!("process {rank} did not print its id:\n{}", self.output.text())
            })?;
            let id = line.strip_prefix(&start).and_then(|rest| rest.rsplit_once("process id "));
            let id = id.map(|(_, id)| id.to_owned());
            self.output.0.push(line);
            if let Some(id) = id {
                return Ok(id);
            }
        }
    }

    /// Waits for the end; what does not end in time is killed, which is an error.
    pub(super) fn finish(mut self, limit: Duration) -> Result<Output> {
        let start = Instant::now();
        loop {
            self.output.0.extend(self.lines.try_iter());
            if self.child.try_wait().map_err(|error| error.to_string())?.is_some() {
                // What was printed last may still be on its way.
                thread::sleep(Duration::from_millis(200));
                self.output.0.extend(self.lines.try_iter());
                return Ok(self.output);
            }
            if start.elapsed() > limit {
                let _ = self.child.kill();
                return Err(format!("the run did not end:\n{}", self.output.text()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A folder that is removed in the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("dendra-distributed-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash_of;
    use super::Output;

    fn printed(ranks: [usize; 2]) -> Output {
        let hash = "0123456789abcdef".repeat(4);
        Output(ranks.iter().map(|rank| format!("process {rank}: {hash}")).collect())
    }

    #[test]
    fn a_run_has_a_hash_when_each_of_its_processes_printed_it() {
        assert!(hash_of(&printed([1, 0]), 2).is_ok());
        assert!(hash_of(&printed([0, 0]), 2).is_err());
        assert!(hash_of(&printed([0, 1]), 3).is_err());
    }
}
