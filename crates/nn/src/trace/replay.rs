//! Computation of a trace on other inputs.

use std::time::Instant;

use dendra_autograd::{AnyTensor, AsAny, Tape, Var};
use dendra_tensor::ops::{Attribute, Parents, Recorded};
use dendra_tensor::{Error, Float, Result, Tensor, Tensors};

use super::matching::{described, repeat, samples_of};
use super::{Node, NodeKind, Setting, Trace, refuse, size};

/// A value computed by a replay; see [`Trace::replay_watched`].
#[derive(Debug)]
pub struct Executed<'a, T: Float = f32> {
    /// The index of the value.
    pub index: usize,
    /// The value.
    pub value: &'a AnyTensor,
    /// The call, if the value was computed by an operation.
    pub call: Option<&'a dyn Recorded<T>>,
    /// The computation time in seconds.
    pub seconds: f64,
}

/// A value, and the call of the operation that computed it.
type Computed<T> = (AnyTensor, Option<Box<dyn Recorded<T>>>);

impl<T: Float> Trace<T> {
    /// Computes the outputs of the model for other inputs and any number of
    /// samples. The bits are equal to those of the model with the parameter values
    /// at the time of tracing.
    ///
    /// # Errors
    ///
    /// Returns an error if the element types or shapes of the inputs differ from
    /// the traced ones in more than the number of samples, or if an operation does
    /// not accept the data.
    pub fn replay(&self, inputs: &impl Tensors) -> Result<Vec<AnyTensor>> {
        self.replay_watched(inputs, &mut |_| Ok(()))
    }

