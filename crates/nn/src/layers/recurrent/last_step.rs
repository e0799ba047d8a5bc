//! The last step of a sequence.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// The last of the steps `[N, L, …]`, of shape `[N, …]`, for use after a
/// recurrent layer of one direction. In the reverse direction the last step
/// depends on one input only; for both directions use
/// [`last_state`](super::RecurrentSettings::last_state).
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{LastStep, Module};
///
/// let x = Var::new(Tensor::from([[[1.0, 2.0], [3.0, 4.0]]]));
/// assert_eq!(LastStep.forward(&x)?.value(), &Tensor::from([[3.0, 4.0]]));
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Parameters, Serialize, Deserialize)]
pub struct LastStep;

own_settings!(LastStep: |_this, input| match input.split_first() {
    Some((_, rest)) => Ok(rest.into()),
    None => Err(Error::shape("LastStep", format!("expected [L, …], got {input}"))),
});

impl<T: Float> Module<T> for LastStep {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let steps = match x.shape()[..] {
            [_, steps, ..] if steps > 0 => steps,
            _ => {
                let message =
                    format!("expected [N, L, …] with at least one step, got {}", x.shape());
                return Err(Error::shape("LastStep", message));
            }
        };
        let last = x.narrow(1, steps - 1, 1).and_then(|last| last.squeeze(1));
        last.map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for LastStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastStep")
    }
}
