//! Comparison of Dendra with PyTorch on the samples that PyTorch tests itself with.
//!
//! `conformance/compare.py` draws the samples and compares the results; the package
//! `dendra-conformance` computes Dendra's side. Python with PyTorch is found as for the benchmarks,
//! and nothing is installed. A run takes a few minutes and needs PyTorch, so it is not part of
//! `check`.
//!
//! `conformance onnx` runs the tests that the Python package `onnx` carries, with Dendra and with
//! ONNX Runtime, and compares the models that Dendra exports with ONNX Runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use crate::bench::python_for;
use crate::{Result, process};

/// What to compare.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    suite: Option<Suite>,
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

#[derive(Subcommand)]
enum Suite {
    /// Run the tests that the Python package `onnx` carries.
    Onnx {
        /// Only tests whose names contain this; without it, docs/conformance-onnx.md is written.
        only: Option<String>,
    },
}

/// Builds the runner and compares.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    if let Some(Suite::Onnx { only }) = &arguments.suite {
        return onnx(root, only.as_deref());
    }
    let script = root.join("conformance/compare.py");
    let (python, version) = python_for(&script)
        .ok_or("no Python with PyTorch and NumPy found; DENDRA_PEER_PYTHON may point to one")?;
    println!("PyTorch {version}");
    let runner = runner(root, "conformance")?;
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

/// Builds a program of the package and returns its path.
fn runner(root: &Path, name: &str) -> Result<PathBuf> {
    let mut build = process::cargo(root);
    process::run(build.args(["build", "--package", "dendra-conformance", "--bin", name]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
    Ok(target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

fn onnx(root: &Path, only: Option<&str>) -> Result {
    let script = root.join("conformance/onnx_nodes.py");
    let (python, version) = python_for(&script)
        .ok_or("no Python with onnx found; DENDRA_PEER_PYTHON may point to one")?;
    println!("onnx {version}");
    let runner = runner(root, "conformance-onnx")?;
    let mut command = Command::new(&python);
    command.current_dir(root).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(script).arg("compare").arg("--runner").arg(runner);
    match only {
        Some(only) => command.args(["--only", only]),
        None => command.arg("--page").arg(root.join("docs/conformance-onnx.md")),
    };
    process::run(&mut command)?;
    if only.is_some() {
        return Ok(());
    }
    let mut exports = Command::new(python);
    exports.current_dir(root).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(exports.arg(root.join("crates/onnx/tests/check_exports.py")))
}
