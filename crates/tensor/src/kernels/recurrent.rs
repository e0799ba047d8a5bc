//! Recurrent cells, and the loop over their steps, forwards and backwards.
//!
//! The samples of a batch do not meet in a recurrent layer, so it is cut into
//! groups of samples that run through all steps for themselves, on any thread.
//! Only where the weight is so large that each thread should keep its part of
//! it in its cache, all samples take each step together. Buffers hold group
//! after group, in each step after step, in each sample after sample;
//! `Extents::arrange` brings a sequence into that order. In it the products
//! with the input and the gradients of the weights are one product each over
//! all samples and steps. Only the product of the state with the recurrent
//! weight is done step by step.

mod cells;

pub use cells::{Cell, Gru, Kept, Lstm, Rnn};

use smallvec::SmallVec;

use super::gemm::{CACHED, Panels, Plus, Problem};
use super::parallel::{for_each_chunk, rows_per_chunk};
use super::simd;
use crate::element::{Element, Float};

/// Fewest and most samples of a group: enough rows for a matrix product to be
/// efficient.
const GROUP: [usize; 2] = [4, 16];
/// About how many elementary steps a number of the gates costs, beside the
/// products.
const CELL_COST: usize = 12;

/// The sizes of one call, and which steps count.
#[derive(Clone, Copy)]
pub(crate) struct Extents<'a> {
    /// Steps.
    pub(crate) length: usize,
    /// Samples.
    pub(crate) batch: usize,
    /// The width of the state.
    pub(crate) hidden: usize,
    /// Samples of a group.
    pub(crate) group: usize,
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

/// Samples of a group for a recurrent weight of so many elements. Since the
/// gradients of the weights are sums in the order of the groups, it depends on
/// the problem alone.
pub(crate) fn group(batch: usize, weight: usize) -> usize {
    let [fewest, most] = GROUP;
    if weight > CACHED {
        return batch.max(fewest);
    }
    batch.div_ceil(4).clamp(fewest, most)
}

/// A recurrent weight, which every step multiplies by.
struct Weight<'a, T: Float> {
    /// Rows and columns.
    size: [usize; 2],
    matrix: &'a [T],
    panels: Panels<T>,
}

impl<T: Float> Weight<'_, T> {
    /// `c = a · weight`, plus something, for so many rows of A and C, which come
    /// with the elements from one row to the next.
    fn multiply(
        &self,
        m: usize,
        (a, a_step): (&[T], usize),
        (c, columns): (&mut [T], usize),
        plus: Plus<'_, T>,
    ) {
        let Self { size: [k, n], matrix: b, panels } = self;
        let (a_strides, b_strides) = ([a_step, 1], [*n, 1]);
        let problem = Problem { m, k: *k, n: *n, a, a_strides, b, b_strides, c, columns, plus };
        T::gemm_with_panels(problem, panels);
    }
}

impl Extents<'_> {
    /// A weight for all steps. Its rows are often a power of two apart, so those
    /// of a few columns compete for the same cache lines, unless panels hold
    /// them. Of very few samples the kernels read more columns at once.
    fn weight<'a, T: Float>(&self, size: [usize; 2], matrix: &'a [T]) -> Weight<'a, T> {
        let pays = self.batch >= GROUP[0] && self.length > 1;
        let panels = match pays {
            true => T::gemm_panels(size, (matrix, [size[1], 1])),
            false => Panels::none(),
        };
        Weight { size, matrix, panels }
    }

    /// Rows of all samples and steps.
    pub(crate) fn rows(&self) -> usize {
        self.length * self.batch
    }

    /// Whether the order of the groups is that of the steps, too.
    pub(crate) fn is_one_group(&self) -> bool {
        self.batch <= self.group
    }

    /// Copies rows of `width` from the order of the steps to that of the
    /// groups, or `back`.
    pub(crate) fn arrange<T: Element>(&self, from: &[T], to: &mut [T], width: usize, back: bool) {
        let Self { length, batch, group, .. } = *self;
        // Where the rows of a group at a step lie, in either order.
        let place = |step: usize, first: usize| {
            let count = group.min(batch - first);
            let [steps, groups] = [step * batch + first, first * length + step * count];
            let [from, to] = if back { [groups, steps] } else { [steps, groups] };
            (from * width, to * width, count * width)
        };
        // A chunk is what lies together in `to`: a step, or a group.
        let chunk = if back { batch } else { length * group } * width;
        for_each_chunk(to, chunk, 1, |index, to| {
            let mut copy = |(source, target, count): (usize, usize, usize)| {
                to[target - index * chunk..][..count].copy_from_slice(&from[source..][..count]);
            };
            match back {
                true => (0..batch).step_by(group).for_each(|first| copy(place(index, first))),
                false => (0..length).for_each(|step| copy(place(step, index * group))),
            }
        });
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

    /// Elementary steps for the cell of one sample at one step, and how many
    /// samples a thread takes at a time.
    fn cell_cost<C: Cell>(&self) -> [usize; 2] {
        let cost = C::GATES * self.hidden * CELL_COST;
        [cost, rows_per_chunk(cost)]
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
            let place = step * rows;
            let each = groups(&mut buffers.gates[place * gates..][..rows * gates], per * gates)
                .zip(groups(&mut buffers.extra[place * extra..][..rows * extra], per * extra))
                .zip(groups(&mut buffers.outputs[place * h..][..rows * h], per * h));
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
            let place = step * rows;
            let each = groups(&mut input[place * gates..][..rows * gates], per * gates)
                .zip(groups(&mut recurrent[place * split..][..rows * split], per * split));
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
                            let place = place + first_row + row;
                            let state = &mut state[row * states..][..states];
                            for (state, &output) in state.iter_mut().zip(&outputs[place * h..][..h])
                            {
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
            });
            drop(work);
            let through = if C::SPLIT { &*recurrent } else { &*input };
            let through = &through[step * rows * gates..];
            weight.multiply(rows, (through, gates), (state, states), Plus::C);
        }
    }
}
