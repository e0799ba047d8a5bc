//! The output during training: a bar on a terminal, and one line per epoch
//! everywhere.

use std::fmt;
use std::time::{Duration, Instant};

use console::{Term, style};

use crate::history::Evaluation;
use crate::terminal::{columns, folded, width_of};

/// How much a training run prints, on the standard error stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbose {
    /// Nothing, as level 0 of Keras.
    Silent,
    /// On a terminal, a bar with loss, metrics, speed and time left, which the
    /// line of the epoch replaces; elsewhere only the lines. This is level 1 of
    /// Keras.
    Bar,
    /// One line per epoch, as level 2 of Keras.
    Lines,
}

/// The time between updates of the bar and the figures beside it.
const REFRESH: Duration = Duration::from_millis(100);

/// The widest bar, in columns.
const BAR: usize = 28;

/// The space between the figures of a line, in columns.
const GAP: usize = 2;

/// The narrowest bar that is useful, in columns.
const SHORTEST_BAR: usize = 6;

/// The progress of a training run, on the standard error stream. The bar is
/// shown only on a terminal.
pub(crate) struct Progress {
    bar: Option<Bar>,
    verbose: Verbose,
}

/// The bar of an epoch. Dropping it clears it.
///
/// The bar of the crate indicatif is not used, because it clears as many rows
/// as it drew: when the terminal becomes narrower, its line wraps into more
/// rows, and parts of it stay.
struct Bar {
    term: Term,
    name: String,
    samples: usize,
    start: Instant,
    refreshed: Instant,
    /// The number of samples that were already processed when the bar started.
    before: Option<usize>,
    /// The width of the line on the terminal, in columns.
    drawn: usize,
}

impl Progress {
    /// A bar for one epoch of `samples`; `last` is the number of the last
    /// epoch, if known.
    pub(crate) fn epoch(number: u64, last: Option<u64>, samples: usize, verbose: Verbose) -> Self {
        let term = Term::stderr();
        let bar = (verbose == Verbose::Bar && term.is_term()).then(|| {
            let last = last.map_or_else(String::new, |last| format!("/{last}"));
            let (name, now) = (format!("epoch {number}{last}"), Instant::now());
            Bar { term, name, samples, start: now, refreshed: now, before: None, drawn: 0 }
        });
        Self { bar, verbose }
    }

    /// Shows the number of samples processed in the epoch, and the figures so
    /// far.
    pub(crate) fn update(&mut self, samples: usize, figures: impl FnOnce() -> Evaluation) {
        // A small step takes microseconds, so the clock is checked before
        // anything is drawn.
        if let Some(bar) = &mut self.bar
            && bar.refreshed.elapsed() >= REFRESH
        {
            bar.draw(samples, &figures());
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&mut self, text: &str) {
        if let Some(bar) = &mut self.bar {
            bar.clear();
            let width = width_of(&bar.term);
            eprintln!("{}", folded(text, width));
        } else if self.verbose != Verbose::Silent {
            eprintln!("{text}");
        }
    }

    /// Replaces the bar by a line.
    pub(crate) fn finish(mut self, line: &dyn fmt::Display) {
        self.line(&line.to_string());
    }
}

impl Bar {
    fn draw(&mut self, samples: usize, figures: &Evaluation) {
        self.refreshed = Instant::now();
        let before = *self.before.get_or_insert(samples);
        let rate = (samples - before) as f64 / self.start.elapsed().as_secs_f64();
        // A character in the last column would make the terminal start a new
        // line.
        let width = width_of(&self.term).saturating_sub(1);
        let Line { before, bar, after } =
            Line::of(&self.name, (samples, self.samples), rate, figures, width);
        let (done, left) = bar;
        let length = columns(&before) + done + left + columns(&after);
        if self.drawn > width {
            // The terminal became narrower, and the old line wraps into several
            // rows.
            self.clear();
        }
        let rest = " ".repeat(self.drawn.saturating_sub(length));
        let done = style("━".repeat(done)).for_stderr().cyan();
        let left = style("─".repeat(left)).for_stderr().dim();
        self.drawn = length;
        // The cursor waits at the start of the line, so that clearing it also
        // clears the `^C` of an interruption. An error of the terminal is
        // ignored: the training must not depend on it.
        let _ = self.term.write_str(&format!("{before}{done}{left}{after}{rest}\r"));
    }

