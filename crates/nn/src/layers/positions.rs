//! Position embeddings for attention.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::own_settings;

/// Adds fixed sines and cosines of the position to a sequence `[…, L, E]`:
///
/// y\[t, 2i\] = x\[t, 2i\] + sin(t / 10000^(2i/E)), and y\[t, 2i + 1\] with the
/// cosine (Vaswani et al., "Attention is all you need", 2017).
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Module, SinusoidalPositions};
///
/// let y = SinusoidalPositions.forward(&Var::new(Tensor::<f32>::zeros([1, 2, 2])))?;
/// assert_eq!(y.value().to_vec(), [0.0, 1.0, 1_f32.sin(), 1_f32.cos()]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Parameters, Serialize, Deserialize)]
pub struct SinusoidalPositions;

own_settings!(SinusoidalPositions: |_this, input| match input.len() {
    2 => Ok(input.clone()),
    _ => Err(Error::shape("SinusoidalPositions", format!("expected [L, E], got {input}"))),
});

impl SinusoidalPositions {
    /// The values for `length` positions starting at `first`, `[length,
    /// width]`.
    pub fn table<T: Float>(first: usize, length: usize, width: usize) -> Tensor<T> {
        Tensor::from_fn([length, width], |index| {
            let (t, i) = (first + index / width, index % width);
            let angle = t as f64 / 10_000_f64.powf((i - i % 2) as f64 / width as f64);
            T::from_f64(if i % 2 == 0 { angle.sin() } else { angle.cos() })
        })
    }
}

/// The last two axis lengths of a sequence.
fn sizes<T: Float>(kind: &str, x: &Var<T>) -> Result<[usize; 2]> {
    match x.shape()[..] {
        [.., length, width] => Ok([length, width]),
        _ => Err(Error::shape(kind, format!("expected a sequence […, L, E], got {}", x.shape()))),
    }
}

impl<T: Float> Module<T> for SinusoidalPositions {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let [length, width] = sizes("SinusoidalPositions", x)?;
        x.add(&Var::new(Self::table(0, length, width)))
    }
}

impl fmt::Display for SinusoidalPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinusoidalPositions")
    }
}

/// Adds a trained vector for each position to a sequence `[…, L, E]`, for L up
/// to `max_length`. The weight, `[max_length, E]`, is initialised with N(0,
/// 0.02²).
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::LearnedPositions;
///
/// let positions = LearnedPositions::new(64, 8, &mut Rng::seed(0))?;
/// // One position at a time, as a generator goes on.
/// let y = positions.add(&Var::new(Tensor::zeros([1, 1, 8])), 5)?;
/// assert_eq!(y.value().to_vec(), positions.weight.value().to_vec()[5 * 8..6 * 8]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct LearnedPositions<T: Float = f32> {
    /// The vector of each position.
    pub weight: Param<T>,
}

impl LearnedPositions {
    /// Makes vectors of this width for this many positions.
    ///
    /// # Errors
    ///
    /// When they do not fit into memory.
    pub fn new(max_length: usize, width: usize, rng: &mut Rng) -> Result<Self> {
        Self::new_as(max_length, width, rng)
    }

    /// Like [`new`](Self::new), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`new`](Self::new).
    pub fn new_as<T: Float>(
        max_length: usize,
        width: usize,
        rng: &mut Rng,
    ) -> Result<LearnedPositions<T>> {
        let init = Init::Normal { mean: 0.0, std: 0.02 };
        let fans = Fans { fan_in: width, fan_out: max_length };
        let mut source = Source::Random(rng);
        let weight = source.param(init, [max_length, width], fans, &"LearnedPositions")?;
        Ok(LearnedPositions { weight })
    }
}

impl<T: Float> LearnedPositions<T> {
    /// Adds the vectors of the positions from `first` on to the sequence.
    ///
    /// # Errors
    ///
    /// When the width differs, or the sequence has more positions than there
    /// are vectors.
    pub fn add(&self, x: &Var<T>, first: usize) -> Result<Var<T>> {
        let added = || {
            let [length, _] = sizes("", x)?;
            let most = self.weight.value().shape()[0];
            if length > most.saturating_sub(first) {
                let message =
                    format!("expected at most {most} positions, got {length} starting at {first}");
                return Err(Error::shape("", message));
            }
            x.add(&self.weight.on(x).narrow(0, first, length)?)
        };
        added().map_err(|error| context::in_layer(error, context::path(&self.weight), self))
    }
}

