//! Comparison of Dendra with PyTorch on the samples that PyTorch tests itself with.
//!
//! `conformance/compare.py` draws the samples and compares the results; the package
//! `dendra-conformance` computes Dendra's side. Python with PyTorch is found as for the benchmarks,
//! and nothing is installed. A run takes a few minutes and needs PyTorch, so it is not part of
//! `check`.

use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::bench::python_for;
use crate::{Result, process};

/// What to compare.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only entries whose names contain this regular expression, such as `softmax`; without it,
    /// all are compared and docs/conformance.md is written.
    only: Option<String>,
    /// At most this many samples of each entry.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// At most this many findings are shown for each entry.
    #[arg(long, default_value_t = 3)]
    findings: usize,
}

/// Builds the runner and compares.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let script = root.join("conformance/compare.py");
    let (python, version) = python_for(&script)
        .ok_or("no Python with PyTorch and NumPy found; DENDRA_PEER_PYTHON may point to one")?;
    println!("PyTorch {version}");
    process::run(process::cargo(root).args(["build", "--package", "dendra-conformance"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
    let runner = target.join("debug").join(format!("conformance{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(python);
    command.current_dir(root).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(script).arg("compare").arg("--runner").arg(runner);
    command.args(["--limit", &arguments.limit.to_string()]);
    command.args(["--findings", &arguments.findings.to_string()]);
    match &arguments.only {
        Some(only) => command.args(["--only", only]),
        None => command.arg("--page").arg(root.join("docs/conformance.md")),
    };
    process::run(&mut command)
}
