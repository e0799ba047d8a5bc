//! Dropout.

use std::fmt;

use dendra_autograd::{Tape, Var};
use dendra_derive::Parameters;
use dendra_tensor::ops::lifted::batched;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::image::check_sample;
use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Defines layers that drop values with probability `p`: the check of an input,
/// and the computation in training.
macro_rules! dropouts {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident:
        takes |$input:ident| $taken:expr;
        |$x:ident, $p:ident, $rng:ident| $result:expr;
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize)]
            #[parameters(skip)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                p: f64,
            }

            impl $name {
                /// Makes a layer that drops values with probability `p`.
                ///
                /// # Errors
                ///
                /// When `p` is not in `0 ..= 1`.
                pub fn new(p: f64) -> Result<Self> {
                    check(stringify!($name), p)?;
                    Ok(Self { p })
                }

                /// Like [`new`](Self::new), for a network, which checks `p`
                /// when it is built.
                pub(crate) fn planned(p: f64) -> Self {
                    Self { p }
                }
            }

            own_settings!($name: |this, $input| {
                check(stringify!($name), this.p)?;
                let taken: Result<()> = $taken;
                taken.map(|()| $input.clone())
            });

            impl<T: Float> Module<T> for $name {
                fn forward(&self, $x: &Var<T>) -> Result<Var<T>> {
                    let training = |tape: &&Tape<T>| tape.is_training() && self.p > 0.0;
                    let Some(tape) = $x.tape().filter(training) else {
                        return Ok($x.clone());
                    };
                    let ($p, $rng) = (self.p, &mut tape.random_stream());
                    let result: Result<Var<T>> = $result;
                    result.map_err(|error| context::in_layer(error, None, self))
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{} {}", stringify!($name), self.p)
                }
            }
        )*
    };
}

dropouts! {
    /// In training, sets each value to 0 with probability p and divides the
    /// others by 1 − p, which keeps the mean. Otherwise returns its input.
    ///
    /// (Srivastava et al., "Dropout: a simple way to prevent neural networks
    /// from overfitting", 2014.) Which values are dropped depends on the seed
    /// and the step of the tape and on the position in the forward pass, not on
    /// threads.
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
    Dropout:
    takes |input| Ok(());
    |x, p, rng| x.mul(&Var::new(mask(x.shape(), p, 1.0 / (1.0 - p), rng)));

    /// [`Dropout`] of whole channels of sequences `[N, C, L]`, for inputs whose
    /// neighbouring values are correlated (Tompson et al., "Efficient object
    /// localization using convolutional networks", 2015).
    Dropout1d:
    takes |input| check_sample::<1>("Dropout1d", input);
    |x, p, rng| drop_channels::<T, 1>(x, p, rng);

    /// [`Dropout`] of whole channels of images `[N, C, H, W]`. An input of
    /// three axes is one image; PyTorch treats it as `[N, C, L]`, with a
    /// warning.
    ///
    /// ```
    /// use dendra_nn::autograd::Tape;
    /// use dendra_nn::tensor::Tensor;
    /// use dendra_nn::{Dropout2d, Module};
    ///
    /// let x = Tape::training(42, 0).input(Tensor::<f32>::ones([5, 8, 3, 3]));
    /// let y = Dropout2d::new(0.5)?.forward(&x)?.into_value().to_vec();
    /// assert!(y.chunks(9).all(|channel| channel == [0.0; 9] || channel == [2.0; 9]));
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    Dropout2d:
    takes |input| check_sample::<2>("Dropout2d", input);
    |x, p, rng| drop_channels::<T, 2>(x, p, rng);

    /// [`Dropout`] of whole channels of volumes `[N, C, D, H, W]`.
    Dropout3d:
    takes |input| check_sample::<3>("Dropout3d", input);
    |x, p, rng| drop_channels::<T, 3>(x, p, rng);

    /// In training, sets each value to the limit of SELU with probability p,
    /// then scales and shifts all values, which keeps mean 0 and variance 1.
    /// Otherwise returns its input. Use it with [`SELU`](super::SELU)
    /// (Klambauer et al., "Self-normalizing neural networks", 2017).
    AlphaDropout:
    takes |input| Ok(());
    |x, p, rng| drop_to_limit(x, x.shape(), p, rng);

    /// [`AlphaDropout`] of whole channels of `[N, C, …]`.
    FeatureAlphaDropout:
    takes |input| match input.is_empty() {
        true => Err(Error::shape("FeatureAlphaDropout", "expected [C, …], got a scalar")),
        false => Ok(()),
    };
    |x, p, rng| match x.shape()[..] {
        [samples, channels, ref rest @ ..] => {
            let ones = std::iter::repeat_n(1, rest.len());
            let masked: Shape = [samples, channels].into_iter().chain(ones).collect();
            drop_to_limit(x, &masked, p, rng)
        }
        _ => Err(Error::shape("", format!("expected [N, C, …], got {}", x.shape()))),
    };
}

fn check(kind: &str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::argument(kind, format!("expected a probability p in 0 ..= 1, got {p}")))
}

