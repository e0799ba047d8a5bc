//! Recurrent layers over whole sequences.

use std::fmt;

use dendra_autograd::{Entry, EntryMut, Param, Parameters, Path, Var};
use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Ops, RecurrentOptions, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::cell::{
    CellSettings, RecurrentCell, RecurrentNonlinearity, RecurrentState, kind, stacked,
};
use super::projection;
use crate::context;
use crate::init::{Fans, Init, Source};
use crate::layers::Dropout;
use crate::module::Module;
use crate::settings::{Settings, initialised_by, open_input};

/// A long short-term memory; see [`Recurrent`].
pub type LSTM<T = f32> = Recurrent<T, 4>;

/// A gated recurrent unit; see [`Recurrent`].
pub type GRU<T = f32> = Recurrent<T, 3>;

/// A plain (Elman) RNN; see [`Recurrent`].
pub type RNN<T = f32> = Recurrent<T, 1>;

/// A recurrent network of one or more layers, in one or both directions. Use it
/// as [`LSTM`], [`GRU`] or [`RNN`].
///
/// With D directions, for sequences of L steps:
///
/// | | shape |
/// |---|---|
/// | input | `[L, N, input_size]`, or `[N, L, input_size]` with `batch_first` |
/// | output | `[L, N, D · hidden_size]`, or `[N, L, D · hidden_size]` |
/// | state h, and c of the LSTM | `[num_layers · D, N, hidden_size]` |
///
/// Without N, the input is one sequence `[L, input_size]` with a state
/// `[num_layers · D, hidden_size]`.
///
/// | parameter | shape |
/// |---|---|
/// | `weight_ih_l0` | `[GATES · hidden_size, input_size]` |
/// | `weight_hh_l0` | `[GATES · hidden_size, hidden_size]` |
/// | `bias_ih_l0`, `bias_hh_l0` | `[GATES · hidden_size]` |
///
/// Further layers, `_l1` and so on, take the D · hidden_size outputs of the
/// previous one; the reverse direction has the suffix `_reverse`. All
/// parameters are initialised with U(±1/√hidden_size). The formulas are those
/// of [`dendra_tensor::ops::recurrent::Recurrent`].
///
/// An LSTM with a `proj_size` multiplies its output by `weight_hr_l0`,
/// `[proj_size, hidden_size]`, and passes that on (Sak et al., "Long short-term
/// memory recurrent neural network architectures for large scale acoustic
/// modeling", 2014): the output, h, and the inputs of `weight_hh` and of
/// further layers then have the width `proj_size` instead of `hidden_size`.
///
/// [`Module::forward`] starts from a state of 0 and returns the outputs, or the
/// last state with [`last_state`](RecurrentSettings::last_state).
/// [`run`](Self::run) also takes and returns states, and takes the lengths of
/// the samples.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{LSTM, Parameters};
///
/// let lstm = LSTM::new(10, 20).num_layers(2).bidirectional(true).init(&mut Rng::seed(0))?;
/// let x = Var::new(Tensor::zeros([5, 3, 10]));
/// let (output, state) = lstm.run(&x, None, None)?;
/// assert_eq!(*output.shape(), [5, 3, 40]);
/// assert_eq!(*state.h.shape(), [4, 3, 20]);
/// assert_eq!(lstm.named_parameters()[4].0, "weight_ih_l0_reverse");
///
/// // The second sample has two steps, the third one; what is behind is 0.
/// let (output, _) = lstm.run(&x, Some(&state), Some(&[5, 2, 1]))?;
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recurrent<T: Float, const GATES: usize> {
    /// Ordered by layer, then by direction.
    cells: Vec<RecurrentCell<T, GATES>>,
    /// One for each cell, or none.
    projections: Vec<Param<T>>,
    directions: usize,
    dropout: Dropout,
    batch_first: bool,
    last_state: bool,
}

impl<const GATES: usize> Recurrent<f32, GATES> {
    /// Settings of a network from `input_size` to `hidden_size` values.
    pub fn new(input_size: usize, hidden_size: usize) -> RecurrentSettings<GATES> {
        RecurrentSettings::with_defaults(
            Some(input_size),
            hidden_size,
            0,
            RecurrentNonlinearity::Tanh,
        )
    }

    /// Like [`new`](Self::new) for [`Sequential`](crate::Sequential), which
    /// infers `input_size`.
    pub fn lazy(hidden_size: usize) -> RecurrentSettings<GATES> {
        RecurrentSettings::with_defaults(None, hidden_size, 0, RecurrentNonlinearity::Tanh)
    }
}

