//! The builder, which infers the shapes of a list of layers and creates the
//! network. Errors contain the layer.

use std::collections::HashMap;
use std::sync::Arc;

use dendra_autograd::{Parameters, Var};
use dendra_tensor::{Error, Float, Result, Rng, Shape};
use serde::{Deserialize, Serialize};

use super::parts::{Part, PartName};
use super::plan::{IntoLayer, LayerPlan};
use super::{Input, Sequential, own, tokens};
use crate::context;
use crate::init::Source;
use crate::module::Module;
use crate::settings::MAX_SAMPLE;

/// The builder of a [`Sequential`]. It has a method for each kind of layer.
///
/// Its serialised form is the list of layers in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use = "`build` creates the network"]
pub struct SequentialBuilder {
    #[serde(skip)]
    pub(super) input: Input,
    pub(super) layers: Vec<PlannedLayer>,
    /// A call that refers to the previous layer although there was none. `build`
    /// returns an error for it.
    #[serde(skip)]
    stray: Option<String>,
}

/// A planned layer: its optional name, its mode, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannedLayer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) evaluation: bool,
    #[serde(rename = "layer")]
    pub(super) plan: LayerPlan,
}

/// Whether a flag has its default value, which is not written to files.
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

impl SequentialBuilder {
    pub(super) fn new(input: Input) -> Self {
        Self { input, layers: Vec::new(), stray: None }
    }

    /// Replaces the input.
    pub(super) fn with_input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// Adds a layer: the settings of a layer of this library, such as
    /// `.layer(Linear::lazy(64).bias(false))`, a custom
    /// [`Layer`](crate::Layer), or a built [`Sequential`], whose parameters then
    /// have names such as `0.0.weight`. Custom layers and networks keep their
    /// parameters.
    pub fn layer(self, layer: impl IntoLayer) -> Self {
        self.planned(layer.into_layer())
    }

    /// Like [`layer`](Self::layer), for a custom layer in a network of another
    /// float type.
    pub fn layer_as<T: Float>(self, layer: impl crate::Layer<T>) -> Self {
        self.planned(LayerPlan::own(own::layer(layer)))
    }

    /// Adds any module, which keeps its parameters: a layer after `init`, an
    /// encoder of a transformer, a module of another crate. A trial run on zeros
    /// determines the shape of its output.
    pub fn module(self, module: impl Module + Clone + Send + 'static) -> Self {
        self.planned(LayerPlan::own(own::module::<f32, _>(module)))
    }

    /// Adds a function without parameters, for example
    /// `.map("scale", |x| Ok(x * 0.5))`. `name` is used in errors and summaries. A
    /// trial run on zeros determines the shape of the output. A network with such
    /// a function cannot be saved.
    pub fn map(
        self,
        name: impl Into<String>,
        function: impl Fn(&Var) -> Result<Var> + Send + Sync + 'static,
    ) -> Self {
        self.map_as::<f32>(name, function)
    }

    /// Like [`map`](Self::map), in a network of any float type.
    pub fn map_as<T: Float>(
        self,
        name: impl Into<String>,
        function: impl Fn(&Var<T>) -> Result<Var<T>> + Send + Sync + 'static,
    ) -> Self {
        self.planned(own::map(name.into(), Arc::new(function)))
    }

    fn planned(mut self, plan: LayerPlan) -> Self {
        self.layers.push(PlannedLayer { name: None, evaluation: false, plan });
        self
    }

