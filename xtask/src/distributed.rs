//! Training on several processes: one hash of weights for any number of them, a process that is
//! killed, one that is silent, and a network with delay and loss.
//!
//! It needs an MPI library with its compiler wrapper, and libclang, so it is not part of `check`.
//! What is missing is named, and nothing is installed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::{Result, process};

mod launch;
mod network;
mod scaling;

use launch::{Launcher, Output};

/// The page with the hashes.
const PAGE: &str = "docs/distributed-hashes.md";

/// The page with the speed.
const SPEED_PAGE: &str = "docs/distributed-speed.md";

/// The kernels, whose results differ in the last bits from those of other instruction sets.
const INSTRUCTIONS: (&str, &str) = ("DENDRA_SIMD", "portable");

/// The time after which a silent process is considered dead, in seconds.
const TIME_LIMIT: u64 = 3;

/// Which MPI to use, and what to do besides the tests.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The MPI library, where several are installed. Programs like mpirun.mpich are tried before
    /// mpirun.
    #[arg(long, value_enum, default_value = "openmpi")]
    mpi: Library,
    /// The profile of the program.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Write the pages docs/distributed-*.md instead of comparing or printing them.
    #[arg(long)]
    write: bool,
    /// Do only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// A part of the tests.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The hashes of the page.
    Hashes,
    /// A process that is killed, and one that is silent.
    Failures,
    /// Two hosts in network namespaces.
    Hosts,
    /// The speed of two processes of one thread and of one of two threads; only on request.
    Speed,
    /// Links and steps, and what follows for more machines; only on request. With --write it
    /// writes docs/distributed-speed.md, else it prints the page.
    Scaling,
}

/// An MPI library.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Library {
    Openmpi,
    Mpich,
}

/// The sizes of the runs whose hashes are compared, and of those that are interrupted.
const SHORT: [&str; 4] = ["--samples", "256", "--epochs", "2"];
const LONG: [&str; 4] = ["--samples", "256", "--epochs", "12"];

/// A run whose hash is compared, with its options.
const RUNS: [(&str, &[&str]); 4] = [
    ("8 shards", &[]),
    ("8 shards, synchronised batch normalisation", &["--sync-batch-norm"]),
    ("8 shards, gradients in bf16", &["--bf16"]),
    ("16 shards", &["--shards", "16"]),
];

/// Ways to do the work that must not change the weights.
const WAYS: [&[&str]; 3] =
    [&[], &["--shard-optimizer", "--threads", "1"], &["--no-overlap", "--threads", "3"]];

/// Builds the example with MPI, and runs it in all ways.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let launcher = Launcher::find(arguments.mpi)?;
    let program = build(root, &launcher, &arguments.profile, "digits")?;
    let does = |part| match arguments.only {
        Some(only) => only == part,
        None => !matches!(part, Part::Speed | Part::Scaling),
    };
    let work = launch::Folder::new()?;
    if does(Part::Hashes) {
        page(root, &hashes(&launcher, &program)?, arguments.write)?;
    }
    if does(Part::Failures) {
        let whole = alone(&launcher, &program, LONG)?;
        interrupted(&launcher, &program, work.path(), &whole, Fate::Killed)?;
        interrupted(&launcher, &program, work.path(), &whole, Fate::Stopped)?;
    }
    if does(Part::Hosts) {
        let expected = alone(&launcher, &program, SHORT)?;
        network::run(root, &launcher, &program, work.path(), &expected)?;
    }
    if does(Part::Speed) {
        speed(&launcher, &program)?;
    }
    if does(Part::Scaling) {
        let link = build(root, &launcher, &arguments.profile, "link")?;
        let page = scaling::page(&launcher, &program, &link)?;
        match arguments.write {
            true => write_page(root, SPEED_PAGE, &page)?,
            false => println!("\n{page}"),
        }
    }
    Ok(())
}

/// The hash of a run of one process.
fn alone(launcher: &Launcher, program: &Path, size: [&str; 4]) -> Result<String> {
    let mut command = launcher.command(1, program);
    command.args(size).arg("--quiet").env(INSTRUCTIONS.0, INSTRUCTIONS.1);
    hash_of(&launch::output(&mut command)?, 1)
}

