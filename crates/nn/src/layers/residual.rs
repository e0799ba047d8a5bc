//! A connection around a part of a model.

use std::fmt;

use dendra_autograd::{Entry, EntryMut, Parameters, Path, Var};
use dendra_tensor::{Float, Ops, Result};

use crate::module::Module;

/// x + body(x), which lets the gradient pass the body by (He et al., "Deep
/// residual learning for image recognition", 2016).
///
/// The body's parameters are named `body.…`. Its output has the shape of its
/// input, or one that broadcasts with it.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{Linear, Module, Parameters, Residual};
///
/// let layer = Residual { body: Linear::new(4, 4).init(&mut Rng::seed(0))? };
/// assert_eq!(layer.named_parameters()[0].0, "body.weight");
/// let x = Var::new(Tensor::ones([2, 4]));
/// let difference = layer.forward(&x)? - &x;
/// assert_eq!(*difference.shape(), [2, 4]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Residual<M> {
    /// What is added.
    pub body: M,
}

impl<T: Float, M: Module<T>> Module<T> for Residual<M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let y = self.body.forward(x)?;
        x.add(&y).map_err(|error| error.within("Residual"))
    }
}

impl<T: Float, M: Parameters<T>> Parameters<T> for Residual<M> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
        path.enter("body", |path| self.body.visit(path, visitor));
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    ) {
        path.enter("body", |path| self.body.visit_mut(path, visitor));
    }
}

impl<M: fmt::Display> fmt::Display for Residual<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Residual ({})", self.body)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Tape;
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::layers::Linear;

    #[test]
    fn the_gradient_passes_by_and_shapes_are_checked() {
        let rng = &mut Rng::seed(0);
        let mut body = Linear::new(3, 3).bias(false).init(rng).unwrap();
        body.weight.set(Tensor::zeros([3, 3])).unwrap();
        let x = Tape::training(0, 0).leaf(Tensor::from([[1.0, 2.0, 3.0]]));
        let y = Residual { body }.forward(&x).unwrap();
        assert_eq!(y.value(), x.value());
        assert_eq!(y.sum().backward().unwrap().wrt(&x).unwrap().to_vec(), [1.0; 3]);
        let layer = Residual { body: Linear::new(3, 2).init(rng).unwrap() };
        let error = layer.forward(&Var::new(Tensor::zeros([1, 3]))).unwrap_err().to_string();
        assert!(error.starts_with("Residual: Add: shapes [1, 3] and [1, 2]"), "{error}");
    }
}
