//! Initial values of parameters.

mod apply;
mod special;

pub use apply::initialise;

use std::fmt::Display;

use dendra_autograd::{Buffer, Param};
use dendra_tensor::{Error, Float, Result, Rng, Shape, Tensor};

/// The fans of a weight: the number of inputs that contribute to each output,
/// and the number of outputs that each input contributes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fans {
    /// The number of inputs of one output.
    pub fan_in: usize,
    /// The number of outputs of one input.
    pub fan_out: usize,
}

impl Fans {
    /// Returns the fans of a weight of shape `[out, in, …kernel]`. Both fans of a
    /// vector are its length.
    ///
    /// ```
    /// use dendra_nn::Fans;
    /// use dendra_nn::tensor::Shape;
    ///
    /// let fans = Fans::of(&Shape::from([64, 3, 5, 5]));
    /// assert_eq!((fans.fan_in, fans.fan_out), (75, 1600));
    /// ```
    pub fn of(weight: &Shape) -> Self {
        match weight[..] {
            [] => Self { fan_in: 1, fan_out: 1 },
            [n] => Self { fan_in: n, fan_out: n },
            [outputs, inputs, ref kernel @ ..] => {
                let taps =
                    kernel.iter().fold(1, |taps: usize, &length| taps.saturating_mul(length));
                Self { fan_in: inputs.saturating_mul(taps), fan_out: outputs.saturating_mul(taps) }
            }
        }
    }
}

/// The distribution of the initial values of a parameter.
///
/// U(±b) is the uniform distribution from −b to b, and N(σ²) the normal
/// distribution with mean 0 and variance σ².
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All values are 0.
    Zeros,
    /// All values are 1.
    Ones,
    /// All values are this number.
    Constant(f64),
    /// The uniform distribution from `low` to `high`.
    Uniform {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// The normal distribution.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// The normal distribution, restricted to the range from `low` to `high`.
    TruncatedNormal {
        /// The mean of the normal distribution.
        mean: f64,
        /// The standard deviation of the normal distribution.
        std: f64,
        /// The lower bound; PyTorch's default is −2.
        low: f64,
        /// The upper bound; PyTorch's default is 2.
        high: f64,
    },
    /// U(±√(6 / ((1 + a²) · fan_in))). It preserves the variance through layers
    /// that are followed by a leaky ReLU with slope a (He et al., "Delving deep
    /// into rectifiers", 2015). With a = √5 it is U(±1/√fan_in), PyTorch's
    /// default.
    KaimingUniform {
        /// The slope a; 0 for ReLU.
        negative_slope: f64,
    },
    /// N(2 / ((1 + a²) · fan_in)), the normal counterpart of
    /// [`KaimingUniform`](Self::KaimingUniform).
    KaimingNormal {
        /// The slope a; 0 for ReLU.
        negative_slope: f64,
    },
    /// U(±gain · √(6 / (fan_in + fan_out))). It preserves the variance in the
    /// forward and in the backward pass (Glorot and Bengio, "Understanding the
    /// difficulty of training deep feedforward neural networks", 2010).
    XavierUniform {
        /// The gain: 1, or 5/3 for a layer that is followed by tanh.
        gain: f64,
    },
    /// N(gain² · 2 / (fan_in + fan_out)), the normal counterpart of
    /// [`XavierUniform`](Self::XavierUniform).
    XavierNormal {
        /// The gain: 1, or 5/3 for a layer that is followed by tanh.
        gain: f64,
    },
    /// Mean 0 and variance `scale / fan`. This is the general form of the four
    /// distributions above, for any fan and activation.
    /// [`kaiming`](Self::kaiming) and [`lecun`](Self::lecun) create it.
    VarianceScaling {
        /// The factor of the variance: the square of a gain.
        scale: f64,
        /// The fan that divides the variance.
        mode: FanMode,
        /// The distribution: uniform or normal.
        distribution: Distribution,
    },
    /// A random matrix `[out, in · …]` whose rows are orthogonal, or whose columns
    /// are if there are fewer columns than rows. They have the norm `gain`. The
    /// distribution is uniform over such matrices (Saxe et al., "Exact solutions
    /// to the nonlinear dynamics of learning in deep linear neural networks",
    /// 2013).
    Orthogonal {
        /// The norm of the rows or columns.
        gain: f64,
    },
    /// The identity matrix of shape `[out, in · …]`: 1 where the row and column
    /// index are equal, 0 elsewhere.
    Eye,
    /// The kernels of an identity convolution. In each group of output channels,
    /// output channel i is a copy of input channel i: the middle of the kernel
    /// from i to i is 1, all other values are 0.
    Dirac {
        /// The number of groups.
        groups: usize,
    },
}

