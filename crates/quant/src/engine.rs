//! Running the steps of a quantised network.

use std::sync::Arc;

use dendra_autograd::{Tape, Var};
use dendra_nn::{NodeKind, Trace};
use dendra_tensor::{AnyTensor, Error, Ops, Pool2dOptions, Result, Tensor, Tensors};

use crate::affine::Affine;
use crate::kernels::{Addition, Image, Window, add, max_pool};
use crate::layers::{Add, Pool, Reshape};
use crate::plan::Step;
use crate::values::{Bytes, Slot};
use crate::work::Work;

/// The steps of a network with all they need.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) trace: Arc<Trace<f32>>,
    pub(crate) steps: Vec<Step<Work>>,
    /// The unit of each value that is bytes.
    pub(crate) units: Vec<Option<Affine>>,
    /// After each step, the values that nothing uses any more.
    pub(crate) done: Vec<Vec<usize>>,
}

impl Engine {
    pub(crate) fn new(
        trace: Arc<Trace<f32>>,
        steps: Vec<Step<Work>>,
        units: Vec<Option<Affine>>,
    ) -> Self {
        let mut last = vec![None; units.len()];
        for (index, step) in steps.iter().enumerate() {
            for slot in sources(&trace, step) {
                last[slot] = Some(index);
            }
        }
        for &output in trace.outputs() {
            last[output] = None;
        }
        let mut done = vec![Vec::new(); steps.len()];
        for (slot, last) in last.into_iter().enumerate() {
            if let Some(index) = last {
                done[index].push(slot);
            }
        }
        Self { trace, steps, units, done }
    }

    /// The outputs for some inputs.
    pub(crate) fn run(&self, inputs: &[AnyTensor]) -> Result<Vec<Tensor<f32>>> {
        let samples = self.trace.samples_of(&Given(inputs.to_vec()))?;
        let mut slots = vec![Slot::default(); self.units.len()];
        for (slot, node) in slots.iter_mut().zip(self.trace.nodes()) {
            if let NodeKind::Input { index } = &node.kind
                && let Some(x) = inputs.get(*index).and_then(AnyTensor::downcast::<f32>)
            {
                let expected = node.shape.iter().map(|size| size.of(samples));
                if !expected.eq(x.shape().iter().map(|&length| length as i64)) {
                    let message = format!("input {index} has the shape {}", x.shape());
                    return Err(Error::shape("Quantised", message));
                }
                *slot = Slot::of_floats(x.clone());
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                Step::Layer(layer, work) => {
                    let value = work.run(layer, &mut slots[layer.input]);
                    slots[layer.output] =
                        value.map_err(|error| error.within(format!("layer {}", layer.name)))?;
                }
                Step::Add(add) => slots[add.output] = self.add(add, &mut slots)?,
                Step::Pool(pool) => slots[pool.output] = self.pool(pool, &mut slots)?,
                Step::Reshape(reshape) => {
                    slots[reshape.output] = self.reshape(reshape, samples, &mut slots)?;
                }
                Step::Float(node) => slots[*node] = self.floats(*node, inputs, &mut slots)?,
            }
            for &slot in &self.done[index] {
                slots[slot] = Slot::default();
            }
        }
        self.trace.outputs().iter().map(|&output| slots[output].floats()).collect()
    }

    /// The unit of a value that the plan made bytes.
    fn unit(&self, slot: usize) -> Affine {
        self.units[slot].unwrap_or(Affine { scale: 1.0, zero: 0 })
    }

    fn add(&self, step: &Add, slots: &mut [Slot]) -> Result<Slot> {
        let [a, b] = step.inputs;
        let units = [self.unit(a), self.unit(b)];
        let unit = self.unit(step.output);
        let channels_last = slots[a].bytes(units[0], true)?.channels_last;
        slots[b].bytes(units[1], channels_last)?;
        let addition = Addition {
            ratios: units.map(|from| from.scale / unit.scale),
            zeros: units.map(|from| from.zero),
            zero: unit.zero,
            limits: unit.limits(step.limits),
        };
        // Values that are not images have one order.
        let a = slots[a].bytes(units[0], channels_last)?.clone();
        let b = slots[b].bytes(units[1], channels_last)?;
        if a.shape != b.shape {
            return Err(Error::shape("add", format!("{:?} and {:?}", a.shape, b.shape)));
        }
        let mut data = vec![0; a.data.len()];
        add(&addition, [&a.data, &b.data], &mut data);
        Ok(Slot::of_bytes(Bytes { data, unit, ..a }))
    }

