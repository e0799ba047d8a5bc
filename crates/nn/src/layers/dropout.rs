//! Values left out at random.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::own_settings;
use crate::module::Module;
use crate::place;
use crate::sequential::SequentialBuilder;

/// In training, sets each value to 0 with probability p and divides the others
/// by 1 − p, so that their mean stays; otherwise passes values through.
///
/// (Srivastava et al., "Dropout: a simple way to prevent neural networks from
/// overfitting", 2014.) Which values go depends on seed and step of the tape
/// and on the place in the forward pass, not on threads.
///
/// ```
/// use dendra_nn::autograd::{Tape, Var};
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Dropout, Module};
///
/// let dropout = Dropout::new(0.5)?;
/// let x = Tape::training(42, 0).input(Tensor::<f32>::ones([1000]));
/// let y = dropout.forward(&x)?.into_value().to_vec();
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
///
/// let x = Var::new(Tensor::from([1.0, 2.0]));
/// assert_eq!(dropout.forward(&x)?.value(), x.value());
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    #[parameters(skip)]
    p: f64,
}

impl Dropout {
    /// Leaves values out with probability `p`.
    ///
    /// # Errors
    ///
    /// When `p` is not in `0 ..= 1`.
    pub fn new(p: f64) -> Result<Self> {
        let layer = Self { p };
        layer.check()?;
        Ok(layer)
    }

    fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.p) {
            return Ok(());
        }
        let message = format!("expected a probability p in 0 ..= 1, got {}", self.p);
        Err(Error::argument("Dropout", message))
    }
}

own_settings!(Dropout: |this, input| this.check().map(|()| input.clone()));

/// What each value is multiplied by.
fn mask<T: Float>(shape: &Shape, p: f64, mut rng: Rng) -> Tensor<T> {
    let kept = T::from_f64(1.0 / (1.0 - p));
    // Of the 2³² values of a word, the share p.
    let threshold = (p * 2.0_f64.powi(32)) as u64;
    Tensor::from_fn(shape, |_| if u64::from(rng.next_u32()) < threshold { T::ZERO } else { kept })
}

impl<T: Float> Module<T> for Dropout {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        match x.tape().filter(|tape| tape.is_training() && self.p > 0.0) {
            Some(tape) => {
                let mask = mask(x.shape(), self.p, tape.random_stream());
                x.mul(&Var::new(mask)).map_err(|error| place::said_by(error, None, self))
            }
            None => Ok(x.clone()),
        }
    }
}

impl fmt::Display for Dropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dropout {}", self.p)
    }
}

impl SequentialBuilder {
    /// Adds a [`Dropout`] layer. A `p` outside `0 ..= 1` is reported by
    /// `build`.
    pub fn dropout(self, p: f64) -> Self {
        self.layer(Dropout { p })
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Tape;

    use super::*;

    fn forward(p: f64, tape: &Tape, x: &Tensor) -> Vec<f32> {
        let layer = Dropout::new(p).unwrap();
        layer.forward(&tape.input(x.clone())).unwrap().into_value().to_vec()
    }

    #[test]
    fn the_right_share_is_left_out_and_the_mean_stays() {
        let x = Tensor::ones([100_000]);
        let y = forward(0.3, &Tape::training(1, 2), &x);
        let left_out = y.iter().filter(|&&y| y == 0.0).count() as f64 / 1e5;
        let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / 1e5;
        assert!((left_out - 0.3).abs() < 5e-3 && (mean - 1.0).abs() < 8e-3, "{left_out} {mean}");
    }

    #[test]
    fn seed_step_and_place_decide_what_goes() {
        let x = Tensor::ones([64]);
        let run = |seed, step| forward(0.5, &Tape::training(seed, step), &x);
        assert_eq!(run(1, 2), run(1, 2));
        assert_ne!(run(1, 2), run(1, 3));
        assert_ne!(run(1, 2), run(2, 2));
        let tape = Tape::training(1, 2);
        assert_ne!(forward(0.5, &tape, &x), forward(0.5, &tape, &x), "two places of one pass");
    }

    #[test]
    fn the_gradient_flows_where_values_did() {
        let tape = Tape::training(3, 0);
        let x = tape.leaf(Tensor::<f64>::full([100], 3.0));
        let y = Dropout::new(0.75).unwrap().forward(&x).unwrap();
        let gradients = y.sum().backward().unwrap();
        let expected: Vec<f64> = y.value().to_vec().iter().map(|y| y / 3.0).collect();
        assert_eq!(gradients.wrt(&x).unwrap().to_vec(), expected);
        assert!(expected.contains(&4.0) && expected.contains(&0.0));
    }

    #[test]
    fn the_ends_and_evaluation() {
        let x = Tensor::from([1.0, f32::INFINITY, -3.0]);
        assert_eq!(forward(1.0, &Tape::training(0, 0), &Tensor::ones([3])), [0.0; 3]);
        assert_eq!(forward(0.0, &Tape::training(0, 0), &x), x.to_vec());
        assert_eq!(forward(1.0, &Tape::evaluation(), &x), x.to_vec());
    }

    #[test]
    fn a_wrong_probability_is_refused() {
        for p in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            let error = Dropout::new(p).unwrap_err().to_string();
            assert!(error.starts_with("Dropout: expected a probability p in 0 ..= 1"), "{error}");
        }
    }
}