/// The fan that divides the variance of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanMode {
    /// The inputs of an output: preserves the variance in the forward pass.
    FanIn,
    /// The outputs of an input: preserves the variance of the gradients in the
    /// backward pass.
    FanOut,
    /// The mean of both.
    FanAvg,
}

/// The distribution of values with mean 0 and a given variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The uniform distribution.
    Uniform,
    /// The normal distribution.
    Normal,
}

/// The activation function after a layer. It determines the gain of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// No activation, or a sigmoid.
    Linear,
    /// The hyperbolic tangent.
    Tanh,
    /// ReLU.
    ReLU,
    /// A leaky ReLU of this slope.
    LeakyReLU(f64),
    /// SELU.
    SELU,
}

impl Nonlinearity {
    /// Returns the factor of the standard deviation, like PyTorch's
    /// `calculate_gain`.
    pub fn gain(self) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Tanh => 5.0 / 3.0,
            Self::ReLU => 2.0_f64.sqrt(),
            Self::LeakyReLU(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Self::SELU => 0.75,
        }
    }
}

impl Init {
    /// Returns PyTorch's default for the weight and the bias of linear layers and
    /// convolutions: U(±1/√fan_in).
    pub fn pytorch() -> Self {
        Self::KaimingUniform { negative_slope: 5.0_f64.sqrt() }
    }

    /// Returns He initialisation for any activation and fan. The variance is
    /// `gain² / fan`.
    ///
    /// ```
    /// use dendra_nn::{Distribution, FanMode, Init, Nonlinearity};
    ///
    /// let init = Init::kaiming(Nonlinearity::ReLU, FanMode::FanOut, Distribution::Normal);
    /// ```
    pub fn kaiming(nonlinearity: Nonlinearity, mode: FanMode, distribution: Distribution) -> Self {
        Self::VarianceScaling { scale: nonlinearity.gain().powi(2), mode, distribution }
    }

    /// Returns LeCun initialisation with the variance `1 / fan_in`. It is mainly
    /// used in SELU networks (LeCun et al., "Efficient BackProp", 1998).
    pub fn lecun(distribution: Distribution) -> Self {
        Self::VarianceScaling { scale: 1.0, mode: FanMode::FanIn, distribution }
    }

    /// Draws the initial values of a weight of shape `[out, in, …]`.
    ///
    /// ```
    /// use dendra_nn::Init;
    /// use dendra_nn::tensor::{Rng, Tensor};
    ///
    /// let init = Init::XavierUniform { gain: 1.0 };
    /// let weight: Tensor = init.draw([50, 100], &mut Rng::seed(0));
    /// assert!(weight.to_vec().iter().all(|x| x.abs() < 0.2));
    /// ```
    pub fn draw<T: Float>(&self, shape: impl Into<Shape>, rng: &mut Rng) -> Tensor<T> {
        let shape = shape.into();
        let fans = Fans::of(&shape);
        self.draw_with_fans(shape, fans, rng)
    }

