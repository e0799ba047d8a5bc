//! Perplexity.

use dendra_losses::CrossEntropy;
use dendra_tensor::{Float, Reduction, Result, Tensor};

use super::{Counted, Metric, label_settings, numbers};

/// The exponential of the mean cross-entropy of logits: the number of equally
/// likely classes that would be as hard to predict.
///
/// Outputs are logits `[batch, classes, …]`, labels `[batch, …]`, as for
/// [`CrossEntropy`](dendra_losses::CrossEntropy).
///
/// ```
/// use dendra_tensor::Tensor;
/// use dendra_train::{Metric, Perplexity};
///
/// let mut perplexity = Perplexity::new();
/// perplexity.update(&Tensor::<f32>::zeros([2, 50]), &Tensor::from([7, 49]))?;
/// assert!((perplexity.value() - 50.0).abs() < 1e-4);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Perplexity {
    counted: Counted,
    sum: f64,
    count: u64,
}

impl Perplexity {
    /// An empty metric.
    pub fn new() -> Self {
        Self::default()
    }
}

label_settings! { Perplexity.counted; }

impl<T: Float> Metric<Tensor<i64>, Tensor<T>> for Perplexity {
    fn name(&self) -> String {
        "perplexity".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor<i64>, Tensor<T>>> {
        Box::new(Self { counted: self.counted, ..Self::new() })
    }

    fn update(&mut self, output: &Tensor<T>, target: &Tensor<i64>) -> Result<()> {
        let Counted { ignore_index, class_axis } = self.counted;
        let each = CrossEntropy::new()
            .ignore_index(ignore_index)
            .class_axis(class_axis)
            .reduction(Reduction::None);
        let losses = each.compute(output, target).map_err(|error| error.within("Perplexity"))?;
        self.sum += losses.to_vec().into_iter().map(T::to_f64).sum::<f64>();
        let counted = target.to_vec().into_iter().filter(|&label| label != ignore_index);
        self.count += counted.count() as u64;
        Ok(())
    }

    fn value(&self) -> f64 {
        (self.sum / self.count as f64).exp()
    }

    fn state(&self) -> Option<Vec<f64>> {
        Some(vec![self.sum, self.count as f64])
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let [sum, count] = numbers("Perplexity", state)?;
        self.sum += sum;
        self.count += count as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_positions_and_not_batches() {
        let logits = Tensor::from([[2_f32.ln(), 0.0], [0.0, 0.0], [9.0, 0.0]]);
        let mut whole = Perplexity::new();
        whole.update(&logits, &Tensor::from([0, 1, -100])).unwrap();
        let expected = (3.0_f64 / 2.0 * 2.0).sqrt();
        assert!((whole.value() - expected).abs() < 1e-6, "{}", whole.value());
        let mut parts = Perplexity::new();
        assert!(parts.value().is_nan());
        for (row, label) in [(0, 0), (1, 1), (2, -100)] {
            let row = logits.narrow(0, row, 1).unwrap();
            parts.update(&row, &Tensor::from([label])).unwrap();
        }
        assert!((parts.value() - expected).abs() < 1e-6);
    }
}