    /// Clears the line, including the rows into which it wraps after the
    /// terminal was resized: the cursor is at its start.
    fn clear(&mut self) {
        if self.drawn > 0 {
            let _ = self.term.write_str("\r").and_then(|()| self.term.clear_to_end_of_screen());
            self.drawn = 0;
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The text of a bar.
struct Line {
    before: String,
    /// The columns of the bar that are filled, and those that are empty.
    bar: (usize, usize),
    after: String,
}

impl Line {
    /// The parts that fit the width, the most important first: the epoch and
    /// its count of samples, the loss, the time left, the bar, the metrics, the
    /// speed.
    fn of(
        name: &str,
        (done, all): (usize, usize),
        rate: f64,
        figures: &Evaluation,
        width: usize,
    ) -> Self {
        let count = format!("{done}/{all}");
        let figures = figures.to_string();
        let (loss, metrics) = figures.split_once("  ").unwrap_or((&figures, ""));
        let mut room = width.saturating_sub(columns(name) + 1 + columns(&count));
        let mut fits = |text: &str| {
            let taken = columns(text) + GAP;
            let fits = !text.is_empty() && taken <= room;
            if fits {
                room -= taken;
            }
            fits
        };
        let eta =
            if rate > 0.0 { left((all.saturating_sub(done)) as f64 / rate) } else { "".into() };
        let has_loss = fits(loss);
        let has_eta = fits(&eta);
        // One of the two gaps is between the bar and the count.
        let has_bar = fits(&" ".repeat(SHORTEST_BAR));
        let shown: Vec<&str> =
            metrics.split("  ").map_while(|metric| fits(metric).then_some(metric)).collect();
        let rate = if rate > 0.0 { format!("{rate:.0} samples/s") } else { String::new() };
        let has_rate = fits(&rate);
        let bar = if has_bar { (SHORTEST_BAR + 1 + room).min(BAR) } else { 0 };
        let share = if all > 0 { done as f64 / all as f64 } else { 1.0 };
        let full = ((bar as f64 * share) as usize).min(bar);
        let mut after = if has_bar { format!(" {count}") } else { count };
        for figure in std::iter::once(loss).filter(|_| has_loss).chain(shown) {
            after += &format!("  {figure}");
        }
        if has_rate {
            after += &format!("  {rate}");
        }
        if has_eta {
            after += if has_rate { ", " } else { "  " };
            after += &eta;
        }
        Self { before: format!("{name} "), bar: (full, bar - full), after }
    }
}

/// The time left, in its largest unit.
fn left(seconds: f64) -> String {
    match seconds {
        _ if seconds < 60.0 => format!("{seconds:.0}s left"),
        _ if seconds < 3600.0 => format!("{:.0}m left", seconds / 60.0),
        _ => format!("{:.0}h left", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(width: usize) -> String {
        let metrics = vec![("accuracy".to_owned(), 0.98), ("f1".to_owned(), 0.97)];
        let figures = Evaluation { loss: 0.0661, metrics };
        let Line { before, bar, after } =
            Line::of("epoch 2/10", (30_000, 60_000), 23_153.0, &figures, width);
        format!("{before}{}{}{after}", "━".repeat(bar.0), "─".repeat(bar.1))
    }

    #[test]
    fn a_line_fits_every_width_and_says_what_matters_most() {
        for width in 0..200 {
            let line = line(width);
            assert!(columns(&line) <= width.max(22), "{width}: {line}");
            assert!(line.starts_with("epoch 2/10 "), "{line}");
        }
        assert_eq!(
            line(199),
            "epoch 2/10 ━━━━━━━━━━━━━━────────────── 30000/60000  loss 0.0661  accuracy 98.00%  \
             f1 0.9700  23153 samples/s, 1s left"
        );
        assert_eq!(
            line(79),
            "epoch 2/10 ━━━━━━━━───────── 30000/60000  loss 0.0661  accuracy 98.00%  1s left"
        );
        assert_eq!(line(39), "epoch 2/10 30000/60000  loss 0.0661");
    }
}
