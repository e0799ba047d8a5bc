//! Recurrent layers: LSTM, GRU and plain, in one direction or both.

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, RecurrentOptions, Result, Tensor};

use super::{Operator, many, of};
use crate::call::Call;
use crate::plan::{Action, Node, Setting};
use crate::tensor::{Data, TypedTensor, float};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[many("GRU", gru), many("LSTM", lstm), many("RNN", rnn)];

/// The domain of the operators whose weights have the gate order of [`Ops`].
const REORDERED: &str = "dendra.reordered";

/// The layers with weights from [`reordered_weights`].
static PREPARED: [Operator; 2] =
    [of(REORDERED, many("GRU", gru)), of(REORDERED, many("LSTM", lstm))];

/// The operator with reordered weights for a node, if [`Ops`] supports all of
/// its settings.
pub(crate) fn with_reordered_weights(node: &Node) -> Option<&'static Operator> {
    let Action::Operator(operator) = &node.action else { return None };
    let is_plain = ["activations", "clip", "input_forget"]
        .iter()
        .all(|setting| !node.attributes.contains_key(*setting));
    let is_linear = matches!(node.attributes.get("linear_before_reset"), Some(Setting::Int(1)));
    if !operator.is_standard() || !is_plain || (operator.name == "GRU" && !is_linear) {
        return None;
    }
    PREPARED.iter().find(|prepared| prepared.name == operator.name)
}

/// Weights or biases of all directions with the gate order of [`Ops`]. Weights are stored by
/// columns, as the kernels multiply by them.
pub(crate) fn reordered_weights(node: &Node, x: &TypedTensor) -> Result<TypedTensor> {
    let cell = if node.operator == "GRU" { Cell::Gru } else { Cell::Lstm };
    let rows = x.shape().get(1).copied().unwrap_or(0);
    // A bias contains those of the input and of the state.
    let halves = if x.rank() == 2 { 2 } else { 1 };
    let hidden = rows / (halves * cell.gates());
    let part =
        |half: usize, gate: usize| x.narrow_axis(1, (half * cell.gates() + gate) * hidden, hidden);
    let parts = (0..halves).flat_map(|half| cell.order().iter().map(move |&gate| (half, gate)));
    let parts = parts.map(|(half, gate)| part(half, gate)).collect::<Result<Vec<_>>>()?;
    let joined = TypedTensor::cat(&parts.iter().collect::<Vec<_>>(), 1)?;
    match joined.rank() {
        3 => {
            float!(&joined, x => Var::new(x.value().transpose(1, 2)?.contiguous().transpose(1, 2)?))
        }
        _ => Ok(joined),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Lstm,
    Gru,
    Rnn,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Rnn => 1,
        }
    }

    /// The default activation functions of a direction.
    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Rnn => &["Tanh"],
        }
    }

    /// For each gate in the order of [`Ops`], its index in the order of ONNX.
    fn order(self) -> &'static [usize] {
        match self {
            // The order i, f, g, o from i, o, f, c.
            Self::Lstm => &[0, 2, 3, 1],
            // The order r, z, n from z, r, h.
            Self::Gru => &[1, 0, 2],
            Self::Rnn => &[0],
        }
    }
}

fn lstm(call: &Call<'_>) -> Result<Vec<Value>> {
    recurrent(call, Cell::Lstm)
}

fn gru(call: &Call<'_>) -> Result<Vec<Value>> {
    recurrent(call, Cell::Gru)
}

fn rnn(call: &Call<'_>) -> Result<Vec<Value>> {
    recurrent(call, Cell::Rnn)
}

fn recurrent(call: &Call<'_>, cell: Cell) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let outputs = match &x.data {
        Data::F64(x) => {
            let inputs = inputs(call, &|x| Ok(x.f64()?.clone()))?;
            let outputs = layers(call, cell, x, &inputs)?;
            outputs.into_iter().map(TypedTensor::from).collect::<Vec<_>>()
        }
        _ => {
            let inputs = inputs(call, &|x| Ok(x.f32()?.clone()))?;
            let outputs = layers(call, cell, x.f32()?, &inputs)?;
            outputs.into_iter().map(|y| TypedTensor::single(x.element(), y)).collect()
        }
    };
    Ok(outputs.into_iter().map(Value::Tensor).collect())
}

