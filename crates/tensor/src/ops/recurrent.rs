//! Recurrent layers in one direction (LSTM, GRU and plain), each as one
//! operation over all steps.

mod terms;

use std::cell::OnceCell;

use super::reduce::fold_columns;
use super::{Attribute, Attributes, Call, Cotangents, Op, TermCall, TermCotangents};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::gemm::{Plus, multiply};
use crate::kernels::recurrent::{Buffers, Kept, Sizes, group};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

pub use self::terms::CellTerms;
pub use crate::kernels::recurrent::{Cell, Gru, Lstm, Rnn};

/// The steps that a recurrent layer processes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecurrentOptions {
    /// The number of valid steps of each sample; all when `None`. After them
    /// the outputs are 0 and the state is constant.
    pub lengths: Option<Vec<usize>>,
    /// Whether to start with the last step.
    pub reverse: bool,
}

/// One recurrent layer in one direction over a sequence `[L, N, input]`, where
/// σ is the logistic function and ⊙ the element-wise product.
///
/// LSTM (Hochreiter and Schmidhuber, 1997; Gers et al., 2000):
/// i = σ(Wᵢx + bᵢ + Uᵢh + dᵢ), f, o as i, g = tanh(W_g x + b_g + U_g h + d_g),
/// c′ = f⊙c + i⊙g, h′ = o⊙tanh(c′).
///
/// GRU (Cho et al., 2014, with the reset gate after the product, as in cuDNN
/// and PyTorch): r = σ(W_r x + b_r + U_r h + d_r), z as r, n = tanh(W_n x + b_n
/// + r⊙(U_n h + d_n)), h′ = (1 − z)⊙n + z⊙h.
///
/// Plain (Elman, 1990): h′ = tanh(Wx + b + Uh + d), or max(·, 0).
///
/// Inputs: x; the first state h `[N, hidden]`, for the LSTM then c; W `[gates ·
/// hidden, input]`, U `[gates · hidden, hidden]`; then b and d `[gates · hidden]`
/// or neither. Gates are in the order of the formulas, i, f, g, o and r, z, n.
///
/// Output: `[L + 1, N, hidden]`, the outputs of all steps and then the last
/// state; for the LSTM `[L + 2, N, hidden]`, with the last cell state at the
/// end.
#[derive(Clone, Debug)]
pub struct Recurrent<C: Cell> {
    /// The cell.
    pub cell: C,
    /// The steps to process.
    pub options: RecurrentOptions,
}

/// The values that a forward pass keeps, in the order of the kernel's groups,
/// with one row for each step and sample.
#[derive(Debug)]
pub struct Trace<T: Float> {
    x: Tensor<T>,
    gates: Tensor<T>,
    extra: Tensor<T>,
    previous: Tensor<T>,
}

impl<C: Cell> Recurrent<C> {
    /// The sizes of a call on these inputs.
    fn sizes(&self, x: &Shape, state: &Shape) -> Sizes<'_> {
        Sizes {
            length: x[0],
            batch: x[1],
            hidden: state[1],
            group: group(x[1], C::GATES * state[1] * state[1]),
            lengths: self.options.lengths.as_deref(),
            reverse: self.options.reverse,
        }
    }
}

/// A tensor whose values are not yet written.
fn unwritten<T: Float>(rows: usize, width: usize) -> Tensor<T> {
    Tensor::build([rows, width], |_| {})
}

/// A sequence in the order of the groups.
fn arranged<T: Float>(sizes: &Sizes<'_>, x: &Tensor<T>, width: usize) -> Tensor<T> {
    if sizes.is_one_group() {
        return x.contiguous();
    }
    x.with_slice(|x| {
        Tensor::build([sizes.rows(), width], |out| {
            sizes.arrange(&x[..sizes.rows() * width], out, width, false);
        })
    })
}