fn build(root: &Path, launcher: &Launcher, profile: &str, example: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let folder = target.join(if matches!(profile, "dev" | "test") { "debug" } else { profile });
    // `mpi-sys` is not compiled again for another library.
    let linked = folder.join("mpi-library");
    if fs::read_to_string(&linked).ok().as_deref() != Some(launcher.library) {
        let mut clean = process::cargo(root);
        process::run(clean.args(["clean", "--package", "mpi-sys", "--profile", profile]))?;
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&linked, launcher.library))
            .map_err(|error| format!("{}: {error}", linked.display()))?;
    }
    let mut command = process::cargo(root);
    command.args(["build", "--package", "dendra-distributed", "--features", "mpi"]);
    command.args(["--example", example, "--profile", profile]).env("MPICC", &launcher.compiler);
    process::run(&mut command).map_err(|error| {
        format!(
            "{error}\nthe feature `mpi` needs the development files of the MPI library and \
             libclang (Debian: libopenmpi-dev or libmpich-dev, and libclang-dev)"
        )
    })?;
    Ok(folder.join("examples").join(example))
}

/// The hash of a run, which each of its processes printed.
fn hash_of(output: &Output, processes: usize) -> Result<String> {
    // Processes of another library than that of `mpirun` all are process 0 of 1.
    let ranks: BTreeSet<usize> = output.hashes().map(|(rank, _)| rank).collect();
    let distinct: BTreeSet<&str> = output.hashes().map(|(_, hash)| hash).collect();
    match (ranks.into_iter().eq(0..processes), distinct.first()) {
        (true, Some(hash)) if distinct.len() == 1 => Ok((*hash).to_owned()),
        _ => Err(format!("expected one hash from {processes} processes, got\n{}", output.text())),
    }
}

/// The hash of each run, which must be the same for all numbers of processes and ways.
fn hashes(launcher: &Launcher, program: &Path) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for (name, options) in RUNS {
        let mut expected = None;
        for processes in [1, 2, 4, 8] {
            for way in WAYS {
                let mut command = launcher.command(processes, program);
                command.args(SHORT).args(options).args(way).arg("--quiet");
                command.env(INSTRUCTIONS.0, INSTRUCTIONS.1);
                let hash = hash_of(&launch::output(&mut command)?, processes)?;
                let expected = expected.get_or_insert_with(|| hash.clone());
                if hash != *expected {
                    return Err(format!(
                        "{name}: {processes} processes {way:?} give {hash}, expected {expected}"
                    ));
                }
            }
        }
        let hash = expected.unwrap_or_default();
        println!("{name}: 1, 2, 4 and 8 processes give {hash}");
        found.push((name, hash));
    }
    Ok(found)
}

/// Writes the page, or compares it.
fn page(root: &Path, hashes: &[(&str, String)], write: bool) -> Result {
    let mut text = format!(
        "# Hashes of distributed runs\n\n\
         `cargo xtask distributed --write` writes this page; without `--write` it compares it.\n\
         It runs the example `digits` of `dendra-distributed` (convolution, batch normalisation,\n\
         dropout, augmentation; 2 epochs of 256 pictures in batches of 64) under `mpirun` with\n\
         1, 2, 4 and 8 processes, each with overlapped and with later communication, with a\n\
         whole and a divided state of the optimizer, and with 1, 3 and as many threads as there\n\
         are cores. All of these end with the same SHA-256 of the weights. The hashes are those\n\
         of `{}={}`.\n\n\
         | run | hash of the weights |\n|---|---|\n",
        INSTRUCTIONS.0, INSTRUCTIONS.1
    );
    for (name, hash) in hashes {
        let _ = writeln!(text, "| {name} | `{hash}` |");
    }
    let path = root.join(PAGE);
    if write {
        return write_page(root, PAGE, &text);
    }
    match fs::read_to_string(&path) {
        Ok(old) if old == text => Ok(()),
        Ok(_) => {
            Err(format!("{PAGE} has other hashes; `cargo xtask distributed --write` writes it"))
        }
        Err(error) => Err(format!("{PAGE}: {error}")),
    }
}

