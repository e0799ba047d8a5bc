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

    /// The values gathered so far as numbers, which [`merge`](Self::merge) adds
    /// to a metric of another process. The default is `None`: the metric cannot
    /// be gathered by several processes.
    fn state(&self) -> Option<Vec<f64>> {
        None
    }

    /// Adds the [`state`](Self::state) of the same metric of the samples that
    /// follow.
    ///
    /// # Errors
    ///
    /// When the state is not one of this metric, or the metric has none.
    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let _ = state;
        let message = "the metric has no state, so several processes cannot gather it";
        Err(Error::argument(self.name(), message))
    }
}

/// The numbers of a state that has this many.
fn numbers<const N: usize>(context: &str, state: &[f64]) -> Result<[f64; N]> {
    state.try_into().map_err(|_| {
        let message = format!("expected a state of {N} numbers, got {}", state.len());
        Error::data(context, message)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that two metrics of a part each, merged, give the figure of all.
    fn assert_merges<Y: Clone>(
        metrics: Vec<Box<dyn Metric<Y>>>,
        [first, second]: [(Tensor, Y); 2],
    ) {
        for mut whole in metrics {
            let (mut one, mut two) = (whole.fresh(), whole.fresh());
            for (output, target) in [&first, &second] {
                whole.update(output, target).unwrap();
            }
            one.update(&first.0, &first.1).unwrap();
            two.update(&second.0, &second.1).unwrap();
            let mut merged = whole.fresh();
            merged.merge(&whole.fresh().state().unwrap()).unwrap();
            merged.merge(&one.state().unwrap()).unwrap();
            merged.merge(&two.state().unwrap()).unwrap();
            let (found, expected) = (merged.value(), whole.value());
            assert!((found - expected).abs() < 1e-12, "{}: {found} {expected}", whole.name());
            assert!(merged.merge(&[3.0, 1.0, 2.0, 5.0, 1.5]).is_err(), "{}", whole.name());
        }
    }

    #[test]
    fn merged_parts_give_the_figure_of_all() {
        let scores = |rows: [[f32; 3]; 3]| Tensor::from(rows);
        let parts = [
            (scores([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]]), Tensor::from([1, 2, 2])),
            (scores([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.3, 0.3]]), Tensor::from([0, 1, 2])),
        ];
        assert_merges::<Tensor<i64>>(
            vec![
                Box::new(Accuracy::new()),
                Box::new(TopKAccuracy::new(2)),
                Box::new(BalancedAccuracy::new()),
                Box::new(CohenKappa::new()),
                Box::new(F1::new()),
                Box::new(MatthewsCorrelation::new()),
                Box::new(Precision::new()),
                Box::new(Recall::new().average(Average::Weighted)),
                Box::new(Perplexity::new()),
                Box::new(AveragePrecision::new()),
                Box::new(RocAuc::new()),
            ],
            parts,
        );
        let column = |values: [f32; 3]| Tensor::from(values);
        let parts = [
            (column([0.9, 0.2, 0.6]), column([1.0, 0.0, 0.0])),
            (column([0.3, 0.8, 0.1]), column([1.0, 1.0, 0.0])),
        ];
        assert_merges::<Tensor>(
            vec![
                Box::new(BinaryAccuracy::new()),
                Box::new(BinaryF1::new()),
                Box::new(BinaryPrecision::new()),
                Box::new(BinaryRecall::new()),
                Box::new(AveragePrecision::new()),
                Box::new(MeanAbsoluteError::new()),
                Box::new(MeanSquaredError::new()),
                Box::new(RootMeanSquaredError::new()),
                Box::new(R2Score::new()),
                Box::new(RocAuc::new()),
            ],
            parts,
        );
    }
}
