//! Resizing of sequences, images and volumes.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::Op;
use dendra_tensor::{Error, Float, Interpolate, InterpolateMode, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::module::Module;
use crate::settings::MAX_SAMPLE;
use crate::settings::own_settings;

/// Resizes the axes after the channels to a size or by a factor, with one of
/// the modes of [`InterpolateMode`]; see [`Interpolate`] for the formulas.
///
/// | | shape |
/// |---|---|
/// | input | `[N, C, L]`, `[N, C, H, W]` or `[N, C, D, H, W]` |
/// | output | the same with the new sizes, rounded down |
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{InterpolateMode, Tensor};
/// use dendra_nn::{Module, Upsample};
///
/// let x = Var::new(Tensor::from([[[1.0, 3.0]]]));
/// assert_eq!(Upsample::scale_factor(2.0).forward(&x)?.value().to_vec(), [1.0, 1.0, 3.0, 3.0]);
/// let line = Upsample::size([3]).mode(InterpolateMode::Linear).align_corners(true);
/// assert_eq!(line.forward(&x)?.value().to_vec(), [1.0, 2.0, 3.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Parameters, Serialize, Deserialize, Setters)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct Upsample {
    target: Target,
    /// How new elements are computed.
    #[set(default = InterpolateMode::Nearest)]
    #[serde(with = "ModeName")]
    mode: InterpolateMode,
    /// Whether the centres of the first and the last elements keep their
    /// positions, instead of the edges. For the modes linear and cubic.
    #[set(default = false)]
    align_corners: bool,
    // Older files have neither of these settings.
    /// Whether axes that shrink are smoothed. For the modes linear and cubic;
    /// see [`Interpolate::antialias`].
    #[set(default = false)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    antialias: bool,
    /// Whether coordinates are scaled by the ratio of the axis lengths instead
    /// of the given factors.
    #[set(default = false)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recompute_scale_factor: bool,
}

/// The new size of the axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    Size(Vec<usize>),
    ScaleFactor(f64),
    ScaleFactors(Vec<f64>),
}

/// The names of the modes in files.
#[derive(Serialize, Deserialize)]
#[serde(remote = "InterpolateMode", rename_all = "snake_case")]
enum ModeName {
    Nearest,
    NearestExact,
    Linear,
    Cubic,
    Area,
}

impl Upsample {
    /// Resizes to one size for each axis.
    pub fn size(size: impl Into<Vec<usize>>) -> Self {
        Self::with_defaults(Target::Size(size.into()))
    }

    /// Resizes all axes by one factor.
    pub fn scale_factor(factor: f64) -> Self {
        Self::with_defaults(Target::ScaleFactor(factor))
    }

    /// Resizes by one factor for each axis.
    pub fn scale_factors(factors: impl Into<Vec<f64>>) -> Self {
        Self::with_defaults(Target::ScaleFactors(factors.into()))
    }

    /// The operation for an input of this shape, batch axis included.
    fn interpolate(&self, input: &Shape) -> Interpolate {
        let to = match &self.target {
            Target::Size(size) => Interpolate::size(size, self.mode),
            Target::ScaleFactors(factors) => Interpolate::scale(factors, self.mode),
            Target::ScaleFactor(factor) => {
                let axes = input.len().saturating_sub(2);
                Interpolate::scale(&vec![*factor; axes], self.mode)
            }
        };
        to.align_corners(self.align_corners)
            .antialias(self.antialias)
            .recompute_scale_factor(self.recompute_scale_factor)
    }
}

own_settings!(Upsample: |this, input| {
    let batch: Shape = [1].into_iter().chain(input.iter().copied()).collect();
    let output = Op::<f32>::output_shape(&this.interpolate(&batch), &[&batch])?;
    // The axes are resized one after the other, so an intermediate result can
    // have the larger size of each axis.
    let between: Shape = batch.iter().zip(&output[..]).map(|(a, b)| *a.max(b)).collect();
    if between.checked_elements().is_none_or(|values| values > MAX_SAMPLE) {
        let message = format!("from {input} to {output} takes more than {MAX_SAMPLE} values");
        return Err(Error::shape("Upsample", message));
    }
    Ok(output[1..].into())
});

impl<T: Float> Module<T> for Upsample {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        x.interpolate(&self.interpolate(x.shape()))
            .map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for Upsample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Size(size) => write!(f, "Upsample to {}", Shape::from(&size[..]))?,
            Target::ScaleFactor(factor) => write!(f, "Upsample by {factor}")?,
            Target::ScaleFactors(factors) => write!(f, "Upsample by {factors:?}")?,
        }
        if self.mode != InterpolateMode::Nearest {
            write!(f, ", {:?}", self.mode)?;
        }
        f.write_str(if self.align_corners { ", corners aligned" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn a_network_knows_the_resized_shapes() {
        let builder = Sequential::input([2, 4, 5])
            .layer(Upsample::scale_factor(2.0))
            .layer(Upsample::size([7, 3]).mode(InterpolateMode::Linear).align_corners(true))
            .layer(Upsample::scale_factors([1.0, 1.5]).mode(InterpolateMode::Cubic));
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        assert_eq!(*model.output_shape(), [2, 7, 4]);
        let y = model.forward(&Var::new(Tensor::ones([3, 2, 4, 5]))).unwrap();
        assert_eq!(*y.shape(), [3, 2, 7, 4]);
        assert!(y.value().to_vec().iter().all(|x| (x - 1.0).abs() < 1e-5));
        let text = Upsample::size([7, 3]).mode(InterpolateMode::Linear).align_corners(true);
        assert_eq!(text.to_string(), "Upsample to [7, 3], Linear, corners aligned");
    }

    #[test]
    fn what_cannot_be_resized_is_refused() {
        let message = |layer: Upsample| {
            let builder = Sequential::input([2, 4, 5]).layer(layer);
            builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert_eq!(
            message(Upsample::size([3])),
            "layer 0 (Upsample): expected an input of [N, C] and 1 axes, got [1, 2, 4, 5]"
        );
        assert!(message(Upsample::scale_factor(0.1)).contains("axis 2"));
        assert!(message(Upsample::scale_factor(f64::NAN)).contains("axis 2"));
        assert!(message(Upsample::size([1 << 30, 1])).contains("takes more than"));
        assert!(
            message(Upsample::scale_factor(2.0).align_corners(true))
                .contains("align_corners is for the modes linear and cubic")
        );
        let x = Var::new(Tensor::<f32>::zeros([2, 4]));
        let error = Upsample::scale_factor(2.0).forward(&x).unwrap_err().to_string();
        assert!(error.starts_with("Upsample by 2: "), "{error}");
    }
}
