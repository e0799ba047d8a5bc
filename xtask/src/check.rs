//! `cargo xtask check`: all checks that a change must pass, cheapest first.

use std::iter;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::metadata::{self, Package};
use crate::{Result, process, tidy};

/// One check, with the name that is printed.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// A function of this program.
    Call(fn(&Path) -> Result),
    /// Cargo with these arguments.
    Cargo(&'static [&'static str]),
}

/// The steps in the order they run.
fn steps(full: bool) -> Vec<Step> {
    use Action::{Call, Cargo};
    let step = |name, action| Step { name, action };
    let mut steps = vec![
        step("formatting", Cargo(&["fmt", "--all", "--check"])),
        step("tidy rules", Call(tidy::run)),
        step(
            "lints",
            Cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
        ),
        step("features one by one", Call(features)),
        step("fuzz targets", Call(fuzz_targets)),
        step("documentation", Cargo(&["doc", "--workspace", "--no-deps"])),
        step("tests", Cargo(&["test", "--workspace"])),
    ];
    if full {
        // `--tests` leaves out documentation examples marked `ignore`, which are not meant to run.
        steps.push(step(
            "long tests",
            Cargo(&["test", "--workspace", "--tests", "--", "--ignored"]),
        ));
    }
    steps
}

/// Runs the steps, stopping at the first that fails.
pub(crate) fn run(root: &Path, full: bool) -> Result {
    let start = Instant::now();
    let steps = steps(full);
    let count = steps.len();
    let mut times = Vec::new();
    for (index, step) in steps.into_iter().enumerate() {
        eprintln!("==> {}/{count} {}", index + 1, step.name);
        let begin = Instant::now();
        let outcome = match step.action {
            Action::Call(function) => function(root),
            Action::Cargo(arguments) => process::run(&mut cargo(root, arguments)),
        };
        let seconds = seconds(begin.elapsed());
        if let Err(message) = outcome {
            return Err(format!(
                "{message}\ncheck failed in step {}/{count}, {}, after {seconds}",
                index + 1,
                step.name
            ));
        }
        eprintln!("    {}: passed in {seconds}", step.name);
        times.push((step.name, seconds));
    }
    eprintln!("==> all {count} steps passed in {}", seconds(start.elapsed()));
    for (name, seconds) in times {
        eprintln!("    {seconds:>9}  {name}");
    }
    Ok(())
}

/// Features that need a library of the system: `cargo xtask distributed` builds them.
const OF_THE_SYSTEM: [(&str, &str); 2] = [("dendra", "mpi"), ("dendra-distributed", "mpi")];

/// Lints each crate with features without any of them, and with each feature alone.
fn features(root: &Path) -> Result {
    for Package { name, features, .. } in metadata::packages(root)? {
        let alone = features.iter().map(String::as_str).filter(|feature| {
            *feature != "default" && !OF_THE_SYSTEM.contains(&(name.as_str(), feature))
        });
        let sets = if features.is_empty() { vec![] } else { iter::once("").chain(alone).collect() };
        for features in sets {
            process::run(process::cargo(root).args([
                "clippy",
                "--quiet",
                &format!("--package={name}"),
                "--no-default-features",
                &format!("--features={features}"),
                "--",
                "--deny=warnings",
            ]))?;
        }
    }
    Ok(())
}

/// Checks the fuzz targets, which are a separate workspace, without building libFuzzer.
fn fuzz_targets(root: &Path) -> Result {
    let mut command = process::cargo(root);
    command.args(["check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bins"]);
    // Nothing is linked, so the library need not exist.
    command.env("CUSTOM_LIBFUZZER_PATH", root.join("fuzz/no-libfuzzer"));
    process::run(command.env("CARGO_TARGET_DIR", root.join("target")))
}

fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = process::cargo(root);
    command.args(arguments);
    if arguments[0] == "doc" {
        command.env("RUSTDOCFLAGS", "--deny warnings");
    }
    command
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_check_runs_the_ignored_tests() {
        let ignored = |full| {
            steps(full).iter().any(|step| match step.action {
                Action::Cargo(arguments) => arguments.contains(&"--ignored"),
                Action::Call(_) => false,
            })
        };
        assert!(ignored(true));
        assert!(!ignored(false));
    }

    #[test]
    fn documentation_warnings_are_errors() {
        let environment = |arguments: &[&str]| {
            let command = cargo(Path::new("."), arguments);
            command.get_envs().any(|(name, value)| {
                name == "RUSTDOCFLAGS" && value.is_some_and(|value| value == "--deny warnings")
            })
        };
        assert!(environment(&["doc", "--workspace"]));
        assert!(!environment(&["test", "--workspace"]));
    }
}
