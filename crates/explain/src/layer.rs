//! Layers: the remaining network after a part of a model, and methods for
//! layers.

use dendra_autograd::{AnyTensor, Entry, EntryMut, Parameters, Path, Tape, Var};
use dendra_nn::{Model, Module, NodeKind, Output, Trace};
use dendra_tensor::{Error, Float, Interpolate, InterpolateMode, Ops, Result, Tensor, Tensors};

use crate::attribution::Attribution;
use crate::batch::{baseline_for, check_count, copies_apart, predict, samples_of, sum_of_copies};
use crate::gradient::GuidedBackprop;
use crate::integrated::{between, points, weighted};
use crate::method::Method;
use crate::quadrature::Quadrature;
use crate::target::Target;

/// The output of a part of a model for a batch, and the remaining network.
///
/// The network is a [`Module`] from the output of the part to the output of the
/// model, so each method for inputs also explains the layer. It accepts any
/// number of samples. If it also uses values from before the part, for example
/// over a skip connection, these are the values of the batch, which must then
/// be a single sample. The part is named by the path in front of the names of
/// its parameters, or in a `Sequential` also by the index of the layer.
///
/// A model of token ids has no gradient with respect to its input, but it has
/// one with respect to its embedding:
///
/// ```
/// use dendra_explain::{IntegratedGradients, Layer, Method};
/// use dendra_nn::Sequential;
/// use dendra_nn::tensor::{Rng, Tensor};
///
/// let words = Sequential::tokens([3]).embedding(10, 4).gru(4).last_step().dense(2);
/// let model = words.build(&mut Rng::seed(0))?;
/// let layer = Layer::of_model(&model, &Tensor::from([[1_i64, 4, 7]]), "0")?;
/// let why = IntegratedGradients::new(20).of(&layer, layer.values(), 1)?;
/// assert_eq!(*why.values().shape(), [1, 3, 4]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Layer<T: Float = f32> {
    trace: Trace<T>,
    inputs: Vec<AnyTensor>,
    samples: usize,
    part: String,
    node: usize,
    values: Tensor<T>,
    /// Whether the remaining network depends on the inputs other than through
    /// the part.
    is_bypassed: bool,
}

impl<T: Float> Layer<T> {
    /// Selects a part of a module.
    ///
    /// # Errors
    ///
    /// When the model cannot be traced, has no such part, or axis 0 of the
    /// output of the part is not the batch axis.
    pub fn of(model: &dyn Module<T>, x: &Tensor<T>, part: &str) -> Result<Self> {
        let trace = Trace::of_function(model, x, |x: &Tensor<T>, tape| {
            model.forward(&tape.input(x.clone())).map(Var::into_value)
        })?;
        Self::in_trace(trace, x, part)
    }

    /// Selects a part of a model with any inputs, such as token ids. The first
    /// output is explained.
    ///
    /// # Errors
    ///
    /// The errors of [`of`](Self::of).
    pub fn of_model<I: Tensors, M: Model<I, T>>(model: &M, inputs: &I, part: &str) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        Self::in_trace(Trace::of(model, inputs)?, inputs, part)
    }

    fn in_trace(trace: Trace<T>, inputs: &impl Tensors, part: &str) -> Result<Self> {
        let node = trace.output_of(part)?;
        let samples = trace.samples_of(inputs)?;
        let inputs = inputs.tensors()?;
        let values = trace.replay_on(&Tape::inference(), &inputs, &[], &[node])?.remove(0);
        let values = values.into_value();
        if values.shape().first() != Some(&samples) {
            let found = values.shape();
            let message = format!(
                "expected a batch axis of length {samples} in the output of `{part}`, got {found}"
            );
            return Err(Error::shape("Layer", message));
        }
        let (part, is_bypassed) = (part.to_owned(), is_bypassed(&trace, node));
        Ok(Self { trace, inputs, samples, part, node, values, is_bypassed })
    }

    /// The output of the part.
    pub fn values(&self) -> &Tensor<T> {
        &self.values
    }

    /// Computes the scores of a target, and their gradients with respect to the
    /// output of the part.
    pub(crate) fn gradient(&self, target: &Target) -> Result<(Tensor<T>, Tensor<T>)> {
        let leaf = Tape::evaluation().leaf(self.values.clone());
        let scores = target.scores(&self.after(&leaf, &self.inputs)?)?;
        let gradient = scores.vjp(&Tensor::ones(scores.shape()), &leaf)?;
        Ok((scores.into_value(), gradient))
    }

    /// Computes the output of the model from an output of the part.
    fn after(&self, x: &Var<T>, inputs: &[AnyTensor]) -> Result<Var<T>> {
        let inference = Tape::inference();
        let tape = x.tape().unwrap_or(&inference);
        let outputs = &self.trace.outputs()[..1];
        let y = self.trace.replay_on(tape, inputs, &[(self.node, x.clone())], outputs)?.remove(0);
        Ok(if x.tape().is_some() { y } else { Var::new(y.into_value()) })
    }
}

