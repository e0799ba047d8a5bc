//! Recurrent cells: what one step does with a row of a batch, and the loop over
//! the steps, forwards and backwards.
//!
//! The samples of a batch do not meet in a recurrent layer, so it is cut into
//! groups of [`GROUP`] samples that run through all steps for themselves, on
//! any thread. Buffers hold group after group, in each step after step, in each
//! sample after sample; [`Extents::arrange`] brings a sequence into that order.
//! In it the products with the input and the gradients of the weights are one
//! product each over all samples and steps. Only the product of the state with
//! the recurrent weight is done step by step.

use super::gemm::Problem;
use super::parallel::for_each_chunk;
use super::simd;
use crate::element::Float;

/// Samples of a group: enough rows for a matrix product to be efficient.
const GROUP: usize = 16;

/// A recurrent cell: the arithmetic of one step of one sample, on rows made of
/// blocks of `hidden` elements each.
///
/// `forward` and `backward` are compiled for the CPU's instruction set where
/// they are `#[inline(always)]`.
pub trait Cell: Clone + Send + Sync + 'static {
    /// The name that errors show.
    const NAME: &'static str;
    /// Blocks of the weights' rows.
    const GATES: usize;
    /// Blocks of the state: the output, and what else goes on to the next step.
    const STATES: usize;
    /// Blocks to keep for the gradient beside the gates.
    const EXTRA: usize;
    /// Whether the gradient of the recurrent product differs from that of the
    /// input product.
    const SPLIT: bool;

    /// The cell in each of its settings.
    fn all() -> Vec<Self>;

    /// One step. `gates` holds the input product with its bias and receives the
    /// activated gates, `recurrent` the recurrent product with its bias,
    /// `state` the state before and then the one after, `extra` receives what
    /// else the gradient needs.
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        extra: &mut [T],
        state: &mut [T],
    );

    /// The gradient of one step: of the input product to `input`, and with
    /// [`SPLIT`](Self::SPLIT) of the recurrent product to `recurrent`. `state`
    /// holds the gradient of the state after the step, and receives that of the
    /// state before, without the part that comes through the recurrent product.
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        recurrent: &mut [T],
    );
}

/// What a step left for its gradient.
pub struct Kept<'a, T> {
    /// The activated gates.
    pub gates: &'a [T],
    /// What else the cell keeps.
    pub extra: &'a [T],
    /// The state before the step.
    pub previous: &'a [T],
}

/// The blocks of a row.
#[inline(always)]
fn blocks<T, const N: usize>(row: &[T], hidden: usize) -> [&[T]; N] {
    std::array::from_fn(|i| &row[i * hidden..][..hidden])
}

/// The blocks of a row, to be written.
#[inline(always)]
fn blocks_mut<T, const N: usize>(row: &mut [T], hidden: usize) -> [&mut [T]; N] {
    let mut rest = row;
    std::array::from_fn(|_| {
        let (block, behind) = std::mem::take(&mut rest).split_at_mut(hidden);
        rest = behind;
        block
    })
}

/// Long short-term memory.
#[derive(Clone, Copy, Debug)]
pub struct Lstm;

impl Cell for Lstm {
    const NAME: &'static str = "lstm";
    const GATES: usize = 4;
    const STATES: usize = 2;
    /// tanh of the new cell state.
    const EXTRA: usize = 1;
    const SPLIT: bool = false;

    fn all() -> Vec<Self> {
        vec![Self]
    }

    #[inline(always)]
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        extra: &mut [T],
        state: &mut [T],
    ) {
        let [i, f, g, o] = blocks_mut(gates, hidden);
        let [ri, rf, rg, ro] = blocks(recurrent, hidden);
        let [h, c] = blocks_mut(state, hidden);
        let extra = &mut extra[..hidden];
        for j in 0..hidden {
            i[j] = (i[j] + ri[j]).sigmoid();
            f[j] = (f[j] + rf[j]).sigmoid();
            g[j] = (g[j] + rg[j]).tanh();
            o[j] = (o[j] + ro[j]).sigmoid();
            c[j] = f[j] * c[j] + i[j] * g[j];
            extra[j] = c[j].tanh();
            h[j] = o[j] * extra[j];
        }
    }

    #[inline(always)]
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        _: &mut [T],
    ) {
        let [i, f, g, o] = blocks(kept.gates, hidden);
        let [_, before] = blocks(kept.previous, hidden);
        let tanh = &kept.extra[..hidden];
        let [dh, dc] = blocks_mut(state, hidden);
        let [di, df, dg, d_o] = blocks_mut(input, hidden);
        for j in 0..hidden {
            let cell = dc[j] + dh[j] * o[j] * (T::ONE - tanh[j] * tanh[j]);
            di[j] = cell * g[j] * i[j] * (T::ONE - i[j]);
            df[j] = cell * before[j] * f[j] * (T::ONE - f[j]);
            dg[j] = cell * i[j] * (T::ONE - g[j] * g[j]);
            d_o[j] = dh[j] * tanh[j] * o[j] * (T::ONE - o[j]);
            dc[j] = cell * f[j];
            dh[j] = T::ZERO;
        }
    }
}

