//! Groups `kernels`, `sequence` and `data`: single operations, layers of sequences, and transforms
//! and loaders, measured by criterion on our side.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Group, Measurement, Row, Setting, Work, rows};
use crate::{Result, process};

/// Measures each operation: all its cases on our side, then on each peer's.
pub(super) fn measure(group: Group, setting: &Setting<'_>) -> Result<Vec<Row>> {
    let arguments = ["--list", "--format", "terse"];
    let list = process::output(criterion(group, setting).args(arguments))?;
    let cases = cases(&list, setting.filter);
    let mut measured = Vec::new();
    for cases in cases.chunk_by(|a, b| operation(a) == operation(b)) {
        eprintln!("{group}: {}", operation(cases[0]));
        let mut ours = ours(group, cases, setting)?;
        let theirs: Vec<_> = setting
            .peers
            .iter()
            .flat_map(|peer| {
                let times = peer.try_run(group, cases, None, setting);
                times.into_iter().map(|(case, seconds)| (case, (peer.name, seconds)))
            })
            .collect();
        for case in cases {
            let beside = theirs.iter().filter(|(name, _)| name == case);
            let beside: Vec<_> = beside.map(|(_, peer)| *peer).collect();
            let ours = ours.remove(*case).ok_or_else(|| format!("criterion left out {case}"))?;
            measured.extend(rows(group, ours, &beside));
        }
    }
    Ok(measured)
}

/// The benchmarks of a list in criterion's terse format, those that contain `filter`.
fn cases<'a>(list: &'a str, filter: &str) -> Vec<&'a str> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": benchmark"));
    names.filter(|name| name.contains(filter)).collect()
}

/// The part of a case's name before the shape.
fn operation(case: &str) -> &str {
    case.split('/').next().unwrap_or(case)
}

/// Our benchmark program of a group's name, under cargo.
fn criterion(group: Group, setting: &Setting<'_>) -> Command {
    let mut command = process::cargo(setting.root);
    command.args(["bench", "--quiet", "--package", "dendra-bench", "--bench"]);
    command.args([&group.to_string(), "--"]);
    command.env("CRITERION_HOME", home(setting.root));
    command.env("RAYON_NUM_THREADS", setting.threads.to_string());
    command
}

/// Where criterion keeps its results.
fn home(root: &Path) -> PathBuf {
    root.join("target/criterion")
}

fn ours(
    group: Group,
    cases: &[&str],
    setting: &Setting<'_>,
) -> Result<BTreeMap<String, Measurement>> {
    // A case's name holds no character that is special in a regular expression.
    let filter = format!("^({})$", cases.join("|"));
    // What criterion says goes with the messages; standard output is for the table.
    process::run(criterion(group, setting).arg(filter).stdout(Stdio::from(io::stderr())))?;
    let mut measured = BTreeMap::new();
    for operation in folders(&home(setting.root))? {
        for case in folders(&operation)? {
            let result = case.join("new");
            if result.join("benchmark.json").exists() {
                let ours = measurement(
                    &json(&result, "benchmark.json")?,
                    &json(&result, "estimates.json")?,
                )
                .ok_or_else(|| format!("{}: not criterion's format", result.display()))?;
                measured.insert(ours.case.clone(), ours);
            }
        }
    }
    Ok(measured)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let failure = |error: io::Error| format!("cannot read {}: {error}", folder.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
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
    Some(Measurement {
        case: benchmark["full_id"].as_str()?.to_owned(),
        seconds: estimates["median"]["point_estimate"].as_f64()? * 1e-9,
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
        assert_eq!(operation("matmul/2x3x4"), "matmul");
    }

    #[test]
    fn a_result_is_read_in_seconds_with_its_work() {
        let benchmark = json!({"full_id": "relu/10", "throughput": {"Bytes": 80}});
        let estimates = json!({"median": {"point_estimate": 25.0}});
        let ours = measurement(&benchmark, &estimates).unwrap();
        assert_eq!(ours.case, "relu/10");
        assert!((ours.seconds - 25e-9).abs() < 1e-18);
        assert!(matches!(ours.work, Some(Work::Bytes(80.0))));
        assert!(measurement(&benchmark, &json!({})).is_none());
    }
}
