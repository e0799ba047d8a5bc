//! A folder for each run, and the comparison of the runs of a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use dendra_nn::write_whole;
use dendra_tensor::{Error, Float, Result};
use serde_json::{Map, Value};

use crate::callback::{Callback, Moment};
use crate::checkpoint::Checkpoints;
use crate::history::{EpochReport, shown};
use crate::table;

const SETTINGS: &str = "settings.json";
const HISTORY: &str = "history.json";
const TABLE: &str = "history.csv";
#[cfg(feature = "report")]
const REPORT: &str = "report.html";

/// A callback that writes a run into a folder: `settings.json` at the start,
/// `history.csv` and `history.json` after every epoch, `report.html` at the end
/// (with the feature `report`), and the checkpoints, if
/// [`checkpoints`](Self::checkpoints) is passed to the fit. [`compare_runs`]
/// compares several such folders.
///
/// ```
/// use dendra_train::{Fit, RunFolder};
///
/// let run = RunFolder::new("runs/wide").setting("width", 256).setting("learning rate", 1e-3);
/// let fit: Fit = Fit::epochs(10).checkpoints(run.checkpoints()).callback(run);
/// ```
#[derive(Clone, Debug)]
pub struct RunFolder {
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

impl RunFolder {
    /// A run in this folder, which is created if it does not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), settings: Vec::new() }
    }

    /// Records a setting of the run.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Checkpoints in the same folder.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(&self.folder)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        write_whole(self.folder.join(name), |writer| writer.write_all(text.as_bytes()))
    }
}

impl<T: Float> Callback<T> for RunFolder {
    fn on_start(&mut self, _: &mut Moment<'_, T>) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|error| Error::io(&self.folder, error))?;
        let settings =
            self.settings.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        let settings: Map<String, Value> = settings.collect();
        self.write(SETTINGS, &format!("{:#}\n", Value::from(settings)))
    }

    fn on_epoch(&mut self, now: &mut Moment<'_, T>, _: &EpochReport) -> Result<()> {
        self.write(TABLE, &now.history.to_csv())?;
        self.write(HISTORY, &now.history.to_json())
    }

    #[cfg(feature = "report")]
    fn on_end(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        let title = self.folder.file_name().unwrap_or(self.folder.as_os_str()).to_string_lossy();
        let mut report = crate::report::Report::new(title).history(now.history);
        for (name, value) in &self.settings {
            report = report.setting(name, value);
        }
        report.save(self.folder.join(REPORT))
    }
}

/// A run that a [`RunFolder`] wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedRun {
    /// The name of its folder.
    pub name: String,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// The figures of every epoch by name, without those that are not numbers.
    pub epochs: Vec<BTreeMap<String, f64>>,
}

impl RecordedRun {
    fn read(folder: &Path) -> Result<Self> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let read = |name: &str| -> Result<Value> {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
            serde_json::from_str(&text).map_err(|error| Error::file(&path, error.to_string()))
        };
        let settings = match read(SETTINGS)? {
            Value::Object(settings) => settings,
            _ => return Err(Error::file(folder.join(SETTINGS), "expected an object")),
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let history = read(HISTORY)?;
        let epochs = history.get("epochs").and_then(Value::as_array);
        let epochs = epochs
            .ok_or_else(|| Error::file(folder.join(HISTORY), "expected an array `epochs`"))?
            .iter()
            .filter_map(Value::as_object)
            .map(|epoch| {
                let numbers = epoch.iter().map(|(name, value)| (name.clone(), value.as_f64()));
                numbers.filter_map(|(name, value)| Some((name, value?))).collect()
            });
        Ok(Self {
            name,
            epochs: epochs.collect(),
            settings: settings.into_iter().map(|(name, value)| (name, text(value))).collect(),
        })
    }

    /// The figures of the best epoch: the one with the lowest validation loss,
    /// or training loss when there was no validation.
    pub fn best(&self) -> Option<&BTreeMap<String, f64>> {
        let validated = self.epochs.iter().any(|epoch| epoch.contains_key(VALIDATION_LOSS));
        let watched = if validated { VALIDATION_LOSS } else { "loss" };
        let with = self.epochs.iter().filter(|epoch| epoch.contains_key(watched));
        with.min_by(|a, b| a[watched].total_cmp(&b[watched]))
    }
}

const VALIDATION_LOSS: &str = "validation loss";

/// A comparison of runs, made by [`compare_runs`]. It prints as a table, the
/// run with the lowest loss first.
#[derive(Clone, Debug, PartialEq)]
pub struct RunComparison {
    /// The runs.
    pub runs: Vec<RecordedRun>,
}

