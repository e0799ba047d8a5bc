//! Recurrent layers over whole sequences.

use std::fmt;

use dendra_autograd::{Entry, EntryMut, Parameters, Path, Var};
use dendra_tensor::{Error, Float, Ops, RecurrentOptions, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::cell::{
    CellSettings, RecurrentCell, RecurrentNonlinearity, RecurrentState, kind, stacked,
};
use crate::init::Source;
use crate::layers::{Dropout, Settings, initialised_by, open_input};
use crate::module::Module;
use crate::place;
use crate::sequential::SequentialBuilder;

/// Long short-term memory; see [`Recurrent`].
pub type LSTM<T = f32> = Recurrent<T, 4>;

/// The gated recurrent unit; see [`Recurrent`].
pub type GRU<T = f32> = Recurrent<T, 3>;

/// The plain recurrent network of Elman; see [`Recurrent`].
pub type RNN<T = f32> = Recurrent<T, 1>;

/// A recurrent network of one or more layers, in one or both directions; use it
/// as [`LSTM`], [`GRU`] or [`RNN`].
///
/// With D directions, for sequences of L steps:
///
/// | | shape |
/// |---|---|
/// | input | `[L, N, input_size]`, or `[N, L, input_size]` with `batch_first` |
/// | output | `[L, N, D · hidden_size]`, or `[N, L, D · hidden_size]` |
/// | state h, and c of the LSTM | `[num_layers · D, N, hidden_size]` |
/// | `weight_ih_l0` | `[GATES · hidden_size, input_size]` |
/// | `weight_hh_l0` | `[GATES · hidden_size, hidden_size]` |
/// | `bias_ih_l0`, `bias_hh_l0` | `[GATES · hidden_size]` |
///
/// Further layers, `_l1` and so on, take the D · hidden_size outputs of the one
/// before; the other direction has the suffix `_reverse`. All parameters start
/// as U(±1/√hidden_size). The formulas are those of
/// [`dendra_tensor::ops::recurrent::Recurrent`].
///
/// [`Module::forward`] gives the outputs, starting from a state of 0;
/// [`run`](Self::run) takes and gives states, too, and lengths of the samples.
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
    /// Layer after layer, in each one direction after the other.
    cells: Vec<RecurrentCell<T, GATES>>,
    directions: usize,
    dropout: Dropout,
    batch_first: bool,
}

impl<const GATES: usize> Recurrent<f32, GATES> {
    /// Settings of a network from `input_size` to `hidden_size` values.
    pub fn new(input_size: usize, hidden_size: usize) -> RecurrentSettings<GATES> {
        RecurrentSettings { input_size: Some(input_size), ..Self::lazy(hidden_size) }
    }

    /// As [`new`](Self::new) for [`Sequential`](crate::Sequential), which finds
    /// out `input_size`.
    pub fn lazy(hidden_size: usize) -> RecurrentSettings<GATES> {
        RecurrentSettings {
            input_size: None,
            hidden_size,
            num_layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            bidirectional: false,
            nonlinearity: RecurrentNonlinearity::Tanh,
        }
    }
}

/// The settings of an [`LSTM`], a [`GRU`] or an [`RNN`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrentSettings<const GATES: usize> {
    input_size: Option<usize>,
    hidden_size: usize,
    num_layers: usize,
    bias: bool,
    batch_first: bool,
    dropout: f64,
    bidirectional: bool,
    nonlinearity: RecurrentNonlinearity,
}

impl<const GATES: usize> RecurrentSettings<GATES> {
    /// How many layers follow each other (1).
    #[must_use]
    pub fn num_layers(self, num_layers: usize) -> Self {
        Self { num_layers, ..self }
    }

    /// Whether there are biases (there are).
    #[must_use]
    pub fn bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Whether the batch axis of input and output comes before that of the
    /// steps (it comes behind). States always have it in the middle.
    #[must_use]
    pub fn batch_first(self, batch_first: bool) -> Self {
        Self { batch_first, ..self }
    }

    /// The probability with which an output is left out between two layers, in
    /// training (0).
    #[must_use]
    pub fn dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// Whether each layer also runs from the last step to the first (it does
    /// not).
    #[must_use]
    pub fn bidirectional(self, bidirectional: bool) -> Self {
        Self { bidirectional, ..self }
    }

    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }
}

