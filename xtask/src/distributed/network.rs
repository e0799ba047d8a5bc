//! Two hosts in network namespaces, with a link that delays and loses packets, or fails.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::launch::{self, Launcher};
use super::{INSTRUCTIONS, TIME_LIMIT, hash_of};
use crate::{Result, process};

/// The hosts: namespace, network device and address.
const HOSTS: [[&str; 3]; 2] =
    [["dendra-host-1", "dendra1", "10.83.0.1"], ["dendra-host-2", "dendra2", "10.83.0.2"]];

/// What the link does to packets.
const LINKS: [&[&str]; 3] =
    [&["delay", "1ms"], &["delay", "5ms", "2ms", "loss", "1%"], &["rate", "100mbit"]];

/// The namespaces, which are removed in the end.
struct Hosts;

impl Hosts {
    fn new() -> Result<Self> {
        // What an interrupted run has left.
        drop(Self);
        let ip = |words: &str| {
            let mut command = Command::new("ip");
            process::run(command.args(words.split(' ')))
        };
        for [space, ..] in HOSTS {
            ip(&format!("netns add {space}"))?;
        }
        let hosts = Self;
        let [[first, device, _], [second, other, _]] = HOSTS;
        ip(&format!("link add {device} netns {first} type veth peer name {other} netns {second}"))?;
        for [space, device, address] in HOSTS {
            ip(&format!("-n {space} addr add {address}/24 dev {device}"))?;
            ip(&format!("-n {space} link set {device} up"))?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        Ok(hosts)
    }

    /// Sets what both ends of the link do.
    fn link(&self, does: &[&str]) -> Result {
        for [space, device, _] in HOSTS {
            let mut command = Command::new("tc");
            command.args(["-n", space, "qdisc", "replace", "dev", device, "root", "netem"]);
            process::run(command.args(does))?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for [space, ..] in HOSTS {
            let _ = Command::new("ip").args(["netns", "del", space]).output();
        }
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
pub(super) fn run(launcher: &Launcher, program: &Path, work: &Path, expected: &str) -> Result {
    if !launcher.is_openmpi() {
        println!("hosts in network namespaces are started only with Open MPI: left out");
        return Ok(());
    }
    for (name, package) in [("ip", "iproute2"), ("tc", "iproute2"), ("unshare", "util-linux")] {
        if Command::new(name).arg("-V").output().is_err() {
            return Err(format!("{name} is missing (Debian: {package})"));
        }
    }
    let hosts = Hosts::new().map_err(|error| {
        format!(
            "{error}\nhosts in network namespaces need the rights of root and the kernel's veth"
        )
    })?;
    for link in LINKS {
        hosts.link(link)?;
        let start = Instant::now();
        let output = launch::output(command(launcher, work, program)?.arg("--quiet"))?;
        let hash = hash_of(&output, 2)?;
        if hash != expected {
            return Err(format!("two hosts, {}: {hash}, expected {expected}", link.join(" ")));
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("two hosts, {}: the same hash, {seconds:.1} s", link.join(" "));
    }
    cut(launcher, program, work, &hosts)
}

/// Cuts the link in the middle of a run: both processes name the other one.
fn cut(launcher: &Launcher, program: &Path, work: &Path, hosts: &Hosts) -> Result {
    hosts.link(&["delay", "5ms"])?;
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
    hosts.link(&["loss", "100%"])?;
    thread::sleep(Duration::from_secs(TIME_LIMIT + 3));
    // What the second host prints comes over the same link.
    hosts.link(&["delay", "1ms"])?;
    let output = running.finish(Duration::from_secs(60))?;
    if !output.blames(0, 1) {
        return Err(format!("process 0 must name process 1:\n{}", output.text()));
    }
    println!("link cut: process 0 named process 1");
    Ok(())
}