    fn pool(&self, step: &Pool, slots: &mut [Slot]) -> Result<Slot> {
        let Some(unit) = self.units[step.input] else {
            return pool_of_floats(step, &slots[step.input].floats()?);
        };
        let x = slots[step.input].bytes(unit, true)?;
        let &[samples, channels, height, width] = &x.shape[..] else {
            return Err(Error::shape("max_pool2d", format!("expected images, got {:?}", x.shape)));
        };
        let [rows, columns] = step.size;
        let mut data = vec![0; samples * rows * columns * channels];
        let image = Image {
            data: &x.data,
            size: [height, width],
            channels,
            window: step.window,
            output: step.size,
            padding: 0,
        };
        max_pool(&image, &mut data);
        let shape = vec![samples, channels, rows, columns];
        Ok(Slot::of_bytes(Bytes { data, shape, channels_last: true, unit }))
    }

    fn reshape(&self, step: &Reshape, samples: usize, slots: &mut [Slot]) -> Result<Slot> {
        let mut x = slots[step.input].bytes(self.unit(step.input), false)?.clone();
        let lengths = step.shape.iter().map(|size| size.of(samples) as usize);
        x.shape = lengths.collect();
        if x.shape.iter().product::<usize>() != x.data.len() {
            return Err(Error::shape("reshape", format!("{} elements", x.data.len())));
        }
        Ok(Slot::of_bytes(x))
    }

    /// An operation of the trace.
    fn floats(&self, node: usize, inputs: &[AnyTensor], slots: &mut [Slot]) -> Result<Slot> {
        let mut given = Vec::new();
        for source in float_sources(&self.trace, node) {
            if !slots[source].is_empty() {
                given.push((source, Var::new(slots[source].floats()?)));
            }
        }
        let tape = Tape::inference();
        let mut values = self.trace.replay_on(&tape, inputs, &given, &[node])?;
        match values.pop() {
            Some(value) => Ok(Slot::of_floats(value.into_value())),
            None => Err(Error::argument("Quantised", "an operation has no output")),
        }
    }
}

/// Tensors of any element type, as the inputs of a trace.
struct Given(Vec<AnyTensor>);

impl Tensors for Given {
    fn tensors(&self) -> Result<Vec<AnyTensor>> {
        Ok(self.0.clone())
    }

    fn with_tensors(&self, tensors: &mut dyn Iterator<Item = AnyTensor>) -> Result<Self> {
        Ok(Self(tensors.take(self.0.len()).collect()))
    }
}

/// The pooling of an operation that is a convolution with it, on floats.
fn pool_of_floats(step: &Pool, x: &Tensor<f32>) -> Result<Slot> {
    let Window { kernel, stride, padding, dilation } = step.window;
    let options =
        Pool2dOptions { kernel_size: kernel, stride, padding, dilation, ceil_mode: false };
    Ok(Slot::of_floats(x.max_pool2d(options)?))
}

/// The values that an operation on floats is computed from, through functions
/// of integers, which are computed again.
fn float_sources(trace: &Trace<f32>, node: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open: Vec<usize> = trace.nodes()[node].sources().collect();
    while let Some(source) = open.pop() {
        let known = &trace.nodes()[source];
        match known.is_computed() && known.element != "f32" {
            true => open.extend(known.sources()),
            false if !found.contains(&source) => found.push(source),
            false => {}
        }
    }
    found
}

/// The values that a step uses.
fn sources<W>(trace: &Trace<f32>, step: &Step<W>) -> Vec<usize> {
    match step {
        Step::Layer(layer, _) => vec![layer.input],
        Step::Add(add) => add.inputs.to_vec(),
        Step::Pool(pool) => vec![pool.input],
        Step::Reshape(reshape) => vec![reshape.input],
        Step::Float(node) => float_sources(trace, *node),
    }
}
