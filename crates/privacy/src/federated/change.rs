//! [`Change`]: what a client adds to a round, and [`Sum`]: the total.

use dendra_autograd::{Entry, Param, Parameters, Path};
use dendra_tensor::{Error, Result, Tensor};

use super::fixed_point::FixedPoint;

pub(super) fn trainable<M: Parameters<f32>>(model: &M) -> impl Iterator<Item = &Param> {
    let parameters = model.named_parameters().into_iter().map(|(_, param)| param);
    parameters.filter(|param| param.is_trainable())
}

/// The names and values of the buffers.
pub(super) fn statistics<M: Parameters<f32>>(model: &M) -> Vec<(String, Tensor)> {
    let mut found = Vec::new();
    model.visit(&mut Path::default(), &mut |path, entry| {
        if let Entry::Buffer(buffer) = entry {
            found.push((path.as_str().to_owned(), buffer.value().clone()));
        }
    });
    found
}

/// The number of values of a change.
pub(super) fn length<M: Parameters<f32>>(model: &M) -> usize {
    let weights: usize = trainable(model).map(|param| param.value().len()).sum();
    weights + statistics(model).iter().map(|(_, value)| value.len()).sum::<usize>()
}

/// By how much a client changed its copy of the model: the trainable weights,
/// then the statistics.
pub(super) struct Change {
    values: Vec<f64>,
    /// How many of the values are weights.
    weights: usize,
}

impl Change {
    pub(super) fn between<M: Parameters<f32>>(before: &M, after: &M) -> Result<Self> {
        let mut change = Self { values: Vec::with_capacity(length(before)), weights: 0 };
        for (before, after) in trainable(before).zip(trainable(after)) {
            change.push(before.value(), after.value())?;
        }
        change.weights = change.values.len();
        for ((_, before), (_, after)) in statistics(before).iter().zip(&statistics(after)) {
            change.push(before, after)?;
        }
        Ok(change)
    }

    fn push(&mut self, before: &Tensor, after: &Tensor) -> Result<()> {
        let values = before.to_vec().into_iter().zip(after.to_vec());
        let start = self.values.len();
        self.values.extend(values.map(|(a, b)| f64::from(b) - f64::from(a)));
        let finite = self.values[start..].iter().all(|value| value.is_finite());
        if before.shape() == after.shape() && finite {
            return Ok(());
        }
        Err(Error::not_finite("the client", "its weights are not finite"))
    }

    /// The factor by which the change is multiplied: the number of samples or,
    /// in a private round, what limits the norm of the weights' change.
    pub(super) fn weight(&self, samples: usize, max_norm: Option<f64>) -> Result<f64> {
        match max_norm {
            Some(max_norm) => {
                let squares = self.values[..self.weights].iter().map(|value| value * value);
                Ok((max_norm / squares.sum::<f64>().sqrt()).min(1.0))
            }
            None if samples == 0 => Err(Error::data("the client", "it has no samples")),
            None => Ok(samples as f64),
        }
    }

    /// The values times this weight, as elements of a ring.
    pub(super) fn encode(&self, weight: f64, ring: FixedPoint) -> Result<Vec<u64>> {
        self.values.iter().map(|value| ring.encode(weight * value)).collect()
    }
}

/// The sum of changes, each times its weight.
pub(super) enum Sum {
    /// In the order in which they come.
    Floats(Vec<f64>),
    /// In any order.
    Ring(FixedPoint, Vec<u64>),
}

impl Sum {
    pub(super) fn new(length: usize, ring: Option<FixedPoint>) -> Self {
        match ring {
            Some(ring) => Self::Ring(ring, vec![0; length]),
            None => Self::Floats(vec![0.0; length]),
        }
    }

    /// If this fails, the sum is that without the change.
    pub(super) fn add(&mut self, change: &Change, weight: f64) -> Result<()> {
        match self {
            Self::Floats(sum) => {
                let both = sum.iter_mut().zip(&change.values);
                both.for_each(|(sum, value)| *sum += weight * value);
            }
            Self::Ring(ring, sum) => {
                let values = change.encode(weight, *ring)?;
                let both = sum.iter_mut().zip(values);
                both.for_each(|(sum, value)| *sum = sum.wrapping_add(value));
            }
        }
        Ok(())
    }

    pub(super) fn into_values(self) -> Vec<f64> {
        match self {
            Self::Floats(sum) => sum,
            Self::Ring(ring, sum) => sum.into_iter().map(|value| ring.decode(value)).collect(),
        }
    }
}
