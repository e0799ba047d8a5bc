//! Networks of layers in sequence.

mod architecture;
mod blocks;
mod builder;
mod kinds;
mod own;
mod parts;
mod plan;
mod registry;
mod summary;
mod tokens;

pub use blocks::{
    Join, Parallel, ParallelSettings, Residual, ResidualSettings, SequentialSettings,
};
pub use builder::SequentialBuilder;
pub use kinds::LayerSettings;
pub use parts::LayerOf;
pub use plan::{IntoLayer, LayerPlan};
pub use registry::{SavedLayer, register_layer};
pub use summary::{Summary, SummaryRow};

use std::collections::BTreeMap;
use std::fmt;

use dendra_autograd::{Entry, EntryMut, Parameters, Path, Var};
use dendra_tensor::{Error, Float, Result, Shape};

use crate::context;
use crate::module::Module;
use builder::PlannedLayer;
use parts::{Part, PartName};

/// A network of layers in sequence, as in Keras. `build` infers and checks the
/// shapes of all layers.
///
/// The name of a parameter starts with the index of its layer, as in `0.weight`,
/// or with the name given by [`named`](SequentialBuilder::named).
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
///
/// [`Sequential::tokens`] starts a network whose input is token ids.
#[derive(Clone)]
pub struct Sequential<T: Float = f32> {
    input: Input,
    parts: Vec<Part<T>>,
}

/// The input of a network.
#[derive(Clone, Debug, Default, PartialEq)]
struct Input {
    /// The shape of one sample.
    shape: Shape,
    /// Whether the input is token ids instead of floats.
    tokens: bool,
}

impl Input {
    fn floats(shape: Shape) -> Self {
        Self { shape, tokens: false }
    }

    /// Returns the name of the function of [`Sequential`] that starts a network
    /// with this input.
    fn method(&self) -> &'static str {
        if self.tokens { "tokens" } else { "input" }
    }

    /// Returns an error if the batch has another kind or shape.
    fn check(&self, tokens: bool, batch: &Shape) -> Result<()> {
        let kind = |tokens| if tokens { "token ids" } else { "floats" };
        let expected = batch_of(&self.shape);
        let message = if tokens != self.tokens {
            format!(
                "expected {} of shape {expected}, got {} of shape {batch}: Sequential::tokens \
                 starts a network of token ids, Sequential::input one of floats",
                kind(self.tokens),
                kind(tokens)
            )
        } else if batch.split_first().is_none_or(|(_, sample)| *sample != self.shape[..]) {
            format!("expected {expected}, got {batch}")
        } else {
            return Ok(());
        };
        Err(Error::shape("Sequential", message))
    }
}

impl Sequential {
    /// Starts a network for inputs of this shape without the batch axis: `[784]`,
    /// or `[1, 28, 28]` for images with one channel.
    pub fn input(shape: impl Into<Shape>) -> SequentialBuilder {
        SequentialBuilder::new(Input::floats(shape.into()))
    }
}

impl<T: Float> Sequential<T> {
    /// Returns the shape of one input, without the batch axis.
    pub fn input_shape(&self) -> &Shape {
        &self.input.shape
    }

    /// Returns the shape of one output, without the batch axis.
    pub fn output_shape(&self) -> &Shape {
        self.parts.last().map_or(&self.input.shape, |part| &part.output)
    }

    /// Returns the shape of one output of each layer, without the batch axis.
    pub fn layer_shapes(&self) -> impl Iterator<Item = &Shape> {
        self.parts.iter().map(|part| &part.output)
    }

    /// Returns the kind of the layer that a parameter or buffer belongs to, for
    /// example `Linear` for `0.weight`.
    pub fn layer_kind(&self, name: &str) -> Option<&str> {
        let layer = name.split('.').next()?;
        let mut parts = self.named_parts();
        let part = parts.find(|(name, _)| name.to_string() == layer)?.1;
        Some(part.plan.kind())
    }