/// Whether the first output depends on the inputs other than through a node.
fn is_bypassed<T: Float>(trace: &Trace<T>, node: usize) -> bool {
    let mut needed = vec![false; trace.nodes().len()];
    needed[trace.outputs()[0]] = true;
    for (index, value) in trace.nodes().iter().enumerate().rev() {
        if needed[index] && index != node {
            if matches!(value.kind, NodeKind::Input { .. }) {
                return true;
            }
            value.sources().for_each(|source| needed[source] = true);
        }
    }
    false
}

impl<T: Float> Module<T> for Layer<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let samples = samples_of(x.value())?;
        if self.samples == 0 || self.is_bypassed && self.samples > 1 {
            let message = format!(
                "the network after `{}` also takes values from before it: explain one sample at a \
                 time, got {}",
                self.part, self.samples
            );
            return Err(Error::argument("Layer", message));
        }
        // These determine the number of samples; their values matter only for
        // one sample.
        let rows: Vec<usize> = (0..samples).map(|row| row % self.samples).collect();
        let inputs = self.inputs.iter().map(|input| input.index_select(0, &rows));
        self.after(x, &inputs.collect::<Result<Vec<_>>>()?)
    }
}

/// The parameters of the remaining network are constants.
impl<T: Float> Parameters<T> for Layer<T> {
    fn visit<'a>(&'a self, _: &mut Path, _: &mut dyn FnMut(&Path, Entry<'a, T>)) {}

    fn visit_mut<'a>(&'a mut self, _: &mut Path, _: &mut dyn FnMut(&Path, EntryMut<'a, T>)) {}
}

/// The output of a part of the model.
#[derive(Clone, Debug)]
pub struct LayerActivation {
    part: String,
}

impl LayerActivation {
    /// Uses the part with this path.
    pub fn new(part: impl Into<String>) -> Self {
        Self { part: part.into() }
    }
}

impl<T: Float> Method<T> for LayerActivation {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let layer = Layer::of(model, x, &self.part)?;
        Ok(Attribution::new(layer.values, predict(model, x, target)?))
    }
}

/// The change of the score through each element of a layer as the input changes
/// from the baseline (Dhamdhere et al., 2019). If all of the score depends on
/// the input through the layer, the values add up to the difference of the
/// scores of input and baseline.
#[derive(Clone, Debug)]
pub struct LayerConductance<T: Float = f32> {
    path: AlongPath<T>,
}

/// The mean gradient of the score with respect to a layer, on the line from
/// baseline to input (Leino et al., 2018).
#[derive(Clone, Debug)]
pub struct InternalInfluence<T: Float = f32> {
    path: AlongPath<T>,
}

/// The settings of a method that evaluates a layer from baseline to input.
#[derive(Clone, Debug)]
struct AlongPath<T: Float> {
    part: String,
    steps: usize,
    quadrature: Quadrature,
    baseline: Option<Tensor<T>>,
}

macro_rules! along_path {
    ($($method:ident)*) => {$(
        impl<T: Float> $method<T> {
            /// Uses the part with this path and this number of steps; Captum's
            /// default is 50.
            pub fn new(part: impl Into<String>, steps: usize) -> Self {
                let (part, quadrature) = (part.into(), Quadrature::default());
                Self { path: AlongPath { part, steps, quadrature, baseline: None } }
            }

            /// Sets the quadrature rule; the default is Gauss–Legendre.
            #[must_use]
            pub fn quadrature(mut self, quadrature: Quadrature) -> Self {
                self.path.quadrature = quadrature;
                self
            }

            /// Sets the baseline, in a shape that broadcasts to the inputs; the
            /// default is 0.
            #[must_use]
            pub fn baseline(mut self, baseline: Tensor<T>) -> Self {
                self.path.baseline = Some(baseline);
                self
            }
        }
    )*};
}
along_path! { LayerConductance InternalInfluence }

/// A layer on the line from baseline to input.
struct Followed<T: Float> {
    /// The layer for the inputs of all points.
    layer: Layer<T>,
    /// The gradients of its values.
    gradients: Tensor<T>,
    /// The weights and points.
    points: Vec<(f64, f64)>,
    baseline: Tensor<T>,
}

impl<T: Float> AlongPath<T> {
    fn follow(
        &self,
        method: &str,
        steps: usize,
        (model, x, target): (&dyn Module<T>, &Tensor<T>, &Target),
    ) -> Result<Followed<T>> {
        let points = points(method, self.quadrature, steps)?;
        let baseline = baseline_for(method, self.baseline.as_ref(), x)?;
        let inputs = between(&baseline, &(x - &baseline), &points)?;
        let layer = Layer::of(model, &inputs, &self.part)?;
        let (_, gradients) = layer.gradient(&target.tiled(points.len()))?;
        Ok(Followed { layer, gradients, points, baseline })
    }
}

impl<T: Float> Method<T> for LayerConductance<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let steps = self.path.steps;
        // One is added later for the ends of the intervals.
        check_count("LayerConductance", "steps", steps)?;
        let Followed { layer, gradients, baseline, .. } =
            self.path.follow("LayerConductance", steps + 1, (model, x, target))?;
        let apart = |x: &Tensor<T>| copies_apart(x, steps + 1);
        let values = apart(layer.values())?;
        let changes = values.narrow(0, 1, steps)? - values.narrow(0, 0, steps)?;
        let values =
            apart(&gradients)?.narrow(0, 0, steps)?.mul(&changes)?.sum_axes(&[0], false)?;
        let [prediction, other] = [x, &baseline].map(|x| predict(model, x, target));
        Ok(Attribution::of_difference(values, prediction?, baseline, &other?))
    }
}

