//! The individual layers of a network.

use std::fmt;

use dendra_autograd::{Tape, Var};
use dendra_tensor::{Float, Result, Shape};

use super::Sequential;
use super::own::state_of;
use super::plan::{AnyLayer, LayerPlan};
use crate::layers::{Conv2d, MaxPool2d, ReLU};
use crate::module::Module;

/// One layer of a network.
pub(super) struct Part<T: Float> {
    /// The name of the layer, if it is not its index.
    pub(super) name: Option<String>,
    /// Whether the layer is in evaluation mode independently of the tape.
    pub(super) evaluation: bool,
    pub(super) plan: LayerPlan,
    pub(super) layer: Box<dyn AnyLayer<T>>,
    /// The shape of the output, without the batch axis.
    pub(super) output: Shape,
    /// The number of following layers that are computed in one pass with it.
    pub(super) joined: usize,
}

impl<T: Float> Clone for Part<T> {
    fn clone(&self) -> Self {
        let &Self { ref name, evaluation, ref plan, ref layer, ref output, joined } = self;
        let (name, plan, output) = (name.clone(), plan.clone(), output.clone());
        Self { name, evaluation, plan, layer: (**layer).copy(), output, joined }
    }
}

impl<T: Float> Part<T> {
    /// Finds the layers that can be fused with the layers after them: a convolution
    /// followed by a ReLU, and optionally by a max pooling of 2×2 windows.
    pub(super) fn join(parts: &mut [Self]) {
        for index in 0..parts.len() {
            let follows = |offset: usize| parts.get(index + offset).map(|p| (*p.layer).as_any());
            if follows(0).is_some_and(|layer| layer.is::<Conv2d<T>>())
                && follows(1).is_some_and(|layer| layer.is::<ReLU>())
            {
                let pool = follows(2).and_then(|layer| layer.downcast_ref::<MaxPool2d>());
                parts[index].joined = if pool.is_some_and(MaxPool2d::halves) { 2 } else { 1 };
            }
        }
    }

    /// Computes the output of the layer, or of the layer and the following layers
    /// that are fused with it. Also returns the number of those layers.
    pub(super) fn forward_joined(&self, x: &Var<T>) -> (Result<Var<T>>, usize) {
        // Fused and separate layers compute the same bits.
        let one_by_one = x.tape().is_some_and(Tape::distinguishes_operations);
        if self.joined > 0
            && !one_by_one
            && let Some(conv) = (*self.layer).as_any().downcast_ref::<Conv2d<T>>()
            && let Some(y) = conv.forward_relu(x, self.joined == 2)
        {
            return (y, self.joined);
        }
        (self.forward(x), 0)
    }

    /// Returns the layer and its sizes as text.
    pub(super) fn description(&self) -> String {
        let mode = if self.evaluation { ", in evaluation mode" } else { "" };
        format!("{}{mode}", self.layer)
    }
}

impl<T: Float> Module<T> for Part<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        match self.evaluation {
            true => x.in_evaluation(&|x| self.layer.forward(x)),
            false => self.layer.forward(x),
        }
    }
}

state_of! { [T: Float] Part<T>: layer }

/// The component of a layer in parameter names: its name, or its index if it has
/// none.
pub(super) struct PartName<'a>(pub(super) usize, pub(super) Option<&'a str>);

impl PartName<'_> {
    /// Returns the description of the layer in errors.
    pub(super) fn context(&self, kind: &str) -> String {
        format!("layer {self} ({kind})")
    }
}

impl fmt::Display for PartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(_, Some(name)) => f.write_str(name),
            Self(index, None) => write!(f, "{index}"),
        }
    }
}

/// A view of a layer of a [`Sequential`]; see [`Sequential::layers`].
pub struct LayerOf<'a, T: Float = f32> {
    /// The name of the layer, or its index.
    pub name: String,
    /// The layer and its sizes, such as `Linear 784 → 64`.
    pub description: String,
    /// The shape of the output, without the batch axis.
    pub output: &'a Shape,
    /// The layer itself.
    pub module: &'a dyn Module<T>,
}

impl<T: Float> fmt::Debug for LayerOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.description)
    }
}

impl<T: Float> Sequential<T> {
    /// Returns the layers in order. Applied one after the other, they compute the
    /// same values as [`forward`](Module::forward), which may fuse several layers.
    pub fn layers(&self) -> impl Iterator<Item = LayerOf<'_, T>> {
        self.named_parts().map(|(name, part)| LayerOf {
            name: name.to_string(),
            description: part.description(),
            output: &part.output,
            module: part,
        })
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;

    #[test]
    fn the_layers_one_after_the_other_are_the_network() {
        let builder = Sequential::input([1, 6, 6]).conv2d(2, 3).relu().max_pool2d(2).flatten();
        let model = builder.dense(3).named("head").build(&mut Rng::seed(1)).unwrap();
        let x = Var::new(Tensor::normal([2, 1, 6, 6], 0.0, 1.0, &mut Rng::seed(2)));
        let mut y = x.clone();
        for layer in model.layers() {
            y = layer.module.forward(&y).unwrap();
            assert_eq!(y.shape()[1..], layer.output[..]);
        }
        assert_eq!(y.value(), model.forward(&x).unwrap().value());
        let last = model.layers().last().unwrap();
        assert_eq!((&*last.name, &*last.description), ("head", "Linear 8 → 3"));
    }
}
