//! Group `networks`: steps of whole networks, with one thread and with all requested threads.

use std::path::Path;

use super::peers::results;
use super::{Figures, Group, Measurement, Row, Setting, rows};
use crate::{Result, process};

/// The number of rounds in which each framework runs a case; the fastest counts.
const ROUNDS: usize = 2;

/// Measures each case with this library and then with each other framework, in several rounds.
pub(super) fn measure(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let names = process::output(ours(setting.root).arg("list"))?;
    let mut threads = vec![1, setting.threads];
    threads.dedup();
    let mut measured = Vec::new();
    let mut latencies = Vec::new();
    for name in names.lines().filter(|name| name.contains(setting.filter)) {
        for &threads in &threads {
            let case = format!("{name},threads={threads}");
            eprintln!("networks: {case}");
            let setting = Setting { threads, ..*setting };
            latencies.push(run(setting.root, "latency", 2)?.seconds);
            let mut figures = run(setting.root, name, threads)?;
            let mut theirs: Vec<(&'static str, Figures)> = Vec::new();
            for round in 0..ROUNDS {
                if round > 0 {
                    figures = best(figures, run(setting.root, name, threads)?);
                }
                for peer in setting.peers {
                    for (_, figures) in peer.try_run(Group::Networks, &[name], None, &setting) {
                        match theirs.iter_mut().find(|(name, _)| *name == peer.name) {
                            Some((_, known)) => *known = best(*known, figures),
                            None => theirs.push((peer.name, figures)),
                        }
                    }
                }
            }
            for (name, theirs) in &theirs {
                let ratio = theirs.seconds / figures.seconds;
                eprintln!("  {} s, {name} {} s, ratio {ratio:.2}", figures.seconds, theirs.seconds);
            }
            let ours = Measurement { case, figures, work: None };
            measured.extend(rows(Group::Networks, ours, &theirs));
        }
    }
    latencies.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (latencies.first(), latencies.last()) {
        eprintln!("a cache line took {:.0} to {:.0} ns from core to core", least * 1e9, most * 1e9);
    }
    Ok(measured)
}

/// The smaller of two measurements of the same quantity.
fn best(a: Figures, b: Figures) -> Figures {
    let memory = a.memory.into_iter().chain(b.memory).reduce(f64::min);
    Figures { seconds: a.seconds.min(b.seconds), memory }
}

/// The result of this library's program for a case.
fn run(root: &Path, name: &str, threads: usize) -> Result<Figures> {
    let mut command = ours(root);
    command.arg(name).env("RAYON_NUM_THREADS", threads.to_string());
    let found = results(&process::output(&mut command)?)?;
    found.first().map(|&(_, figures)| figures).ok_or_else(|| format!("{name}: no result"))
}

fn ours(root: &Path) -> std::process::Command {
    let mut command = process::cargo(root);
    command.args(["run", "--quiet", "--release", "--package", "dendra-bench", "--bin", "networks"]);
    command.arg("--");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_two_has_the_smaller_of_each_figure() {
        let figures = |seconds, memory| Figures { seconds, memory };
        let (a, b) = (figures(2.0, Some(3.0)), figures(1.0, Some(4.0)));
        assert_eq!(best(a, b), figures(1.0, Some(3.0)));
        assert_eq!(best(a, figures(5.0, None)), a);
    }
}