impl<T: Float> Method<T> for InternalInfluence<T> {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let settings = (model, x, target);
        let Followed { gradients, points, baseline, .. } =
            self.path.follow("InternalInfluence", self.path.steps, settings)?;
        let values = sum_of_copies(&weighted(&gradients, &points)?, points.len())?;
        let mut result = Attribution::new(values, predict(model, x, target)?);
        result.baseline = Some(baseline);
        Ok(result)
    }
}

/// The channels of a layer, weighted by the mean of their gradients and summed
/// (Selvaraju et al., 2017). The result is a coarse map of the positions that
/// contribute to the score. For a layer `[N, C, height, width]` its shape is
/// `[N, 1, height, width]`.
#[derive(Clone, Debug)]
pub struct LayerGradCam {
    part: String,
    relu: bool,
    plus_plus: bool,
}

impl LayerGradCam {
    /// Uses the part with this path, usually the last convolution.
    pub fn new(part: impl Into<String>) -> Self {
        Self { part: part.into(), relu: false, plus_plus: false }
    }

    /// Selects Grad-CAM++, which computes the weights from the second and third
    /// powers of the gradient and supports several objects of one class
    /// (Chattopadhyay et al., 2018). Negative values become 0.
    pub fn plus_plus(part: impl Into<String>) -> Self {
        Self { part: part.into(), relu: true, plus_plus: true }
    }

    /// Sets negative values to 0, as in the original method.
    #[must_use]
    pub fn relu(mut self) -> Self {
        self.relu = true;
        self
    }
}

impl<T: Float> Method<T> for LayerGradCam {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let layer = Layer::of(model, x, &self.part)?;
        let values = layer.values();
        if values.rank() < 2 {
            let message = format!("expected channels [N, C, …] in a layer, got {}", values.shape());
            return Err(Error::shape("LayerGradCam", message));
        }
        let (prediction, gradients) = layer.gradient(target)?;
        let axes: Vec<isize> = (2..values.rank() as isize).collect();
        let weights = match (axes.is_empty(), self.plus_plus) {
            (true, _) => gradients,
            (false, false) => gradients.mean_axes(&axes, true)?,
            (false, true) => {
                let squares = gradients.square();
                let cubes = &squares * &gradients;
                let sums = values.sum_axes(&axes, true)?;
                let below = squares.mul_scalar(2.0).add(&cubes.mul(&sums)?)?.add_scalar(1e-6);
                (&squares / &below * gradients.relu()).sum_axes(&axes, true)?
            }
        };
        let map = values.mul(&weights)?.sum_axes(&[1], true)?;
        let map = if self.relu { map.relu() } else { map };
        Ok(Attribution::new(map, prediction))
    }
}

/// Guided backpropagation times the map of [`LayerGradCam`], which is resized
/// to the input by nearest neighbours (Selvaraju et al., 2017).
#[derive(Clone, Debug)]
pub struct GuidedGradCam {
    part: String,
}

impl GuidedGradCam {
    /// Uses the map of the part with this path.
    pub fn new(part: impl Into<String>) -> Self {
        Self { part: part.into() }
    }
}

impl<T: Float> Method<T> for GuidedGradCam {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let map = LayerGradCam::new(&self.part).relu().attribute(model, x, target)?.values;
        let guided = GuidedBackprop.attribute(model, x, target)?;
        let map = resized(&map, &x.shape()[2.min(x.rank())..])?;
        Ok(Attribution { values: guided.values.mul(&map)?, ..guided })
    }
}

/// Resizes a map `[N, 1, …]` to the size of the images by nearest neighbours.
pub(crate) fn resized<T: Float>(map: &Tensor<T>, size: &[usize]) -> Result<Tensor<T>> {
    map.interpolate(&Interpolate::size(size, InterpolateMode::Nearest))
}