/// The settings of an [`LSTM`], a [`GRU`] or an [`RNN`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct RecurrentSettings<const GATES: usize> {
    input_size: Option<usize>,
    hidden_size: usize,
    /// The number of layers. Each layer takes the outputs of the previous one.
    #[set(default = 1)]
    num_layers: usize,
    /// Whether the layers have biases.
    #[set(default = true)]
    bias: bool,
    /// Whether the batch axis of input and output comes before the sequence
    /// axis. In states it is always the second axis.
    #[set(default = false)]
    batch_first: bool,
    /// The probability of setting an output to 0 between two layers, in
    /// training.
    #[set(default = 0.0)]
    dropout: f64,
    /// Whether each layer also runs from the last step to the first.
    #[set(default = false)]
    bidirectional: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    proj_size: usize,
    /// Whether [`Module::forward`] returns the last state h of the last layer,
    /// `[N, D · hidden_size]`, instead of the outputs of all steps. The state
    /// of the reverse direction follows that of the forward direction.
    #[set(default = false)]
    #[serde(default, skip_serializing_if = "is_false")]
    last_state: bool,
    nonlinearity: RecurrentNonlinearity,
}

/// The defaults, which files leave out.
fn is_zero(size: &usize) -> bool {
    *size == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl<const GATES: usize> RecurrentSettings<GATES> {
    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// The width of h.
    fn state_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }
}

impl RecurrentSettings<4> {
    /// The width of the projected outputs, less than `hidden_size`; 0 for no
    /// projection (0).
    #[must_use]
    pub fn proj_size(self, proj_size: usize) -> Self {
        Self { proj_size, ..self }
    }
}

impl RecurrentSettings<1> {
    /// The activation function (tanh).
    #[must_use]
    pub fn nonlinearity(self, nonlinearity: RecurrentNonlinearity) -> Self {
        Self { nonlinearity, ..self }
    }
}

initialised_by! {
    RecurrentSettings<GATES> => Recurrent<f32, GATES>, any T: Recurrent<T, GATES>;
    const GATES: usize
}

impl<const GATES: usize> Settings for RecurrentSettings<GATES> {
    type Layer<T: Float> = Recurrent<T, GATES>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let kind = kind::<GATES>();
        if !self.batch_first {
            let message = "expected batch_first(true), because Sequential has the batch axis first";
            return Err(Error::argument(kind, message));
        }
        let &[length, features] = &input[..] else {
            return Err(Error::shape(kind, format!("expected [L, input_size], got {input}")));
        };
        let expected = *self.input_size.get_or_insert(features);
        if features != expected {
            return Err(Error::shape(kind, format!("expected [L, {expected}], got {input}")));
        }
        let width = self.state_size().saturating_mul(self.directions());
        Ok(if self.last_state { [width].into() } else { [length, width].into() })
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Recurrent<T, GATES>> {
        let kind = kind::<GATES>();
        let input_size = self.input_size.ok_or_else(|| open_input(kind, "input_size"))?;
        if self.num_layers == 0 {
            return Err(Error::argument(kind, "num_layers must be at least 1"));
        }
        let (proj_size, hidden_size) = (self.proj_size, self.hidden_size);
        if proj_size > 0 && (GATES != 4 || proj_size >= hidden_size) {
            let message =
                format!("proj_size {proj_size} must be less than hidden_size {hidden_size}");
            return Err(Error::argument(kind, message));
        }
        let dropout =
            Dropout::new(self.dropout).map_err(|error| context::at(error, kind.into()))?;
        let directions = self.directions();
        let of_layer = |layer| match layer {
            0 => input_size,
            _ => self.state_size().saturating_mul(directions),
        };
        let (mut cells, mut projections) = (Vec::new(), Vec::new());
        for index in 0..self.num_layers.saturating_mul(directions) {
            let settings = CellSettings {
                input_size: of_layer(index / directions),
                hidden_size,
                bias: self.bias,
                nonlinearity: self.nonlinearity,
            };
            cells.push(settings.build_projected(self.state_size(), source)?);
            if proj_size > 0 {
                let bound = 1.0 / (hidden_size as f64).sqrt();
                let init = Init::Uniform { low: -bound, high: bound };
                let fans = Fans { fan_in: hidden_size, fan_out: proj_size };
                projections.push(source.param(init, [proj_size, hidden_size], fans, &kind)?);
            }
        }
        let &Self { batch_first, last_state, .. } = self;
        Ok(Recurrent { cells, projections, directions, dropout, batch_first, last_state })
    }
}

