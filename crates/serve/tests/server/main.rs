//! Tests of a real server over real sockets.

mod batching;
mod client;
mod elsewhere;
mod faults;
mod held;
mod limits;
mod load;
mod protocol;
mod raw_data;
mod reloading;

use std::path::{Path, PathBuf};

use dendra_nn::Sequential;
use dendra_serve::{ModelFile, Running, Server, Settings};
use dendra_tensor::{Rng, Tensor};
use tempfile::TempDir;

/// A folder that is removed at the end, and a path in it.
fn place(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

/// Settings for tests: any free port, and no watching of files.
fn settings() -> Settings {
    Settings { address: "127.0.0.1:0".parse().unwrap(), watch: None, ..Settings::default() }
}

fn serve(settings: Settings, files: &[&Path]) -> Running {
    let add = |server: Server, file: &&Path| server.model(ModelFile::at(file));
    files.iter().fold(Server::new(settings), add).start().unwrap()
}

fn classifier(seed: u64) -> Sequential {
    Sequential::input([4]).dense(16).relu().dense(3).build(&mut Rng::seed(seed)).unwrap()
}

fn normal(shape: &[usize], seed: u64) -> Tensor {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}