impl<T: Float> Module<T> for LearnedPositions<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.add(x, 0)
    }
}

impl<T: Float> fmt::Display for LearnedPositions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LearnedPositions {}", self.weight.value().shape())
    }
}

/// Rotates pairs of elements of a query or key by an angle proportional to the
/// position, so that the product of a query and a key depends only on the
/// distance between them (Su et al., "RoFormer", 2021).
///
/// For x of shape `[…, L, D]`, the elements i and i + D/2 at position t are
/// rotated by t / base^(2i/D), the pairing of GPT-NeoX.
///
/// ```
/// use dendra_nn::RotaryEmbedding;
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
///
/// let rotary = RotaryEmbedding::new(2, 10_000.0)?;
/// let y = rotary.rotate(&Var::new(Tensor::from([[1.0, 0.0], [1.0, 0.0]])), 0)?;
/// assert_eq!(y.value().to_vec(), [1.0, 0.0, 1_f32.cos(), 1_f32.sin()]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotaryEmbedding {
    width: usize,
    base: f64,
}

impl RotaryEmbedding {
    /// Makes a rotation for an even number of elements; the usual base is
    /// 10,000.
    ///
    /// # Errors
    ///
    /// When the width is odd, or the base is not above 1.
    pub fn new(width: usize, base: f64) -> Result<Self> {
        if !(width.is_multiple_of(2) && base > 1.0 && base.is_finite()) {
            let message =
                format!("expected an even width and a base above 1, got {width} and {base}");
            return Err(Error::argument("RotaryEmbedding", message));
        }
        Ok(Self { width, base })
    }

    /// Rotates each position of the sequence; `first` is the position of the
    /// first one.
    ///
    /// # Errors
    ///
    /// When the width differs.
    pub fn rotate<T: Float>(&self, x: &Var<T>, first: usize) -> Result<Var<T>> {
        let [length, width] = sizes("RotaryEmbedding", x)?;
        if width != self.width {
            let message = format!("expected […, L, {}], got {}", self.width, x.shape());
            return Err(Error::shape("RotaryEmbedding", message));
        }
        let half = width / 2;
        let angles = |f: fn(f64) -> f64| {
            Var::new(Tensor::from_fn([length, width], |index| {
                let (t, i) = (first + index / width, index % width % half);
                let angle = t as f64 / self.base.powf(2.0 * i as f64 / width as f64);
                T::from_f64(f(angle))
            }))
        };
        let [low, high] = [x.narrow(-1, 0, half)?, x.narrow(-1, half, half)?];
        let across = Var::cat(&[&high.neg(), &low], -1)?;
        x.mul(&angles(f64::cos))?.add(&across.mul(&angles(f64::sin))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_products_depend_on_the_distance_alone() {
        let rotary = RotaryEmbedding::new(6, 100.0).unwrap();
        let mut rng = Rng::seed(0);
        let [q, k] = [(); 2].map(|()| Tensor::<f64>::normal([1, 6], 0.0, 1.0, &mut rng));
        let product = |t: usize, s: usize| {
            let rotated = |x: &Tensor<f64>, t| rotary.rotate(&Var::new(x.clone()), t).unwrap();
            (rotated(&q, t) * rotated(&k, s)).sum().value().item().unwrap()
        };
        assert!((product(7, 4) - product(12, 9)).abs() < 1e-12);
        assert!((product(7, 4) - product(7, 5)).abs() > 1e-3);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let positions = LearnedPositions::new(4, 3, &mut Rng::seed(0)).unwrap();
        let message = |shape: &[usize], first| {
            positions.add(&Var::new(Tensor::zeros(shape)), first).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[2, 3, 3], 2),
            "LearnedPositions [4, 3]: expected at most 4 positions, got 3 starting at 2"
        );
        assert!(message(&[3], 0).contains("expected a sequence"));
        assert!(message(&[2, 2], 0).contains("do not broadcast"));
        assert!(RotaryEmbedding::new(3, 1e4).is_err());
        assert!(RotaryEmbedding::new(4, 1.0).is_err());
    }
}
