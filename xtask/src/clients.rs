//! The server of models is asked by programs that others have written: NVIDIA's Python client for
//! Triton, and a browser that uses the page.
//!
//! They need Python with `tritonclient[http]` and with Playwright, so they are not part of `check`.
//! Python is found as for the benchmarks, and nothing is installed.

use std::path::Path;

use crate::bench::python_for;
use crate::{Result, process};

/// The tests of `dendra-serve`, the script that each runs, and what the script needs.
const TESTS: [(&str, &str, &str); 2] =
    [("tritonclient", "triton_client.py", "tritonclient[http]"), ("page", "page.py", "playwright")];

/// Runs the tests that start the server and then a client; those whose client is missing are told
/// at the end.
pub(crate) fn run(root: &Path) -> Result {
    let mut missing = Vec::new();
    for (test, script, package) in TESTS {
        let script = root.join("crates/serve/tests").join(script);
        let Some((python, version)) = python_for(&script) else {
            missing.push(package);
            continue;
        };
        println!("{package} {version}");
        let mut command = process::cargo(root);
        command.args(["test", "--package", "dendra-serve", "--test", "server", "--"]);
        command.args(["--ignored", "--nocapture", &format!("elsewhere::{test}")]);
        process::run(command.env("DENDRA_PEER_PYTHON", python))?;
    }
    match missing[..] {
        [] => Ok(()),
        _ => Err(format!(
            "no Python with {} found; DENDRA_PEER_PYTHON may point to one",
            missing.join(", ")
        )),
    }
}