impl RecurrentSettings<1> {
    /// The function of the units (tanh).
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
            let message = "a network has the batch axis first: set batch_first(true)";
            return Err(Error::argument(kind, message));
        }
        let &[length, features] = &input[..] else {
            return Err(Error::shape(kind, format!("expected [L, input_size], got {input}")));
        };
        let expected = *self.input_size.get_or_insert(features);
        if features != expected {
            return Err(Error::shape(kind, format!("expected [L, {expected}], got {input}")));
        }
        Ok([length, self.hidden_size.saturating_mul(self.directions())].into())
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Recurrent<T, GATES>> {
        let kind = kind::<GATES>();
        let input_size = self.input_size.ok_or_else(|| open_input(kind, "input_size"))?;
        if self.num_layers == 0 {
            return Err(Error::argument(kind, "num_layers must be at least 1"));
        }
        let dropout = Dropout::new(self.dropout).map_err(|error| place::at(error, kind.into()))?;
        let directions = self.directions();
        let of_layer = |layer| match layer {
            0 => input_size,
            _ => self.hidden_size.saturating_mul(directions),
        };
        let cells = (0..self.num_layers.saturating_mul(directions)).map(|index| {
            let settings = CellSettings {
                input_size: of_layer(index / directions),
                hidden_size: self.hidden_size,
                bias: self.bias,
                nonlinearity: self.nonlinearity,
            };
            settings.build(source)
        });
        let cells = cells.collect::<Result<_>>()?;
        Ok(Recurrent { cells, directions, dropout, batch_first: self.batch_first })
    }
}

