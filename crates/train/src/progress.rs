//! What a person sees while training runs: a bar on a terminal, one line an
//! epoch anywhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::history::{EpochReport, Evaluation};

/// How often the figures beside the bar change.
const REFRESH: Duration = Duration::from_millis(100);

/// The progress of a training run, on the standard error stream. The bar shows
/// on a terminal only.
pub(crate) struct Progress {
    bar: ProgressBar,
    quiet: bool,
    refreshed: Instant,
}

impl Progress {
    /// A bar for one epoch of `samples`.
    pub(crate) fn epoch(number: usize, last: usize, samples: usize, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(samples as u64), target);
        let style = ProgressStyle::with_template(
            "{prefix} {bar:28.cyan/dim} {pos}/{len}  {msg}  {per_sec} samples/s, {eta} left",
        );
        let style = style.expect("the template is well formed").progress_chars("━━─");
        bar.set_style(style.with_key(
            "per_sec",
            |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                // Nothing can be done about a terminal that refuses to write.
                let _ = write!(out, "{:.0}", state.per_sec());
            },
        ));
        bar.set_prefix(format!("epoch {number}/{last}"));
        Self { bar, quiet, refreshed: Instant::now() }
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

    /// Takes the bar away and leaves the epoch's line.
    pub(crate) fn finish(self, epoch: &EpochReport) {
        self.bar.finish_and_clear();
        if !self.quiet {
            eprintln!("{epoch}");
        }
    }
}
