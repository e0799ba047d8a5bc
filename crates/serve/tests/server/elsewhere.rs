//! Requests from other programs: NVIDIA's Python client for Triton, unchanged,
//! and a browser. `cargo xtask clients` runs these tests.

use std::process::Command;

use dendra_datasets::{ImageEncoder, Normalization, TextEncoder, Vocabulary};
use dendra_nn::Sequential;
use dendra_serve::{ModelFile, Running, Server};
use dendra_tensor::Rng;

use crate::raw_data::{save, table_encoder};
use crate::{classifier, place, settings};

/// Runs a script of this folder with arguments.
fn run(script: &str, arguments: &[String]) {
    let python = std::env::var_os("DENDRA_PEER_PYTHON").unwrap_or_else(|| "python3".into());
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command.arg(script).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    assert!(command.status().unwrap().success());
}

#[test]
#[ignore = "needs Python with tritonclient[http]; `cargo xtask clients` runs it"]
fn tritonclient() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let model =
        ModelFile::at(&path).adjusted(|network| Ok(network.with_classes(["red", "green", "blue"])));
    let server = Server::new(settings()).model(model).start().unwrap();
    run("triton_client.py", &[server.address().to_string(), path.display().to_string()]);
}

/// Screenshots of the page are written to the folder `DENDRA_PICTURES`, if it
/// is set.
#[test]
#[ignore = "needs Python with Playwright, and Chromium; `cargo xtask clients` runs it"]
fn page() {
    let (_folder, server) = models_of_each_kind();
    let mut arguments = vec![format!("http://{}", server.address())];
    arguments.extend(std::env::var("DENDRA_PICTURES"));
    run("page.py", &arguments);
}

fn models_of_each_kind() -> (tempfile::TempDir, Running) {
    let (folder, rows) = place("rows.safetensors");
    let file = |name: &str| folder.path().join(format!("{name}.safetensors"));
    let rng = &mut Rng::seed(1);
    let model = Sequential::input([3]).dense(2).build(rng).unwrap();
    save(&model, &table_encoder(), &["no", "yes"], &rows);
    let encoder = TextEncoder::new(Vocabulary::words(["good bad day"], 10), 3).unwrap();
    let model = Sequential::tokens([3]).embedding(5, 2).flatten().dense(2).build(rng).unwrap();
    save(&model, &encoder, &["bad", "good"], &file("texts"));
    let encoder = ImageEncoder::new([32, 32], false, Normalization::Scale).unwrap();
    let model = Sequential::input([3, 32, 32]).flatten().dense(2).build(rng).unwrap();
    save(&model, &encoder, &["cat", "dog"], &file("pictures"));
    let digits = Sequential::input([1, 28, 28]).flatten().dense(10).build(rng).unwrap();
    digits.save(file("digits")).unwrap();
    classifier(1).save(file("numbers")).unwrap();
    let named = ModelFile::at(file("digits"))
        .adjusted(|network| Ok(network.with_classes((0..10).map(|digit: i32| digit.to_string()))));
    let others = ["texts", "pictures", "numbers"].map(|name| ModelFile::at(file(name)));
    let server = Server::new(settings()).model(ModelFile::at(&rows)).model(named);
    let server = others.into_iter().fold(server, Server::model);
    let running = server.start().unwrap();
    (folder, running)
}