/// The inputs after the first, except the lengths.
fn inputs<T: Float>(
    call: &Call<'_>,
    floats: &dyn Fn(&TypedTensor) -> Result<Var<T>>,
) -> Result<Vec<Option<Var<T>>>> {
    let input = |index: usize| match index {
        4 => Ok(None),
        _ => call.optional(index)?.map(floats).transpose(),
    };
    (0..8).map(input).collect()
}

/// The operands of one direction.
struct Direction<'a, T: Float> {
    cell: Cell,
    /// `[gates · hidden, input]`, `[gates · hidden, hidden]`, in ONNX's order.
    weights: [Var<T>; 2],
    /// The bias of the input and that of the state, `[gates · hidden]`.
    biases: Option<[Var<T>; 2]>,
    state: Var<T>,
    memory: Var<T>,
    /// The peephole weights of the gates i, o and f.
    peepholes: Option<[Var<T>; 3]>,
    activations: Vec<Activation>,
    lengths: Option<&'a [usize]>,
    is_reversed: bool,
    clip: Option<f64>,
    /// Whether the reset gate of a GRU is applied after the product.
    is_linear_before_reset: bool,
    /// Whether the forget gate of an LSTM is 1 − i.
    couples_input_forget: bool,
    /// Whether the gates have the order of [`Ops`].
    is_reordered: bool,
}

struct Activation {
    name: String,
    alpha: Option<f64>,
    beta: Option<f64>,
}

impl Activation {
    fn apply<T: Float>(&self, x: &Var<T>) -> Result<Var<T>> {
        let alpha = |default: f64| self.alpha.unwrap_or(default);
        let beta = |default: f64| self.beta.unwrap_or(default);
        Ok(match self.name.to_ascii_lowercase().as_str() {
            "sigmoid" => x.sigmoid(),
            "tanh" => x.tanh(),
            "relu" => x.relu(),
            "affine" => x.mul_scalar(alpha(1.0)).add_scalar(beta(0.0)),
            "leakyrelu" => x.leaky_relu(alpha(0.01)),
            "thresholdedrelu" => x.threshold(alpha(1.0), 0.0),
            "scaledtanh" => x.mul_scalar(beta(1.0)).tanh().mul_scalar(alpha(1.0)),
            "hardsigmoid" => x.mul_scalar(alpha(0.2)).add_scalar(beta(0.5)).clamp(0.0, 1.0),
            "elu" => x.elu(alpha(1.0)),
            "softsign" => x.softsign(),
            "softplus" => x.softplus(),
            name => {
                return Err(Error::argument("activations", format!("{name:?} is unknown")));
            }
        })
    }
}

