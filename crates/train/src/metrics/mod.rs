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

pub use classes::Average;
pub use confusion::ConfusionMatrix;
pub use map::MapMetric;

use dendra_tensor::{Error, Result, Shape, Tensor};
#[cfg(feature = "report")]
pub(crate) use labels::IGNORED;
use labels::{Counted, label_settings};
#[cfg(feature = "report")]
pub(crate) use ranking::{average_precision, roc_auc, steps};

/// A figure about predictions, gathered batch by batch.
///
/// `Y` is the type of a batch's targets and `P` that of the values of the
/// model's output: one tensor, or a tuple of them for a model of several
/// outputs ([`MapMetric`] looks at one of those). Metrics by labels take what
/// [`CrossEntropy`](dendra_losses::CrossEntropy) takes, with the same settings:
/// outputs `[batch, classes, …]`, or with the classes in the axis that
/// `class_axis` sets, with labels `[batch, …]`, of which those that are −100,
/// or what `ignore_index` sets, do not count.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no metric of targets of type `{Y}`",
    label = "the data set's targets do not suit this metric",
    note = "class labels are integers, `Tensor<i64>`, as for `Accuracy`; `BinaryAccuracy` and \
            `MeanAbsoluteError` take floats; `MapMetric` adapts a metric to other outputs"
)]
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

/// The metrics of outputs of any float: makes them public, and gives them their
/// name and value without a type of outputs, which nothing would tell.
macro_rules! metrics {
    ($($module:ident: $metric:ident of $target:ty;)*) => {$(
        pub use $module::$metric;

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
metrics! {
    accuracy: Accuracy of Tensor<i64>;
    accuracy: BinaryAccuracy of Tensor;
    accuracy: CategoricalAccuracy of Tensor;
    accuracy: TopKAccuracy of Tensor<i64>;
    classes: BalancedAccuracy of Tensor<i64>;
    classes: BinaryF1 of Tensor;
    classes: BinaryPrecision of Tensor;
    classes: BinaryRecall of Tensor;
    classes: CohenKappa of Tensor<i64>;
    classes: F1 of Tensor<i64>;
    classes: MatthewsCorrelation of Tensor<i64>;
    classes: Precision of Tensor<i64>;
    classes: Recall of Tensor<i64>;
    perplexity: Perplexity of Tensor<i64>;
    ranking: AveragePrecision of Tensor<i64>;
    ranking: RocAuc of Tensor<i64>;
    regression: MeanAbsoluteError of Tensor;
    regression: MeanSquaredError of Tensor;
    regression: R2Score of Tensor;
    regression: RootMeanSquaredError of Tensor;
}

/// An error unless output and targets have one shape.
fn check_same(place: &str, output: &Shape, target: &Shape) -> Result<()> {
    if output == target {
        return Ok(());
    }
    let message = format!("expected targets of the output's shape {output}, got {target}");
    Err(Error::shape(place, message))
}
