//! The tests of the Python package, with a wheel in a virtual environment of their own.
//!
//! The environment is `target/python`. What it lacks is installed by pip from
//! `crates/python/tests/requirements.txt`, so the first run needs a network. A run takes minutes
//! and needs Python, so it is not part of `check`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::{Result, process};

/// The largest wheel, in bytes.
const BUDGET: u64 = 6_000_000;

/// What to do besides the tests.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write the stubs of layers, optimizers, schedules, losses and metrics instead of comparing
    /// them.
    #[arg(long)]
    write_stubs: bool,
    /// The Python from which the environment is made.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Arguments for pytest, such as `-k pickle`.
    #[arg(last = true)]
    pytest: Vec<String>,
}

/// Builds and installs the wheel, and checks stubs, types and tests.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let package = root.join("crates/python");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let python = environment(&arguments.python, &target.join("python"), &package)?;
    let call = |module: &str, words: &[&str]| {
        let mut command = Command::new(&python);
        command.current_dir(&package).args(["-m", module]).args(words);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };

    let wheels = target.join("python-wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
    }
    process::run(call("maturin", &["build", "--out"]).arg(&wheels))?;
    let wheel = wheel_in(&wheels)?;
    process::run(
        call("pip", &["install", "--quiet", "--force-reinstall", "--no-deps"]).arg(&wheel),
    )?;

    let mut stubs = Command::new(&python);
    stubs.arg(package.join("stubs.py"));
    if !arguments.write_stubs {
        stubs.arg("--check");
    }
    process::run(&mut stubs)?;
    process::run(&mut call("mypy", &["python/dendra"]))?;
    process::run(&mut call(
        "mypy.stubtest",
        &["dendra", "--mypy-config-file", "pyproject.toml", "--allowlist", "tests/stubtest.txt"],
    ))?;
    process::run(call("pytest", &["--quiet"]).args(&arguments.pytest))?;
    within_budget(&wheel)
}

/// The Python of the environment, with the packages that the tests need.
fn environment(python: &Path, folder: &Path, package: &Path) -> Result<PathBuf> {
    let inside = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !inside.exists() {
        let mut venv = Command::new(python);
        process::run(venv.args(["-m", "venv"]).arg(folder)).map_err(|message| {
            format!("{message}: Python from 3.10 on with its module `venv` is needed (--python)")
        })?;
    }
    let requirements = package.join("tests/requirements.txt");
    let mut install = Command::new(&inside);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    process::run(install.arg("--requirement").arg(&requirements)).map_err(|message| {
        format!("{message}: the environment lacks packages of {}", requirements.display())
    })?;
    Ok(inside)
}

fn wheel_in(folder: &Path) -> Result<PathBuf> {
    let failure = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    Err(format!("{}: maturin has left no wheel", folder.display()))
}

fn within_budget(wheel: &Path) -> Result {
    let about = fs::metadata(wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let bytes = about.len();
    println!("the wheel has {:.2} MB", bytes as f64 / 1e6);
    match bytes <= BUDGET {
        true => Ok(()),
        false => Err(format!("the wheel has {bytes} bytes, the limit is {BUDGET}")),
    }
}
