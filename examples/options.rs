//! The command line that all examples share.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use dendra::prelude::*;

/// The options of an example.
#[derive(Parser, Debug)]
pub(crate) struct Options {
    /// Folder with the four MNIST files, gzipped or not
    #[arg(long, value_name = "DIR", env = "MNIST_DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How often to go through the training data
    #[arg(long, value_name = "N")]
    pub(crate) epochs: u64,
    /// Samples of a training step
    #[arg(long, value_name = "B", default_value_t = 32)]
    pub(crate) batch_size: usize,
    /// Learning rate of the optimizer
    #[arg(long, value_name = "R")]
    pub(crate) learning_rate: f64,
    /// Seed of everything that is random
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Generate handwritten-like digits instead of reading or downloading MNIST
    #[arg(long)]
    pub(crate) synthetic: bool,
}

impl Options {
    /// Reads the command line of a program that does `about`, with its default
    /// number of epochs and learning rate.
    pub(crate) fn read(
        about: &'static str,
        epochs: &'static str,
        learning_rate: &'static str,
    ) -> Self {
        let command = Self::command()
            .about(about)
            .mut_arg("epochs", |argument| argument.required(false).default_value(epochs))
            .mut_arg("learning_rate", |argument| {
                argument.required(false).default_value(learning_rate)
            });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// The digits that the options ask for.
    #[allow(dead_code, reason = "some examples generate their data")]
    pub(crate) fn mnist(&self) -> Result<Mnist> {
        Mnist::options().dir(self.data.clone()).synthetic(self.synthetic).load()
    }
}