/// The gated recurrent unit.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl Cell for Gru {
    const NAME: &'static str = "gru";
    const GATES: usize = 3;
    const STATES: usize = 1;
    /// The recurrent product of the new gate.
    const EXTRA: usize = 1;
    const SPLIT: bool = true;

    fn all() -> Vec<Self> {
        vec![Self]
    }

    #[inline(always)]
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        extra: &mut [T],
        state: &mut [T],
    ) {
        let [r, z, n] = blocks_mut(gates, hidden);
        let [rr, rz, rn] = blocks(recurrent, hidden);
        let (h, extra) = (&mut state[..hidden], &mut extra[..hidden]);
        for j in 0..hidden {
            r[j] = (r[j] + rr[j]).sigmoid();
            z[j] = (z[j] + rz[j]).sigmoid();
            n[j] = (n[j] + r[j] * rn[j]).tanh();
            extra[j] = rn[j];
            h[j] = (T::ONE - z[j]) * n[j] + z[j] * h[j];
        }
    }

    #[inline(always)]
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        recurrent: &mut [T],
    ) {
        let [r, z, n] = blocks(kept.gates, hidden);
        let (before, product) = (&kept.previous[..hidden], &kept.extra[..hidden]);
        let dh = &mut state[..hidden];
        let [dr, dz, dn] = blocks_mut(input, hidden);
        let [dr_h, dz_h, dn_h] = blocks_mut(recurrent, hidden);
        for j in 0..hidden {
            dn[j] = dh[j] * (T::ONE - z[j]) * (T::ONE - n[j] * n[j]);
            dz[j] = dh[j] * (before[j] - n[j]) * z[j] * (T::ONE - z[j]);
            dr[j] = dn[j] * product[j] * r[j] * (T::ONE - r[j]);
            dr_h[j] = dr[j];
            dz_h[j] = dz[j];
            dn_h[j] = dn[j] * r[j];
            dh[j] *= z[j];
        }
    }
}

/// The plain recurrent unit of Elman.
#[derive(Clone, Copy, Debug)]
pub struct Rnn {
    /// Whether max(x, 0) takes the place of tanh.
    pub relu: bool,
}

impl Cell for Rnn {
    const NAME: &'static str = "rnn";
    const GATES: usize = 1;
    const STATES: usize = 1;
    const EXTRA: usize = 0;
    const SPLIT: bool = false;

    fn all() -> Vec<Self> {
        vec![Self { relu: false }, Self { relu: true }]
    }

    #[inline(always)]
    fn forward<T: Float>(
        &self,
        hidden: usize,
        gates: &mut [T],
        recurrent: &[T],
        _: &mut [T],
        state: &mut [T],
    ) {
        let (y, h, recurrent) = (&mut gates[..hidden], &mut state[..hidden], &recurrent[..hidden]);
        if self.relu {
            for j in 0..hidden {
                y[j] = (y[j] + recurrent[j]).max_nan(T::ZERO);
                h[j] = y[j];
            }
        } else {
            for j in 0..hidden {
                y[j] = (y[j] + recurrent[j]).tanh();
                h[j] = y[j];
            }
        }
    }

    #[inline(always)]
    fn backward<T: Float>(
        &self,
        hidden: usize,
        kept: Kept<'_, T>,
        state: &mut [T],
        input: &mut [T],
        _: &mut [T],
    ) {
        let (y, dh, dy) = (&kept.gates[..hidden], &mut state[..hidden], &mut input[..hidden]);
        for j in 0..hidden {
            let slope = match self.relu {
                true if y[j] > T::ZERO => T::ONE,
                true => T::ZERO,
                false => T::ONE - y[j] * y[j],
            };
            dy[j] = dh[j] * slope;
            dh[j] = T::ZERO;
        }
    }
}

