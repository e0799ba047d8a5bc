//! When checkpoints are written, and which ones are kept.

use std::fs;
use std::path::{Path, PathBuf};

use dendra_derive::Setters;
use dendra_nn::{check_writable, remove_unfinished};
use dendra_tensor::{Error, Result};

use super::Checkpoint;
use crate::history::EpochReport;
use crate::monitor::{Goal, Monitor};

/// The name of the checkpoint to resume from.
pub(super) const LAST: &str = "last.safetensors";

/// The name of the checkpoint of the best epoch.
const BEST: &str = "best.safetensors";

/// The prefix of the names of checkpoints that are kept.
const KEPT: &str = "step-";

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After every given number of epochs.
    Epochs(u64),
    /// After every given number of steps.
    Steps(u64),
}

/// Writes checkpoints into a folder: `last.safetensors` after every epoch, from
/// which [`Fit::resume`](crate::Fit::resume) continues, and `best.safetensors`
/// when an epoch was the best so far.
///
/// ```
/// use dendra_train::{Checkpoints, Every, Fit};
///
/// let checkpoints = Checkpoints::new("runs/digits").every(Every::Steps(500)).keep(3);
/// let fit: Fit = Fit::epochs(20).checkpoints(checkpoints).resume_if_present("runs/digits");
/// ```
#[derive(Clone, Debug, Setters)]
#[must_use = "pass them to Fit::checkpoints"]
pub struct Checkpoints {
    folder: PathBuf,
    /// How often to write. A checkpoint is always written at the end of the
    /// training.
    #[set(default = Every::Epochs(1))]
    every: Every,
    /// How many of the latest checkpoints are kept in addition, as
    /// `step-000001500.safetensors`, with the number of the step.
    #[set(default = 0)]
    keep: usize,
    #[set(skip, default = Monitor::new())]
    monitor: Monitor,
}

impl Checkpoints {
    /// Writes into this folder, which is created if it does not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::with_defaults(folder.into())
    }

    /// The figure that determines the best epoch, as in
    /// [`EarlyStopping::monitor`](crate::EarlyStopping::monitor).
    pub fn monitor(mut self, figure: impl Into<String>) -> Self {
        self.monitor.watch(figure.into());
        self
    }

    /// Whether low or high values of the figure are good; its name decides by
    /// default.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.monitor.aim(goal);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if matches!(self.every, Every::Epochs(0) | Every::Steps(0)) {
            return Err(Error::argument("Checkpoints", "every must be at least 1, got 0"));
        }
        Ok(())
    }
}

/// The settings of checkpoints with the best value so far.
pub(crate) struct Keeper {
    settings: Checkpoints,
    /// Whether this process writes the files.
    writes: bool,
}

impl Keeper {
    /// Creates the folder, checks that a file can be written there, and removes
    /// temporary files of a writer that was killed.
    pub(crate) fn open(settings: Checkpoints) -> Result<Self> {
        let folder = &settings.folder;
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        remove_unfinished(folder)?;
        check_writable(folder.join(LAST))?;
        Ok(Self { settings, writes: true })
    }

    /// A keeper that knows when checkpoints are due, in a run that another
    /// process writes.
    pub(crate) fn of_another_process(settings: Checkpoints) -> Self {
        Self { settings, writes: false }
    }

    /// Sets the best value of a run that is resumed.
    pub(crate) fn set_best(&mut self, best: Option<f64>) {
        self.settings.monitor.best = best;
    }

    pub(crate) fn best(&self) -> Option<f64> {
        self.settings.monitor.best
    }

    pub(crate) fn last(&self) -> PathBuf {
        self.settings.folder.join(LAST)
    }

    /// Whether a checkpoint is due after a step.
    pub(crate) fn due_after_step(&self, step: u64) -> bool {
        matches!(self.settings.every, Every::Steps(every) if step.is_multiple_of(every))
    }

    /// Whether a checkpoint is due after an epoch.
    pub(crate) fn due_after_epoch(&self, epoch: u64) -> bool {
        matches!(self.settings.every, Every::Epochs(every) if epoch.is_multiple_of(every))
    }

    /// Checks that the figure that tells the best epoch exists in a run with these metrics.
    pub(crate) fn check_figure(&self, validates: bool, metrics: &[String]) -> Result<()> {
        self.settings.monitor.check("Checkpoints", validates, metrics)
    }

    /// Whether an epoch was the best so far.
    pub(crate) fn is_best(&mut self, epoch: &EpochReport, validates: bool) -> Result<bool> {
        let better = self.settings.monitor.better(epoch, validates);
        Ok(better.map_err(|error| error.within("Checkpoints"))?.unwrap_or(false))
    }

    pub(crate) fn write_best(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check_finite()?;
        if !self.writes {
            return Ok(());
        }
        checkpoint.write(self.settings.folder.join(BEST))
    }

    /// Writes the last checkpoint, and removes the oldest kept ones beyond the
    /// number to keep.
    pub(crate) fn write_last(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check_finite()?;
        if !self.writes {
            return Ok(());
        }
        if self.settings.keep > 0 {
            let name = format!("{KEPT}{:09}.safetensors", checkpoint.position.step);
            checkpoint.write(self.settings.folder.join(name))?;
        }
        checkpoint.write(self.last())?;
        let kept = kept(&self.settings.folder, checkpoint.position.step)?;
        if self.settings.keep > 0 && kept.len() > self.settings.keep {
            for old in &kept[..kept.len() - self.settings.keep] {
                fs::remove_file(old).map_err(|error| Error::io(old, error))?;
            }
        }
        Ok(())
    }
}

/// The checkpoint of the latest step that can be read, in the folder of a
/// damaged one.
pub(super) fn newest_sound(damaged: &Path) -> Option<PathBuf> {
    let folder = damaged.parent()?;
    let mut others = kept(folder, u64::MAX).ok()?;
    others.extend([LAST, BEST].map(|name| folder.join(name)));
    let sound = others.into_iter().filter(|path| path != damaged).filter_map(|path| {
        let step = Checkpoint::read_file(&path).ok()?.position.step;
        Some((step, path))
    });
    sound.max().map(|(_, path)| path)
}

/// The kept checkpoints of a folder up to a step, the oldest first. Later ones
/// belong to another run.
fn kept(folder: &Path, up_to: u64) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let step = name.strip_prefix(KEPT).and_then(|rest| rest.strip_suffix(".safetensors"));
        if let Some(step) = step.and_then(|step| step.parse::<u64>().ok())
            && step <= up_to
        {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
