//! Loss scaling for gradients in half precision.

use dendra_autograd::{Gradients, Parameters, StateDict, Var};
use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use crate::optimizer::Optimizer;

/// Multiplies the loss before the backward pass, so that small gradients do not
/// become 0 in `f16`, and adapts the factor: after a step whose gradients are not
/// finite, which is skipped, the scale is multiplied by `backoff_factor`, and after
/// `growth_interval` steps in a row without such a step by `growth_factor`
/// (Micikevicius et al., "Mixed precision training", 2018).
///
/// A skipped step changes neither the parameters nor the buffers. When the scale is
/// 1 or less, gradients that are not finite are an error. Gradients in `bf16` need
/// no scale.
///
/// ```
/// use dendra_autograd::{Param, Tape};
/// use dendra_optim::{GradScaler, SGD};
/// use dendra_tensor::{HalfPrecision, Ops, Tensor};
///
/// let mut weight = Param::new(Tensor::from([[1.0_f32, 2.0]]));
/// let mut optimizer = SGD::new(0.1);
/// let mut scaler = GradScaler::new();
/// for step in 0..3 {
///     let tape = Tape::training(42, step).autocast(HalfPrecision::F16);
///     let x = tape.input(Tensor::from([[3.0, -1.0]]));
///     let loss = x.linear(&weight.on(&x), None)?.square().sum();
///     let gradients = scaler.scale(&loss).backward()?;
///     scaler.step(&mut optimizer, &mut weight, gradients)?;
/// }
/// assert_eq!(scaler.skipped(), 2, "2 · 65536 and 2 · 32768 are infinite in f16");
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Setters)]
pub struct GradScaler {
    #[set(skip, default = 65536.0)]
    scale: f64,
    /// The factor by which the scale grows.
    #[set(default = 2.0)]
    growth_factor: f64,
    /// The factor by which the scale shrinks after a skipped step.
    #[set(default = 0.5)]
    backoff_factor: f64,
    /// The number of steps in a row with finite gradients after which the scale
    /// grows.
    #[set(default = 2000)]
    growth_interval: u64,
    /// The steps in a row with finite gradients, since the scale changed.
    #[set(skip)]
    growth_tracker: u64,
    #[set(skip)]
    skipped: u64,
}

