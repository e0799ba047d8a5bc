//! Gradient clipping, by the global norm or element-wise.

use dendra_autograd::{Gradients, Parameters};
use dendra_tensor::kernels::parallel::{self, GRAIN};
use dendra_tensor::kernels::simd;
use dendra_tensor::{Float, Result};

use crate::rule::require_not_negative;

/// The norm of all gradients together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// The sum of the absolute values.
    L1,
    /// The root of the sum of the squares.
    L2,
    /// The largest absolute value.
    Max,
}

/// Returns the norm of all gradients of a model together.
///
/// It is computed in `f64` and in a fixed order, so that the bits do not depend on
/// the number of threads.
pub fn gradient_norm<T: Float>(
    model: &dyn Parameters<T>,
    gradients: &Gradients<T>,
    norm: Norm,
) -> f64 {
    let parameters = model.named_parameters();
    let of_model = parameters.iter().filter_map(|(_, param)| gradients.get(param));
    let contiguous: Vec<_> = of_model.map(|gradient| gradient.contiguous()).collect();
    norm.of(contiguous.iter().filter_map(|gradient| gradient.as_slice()))
}

impl Norm {
    /// Returns the norm of all values together.
    pub(crate) fn of<'a, T: Float>(self, values: impl Iterator<Item = &'a [T]>) -> f64 {
        match self {
            Norm::L1 => reduce(values, |sum, x| sum + x.abs(), |a, b| a + b),
            Norm::L2 => reduce(values, |sum, x| sum + x * x, |a, b| a + b).sqrt(),
            Norm::Max => reduce(values, |max, x| max.max_nan(x.abs()), f64::max_nan),
        }
    }
}

/// Folds the values with `step` into several accumulators that start at 0, and
/// combines these with `join`, in an order that depends only on the lengths.
fn reduce<'a, T: Float>(
    values: impl Iterator<Item = &'a [T]>,
    step: impl Fn(f64, f64) -> f64 + Sync,
    join: impl Fn(f64, f64) -> f64 + Sync,
) -> f64 {
    /// The number of accumulators. They fill the widest registers several times.
    const LANES: usize = 32;
    const CHUNK: usize = GRAIN / 2;

    let of_chunk = |chunk: &[T]| {
        simd::dispatch(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                let (blocks, rest) = chunk.as_chunks::<LANES>();
                for block in blocks.iter().map(|block| &block[..]).chain([rest]) {
                    for (lane, x) in lanes.iter_mut().zip(block) {
                        *lane = step(*lane, x.to_f64());
                    }
                }
                lanes.into_iter().fold(0.0, &join)
            },
        )
    };
    values.fold(0.0, |total, values| {
        if values.len() <= CHUNK {
            return join(total, of_chunk(values));
        }
        let chunks = values.len().div_ceil(CHUNK);
        let sums = parallel::map(chunks, CHUNK, |index| {
            let start = index * CHUNK;
            of_chunk(&values[start..values.len().min(start + CHUNK)])
        });
        sums.into_iter().fold(total, &join)
    })
}

/// The settings of gradient clipping.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clipping {
    pub(crate) norm: Option<(Norm, f64)>,
    pub(crate) value: Option<f64>,
    pub(crate) negate: bool,
}

impl Clipping {
    pub(crate) fn check(&self, context: &str) -> Result<()> {
        if let Some((_, max_norm)) = self.norm {
            require_not_negative(context, "clip_norm", max_norm)?;
        }
        if let Some(limit) = self.value {
            require_not_negative(context, "clip_value", limit)?;
        }
        Ok(())
    }

    /// Returns the change of each element of gradients with this norm; `None` if they
    /// are unchanged.
    pub(crate) fn treatment<T: Float>(&self, norm: Option<f64>) -> Option<Treatment<T>> {
        let mut factor = match (self.norm, norm) {
            // PyTorch adds 1e-6 to avoid a division by 0.
            (Some((_, max_norm)), Some(norm)) => (max_norm / (norm + 1e-6)).min(1.0),
            _ => 1.0,
        };
        if self.negate {
            factor = -factor;
        }
        let limit = self.value.unwrap_or(f64::INFINITY);
        (factor != 1.0 || limit.is_finite())
            .then(|| Treatment { factor: T::from_f64(factor), limit: T::from_f64(limit) })
    }
}

/// A factor, followed by a limit for the absolute value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Treatment<T> {
    factor: T,
    limit: T,
}

impl<T: Float> Treatment<T> {
    #[inline(always)]
    pub(crate) fn of(&self, gradient: T) -> T {
        (self.factor * gradient).max_nan(-self.limit).min_nan(self.limit)
    }
}
