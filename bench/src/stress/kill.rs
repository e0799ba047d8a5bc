//! SIGKILL at a random moment while checkpoints are being written.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use dendra::prelude::*;
use dendra::train::Checkpoint;

use crate::common::{data, trainer, words};
use crate::{Outcome, Row};

/// Trains and writes a checkpoint after every step, forever.
pub(crate) fn child(work: &[String]) -> Option<Result<()>> {
    let [name, folder] = work else { return None };
    (name == "write-checkpoints").then(|| {
        let checkpoints = Checkpoints::new(folder).every(Every::Steps(1)).keep(2);
        let fit = Fit::epochs(1_000_000).batch_size(4).quiet().checkpoints(checkpoints);
        trainer()?.fit(&data(64), fit.resume_if_present(folder)).map(|_| ())
    })
}

/// The unfinished files of a folder.
fn unfinished(folder: &Path) -> Result<usize, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.ends_with(".tmp")).count())
}

/// The modification time of a file, if it exists.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|about| about.modified()).ok()
}

pub(crate) fn run(runs: usize, seed: u64) -> Outcome {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = folder.path();
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let start = || {
        let mut command = Command::new(&program);
        command.args(["--child", "write-checkpoints"]).arg(folder).stdout(Stdio::null());
        command.spawn().map_err(|error| error.to_string())
    };
    let mut rng = Rng::seed(seed);
    let (mut step, mut found) = (0, 0);
    let last = folder.join("last.safetensors");
    for run in 0..runs {
        let before = unfinished(folder)?;
        let written = modified(&last);
        let mut child = start()?;
        // Checkpoints are written only some time after the start; before that there is nothing to
        // test.
        let begun = Instant::now();
        while modified(&last) == written && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(rng.below(40_000) as u64));
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;

        let wrong = |error: Error| format!("after kill {}: {error}", run + 1);
        let read = Checkpoint::read(folder).map_err(wrong)?;
        if read.position.step <= step {
            return Err(format!("after kill {}: still at step {step}", run + 1));
        }
        step = read.position.step;
        for entry in fs::read_dir(folder).map_err(|error| error.to_string())?.flatten() {
            if entry.file_name().to_string_lossy().ends_with(".safetensors") {
                Checkpoint::read(entry.path()).map_err(wrong)?;
            }
        }
        let left = unfinished(folder)?;
        if left > before + 1 {
            return Err(format!("{left} unfinished files, {before} before the last run"));
        }
        found += usize::from(left > 0);
    }
    // The next run removes unfinished files and makes progress.
    let fit = Fit::steps(step + 3).batch_size(4).quiet().resume(folder);
    let mut last = trainer().map_err(words)?;
    last.fit(&data(64), fit.checkpoints(Checkpoints::new(folder))).map_err(words)?;
    match unfinished(folder)? {
        0 => Ok(Row {
            case: "SIGKILL at a random moment while checkpoints are written after every step",
            runs: runs.to_string(),
            outcome: format!(
                "every checkpoint in the folder was valid every time, {step} steps in all; {found} \
                 times an unfinished file was left, and the next run removed it"
            ),
        }),
        left => Err(format!("{left} unfinished files were not removed")),
    }
}
