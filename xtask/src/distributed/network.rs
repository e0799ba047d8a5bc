//! Two hosts in network namespaces, with a link that delays and loses packets, or is cut.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::launch::{self, Launcher};
use super::{INSTRUCTIONS, SHORT, TIME_LIMIT, hash_of};
use crate::{Result, process};

/// The hosts: namespace, network device and address.
const HOSTS: [[&str; 3]; 2] =
    [["dendra-host-1", "dendra1", "10.83.0.1"], ["dendra-host-2", "dendra2", "10.83.0.2"]];

/// What the link does to packets: their delay in milliseconds, and how many of a hundred it loses.
const LINKS: [[&str; 2]; 2] = [["1", "0"], ["5", "1"]];

/// The program of the link, which takes no module of the kernel except TUN.
const LINK: &str = "xtask/src/distributed/link.py";

/// The hosts, and the program that carries packets between them. They are removed in the end.
struct Hosts(Child);

fn remove_spaces() {
    for [space, ..] in HOSTS {
        let _ = Command::new("ip").args(["netns", "del", space]).output();
    }
}

impl Hosts {
    fn new(root: &Path, link: [&str; 2]) -> Result<Self> {
        // What an interrupted run has left.
        remove_spaces();
        for [space, ..] in HOSTS {
            process::run(Command::new("ip").args(["netns", "add", space]))?;
        }
        let mut command = Command::new("python3");
        command.arg(root.join(LINK)).args(HOSTS.as_flattened()).args(link);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            remove_spaces();
            format!("python3 is missing: {error}")
        })?;
        let mut ready = String::new();
        let stdout = child.stdout.take().map(BufReader::new);
        stdout.map(|mut lines| lines.read_line(&mut ready));
        let hosts = Self(child);
        match ready.trim() {
            "ready" => Ok(hosts),
            _ => Err("the link between two hosts cannot be made".to_owned()),
        }
    }

    /// Lets no packet through any more.
    fn cut(&self) -> Result {
        process::run(Command::new("kill").args(["-STOP", &self.0.id().to_string()]))
    }

    fn mend(&self) -> Result {
        process::run(Command::new("kill").args(["-CONT", &self.0.id().to_string()]))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        remove_spaces();
    }
}

/// `mpirun` with a process on each host. Its agent, which is otherwise ssh, enters the namespace
/// of a host; a host has a name of its own.
fn command(launcher: &Launcher, work: &Path, program: &Path) -> Result<Command> {
    let agent = work.join("agent");
    let [[first, _, _], [second, _, address]] = HOSTS;
    let text = format!(
        "#!/bin/sh\nhost=$1\nshift\ncase $host in {address}) space={second} ;; *) space={first} ;; \
         esac\nexec ip netns exec $space unshare --uts sh -c \"hostname $space; $*\"\n"
    );
    fs::write(&agent, text).map_err(|error| format!("{}: {error}", agent.display()))?;
    process::run(Command::new("chmod").arg("+x").arg(&agent))?;
    let mut mpirun = launcher.mpirun();
    let net = "10.83.0.0/24";
    mpirun.args(["--enable-recovery", "--bind-to", "none"]);
    mpirun.args(["--host", &format!("{}:1,{address}:1", HOSTS[0][2]), "-n", "2"]);
    mpirun.arg("--mca").arg("plm_rsh_agent").arg(&agent);
    for (name, value) in
        [("btl", "self,tcp"), ("btl_tcp_if_include", net), ("oob_tcp_if_include", net)]
    {
        mpirun.args(["--mca", name, value]);
    }
    mpirun.args(["-x", &format!("{}={}", INSTRUCTIONS.0, INSTRUCTIONS.1)]).arg(program);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", first, "unshare", "--uts", "sh", "-c"]);
    command.arg(format!("hostname {first}; exec \"$@\"")).arg("sh").arg(mpirun.get_program());
    command.args(mpirun.get_args());
    Ok(command)
}

/// Runs on two hosts with each kind of link, then cuts the link.
pub(super) fn run(
    root: &Path,
    launcher: &Launcher,
    program: &Path,
    work: &Path,
    expected: &str,
) -> Result {
    if !launcher.is_openmpi() {
        println!("hosts in network namespaces are started only with Open MPI: left out");
        return Ok(());
    }
    for (name, package) in [("ip", "iproute2"), ("unshare", "util-linux"), ("python3", "python3")] {
        if Command::new(name).arg("-V").output().is_err() {
            return Err(format!("{name} is missing (Debian: {package})"));
        }
    }
    let hosts = |link| {
        Hosts::new(root, link).map_err(|error| {
            format!("{error}\nhosts in network namespaces need the rights of root and /dev/net/tun")
        })
    };
    for link in LINKS {
        let [delay, lost] = link;
        let name = format!("two hosts, {delay} ms and {lost} % of packets lost");
        let _hosts = hosts(link)?;
        let start = Instant::now();
        let output = launch::output(command(launcher, work, program)?.args(SHORT).arg("--quiet"))?;
        let hash = hash_of(&output, 2)?;
        if hash != expected {
            return Err(format!("{name}: {hash}, expected {expected}"));
        }
        println!("{name}: the same hash, {:.1} s", start.elapsed().as_secs_f64());
    }
    cut(launcher, program, work, &hosts(["1", "0"])?)
}

/// Cuts the link in the middle of a run: both processes name the other one.
fn cut(launcher: &Launcher, program: &Path, work: &Path, hosts: &Hosts) -> Result {
    let folder = work.join("cut");
    let mut command = command(launcher, work, program)?;
    command.arg("--folder").arg(&folder).args(["--time-limit", &TIME_LIMIT.to_string()]);
    let mut running = launch::start(command.args(["--epochs", "50"]))?;
    running.process_id(1)?;
    let patience = Instant::now();
    while !folder.join("last.safetensors").exists() && patience.elapsed() < Duration::from_secs(60)
    {
        thread::sleep(Duration::from_millis(20));
    }
    hosts.cut()?;
    // What the second host prints comes over the same link.
    thread::sleep(Duration::from_secs(TIME_LIMIT + 1));
    hosts.mend()?;
    let output = running.finish(Duration::from_secs(60))?;
    if !(output.blames(0, 1) && output.blames(1, 0)) {
        return Err(format!("each process must name the other one:\n{}", output.text()));
    }
    println!("link cut: each process named the other one");
    Ok(())
}
