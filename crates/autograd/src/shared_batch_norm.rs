//! Batch normalisation whose batch is larger than that of one forward pass.

use std::sync::Arc;

use dendra_tensor::{ChannelStatistics, Float, Result};

use crate::tape::Tape;
use crate::var::Var;

/// Normalises the batches of several forward passes by the statistics of all of
/// them together. Each of the passes has a tape of its own; see
/// [`Tape::with_shared_batch_norm`].
pub trait SharedBatchNorm<T: Float = f32>: Send + Sync {
    /// Normalises the part of the batch that this pass has, `[N, C, …]`. It
    /// waits until the other passes have reached the same layer.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit each other, the whole batch has fewer than two
    /// elements per channel, or another pass has ended early.
    fn normalise(
        &self,
        x: &Var<T>,
        weight: Option<&Var<T>>,
        bias: Option<&Var<T>>,
        epsilon: f64,
    ) -> Result<SharedNorm<T>>;
}

/// The result of [`SharedBatchNorm::normalise`].
#[derive(Debug)]
pub struct SharedNorm<T: Float = f32> {
    /// The normalised part of the batch.
    pub output: Var<T>,
    /// Mean and biased variance of the whole batch.
    pub statistics: ChannelStatistics<T>,
    /// The number of elements per channel of the whole batch.
    pub count: usize,
    /// Whether this pass updates the running statistics; one of the passes does.
    pub updates: bool,
}

impl<T: Float> Tape<T> {
    /// This tape with another rule for the batch normalisation of training,
    /// which layers ask for by [`shared_batch_norm`](Self::shared_batch_norm).
    #[must_use]
    pub fn with_shared_batch_norm(self, norm: Arc<dyn SharedBatchNorm<T>>) -> Self {
        self.with_batch_norm(norm)
    }

    /// The rule for batch normalisation if it is not that of a single batch, and
    /// the tape is in training mode.
    pub fn shared_batch_norm(&self) -> Option<&dyn SharedBatchNorm<T>> {
        self.shared.batch_norm.as_deref().filter(|_| self.is_training())
    }
}

#[cfg(all(test, feature = "gradients"))]
mod tests {
    use dendra_tensor::{Ops, Tensor};

    use super::*;

    /// Doubles what it is given.
    struct Twice;

    impl SharedBatchNorm for Twice {
        fn normalise(
            &self,
            x: &Var,
            _weight: Option<&Var>,
            _bias: Option<&Var>,
            _epsilon: f64,
        ) -> Result<SharedNorm> {
            let statistics =
                ChannelStatistics { mean: Tensor::zeros([1]), variance: Tensor::ones([1]) };
            let output = x.mul_scalar(2.0);
            Ok(SharedNorm { output, statistics, count: 1, updates: true })
        }
    }

    #[test]
    fn a_tape_with_several_handles_takes_another_rule_and_records_its_gradients() {
        let tape = Tape::training(0, 0);
        let other = tape.clone();
        let shared = tape.with_shared_batch_norm(Arc::new(Twice));
        assert!(other.shared_batch_norm().is_none());

        let leaf = other.leaf(Tensor::from([3.0]));
        let x = shared.leaf(Tensor::from([1.0]));
        let norm = shared.shared_batch_norm().unwrap();
        let output = norm.normalise(&x, None, None, 0.0).unwrap().output;
        let gradients = output.add(&leaf).unwrap().sum().backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap(), &Tensor::from([2.0]));
        assert_eq!(gradients.wrt(&leaf).unwrap(), &Tensor::from([1.0]));
    }
}
