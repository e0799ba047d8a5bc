//! Groups `kernels`, `sequence` and `data`: single operations, layers of sequences, and transforms
//! and loaders. For this library they are measured by criterion.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Figures, Group, Measurement, Row, Setting, Work, rows};
use crate::{Result, process};

/// Measures each case with this library and immediately afterwards with each other framework,
/// because the machine's speed may change within minutes.
pub(super) fn measure(group: Group, setting: &Setting<'_>) -> Result<Vec<Row>> {
    let arguments = ["--list", "--format", "terse"];
    let list = process::output(criterion(group, setting).args(arguments))?;
    let mut measured = Vec::new();
    for case in cases(&list, setting.filter) {
        eprintln!("{group}: {case}");
        let ours = ours(group, case, setting)?;
        let theirs: Vec<_> = setting
            .peers
            .iter()
            .flat_map(|peer| {
                let times = peer.try_run(group, &[case], None, setting);
                times.into_iter().map(|(_, figures)| (peer.name, figures))
            })
            .collect();
        measured.extend(rows(group, ours, &theirs));
    }
    Ok(measured)
}

/// The names of a list in criterion's terse format that contain `filter`.
fn cases<'a>(list: &'a str, filter: &str) -> Vec<&'a str> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": benchmark"));
    names.filter(|name| name.contains(filter)).collect()
}

/// The command that runs this library's benchmark program for a group.
fn criterion(group: Group, setting: &Setting<'_>) -> Command {
    let mut command = process::cargo(setting.root);
    command.args(["bench", "--quiet", "--package", "dendra-bench", "--bench"]);
    command.args([&group.to_string(), "--"]);
    command.env("CRITERION_HOME", home(setting.root));
    command.env("RAYON_NUM_THREADS", setting.threads.to_string());
    command
}

/// The folder of criterion's results.
fn home(root: &Path) -> PathBuf {
    root.join("target/criterion")
}

fn ours(group: Group, case: &str, setting: &Setting<'_>) -> Result<Measurement> {
    let result = home(setting.root).join(case).join("new");
    // The results of an earlier run must not be taken for those of this one.
    match fs::remove_dir_all(&result) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("cannot remove {}: {error}", result.display()));
        }
        _ => {}
    }
    // A case's name contains no special character of regular expressions.
    let filter = format!("^{case}$");
    // Criterion's output goes to standard error; standard output is for the table.
    process::run(criterion(group, setting).arg(filter).stdout(Stdio::from(io::stderr())))?;
    measurement(&json(&result, "benchmark.json")?, &json(&result, "estimates.json")?)
        .filter(|ours| ours.case == case)
        .ok_or_else(|| format!("{}: unexpected format of criterion's results", result.display()))
}

fn json(folder: &Path, file: &str) -> Result<Value> {
    let path = folder.join(file);
    let failure = |error: String| format!("cannot read {}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| failure(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failure(error.to_string()))
}

/// The median time of a call, and the work that the benchmark declares as its throughput.
fn measurement(benchmark: &Value, estimates: &Value) -> Option<Measurement> {
    let throughput = &benchmark["throughput"];
    let work = match (throughput["Elements"].as_f64(), throughput["Bytes"].as_f64()) {
        (Some(operations), _) => Some(Work::Operations(operations)),
        (None, Some(bytes)) => Some(Work::Bytes(bytes)),
        (None, None) => None,
    };
    let seconds = estimates["median"]["point_estimate"].as_f64()? * 1e-9;
    Some(Measurement {
        case: benchmark["full_id"].as_str()?.to_owned(),
        figures: Figures { seconds, memory: None },
        work,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_is_read_and_filtered() {
        let list = "matmul/2x3x4: benchmark\nrelu/10: benchmark\n\n2 benchmarks\n";
        assert_eq!(cases(list, ""), ["matmul/2x3x4", "relu/10"]);
        assert_eq!(cases(list, "relu"), ["relu/10"]);
    }

    #[test]
    fn a_result_is_read_in_seconds_with_its_work() {
        let benchmark = json!({"full_id": "relu/10", "throughput": {"Bytes": 80}});
        let estimates = json!({"median": {"point_estimate": 25.0}});
        let ours = measurement(&benchmark, &estimates).unwrap();
        assert_eq!(ours.case, "relu/10");
        assert!((ours.figures.seconds - 25e-9).abs() < 1e-18);
        assert!(matches!(ours.work, Some(Work::Bytes(80.0))));
        assert!(measurement(&benchmark, &json!({})).is_none());
    }
}
