//! Group `classic`: the training of the example programs, one epoch at a time.

use std::path::{Path, PathBuf};

use super::peers::results;
use super::{Group, Measurement, Row, Setting, rows};
use crate::{Result, process};

/// Measures each program with this library and then with each other framework.
pub(super) fn measure(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let names = process::output(ours(setting.root).arg("list"))?;
    let data = data_folder();
    let mut measured = Vec::new();
    for name in names.lines().filter(|name| name.contains(setting.filter)) {
        eprintln!("classic: {name}");
        let mut command = ours(setting.root);
        command.arg(name).env("RAYON_NUM_THREADS", setting.threads.to_string());
        if let Some(folder) = &data {
            command.arg("--data").arg(folder);
        }
        for (case, figures) in results(&process::output(&mut command)?)? {
            let theirs: Vec<_> = setting
                .peers
                .iter()
                .flat_map(|peer| {
                    let times = peer.try_run(Group::Classic, &[name], data.as_deref(), setting);
                    times.into_iter().map(|(_, figures)| (peer.name, figures))
                })
                .collect();
            let ours = Measurement { case, figures, work: None };
            measured.extend(rows(Group::Classic, ours, &theirs));
        }
    }
    Ok(measured)
}

fn ours(root: &Path) -> std::process::Command {
    let mut command = process::cargo(root);
    command.args(["run", "--quiet", "--release", "--package", "dendra-bench", "--bin", "classic"]);
    command.arg("--");
    command
}

/// The folder of MNIST, for all frameworks. Without it, this library finds or generates the data as
/// the examples do, and the others train on noise, which takes the same time.
fn data_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MNIST_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("note: MNIST_DIR is not set, so the peers train on noise");
    }
    folder
}
