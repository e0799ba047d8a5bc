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
    /// Call it before the forward pass: a tape with several handles stays as it
    /// is.
    #[must_use]
    pub fn with_shared_batch_norm(mut self, norm: Arc<dyn SharedBatchNorm<T>>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.batch_norm = Some(norm);
        }
        self
    }

    /// The rule for batch normalisation if it is not that of a single batch, and
    /// the tape is in training mode.
    pub fn shared_batch_norm(&self) -> Option<&dyn SharedBatchNorm<T>> {
        self.shared.batch_norm.as_deref().filter(|_| self.is_training())
    }
}