impl GradScaler {
    /// A scaler with PyTorch's defaults: a scale of 65536, which is halved after a
    /// skipped step and doubled after 2000 other ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// The scale of the first step; 65536 by default.
    #[must_use]
    pub fn init_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Returns an error that contains the name of an invalid setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::argument("GradScaler", message));
        let positive = |x: f64| x > 0.0 && x.is_finite();
        match *self {
            Self { scale, .. } if !positive(scale) => {
                refuse(format!("init_scale must be a number above 0, got {scale}"))
            }
            Self { growth_factor: factor, .. } if !(factor > 1.0 && factor.is_finite()) => {
                refuse(format!("growth_factor must be a number above 1, got {factor}"))
            }
            Self { backoff_factor: factor, .. } if !(factor > 0.0 && factor < 1.0) => {
                refuse(format!("backoff_factor must lie between 0 and 1, got {factor}"))
            }
            Self { growth_interval: 0, .. } => {
                refuse("growth_interval must be at least 1, got 0".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The factor of the loss.
    pub fn get_scale(&self) -> f64 {
        self.scale
    }

    /// The number of steps that were skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The loss multiplied by the scale. Its gradients are those for
    /// [`step`](Self::step).
    #[must_use]
    pub fn scale<T: Float>(&self, loss: &Var<T>) -> Var<T> {
        loss.mul_scalar(self.scale)
    }

    /// Divides gradients and their loss by the scale.
    pub fn unscale<T: Float>(&self, gradients: &mut Gradients<T>) {
        gradients.scale(1.0 / self.scale);
    }

    /// Adapts the scale after a step, and counts a step that was skipped because
    /// its gradients were not finite.
    pub fn update(&mut self, finite: bool) {
        if !finite {
            self.skipped += 1;
            self.scale *= self.backoff_factor;
            self.growth_tracker = 0;
            return;
        }
        self.growth_tracker += 1;
        if self.growth_tracker >= self.growth_interval {
            // Beyond this, the gradients of the largest loss would be infinite.
            self.scale = (self.scale * self.growth_factor).min(f64::from(f32::MAX));
            self.growth_tracker = 0;
        }
    }

    /// Divides the gradients of a scaled loss by the scale, performs a step of the
    /// optimizer unless they are infinite or NaN, and adapts the scale. Returns
    /// whether the step was performed.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid, if the gradients are not finite at
    /// a scale of 1 or less, which cannot be the scale's fault, and the errors of
    /// [`Optimizer::step`].
    pub fn step<T: Float>(
        &mut self,
        optimizer: &mut dyn Optimizer<T>,
        model: &mut dyn Parameters<T>,
        mut gradients: Gradients<T>,
    ) -> Result<bool> {
        self.check()?;
        self.unscale(&mut gradients);
        match gradients.first_not_finite() {
            None => {
                optimizer.step(model, &gradients)?;
                self.update(true);
                Ok(true)
            }
            Some(id) if self.scale <= 1.0 => {
                let name = model.name_of(id).unwrap_or_else(|| "an unnamed parameter".to_owned());
                let message = format!("the gradient of `{name}` is not finite");
                Err(Error::not_finite("GradScaler", message))
            }
            Some(_) => {
                self.update(false);
                Ok(false)
            }
        }
    }

    /// The state: the scale and the counters.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        state.insert("scale", Tensor::scalar(self.scale));
        state.insert("growth_tracker", Tensor::scalar(self.growth_tracker as i64));
        state.insert("skipped", Tensor::scalar(self.skipped as i64));
        state
    }

    /// Restores the state that [`state_dict`](Self::state_dict) returned.
    ///
    /// # Errors
    ///
    /// Returns an error if the state does not have the expected form. The scaler is
    /// then unchanged.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let count = |name| state.typed::<i64>(name)?.item().ok().and_then(|x| x.try_into().ok());
        let scale = state.typed::<f64>("scale").and_then(|scale| scale.item().ok());
        let scale = scale.filter(|&scale| scale > 0.0 && scale.is_finite());
        let (Some(scale), Some(tracker), Some(skipped)) =
            (scale, count("growth_tracker"), count("skipped"))
        else {
            return Err(Error::state("expected the scale and the counters of a GradScaler"));
        };
        (self.scale, self.growth_tracker, self.skipped) = (scale, tracker, skipped);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Param, Tape};

    use super::*;
    use crate::SGD;

    #[test]
    fn the_scale_grows_after_an_interval_and_shrinks_after_a_skipped_step() {
        let mut scaler = GradScaler::new().init_scale(8.0).growth_interval(3);
        let mut scales = Vec::new();
        for finite in [true, true, true, true, false, true, true, true, false, false] {
            scaler.update(finite);
            scales.push(scaler.get_scale());
        }
        assert_eq!(scales, [8.0, 8.0, 16.0, 16.0, 8.0, 8.0, 8.0, 16.0, 8.0, 4.0]);
        assert_eq!(scaler.skipped(), 3);
        let mut again = GradScaler::new().growth_interval(3);
        again.load_state_dict(&scaler.state_dict()).unwrap();
        assert_eq!(again, scaler);
        assert!(again.load_state_dict(&StateDict::new()).is_err());
        assert_eq!(again, scaler);
    }

    #[test]
    fn a_step_is_skipped_or_is_that_of_the_loss_itself() {
        let mut weight = Param::new(Tensor::from([0.5_f32, 2.0]));
        let mut optimizer = SGD::new(0.25);
        let mut scaler = GradScaler::new();
        let mut step = |scaler: &mut GradScaler, factor: f64| {
            let x = Tape::training(0, 0).input(Tensor::from([1.0_f32, -1.0]));
            let loss = x.mul(&weight.on(&x)).unwrap().mul_scalar(factor).sum();
            let gradients = scaler.scale(&loss).backward().unwrap();
            let done = scaler.step(&mut optimizer, &mut weight, gradients);
            (done, weight.value().to_vec())
        };
        let (done, weights) = step(&mut scaler, 1e36);
        assert_eq!((done.unwrap(), weights), (false, vec![0.5, 2.0]));
        assert_eq!(scaler.get_scale(), 32768.0);
        let (done, weights) = step(&mut scaler, 1.0);
        assert_eq!((done.unwrap(), weights), (true, vec![0.25, 2.25]));
        let mut scaler = scaler.init_scale(1.0);
        let error = step(&mut scaler, f64::INFINITY).0.unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    }

    #[test]
    fn wrong_settings_are_named() {
        let new = GradScaler::new;
        for (scaler, name) in [
            (new().init_scale(0.0), "init_scale"),
            (new().init_scale(f64::NAN), "init_scale"),
            (new().growth_factor(1.0), "growth_factor"),
            (new().backoff_factor(1.0), "backoff_factor"),
            (new().growth_interval(0), "growth_interval"),
        ] {
            assert!(scaler.check().unwrap_err().to_string().contains(name), "{name}");
        }
        new().check().unwrap();
    }
}
