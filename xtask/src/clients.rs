//! The server of models is asked by clients that others have written.
//!
//! It needs Python with `tritonclient[http]`, so it is not part of `check`. Python is found as for
//! the benchmarks, and nothing is installed.

use std::path::Path;

use crate::bench::python_for;
use crate::{Result, process};

/// Runs the test that starts the server and then the client.
pub(crate) fn run(root: &Path) -> Result {
    let script = root.join("crates/serve/tests/triton_client.py");
    let (python, version) = python_for(&script).ok_or(
        "no Python with tritonclient[http] found (`pip install tritonclient[http]`); \
         DENDRA_PEER_PYTHON may point to one",
    )?;
    println!("tritonclient {version}");
    let mut command = process::cargo(root);
    command.args(["test", "--package", "dendra-serve", "--test", "server", "--"]);
    command.args(["--ignored", "--nocapture", "tritonclient"]);
    process::run(command.env("DENDRA_PEER_PYTHON", python))
}
