//! Rotary positions of Llama.

use dendra_autograd::Var;
use dendra_tensor::{Error, Ops, Result, Tensor};
use serde::{Deserialize, Serialize};

/// How the frequencies of rotary positions are scaled for longer texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// No scaling.
    Default,
    /// All frequencies by the same factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low frequencies by a factor, high ones not at all, and those in between
    /// partly (Llama 3.1).
    Llama3 {
        /// The factor of low frequencies.
        factor: f64,
        /// A wave longer than the original length divided by this has a low
        /// frequency.
        low_freq_factor: f64,
        /// A wave shorter than the original length divided by this has a high
        /// frequency.
        high_freq_factor: f64,
        /// The length of the texts in the original training.
        original_max_position_embeddings: f64,
    },
}

/// The largest width of a head. A larger width is an error.
const MAX_WIDTH: usize = 1 << 16;

/// The change of the angle from one position to the next, for each pair of
/// elements.
#[derive(Clone, Debug)]
pub(super) struct Frequencies(Vec<f32>);

/// The rotations of some positions, `[…, L, width]`.
#[derive(Clone, Debug)]
pub(super) struct Rotations {
    cos: Tensor,
    sin: Tensor,
}

impl Frequencies {
    pub(super) fn new(width: usize, base: f64, scaling: &RopeScaling) -> Result<Self> {
        let refused = |message: String| Err(Error::argument("rotary positions", message));
        if !width.is_multiple_of(2) || !(2..=MAX_WIDTH).contains(&width) {
            return refused(format!("expected heads of an even width to {MAX_WIDTH}, got {width}"));
        }
        if !(base > 1.0 && base.is_finite()) {
            return refused(format!("expected a finite base above 1, got {base}"));
        }
        let stretched = |frequency: f64| match *scaling {
            RopeScaling::Default => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let waves = original_max_position_embeddings * frequency / std::f64::consts::TAU;
                if waves < low_freq_factor {
                    frequency / factor
                } else if waves > high_freq_factor {
                    frequency
                } else {
                    let kept = (waves - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - kept) * frequency / factor + kept * frequency
                }
            }
        };
        let frequency = |i: usize| base.powf(-2.0 * i as f64 / width as f64);
        let frequencies: Vec<f32> =
            (0..width / 2).map(|i| stretched(frequency(i)) as f32).collect();
        if !frequencies.iter().all(|frequency| frequency.is_finite()) {
            return refused(format!("there are no frequencies for {scaling:?}"));
        }
        Ok(Self(frequencies))
    }

    /// The rotations of these positions, `[L]` or `[N, L]`. Angles are computed
    /// in single precision, as in the original.
    pub(super) fn rotations(&self, positions: &Tensor<i64>) -> Result<Rotations> {
        let (half, width) = (self.0.len(), 2 * self.0.len());
        let numbers = positions.to_vec();
        let angle = |index: usize| numbers[index / width] as f32 * self.0[index % half];
        // The axis of the heads is between those of samples and positions.
        let shape = match positions.shape()[..] {
            [samples, length] => vec![samples, 1, length, width],
            _ => vec![numbers.len(), width],
        };
        Ok(Rotations {
            cos: Tensor::from_fn(shape.clone(), |index| angle(index).cos()),
            sin: Tensor::from_fn(shape, |index| angle(index).sin()),
        })
    }
}

impl Rotations {
    /// Rotates the elements i and i + width/2 of queries or keys,
    /// `[N, heads, L, width]`, as pairs.
    pub(super) fn rotate(&self, x: &Var) -> Result<Var> {
        let half = x.shape()[3] / 2;
        let [low, high] = [x.narrow(-1, 0, half)?, x.narrow(-1, half, half)?];
        let across = Var::cat(&[&high.neg(), &low], -1)?;
        let [cos, sin] = [&self.cos, &self.sin].map(|table| Var::new(table.clone()));
        x.mul(&cos)?.add(&across.mul(&sin)?)
    }
}
