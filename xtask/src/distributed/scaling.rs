//! How far distributed training scales: the links of this machine and the steps of networks,
//! measured, and a model of a step on more machines.

use std::fmt::Write;
use std::path::Path;

use super::launch::{self, Launcher};
use super::median;
use crate::Result;

/// A way between processes.
struct Link {
    name: String,
    /// The seconds of a short message.
    latency: f64,
    /// The bytes in a second, each way.
    bandwidth: f64,
}

/// A network on one machine.
struct Network {
    name: &'static str,
    batch: f64,
    /// The bytes of its gradients.
    bytes: f64,
    /// The seconds of a step of one process with all cores.
    step: f64,
    /// The same for two shards in one process of one thread, and on two processes of one thread.
    divided: [f64; 2],
}

/// The numbers of machines of the table.
const MACHINES: [u32; 5] = [2, 8, 32, 128, 512];

/// The bytes of a group of gradients that are sent together.
const GROUP: f64 = (1 << 20) as f64;

/// Links that machines have, with the latency of TCP and of faster networks.
const COMMON: [(&str, f64, f64); 3] =
    [("1 Gbit/s", 50e-6, 118e6), ("10 Gbit/s", 50e-6, 1_180e6), ("100 Gbit/s", 5e-6, 11_800e6)];

/// The networks with the number of pictures, of epochs, and the size of a batch on each machine.
const NETWORKS: [(&str, &str, &str, u32); 2] =
    [("mnist-cnn", "8192", "3", 256), ("resnet18", "384", "3", 64)];

impl Network {
    /// The seconds of the communication of a step of this many processes, if none of it is hidden
    /// behind the computation.
    fn communication(&self, link: &Link, processes: u32) -> f64 {
        let (processes, levels) = (f64::from(processes), f64::from(processes.ilog2()));
        let groups = (self.bytes / GROUP).ceil();
        let values = 2.0 * self.bytes * (processes - 1.0) / processes / link.bandwidth;
        // Each group goes there and back, and the report of a step once.
        values + (2.0 * groups + 1.0) * levels * link.latency
    }

    /// The samples in which a machine's computation takes nine times as long as the communication
    /// of `processes`.
    fn batch_for_nine_tenths(&self, link: &Link, processes: u32) -> f64 {
        9.0 * self.communication(link, processes) / (self.step / self.batch)
    }
}

/// Measures links and networks, and returns the page.
pub(super) fn page(launcher: &Launcher, digits: &Path, program: &Path) -> Result<String> {
    let mut links = Vec::new();
    let ways: &[(&str, &[&str])] = match launcher.is_openmpi() {
        true => &[
            ("shared memory", &["--mca", "btl", "self,vader"]),
            ("TCP on this machine", &["--mca", "btl", "self,tcp"]),
        ],
        false => &[("shared memory", &[])],
    };
    for (name, options) in ways {
        let mut command = launcher.mpirun();
        command.args(*options).args(["-n", "2"]).arg(program);
        let output = launch::output(&mut command)?;
        let (latency, bandwidth) = (output.number("latency ")?, output.number("bandwidth ")?);
        println!("{name}: {:.1} µs, {:.0} MB/s", 1e6 * latency, 1e-6 * bandwidth);
        links.push(Link { name: (*name).to_owned(), latency, bandwidth });
    }
    let networks = NETWORKS.map(|network| measure(launcher, digits, network));
    let networks = networks.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(written(&links, &networks))
}