    /// Sets the name of the last added layer. Its parameters are then named
    /// `conv1.weight` instead of `0.weight`.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        match self.layers.last_mut() {
            Some(layer) => layer.name = Some(name),
            None => self.stray = Some(format!("named({name:?})")),
        }
        self
    }

    /// Keeps the last added layer in evaluation mode during training; see
    /// [`Sequential::set_evaluation`].
    pub fn in_evaluation(mut self) -> Self {
        match self.layers.last_mut() {
            Some(layer) => layer.evaluation = true,
            None => self.stray = Some("in_evaluation()".to_owned()),
        }
        self
    }

    /// Builds the network and draws its parameters from `rng`.
    ///
    /// # Errors
    ///
    /// Returns an error if a layer does not accept the output of the previous
    /// layer or has an invalid setting, or if a name is empty, contains a dot, is
    /// used twice, or precedes the first layer.
    pub fn build(self, rng: &mut Rng) -> Result<Sequential> {
        self.build_as(rng)
    }

    /// Like [`build`](Self::build), for any float type.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`build`](Self::build).
    pub fn build_as<T: Float>(self, rng: &mut Rng) -> Result<Sequential<T>> {
        self.build_from(&mut Source::Random(rng))
    }

    pub(super) fn build_from<T: Float>(mut self, source: &mut Source<'_>) -> Result<Sequential<T>> {
        let outputs = self.plan()?;
        let mut parts = Vec::with_capacity(self.layers.len());
        for (index, (planned, output)) in self.layers.into_iter().zip(outputs).enumerate() {
            let layer = planned.plan.build(source);
            let layer = layer.map_err(|error| planned.explain(index, error))?;
            let PlannedLayer { name, evaluation, plan } = planned;
            let plan = plan.blank();
            parts.push(Part { name, evaluation, plan, layer, output, joined: 0 });
        }
        Part::join(&mut parts);
        if self.input.tokens {
            tokens::check(&parts)?;
        }
        let mut model = Sequential { input: self.input, parts };
        model.name_parameters();
        Ok(model)
    }

    /// Fills in the sizes that depend on the input and returns the output shape of
    /// each layer.
    fn plan(&mut self) -> Result<Vec<Shape>> {
        self.check_names()?;
        check_sample(&self.input.shape)
            .map_err(|error| context::at(error, format!("Sequential::{}", self.input.method())))?;
        let mut shape = self.input.shape.clone();
        let mut outputs = Vec::with_capacity(self.layers.len());
        for (index, planned) in self.layers.iter_mut().enumerate() {
            let output = planned.plan.infer(&shape);
            let checked = output.and_then(|output| check_sample(&output).map(|()| output));
            shape = checked.map_err(|error| planned.explain(index, error))?;
            outputs.push(shape.clone());
        }
        Ok(outputs)
    }

    /// Plans the network for inputs of this shape and returns its output shape.
    pub(super) fn infer(&mut self, input: &Shape) -> Result<Shape> {
        self.input = Input::floats(input.clone());
        Ok(self.plan()?.pop().unwrap_or_else(|| input.clone()))
    }

    fn check_names(&self) -> Result<()> {
        if let Some(stray) = &self.stray {
            let message = format!("{stray} refers to the previous layer, but there is none");
            return Err(Error::argument("Sequential", message));
        }
        let mut taken = HashMap::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let name = PartName(index, layer.name.as_deref()).to_string();
            let context = format!("layer {index} ({})", layer.plan.kind());
            if name.is_empty() || name.contains('.') {
                let message = format!("a name must not be empty or contain a dot, got {name:?}");
                return Err(Error::argument(context, message));
            }
            if let Some(other) = taken.insert(name.clone(), index) {
                let message = format!("layer {other} is already named {name:?}");
                return Err(Error::argument(context, message));
            }
        }
        Ok(())
    }
}

impl PlannedLayer {
    /// Sets this layer as the context of an error.
    pub(super) fn explain(&self, index: usize, error: Error) -> Error {
        let context = PartName(index, self.name.as_deref()).context(self.plan.kind());
        context::at(error, context)
    }
}

/// Returns an error for samples that are empty or do not fit into memory.
fn check_sample(shape: &Shape) -> Result<()> {
    match shape.checked_elements() {
        Some(0) => Err(Error::shape("", format!("a sample of shape {shape} has no values"))),
        Some(count) if count <= MAX_SAMPLE => Ok(()),
        _ => {
            let message = format!("a sample of shape {shape} has more than {MAX_SAMPLE} values");
            Err(Error::shape("", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Dropout, Flatten, Linear};

    fn message(builder: SequentialBuilder) -> String {
        builder.build(&mut Rng::seed(0)).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_layer_and_both_shapes() {
        let input = || Sequential::input([1, 4, 4]);
        let cases = [
            (
                input().flatten().layer(Linear::new(15, 3)),
                "layer 1 (Linear): expected […, 15], got [16]",
            ),
            (
                input().flatten().dropout(1.5),
                "layer 1 (Dropout): expected a probability p in 0 ..= 1, got 1.5",
            ),
            (
                input().layer(Flatten::axes(1, 7)),
                "layer 0 (Flatten): there is no axis 7 in shape [1, 1, 4, 4]",
            ),
            (
                input().layer(Flatten::axes(0, -1)),
                "layer 0 (Flatten): the batch axis cannot be merged with others",
            ),
            (
                input().flatten().dense(0).named("fc"),
                "layer fc (Linear): a sample of shape [0] has no values",
            ),
            (Sequential::input([0]), "Sequential::input: a sample of shape [0] has no values"),
            (
                Sequential::input([1 << 31, 1 << 31, 4]),
                "Sequential::input: a sample of shape [2147483648, 2147483648, 4] has more than \
                 2147483648 values",
            ),
            (
                Sequential::input([]).dense(1),
                "layer 0 (Linear): expected values along an axis, got a scalar",
            ),
        ];
        for (builder, expected) in cases {
            assert_eq!(message(builder), expected);
        }
    }

    #[test]
    fn names_are_checked() {
        let input = || Sequential::input([4]).dense(3);
        assert!(message(input().named("")).contains("a name must not be empty"));
        assert!(message(input().named("a.b")).contains("contain a dot, got \"a.b\""));
        let twice = input().named("fc").relu().dense(2).named("fc");
        assert_eq!(message(twice), "layer 2 (Linear): layer 0 is already named \"fc\"");
        let stray = Sequential::input([4]).named("fc").dense(3);
        assert_eq!(
            message(stray),
            "Sequential: named(\"fc\") refers to the previous layer, but there is none"
        );
        let clash = input().named("1").relu();
        assert_eq!(message(clash), "layer 1 (ReLU): layer 0 is already named \"1\"");
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let build = |seed| {
            let builder = Sequential::input([4]).dense(3).layer(Dropout::new(0.1).unwrap());
            builder.build(&mut Rng::seed(seed)).unwrap().state_dict()
        };
        assert_eq!(build(1), build(1));
        assert_ne!(build(1), build(2));
    }
}
