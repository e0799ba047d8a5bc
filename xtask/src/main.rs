//! The project's own tool, run as `cargo xtask COMMAND`.
//!
//! - `check` runs all checks that a change must pass: formatting, the tidy rules, lints, tests,
//!   documentation, the build without default features. Continuous integration runs only this.
//!   `check --targets` tests other processors, see [`targets`].
//! - `bench` measures the speed of Dendra, and that of other frameworks in the same run, see
//!   [`mod@bench`].
//! - `c` checks the library for C with a program in C, see [`mod@c`].
//! - `clients` asks the server of models with clients that others have written, see [`clients`].
//! - `conformance` compares Dendra with PyTorch on PyTorch's own samples, see [`conformance`].
//! - `distributed` trains on several processes with MPI, see [`distributed`].
//! - `docs` writes the generated pages in `docs/`.
//! - `embedded` compares a program that only predicts with its budget, see [`embedded`].
//! - `python` builds the Python package and runs its tests, see [`mod@python`].
//! - `stress` breaks training on purpose and counts what still holds, see [`mod@stress`].
//! - `tidy` runs the rules that are specific to this project, see [`tidy`].
//! - `wasm` builds the modules for browsers with a page, and tests both, see [`wasm`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod c;
mod check;
mod clients;
mod conformance;
mod distributed;
mod embedded;
mod metadata;
mod process;
mod python;
mod stress;
mod targets;
mod tidy;
mod wasm;

/// The error is a message for the user at the terminal.
type Result<T = ()> = std::result::Result<T, String>;

/// The project's own tool.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all checks that a change must pass, cheapest first; stop at the first failure.
    Check {
        /// Also run the long tests, including training on real data.
        #[arg(long)]
        full: bool,
        /// Instead, run tests for 64-bit ARM under emulation, and build for WebAssembly.
        #[arg(long, conflicts_with = "full")]
        targets: bool,
    },
    /// Measure the speed of Dendra and, with --peers, that of other frameworks on this machine.
    Bench(bench::Arguments),
    /// Check the header of the library for C, and run a program in C with it under valgrind.
    C(c::Arguments),
    /// Ask the server of models with the Python client for Triton and with a browser.
    Clients,
    /// Compare Dendra with PyTorch on PyTorch's own samples.
    Conformance(conformance::Arguments),
    /// Train on several processes with MPI: hashes, failures, a network with delay and loss.
    Distributed(distributed::Arguments),
    /// Write docs/ops.md from the table of operations.
    Docs,
    /// Build a program that only predicts, and compare it with its budget.
    Embedded(embedded::Arguments),
    /// Build the Python package and run its tests.
    Python(python::Arguments),
    /// Break training on purpose, many times, and count what still holds.
    Stress(stress::Arguments),
    /// Run only the project's own rules on the source tree.
    Tidy,
    /// Build the modules for browsers and a page that uses them; test both.
    Wasm(wasm::Arguments),
}

fn main() -> ExitCode {
    let root = root();
    let outcome = match Arguments::parse().command {
        Command::Check { targets: true, .. } => targets::run(&root),
        Command::Check { full, .. } => check::run(&root, full),
        Command::Bench(arguments) => bench::run(&root, &arguments),
        Command::C(arguments) => c::run(&root, &arguments),
        Command::Clients => clients::run(&root),
        Command::Conformance(arguments) => conformance::run(&root, &arguments),
        Command::Distributed(arguments) => distributed::run(&root, &arguments),
        Command::Docs => write_docs(&root),
        Command::Embedded(arguments) => embedded::run(&root, &arguments),
        Command::Python(arguments) => python::run(&root, &arguments),
        Command::Stress(arguments) => stress::run(&root, &arguments),
        Command::Tidy => tidy::run(&root),
        Command::Wasm(arguments) => wasm::run(&root, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The test that compares the generated pages writes them if the environment variable is set.
fn write_docs(root: &Path) -> Result {
    let mut command = process::cargo(root);
    command.args(["test", "--quiet", "--package", "xtask", "--test", "op_docs", "ops_md_is_fresh"]);
    process::run(command.env("DENDRA_WRITE_DOCS", "1"))
}

/// The root folder of the workspace, independent of the working directory.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("xtask is in the workspace").to_path_buf()
}
