//! Looking at the layers of a network one by one.

use dendra_tensor::{Float, Shape};

use super::Sequential;
use crate::module::Module;

/// A layer of a [`Sequential`], to look at; see [`Sequential::layers`].
pub struct LayerOf<'a, T: Float = f32> {
    /// Its part of a path: its name, or its index.
    pub name: String,
    /// The layer and its sizes, as `Linear 784 → 64`.
    pub description: String,
    /// The shape of its output, without the batch axis.
    pub output: &'a Shape,
    /// The layer itself.
    pub module: &'a dyn Module<T>,
}

impl<T: Float> Sequential<T> {
    /// The layers in their order. Run one after the other they do what
    /// [`forward`](Module::forward) does, which may put some of them together.
    pub fn layers(&self) -> impl Iterator<Item = LayerOf<'_, T>> {
        self.named_parts().map(|(name, part)| LayerOf {
            name: name.to_string(),
            description: part.layer.to_string(),
            output: &part.output,
            module: &part.layer,
        })
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Var;
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