/// Reads the runs that [`RunFolder`] has written into the subfolders of a
/// folder. Other subfolders are ignored.
///
/// # Errors
///
/// When a folder or file cannot be read or is damaged, or there is no run.
pub fn compare_runs(folder: impl AsRef<Path>) -> Result<RunComparison> {
    let folder = folder.as_ref();
    let failed = |error| Error::io(folder, error);
    let mut runs = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.join(HISTORY).is_file() && path.join(SETTINGS).is_file() {
            runs.push(RecordedRun::read(&path)?);
        }
    }
    if runs.is_empty() {
        return Err(Error::file(
            folder,
            "there is no run in it: train with the callback `RunFolder` to write one",
        ));
    }
    let rank = |run: &RecordedRun| {
        let best = run.best();
        let loss = best.and_then(|best| best.get(VALIDATION_LOSS).or_else(|| best.get("loss")));
        loss.copied().unwrap_or(f64::INFINITY)
    };
    runs.sort_by(|a, b| rank(a).total_cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(RunComparison { runs })
}

impl RunComparison {
    /// The headings of the table and its rows: the settings in which the runs
    /// differ, and the figures of the best epoch of each run.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        const APART: [&str; 4] = ["epoch", "seconds", "samples per second", "learning rate"];
        let settings = self.runs.iter().flat_map(|run| run.settings.keys());
        let mut settings: Vec<&String> = settings.collect();
        settings.sort();
        settings.dedup();
        let first = &self.runs[0].settings;
        settings
            .retain(|name| self.runs.iter().any(|run| run.settings.get(*name) != first.get(*name)));
        let figures =
            self.runs.iter().flat_map(|run| run.best().into_iter().flat_map(|e| e.keys()));
        let mut figures: Vec<&String> = figures.collect();
        figures.sort();
        figures.dedup();
        figures.retain(|name| !APART.contains(&name.as_str()));
        let mut head = vec!["run".to_owned()];
        head.extend(settings.iter().map(|name| name.to_string()));
        head.extend(["epochs", "best"].map(str::to_owned));
        head.extend(figures.iter().map(|name| name.to_string()));
        head.push("seconds".to_owned());
        let rows = self.runs.iter().map(|run| {
            let mut row = vec![run.name.clone()];
            let none = || "–".to_owned();
            let setting = |name: &&String| run.settings.get(*name).cloned().unwrap_or_else(none);
            row.extend(settings.iter().map(setting));
            let best = run.best();
            let of_best = |name: &str| best.and_then(|best| best.get(name));
            row.push(run.epochs.len().to_string());
            row.push(of_best("epoch").map_or_else(none, f64::to_string));
            let figure = |name: &&String| of_best(name).map_or_else(none, |&v| shown(name, v));
            row.extend(figures.iter().map(figure));
            let seconds: f64 = run.epochs.iter().filter_map(|epoch| epoch.get("seconds")).sum();
            row.push(format!("{seconds:.1}"));
            row
        });
        (head, rows.collect())
    }

    /// Writes an HTML page with the table and with the curves of all runs.
    ///
    /// # Errors
    ///
    /// When a curve cannot be drawn, or the file cannot be written.
    #[cfg(feature = "report")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let has = |name: &&str| {
            self.runs.iter().any(|run| run.epochs.iter().any(|epoch| epoch.contains_key(*name)))
        };
        let mut figures = vec!["loss", VALIDATION_LOSS];
        let all = self.runs.iter().flat_map(|run| &run.epochs).flat_map(BTreeMap::keys);
        let mut metrics: Vec<&str> =
            all.map(String::as_str).filter(|name| name.starts_with("validation ")).collect();
        metrics.sort();
        metrics.dedup();
        figures.extend(metrics.into_iter().filter(|name| *name != VALIDATION_LOSS));
        let mut curves = Vec::new();
        for name in figures.into_iter().filter(|name| has(name)) {
            let mut chart =
                crate::plots::Chart::new("epoch", name).percent(crate::history::is_percent(name));
            for run in &self.runs {
                let points = run.epochs.iter();
                let points =
                    points.filter_map(|epoch| Some((*epoch.get("epoch")?, *epoch.get(name)?)));
                chart = chart.line(&run.name, points);
            }
            curves.push(chart.to_svg()?);
        }
        let (head, rows) = self.table();
        let html = crate::report::comparison_page(&head, &rows, &curves);
        write_whole(path, |writer| writer.write_all(html.as_bytes()))
    }
}

impl fmt::Display for RunComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, rows) = self.table();
        table::write(f, &head, &rows)
    }
}