impl<T: Float, const GATES: usize> Recurrent<T, GATES> {
    /// The outputs of all steps and the last states, starting from `state` or
    /// from 0. With `lengths`, only that many steps of each sample are
    /// computed, in both directions: later outputs are 0, and the last state is
    /// the one at the end of the sample.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or a length exceeds the steps.
    pub fn run(
        &self,
        x: &Var<T>,
        state: Option<&RecurrentState<T>>,
        lengths: Option<&[usize]>,
    ) -> Result<(Var<T>, RecurrentState<T>)> {
        self.run_unnamed(x, state, lengths)
            .map_err(|error| context::in_layer(error, self.path(), self))
    }

    /// The state h of the last layer, with its directions concatenated.
    fn last_layer(&self, h: &Var<T>) -> Result<Var<T>> {
        let first = self.cells.len() - self.directions;
        let of_direction = |direction| h.narrow(0, first + direction, 1)?.squeeze(0);
        let states = (0..self.directions).map(of_direction).collect::<Result<Vec<_>>>()?;
        match &states[..] {
            [state] => Ok(state.clone()),
            states => Var::cat(&states.iter().collect::<Vec<_>>(), -1),
        }
    }

    /// The path of the layer in its model.
    fn path(&self) -> Option<&str> {
        self.cells.first().and_then(|cell| context::path(&cell.weight_ih))
    }

    fn run_unnamed(
        &self,
        x: &Var<T>,
        state: Option<&RecurrentState<T>>,
        lengths: Option<&[usize]>,
    ) -> Result<(Var<T>, RecurrentState<T>)> {
        if x.shape().len() == 2 {
            return self.run_sample(x, state, lengths);
        }
        if x.shape().len() != 3 {
            let order = if self.batch_first { "N, L" } else { "L, N" };
            let message = format!("expected a sequence [{order}, input_size], got {}", x.shape());
            return Err(Error::shape("", message));
        }
        let mut x = if self.batch_first { x.transpose(0, 1)? } else { x.clone() };
        let batch = x.shape()[1];
        self.check_state(state, batch)?;
        let mut last = Vec::with_capacity(self.cells.len());
        for (layer, cells) in self.cells.chunks(self.directions).enumerate() {
            if layer > 0 {
                x = self.dropout.forward(&x)?;
            }
            let mut outputs = Vec::with_capacity(self.directions);
            for (direction, cell) in cells.iter().enumerate() {
                let index = layer * self.directions + direction;
                let first = state.map(|state| part(state, index)).transpose()?;
                let lengths = lengths.map(<[usize]>::to_vec);
                let options = RecurrentOptions { lengths, reverse: direction == 1 };
                let (output, state) = match self.projections.get(index) {
                    Some(weight_hr) => projection::run(cell, weight_hr, &x, first, options)?,
                    None => {
                        let first = first.unwrap_or_else(|| cell.zeros(batch));
                        cell.run(&x, &first, options)?
                    }
                };
                outputs.push(output);
                last.push(state);
            }
            x = match &outputs[..] {
                [output] => output.clone(),
                outputs => Var::cat(&outputs.iter().collect::<Vec<_>>(), 2)?,
            };
        }
        let output = if self.batch_first { x.transpose(0, 1)? } else { x };
        Ok((output, stacked(&last)?))
    }

    /// Runs one sequence `[L, input_size]` without the batch axis, with states
    /// without it.
    fn run_sample(
        &self,
        x: &Var<T>,
        state: Option<&RecurrentState<T>>,
        lengths: Option<&[usize]>,
    ) -> Result<(Var<T>, RecurrentState<T>)> {
        let axis = if self.batch_first { 0 } else { 1 };
        let state = state.map(|state| state.each(|part| part.unsqueeze(1))).transpose()?;
        let (y, state) = self.run_unnamed(&x.unsqueeze(axis)?, state.as_ref(), lengths)?;
        Ok((y.squeeze(axis)?, state.each(|part| part.squeeze(1))?))
    }

    fn check_state(&self, state: Option<&RecurrentState<T>>, batch: usize) -> Result<()> {
        let Some(state) = state else { return Ok(()) };
        let cell = &self.cells[0];
        let parts = [
            ("h", Some(&state.h), cell.weight_hh.value().shape()[1]),
            ("c", state.c.as_ref(), cell.hidden_size()),
        ];
        for (name, part, width) in parts {
            let expected = [self.cells.len(), batch, width];
            if let Some(part) = part.filter(|part| **part.shape() != expected) {
                let message =
                    format!("expected a state {name} of shape {expected:?}, got {}", part.shape());
                return Err(Error::shape("", message));
            }
        }
        Ok(())
    }
}

