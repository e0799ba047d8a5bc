//! `cargo xtask bench`: the speed of this library, and that of other frameworks on the same machine
//! in the same run.
//!
//! Absolute times vary on shared machines. So each case runs with all frameworks in turn, with the
//! same number of threads, and the ratio of the times is the result.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Args, ValueEnum};

mod build;
mod classic;
mod kernels;
mod networks;
mod peers;
mod report;

use crate::Result;
use peers::Peer;
pub(crate) use peers::python_for;

/// The cases to measure, and the file for the results.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What to measure; everything but the builds unless given.
    group: Option<Group>,
    /// Run PyTorch and Keras in turn with ours, from DENDRA_PEER_PYTHON or the Python on the PATH.
    #[arg(long)]
    peers: bool,
    /// Write the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The number of threads that each framework may use; all by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Measure only the cases whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Training runs: seconds for an epoch, loader included.
    Classic,
    /// Single operations: seconds for a call.
    Kernels,
    /// Layers of sequences, forward and backward: seconds for a call.
    Sequence,
    /// Whole networks: seconds for a step, with one thread and with all.
    Networks,
    /// Transforms and loaders: seconds for a batch, or for an epoch.
    Data,
    /// Builds from nothing: seconds of processor time.
    Build,
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Classic => "classic",
            Self::Kernels => "kernels",
            Self::Sequence => "sequence",
            Self::Networks => "networks",
            Self::Data => "data",
            Self::Build => "build",
        })
    }
}

/// The settings that a group needs to run.
struct Setting<'a> {
    root: &'a Path,
    threads: usize,
    filter: &'a str,
    peers: &'a [Peer],
}

/// The measurements of one framework for a case.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    seconds: f64,
    /// The largest resident memory of the process in bytes, if it reports it.
    memory: Option<f64>,
}

/// One case, measured with this library.
struct Measurement {
    case: String,
    figures: Figures,
    /// The work per call, where it is more informative than the time.
    work: Option<Work>,
}

/// The amount of work of one call.
#[derive(Clone, Copy)]
enum Work {
    /// Floating-point operations.
    Operations(f64),
    /// Bytes read and written.
    Bytes(f64),
}

/// One row of the results: a case with one peer, or alone.
struct Row {
    group: Group,
    case: String,
    figures: Figures,
    work: Option<Work>,
    /// The name of the other framework, and its measurements.
    peer: Option<(&'static str, Figures)>,
}

impl Row {
    /// The other framework's time divided by that of this library.
    fn ratio(&self) -> Option<f64> {
        self.peer.map(|(_, figures)| figures.seconds / self.figures.seconds)
    }
}

/// One row for each peer that ran the case, or one row without a peer.
fn rows(group: Group, ours: Measurement, theirs: &[(&'static str, Figures)]) -> Vec<Row> {
    let Measurement { case, figures, work } = ours;
    let row = |peer| Row { group, case: case.clone(), figures, work, peer };
    if theirs.is_empty() {
        return vec![row(None)];
    }
    theirs.iter().map(|&peer| row(Some(peer))).collect()
}

/// Measures, prints a table, and writes the file if requested.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    if let Some(Group::Build) = arguments.group {
        return build::run(root, arguments.peers, &arguments.filter);
    }
    let threads = match arguments.threads {
        Some(0) => return Err("--threads: at least 1".to_owned()),
        Some(count) => count,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    if let Some(load) = load()
        && load > 1.0
    {
        eprintln!("note: this machine is busy (load {load}); repeat this when it is quiet");
    }
    let peers = if arguments.peers { peers::find(root) } else { Vec::new() };
    let setting = Setting { root, threads, filter: &arguments.filter, peers: &peers };
    let mut rows = Vec::new();
    for &group in Group::value_variants() {
        if arguments.group.is_none_or(|wanted| wanted == group) {
            rows.extend(match group {
                Group::Classic => classic::measure(&setting)?,
                Group::Kernels | Group::Sequence | Group::Data => {
                    kernels::measure(group, &setting)?
                }
                Group::Networks => networks::measure(&setting)?,
                Group::Build => Vec::new(),
            });
        }
    }
    if rows.is_empty() {
        return Err(format!("no case contains {:?}", arguments.filter));
    }
    println!("{}\n\n{}", report::setting(threads, &peers), report::table(&rows));
    match &arguments.json {
        Some(path) => report::write(path, &rows),
        None => Ok(()),
    }
}

/// The load average of the last minute, if the system reports it.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_a_row_beside_each_peer_or_one_alone() {
        let figures = |seconds| Figures { seconds, memory: None };
        let ours = || Measurement { case: "a".to_owned(), figures: figures(0.5), work: None };
        let alone = rows(Group::Classic, ours(), &[]);
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].ratio(), None);
        let beside =
            rows(Group::Classic, ours(), &[("pytorch", figures(4.0)), ("keras", figures(1.0))]);
        let ratios: Vec<_> = beside.iter().map(Row::ratio).collect();
        assert_eq!(ratios, [Some(8.0), Some(2.0)]);
    }
}