fn write_page(root: &Path, page: &str, text: &str) -> Result {
    fs::write(root.join(page), text).map_err(|error| format!("{page}: {error}"))
}

/// What happens to a process.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Killed,
    /// It stays, and does nothing any more.
    Stopped,
}

/// Ends process 2 of 4 in the middle, and resumes with two processes.
fn interrupted(
    launcher: &Launcher,
    program: &Path,
    work: &Path,
    expected: &str,
    fate: Fate,
) -> Result {
    let (signal, what) = match fate {
        Fate::Killed => ("-KILL", "killed"),
        Fate::Stopped => ("-STOP", "stopped"),
    };
    let folder = work.join(what);
    let checkpoint = folder.join("last.safetensors");
    let mut command = launcher.surviving(4, program);
    command.args(LONG).arg("--folder").arg(&folder);
    command.args(["--time-limit", &TIME_LIMIT.to_string()]);
    let mut running = launch::start(command.env(INSTRUCTIONS.0, INSTRUCTIONS.1))?;
    let victim = running.process_id(2)?;
    let patience = Instant::now();
    while !checkpoint.exists() && patience.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(5));
    }
    process::run(Command::new("kill").args([signal, &victim]))?;
    let start = Instant::now();
    if fate == Fate::Stopped {
        // `mpirun` waits for it when all others have ended.
        thread::sleep(Duration::from_secs(TIME_LIMIT + 4));
        process::run(Command::new("kill").args(["-KILL", &victim]))?;
    }
    let output = running.finish(Duration::from_secs(60))?;
    let seconds = start.elapsed().as_secs_f64();
    let named = [0, 1, 3].iter().filter(|rank| output.blames(**rank, 2)).count();
    println!(
        "process 2 of 4 {what}: the run ended after {seconds:.1} s, {named} processes named it"
    );
    if output.hashes().next().is_some() {
        return Err(format!("the run was complete before the process was {what}"));
    }
    // `mpirun` of MPICH ends all others at once when one is killed.
    let have_time = launcher.is_openmpi() || fate == Fate::Stopped;
    if have_time && named < 3 {
        return Err(format!("the three other processes must name it:\n{}", output.text()));
    }
    let mut command = launcher.command(2, program);
    command
        .args(LONG)
        .arg("--folder")
        .arg(&folder)
        .arg("--quiet")
        .env(INSTRUCTIONS.0, INSTRUCTIONS.1);
    let hash = hash_of(&launch::output(&mut command)?, 2)?;
    if hash != expected {
        return Err(format!("resumed after a process was {what}: {hash}, expected {expected}"));
    }
    println!("resumed with 2 processes: {hash}");
    Ok(())
}

/// Compares two processes of one thread with one of two threads, in turn.
fn speed(launcher: &Launcher, program: &Path) -> Result {
    // Network, pictures, epochs, batch sizes.
    let cases =
        [("mnist-cnn", "4096", "5", ["64", "256"]), ("resnet18", "256", "2", ["32", "128"])];
    for (network, samples, epochs, batches) in cases {
        for batch in batches {
            let options = ["--network", network, "--samples", samples, "--epochs", epochs];
            let runs: [(usize, &[&str]); 3] =
                [(1, &["--plain"]), (1, &["--shards", "2"]), (2, &["--shards", "2"])];
            let mut speeds = [const { Vec::new() }; 3];
            for _ in 0..3 {
                for (index, (processes, more)) in runs.iter().enumerate() {
                    let mut command = launcher.pinned(*processes, 2, program);
                    command.args(options).args(["--batch-size", batch]).args(*more).arg("--quiet");
                    speeds[index].push(launch::output(&mut command)?.speed()?);
                }
            }
            let [plain, one, two] = speeds.map(median);
            println!(
                "{network}, batch {batch}: {plain:.0} samples/s with two threads; 2 shards: \
                 {one:.0} in one process of two threads, {two:.0} in two of one thread ({:.0} % \
                 and {:.0} %)",
                100.0 * two / plain,
                100.0 * two / one,
            );
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
