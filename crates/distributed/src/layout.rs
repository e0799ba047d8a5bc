//! The parameters of a model as one vector.

use std::collections::HashMap;
use std::ops::Range;

use dendra_autograd::{
    Buffer, BufferId, Counter, Entry, Gradients, Param, ParamId, Parameters, Path, Tape, Update,
};
use dendra_tensor::{Float, Result, Tensor};

use crate::report::{Change, malformed};

/// The number of values that are sent together while a backward pass runs.
const BUCKET: usize = 1 << 18;

/// The trainable parameters of a model, one after the other, and its buffers.
pub(crate) struct Layout<'m, T: Float> {
    pub(crate) parameters: Vec<&'m Param<T>>,
    /// The place of each parameter in the vector.
    pub(crate) places: Vec<Range<usize>>,
    by_id: HashMap<ParamId, usize>,
    buffers: Vec<State<'m, T>>,
    buffers_by_id: HashMap<BufferId, usize>,
}

/// State that a step updates although it is not trained.
enum State<'m, T: Float> {
    Buffer(&'m Buffer<T>),
    Counter(&'m Counter),
}

impl<'m, T: Float> Layout<'m, T> {
    pub(crate) fn of(model: &'m dyn Parameters<T>) -> Self {
        let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
        model.visit(&mut Path::unwritten(), &mut |_, entry| match entry {
            Entry::Param(param) if param.is_trainable() => parameters.push(param),
            Entry::Param(_) => {}
            Entry::Buffer(buffer) => buffers.push(State::Buffer(buffer)),
            Entry::Counter(counter) => buffers.push(State::Counter(counter)),
        });
        let mut end = 0;
        let place = |param: &&Param<T>| {
            end += param.value().len();
            end - param.value().len()..end
        };
        let places = parameters.iter().map(place).collect();
        let by_id = parameters.iter().enumerate().map(|(index, param)| (param.id(), index));
        let id = |state: &State<'m, T>| match state {
            State::Buffer(buffer) => buffer.id(),
            State::Counter(counter) => counter.id(),
        };
        let buffer_ids = buffers.iter().enumerate().map(|(index, state)| (id(state), index));
        Self {
            by_id: by_id.collect(),
            buffers_by_id: buffer_ids.collect(),
            places,
            parameters,
            buffers,
        }
    }

    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.places.last().map_or(0, |place| place.end)
    }

    pub(crate) fn index(&self, id: ParamId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Groups of parameters that are sent together: the last parameters first,
    /// because a backward pass reaches them first.
    pub(crate) fn buckets(&self) -> Vec<Range<usize>> {
        let mut buckets = Vec::new();
        let (mut end, mut values) = (self.places.len(), 0);
        for index in (0..self.places.len()).rev() {
            values += self.places[index].len();
            if values >= BUCKET || index == 0 {
                buckets.push(index..end);
                (end, values) = (index, 0);
            }
        }
        buckets
    }

    /// The updates of buffers that a forward pass recorded.
    pub(crate) fn changes(&self, gradients: &Gradients<T>) -> Vec<Change<T>> {
        let change = |update: &Update<T>| {
            let buffer = *self.buffers_by_id.get(&update.buffer())?;
            Some(match update {
                Update::Towards { target, weight, .. } => {
                    Change::Towards { buffer, target: target.to_vec(), weight: *weight }
                }
                Update::Average { target, seen, .. } => {
                    Change::Average { buffer, target: target.to_vec(), seen: *seen }
                }
                Update::Increment { .. } => Change::Increment { buffer },
            })
        };
        gradients.updates().iter().filter_map(change).collect()
    }

    /// Gradients that hold these updates, and nothing else.
    pub(crate) fn updates<'c>(
        &self,
        changes: impl Iterator<Item = &'c Change<T>>,
    ) -> Result<Gradients<T>> {
        let tape = Tape::training(0, 0);
        let buffer = |index: usize| match self.buffers.get(index) {
            Some(State::Buffer(buffer)) => Ok(*buffer),
            _ => Err(malformed()),
        };
        for change in changes {
            match change {
                Change::Towards { buffer: index, target, weight } => {
                    let buffer = buffer(*index)?;
                    let target = Tensor::from_vec(target.clone(), buffer.value().shape().clone())?;
                    tape.update_towards(buffer, target, *weight);
                }
                Change::Average { buffer: index, target, seen } => {
                    let buffer = buffer(*index)?;
                    let target = Tensor::from_vec(target.clone(), buffer.value().shape().clone())?;
                    tape.update_average(buffer, target, *seen);
                }
                Change::Increment { buffer } => match self.buffers.get(*buffer) {
                    Some(State::Counter(counter)) => tape.increment(counter),
                    _ => return Err(malformed()),
                },
            }
        }
        tape.leaf(Tensor::scalar(T::ZERO)).backward()
    }

    /// Divides the parameters among processes so that all have about the same
    /// number of values; the process of each parameter.
    pub(crate) fn owners(&self, processes: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(self.places[index].len()));
        let mut loads = vec![0; processes];
        let mut owners = vec![0; self.places.len()];
        for index in order {
            let lightest = (0..processes).min_by_key(|&process| loads[process]).unwrap_or(0);
            owners[index] = lightest;
            loads[lightest] += self.places[index].len();
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Vec<Param<f32>> {
        [BUCKET, 3, BUCKET - 3, 3].map(|len| Param::new(Tensor::zeros([len]))).into()
    }

    #[test]
    fn buckets_go_from_the_end_to_the_start() {
        let model = model();
        let layout = Layout::of(&model);
        assert_eq!(layout.buckets(), [2..4, 0..2]);
        assert_eq!(layout.len(), 2 * BUCKET + 3);
        assert_eq!(layout.index(model[1].id()), Some(1));
    }

    #[test]
    fn processes_own_about_the_same() {
        let model = model();
        let layout = Layout::of(&model);
        assert_eq!(layout.owners(1), [0, 0, 0, 0]);
        assert_eq!(layout.owners(2), [0, 1, 1, 0]);
    }

    #[test]
    fn frozen_parameters_have_no_place() {
        let mut model = model();
        model[0].set_trainable(false);
        assert_eq!(Layout::of(&model).len(), BUCKET + 3);
    }
}
