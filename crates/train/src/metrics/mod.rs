//! Metrics: figures about predictions, gathered batch by batch and exact over
//! the whole data set.

mod accuracy;
mod classes;
mod confusion;
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

/// A figure about predictions, gathered batch by batch.
///
/// `Y` is the type of a batch's targets.
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

/// The number of classes of an output of shape `[batch, classes]` whose labels
/// fit it.
fn check_classes(place: &str, output: &Shape, labels: &Shape) -> Result<usize> {
    match output[..] {
        [batch, classes] if **labels == [batch] && classes > 0 => Ok(classes),
        _ => Err(Error::shape(
            place,
            format!(
                "expected output [batch, classes] and labels [batch], got {output} and {labels}"
            ),
        )),
    }
}

/// An error unless output and targets have one shape.
fn check_same(place: &str, output: &Shape, target: &Shape) -> Result<()> {
    if output == target {
        return Ok(());
    }
    let message = format!("expected targets of the output's shape {output}, got {target}");
    Err(Error::shape(place, message))
}
