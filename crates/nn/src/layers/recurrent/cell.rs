//! Recurrent cells, which compute one step at a time.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, RecurrentOptions, Result, Rng, Tensor};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::init::{Fans, Init, Source};

/// The state of a recurrent layer: h, and the cell state c of an LSTM.
#[derive(Clone, Debug)]
pub struct RecurrentState<T: Float = f32> {
    /// The hidden state: `[N, hidden_size]` of a cell, or `[num_layers ·
    /// directions, N, hidden_size]` of a layer, where the directions are the
    /// faster index.
    pub h: Var<T>,
    /// The cell state of an LSTM, of the same shape.
    pub c: Option<Var<T>>,
}

impl<T: Float> RecurrentState<T> {
    /// The same values without a tape: the next step continues from them
    /// without a gradient through this one (truncated backpropagation).
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { h: self.h.detach(), c: self.c.as_ref().map(Var::detach) }
    }

    /// Applies a function to h and c.
    pub(super) fn each(&self, change: impl Fn(&Var<T>) -> Result<Var<T>>) -> Result<Self> {
        Ok(Self { h: change(&self.h)?, c: self.c.as_ref().map(change).transpose()? })
    }

    fn parts(&self) -> impl Iterator<Item = &Var<T>> {
        [Some(&self.h), self.c.as_ref()].into_iter().flatten()
    }
}

/// The activation function of the plain RNN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecurrentNonlinearity {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// max(x, 0).
    ReLU,
}

/// One step of an LSTM; see [`RecurrentCell`].
pub type LSTMCell<T = f32> = RecurrentCell<T, 4>;

/// One step of a GRU; see [`RecurrentCell`].
pub type GRUCell<T = f32> = RecurrentCell<T, 3>;

/// One step of a plain RNN; see [`RecurrentCell`].
pub type RNNCell<T = f32> = RecurrentCell<T, 1>;

/// One step of a recurrent layer. Use it as [`LSTMCell`], [`GRUCell`] or
/// [`RNNCell`]; `GATES` is 4, 3 and 1 for these. The formulas are those of
/// [`Recurrent`](dendra_tensor::ops::recurrent::Recurrent).
///
/// | | shape |
/// |---|---|
/// | input | `[N, input_size]`, or `[input_size]` of one sample, whose state has no N either |
/// | state | `[N, hidden_size]`, 0 if not given |
/// | `weight_ih` | `[GATES · hidden_size, input_size]` |
/// | `weight_hh` | `[GATES · hidden_size, hidden_size]` |
/// | `bias_ih`, `bias_hh` | `[GATES · hidden_size]` |
///
/// All are initialised with U(±1/√hidden_size).
///
/// ```
/// use dendra_nn::GRUCell;
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
///
/// let cell = GRUCell::new(3, 5).init(&mut Rng::seed(0))?;
/// let x = Var::new(Tensor::zeros([2, 3]));
/// let state = cell.step(&x, None)?;
/// let state = cell.step(&x, Some(&state))?;
/// assert_eq!(*state.h.shape(), [2, 5]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct RecurrentCell<T: Float, const GATES: usize> {
    /// The weight of the input.
    pub weight_ih: Param<T>,
    /// The weight of the state.
    pub weight_hh: Param<T>,
    /// The bias of the input product.
    pub bias_ih: Option<Param<T>>,
    /// The bias of the recurrent product.
    pub bias_hh: Option<Param<T>>,
    #[parameters(skip)]
    pub(super) nonlinearity: RecurrentNonlinearity,
}

impl<const GATES: usize> RecurrentCell<f32, GATES> {
    /// Settings of a cell from `input_size` to `hidden_size` values.
    pub fn new(input_size: usize, hidden_size: usize) -> CellSettings<GATES> {
        CellSettings::with_defaults(input_size, hidden_size, RecurrentNonlinearity::Tanh)
    }
}

/// The settings of a [`RecurrentCell`].
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
pub struct CellSettings<const GATES: usize> {
    pub(super) input_size: usize,
    pub(super) hidden_size: usize,
    /// Whether the cell has biases.
    #[set(default = true)]
    pub(super) bias: bool,
    pub(super) nonlinearity: RecurrentNonlinearity,
}

impl CellSettings<1> {
    /// The activation function (tanh).
    #[must_use]
    pub fn nonlinearity(self, nonlinearity: RecurrentNonlinearity) -> Self {
        Self { nonlinearity, ..self }
    }
}

impl<const GATES: usize> CellSettings<GATES> {
    /// Makes the cell with parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When `hidden_size` is 0.
    pub fn init(&self, rng: &mut Rng) -> Result<RecurrentCell<f32, GATES>> {
        self.init_as(rng)
    }

