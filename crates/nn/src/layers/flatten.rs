//! Flattening of axes.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Merges a range of axes: `[N, C, H, W]` becomes `[N, C·H·W]`.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Flatten, Module};
///
/// let x = Var::new(Tensor::<f32>::zeros([2, 3, 4, 5]));
/// assert_eq!(*Flatten::new().forward(&x)?.shape(), [2, 60]);
/// assert_eq!(*Flatten::axes(1, 2).forward(&x)?.shape(), [2, 12, 5]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct Flatten {
    start: isize,
    end: isize,
}

impl Flatten {
    /// Merges all axes after the batch axis.
    pub fn new() -> Self {
        Self::axes(1, -1)
    }

    /// Merges the axes from `start` to `end`, both included. Negative axes
    /// count from the end.
    pub fn axes(start: isize, end: isize) -> Self {
        Self { start, end }
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self::new()
    }
}

own_settings!(Flatten: |this, input| {
    let shape: Shape = [1].into_iter().chain(input.iter().copied()).collect();
    let output = shape.flattened(this.start, this.end)?;
    match output.split_first() {
        Some((1, output)) => Ok(output.into()),
        _ => Err(Error::argument("Flatten", "the batch axis cannot be merged with others")),
    }
});

impl<T: Float> Module<T> for Flatten {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        x.flatten(self.start, self.end).map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for Flatten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (1, -1) => f.write_str("Flatten"),
            (start, end) => write!(f, "Flatten {start} to {end}"),
        }
    }
}