fn layers<T: Float>(
    call: &Call<'_>,
    cell: Cell,
    x: &Var<T>,
    inputs: &[Option<Var<T>>],
) -> Result<Vec<Var<T>>> {
    let is_batch_first = call.flag("layout");
    let x = if is_batch_first { x.transpose(0, 1)? } else { x.clone() };
    let (Some(w), Some(r)) = (&inputs[1], &inputs[2]) else {
        return call.refuse("the weights are missing");
    };
    let (&[length, batch, _], &[directions, rows, hidden]) = (&x.shape()[..], &r.shape()[..])
    else {
        return call.refuse(format!("expected shape [length, batch, input], got {}", x.shape()));
    };
    let gates = cell.gates();
    if rows != gates * hidden || w.shape().get(..2) != Some(&[directions, rows][..]) {
        return call.refuse(format!("the weights {} and {} do not fit", w.shape(), r.shape()));
    }
    if length == 0 || hidden == 0 {
        return call.refuse("there are no steps or no hidden units");
    }
    let lengths = match call.optional_integers(4)? {
        None => None,
        Some(lengths) => {
            let lengths: Vec<usize> =
                lengths.iter().map(|&n| usize::try_from(n).unwrap_or(0).min(length)).collect();
            if lengths.len() != batch {
                return call.refuse(format!("expected {batch} lengths, got {}", lengths.len()));
            }
            Some(lengths).filter(|lengths| lengths.iter().any(|&n| n != length))
        }
    };
    let first = |index: usize| -> Result<Var<T>> {
        match &inputs[index] {
            Some(x) if is_batch_first => x.transpose(0, 1),
            Some(x) => Ok(x.clone()),
            None => Ok(Var::new(Tensor::zeros([directions, batch, hidden]))),
        }
    };
    let (states, memories) = (first(5)?, if cell == Cell::Lstm { first(6)? } else { first(5)? });
    let direction = call.text("direction", "forward");
    let mut all = Vec::with_capacity(directions);
    for index in 0..directions {
        let of = |x: &Var<T>| match x.tape() {
            Some(_) => x.select(0, index as isize),
            // A view, which keeps the order of the elements in memory.
            None => Ok(Var::new(x.value().narrow(0, index, 1)?.squeeze(0)?)),
        };
        let halves = |x: &Var<T>| -> Result<[Var<T>; 2]> {
            let x = of(x)?;
            Ok([x.narrow(0, 0, rows)?, x.narrow(0, rows, rows)?])
        };
        let peepholes = |x: &Var<T>| -> Result<[Var<T>; 3]> {
            let x = of(x)?;
            let part = |i: usize| x.narrow(0, i * hidden, hidden);
            Ok([part(0)?, part(1)?, part(2)?])
        };
        let one = Direction {
            cell,
            weights: [of(w)?, of(r)?],
            biases: inputs[3].as_ref().map(halves).transpose()?,
            state: of(&states)?,
            memory: of(&memories)?,
            peepholes: match cell {
                Cell::Lstm => inputs[7].as_ref().map(peepholes).transpose()?,
                _ => None,
            },
            activations: activations(call, cell, index),
            lengths: lengths.as_deref(),
            is_reversed: direction == "reverse" || index == 1,
            clip: call.optional_float("clip").filter(|&clip| clip > 0.0),
            is_linear_before_reset: call.flag("linear_before_reset"),
            couples_input_forget: call.flag("input_forget"),
            is_reordered: call.domain() == REORDERED,
        };
        all.push(if one.is_plain() { one.fused(&x)? } else { one.stepwise(&x)? });
    }
    // [length, batch, hidden] of each direction, and the last states.
    let stacked = |part: usize, axis: isize| {
        let parts: Vec<&Var<T>> = all.iter().map(|outputs| &outputs[part]).collect();
        Var::stack(&parts, axis)
    };
    let (mut y, mut last, mut memory) = (stacked(0, 1)?, stacked(1, 0)?, stacked(2, 0)?);
    if is_batch_first {
        y = y.permute(&[2, 0, 1, 3])?;
        last = last.transpose(0, 1)?;
        memory = memory.transpose(0, 1)?;
    }
    Ok(vec![y, last, memory])
}

fn activations(call: &Call<'_>, cell: Cell, direction: usize) -> Vec<Activation> {
    let defaults = cell.activations();
    let count = defaults.len();
    let number = |name: &str, index: usize| call.floats(name)?.get(index).copied();
    (0..count)
        .map(|i| {
            let index = direction * count + i;
            let given = call.texts("activations").and_then(|names| names.get(index));
            Activation {
                name: given.cloned().unwrap_or_else(|| defaults[i].to_owned()),
                alpha: number("activation_alpha", index),
                beta: number("activation_beta", index),
            }
        })
        .collect()
}

