//! A report of a training run as one HTML page.

mod classification;
mod page;
mod regression;

use std::fmt;
use std::path::Path;

use dendra_derive::Setters;
use dendra_nn::{Trace, write_whole};
use dendra_tensor::{Float, Result};

use crate::history::History;
#[cfg(feature = "live")]
use crate::plots::Svg;
pub use classification::{ClassFigures, Classification, Mistake};
pub(crate) use page::comparison_page;
#[cfg(feature = "live")]
pub(crate) use page::live_page;
pub use regression::Regression;

/// A report of a training run: settings, the model's summary and learning
/// curves, and for a classifier the confusion matrix, figures of each class and
/// the worst mistakes as pictures. It is one HTML page that needs no other
/// file, in a light or dark theme as the browser prefers.
///
/// ```
/// use dendra_datasets::digits;
/// use dendra_losses::CrossEntropy;
/// use dendra_nn::Sequential;
/// use dendra_optim::Adam;
/// use dendra_tensor::Rng;
/// use dendra_train::{Accuracy, Classification, Fit, Report, Trainer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("report.html");
/// let (train, test) = (digits(64, 1), digits(32, 2));
/// let model = Sequential::input([1, 28, 28]).flatten().dense(10).build(&mut Rng::seed(1))?;
/// let mut trainer =
///     Trainer::new(model, Adam::new(1e-3), CrossEntropy::new()).metric(Accuracy::new());
/// let history = trainer.fit(&train, Fit::epochs(2).validate_on(&test).quiet())?;
///
/// Report::new("Handwritten digits")
///     .setting("optimizer", "Adam, learning rate 0.001")
///     .summary(&trainer.model().summary())
///     .history(&history)
///     .classification(Classification::of(&trainer, &test)?)
///     .save(&path)?;
/// assert!(std::fs::read_to_string(&path)?.contains("Handwritten digits"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Setters)]
#[must_use = "a report is written by `save`"]
pub struct Report {
    title: String,
    #[set(skip)]
    settings: Vec<(String, String)>,
    #[set(skip)]
    summary: Option<String>,
    /// A drawing of the model.
    #[set(skip)]
    drawing: Option<String>,
    #[set(skip)]
    history: History,
    /// Adds the figures of a classifier.
    #[set]
    classification: Option<Classification>,
    /// Adds the errors of a regression.
    #[set]
    regression: Option<Regression>,
    #[set(skip)]
    class_names: Vec<String>,
    /// Headings and markup of further sections.
    #[set(skip)]
    sections: Vec<(String, String)>,
}

impl Report {
    /// An empty report with this title.
    pub fn new(title: impl Into<String>) -> Self {
        Self::with_defaults(title.into())
    }

    /// Adds a setting of the run.
    pub fn setting(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Adds a description of the model, such as `Sequential::summary`.
    pub fn summary(mut self, summary: &dyn fmt::Display) -> Self {
        self.summary = Some(summary.to_string());
        self
    }

    /// Adds a drawing of the model with its operations.
    pub fn trace<T: Float>(mut self, trace: &Trace<T>) -> Self {
        self.drawing = Some(trace.to_svg());
        self
    }

    /// Adds the learning curves.
    pub fn history(mut self, history: &History) -> Self {
        self.history = history.clone();
        self
    }

    /// Sets the names of the classes, which are otherwise numbers.
    pub fn class_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.class_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a section with a heading and SVG or HTML, which becomes part of the
    /// page as it is: heat maps and coloured words of the feature `explain`, for
    /// example.
    pub fn section(mut self, heading: impl Into<String>, markup: impl Into<String>) -> Self {
        self.sections.push((heading.into(), markup.into()));
        self
    }

    /// The name of a class.
    fn class(&self, index: usize) -> String {
        let named = self.class_names.get(index).cloned();
        named.unwrap_or_else(|| match &self.classification {
            Some(found) => found.class(index),
            None => index.to_string(),
        })
    }

    /// The HTML page.
    ///
    /// # Errors
    ///
    /// When a curve cannot be drawn.
    pub fn to_html(&self) -> Result<String> {
        page::page(self)
    }

    /// The body of the page that shows a training while it runs.
    #[cfg(feature = "live")]
    pub(crate) fn live_body(&self, position: &str, curve: Option<&Svg>) -> Result<String> {
        page::live_body(self, position, curve)
    }

    /// Writes the page to a file.
    ///
    /// # Errors
    ///
    /// When a curve cannot be drawn, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let html = self.to_html()?;
        write_whole(path, |writer| writer.write_all(html.as_bytes()))
    }
}
