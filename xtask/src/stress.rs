//! `cargo xtask stress`: breaks training on purpose, many times, and counts what still holds.
//!
//! The cases are in `bench/src/stress`. They print the rows of the table in docs/reliability.md.

use std::path::Path;

use clap::Args;

use crate::{Result, process};

/// What to break, and how often.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The options of the program: a case, `--runs N`, `--seed S`; `--help` tells more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds the program and runs it.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let mut command = process::cargo(root);
    // The development profile optimises fully.
    command.args(["run", "--quiet", "--package", "dendra-bench", "--bin", "stress"]);
    process::run(command.arg("--").args(&arguments.options))
}
