//! Splitting of an axis.

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::module::Module;
use crate::settings::own_settings;

/// Splits one axis into several: `[N, 60]` becomes `[N, 3, 4, 5]`. The inverse
/// of [`Flatten`](super::Flatten).
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
/// use dendra_nn::{Module, Unflatten};
///
/// let x = Var::new(Tensor::<f32>::zeros([2, 60]));
/// assert_eq!(*Unflatten::new(1, [3, 4, 5]).forward(&x)?.shape(), [2, 3, 4, 5]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize)]
#[parameters(skip)]
#[serde(deny_unknown_fields)]
pub struct Unflatten {
    axis: isize,
    sizes: Vec<usize>,
}

impl Unflatten {
    /// Splits `axis` into axes of these sizes. A negative axis counts from the
    /// end; axis 0 is the batch.
    pub fn new(axis: isize, sizes: impl Into<Vec<usize>>) -> Self {
        Self { axis, sizes: sizes.into() }
    }

    /// The output shape for an input shape, batch axis included.
    fn output(&self, x: &Shape) -> Result<Shape> {
        let axis = x.axis("Unflatten", self.axis)?;
        let sizes = Shape::from(&self.sizes[..]);
        if sizes.checked_elements() != Some(x[axis]) {
            let message = format!("axis {axis} of {x} cannot be split into {sizes}");
            return Err(Error::shape("Unflatten", message));
        }
        Ok(x[..axis].iter().chain(&self.sizes).chain(&x[axis + 1..]).copied().collect())
    }
}

own_settings!(Unflatten: |this, input| {
    let batch: Shape = [1].into_iter().chain(input.iter().copied()).collect();
    match batch.axis("Unflatten", this.axis)? {
        0 => Err(Error::argument("Unflatten", "the batch axis cannot be split")),
        _ => Ok(this.output(&batch)?[1..].into()),
    }
});

impl<T: Float> Module<T> for Unflatten {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let shape = self.output(x.shape());
        shape
            .and_then(|shape| x.reshape(shape))
            .map_err(|error| context::in_layer(error, None, self))
    }
}

impl fmt::Display for Unflatten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unflatten {} to {}", self.axis, Shape::from(&self.sizes[..]))
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn it_undoes_flatten() {
        let builder = Sequential::input([2, 3, 4]).flatten().unflatten([2, 3, 4]);
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        let x = Tensor::normal([5, 2, 3, 4], 0.0, 1.0, &mut Rng::seed(1));
        assert_eq!(model.forward(&Var::new(x.clone())).unwrap().value(), &x);
        assert_eq!(Unflatten::new(-1, [2, 2]).to_string(), "Unflatten -1 to [2, 2]");
    }

    #[test]
    fn mistakes_are_told() {
        let message = |layer: Unflatten| {
            let builder = Sequential::input([6]).layer(layer);
            builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
        };
        assert_eq!(
            message(Unflatten::new(1, [2, 4])),
            "layer 0 (Unflatten): axis 1 of [1, 6] cannot be split into [2, 4]"
        );
        assert!(message(Unflatten::new(0, [1, 1])).contains("the batch axis cannot be split"));
        assert!(message(Unflatten::new(2, [2, 3])).contains("there is no axis 2"));
        assert!(message(Unflatten::new(1, [usize::MAX, 2])).contains("cannot be split"));
    }
}