    /// Like [`draw`](Self::draw), with the given fans. Use it if the shape does
    /// not determine the fans: a bias has the fans of its weight.
    pub fn draw_with_fans<T: Float>(
        &self,
        shape: impl Into<Shape>,
        fans: Fans,
        rng: &mut Rng,
    ) -> Tensor<T> {
        let shape = shape.into();
        let fan_in = fans.fan_in.max(1) as f64;
        let both = fan_in + fans.fan_out as f64;
        let spread = |variance: f64, distribution| match distribution {
            Distribution::Uniform => {
                let bound = (3.0 * variance).sqrt();
                Self::Uniform { low: -bound, high: bound }
            }
            Distribution::Normal => Self::Normal { mean: 0.0, std: variance.sqrt() },
        };
        let kaiming = |slope: f64| 2.0 / ((1.0 + slope * slope) * fan_in);
        let xavier = |gain: f64| gain * gain * 2.0 / both;
        let plain = match *self {
            Self::KaimingUniform { negative_slope } => {
                spread(kaiming(negative_slope), Distribution::Uniform)
            }
            Self::KaimingNormal { negative_slope } => {
                spread(kaiming(negative_slope), Distribution::Normal)
            }
            Self::XavierUniform { gain } => spread(xavier(gain), Distribution::Uniform),
            Self::XavierNormal { gain } => spread(xavier(gain), Distribution::Normal),
            Self::VarianceScaling { scale, mode, distribution } => {
                let fan = match mode {
                    FanMode::FanIn => fan_in,
                    FanMode::FanOut => fans.fan_out.max(1) as f64,
                    FanMode::FanAvg => both / 2.0,
                };
                spread(scale / fan, distribution)
            }
            plain => plain,
        };
        match plain {
            Self::Constant(value) => Tensor::full(shape, T::from_f64(value)),
            Self::Ones => Tensor::ones(shape),
            Self::Uniform { low, high } => Tensor::uniform(shape, low, high, rng),
            Self::Normal { mean, std } => Tensor::normal(shape, mean, std, rng),
            Self::TruncatedNormal { mean, std, low, high } => {
                special::truncated_normal(shape, mean, std, [low, high], rng)
            }
            Self::Orthogonal { gain } => special::orthogonal(shape, gain, rng),
            Self::Eye => special::eye(shape),
            Self::Dirac { groups } => special::dirac(shape, groups),
            // `Zeros`; all other variants were replaced above.
            _ => Tensor::zeros(shape),
        }
    }
}

/// The source of the initial values of parameters. With it, the same code builds
/// networks for training and for loading.
///
/// ```
/// use dendra_nn::{Linear, Parameters, Source};
///
/// // The weight takes the memory of one number until a file is loaded.
/// let layer = Linear::new(4096, 4096).init_from(&mut Source::Blank)?;
/// assert_eq!(layer.parameter_count(), 4096 * 4097);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Debug)]
pub enum Source<'a> {
    /// Values are drawn from this generator.
    Random(&'a mut Rng),
    /// Values will be loaded. Until then all elements share one zero in memory, so
    /// that sizes from a file cost no memory before they are checked.
    Blank,
}

