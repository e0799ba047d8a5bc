//! A full disk and a read-only disk. Both are separate file systems, which only root can mount.

use std::fs;
use std::path::Path;
use std::process::Command;

use dendra::prelude::*;
use dendra::train::Checkpoint;

use crate::common::{data, trainer, words};
use crate::{Outcome, Row};

/// A file system in memory, unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], folder.path()).then(|| Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(folder).status();
    status.is_ok_and(|status| status.success())
}

/// Trains a little, with checkpoints.
fn train(folder: &Path, steps: u64) -> Result<()> {
    let fit = Fit::steps(steps).batch_size(4).quiet().resume_if_present(folder);
    trainer()?.fit(&data(64), fit.checkpoints(Checkpoints::new(folder))).map(|_| ())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The error of continuing in a folder that cannot be written to, after checking that all files are
/// unchanged.
fn refused(folder: &Path) -> Result<String, String> {
    let last = folder.join("last.safetensors");
    let before = (names(folder), fs::read(&last).map_err(|error| error.to_string())?);
    let Err(error) = train(folder, 9) else {
        return Err("the checkpoint was written without an error".into());
    };
    if !matches!(error, Error::Io { .. }) {
        return Err(format!("expected an error of the disk, got: {error}"));
    }
    let after = (names(folder), fs::read(&last).map_err(|error| error.to_string())?);
    if before != after {
        return Err(format!("the folder has changed: {:?}, then {:?}", before.0, after.0));
    }
    Checkpoint::read(folder).map_err(words)?;
    Ok(error.to_string().rsplit(": ").next().unwrap_or_default().to_owned())
}

const NOT_MOUNTED: &str = "not run: mounting a file system needs root";

pub(crate) fn full() -> Outcome {
    let case = "a disk that fills up at 200 different points of a checkpoint";
    let Some(disk) = Mounted::new("size=8m") else {
        return Ok(Row { case, runs: "0".into(), outcome: NOT_MOUNTED.into() });
    };
    let folder = disk.0.path();
    train(folder, 3).map_err(words)?;
    let size = fs::metadata(folder.join("last.safetensors")).map_err(|error| error.to_string())?;
    let filler = folder.join("filler");
    let (mut held, mut reason) = (0, String::new());
    for place in 0..200 {
        // Fill the disk except for a part of the space of a checkpoint; memory is allocated in
        // pages.
        let room = size.len() * place / 200;
        fill(&filler, folder, room)?;
        reason = refused(folder).map_err(|error| format!("with {room} bytes of room: {error}"))?;
        held += 1;
    }
    fs::remove_file(&filler).map_err(|error| error.to_string())?;
    train(folder, 9).map_err(words)?;
    let outcome = format!(
        "the error \"{reason}\" and every file unchanged; with free space again the run continued"
    );
    Ok(Row { case, runs: held.to_string(), outcome })
}

/// Fills a disk except for `room` bytes.
fn fill(filler: &Path, folder: &Path, room: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let output = Command::new("df").args(["--block-size=1", "--output=avail"]).arg(folder).output();
    let text = String::from_utf8_lossy(&output.map_err(failed)?.stdout).into_owned();
    let free: u64 = text.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    let present = fs::metadata(filler).map_or(0, |about| about.len());
    let wanted = (present + free).saturating_sub(room);
    fs::write(filler, vec![0; wanted as usize]).map_err(failed)
}

pub(crate) fn read_only() -> Outcome {
    let case = "a folder on a file system that is read-only";
    let Some(disk) = Mounted::new("size=8m") else {
        return Ok(Row { case, runs: "0".into(), outcome: NOT_MOUNTED.into() });
    };
    let folder = disk.0.path();
    train(folder, 3).map_err(words)?;
    if !mount(&["-o", "remount,ro"], folder) {
        return Ok(Row { case, runs: "0".into(), outcome: NOT_MOUNTED.into() });
    }
    let reason = refused(folder)?;
    Ok(Row {
        case,
        runs: "1".into(),
        outcome: format!("the error \"{reason}\" and every file unchanged"),
    })
}
