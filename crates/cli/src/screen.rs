//! Output: results on the standard output, everything else on the standard
//! error stream.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::{Term, style};
use dendra_tensor::Result;
use dendra_train::{BatchReport, Callback, EpochReport, Moment};

use crate::arguments::Global;

/// Where and how much to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    json: bool,
    quiet: bool,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet }
    }

    /// Whether results are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result for people, unless JSON is printed.
    pub(crate) fn result(&self, text: impl fmt::Display) -> Result<()> {
        if self.json { Ok(()) } else { print(&text) }
    }

    /// Prints information, unless `--quiet` or `--json` is given.
    pub(crate) fn inform(&self, text: impl fmt::Display) -> Result<()> {
        if self.json || self.quiet { Ok(()) } else { print(&text) }
    }

    /// Prints a result as JSON if `--json` is given.
    pub(crate) fn json(&self, value: &serde_json::Value) -> Result<()> {
        if self.json { print(&format!("{value:#}")) } else { Ok(()) }
    }

    /// Prints a note about something that the user should know.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            let mark = style("note:").for_stderr().yellow().bold();
            // A closed terminal must not cause a failure.
            let _ = writeln!(io::stderr(), "{mark} {text}");
        }
    }

    /// The progress of a training with this many epochs of this many batches.
    pub(crate) fn progress(&self, epochs: u64, batches: usize) -> Progress {
        let term = Term::stderr();
        let bar = !self.quiet && term.is_term();
        Progress { quiet: self.quiet, bar, epochs, batches, term, drawn: None, printed: None }
    }
}

/// Prints a line. A closed pipe, as after `| head`, is not an error.
fn print(text: &dyn fmt::Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(dendra_tensor::Error::io("standard output", error))
        }
        _ => Ok(()),
    }
}

/// The shortest time between lines of epochs.
const LINES: Duration = Duration::from_secs(1);

/// The shortest time between updates of the line of the current epoch.
const REFRESH: Duration = Duration::from_millis(100);

/// Prints lines for epochs, at most one per second, so that a training of many
/// short epochs stays readable; on a terminal also a line that is updated in
/// place.
pub(crate) struct Progress {
    quiet: bool,
    bar: bool,
    epochs: u64,
    batches: usize,
    term: Term,
    drawn: Option<Instant>,
    printed: Option<(Instant, u64)>,
}

impl Progress {
    fn clear(&mut self) {
        if self.drawn.is_some() {
            let _ = self.term.clear_line();
        }
    }

    fn line(&mut self, epoch: &EpochReport) {
        if !self.quiet {
            self.clear();
            let _ = writeln!(io::stderr(), "{}", line(epoch, self.epochs));
            self.printed = Some((Instant::now(), epoch.number));
        }
    }
}

/// The line of an epoch, shorter than 80 characters.
fn line(epoch: &EpochReport, epochs: u64) -> String {
    let width = epochs.to_string().len();
    let mut line =
        format!("epoch {:>width$}/{epochs}  loss {:.4}", epoch.number, epoch.training.loss);
    if let Some(validation) = &epoch.validation {
        line += &format!("  validation: loss {:.4}", validation.loss);
        for (name, value) in &validation.metrics {
            line += &match name.ends_with("accuracy") {
                true => format!("  {name} {:.2}%", 100.0 * value),
                false => format!("  {name} {value:.4}"),
            };
        }
    }
    line + &format!("  {:.1} s", epoch.seconds)
}

impl Callback for Progress {
    fn on_batch(&mut self, now: &mut Moment<'_>, batch: &BatchReport<'_>) -> Result<()> {
        if self.bar && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REFRESH) {
            self.clear();
            self.drawn = Some(Instant::now());
            let Self { epochs, batches, .. } = self;
            let (epoch, done) = (now.epoch, now.batch);
            let text =
                format!("epoch {epoch}/{epochs}, batch {done}/{batches}  loss {:.4}\r", batch.loss);
            let _ = self.term.write_str(&text);
        }
        Ok(())
    }

    fn on_epoch(&mut self, _: &mut Moment<'_>, epoch: &EpochReport) -> Result<()> {
        if self.printed.is_none_or(|(at, _)| at.elapsed() >= LINES) {
            self.line(epoch);
        }
        Ok(())
    }

    fn on_end(&mut self, now: &mut Moment<'_>) -> Result<()> {
        self.clear();
        if let Some(last) = now.history.last()
            && self.printed.is_none_or(|(_, number)| number != last.number)
        {
            self.line(last);
        }
        Ok(())
    }
}
