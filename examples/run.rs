//! What an example keeps of its training, so that Ctrl-C loses nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use dendra::prelude::*;

/// Where a run is kept.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// Folder for checkpoints; by default one named after the example in `runs`
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Go on with a run that was interrupted
    #[arg(long)]
    resume: bool,
}

impl Run {
    /// Writes checkpoints while training, the last one on Ctrl-C.
    pub(crate) fn keep<'a, Y, I>(&self, fit: Fit<'a, Y, I>) -> Fit<'a, Y, I> {
        let default = || Path::new("runs").join(env!("CARGO_BIN_NAME"));
        let folder = self.run.clone().unwrap_or_else(default);
        let fit = fit.checkpoints(Checkpoints::new(&folder)).stop_on_ctrl_c();
        if self.resume { fit.resume(folder) } else { fit }
    }
}

/// An error of the training, with what to do after an interruption.
pub(crate) fn explained(error: Error) -> Error {
    match error {
        Error::Interrupted { message } => {
            Error::interrupted(format!("{message}, or here: the same command with --resume"))
        }
        error => error,
    }
}
