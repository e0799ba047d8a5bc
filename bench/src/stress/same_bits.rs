//! The hash of the weights is the same for any number of threads, and however often a run was
//! interrupted.

use std::process::Command;

use dendra::prelude::*;
use dendra::train::{BatchReport, StopFlag};

use crate::common::{Digits, data, hash, trainer, words};
use crate::{Outcome, Row};

const STEPS: u64 = 500;

/// Prints the hash after some steps.
pub(crate) fn child(work: &[String]) -> Option<Result<()>> {
    (work == ["hash"]).then(|| {
        let mut trainer = trainer()?;
        trainer.fit(&data(512), Fit::steps(STEPS).seed(5).quiet())?;
        println!("{:016x}", hash(trainer.model()));
        Ok(())
    })
}

pub(crate) fn threads() -> Outcome {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let counts = [1, 2, 3, 7, 16];
    let mut hashes = Vec::new();
    for count in counts {
        let mut command = Command::new(&program);
        command.args(["--child", "hash"]).env("RAYON_NUM_THREADS", count.to_string());
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        hashes.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    if hashes.iter().any(|hash| *hash != hashes[0]) {
        return Err(format!("different weights: {counts:?} threads give {hashes:?}"));
    }
    Ok(Row {
        case: "weights after 500 steps with 1, 2, 3, 7 and 16 threads",
        runs: counts.len().to_string(),
        outcome: "one hash".to_owned(),
    })
}

/// A callback that requests a stop after a step.
struct StopAt(u64, StopFlag);

impl Callback for StopAt {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            self.1.set();
        }
        Ok(())
    }
}

pub(crate) fn resume(runs: usize, seed: u64) -> Outcome {
    const STEPS: usize = 60;
    let data = data(200);
    let fit = || Fit::steps(STEPS as u64).batch_size(16).seed(5).quiet();
    let end = |mut trainer: Digits, fit: Fit<'_>| {
        trainer.fit(&data, fit).map(|_| hash(trainer.model())).map_err(words)
    };
    let expected = end(trainer().map_err(words)?, fit())?;
    let mut rng = Rng::seed(seed).fork(1);
    for run in 0..runs {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let step = 1 + rng.below(STEPS - 1) as u64;
        let flag = StopFlag::new();
        let interrupted = fit().stop_when(&flag).callback(StopAt(step, flag.clone()));
        let interrupted = interrupted.checkpoints(Checkpoints::new(folder.path()));
        match end(trainer().map_err(words)?, interrupted) {
            Err(message) if message.starts_with("interrupted") => {}
            other => return Err(format!("run {run} was not interrupted: {other:?}")),
        }
        let found = end(trainer().map_err(words)?, fit().resume(folder.path()))?;
        if found != expected {
            return Err(format!(
                "interrupted after step {step}: {found:016x}, not {expected:016x}"
            ));
        }
    }
    Ok(Row {
        case: "interrupted at a random step of 60 and resumed",
        runs: runs.to_string(),
        outcome: "the hash of the run that was not interrupted".to_owned(),
    })
}
