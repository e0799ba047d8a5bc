//! Layers one after the other.

mod architecture;
mod builder;
mod parts;
mod summary;

pub(crate) use builder::MAX_SAMPLE;
pub use builder::SequentialBuilder;
pub use parts::LayerOf;
pub use summary::{Summary, SummaryRow};

use std::fmt;

use dendra_autograd::{Entry, EntryMut, Parameters, Path, Tape, Var};
use dendra_tensor::{Error, Float, Result, Shape};

use crate::layers::{Layer, LayerSettings};
use crate::module::Module;
use crate::place;

/// A network of layers one after the other, Keras's way: shapes are inferred
/// and checked when it is built.
///
/// The layers' parameters are named by their place, as `0.weight`, or by
/// [`named`](SequentialBuilder::named).
///
/// ```
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::Sequential;
///
/// let model = Sequential::input([28, 28])
///     .flatten()
///     .dense(128)
///     .relu()
///     .dropout(0.5)
///     .dense(10)
///     .build(&mut Rng::seed(42))?;
/// println!("{}", model.summary());
/// assert_eq!(*model.output_shape(), [10]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Sequential<T: Float = f32> {
    input: Shape,
    parts: Vec<Part<T>>,
}

/// One layer of a network.
#[derive(Clone)]
struct Part<T: Float> {
    /// Its name, when that is not its index.
    name: Option<String>,
    settings: LayerSettings,
    layer: Layer<T>,
    /// The shape of its output, without the batch axis.
    output: Shape,
}

impl<T: Float> Part<T> {
    /// The output of the layer, or of the layer and some that follow it where
    /// one pass does them together; and how many of those.
    fn forward(&self, x: &Var<T>, following: &[Self]) -> (Result<Var<T>>, usize) {
        let mut following = following.iter().map(|part| &part.layer);
        // A trace shows each layer; together they give the same bits.
        let is_tracing = x.tape().is_some_and(Tape::is_tracing);
        match (&self.layer, following.next(), following.next()) {
            (Layer::Conv2d(conv), Some(Layer::ReLU(_)), pool) if !is_tracing => {
                let max_pool = matches!(pool, Some(Layer::MaxPool2d(pool)) if pool.halves());
                match conv.forward_relu(x, max_pool) {
                    Some(y) => (y, 1 + usize::from(max_pool)),
                    None => (conv.forward(x), 0),
                }
            }
            (layer, ..) => (layer.forward(x), 0),
        }
    }
}

impl Sequential {
    /// Begins a network for inputs of this shape, without the batch axis:
    /// `[784]`, or `[1, 28, 28]` for images of one channel.
    pub fn input(shape: impl Into<Shape>) -> SequentialBuilder {
        SequentialBuilder::new(shape.into())
    }
}

impl<T: Float> Sequential<T> {
    /// The shape of one input, without the batch axis.
    pub fn input_shape(&self) -> &Shape {
        &self.input
    }

    /// The shape of one output, without the batch axis.
    pub fn output_shape(&self) -> &Shape {
        self.parts.last().map_or(&self.input, |part| &part.output)
    }

    /// The kind of the layer that a parameter or buffer belongs to, as `Linear`
    /// for `0.weight`.
    pub fn layer_kind(&self, name: &str) -> Option<&'static str> {
        let layer = name.split('.').next()?;
        let mut parts = self.named_parts();
        let part = parts.find(|(name, _)| name.to_string() == layer)?.1;
        Some(part.settings.kind())
    }

    /// A table of the layers, their output shapes and parameters. It prints
    /// itself.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    /// The number of its layers.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether it has no layer.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Each layer and its part of a path.
    fn named_parts(&self) -> impl Iterator<Item = (PartName<'_>, &Part<T>)> {
        let parts = self.parts.iter().enumerate();
        parts.map(|(index, part)| (PartName(index, part.name.as_deref()), part))
    }
}

/// A layer's part of a path: its name, or its index where it has none.
struct PartName<'a>(usize, Option<&'a str>);

impl fmt::Display for PartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(_, Some(name)) => f.write_str(name),
            Self(index, None) => write!(f, "{index}"),
        }
    }
}

/// A shape with the batch axis, as `[N, 1, 28, 28]`.
fn batch_of(shape: &Shape) -> String {
    let extents: Vec<String> = shape.iter().map(|extent| format!(", {extent}")).collect();
    format!("[N{}]", extents.concat())
}

