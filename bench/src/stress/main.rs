//! `cargo xtask stress`: breaks training on purpose, many times, and counts what still holds.
//!
//! Each case prints a row of a table for docs/reliability.md: what was done, how often, and the
//! outcome. A case that fails ends the program with an error.

use std::process::ExitCode;

use clap::Parser;

mod common;
mod disk;
mod kill;
mod memory;
mod not_finite;
mod same_bits;

/// The report of a case.
struct Row {
    case: &'static str,
    runs: String,
    outcome: String,
}

/// The error is a message.
type Outcome = Result<Row, String>;

/// Breaks training on purpose and counts what still holds.
#[derive(Parser)]
struct Arguments {
    /// The case; all unless given.
    #[arg(value_parser = ["kill", "disk", "threads", "resume", "not-finite", "memory"])]
    case: Option<String>,
    /// How often `kill` and `resume` do it; 1,000 and 100 times unless given.
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// The seed of all random moments.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The work of a child process of this program.
    #[arg(long, hide = true, num_args = 1..)]
    child: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let Arguments { case, runs, seed, child } = Arguments::parse();
    if let Some(child) = child {
        return match kill::child(&child).or_else(|| same_bits::child(&child)) {
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(error)) => failure(&error.to_string()),
            None => failure("unknown work"),
        };
    }
    let wanted = |name: &str| case.as_deref().is_none_or(|case| case == name);
    println!("| case | runs | outcome |\n|---|---|---|");
    let cases: [(&str, &dyn Fn() -> Vec<Outcome>); 6] = [
        ("kill", &|| vec![kill::run(runs.unwrap_or(1000), seed)]),
        ("disk", &|| vec![disk::full(), disk::read_only()]),
        ("threads", &|| vec![same_bits::threads()]),
        ("resume", &|| vec![same_bits::resume(runs.unwrap_or(100), seed)]),
        ("not-finite", &|| vec![not_finite::run()]),
        ("memory", &|| vec![memory::run()]),
    ];
    for (_, run) in cases.iter().filter(|(name, _)| wanted(name)) {
        for outcome in run() {
            match outcome {
                Ok(Row { case, runs, outcome }) => println!("| {case} | {runs} | {outcome} |"),
                Err(message) => return failure(&message),
            }
        }
    }
    ExitCode::SUCCESS
}

fn failure(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
