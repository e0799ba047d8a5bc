//! Metrics: figures about predictions, gathered batch by batch and exact over
//! the whole data set.

mod accuracy;
mod classes;
mod confusion;
mod labels;
mod perplexity;
mod ranking;
mod regression;

pub use accuracy::{Accuracy, BinaryAccuracy, CategoricalAccuracy, TopKAccuracy};
pub use classes::{
    Average, BalancedAccuracy, BinaryF1, BinaryPrecision, BinaryRecall, CohenKappa, F1,
    MatthewsCorrelation, Precision, Recall,
};
pub use confusion::ConfusionMatrix;
pub use perplexity::Perplexity;
pub use ranking::{AveragePrecision, RocAuc};
pub use regression::{MeanAbsoluteError, MeanSquaredError, R2Score, RootMeanSquaredError};

use dendra_tensor::{Error, Result, Shape, Tensor};
#[cfg(feature = "report")]
pub(crate) use labels::IGNORED;
use labels::{Counted, ignore_setting};

/// A figure about predictions, gathered batch by batch.
///
/// `Y` is the type of a batch's targets. Metrics by labels take what
/// [`CrossEntropy`](dendra_losses::CrossEntropy) takes: outputs `[batch,
/// classes, …]` with labels `[batch, …]`, of which those that are −100, or
/// what `ignore_index` sets, do not count.
pub trait Metric<Y = Tensor<i64>>: Send + Sync {
    /// The name that progress and tables show.
    fn name(&self) -> String;

    /// The same metric with nothing gathered.
    fn fresh(&self) -> Box<dyn Metric<Y>>;

    /// Takes a batch of model outputs with their targets into account.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit each other or the metric.
    fn update(&mut self, output: &Tensor, target: &Y) -> Result<()>;

    /// The figure over everything gathered; NaN when that is nothing.
    fn value(&self) -> f64;
}

/// An error unless output and targets have one shape.
fn check_same(place: &str, output: &Shape, target: &Shape) -> Result<()> {
    if output == target {
        return Ok(());
    }
    let message = format!("expected targets of the output's shape {output}, got {target}");
    Err(Error::shape(place, message))
}
