//! From a list of layers to a network: shapes are inferred, errors name the
//! layer.

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

/// A network under construction; see [`Sequential`]. Each kind of layer has a
/// method here.
///
/// A file holds its layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use = "a network is made by `build`"]
pub struct SequentialBuilder {
    #[serde(skip)]
    pub(super) input: Input,
    pub(super) layers: Vec<PlannedLayer>,
    /// A call that refers to the layer before it although there was none;
    /// `build` refuses it.
    #[serde(skip)]
    stray: Option<String>,
}

/// A planned layer: its name, if it has one besides its index, its mode, and
/// its settings.
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

/// The value that a file omits.
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

impl SequentialBuilder {
    pub(super) fn new(input: Input) -> Self {
        Self { input, layers: Vec::new(), stray: None }
    }

    /// The same layers for another input.
    pub(super) fn with_input(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// Adds a layer: the settings of a layer of the library, such as
    /// `.layer(Linear::lazy(64).bias(false))`, a custom
    /// [`Layer`](crate::Layer), or a built [`Sequential`], whose parameters are
    /// then named `0.0.weight`. The latter two keep the parameters they have.
    pub fn layer(self, layer: impl IntoLayer) -> Self {
        self.planned(layer.into_layer())
    }

    /// Like [`layer`](Self::layer), for a custom layer in a network of another
    /// float type.
    pub fn layer_as<T: Float>(self, layer: impl crate::Layer<T>) -> Self {
        self.planned(LayerPlan::own(own::layer(layer)))
    }

    /// Adds any module with the parameters it has: a layer after `init`, an
    /// encoder of a transformer, a module of another crate. A trial run on
    /// zeros determines the shape of its output.
    pub fn module(self, module: impl Module + Clone + Send + Sync + 'static) -> Self {
        self.planned(LayerPlan::own(own::module::<f32, _>(module)))
    }

    /// Adds a function without parameters, which errors and summaries call
    /// `name`: `.map("scale", |x| Ok(x * 0.5))`. A trial run on zeros
    /// determines the shape of its output. A file cannot hold it.
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

    /// Names the layer added last; its parameters are then `conv1.weight`
    /// instead of `0.weight`.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        match self.layers.last_mut() {
            Some(layer) => layer.name = Some(name),
            None => self.stray = Some(format!("named({name:?}) names")),
        }
        self
    }

    /// Keeps the layer added last in evaluation mode while the others train; see
    /// [`Sequential::set_evaluation`].
    pub fn in_evaluation(mut self) -> Self {
        match self.layers.last_mut() {
            Some(layer) => layer.evaluation = true,
            None => self.stray = Some("in_evaluation() keeps".to_owned()),
        }
        self
    }

    /// The network, its parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When a layer does not accept the output of the layer before it, or has
    /// an invalid setting; when a name is empty, contains a dot, is used twice,
    /// or comes before the first layer.
    pub fn build(self, rng: &mut Rng) -> Result<Sequential> {
        self.build_as(rng)
    }

    /// Like [`build`](Self::build), for any float type.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
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

    /// Fills in the sizes that depend on the input and returns the shape of the
    /// output of each layer.
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

    /// Plans the network for inputs of this shape and returns the shape of its
    /// output.
    pub(super) fn infer(&mut self, input: &Shape) -> Result<Shape> {
        self.input = Input::floats(input.clone());
        Ok(self.plan()?.pop().unwrap_or_else(|| input.clone()))
    }

    fn check_names(&self) -> Result<()> {
        if let Some(stray) = &self.stray {
            let message = format!("{stray} the layer before it, and there is none");
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
                let message = format!("layer {other} is named {name:?} already");
                return Err(Error::argument(context, message));
            }
        }
        Ok(())
    }
}

impl PlannedLayer {
    /// An error with the context of this layer.
    pub(super) fn explain(&self, index: usize, error: Error) -> Error {
        let context = PartName(index, self.name.as_deref()).context(self.plan.kind());
        context::at(error, context)
    }
}
/// Refuses samples that are empty or do not fit into memory.
fn check_sample(shape: &Shape) -> Result<()> {
    match shape.checked_elements() {
        Some(0) => Err(Error::shape("", format!("a sample of shape {shape} holds no value"))),
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
                "layer 0 (Flatten): the batch must stay an axis of its own",
            ),
            (
                input().flatten().dense(0).named("fc"),
                "layer fc (Linear): a sample of shape [0] holds no value",
            ),
            (Sequential::input([0]), "Sequential::input: a sample of shape [0] holds no value"),
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
        assert_eq!(message(twice), "layer 2 (Linear): layer 0 is named \"fc\" already");
        let stray = Sequential::input([4]).named("fc").dense(3);
        assert_eq!(
            message(stray),
            "Sequential: named(\"fc\") names the layer before it, and there is none"
        );
        let clash = input().named("1").relu();
        assert_eq!(message(clash), "layer 1 (ReLU): layer 0 is named \"1\" already");
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