    /// Like [`replay`](Self::replay), and calls `watch` for each value computed by
    /// an operation or a function.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`replay`](Self::replay) and of `watch`.
    pub fn replay_watched(
        &self,
        inputs: &impl Tensors,
        watch: &mut dyn FnMut(&Executed<'_, T>) -> Result<()>,
    ) -> Result<Vec<AnyTensor>> {
        self.run(&inputs.tensors()?, watch)
    }

    /// Returns the number of samples in a batch of inputs.
    ///
    /// # Errors
    ///
    /// Returns an error if the inputs have different numbers of samples, or the
    /// number of inputs differs from the traced one.
    pub fn samples_of(&self, inputs: &impl Tensors) -> Result<usize> {
        samples_of(&inputs.tensors()?, &self.batch_axes)
    }

    /// Computes values of the trace on a tape, so that they have gradients.
    /// Parameters are constants on this tape. `given` replaces the values with
    /// these indices in all computations; values that are then not needed are not
    /// computed. Returns the values with the indices in `wanted`.
    ///
    /// ```
    /// use dendra_nn::autograd::Tape;
    /// use dendra_nn::tensor::{Ops, Rng, Tensor, Tensors};
    /// use dendra_nn::{Sequential, Trace};
    ///
    /// let model = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(0))?;
    /// let x = Tensor::<f32>::ones([2, 4]);
    /// let trace = Trace::of(&model, &x)?;
    /// let hidden = trace.output_of("1")?;
    /// let tape = Tape::evaluation();
    /// let h = tape.leaf(Tensor::ones([2, 8]));
    /// let y = trace.replay_on(&tape, &x.tensors()?, &[(hidden, h.clone())], trace.outputs())?;
    /// assert_eq!(*y[0].sum().grad(&h)?.shape(), [2, 8]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`replay`](Self::replay), and an error if a wanted
    /// value does not consist of floats.
    pub fn replay_on(
        &self,
        tape: &Tape<T>,
        inputs: &[AnyTensor],
        given: &[(usize, Var<T>)],
        wanted: &[usize],
    ) -> Result<Vec<Var<T>>> {
        let samples = samples_of(inputs, &self.batch_axes)?;
        let given_for = |index: usize| given.iter().find(|(node, _)| *node == index);
        let mut needed = vec![false; self.nodes.len()];
        for &index in wanted {
            *needed
                .get_mut(index)
                .ok_or_else(|| refuse("the index of a wanted value is out of range"))? = true;
        }
        for index in (0..self.nodes.len()).rev().filter(|&index| given_for(index).is_none()) {
            if needed[index] {
                self.nodes[index].sources().for_each(|source| needed[source] = true);
            }
        }
        let mut values: Vec<Option<AnyTensor>> = vec![None; self.nodes.len()];
        let mut vars: Vec<Option<Var<T>>> = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().filter(|&(index, _)| needed[index]) {
            let var = match (given_for(index), &node.kind) {
                (Some((_, var)), _) => Some(var.clone()),
                (_, NodeKind::Operation(call)) => {
                    let settings = settings_for(node, &values, samples)?;
                    let parents = node.parents.iter().map(|&parent| var_of(&vars, parent));
                    let var =
                        Var::replay(&**call, &settings, &parents.collect::<Result<Vec<_>>>()?);
                    let of = described(node.name(), &node.part);
                    Some(var.map_err(|error| error.within(of))?)
                }
                _ => {
                    let value = self.value(node, inputs, &values, samples)?.0;
                    values[index] = Some(value.clone());
                    value.downcast::<T>().map(|value| tape.input(value.clone()))
                }
            };
            if let Some(var) = &var {
                values[index] = Some(var.value().as_any()?);
            }
            vars[index] = var;
        }
        wanted.iter().map(|&index| var_of(&vars, index).cloned()).collect()
    }

    fn run(
        &self,
        inputs: &[AnyTensor],
        watch: &mut dyn FnMut(&Executed<'_, T>) -> Result<()>,
    ) -> Result<Vec<AnyTensor>> {
        let samples = samples_of(inputs, &self.batch_axes)?;
        let mut last_use = vec![usize::MAX; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for source in node.sources() {
                last_use[source] = index;
            }
        }
        for &output in &self.outputs {
            last_use[output] = usize::MAX;
        }
        let mut values: Vec<Option<AnyTensor>> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let start = Instant::now();
            let (value, call) = self
                .value(node, inputs, &values, samples)
                .map_err(|error| error.within(described(node.name(), &node.part)))?;
            let seconds = start.elapsed().as_secs_f64();
            if node.is_computed() {
                watch(&Executed { index, value: &value, call: call.as_deref(), seconds })?;
            }
            values.push(Some(value));
            for source in node.sources().filter(|&source| last_use[source] == index) {
                values[source] = None;
            }
        }
        self.outputs.iter().map(|&output| value_of(&values, output).cloned()).collect()
    }

    fn value(
        &self,
        node: &Node<T>,
        inputs: &[AnyTensor],
        values: &[Option<AnyTensor>],
        samples: usize,
    ) -> Result<Computed<T>> {
        let value = match &node.kind {
            NodeKind::Input { index } => {
                let input = &inputs[*index];
                check(node, *index, input, samples)?;
                input.clone()
            }
            NodeKind::Parameter { value, .. } => value.as_any()?,
            NodeKind::Buffer { value, .. } => value.clone(),
            NodeKind::Constant { value, repeated: None } => value.clone(),
            NodeKind::Constant { value, repeated: Some(axis) } => repeat(value, *axis, samples)?,
            NodeKind::Operation(call) => {
                let settings = settings_for(node, values, samples)?;
                let parents = node.parents.iter().map(|&parent| {
                    let value = value_of(values, parent)?.downcast::<T>();
                    value.ok_or_else(|| refuse("an input of an operation has another element type"))
                });
                let parents = parents.collect::<Result<Vec<&Tensor<T>>>>()?;
                let nodes: Parents = node.parents.iter().map(|&parent| Some(parent)).collect();
                let call = call.replay_with(&settings, &parents, nodes)?;
                return Ok((call.output().as_any()?, Some(call)));
            }
            NodeKind::Function(function) => {
                let parents = node.parents.iter().map(|&parent| value_of(values, parent).cloned());
                let parents = parents.collect::<Result<Vec<AnyTensor>>>()?;
                let mut changed: Option<Box<dyn dendra_autograd::Function>> = None;
                for (name, value) in settings_for(node, values, samples)? {
                    let function = changed.as_deref().unwrap_or(&**function);
                    changed = Some(function.with_setting(name, &value).ok_or_else(|| {
                        let message = format!("the setting `{name}` cannot be changed to {value}");
                        Error::argument(function.name(), message)
                    })?);
                }
                changed.as_deref().unwrap_or(&**function).apply(&parents)?
            }
        };
        Ok((value, None))
    }
}

fn value_of(values: &[Option<AnyTensor>], node: usize) -> Result<&AnyTensor> {
    values[node].as_ref().ok_or_else(|| refuse("a value was released before its last use"))
}

fn var_of<T: Float>(vars: &[Option<Var<T>>], node: usize) -> Result<&Var<T>> {
    vars[node].as_ref().ok_or_else(|| refuse("expected a value of floats"))
}

/// Returns an error if an input has another type or shape than the traced one.
fn check<T: Float>(node: &Node<T>, index: usize, input: &AnyTensor, samples: usize) -> Result<()> {
    let fits = input.shape().len() == node.shape.len()
        && input.shape().iter().zip(&node.shape).all(|(&a, b)| a as i64 == b.of(samples));
    if fits && input.element() == node.element {
        return Ok(());
    }
    Err(Error::shape(
        "Trace::replay",
        format!(
            "expected input {index} to be {} {}, got {} {}",
            node.element,
            size::list(&node.shape),
            input.element(),
            input.shape()
        ),
    ))
}

/// Returns the settings that depend on the batch, with their values for it.
fn settings_for<T: Float>(
    node: &Node<T>,
    values: &[Option<AnyTensor>],
    samples: usize,
) -> Result<Vec<(&'static str, Attribute)>> {
    let mut settings = Vec::new();
    for (name, setting) in &node.settings {
        let value = match setting {
            Setting::Value(_) => continue,
            Setting::Size(size) => Attribute::Int(size.of(samples)),
            Setting::Sizes(sizes) => {
                Attribute::Ints(sizes.iter().map(|size| size.of(samples)).collect())
            }
            Setting::Node(source) => match (value_of(values, *source)?, &node.kind) {
                (AnyTensor::Bool(mask), _) => Attribute::Mask(mask.clone()),
                (AnyTensor::I64(indices), NodeKind::Operation(call)) => {
                    // A list of lengths is a setting of type `Ints`.
                    let is_list = call
                        .attributes()
                        .iter()
                        .any(|(other, value)| other == name && matches!(value, Attribute::Ints(_)));
                    match is_list {
                        true => Attribute::Ints(indices.to_vec()),
                        false => Attribute::Indices(indices.clone()),
                    }
                }
                _ => {
                    return Err(refuse(format!(
                        "the setting `{name}` does not accept a value of this type"
                    )));
                }
            },
        };
        settings.push((*name, value));
    }
    Ok(settings)
}
