//! Metrics: figures about predictions, gathered batch by batch and exact over
//! the whole data set.

mod accuracy;
mod classes;
mod confusion;
mod labels;
mod map;
mod perplexity;
mod ranking;
mod regression;

pub use accuracy::{Accuracy, BinaryAccuracy, CategoricalAccuracy, TopKAccuracy};
pub use classes::{
    Average, BalancedAccuracy, BinaryF1, BinaryPrecision, BinaryRecall, CohenKappa, F1,
    MatthewsCorrelation, Precision, Recall,
};
pub use confusion::ConfusionMatrix;
pub use map::MapMetric;
pub use perplexity::Perplexity;
pub use ranking::{AveragePrecision, RocAuc};
pub use regression::{MeanAbsoluteError, MeanSquaredError, R2Score, RootMeanSquaredError};

use dendra_tensor::{Error, Result, Shape, Tensor};
#[cfg(feature = "report")]
pub(crate) use labels::IGNORED;
use labels::{Counted, label_settings};

/// A figure about predictions, gathered batch by batch.
///
/// `Y` is the type of a batch's targets and `P` that of the values of the
/// model's output: one tensor, or a tuple of them for a model of several
/// outputs ([`MapMetric`] looks at one of those). Metrics by labels take what
/// [`CrossEntropy`](dendra_losses::CrossEntropy) takes, with the same settings:
/// outputs `[batch, classes, …]`, or with the classes in the axis that
/// `class_axis` sets, with labels `[batch, …]`, of which those that are −100,
/// or what `ignore_index` sets, do not count.
pub trait Metric<Y = Tensor<i64>, P = Tensor>: Send + Sync {
    /// The name that progress and tables show.
    fn name(&self) -> String;

    /// The same metric with nothing gathered.
    fn fresh(&self) -> Box<dyn Metric<Y, P>>;

    /// Takes a batch of model outputs with their targets into account.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit each other or the metric.
    fn update(&mut self, output: &P, target: &Y) -> Result<()>;

    /// The figure over everything gathered; NaN when that is nothing.
    fn value(&self) -> f64;
}

/// Gives metrics of outputs of any float their name and value without a type of
/// outputs, which nothing would tell.
macro_rules! of_any_float {
    ($($metric:ident: $target:ty;)*) => {$(
        impl $metric {
            /// The name that progress and tables show.
            pub fn name(&self) -> String {
                Metric::<$target, Tensor>::name(self)
            }

            /// The figure over everything gathered; NaN when that is nothing.
            pub fn value(&self) -> f64 {
                Metric::<$target, Tensor>::value(self)
            }
        }
    )*};
}
of_any_float! {
    Accuracy: Tensor<i64>;
    AveragePrecision: Tensor<i64>;
    BalancedAccuracy: Tensor<i64>;
    BinaryAccuracy: Tensor;
    BinaryF1: Tensor;
    BinaryPrecision: Tensor;
    BinaryRecall: Tensor;
    CategoricalAccuracy: Tensor;
    CohenKappa: Tensor<i64>;
    F1: Tensor<i64>;
    MatthewsCorrelation: Tensor<i64>;
    MeanAbsoluteError: Tensor;
    MeanSquaredError: Tensor;
    Perplexity: Tensor<i64>;
    Precision: Tensor<i64>;
    R2Score: Tensor;
    Recall: Tensor<i64>;
    RocAuc: Tensor<i64>;
    RootMeanSquaredError: Tensor;
    TopKAccuracy: Tensor<i64>;
}

/// An error unless output and targets have one shape.
fn check_same(place: &str, output: &Shape, target: &Shape) -> Result<()> {
    if output == target {
        return Ok(());
    }
    let message = format!("expected targets of the output's shape {output}, got {target}");
    Err(Error::shape(place, message))
}
