//! The loop over the steps of recurrent cells, forward and backward.
//!
//! The samples of a batch are independent in a recurrent layer, so the batch is
//! split into groups of samples. Each group runs through all steps on any
//! thread. Only if the weight is so large that each thread should keep a part
//! of it in its cache, all samples take each step together. Buffers are ordered
//! by group, then by step, then by sample; `Sizes::arrange` brings a sequence
//! into this order. The products with the input and the gradients of the
//! weights are then one product each over all samples and steps. Only the
//! product of the state with the recurrent weight is computed step by step.

mod cells;

pub use cells::{Cell, Gru, Kept, Lstm, Rnn};

use smallvec::SmallVec;

use super::epilogue::Epilogue;
use super::gemm::{CACHED, Panels, Plus, Problem};
use super::parallel::{for_each_chunk, rows_per_chunk};
use super::simd;
use crate::element::{Element, Float};

/// The fewest and most samples in a group: enough rows for an efficient matrix
/// product.
const GROUP: [usize; 2] = [4, 16];
/// The approximate number of elementary steps for an element of the gates, in
/// addition to the products.
const CELL_COST: usize = 12;

/// The sizes of one call, and the lengths of the samples.
#[derive(Clone, Copy)]
pub(crate) struct Sizes<'a> {
    /// The number of steps.
    pub(crate) length: usize,
    /// The number of samples.
    pub(crate) batch: usize,
    /// The width of the state.
    pub(crate) hidden: usize,
    /// The number of samples in a group.
    pub(crate) group: usize,
    /// The number of steps of each sample; all steps if not given.
    pub(crate) lengths: Option<&'a [usize]>,
    /// Whether the last step is processed first.
    pub(crate) reverse: bool,
}

/// The buffers of one call in the order of the groups, each with `length ·
/// batch` rows.
pub(crate) struct Buffers<'a, T> {
    /// The input product, which is replaced by the activated gates.
    pub(crate) gates: &'a mut [T],
    /// Other values that the gradient needs.
    pub(crate) extra: &'a mut [T],
    /// The states before each step.
    pub(crate) previous: &'a mut [T],
    /// The outputs; 0 after the end of a sample.
    pub(crate) outputs: &'a mut [T],
}

/// The first sample of a group, and its parts of the buffers.
struct Group<'a, T> {
    first: usize,
    state: &'a mut [T],
    buffers: Buffers<'a, T>,
}

/// Cuts a buffer into its groups, the last of which may be smaller.
fn groups<T>(buffer: &mut [T], per_group: usize) -> impl Iterator<Item = &mut [T]> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = rest.len().min(per_group);
        let (group, behind) = std::mem::take(&mut rest).split_at_mut(length);
        rest = behind;
        Some(group)
    })
}

/// The number of samples in a group, for a recurrent weight with this many
/// elements. The gradients of the weights are summed in the order of the
/// groups, so it depends only on the problem.
pub(crate) fn group(batch: usize, weight: usize) -> usize {
    let [fewest, most] = GROUP;
    if weight > CACHED {
        return batch.max(fewest);
    }
    batch.div_ceil(4).clamp(fewest, most)
}

/// A recurrent weight, by which every step multiplies.
struct Weight<'a, T: Float> {
    /// The numbers of rows and columns.
    size: [usize; 2],
    matrix: &'a [T],
    panels: Panels<T>,
}

impl<T: Float> Weight<'_, T> {
    /// `c = a · weight`, plus the term `plus`, for this many rows of A and C,
    /// which are given with the distance between rows.
    fn multiply(
        &self,
        m: usize,
        (a, a_step): (&[T], usize),
        (c, columns): (&mut [T], usize),
        plus: Plus<'_, T>,
    ) {
        let Self { size, matrix: b, panels } = self;
        let ([k, n], a_strides, b_strides) = (*size, [a_step, 1], [size[1], 1]);
        let then = Epilogue::NONE;
        let problem = Problem { m, k, n, a, a_strides, b, b_strides, c, columns, plus, then };
        T::gemm_with_panels(problem, panels);
    }
}