/// The sizes of one call, and which steps count.
#[derive(Clone, Copy)]
pub(crate) struct Extents<'a> {
    /// Steps.
    pub(crate) length: usize,
    /// Samples.
    pub(crate) batch: usize,
    /// The width of the state.
    pub(crate) hidden: usize,
    /// How many steps of each sample count; all when not given.
    pub(crate) lengths: Option<&'a [usize]>,
    /// Whether the last step comes first.
    pub(crate) reverse: bool,
}

/// The buffers of one call in the order of the groups, each `length · batch`
/// rows long.
pub(crate) struct Buffers<'a, T> {
    /// The input product; then the activated gates.
    pub(crate) gates: &'a mut [T],
    /// What else the gradient needs.
    pub(crate) extra: &'a mut [T],
    /// The states before each step.
    pub(crate) previous: &'a mut [T],
    /// The outputs; 0 where a sample has ended.
    pub(crate) outputs: &'a mut [T],
}

/// Where a group's samples begin, and the same buffers' parts that belong to it.
struct Group<'a, T> {
    first: usize,
    state: &'a mut [T],
    buffers: Buffers<'a, T>,
}

/// Cuts a buffer of `rows` rows of equal width, for each sample `rows / batch`
/// of them, into its groups.
fn groups<T>(buffer: &mut [T], per_sample: usize) -> impl Iterator<Item = &mut [T]> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = rest.len().min(GROUP * per_sample);
        let (group, behind) = std::mem::take(&mut rest).split_at_mut(length);
        rest = behind;
        Some(group)
    })
}

