//! Batch normalisation by the statistics of all shards of a batch.

use std::sync::Arc;

use dendra_autograd::{SharedBatchNorm, SharedNorm, Var};
use dendra_tensor::ops::batch_norm::BatchNorm;
use dendra_tensor::ops::{
    Attributes, Call, Cotangents, Op, SampleCotangents, TermCall, TermCotangents,
};
use dendra_tensor::{ChannelStatistics, Error, Float, NormStatistics, Ops, Result, Shape, Tensor};

use crate::meeting::{Meeting, Values};

/// The batch normalisation of one shard, whose statistics are those of all.
pub(crate) struct OfAllShards {
    pub(crate) meeting: Arc<Meeting>,
    /// The index of the shard among those of its process.
    pub(crate) place: usize,
    /// Whether this shard updates the running statistics.
    pub(crate) updates: bool,
}

/// The error of a shard that waits for another one which has failed.
fn ended() -> Error {
    Error::interrupted("another shard of the batch has failed")
}

impl<T: Float> SharedBatchNorm<T> for OfAllShards {
    fn normalise(
        &self,
        x: &Var<T>,
        weight: Option<&Var<T>>,
        bias: Option<&Var<T>>,
        epsilon: f64,
    ) -> Result<SharedNorm<T>> {
        let own = ChannelStatistics::of(x.value())?;
        let channels = x.shape()[1];
        let elements = x.value().len().checked_div(channels).unwrap_or(0);
        let values = |tensor: &Tensor<T>| tensor.to_vec().into_iter().map(T::to_f64);
        let squares = values(&own.variance).map(|variance| variance * elements as f64).collect();
        let moments =
            Values::Moments { count: elements, means: values(&own.mean).collect(), squares };
        let found = self.meeting.meet(self.place, moments).ok_or_else(ended)?;
        let Values::Moments { count, means, squares } = &*found else { return Err(ended()) };
        if *count == 1 && channels > 0 {
            let message = "expected a batch with at least two elements per channel, got one in \
                           all shards: use larger batches, or leave out a last batch of one \
                           sample (`drop_last`)";
            return Err(Error::shape("batch_norm", message));
        }
        let tensor = |of: &dyn Fn(usize) -> f64| {
            Tensor::from_fn([channels], |channel| T::from_f64(of(channel)))
        };
        let statistics = ChannelStatistics {
            mean: tensor(&|channel| means[channel]),
            variance: tensor(&|channel| squares[channel] / *count as f64),
        };
        let operation = SyncBatchNorm {
            norm: BatchNorm { statistics: NormStatistics::Fixed(statistics.clone()), epsilon },
            count: *count as f64,
            meeting: Arc::clone(&self.meeting),
            place: self.place,
        };
        // The gradients of both are also sums that the gradient of `x` needs.
        let constant = |value| Var::new(Tensor::full([channels], value));
        let weight = weight.cloned().unwrap_or_else(|| constant(T::ONE));
        let bias = bias.cloned().unwrap_or_else(|| constant(T::ZERO));
        let output = Var::try_apply(operation, &[x, &weight, &bias])?;
        Ok(SharedNorm { output, statistics, count: *count, updates: self.updates })
    }
}

/// The normalisation by given statistics, whose gradient includes their
/// dependence on all shards.
#[derive(Clone)]
struct SyncBatchNorm<T: Float> {
    norm: BatchNorm<T>,
    /// The number of elements per channel of all shards.
    count: f64,
    meeting: Arc<Meeting>,
    place: usize,
}

impl<T: Float> SyncBatchNorm<T> {
    /// What the gradient of `x` lacks if the statistics count as constants:
    ///
    /// −weight · inverse · (Σ g + normalised x · Σ g·normalised x) / count
    ///
    /// with the sums over all shards, of which `sums` has those of this one.
    /// `None` when the step has ended.
    fn through_statistics(
        &self,
        x: &Tensor<T>,
        weight: &Tensor<T>,
        sums: [&Tensor<T>; 2],
        statistics: &ChannelStatistics<T>,
    ) -> Option<Tensor<T>> {
        let channels = weight.len();
        let own = sums.iter().flat_map(|sums| sums.to_vec()).map(T::to_f64).collect();
        let all = self.meeting.meet(self.place, Values::Sums(own))?;
        let Values::Sums(all) = &*all else { return None };
        let (variances, weights) = (statistics.variance.to_vec(), weight.to_vec());
        let factor = |index: usize| {
            let channel = index % channels;
            let deviation = (variances[channel].to_f64() + self.norm.epsilon).sqrt();
            let factor = -weights[channel].to_f64() / deviation / self.count;
            T::from_f64(all[index] * factor)
        };
        let slope = Tensor::from_fn([channels], &factor);
        let shift = Tensor::from_fn([channels], |channel| factor(channels + channel));
        Some(self.norm.forward(&[x, &slope, &shift]).0)
    }
}

impl<T: Float> Op<T> for SyncBatchNorm<T> {
    type Saved = ChannelStatistics<T>;
    const NAME: &'static str = "sync_batch_norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.norm.output_shape(inputs)
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Self::Saved) {
        self.norm.forward(inputs)
    }

    fn vjp(&self, call: Call<'_, T, Self::Saved>) -> Cotangents<T> {
        let Call { inputs, output, saved, needs, cotangent } = call;
        let needed = [needs[0], true, true];
        let own = Call { inputs, output, saved, needs: &needed, cotangent };
        let mut gradients = self.norm.vjp(own);
        if let [Some(of_x), Some(of_weight), Some(of_bias)] = &mut gradients[..] {
            let sums = [&*of_weight, &*of_bias];
            match self.through_statistics(&inputs[0], &inputs[1], sums, saved) {
                Some(more) => *of_x += &more,
                // The gradients of this step are not used.
                None => *of_x = Tensor::zeros(of_x.shape()),
            }
        }
        let all = gradients.into_iter().zip(needs);
        all.map(|(gradient, &needed)| gradient.filter(|_| needed)).collect()
    }

    fn vjp_terms(&self, _: TermCall<'_, T, Self::Saved>) -> Result<TermCotangents<T>> {
        Err(Error::tape(
            "sync_batch_norm: with statistics of all shards, gradients cannot be differentiated \
             again",
        ))
    }

    fn vjp_per_sample(
        &self,
        _: Call<'_, T, Self::Saved>,
        _: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        Err(Error::tape(
            "sync_batch_norm: samples have no gradients of their own where mean and variance are \
             those of the batch",
        ))
    }

    fn attributes(&self) -> Attributes {
        self.norm.attributes()
    }

    /// None: its gradient needs the other shards. `tests/processes.rs` compares
    /// it with that of a batch without shards.
    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        Vec::new()
    }
}
