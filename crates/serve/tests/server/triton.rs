//! NVIDIA's Python client for Triton, unchanged.

use std::process::Command;

use dendra_serve::{ModelFile, Server};

use crate::{classifier, place, settings};

/// `cargo xtask clients` finds a Python that has the client.
#[test]
#[ignore = "needs Python with tritonclient[http]; `cargo xtask clients` runs it"]
fn tritonclient() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let model =
        ModelFile::at(&path).adjusted(|network| Ok(network.with_classes(["red", "green", "blue"])));
    let server = Server::new(settings()).model(model).start().unwrap();
    let python = std::env::var_os("DENDRA_PEER_PYTHON").unwrap_or_else(|| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(server.address().to_string()).arg(&path);
    assert!(command.status().unwrap().success());
}