impl<T: Float> Module<T> for Sequential<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        if x.shape().split_first().is_none_or(|(_, sample)| *sample != self.input[..]) {
            let message = format!("expected {}, got {}", batch_of(&self.input), x.shape());
            return Err(Error::shape("Sequential", message));
        }
        let mut x = x.clone();
        let mut parts = self.named_parts();
        while let Some((PartName(index, name), part)) = parts.next() {
            let _part =
                x.tape().and_then(|tape| tape.enter(self, &PartName(index, name), &part.layer));
            let (y, together) = part.forward(&x, &self.parts[index + 1..]);
            if together > 0 {
                parts.nth(together - 1);
            }
            x = y.map_err(|error| {
                // A layer whose parameters know their path has named it.
                let parameters = part.layer.named_parameters();
                match parameters.iter().find_map(|(_, param)| place::path(param)) {
                    Some(_) => error,
                    None => error.within(format!("layer {}", PartName(index, name))),
                }
            })?;
        }
        Ok(x)
    }
}

impl<T: Float> Parameters<T> for Sequential<T> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
        for (name, part) in self.named_parts() {
            path.enter(name, |path| part.layer.visit(path, visitor));
        }
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    ) {
        for (index, part) in self.parts.iter_mut().enumerate() {
            let name = PartName(index, part.name.as_deref());
            path.enter(name, |path| part.layer.visit_mut(path, visitor));
        }
    }
}

impl<T: Float> fmt::Debug for Sequential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Sequential {} {{", batch_of(&self.input))?;
        for (name, part) in self.named_parts() {
            writeln!(f, "    {name}: {}", part.layer)?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Tape;
    use dendra_tensor::{Ops, Rng, Tensor};

    use super::*;

    fn model() -> Sequential {
        let builder = Sequential::input([2, 3]).flatten().dense(4).named("hidden").relu().dense(2);
        builder.build(&mut Rng::seed(1)).unwrap()
    }

    #[test]
    fn parameters_are_named_by_index_or_by_name() {
        let names: Vec<String> =
            model().named_parameters().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["hidden.weight", "hidden.bias", "3.weight", "3.bias"]);
        assert_eq!(
            format!("{:?}", model()),
            "Sequential [N, 2, 3] {\n    0: Flatten\n    hidden: Linear 6 → 4\n    2: ReLU\n    \
             3: Linear 4 → 2\n}"
        );
    }

    #[test]
    fn forward_is_the_layers_one_after_the_other() {
        let model = model();
        let x = Tensor::normal([5, 2, 3], 0.0, 1.0, &mut Rng::seed(2));
        let parameters = model.named_parameters();
        let [w1, b1, w2, b2] = [0, 1, 2, 3].map(|index: usize| parameters[index].1.value().clone());
        let expected = x.reshape([5, 6]).unwrap().linear(&w1, Some(&b1)).unwrap().relu();
        let expected = expected.linear(&w2, Some(&b2)).unwrap();
        assert_eq!(model.forward(&Var::new(x)).unwrap().value(), &expected);
    }

    #[test]
    fn a_wrong_input_is_told_before_any_layer_sees_it() {
        for shape in [vec![5, 6], vec![2, 3], vec![]] {
            let shape = Shape::from(shape);
            let error = model().forward(&Var::new(Tensor::zeros(shape.clone()))).unwrap_err();
            let expected = format!("Sequential: expected [N, 2, 3], got {shape}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_clone_trains_apart() {
        let (model, copy) = (model(), model().clone());
        let x = Tape::training(0, 0).input(Tensor::ones([1, 2, 3]));
        let gradients = model.forward(&x).unwrap().sum().backward().unwrap();
        assert!(model.named_parameters().iter().all(|(_, p)| gradients.get(p).is_some()));
        assert!(copy.named_parameters().iter().all(|(_, p)| gradients.get(p).is_none()));
        assert_eq!(model.state_dict(), copy.state_dict());
    }

    #[test]
    fn an_empty_batch_passes_through() {
        let y = model().forward(&Var::new(Tensor::zeros([0, 2, 3]))).unwrap();
        assert_eq!(*y.shape(), [0, 2]);
    }
}
