//! Recurrent layers as operations on terms, step by step.

use super::{Cell, Gru, Lstm, Recurrent, Rnn};
use crate::element::Float;
use crate::error::Result;
use crate::ops::{Attributes, Ops, Term};
use crate::tensor::Tensor;

/// A cell as operations on terms.
pub trait CellTerms: Cell {
    /// The cell's own settings by name.
    fn attributes(&self) -> Attributes {
        Attributes::new()
    }

    /// The states after a step, from those before and from the products with
    /// the input and with the state, including their biases, `[N, gates ·
    /// hidden]`.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit each other.
    fn step<T: Float>(
        &self,
        input: &Term<T>,
        recurrent: &Term<T>,
        states: &[Term<T>],
    ) -> Result<Vec<Term<T>>>;
}

/// One of several blocks of columns of the same width.
fn block<T: Float>(x: &Term<T>, index: usize, width: usize) -> Result<Term<T>> {
    x.narrow(1, index * width, width)
}

impl CellTerms for Lstm {
    fn step<T: Float>(
        &self,
        input: &Term<T>,
        recurrent: &Term<T>,
        states: &[Term<T>],
    ) -> Result<Vec<Term<T>>> {
        let gates = input + recurrent;
        let gate = |index| block(&gates, index, states[0].shape()[1]);
        let (i, f, g, o) = (gate(0)?, gate(1)?, gate(2)?, gate(3)?);
        let cell = f.sigmoid() * &states[1] + i.sigmoid() * g.tanh();
        Ok(vec![o.sigmoid() * cell.tanh(), cell])
    }
}

impl CellTerms for Gru {
    fn step<T: Float>(
        &self,
        input: &Term<T>,
        recurrent: &Term<T>,
        states: &[Term<T>],
    ) -> Result<Vec<Term<T>>> {
        let width = states[0].shape()[1];
        let gate = |index| Ok(block(input, index, width)? + block(recurrent, index, width)?);
        let (r, z) = (gate(0)?.sigmoid(), gate(1)?.sigmoid());
        let n = (block(input, 2, width)? + r * block(recurrent, 2, width)?).tanh();
        Ok(vec![&n + z * (&states[0] - &n)])
    }
}

impl CellTerms for Rnn {
    fn attributes(&self) -> Attributes {
        vec![("nonlinearity", if self.relu { "relu" } else { "tanh" }.into())]
    }

    fn step<T: Float>(
        &self,
        input: &Term<T>,
        recurrent: &Term<T>,
        _: &[Term<T>],
    ) -> Result<Vec<Term<T>>> {
        let sum = input + recurrent;
        Ok(vec![if self.relu { sum.relu() } else { sum.tanh() }])
    }
}

/// Pushes the slices along the first axis. It halves the tensor repeatedly,
/// since the gradient of a slice costs as much as the whole tensor that it was
/// taken from.
fn push_slices<T: Float>(x: &Term<T>, slices: &mut Vec<Term<T>>) -> Result<()> {
    match x.shape()[0] {
        0 => {}
        1 => slices.push(x.squeeze(0)?),
        length => {
            let half = length / 2;
            push_slices(&x.narrow(0, 0, half)?, slices)?;
            push_slices(&x.narrow(0, half, length - half)?, slices)?;
        }
    }
    Ok(())
}

impl<C: CellTerms> Recurrent<C> {
    /// The output, computed step by step.
    pub(super) fn composed<T: Float>(&self, inputs: &[Term<T>]) -> Result<Term<T>> {
        let (x, rest) = (&inputs[0], &inputs[1..]);
        let (states, weights) = rest.split_at(C::STATES);
        let mut states = states.to_vec();
        let mut products = Vec::new();
        push_slices(&x.linear(&weights[0], weights.get(2))?, &mut products)?;
        let length = products.len();
        let mut outputs: Vec<Option<Term<T>>> = vec![None; length];
        for i in 0..length {
            let step = if self.options.reverse { length - 1 - i } else { i };
            let recurrent = states[0].linear(&weights[1], weights.get(3))?;
            let new = self.cell.step(&products[step], &recurrent, &states)?;
            let mut output = new[0].clone();
            let ended = self
                .options
                .lengths
                .as_ref()
                .filter(|lengths| lengths.iter().any(|&length| step >= length));
            match ended {
                None => states = new,
                // After the end of a sample the output is 0 and the state is
                // constant.
                Some(lengths) => {
                    let counts = Tensor::from_fn([lengths.len(), 1], |n| step < lengths[n]);
                    output = output.masked_fill(&counts.logical_not(), 0.0)?;
                    let pairs = new.iter().zip(&states);
                    let kept = pairs.map(|(new, old)| new.where_mask(&counts, old));
                    states = kept.collect::<Result<_>>()?;
                }
            }
            outputs[step] = Some(output);
        }
        let slices: Vec<Term<T>> = outputs.into_iter().flatten().chain(states).collect();
        Term::stack(&slices.iter().collect::<Vec<_>>(), 0)
    }
}