impl Source<'_> {
    /// Creates a parameter. `context` identifies the layer in errors.
    ///
    /// # Errors
    ///
    /// Returns an error if a tensor of this shape does not fit into memory.
    pub fn param<T: Float>(
        &mut self,
        init: Init,
        shape: impl Into<Shape>,
        fans: Fans,
        context: &impl Display,
    ) -> Result<Param<T>> {
        Ok(Param::new(self.values(init, shape.into(), fans, context)?))
    }

    /// Creates a buffer.
    pub(crate) fn buffer<T: Float>(
        &mut self,
        value: f64,
        shape: impl Into<Shape>,
        context: &impl Display,
    ) -> Result<Buffer<T>> {
        let fans = Fans { fan_in: 1, fan_out: 1 };
        Ok(Buffer::new(self.values(Init::Constant(value), shape.into(), fans, context)?))
    }

    fn values<T: Float>(
        &mut self,
        init: Init,
        shape: Shape,
        fans: Fans,
        context: &impl Display,
    ) -> Result<Tensor<T>> {
        // A view of one number. It is an error if the full tensor is too large.
        let Ok(blank) = Tensor::scalar(T::ZERO).broadcast_to(shape.clone()) else {
            let message = format!("parameters of shape {shape} do not fit into memory");
            return Err(Error::argument(context.to_string(), message));
        };
        match self {
            Self::Random(rng) => Ok(init.draw_with_fans(shape, fans, rng)),
            Self::Blank => Ok(blank),
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// Returns the minimum, maximum, mean and standard deviation of drawn values.
    fn statistics(init: Init) -> [f64; 4] {
        let values: Tensor<f64> = init.draw([300, 40, 5, 2], &mut Rng::seed(5));
        let values = values.to_vec();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [low, high, mean, variance.sqrt()]
    }

    /// The fans of `[300, 40, 5, 2]` are 400 and 3000.
    #[test]
    fn uniform_distributions_have_the_published_bounds() {
        let cases = [
            (Init::pytorch(), 1.0 / 20.0),
            (Init::KaimingUniform { negative_slope: 0.0 }, (6.0_f64 / 400.0).sqrt()),
            (Init::KaimingUniform { negative_slope: 0.5 }, (6.0_f64 / (1.25 * 400.0)).sqrt()),
            (Init::XavierUniform { gain: 2.0 }, 2.0 * (6.0_f64 / 3400.0).sqrt()),
            (Init::lecun(Distribution::Uniform), (3.0_f64 / 400.0).sqrt()),
            (
                Init::kaiming(Nonlinearity::Tanh, FanMode::FanOut, Distribution::Uniform),
                5.0 / 3.0 * (3.0_f64 / 3000.0).sqrt(),
            ),
        ];
        for (init, bound) in cases {
            let expected = [-bound, bound, 0.0, bound / 3.0_f64.sqrt()];
            assert_abs_diff_eq!(statistics(init)[..], expected[..], epsilon = 1e-3);
        }
        let found = statistics(Init::Uniform { low: 2.0, high: 3.0 });
        let expected = [2.0, 3.0, 2.5, 1.0 / 12.0_f64.sqrt()];
        assert_abs_diff_eq!(found[..], expected[..], epsilon = 3e-3);
    }

    #[test]
    fn normal_distributions_have_the_published_deviations() {
        let cases = [
            (Init::KaimingNormal { negative_slope: 0.0 }, 0.0, (2.0_f64 / 400.0).sqrt()),
            (Init::XavierNormal { gain: 0.5 }, 0.0, 0.5 * (2.0_f64 / 3400.0).sqrt()),
            (Init::lecun(Distribution::Normal), 0.0, (1.0_f64 / 400.0).sqrt()),
            (
                Init::kaiming(Nonlinearity::ReLU, FanMode::FanAvg, Distribution::Normal),
                0.0,
                (2.0_f64 / 1700.0).sqrt(),
            ),
            (Init::Normal { mean: 3.0, std: 0.1 }, 3.0, 0.1),
        ];
        for (init, mean, std) in cases {
            let [low, high, found_mean, found_std] = statistics(init);
            assert!((found_mean - mean).abs() < 0.02 * std, "{init:?}: {found_mean}");
            assert!((found_std - std).abs() < 0.02 * std, "{init:?}: {found_std}");
            assert!(low < mean - 3.0 * std && high > mean + 3.0 * std, "{init:?} has tails");
        }
    }

    #[test]
    fn constants_are_constant() {
        assert_eq!(statistics(Init::Zeros), [0.0; 4]);
        assert_eq!(statistics(Init::Ones), [1.0, 1.0, 1.0, 0.0]);
        let constant = statistics(Init::Constant(0.25));
        assert_abs_diff_eq!(constant[..], [0.25, 0.25, 0.25, 0.0][..], epsilon = 1e-9);
    }

    #[test]
    fn empty_and_huge_weights_are_no_trouble() {
        let empty: Tensor = Init::pytorch().draw([3, 0], &mut Rng::seed(0));
        assert!(empty.is_empty());
        let mut rng = Rng::seed(0);
        for mut source in [Source::Random(&mut rng), Source::Blank] {
            let fans = Fans { fan_in: 1, fan_out: 1 };
            for shape in [[usize::MAX / 2, 3], [1 << 26, 1 << 26]] {
                let huge = source.param::<f32>(Init::Zeros, shape, fans, &"fc");
                let error = huge.unwrap_err().to_string();
                assert!(error.contains("fc: parameters of shape"), "{error}");
            }
        }
    }
}