fn measure(
    launcher: &Launcher,
    program: &Path,
    (name, samples, epochs, batch): (&'static str, &str, &str, u32),
) -> Result<Network> {
    let ways: [(usize, usize, &[&str]); 3] =
        [(1, 2, &["--plain"]), (1, 1, &["--shards", "2"]), (2, 2, &["--shards", "2"])];
    let (mut steps, mut parameters) = ([const { Vec::new() }; 3], 0.0);
    for _ in 0..3 {
        for ((processes, cores, options), steps) in ways.iter().zip(&mut steps) {
            let mut command = launcher.pinned(*processes, *cores, program);
            command.args(["--network", name, "--samples", samples, "--epochs", epochs, "--quiet"]);
            command.args(["--batch-size", &batch.to_string()]).args(*options);
            let output = launch::output(&mut command)?;
            steps.push(f64::from(batch) / output.speed()?);
            parameters = output.number("parameters: ")?;
        }
    }
    let [step, one, two] = steps.map(median);
    println!("{name}: {:.1} ms for {batch} samples", 1e3 * step);
    let (bytes, batch) = (4.0 * parameters, f64::from(batch));
    Ok(Network { name, batch, bytes, step, divided: [one, two] })
}

fn written(measured: &[Link], networks: &[Network]) -> String {
    let mut text = String::from(
        "# The speed of distributed runs\n\n\
         `cargo xtask distributed --only scaling --write` measures and writes this page. Each\n\
         measured number is the median of several, on the two cores of one machine.\n\n\
         ## Measured\n\n\
         The time of a short message, and the bytes that two processes send each other at the\n\
         same time in pieces of a megabyte, through all layers of `dendra-distributed`:\n\n\
         | link | latency | bandwidth each way |\n|---|---:|---:|\n",
    );
    for Link { name, latency, bandwidth } in measured {
        let _ =
            writeln!(text, "| {name} | {:.1} µs | {:.0} MB/s |", 1e6 * latency, 1e-6 * bandwidth);
    }
    text.push_str(
        "\nSteps, in milliseconds. The model adds the communication over shared memory to half\n\
         of the time that one thread takes for both shards, without anything hidden:\n\n\
         | network | bytes of gradients | samples | one process, two threads | two shards in one \
         process, one thread | two processes of one thread | by the model |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for network in networks {
        let Network { name, batch, bytes, step, divided: [one, two] } = network;
        let model =
            measured.first().map_or(f64::NAN, |link| one / 2.0 + network.communication(link, 2));
        let _ = writeln!(
            text,
            "| `{name}` | {:.1} MB | {batch} | {:.1} | {:.1} | {:.1} | {:.1} |",
            1e-6 * bytes,
            1e3 * step,
            1e3 * one,
            1e3 * two,
            1e3 * model,
        );
    }
    let links =
        COMMON.map(|(name, latency, bandwidth)| Link { name: name.to_owned(), latency, bandwidth });
    text.push_str(
        "\n## Computed\n\n\
         The communication of a step in milliseconds by the model of\n\
         [distributed.md](distributed.md#how-far-it-scales), with nothing hidden. The latency is\n\
         50 µs for 1 and 10 Gbit/s, and 5 µs for 100 Gbit/s; the bandwidth is that of the link\n\
         without its overhead.\n\n\
         | network | link | P = 2 | 8 | 32 | 128 | 512 |\n|---|---|---:|---:|---:|---:|---:|\n",
    );
    table(&mut text, networks, &links, |network, link, machines| {
        format!("{:.1}", 1e3 * network.communication(link, machines))
    });
    text.push_str(
        "\nThe samples that each machine needs in a step so that communication is a tenth of it,\n\
         if a machine is as fast as this one:\n\n\
         | network | link | P = 2 | 8 | 32 | 128 | 512 |\n|---|---|---:|---:|---:|---:|---:|\n",
    );
    table(&mut text, networks, &links, |network, link, machines| {
        format!("{:.0}", network.batch_for_nine_tenths(link, machines).ceil())
    });
    text
}

fn table(
    text: &mut String,
    networks: &[Network],
    links: &[Link],
    cell: impl Fn(&Network, &Link, u32) -> String,
) {
    for network in networks {
        for link in links {
            let cells = MACHINES.map(|machines| cell(network, link, machines)).join(" | ");
            let _ = writeln!(text, "| `{}` | {} | {cells} |", network.name, link.name);
        }
    }
}
