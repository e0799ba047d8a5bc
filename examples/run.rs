//! Checkpoints of the examples, so that a run can be resumed after Ctrl-C.

use std::path::{Path, PathBuf};

use clap::Args;
use dendra::prelude::*;

/// The folder of a run, and whether to resume it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Folder for checkpoints; by default a folder in `runs` named after the
    /// example
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Resume a run that was interrupted
    #[arg(long)]
    resume: bool,
}

impl Run {
    /// Adds checkpoints to the settings. Ctrl-C writes the last one.
    pub(crate) fn keep<'a, Y, I>(&self, fit: Fit<'a, Y, I>) -> Fit<'a, Y, I> {
        let default = || Path::new("runs").join(env!("CARGO_BIN_NAME"));
        let folder = self.run.clone().unwrap_or_else(default);
        let fit = fit.checkpoints(Checkpoints::new(&folder)).stop_on_ctrl_c();
        if self.resume { fit.resume(folder) } else { fit }
    }
}

/// An error of the training, with instructions after an interruption.
pub(crate) fn explained(error: Error) -> Error {
    match error {
        Error::Interrupted { message } => {
            Error::interrupted(format!("{message}, or run the same command with --resume"))
        }
        error => error,
    }
}