impl<T: Float> Direction<'_, T> {
    /// Whether [`Ops`] supports the layer.
    fn is_plain(&self) -> bool {
        let names = self.activations.iter().map(|activation| activation.name.as_str());
        let standard = names.eq(self.cell.activations().iter().copied());
        standard
            && self.clip.is_none()
            && self.peepholes.is_none()
            && !self.couples_input_forget
            && (self.cell != Cell::Gru || self.is_linear_before_reset)
    }

    /// The rows of a weight or a bias in the order of [`Ops`].
    fn ordered(&self, x: &Var<T>) -> Result<Var<T>> {
        if self.is_reordered {
            return Ok(x.clone());
        }
        let hidden = x.shape()[0] / self.cell.gates();
        let gates = self.cell.order().iter().map(|&gate| x.narrow(0, gate * hidden, hidden));
        let gates = gates.collect::<Result<Vec<_>>>()?;
        Var::cat(&gates.iter().collect::<Vec<_>>(), 0)
    }

    fn fused(&self, x: &Var<T>) -> Result<Vec<Var<T>>> {
        let options = RecurrentOptions {
            lengths: self.lengths.map(<[usize]>::to_vec),
            reverse: self.is_reversed,
        };
        let [w, r] = [self.ordered(&self.weights[0])?, self.ordered(&self.weights[1])?];
        let biases = match &self.biases {
            Some([b, d]) => Some([self.ordered(b)?, self.ordered(d)?]),
            None => None,
        };
        let biases = biases.as_ref().map(|[b, d]| [b, d]);
        let (h, c) = (&self.state, &self.memory);
        let all = match self.cell {
            Cell::Lstm => x.lstm([h, c], [&w, &r], biases, options)?,
            Cell::Gru => x.gru(h, [&w, &r], biases, options)?,
            Cell::Rnn => x.rnn(h, [&w, &r], biases, false, options)?,
        };
        let length = x.shape()[0] as isize;
        let last = all.select(0, length)?;
        let memory =
            if self.cell == Cell::Lstm { all.select(0, length + 1)? } else { last.clone() };
        Ok(vec![all.narrow(0, 0, length as usize)?, last, memory])
    }

    /// The layer computed by separate operations, for all settings.
    fn stepwise(&self, x: &Var<T>) -> Result<Vec<Var<T>>> {
        let (length, batch) = (x.shape()[0], x.shape()[1]);
        let (mut h, mut c) = (self.state.clone(), self.memory.clone());
        let nothing = Var::new(Tensor::zeros(h.shape().clone()));
        let mut outputs = vec![nothing.clone(); length];
        for index in 0..length {
            let step = if self.is_reversed { length - 1 - index } else { index };
            let (new_h, new_c) = self.step(&x.select(0, step as isize)?, &h, &c)?;
            // Samples that have ended keep their state.
            let (output, next_h, next_c) = match self.lengths {
                None => (new_h.clone(), new_h, new_c),
                Some(lengths) => {
                    let is_inside: Vec<bool> = lengths.iter().map(|&n| step < n).collect();
                    let inside = Tensor::from_vec(is_inside, [batch, 1])?;
                    (
                        new_h.where_mask(&inside, &nothing)?,
                        new_h.where_mask(&inside, &h)?,
                        new_c.where_mask(&inside, &c)?,
                    )
                }
            };
            outputs[step] = output;
            (h, c) = (next_h, next_c);
        }
        Ok(vec![Var::stack(&outputs.iter().collect::<Vec<_>>(), 0)?, h, c])
    }

    fn clipped(&self, x: Var<T>) -> Var<T> {
        self.clip.map_or_else(|| x.clone(), |clip| x.clamp(-clip, clip))
    }

    /// The state and the cell state after one step.
    fn step(&self, x: &Var<T>, h: &Var<T>, c: &Var<T>) -> Result<(Var<T>, Var<T>)> {
        let hidden = h.shape()[1];
        let [b, d] = match &self.biases {
            Some([b, d]) => [Some(b), Some(d)],
            None => [None, None],
        };
        let (from_x, from_h) = (x.linear(&self.weights[0], b)?, h.linear(&self.weights[1], d)?);
        let gate = |from: &Var<T>, i: usize| from.narrow(1, i * hidden, hidden);
        let both = |i: usize| gate(&from_x, i)?.add(&gate(&from_h, i)?);
        let act = |i: usize, x: Var<T>| self.activations[i].apply(&self.clipped(x));
        match self.cell {
            Cell::Rnn => {
                let h = act(0, both(0)?)?;
                Ok((h.clone(), h))
            }
            Cell::Gru => {
                let (z, r) = (act(0, both(0)?)?, act(0, both(1)?)?);
                let inner = if self.is_linear_before_reset {
                    gate(&from_x, 2)?.add(&r.mul(&gate(&from_h, 2)?)?)?
                } else {
                    let weight = self.weights[1].narrow(0, 2 * hidden, hidden)?;
                    let bias = d.map(|d| d.narrow(0, 2 * hidden, hidden)).transpose()?;
                    gate(&from_x, 2)?.add(&r.mul(h)?.linear(&weight, bias.as_ref())?)?
                };
                let new = act(1, inner)?;
                let h = new.add(&z.mul(&h.sub(&new)?)?)?;
                Ok((h.clone(), h))
            }
            Cell::Lstm => {
                let peep = |i: usize, gate: Var<T>, c: &Var<T>| match &self.peepholes {
                    Some(weights) => gate.add(&weights[i].mul(c)?),
                    None => Ok(gate),
                };
                let i = act(0, peep(0, both(0)?, c)?)?;
                let f = match self.couples_input_forget {
                    true => i.neg().add_scalar(1.0),
                    false => act(0, peep(2, both(2)?, c)?)?,
                };
                let new = f.mul(c)?.add(&i.mul(&act(1, both(3)?)?)?)?;
                let o = act(0, peep(1, both(1)?, &new)?)?;
                Ok((o.mul(&self.activations[2].apply(&new)?)?, new))
            }
        }
    }
}