/// A mask that is 0 with probability p, else `kept`.
fn mask<T: Float>(shape: &Shape, p: f64, kept: f64, rng: &mut Rng) -> Tensor<T> {
    Tensor::dropout_mask(shape, p, T::from_f64(kept), rng)
}

/// Sets whole channels of a batch or a sample with `D` axes after the channels
/// to 0.
fn drop_channels<T: Float, const D: usize>(x: &Var<T>, p: f64, rng: &mut Rng) -> Result<Var<T>> {
    batched(x, D + 2, |x| {
        let shape = x.shape();
        check_sample::<D>("Dropout", &shape.get(1..).unwrap_or_default().into())?;
        let channels = shape[..2].iter().copied().chain([1; D]).collect();
        x.mul(&Var::new(mask(&channels, p, 1.0 / (1.0 - p), rng)))
    })
}

/// The limit of SELU for large negative x, −scale · alpha.
const LIMIT: f64 = -1.758_099_340_847_376_6;

/// Sets values to the limit of SELU and keeps mean 0 and variance 1. The mask
/// has the shape `masked`, which broadcasts to the values.
fn drop_to_limit<T: Float>(x: &Var<T>, masked: &Shape, p: f64, rng: &mut Rng) -> Result<Var<T>> {
    if p == 1.0 {
        return Ok(x.mul_scalar(0.0));
    }
    let scale = ((1.0 - p) * (1.0 + p * LIMIT * LIMIT)).sqrt().recip();
    let mask = mask(masked, p, 1.0, rng);
    let limits = mask.map(|kept| T::from_f64(LIMIT) * (T::ONE - kept));
    let dropped = x.mul(&Var::new(mask))?.add(&Var::new(limits))?;
    Ok(dropped.mul_scalar(scale).add_scalar(-scale * p * LIMIT))
}

#[cfg(test)]
mod tests {
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
        assert_ne!(forward(0.5, &tape, &x), forward(0.5, &tape, &x), "two calls in one pass");
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

    #[test]
    fn alpha_dropout_keeps_mean_and_variance() {
        let mut rng = Rng::seed(2);
        let x = Tensor::<f64>::normal([100_000], 0.0, 1.0, &mut rng);
        let layer = AlphaDropout::new(0.3).unwrap();
        let y = layer.forward(&Tape::training(1, 2).input(x.clone())).unwrap().into_value();
        let mean = y.mean().item().unwrap();
        let variance = y.var_axes(&[0], 0, false).unwrap().item().unwrap();
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        // The limit of SELU after scaling and shifting.
        let limit = 0.7 * LIMIT / (0.7 * (1.0 + 0.3 * LIMIT * LIMIT)).sqrt();
        let dropped = y.to_vec().iter().filter(|&&y| (y - limit).abs() < 1e-12).count();
        assert!((dropped as f64 / 1e5 - 0.3).abs() < 5e-3, "{dropped}");
        assert_eq!(layer.forward(&Tape::evaluation().input(x.clone())).unwrap().value(), &x);
        let none = AlphaDropout::new(1.0).unwrap();
        let y = none.forward(&Tape::training(1, 2).input(Tensor::<f64>::ones([3]))).unwrap();
        assert_eq!(y.value().to_vec(), [0.0; 3]);
    }

    #[test]
    fn channels_go_to_the_limit_as_a_whole() {
        let x = Tape::training(1, 0).input(Tensor::<f64>::ones([50, 20, 2, 2]));
        let layer = FeatureAlphaDropout::new(0.25).unwrap();
        let y = layer.forward(&x).unwrap().into_value().to_vec();
        assert!(y.chunks(4).all(|channel| channel.iter().all(|y| *y == channel[0])));
        let dropped = y.chunks(4).filter(|channel| channel[0] < 0.0).count() as f64 / 1000.0;
        assert!((dropped - 0.25).abs() < 0.05, "{dropped}");
        let line = Tape::training(1, 0).input(Tensor::<f64>::ones([5]));
        assert!(layer.forward(&line).is_err());
    }

    #[test]
    fn channels_go_as_a_whole() {
        let x = Tape::training(1, 0).input(Tensor::<f32>::ones([50, 20, 4]));
        let y = Dropout1d::new(0.25).unwrap().forward(&x).unwrap().into_value().to_vec();
        let channels: Vec<&[f32]> = y.chunks(4).collect();
        assert!(channels.iter().all(|c| *c == [0.0; 4] || *c == [4.0 / 3.0; 4]));
        let gone = channels.iter().filter(|c| c[0] == 0.0).count() as f64 / 1000.0;
        assert!((gone - 0.25).abs() < 0.05, "{gone}");
        let error = Dropout3d::new(0.25).unwrap().forward(&x).unwrap_err().to_string();
        assert_eq!(error, "Dropout3d 0.25: expected [C, D, H, W], got [20, 4]");
        // One sample without the batch axis.
        let x = Tape::training(1, 0).input(Tensor::<f32>::ones([40, 4]));
        let y = Dropout1d::new(0.5).unwrap().forward(&x).unwrap().into_value().to_vec();
        assert!(y.chunks(4).all(|c| *c == [0.0; 4] || *c == [2.0; 4]));
    }
}