impl Sizes<'_> {
    /// A weight for all steps. The distance of its rows is often a power of
    /// two, so the rows of a few columns compete for the same cache lines
    /// unless panels hold them. For very few samples, the kernels read more
    /// columns at once.
    fn weight<'a, T: Float>(&self, size: [usize; 2], matrix: &'a [T]) -> Weight<'a, T> {
        let pays = self.batch >= GROUP[0] && self.length > 1;
        let panels = match pays {
            true => T::gemm_panels(size, (matrix, [size[1], 1])),
            false => Panels::none(),
        };
        Weight { size, matrix, panels }
    }

    /// The number of rows for all samples and steps.
    pub(crate) fn rows(&self) -> usize {
        self.length * self.batch
    }

    /// Whether the order of the groups is the same as the order of the steps.
    pub(crate) fn is_one_group(&self) -> bool {
        self.batch <= self.group
    }

    /// Copies rows of length `width` from the order of the steps to that of the
    /// groups or, with `back`, in the other direction.
    pub(crate) fn arrange<T: Element>(&self, from: &[T], to: &mut [T], width: usize, back: bool) {
        let Self { length, batch, group, .. } = *self;
        // The ranges of the rows of a group at a step, in both orders.
        let rows_at = |step: usize, first: usize| {
            let count = group.min(batch - first);
            let [steps, groups] = [step * batch + first, first * length + step * count];
            let [from, to] = if back { [groups, steps] } else { [steps, groups] };
            (from * width, to * width, count * width)
        };
        // A chunk is contiguous in `to`: a step, or a group.
        let chunk = if back { batch } else { length * group } * width;
        for_each_chunk(to, chunk, 1, |index, to| {
            let mut copy = |(source, target, count): (usize, usize, usize)| {
                to[target - index * chunk..][..count].copy_from_slice(&from[source..][..count]);
            };
            match back {
                true => (0..batch).step_by(group).for_each(|first| copy(rows_at(index, first))),
                false => (0..length).for_each(|step| copy(rows_at(step, index * group))),
            }
        });
    }

    /// The steps in the order of processing.
    fn steps(&self) -> impl DoubleEndedIterator<Item = usize> {
        let (length, reverse) = (self.length, self.reverse);
        (0..length).map(move |step| if reverse { length - 1 - step } else { step })
    }

    fn counts(&self, sample: usize, step: usize) -> bool {
        self.lengths.is_none_or(|lengths| step < lengths[sample])
    }

    /// The elementary steps for one sample.
    fn cost<C: Cell>(&self) -> usize {
        self.length * self.hidden * C::GATES * (self.hidden + 16)
    }

    /// The elementary steps for the cell of one sample at one step, and the
    /// number of samples in a thread's chunk.
    fn cell_cost<C: Cell>(&self) -> [usize; 2] {
        let cost = C::GATES * self.hidden * CELL_COST;
        [cost, rows_per_chunk(cost)]
    }

    /// Runs all steps. `weight` is the transposed recurrent weight, with
    /// `hidden` rows and a column for each element of the gates. `state` has
    /// the initial states, which are replaced by the final ones.
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
        let rows = self.group * self.length;
        let weight = &self.weight([h, C::GATES * h], weight);
        let each = groups(buffers.gates, rows * C::GATES * h)
            .zip(groups(buffers.extra, rows * C::EXTRA * h))
            .zip(groups(buffers.previous, rows * states))
            .zip(groups(buffers.outputs, rows * h));
        let mut work: Vec<Group<'_, T>> = state
            .chunks_mut(self.group * states)
            .zip(each)
            .enumerate()
            .map(|(index, (state, (((gates, extra), previous), outputs)))| Group {
                first: index * self.group,
                state,
                buffers: Buffers { gates, extra, previous, outputs },
            })
            .collect();
        for_each_chunk(&mut work, 1, self.group * self.cost::<C>(), |_, group| {
            self.forward_group(cell, weight, bias, &mut group[0]);
        });
    }

    fn forward_group<C: Cell, T: Float>(
        &self,
        cell: &C,
        weight: &Weight<'_, T>,
        bias: Option<&[T]>,
        group: &mut Group<'_, T>,
    ) {
        let h = self.hidden;
        let [gates, states, extra] = [C::GATES * h, C::STATES * h, C::EXTRA * h];
        let Group { first, state, buffers } = group;
        let rows = state.len() / states;
        let [cost, per] = self.cell_cost::<C>();
        let mut recurrent = vec![T::ZERO; rows * gates];
        for step in self.steps() {
            let plus = bias.map_or(Plus::Nothing, Plus::Row);
            weight.multiply(rows, (state, states), (&mut recurrent, gates), plus);
            buffers.previous[step * rows * states..][..rows * states].copy_from_slice(state);
            let begin = step * rows;
            let each = groups(&mut buffers.gates[begin * gates..][..rows * gates], per * gates)
                .zip(groups(&mut buffers.extra[begin * extra..][..rows * extra], per * extra))
                .zip(groups(&mut buffers.outputs[begin * h..][..rows * h], per * h));
            let states_each = state.chunks_mut(per * states).zip(recurrent.chunks(per * gates));
            let mut work: SmallVec<[_; 4]> = states_each.zip(each).collect();
            for_each_chunk(&mut work, 1, per * cost, |index, work| {
                let ((state, recurrent), ((gates_rows, extra_rows), outputs)) = &mut work[0];
                let first = *first + index * per;
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for row in 0..state.len() / states {
                            let output = &mut outputs[row * h..][..h];
                            if !self.counts(first + row, step) {
                                output.fill(T::ZERO);
                                continue;
                            }
                            let state = &mut state[row * states..][..states];
                            cell.forward(
                                h,
                                &mut gates_rows[row * gates..][..gates],
                                &recurrent[row * gates..][..gates],
                                &mut extra_rows[row * extra..][..extra],
                                state,
                            );
                            output.copy_from_slice(&state[..h]);
                        }
                    },
                );
            });
        }
    }

    /// Computes the gradients of all steps. `weight` is the recurrent weight,
    /// with a row for each element of the gates. `state` has the gradients of
    /// the final states, which are replaced by those of the initial ones;
    /// `outputs` has those of the outputs. The gradients of the two products
    /// are written to `input` and `recurrent`, the latter only if the cell
    /// separates them.
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
        let rows = self.group * self.length;
        let weight = &self.weight([gates, h], weight);
        let each = groups(input, rows * gates).zip(groups(recurrent, rows * split));
        let mut work: Vec<_> = state.chunks_mut(self.group * states).zip(each).collect();
        for_each_chunk(&mut work, 1, self.group * 2 * self.cost::<C>(), |index, group| {
            let (state, (input, recurrent)) = &mut group[0];
            let first = index * self.group;
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
        weight: &Weight<'_, T>,
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
        let [cost, per] = self.cell_cost::<C>();
        for step in self.steps().rev() {
            let begin = step * rows;
            let each = groups(&mut input[begin * gates..][..rows * gates], per * gates)
                .zip(groups(&mut recurrent[begin * split..][..rows * split], per * split));
            let mut work: SmallVec<[_; 4]> = state.chunks_mut(per * states).zip(each).collect();
            for_each_chunk(&mut work, 1, per * cost, |index, work| {
                let (state, (input, recurrent)) = &mut work[0];
                let first_row = index * per;
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for row in 0..state.len() / states {
                            let input = &mut input[row * gates..][..gates];
                            let recurrent = &mut recurrent[row * split..][..split];
                            if !self.counts(first + first_row + row, step) {
                                input.fill(T::ZERO);
                                recurrent.fill(T::ZERO);
                                continue;
                            }
                            let position = begin + first_row + row;
                            let state = &mut state[row * states..][..states];
                            for (state, &output) in
                                state.iter_mut().zip(&outputs[position * h..][..h])
                            {
                                *state += output;
                            }
                            let kept = Kept {
                                gates: &kept.gates[position * gates..][..gates],
                                extra: &kept.extra[position * extra..][..extra],
                                previous: &kept.previous[position * states..][..states],
                            };
                            cell.backward(h, kept, state, input, recurrent);
                        }
                    },
                );
            });
            drop(work);
            let through = if C::SPLIT { &*recurrent } else { &*input };
            let through = &through[step * rows * gates..];
            weight.multiply(rows, (through, gates), (state, states), Plus::C);
        }
    }
}
