//! Local response normalisation.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, PadMode, Pool2dOptions, Result};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Divides each value by a function of the values at the same position in
/// neighbouring channels (Krizhevsky et al., "ImageNet classification with deep
/// convolutional neural networks", 2012):
///
/// y = x / (k + alpha / size · Σ x²)^beta
///
/// where the sum is over `size` channels, from size / 2 (rounded down) before
/// to (size − 1) / 2 after. Channels that do not exist count as 0. Input and
/// output have the shape `[N, C, …]`, with at least one axis after the
/// channels.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{LocalResponseNorm, Module};
///
/// let layer = LocalResponseNorm::new(3).alpha(3.0).beta(1.0);
/// let x = Var::new(Tensor::from([[[1.0], [2.0], [3.0]]]));
/// let y = layer.forward(&x)?.value().to_vec();
/// assert_eq!(y, [1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct LocalResponseNorm {
    size: usize,
    /// The factor of the mean square.
    #[set(default = 1e-4)]
    alpha: f64,
    /// The exponent of the divisor.
    #[set(default = 0.75)]
    beta: f64,
    /// The number added to the mean square.
    #[set(default = 1.0)]
    k: f64,
}

impl LocalResponseNorm {
    /// Makes a layer for sums over `size` channels.
    pub fn new(size: usize) -> Self {
        Self::with_defaults(size)
    }

    /// Checks the settings, and that an input with this many axes after the
    /// batch axis has enough.
    fn check(&self, axes: usize) -> Result<()> {
        let &Self { size, alpha, beta, k } = self;
        let message = if size == 0 {
            "size must be at least 1, got 0".to_owned()
        } else if ![alpha, beta, k].into_iter().all(f64::is_finite) {
            format!("alpha, beta and k must be finite, got {alpha}, {beta} and {k}")
        } else if axes < 2 {
            return Err(Error::shape(
                "LocalResponseNorm",
                "expected [N, C, …] with at least 3 axes",
            ));
        } else {
            return Ok(());
        };
        Err(Error::argument("LocalResponseNorm", message))
    }

    fn normalised<T: Float>(&self, x: &Var<T>) -> Result<Var<T>> {
        let shape = x.shape();
        self.check(shape.len().saturating_sub(1))?;
        if x.value().is_empty() {
            return Ok(x.clone());
        }
        let (samples, channels) = (shape[0], shape[1]);
        // Channels before the first and after the last one add nothing.
        let [before, after] = [self.size / 2, (self.size - 1) / 2].map(|n| n.min(channels));
        let window = before + 1 + after;
        let rest = x.value().len() / (samples * channels);
        let squares = x.square().reshape([samples, 1, channels, rest])?;
        let margins = [[0, 0], [before as isize, after as isize]];
        let squares = squares.pad(&margins, PadMode::Constant(0.0))?;
        let windows = Pool2dOptions { stride: [1, 1], ..Pool2dOptions::new([window, 1]) };
        let means = squares.avg_pool2d(windows, true)?.reshape(shape)?;
        let alpha = self.alpha * (window as f64 / self.size as f64);
        x.div(&means.mul_scalar(alpha).add_scalar(self.k).powf(self.beta))
    }
}

own_settings!(LocalResponseNorm: |this, input| {
    this.check(input.len())?;
    Ok(input.clone())
});

impl<T: Float> Module<T> for LocalResponseNorm {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.normalised(x).map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for LocalResponseNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalResponseNorm {}", self.size)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::check_gradient;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn gradients_are_right() {
        let layer = LocalResponseNorm::new(4).alpha(0.7).beta(0.6).k(1.5);
        for shape in [&[2, 5, 3][..], &[2, 3, 2, 2], &[1, 2, 2, 1, 2]] {
            let x = Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(4));
            check_gradient(|v| layer.forward(&v[0]), &[x]).unwrap();
        }
    }

    #[test]
    fn a_window_beyond_all_channels_sees_all() {
        let x = Var::new(Tensor::<f64>::from([[[1.0, 2.0], [3.0, 4.0]]]));
        let y = |size: usize| {
            let layer = LocalResponseNorm::new(size).alpha(size as f64).beta(1.0);
            layer.forward(&x).unwrap().into_value()
        };
        assert!(y(5).allclose(&y(1 << 50), 1e-12, 0.0).unwrap());
        assert!((y(5).to_vec()[0] - 1.0 / 11.0).abs() < 1e-12);
        let empty = Var::new(Tensor::<f64>::zeros([0, 2, 3]));
        assert_eq!(*LocalResponseNorm::new(2).forward(&empty).unwrap().shape(), [0, 2, 3]);
    }

    #[test]
    fn wrong_settings_and_inputs_are_told() {
        let build = |layer: LocalResponseNorm| {
            let builder = Sequential::input([3, 4]).layer(layer);
            builder.build(&mut Rng::seed(0)).map_err(|error| error.to_string())
        };
        build(LocalResponseNorm::new(2)).unwrap();
        let zero = build(LocalResponseNorm::new(0)).unwrap_err();
        assert_eq!(zero, "layer 0 (LocalResponseNorm): size must be at least 1, got 0");
        assert!(build(LocalResponseNorm::new(2).k(f64::NAN)).unwrap_err().contains("finite"));
        let x = Var::new(Tensor::<f32>::zeros([2, 3]));
        let error = LocalResponseNorm::new(2).forward(&x).unwrap_err().to_string();
        assert_eq!(error, "LocalResponseNorm 2: expected [N, C, …] with at least 3 axes");
    }
}