impl<T: Float, C: CellTerms> Op<T> for Recurrent<C> {
    type Saved = Trace<T>;
    const NAME: &'static str = C::NAME;
    // x, the first output and both weights, but not a cell state.
    const PRODUCT_OPERANDS: u32 = 0b11 | 0b11 << (C::STATES + 1);

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let refuse = |message: String| Err(Error::shape(C::NAME, message));
        let &[length, batch, features] = &inputs[0][..] else {
            return refuse(format!(
                "expected a sequence of shape [L, N, input], got {}",
                inputs[0]
            ));
        };
        let hidden = match inputs[1][..] {
            [of, hidden] if of == batch && hidden > 0 => hidden,
            _ => {
                let message = format!("expected a state of shape [{batch}, hidden], got ");
                return refuse(message + &inputs[1].to_string());
            }
        };
        let state: Shape = [batch, hidden].into();
        let rows = C::GATES * hidden;
        let weights: [(&str, Shape); 4] = [
            ("weight_ih", [rows, features].into()),
            ("weight_hh", [rows, hidden].into()),
            ("bias_ih", [rows].into()),
            ("bias_hh", [rows].into()),
        ];
        let names = [("cell state", state)].into_iter().take(C::STATES - 1).chain(weights);
        for ((name, expected), found) in names.zip(&inputs[2..]) {
            if expected != **found {
                return refuse(format!("expected a {name} of shape {expected}, got {found}"));
            }
        }
        if let Some(lengths) = &self.options.lengths
            && (lengths.len() != batch || lengths.iter().any(|&counted| counted > length))
        {
            let message =
                format!("expected {batch} lengths of at most {length} steps, got {lengths:?}");
            return Err(Error::argument(C::NAME, message));
        }
        Ok([length + C::STATES, batch, hidden].into())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Trace<T>) {
        let (x, states, weights) = (inputs[0], &inputs[1..=C::STATES], &inputs[1 + C::STATES..]);
        let sizes = self.sizes(x.shape(), states[0].shape());
        let (rows, features, h) = (sizes.rows(), x.shape()[2], sizes.hidden);
        let gates_width = C::GATES * h;
        let x = arranged(&sizes, x, features);
        let bias = |index: usize| weights.get(index).map(|bias| bias.to_vec());
        let (mut input_bias, mut recurrent_bias) = (bias(2), bias(3));
        if !C::SPLIT
            && let Some(recurrent) = &mut recurrent_bias
        {
            // The cell adds both products, so one bias can hold both.
            let input = input_bias.take().unwrap_or_default();
            recurrent.iter_mut().zip(input).for_each(|(sum, bias)| *sum += bias);
        }
        let [input, recurrent] = [0, 1].map(|i| weights[i].transpose(0, 1).expect("a matrix"));
        let mut gates = Tensor::build([rows, gates_width], |gates| {
            let bias = input_bias.as_deref().map_or(Plus::Nothing, Plus::Row);
            // The transpose of a weight that is stored by columns can be read in place.
            let (weight, strides) = match input.is_contiguous() {
                true => (&input, [gates_width, 1]),
                false => (weights[0], [1, features]),
            };
            x.with_slice(|x| {
                weight.with_slice(|weight| {
                    let mnk = [rows, features, gates_width];
                    multiply(mnk, (x, [features, 1]), (weight, strides), gates, bias);
                });
            });
        });
        let recurrent = recurrent.contiguous();
        let joined = Tensor::cat(states, 1).expect("states of one shape");
        let mut state = joined.to_vec();
        let mut extra = unwritten(rows, C::EXTRA * h);
        let mut previous = unwritten(rows, C::STATES * h);
        let length = sizes.length;
        let output = Tensor::build([length + C::STATES, sizes.batch, h], |out| {
            let (outputs, last) = out.split_at_mut(rows * h);
            let one = sizes.is_one_group();
            let mut apart = Buffer::new(if one { 0 } else { rows * h });
            let in_groups = if one { &mut *outputs } else { apart.as_mut_slice() };
            let buffers = Buffers {
                gates: gates.make_mut(),
                extra: extra.make_mut(),
                previous: previous.make_mut(),
                outputs: in_groups,
            };
            let weight = recurrent.as_slice().expect("made contiguous");
            let bias = recurrent_bias.as_deref();
            sizes.forward(&self.cell, weight, bias, &mut state, buffers);
            if !one {
                sizes.arrange(apart.as_slice(), outputs, h, true);
            }
            for (kind, last) in last.chunks_exact_mut((sizes.batch * h).max(1)).enumerate() {
                for (last, state) in last.chunks_exact_mut(h).zip(state.chunks_exact(C::STATES * h))
                {
                    last.copy_from_slice(&state[kind * h..][..h]);
                }
            }
        });
        (output, Trace { x, gates, extra, previous })
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Trace<T>>) -> Cotangents<T> {
        let first_weight = 1 + C::STATES;
        let (x, weights) = (&call.inputs[0], &call.inputs[first_weight..]);
        let sizes = self.sizes(x.shape(), call.inputs[1].shape());
        let (rows, batch, features, h) = (sizes.rows(), sizes.batch, x.shape()[2], sizes.hidden);
        let gates_width = C::GATES * h;
        let g = call.cotangent.contiguous();
        let outputs = arranged(&sizes, &g, h);
        // The gradients of the last states, concatenated.
        let last = g.narrow(0, sizes.length, C::STATES).and_then(|g| g.permute(&[1, 0, 2]));
        let mut state = last.expect("the output's shape").to_vec();
        let mut input = unwritten(rows, gates_width);
        let mut recurrent = unwritten(rows, if C::SPLIT { gates_width } else { 0 });
        let trace = call.saved;
        let slice = |tensor: &'_ Tensor<T>| tensor.contiguous();
        let kept = [&trace.gates, &trace.extra, &trace.previous].map(slice);
        let kept = kept.each_ref().map(|kept| kept.as_slice().expect("made contiguous"));
        weights[1].with_slice(|weight| {
            outputs.with_slice(|outputs| {
                let kept = Kept { gates: kept[0], extra: kept[1], previous: kept[2] };
                let products = [input.make_mut(), recurrent.make_mut()];
                sizes.backward(&self.cell, weight, kept, &mut state, outputs, products);
            });
        });
        let input = input.as_slice().expect("contiguous");
        let recurrent = match C::SPLIT {
            true => recurrent.as_slice().expect("contiguous"),
            false => input,
        };
        let bias = |products: &[T]| {
            Tensor::build([gates_width], |out| {
                fold_columns(products, rows, gates_width, out, T::ZERO, &|a, b| a + b);
            })
        };
        let input_bias = OnceCell::new();
        call.each(|index| {
            match index.checked_sub(first_weight + 2) {
                // If the cell adds both products, the two gradients are equal.
                Some(1) if C::SPLIT => return bias(recurrent),
                Some(_) => return input_bias.get_or_init(|| bias(input)).clone(),
                None => {}
            }
            let shape = call.inputs[index].shape();
            Tensor::build(shape, |out| match index {
                0 => weights[0].with_slice(|weight| {
                    let weight = (weight, [features, 1]);
                    let mnk = [rows, gates_width, features];
                    if sizes.is_one_group() {
                        return multiply(
                            mnk,
                            (input, [gates_width, 1]),
                            weight,
                            out,
                            Plus::Nothing,
                        );
                    }
                    let mut apart = Buffer::new(out.len());
                    let products = apart.as_mut_slice();
                    multiply(mnk, (input, [gates_width, 1]), weight, products, Plus::Nothing);
                    sizes.arrange(apart.as_slice(), out, features, true);
                }),
                _ if index < first_weight => {
                    let offset = (index - 1) * h;
                    let states = state.chunks_exact(C::STATES * h);
                    for (out, state) in out.chunks_exact_mut(h).zip(states) {
                        out.copy_from_slice(&state[offset..offset + h]);
                    }
                    debug_assert_eq!(out.len(), batch * h);
                }
                _ if index == first_weight => trace.x.with_slice(|x| {
                    let mnk = [gates_width, rows, features];
                    let x = (x, [features, 1]);
                    multiply(mnk, (input, [1, gates_width]), x, out, Plus::Nothing);
                }),
                _ => {
                    let mnk = [gates_width, rows, h];
                    let previous = (kept[2], [C::STATES * h, 1]);
                    multiply(mnk, (recurrent, [1, gates_width]), previous, out, Plus::Nothing);
                }
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Trace<T>>) -> Result<TermCotangents<T>> {
        call.compose(|inputs| self.composed(inputs))
    }

    fn attributes(&self) -> Attributes {
        let lengths = self.options.lengths.as_deref();
        let mut attributes = self.cell.attributes();
        attributes.extend([("lengths", lengths.into()), ("reverse", self.options.reverse.into())]);
        attributes
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let lengths = Some(value.to_sizes().filter(|_| name == "lengths")?);
        let options = RecurrentOptions { lengths, ..self.options };
        Some(Self { options, cell: self.cell.clone() })
    }

    fn multiply_adds(&self, inputs: &[&Shape], _: &Shape) -> u64 {
        // Both weights, for every step of every sample.
        let weights: usize = inputs[1 + C::STATES..].iter().take(2).map(|w| w.elements()).sum();
        let steps: usize = inputs[0].iter().take(2).product();
        steps as u64 * weights as u64
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        C::all().into_iter().flat_map(|cell| samples_of(&cell)).collect()
    }
}

/// The samples of one cell.
fn samples_of<T: Float, C: Cell>(cell: &C) -> Vec<(Recurrent<C>, Vec<Tensor<T>>)> {
    let mut rng = Rng::seed(19);
    let mut case = |[length, batch, features, h]: [usize; 4], bias: bool, lengths, reverse| {
        let rows = C::GATES * h;
        let mut shapes = vec![vec![length, batch, features]];
        shapes.extend(std::iter::repeat_n(vec![batch, h], C::STATES));
        shapes.extend([vec![rows, features], vec![rows, h]]);
        shapes.extend(std::iter::repeat_n(vec![rows], if bias { 2 } else { 0 }));
        let mut draw = |shape: Vec<usize>| Tensor::normal(shape, 0.0, 0.6, &mut rng);
        let inputs = shapes.into_iter().map(&mut draw).collect();
        let options = RecurrentOptions { lengths, reverse };
        (Recurrent { cell: cell.clone(), options }, inputs)
    };
    vec![
        case([3, 2, 4, 3], true, None, false),
        case([4, 3, 2, 2], false, Some(vec![2, 4, 0]), false),
        case([4, 3, 2, 2], true, Some(vec![2, 4, 3]), true),
        // Several groups, of which the last is not full.
        case([2, 18, 2, 2], true, None, true),
        case([0, 2, 3, 2], true, None, false),
        case([2, 0, 3, 2], true, None, false),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    fn inputs<C: Cell>(sizes: [usize; 4]) -> Vec<Tensor<f32>> {
        let [length, batch, features, h] = sizes;
        let mut rng = Rng::seed(4);
        let rows = C::GATES * h;
        let mut shapes = vec![vec![length, batch, features]];
        shapes.extend(vec![vec![batch, h]; C::STATES]);
        shapes.extend([vec![rows, features], vec![rows, h], vec![rows], vec![rows]]);
        shapes.into_iter().map(|shape| Tensor::normal(shape, 0.0, 0.4, &mut rng)).collect()
    }

    fn gradients<C: CellTerms>(
        operation: &Recurrent<C>,
        inputs: &[Tensor<f32>],
    ) -> (Tensor<f32>, Cotangents<f32>) {
        let (output, saved) = operation.forward(&inputs.iter().collect::<Vec<_>>());
        let needs = vec![true; inputs.len()];
        let cotangent = Tensor::normal(output.shape(), 0.0, 1.0, &mut Rng::seed(5));
        let call = Call { inputs, output: &output, saved: &saved, needs: &needs, cotangent };
        let gradients = operation.vjp(call);
        (output, gradients)
    }

    #[test]
    fn the_bits_are_the_same_for_any_number_of_threads() {
        let inputs = inputs::<Lstm>([9, 37, 20, 33]);
        let operation = Recurrent { cell: Lstm, options: RecurrentOptions::default() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gradients(&operation, &inputs))
        };
        let once = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == once));
    }

    /// Elements after the end of a sample do not change the result, and a
    /// sample gives the same result alone.
    #[test]
    fn a_shorter_sample_is_the_same_alone() {
        let all = inputs::<Gru>([5, 2, 3, 4]);
        for reverse in [false, true] {
            let run = |x: &Tensor<f32>, h: &Tensor<f32>, lengths| {
                let options = RecurrentOptions { lengths, reverse };
                let bias = Some([&all[4], &all[5]]);
                x.gru(h, [&all[2], &all[3]], bias, options).unwrap()
            };
            let together = run(&all[0], &all[1], Some(vec![5, 3]));
            let sample = |x: &Tensor<f32>, start, count| {
                x.narrow(0, start, count).unwrap().narrow(1, 1, 1).unwrap()
            };
            let state = all[1].narrow(0, 1, 1).unwrap();
            let alone = run(&sample(&all[0], 0, 3), &state, None);
            let pairs = [
                (sample(&together, 0, 3), alone.narrow(0, 0, 3).unwrap()),
                (sample(&together, 5, 1), alone.narrow(0, 3, 1).unwrap()),
            ];
            for (together, alone) in pairs {
                for (a, b) in together.to_vec().iter().zip(alone.to_vec()) {
                    assert!((a - b).abs() < 1e-6, "{a} {b}, reverse: {reverse}");
                }
            }
            assert_eq!(sample(&together, 3, 2).to_vec(), [0.0; 8]);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let all = inputs::<Lstm>([3, 2, 4, 5]);
        let refuse = |place: usize, shape: &[usize]| {
            let mut all = all.clone();
            all[place] = Tensor::zeros(shape);
            let [x, h, c, w, u, b, d] = &all[..] else { panic!("seven inputs") };
            let options = RecurrentOptions::default();
            x.lstm([h, c], [w, u], Some([b, d]), options).unwrap_err().to_string()
        };
        assert_eq!(
            refuse(0, &[3, 4]),
            "lstm: expected a sequence of shape [L, N, input], got [3, 4]"
        );
        assert_eq!(refuse(1, &[3, 5]), "lstm: expected a state of shape [2, hidden], got [3, 5]");
        assert_eq!(refuse(2, &[2, 4]), "lstm: expected a cell state of shape [2, 5], got [2, 4]");
        assert_eq!(refuse(3, &[20, 3]), "lstm: expected a weight_ih of shape [20, 4], got [20, 3]");
        assert_eq!(refuse(6, &[19]), "lstm: expected a bias_hh of shape [20], got [19]");
        let options = RecurrentOptions { lengths: Some(vec![3, 4]), reverse: false };
        let [x, h, c, w, u, ..] = &all[..] else { panic!("seven inputs") };
        assert_eq!(
            x.lstm([h, c], [w, u], None, options).unwrap_err().to_string(),
            "lstm: expected 2 lengths of at most 3 steps, got [3, 4]"
        );
    }
}