    /// Returns a table of the layers with their output shapes and numbers of
    /// parameters. Print it with `{}`.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    /// Returns the number of layers.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns whether the network has no layers.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Sets whether a layer stays in evaluation mode during training, for example
    /// in fine-tuning. In evaluation mode dropout passes values through, and batch
    /// normalisation uses its running statistics without updating them. Gradients
    /// still flow through the layer, and its parameters are trained unless
    /// [`set_trainable_where`](Parameters::set_trainable_where) freezes them.
    ///
    /// [`save`](Self::save) stores this setting with the architecture.
    ///
    /// ```
    /// use dendra_nn::autograd::Tape;
    /// use dendra_nn::tensor::{Ops, Rng, Tensor};
    /// use dendra_nn::{Module, Parameters, Sequential};
    ///
    /// let builder = Sequential::input([4]).dense(3).batch_norm1d().named("norm").dense(2);
    /// let mut model = builder.build(&mut Rng::seed(0))?;
    /// model.set_evaluation("norm", true)?;
    /// let before = model.state_dict();
    /// let x = Tape::training(0, 0).input(Tensor::ones([8, 4]));
    /// let gradients = model.forward(&x)?.sum().backward()?;
    /// model.apply_updates(&gradients)?;
    /// assert_eq!(model.state_dict(), before);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no layer has this name.
    pub fn set_evaluation(&mut self, layer: &str, evaluation: bool) -> Result<()> {
        let index = self.named_parts().position(|(name, _)| name.to_string() == layer);
        let Some(index) = index else {
            let names: Vec<String> = self.named_parts().map(|(name, _)| name.to_string()).collect();
            let message =
                format!("no layer is named {layer:?}; the layers are {}", names.join(", "));
            return Err(Error::argument("Sequential::set_evaluation", message));
        };
        self.parts[index].evaluation = evaluation;
        Ok(())
    }

    /// Returns each layer with its component of parameter names.
    fn named_parts(&self) -> impl Iterator<Item = (PartName<'_>, &Part<T>)> {
        let parts = self.parts.iter().enumerate();
        parts.map(|(index, part)| (PartName(index, part.name.as_deref()), part))
    }

    /// The layers as they are planned, with the settings they have now.
    #[inline(never)]
    fn plan(&self) -> SequentialBuilder {
        let mut builder = SequentialBuilder::new(self.input.clone());
        builder.layers.extend(self.parts.iter().map(|part| PlannedLayer {
            name: part.name.clone(),
            evaluation: part.evaluation,
            plan: part.plan.clone(),
        }));
        builder
    }

    /// The output of the layers from `index` on.
    #[inline(never)]
    fn forward_from(&self, mut index: usize, mut x: Var<T>) -> Result<Var<T>> {
        while let Some(part) = self.parts.get(index) {
            let name = PartName(index, part.name.as_deref());
            let _part = x.tape().and_then(|tape| tape.enter(self, &name, &part.layer));
            let (y, joined) = part.forward_joined(&x);
            x = y.map_err(|error| self.explain(index, error))?;
            index += 1 + joined;
        }
        Ok(x)
    }

    /// Adds the layer to an error as context, unless the error already contains
    /// the path of the layer.
    fn explain(&self, index: usize, error: Error) -> Error {
        let part = &self.parts[index];
        let text = error.to_string();
        let parameters = part.layer.named_parameters();
        let mut paths = parameters.iter().filter_map(|(_, param)| context::path(param));
        match paths.any(|path| text.contains(&format!("{path} ("))) {
            true => error,
            false => error.within(format!("layer {}", PartName(index, part.name.as_deref()))),
        }
    }
}

/// Formats a shape with the batch axis, as `[N, 1, 28, 28]`.
fn batch_of(shape: &Shape) -> String {
    let sizes: Vec<String> = shape.iter().map(|size| format!(", {size}")).collect();
    format!("[N{}]", sizes.concat())
}

impl<T: Float> Module<T> for Sequential<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.input.check(false, x.shape())?;
        self.forward_from(0, x.clone())
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

    // It serialises all kinds of layers.
    #[inline(never)]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.architecture().into_iter().collect()
    }
}

impl<T: Float> fmt::Debug for Sequential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Sequential {} {{", batch_of(&self.input.shape))?;
        for (name, part) in self.named_parts() {
            writeln!(f, "    {name}: {}", part.description())?;
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
