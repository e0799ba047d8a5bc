//! The command line of most examples.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use dendra::prelude::*;

#[path = "numbers.rs"]
mod numbers;

/// The options of an example, with additional ones.
#[derive(Parser, Debug)]
pub(crate) struct Options<More: Args = NoMore> {
    /// Number of epochs
    #[arg(long, value_name = "N", value_parser = numbers::at_least::<0, u64>)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) epochs: u64,
    /// Number of samples in a training step
    #[arg(long, value_name = "B", default_value = "32")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    pub(crate) batch_size: usize,
    /// Learning rate of the optimizer
    #[arg(long, value_name = "R", value_parser = numbers::positive)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) more: More,
}

/// No additional options.
#[derive(Args, Debug)]
pub(crate) struct NoMore {}

/// The source of MNIST.
#[derive(Args, Debug)]
#[allow(dead_code, reason = "some examples generate their data")]
pub(crate) struct Digits {
    /// Folder with the four MNIST files, gzipped or not
    #[arg(long, value_name = "DIR", env = "MNIST_DIR")]
    data: Option<PathBuf>,
    /// Generate images that resemble handwritten digits instead of reading or
    /// downloading MNIST
    #[arg(long)]
    synthetic: bool,
}

#[allow(dead_code, reason = "some examples generate their data")]
impl Digits {
    /// Loads the digits from the source.
    pub(crate) fn load(&self) -> Result<Mnist> {
        Mnist::options().dir(self.data.clone()).synthetic(self.synthetic).load()
    }
}

impl<More: Args> Options<More> {
    /// Reads the command line of a program with the description `about` and
    /// these defaults for epochs and learning rate.
    #[allow(dead_code, reason = "some examples have other defaults")]
    pub(crate) fn read(
        about: &'static str,
        epochs: &'static str,
        learning_rate: &'static str,
    ) -> Self {
        Self::with_defaults(about, &[("epochs", epochs), ("learning_rate", learning_rate)])
    }

    /// Reads the command line of a program with the description `about` and
    /// these defaults of options.
    pub(crate) fn with_defaults(
        about: &'static str,
        defaults: &[(&'static str, &'static str)],
    ) -> Self {
        let command =
            defaults.iter().fold(Self::command().about(about), |command, (name, value)| {
                command.mut_arg(name, |argument| argument.required(false).default_value(*value))
            });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// The settings of the training.
    #[allow(dead_code, reason = "some examples have a custom loop")]
    pub(crate) fn fit<'a, Y, I>(&self) -> Fit<'a, Y, I> {
        Fit::epochs(self.epochs).batch_size(self.batch_size).seed(self.seed)
    }
}
