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
/// model's output: one tensor, or a tuple of tensors for a model with several
/// outputs ([`MapMetric`] selects one of them). Metrics of labels take the same
/// values as [`CrossEntropy`](dendra_losses::CrossEntropy) and have the same
/// settings: outputs `[batch, classes, …]` (`class_axis` sets another axis) and
/// labels `[batch, …]`, of which −100 (`ignore_index` sets another label) is
/// ignored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a metric for targets of type `{Y}`",
    label = "the data set has targets of another type than this metric",
    note = "class labels are integers, `Tensor<i64>`, as for `Accuracy`; `BinaryAccuracy` and \
            `MeanAbsoluteError` take floats; `MapMetric` adapts a metric to other outputs"
)]
pub trait Metric<Y = Tensor<i64>, P = Tensor>: Send + Sync {
    /// The name of the metric in progress lines and tables.
    fn name(&self) -> String;

    /// The same metric without the values gathered so far.
    fn fresh(&self) -> Box<dyn Metric<Y, P>>;

    /// Adds a batch of outputs of the model and their targets.
    ///
    /// # Errors
    ///
    /// When the shapes do not match each other, or the metric cannot use them.
    fn update(&mut self, output: &P, target: &Y) -> Result<()>;

    /// The figure over all batches so far; NaN before the first.
    fn value(&self) -> f64;
}

/// Exports metrics for outputs of any number type, and gives them methods for
/// name and value. The methods of the trait are ambiguous without the type of
/// the outputs.
macro_rules! metrics {
    ($($module:ident: $metric:ident of $target:ty;)*) => {$(
        pub use $module::$metric;

        impl $metric {
            /// The name of the metric in progress lines and tables.
            pub fn name(&self) -> String {
                Metric::<$target, Tensor>::name(self)
            }

            /// The figure over all batches so far; NaN before the first.
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

/// Returns an error unless output and targets have the same shape.
fn check_same(context: &str, output: &Shape, target: &Shape) -> Result<()> {
    if output == target {
        return Ok(());
    }
    let message = format!("expected targets of the output's shape {output}, got {target}");
    Err(Error::shape(context, message))
}