    /// Like [`init`](Self::init), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`init`](Self::init).
    pub fn init_as<T: Float>(&self, rng: &mut Rng) -> Result<RecurrentCell<T, GATES>> {
        self.build(&mut Source::Random(rng))
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<RecurrentCell<T, GATES>> {
        self.build_projected(self.hidden_size, source)
    }

    /// Makes a cell whose state h has another width than its gates.
    pub(super) fn build_projected<T: Float>(
        &self,
        state_size: usize,
        source: &mut Source<'_>,
    ) -> Result<RecurrentCell<T, GATES>> {
        let &Self { input_size, hidden_size, bias, nonlinearity } = self;
        let context = format!("{} {input_size} → {hidden_size}", kind::<GATES>());
        if hidden_size == 0 {
            return Err(Error::argument(context, "hidden_size must be at least 1"));
        }
        let rows = hidden_size.saturating_mul(GATES);
        let bound = 1.0 / (hidden_size as f64).sqrt();
        let init = Init::Uniform { low: -bound, high: bound };
        let fans = Fans { fan_in: hidden_size, fan_out: hidden_size };
        let mut param = |shape: &[usize]| source.param(init, shape, fans, &context);
        Ok(RecurrentCell {
            weight_ih: param(&[rows, input_size])?,
            weight_hh: param(&[rows, state_size])?,
            bias_ih: bias.then(|| param(&[rows])).transpose()?,
            bias_hh: bias.then(|| param(&[rows])).transpose()?,
            nonlinearity,
        })
    }
}

/// The name of a recurrent layer with this many gates.
pub(super) fn kind<const GATES: usize>() -> &'static str {
    match GATES {
        4 => "LSTM",
        3 => "GRU",
        _ => "RNN",
    }
}

impl<T: Float, const GATES: usize> RecurrentCell<T, GATES> {
    /// The width of the gates, which is also the width of the state unless it
    /// is projected.
    pub(super) fn hidden_size(&self) -> usize {
        self.weight_hh.value().shape()[0] / GATES
    }

    /// A state of zeros for `batch` samples.
    pub(super) fn zeros(&self, batch: usize) -> RecurrentState<T> {
        let zeros = || Var::new(Tensor::zeros([batch, self.hidden_size()]));
        RecurrentState { h: zeros(), c: (GATES == 4).then(zeros) }
    }

    /// Runs all steps of a sequence `[L, N, input_size]`. Returns their outputs
    /// and the last state.
    pub(super) fn run(
        &self,
        x: &Var<T>,
        state: &RecurrentState<T>,
        options: RecurrentOptions,
    ) -> Result<(Var<T>, RecurrentState<T>)> {
        let weights = [&self.weight_ih, &self.weight_hh].map(|weight| weight.on(x));
        self.run_with(weights, x, state, options)
    }

    /// Like [`run`](Self::run), with other weights of input and state.
    pub(super) fn run_with(
        &self,
        [w, u]: [Var<T>; 2],
        x: &Var<T>,
        state: &RecurrentState<T>,
        options: RecurrentOptions,
    ) -> Result<(Var<T>, RecurrentState<T>)> {
        let biases = self.bias_ih.as_ref().zip(self.bias_hh.as_ref());
        let biases = biases.map(|(ih, hh)| [ih.on(x), hh.on(x)]);
        let biases = biases.as_ref().map(|biases| biases.each_ref());
        let h = &state.h;
        let all = match (GATES, &state.c) {
            (4, Some(c)) => x.lstm([h, c], [&w, &u], biases, options)?,
            (3, None) => x.gru(h, [&w, &u], biases, options)?,
            (1, None) => {
                let relu = self.nonlinearity == RecurrentNonlinearity::ReLU;
                x.rnn(h, [&w, &u], biases, relu, options)?
            }
            (4, None) => return Err(Error::argument("LSTM", "the state lacks the cell state c")),
            _ => return Err(Error::argument(kind::<GATES>(), "the state has a cell state c")),
        };
        let length = x.shape()[0];
        let last = |index| all.narrow(0, length + index, 1)?.squeeze(0);
        let c = state.c.as_ref().map(|_| last(1)).transpose()?;
        Ok((all.narrow(0, 0, length)?, RecurrentState { h: last(0)?, c }))
    }

    /// The state after one step on `x`, starting from `state` or from 0.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    pub fn step(&self, x: &Var<T>, state: Option<&RecurrentState<T>>) -> Result<RecurrentState<T>> {
        let stepped = || {
            if x.shape().len() == 1 {
                let state = state.map(|state| state.each(|part| part.unsqueeze(0))).transpose()?;
                return self.step(&x.unsqueeze(0)?, state.as_ref())?.each(|part| part.squeeze(0));
            }
            let &[batch, _] = &x.shape()[..] else {
                let message = format!("expected an input [N, input_size], got {}", x.shape());
                return Err(Error::shape("", message));
            };
            let zeros = state.is_none().then(|| self.zeros(batch));
            let state = state.or(zeros.as_ref()).expect("one of the two");
            Ok(self.run(&x.unsqueeze(0)?, state, RecurrentOptions::default())?.1)
        };
        stepped().map_err(|error| context::in_layer(error, context::path(&self.weight_ih), self))
    }
}

impl<T: Float, const GATES: usize> fmt::Display for RecurrentCell<T, GATES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input_size = self.weight_ih.value().shape()[1];
        write!(f, "{}Cell {input_size} → {}", kind::<GATES>(), self.hidden_size())
    }
}

/// Stacks the states of several cells along a new first axis.
pub(super) fn stacked<T: Float>(states: &[RecurrentState<T>]) -> Result<RecurrentState<T>> {
    let parts: Vec<Vec<&Var<T>>> = states.iter().map(|state| state.parts().collect()).collect();
    let part = |index: usize| {
        let part: Option<Vec<&Var<T>>> =
            parts.iter().map(|parts| parts.get(index).copied()).collect();
        part.map(|part| Var::stack(&part, 0)).transpose()
    };
    let h = part(0)?.ok_or_else(|| Error::argument("RecurrentState", "there is no state"))?;
    Ok(RecurrentState { h, c: part(1)? })
}