/// The state of one cell.
fn part<T: Float>(state: &RecurrentState<T>, index: usize) -> Result<RecurrentState<T>> {
    let of = |all: &Var<T>| all.narrow(0, index, 1)?.squeeze(0);
    Ok(RecurrentState { h: of(&state.h)?, c: state.c.as_ref().map(of).transpose()? })
}

impl<T: Float, const GATES: usize> Module<T> for Recurrent<T, GATES> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let (output, state) = self.run(x, None, None)?;
        match self.last_state {
            true => self
                .last_layer(&state.h)
                .map_err(|error| context::in_layer(error, self.path(), self)),
            false => Ok(output),
        }
    }
}

/// Visits the parameters with PyTorch's names.
macro_rules! walk {
    ($self:ident, $path:ident, $visitor:ident, $visit:ident, $iter:ident, $option:ident) => {{
        let directions = $self.directions;
        let mut projections = $self.projections.$iter();
        for (index, cell) in $self.cells.$iter().enumerate() {
            let reverse = if index % directions == 1 { "_reverse" } else { "" };
            let suffix = format!("_l{}{reverse}", index / directions);
            let RecurrentCell { weight_ih, weight_hh, bias_ih, bias_hh, .. } = cell;
            let weights = [("weight_ih", Some(weight_ih)), ("weight_hh", Some(weight_hh))];
            let biases = [("bias_ih", bias_ih.$option()), ("bias_hh", bias_hh.$option())];
            let projection = [("weight_hr", projections.next())];
            for (name, param) in weights.into_iter().chain(biases).chain(projection) {
                if let Some(param) = param {
                    $path.enter(format_args!("{name}{suffix}"), |path| {
                        param.$visit(path, $visitor);
                    });
                }
            }
        }
    }};
}

impl<T: Float, const GATES: usize> Parameters<T> for Recurrent<T, GATES> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
        walk!(self, path, visitor, visit, iter, as_ref);
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    ) {
        walk!(self, path, visitor, visit_mut, iter_mut, as_mut);
    }
}

impl<T: Float, const GATES: usize> fmt::Display for Recurrent<T, GATES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cell) = self.cells.first() else { return f.write_str(kind::<GATES>()) };
        let input_size = cell.weight_ih.value().shape()[1];
        write!(f, "{} {input_size} → {}", kind::<GATES>(), cell.hidden_size())?;
        if let Some(projection) = self.projections.first() {
            write!(f, " → {}", projection.value().shape()[0])?;
        }
        let layers = self.cells.len() / self.directions;
        if layers > 1 {
            write!(f, ", {layers} layers")?;
        }
        f.write_str(if self.directions == 2 { ", both directions" } else { "" })?;
        f.write_str(if self.last_state { ", last state" } else { "" })
    }
}

/// Combines sequences `[length, …]` to one tensor `[L, N, …]`, padded with 0 to
/// the longest, and returns their lengths.
///
/// # Errors
///
/// When there is no sequence, or they differ in another axis than the first.
///
/// ```
/// use dendra_nn::pad_sequence;
/// use dendra_nn::tensor::Tensor;
///
/// let (padded, lengths) = pad_sequence(&[Tensor::<f32>::ones([3, 2]), Tensor::ones([1, 2])])?;
/// assert_eq!(*padded.shape(), [3, 2, 2]);
/// assert_eq!(lengths, [3, 1]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
pub fn pad_sequence<T: Float>(sequences: &[Tensor<T>]) -> Result<(Tensor<T>, Vec<usize>)> {
    let lengths = sequences.iter().map(|sequence| match sequence.shape().first() {
        Some(&length) => Ok(length),
        None => Err(Error::shape("pad_sequence", "expected sequences [length, …], got a scalar")),
    });
    let lengths = lengths.collect::<Result<Vec<usize>>>()?;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let padded = sequences.iter().zip(&lengths).map(|(sequence, &length)| {
        let mut rest = sequence.shape().to_vec();
        rest[0] = longest - length;
        Tensor::cat(&[sequence, &Tensor::zeros(rest)], 0)
    });
    let padded = padded.collect::<Result<Vec<_>>>()?;
    Ok((Tensor::stack(&padded.iter().collect::<Vec<_>>(), 1)?, lengths))
}

#[cfg(test)]
mod tests;