impl Extents<'_> {
    /// Rows of all samples and steps.
    pub(crate) fn rows(&self) -> usize {
        self.length * self.batch
    }

    /// Whether the order of the groups is that of the steps, too.
    pub(crate) fn is_one_group(&self) -> bool {
        self.batch <= GROUP
    }

    /// Copies rows of `width` from the order of the steps to that of the
    /// groups, or `back`.
    pub(crate) fn arrange<T: Copy>(&self, from: &[T], to: &mut [T], width: usize, back: bool) {
        let mut place = 0;
        for first in (0..self.batch).step_by(GROUP) {
            let count = GROUP.min(self.batch - first) * width;
            for step in 0..self.length {
                let (in_steps, in_groups) = ((step * self.batch + first) * width, place);
                let (source, target) = match back {
                    false => (in_steps, in_groups),
                    true => (in_groups, in_steps),
                };
                to[target..target + count].copy_from_slice(&from[source..source + count]);
                place += count;
            }
        }
    }

    /// The steps in the order in which they are taken.
    fn steps(&self) -> impl DoubleEndedIterator<Item = usize> {
        let (length, reverse) = (self.length, self.reverse);
        (0..length).map(move |step| if reverse { length - 1 - step } else { step })
    }

    fn counts(&self, sample: usize, step: usize) -> bool {
        self.lengths.is_none_or(|lengths| step < lengths[sample])
    }

    /// Elementary steps for one sample.
    fn cost<C: Cell>(&self) -> usize {
        self.length * self.hidden * C::GATES * (self.hidden + 16)
    }

    /// Runs all steps. `weight` is the recurrent weight, transposed: `hidden`
    /// rows of as many columns as gates; `state` holds the first states and
    /// then the last ones.
    pub(crate) fn forward<C: Cell, T: Float>(
        &self,
        cell: &C,
        weight: &[T],
        bias: Option<&[T]>,
        state: &mut [T],
        buffers: Buffers<'_, T>,
    ) {
        let h = self.hidden;
        let states = C::STATES * h;
        let each = groups(buffers.gates, self.length * C::GATES * h)
            .zip(groups(buffers.extra, self.length * C::EXTRA * h))
            .zip(groups(buffers.previous, self.length * states))
            .zip(groups(buffers.outputs, self.length * h));
        let mut work: Vec<Group<'_, T>> = state
            .chunks_mut(GROUP * states)
            .zip(each)
            .enumerate()
            .map(|(index, (state, (((gates, extra), previous), outputs)))| Group {
                first: index * GROUP,
                state,
                buffers: Buffers { gates, extra, previous, outputs },
            })
            .collect();
        for_each_chunk(&mut work, 1, GROUP * self.cost::<C>(), |_, group| {
            self.forward_group(cell, weight, bias, &mut group[0]);
        });
    }

    fn forward_group<C: Cell, T: Float>(
        &self,
        cell: &C,
        weight: &[T],
        bias: Option<&[T]>,
        group: &mut Group<'_, T>,
    ) {
        let h = self.hidden;
        let [gates, states, extra] = [C::GATES * h, C::STATES * h, C::EXTRA * h];
        let Group { first, state, buffers } = group;
        let rows = state.len() / states;
        let mut recurrent = vec![T::ZERO; rows * gates];
        for step in self.steps() {
            match bias {
                Some(bias) => {
                    for row in recurrent.chunks_exact_mut(gates) {
                        row.copy_from_slice(bias);
                    }
                }
                None => recurrent.fill(T::ZERO),
            }
            T::gemm(Problem {
                m: rows,
                k: h,
                n: gates,
                a: state,
                a_strides: [states, 1],
                b: weight,
                b_strides: [gates, 1],
                c: &mut recurrent,
                columns: gates,
                accumulate: true,
            });
            buffers.previous[step * rows * states..][..rows * states].copy_from_slice(state);
            simd::dispatch(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        let place = step * rows + row;
                        let gates_row = &mut buffers.gates[place * gates..][..gates];
                        let output = &mut buffers.outputs[place * h..][..h];
                        if !self.counts(*first + row, step) {
                            output.fill(T::ZERO);
                            continue;
                        }
                        let state = &mut state[row * states..][..states];
                        cell.forward(
                            h,
                            gates_row,
                            &recurrent[row * gates..][..gates],
                            &mut buffers.extra[place * extra..][..extra],
                            state,
                        );
                        output.copy_from_slice(&state[..h]);
                    }
                },
            );
        }
    }

    /// The gradients of all steps. `weight` is the recurrent weight, as many
    /// rows as gates; `state` holds the gradients of the last states and then
    /// those of the first ones; `outputs` those of the outputs. `input` and
    /// `recurrent` receive the gradients of the two products, `recurrent` only
    /// where the cell splits them.
    pub(crate) fn backward<C: Cell, T: Float>(
        &self,
        cell: &C,
        weight: &[T],
        kept: Kept<'_, T>,
        state: &mut [T],
        outputs: &[T],
        [input, recurrent]: [&mut [T]; 2],
    ) {
        let h = self.hidden;
        let [gates, states] = [C::GATES * h, C::STATES * h];
        let split = if C::SPLIT { gates } else { 0 };
        let each = groups(input, self.length * gates).zip(groups(recurrent, self.length * split));
        let mut work: Vec<_> = state.chunks_mut(GROUP * states).zip(each).collect();
        for_each_chunk(&mut work, 1, GROUP * 2 * self.cost::<C>(), |index, group| {
            let (state, (input, recurrent)) = &mut group[0];
            let first = index * GROUP;
            let before = first * self.length;
            let kept = Kept {
                gates: &kept.gates[before * gates..],
                extra: &kept.extra[before * C::EXTRA * h..],
                previous: &kept.previous[before * states..],
            };
            let outputs = &outputs[before * h..];
            self.backward_group(cell, weight, first, &kept, state, outputs, [input, recurrent]);
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the buffers of one group")]
    fn backward_group<C: Cell, T: Float>(
        &self,
        cell: &C,
        weight: &[T],
        first: usize,
        kept: &Kept<'_, T>,
        state: &mut [T],
        outputs: &[T],
        [input, recurrent]: [&mut [T]; 2],
    ) {
        let h = self.hidden;
        let [gates, states, extra] = [C::GATES * h, C::STATES * h, C::EXTRA * h];
        let split = if C::SPLIT { gates } else { 0 };
        let rows = state.len() / states;
        for step in self.steps().rev() {
            simd::dispatch(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        let place = step * rows + row;
                        let input = &mut input[place * gates..][..gates];
                        let recurrent = &mut recurrent[place * split..][..split];
                        if !self.counts(first + row, step) {
                            input.fill(T::ZERO);
                            recurrent.fill(T::ZERO);
                            continue;
                        }
                        let state = &mut state[row * states..][..states];
                        for (state, &output) in state.iter_mut().zip(&outputs[place * h..][..h]) {
                            *state += output;
                        }
                        let kept = Kept {
                            gates: &kept.gates[place * gates..][..gates],
                            extra: &kept.extra[place * extra..][..extra],
                            previous: &kept.previous[place * states..][..states],
                        };
                        cell.backward(h, kept, state, input, recurrent);
                    }
                },
            );
            let through = if C::SPLIT { &*recurrent } else { &*input };
            T::gemm(Problem {
                m: rows,
                k: gates,
                n: h,
                a: &through[step * rows * gates..],
                a_strides: [gates, 1],
                b: weight,
                b_strides: [h, 1],
                c: state,
                columns: states,
                accumulate: true,
            });
        }
    }
}