impl<T: Float, const GATES: usize> Recurrent<T, GATES> {
    /// The outputs of all steps and the last states, from `state` or from 0.
    /// With `lengths`, only so many steps of each sample count, in either
    /// direction: outputs behind them are 0, and the last state is the one at
    /// the sample's own end.
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
            .map_err(|error| place::said_by(error, self.path(), self))
    }

    /// The path of the layer in its model.
    fn path(&self) -> Option<&str> {
        self.cells.first().and_then(|cell| place::path(&cell.weight_ih))
    }

    fn run_unnamed(
        &self,
        x: &Var<T>,
        state: Option<&RecurrentState<T>>,
        lengths: Option<&[usize]>,
    ) -> Result<(Var<T>, RecurrentState<T>)> {
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
                let first = match state {
                    Some(state) => part(state, layer * self.directions + direction)?,
                    None => cell.zeros(batch),
                };
                let lengths = lengths.map(<[usize]>::to_vec);
                let options = RecurrentOptions { lengths, reverse: direction == 1 };
                let (output, state) = cell.run(&x, &first, options)?;
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

    fn check_state(&self, state: Option<&RecurrentState<T>>, batch: usize) -> Result<()> {
        let expected = [self.cells.len(), batch, self.cells[0].hidden_size()];
        let Some(state) = state else { return Ok(()) };
        let parts = [("h", Some(&state.h)), ("c", state.c.as_ref())];
        for (name, part) in parts {
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
        Ok(self.run(x, None, None)?.0)
    }
}

/// Walks through the parameters under PyTorch's names.
macro_rules! walk {
    ($self:ident, $path:ident, $visitor:ident, $visit:ident, $iter:ident, $option:ident) => {{
        let directions = $self.directions;
        for (index, cell) in $self.cells.$iter().enumerate() {
            let reverse = if index % directions == 1 { "_reverse" } else { "" };
            let suffix = format!("_l{}{reverse}", index / directions);
            let RecurrentCell { weight_ih, weight_hh, bias_ih, bias_hh, .. } = cell;
            let weights = [("weight_ih", Some(weight_ih)), ("weight_hh", Some(weight_hh))];
            let biases = [("bias_ih", bias_ih.$option()), ("bias_hh", bias_hh.$option())];
            for (name, param) in weights.into_iter().chain(biases) {
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
        let layers = self.cells.len() / self.directions;
        if layers > 1 {
            write!(f, ", {layers} layers")?;
        }
        f.write_str(if self.directions == 2 { ", both directions" } else { "" })
    }
}

/// Adding recurrent layers, of the outputs of all steps.
impl SequentialBuilder {
    /// Adds an [`LSTM`] with the batch axis first.
    pub fn lstm(self, hidden_size: usize) -> Self {
        self.layer(LSTM::lazy(hidden_size).batch_first(true))
    }

    /// Adds a [`GRU`] with the batch axis first.
    pub fn gru(self, hidden_size: usize) -> Self {
        self.layer(GRU::lazy(hidden_size).batch_first(true))
    }
}

/// Sequences `[length, …]` side by side in one tensor `[L, N, …]`, filled up
/// with 0 to the longest, and their lengths.
///
/// # Errors
///
/// When there is none, or they differ in another axis than the first.
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
        None => Err(Error::shape("pad_sequence", "a scalar is no sequence")),
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
mod tests {
    use dendra_autograd::{Param, Tape};
    use dendra_tensor::Rng;

    use super::*;
    use crate::layers::LSTMCell;
    use crate::sequential::Sequential;

    #[test]
    fn steps_one_at_a_time_are_the_whole_sequence() {
        let mut rng = Rng::seed(0);
        let lstm = LSTM::new(3, 4).init_as::<f64>(&mut rng).unwrap();
        let mut cell = LSTMCell::new(3, 4).init_as::<f64>(&mut rng).unwrap();
        for ((_, from), to) in lstm.named_parameters().iter().zip(parameters(&mut cell)) {
            to.set(from.value().clone()).unwrap();
        }
        let x = Tensor::normal([5, 2, 3], 0.0, 1.0, &mut rng);
        let (outputs, last) = lstm.run(&Var::new(x.clone()), None, None).unwrap();
        let mut state = None;
        for step in 0..5 {
            let x = Var::new(x.narrow(0, step, 1).unwrap().squeeze(0).unwrap());
            let next = cell.step(&x, state.as_ref()).unwrap();
            let output = outputs.value().narrow(0, step, 1).unwrap();
            assert_near(&output, next.h.value());
            state = Some(next);
        }
        assert_near(last.c.unwrap().value(), state.unwrap().c.unwrap().value());
    }

    fn parameters(cell: &mut LSTMCell<f64>) -> Vec<&mut Param<f64>> {
        let mut all = Vec::new();
        cell.visit_mut(&mut Path::default(), &mut |_, entry| {
            if let EntryMut::Param(param) = entry {
                all.push(param);
            }
        });
        all
    }

    fn assert_near(a: &Tensor<f64>, b: &Tensor<f64>) {
        for (a, b) in a.to_vec().into_iter().zip(b.to_vec()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn a_network_may_hold_recurrent_layers() {
        let bidirectional = GRU::lazy(4).batch_first(true).bidirectional(true);
        let builder = Sequential::input([7, 3]).lstm(5).layer(bidirectional).dense(2);
        let model = builder.build(&mut Rng::seed(0)).unwrap();
        let y = model.forward(&Var::new(Tensor::zeros([6, 7, 3]))).unwrap();
        assert_eq!(*y.shape(), [6, 7, 2]);
        let wrong = Sequential::input([7, 3]).layer(LSTM::lazy(5)).build(&mut Rng::seed(0));
        assert_eq!(
            wrong.unwrap_err().to_string(),
            "layer 0 (LSTM): a network has the batch axis first: set batch_first(true)"
        );
    }

    #[test]
    fn dropout_is_between_layers_and_in_training_alone() {
        let mut rng = Rng::seed(0);
        let gru = GRU::new(3, 4).num_layers(2).dropout(0.5).init(&mut rng).unwrap();
        let x = Tensor::normal([5, 2, 3], 0.0, 1.0, &mut rng);
        let run = |x: Var| gru.forward(&x).unwrap().into_value();
        let plain = run(Var::new(x.clone()));
        assert_eq!(run(Tape::evaluation().input(x.clone())), plain);
        let training = |step| run(Tape::training(1, step).input(x.clone()));
        assert_ne!(training(0), plain);
        assert_ne!(training(0), training(1));
        assert_eq!(training(1), training(1));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut rng = Rng::seed(0);
        let mut lstm = LSTM::new(3, 4).num_layers(2).init(&mut rng).unwrap();
        let message = |lstm: &LSTM, shape: &[usize], state: Option<&RecurrentState>| {
            let x = Var::new(Tensor::zeros(shape));
            lstm.run(&x, state, None).unwrap_err().to_string()
        };
        assert_eq!(
            message(&lstm, &[5, 3], None),
            "LSTM 3 → 4, 2 layers: expected a sequence [L, N, input_size], got [5, 3]"
        );
        lstm.name_parameters();
        let zeros = |shape: [usize; 3]| Var::new(Tensor::zeros(shape));
        let state = RecurrentState { h: zeros([1, 2, 4]), c: Some(zeros([2, 2, 4])) };
        assert!(
            message(&lstm, &[5, 2, 3], Some(&state))
                .ends_with("expected a state h of shape [2, 2, 4], got [1, 2, 4]")
        );
        let state = RecurrentState { h: zeros([2, 2, 4]), c: None };
        assert!(message(&lstm, &[5, 2, 3], Some(&state)).ends_with("has no cell state c"));
        assert!(message(&lstm, &[5, 2, 2], None).contains("weight_ih of shape [16, 2]"));
        assert!(LSTM::new(3, 0).init(&mut rng).is_err());
        assert!(LSTM::new(3, 4).num_layers(0).init(&mut rng).is_err());
        assert!(LSTM::new(3, 4).dropout(2.0).init(&mut rng).is_err());
    }
}
