//! The command `dendra`: trains, inspects, converts, measures and serves neural
//! networks without writing code.
//!
//! ```text
//! dendra train flowers.csv --target kind -o flowers.safetensors
//! dendra predict flowers.safetensors new-flowers.csv
//! dendra serve flowers.safetensors
//! ```
//!
//! The command combines the other crates. Its module [`choose`] is public: it
//! contains the rules that choose a network for a data set:
//!
//! ```
//! use dendra_cli::choose::{Plan, Takes};
//! use dendra_tensor::Rng;
//!
//! let plan = Plan::for_pictures(5_000, [28, 28]);
//! let model = plan.network.build(&Takes::Numbers(vec![1, 28, 28]), 10, &mut Rng::seed(1))?;
//! println!("{}", model.summary());
//! # assert_eq!(model.output_shape().to_vec(), [10]);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod arguments;
mod bench;
pub mod choose;
mod convert;
mod data;
mod evaluate;
mod info;
mod model;
mod predict;
mod quantize;
mod screen;
mod serve;
mod settings;
mod train;

use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use console::style;
use dendra_tensor::Error;
use serde_json::json;

use arguments::{Arguments, Command};
use screen::Screen;

/// The exit codes; [`arguments`] documents them for users.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const REQUIRED: u8 = 3;
const INTERRUPTED: u8 = 130;

/// The reason why a command failed.
#[derive(Debug)]
enum Failure {
    /// A combination of arguments that is invalid.
    Usage(String),
    /// A failure with its own exit code.
    Code(u8, String),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Code(code, _) => *code,
            Self::Error(Error::Interrupted { .. }) => INTERRUPTED,
            Self::Error(_) => FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Code(_, message) => f.write_str(message),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{} {failure}", style("error:").for_stderr().red().bold());
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { command, global } = arguments;
    if let Some(threads) = global.threads {
        dendra_tensor::set_num_threads(threads as usize)?;
    }
    let screen = Screen::new(global);
    match command {
        Command::Train(arguments) => train::run(arguments, screen),
        Command::Predict(arguments) => predict::run(arguments, screen),
        Command::Evaluate(arguments) => evaluate::run(arguments, screen),
        Command::Info(arguments) => info::run(arguments, screen),
        Command::Summary(arguments) => info::summary(arguments, screen),
        Command::Convert(arguments) => convert::run(arguments, screen),
        Command::Quantize(arguments) => quantize::run(arguments, screen),
        Command::Bench(arguments) => bench::run(arguments, global.threads, screen),
        Command::Serve(arguments) => serve::run(arguments, global.quiet, screen),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "dendra", &mut text);
            let text = String::from_utf8_lossy(&text);
            screen.json(&json!({ "completions": text }))?;
            screen.result(text.trim_end())?;
            Ok(())
        }
    }
}
