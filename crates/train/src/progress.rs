//! What a person sees while training runs: a bar on a terminal, one line an
//! epoch anywhere.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::history::Evaluation;

/// How much a training run prints, on the standard error stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbose {
    /// Nothing; Keras's level 0.
    Silent,
    /// On a terminal, a bar with loss, metrics, rate and time left, which an
    /// epoch's line replaces; elsewhere the lines alone. Keras's level 1.
    Bar,
    /// One line an epoch; Keras's level 2.
    Lines,
}

/// How often the figures beside the bar change.
const REFRESH: Duration = Duration::from_millis(100);

/// The progress of a training run, on the standard error stream. The bar shows
/// on a terminal only.
pub(crate) struct Progress {
    bar: ProgressBar,
    verbose: Verbose,
    refreshed: Instant,
}

impl Progress {
    /// A bar for one epoch of `samples`; `last` is the number of the last
    /// epoch where that is known.
    pub(crate) fn epoch(number: u64, last: Option<u64>, samples: usize, verbose: Verbose) -> Self {
        let target = match verbose {
            Verbose::Bar => ProgressDrawTarget::stderr(),
            Verbose::Silent | Verbose::Lines => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(samples as u64), target);
        let style = ProgressStyle::with_template(
            "{prefix} {bar:28.cyan/dim} {pos}/{len}  {msg}  {per_sec} samples/s, {eta} left",
        );
        let style = style.expect("the template is well formed").progress_chars("━━─");
        bar.set_style(style.with_key(
            "per_sec",
            |state: &indicatif::ProgressState, out: &mut dyn fmt::Write| {
                // Nothing can be done about a terminal that refuses to write.
                let _ = write!(out, "{:.0}", state.per_sec());
            },
        ));
        let last = last.map_or_else(String::new, |last| format!("/{last}"));
        bar.set_prefix(format!("epoch {number}{last}"));
        Self { bar, verbose, refreshed: Instant::now() }
    }

    /// Shows that `samples` of the epoch are done, and the figures so far.
    pub(crate) fn update(&mut self, samples: usize, figures: impl FnOnce() -> Evaluation) {
        // Small steps take microseconds; a clock costs less than a bar.
        if !self.bar.is_hidden() && self.refreshed.elapsed() >= REFRESH {
            self.refreshed = Instant::now();
            self.bar.set_message(figures().to_string());
            self.bar.set_position(samples as u64);
        }
    }

    /// Leaves a line above the bar.
    pub(crate) fn line(&self, text: &str) {
        if self.verbose != Verbose::Silent {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Takes the bar away and leaves a line in its place.
    pub(crate) fn finish(self, line: &dyn fmt::Display) {
        self.bar.finish_and_clear();
        self.line(&line.to_string());
    }
}
