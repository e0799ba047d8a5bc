//! The result of `backward`: gradients and updates of buffers.

use std::collections::HashMap;

use dendra_tensor::{Error, Float, Result, Tensor};

use crate::param::{Buffer, BufferId, Counter, Param, ParamId};
use crate::parameters::{EntryMut, WalkMut};
use crate::tape::Tape;
use crate::var::Var;

/// The gradients of one loss, and the updates of buffers that its forward pass
/// recorded.
#[derive(Debug)]
pub struct Gradients<T: Float = f32> {
    tape: Tape<T>,
    loss: T,
    /// Sorted by identity.
    parameters: Vec<(ParamId, Tensor<T>)>,
    /// Sorted by node.
    leaves: Vec<(usize, Tensor<T>)>,
    updates: Vec<Update<T>>,
}

/// A change of a buffer, recorded by `forward` and applied with the gradients.
#[derive(Clone, Debug)]
pub enum Update<T: Float = f32> {
    /// `buffer = (1 − weight) · buffer + weight · target`
    Towards {
        /// The buffer.
        buffer: BufferId,
        /// The value that it moves to.
        target: Tensor<T>,
        /// The fraction of the distance, from 0 to 1.
        weight: f64,
    },
    /// `buffer = buffer + (target − buffer) / n`, so that the buffer is the mean
    /// of all n targets up to this one.
    Average {
        /// The buffer.
        buffer: BufferId,
        /// The value that is added to the mean.
        target: Tensor<T>,
        /// The number of targets in the mean when this was recorded.
        seen: u64,
    },
    /// `counter = counter + 1`
    Increment {
        /// The counter.
        buffer: BufferId,
    },
}

impl<T: Float> Update<T> {
    /// The buffer that changes.
    pub fn buffer(&self) -> BufferId {
        match self {
            Update::Towards { buffer, .. }
            | Update::Average { buffer, .. }
            | Update::Increment { buffer } => *buffer,
        }
    }

    /// Applies the update after `earlier` other updates of the same gradients.
    pub(crate) fn apply(&self, buffer: &mut Buffer<T>, earlier: usize) -> Result<()> {
        let (target, weight) = match self {
            Update::Towards { target, weight, .. } => (target, *weight),
            // Updates recorded after `seen` was read have been added to the
            // mean.
            Update::Average { target, seen, .. } => {
                (target, 1.0 / (*seen as f64 + earlier as f64 + 1.0))
            }
            Update::Increment { .. } => {
                return Err(Error::argument("buffer", "only a counter can be incremented"));
            }
        };
        if target.shape() != buffer.value().shape() {
            let message = format!("expected {}, got {}", buffer.value().shape(), target.shape());
            return Err(Error::shape("buffer", message));
        }
        let (keep, weight) = (T::from_f64(1.0 - weight), T::from_f64(weight));
        *buffer.value_mut() = buffer.value() * keep + target * weight;
        Ok(())
    }

    pub(crate) fn apply_count(&self, counter: &mut Counter) -> Result<()> {
        let Update::Increment { .. } = self else {
            return Err(Error::argument("counter", "a counter can only be incremented"));
        };
        *counter.value_mut() += 1;
        Ok(())
    }
}

/// [`Parameters::apply_updates`](crate::Parameters::apply_updates).
#[inline(never)]
pub(crate) fn apply_updates<T: Float>(
    model: &mut WalkMut<'_, T>,
    gradients: &Gradients<T>,
) -> Result<()> {
    if gradients.updates().is_empty() {
        return Ok(());
    }
    let mut updates: HashMap<BufferId, Vec<&Update<T>>> = HashMap::new();
    for update in gradients.updates() {
        updates.entry(update.buffer()).or_default().push(update);
    }
    let mut result = Ok(());
    model(&mut |path, entry| {
        let applied = match entry {
            EntryMut::Param(_) => Ok(()),
            EntryMut::Buffer(buffer) => updates.get(&buffer.id()).map_or(Ok(()), |all| {
                let mut all = all.iter().enumerate();
                all.try_for_each(|(earlier, update)| update.apply(buffer, earlier))
            }),
            EntryMut::Counter(counter) => updates.get(&counter.id()).map_or(Ok(()), |all| {
                all.iter().try_for_each(|update| update.apply_count(counter))
            }),
        };
        if let (Ok(()), Err(error)) = (&result, applied) {
            result = Err(error.within(path.as_str()));
        }
    });
    result
}

impl<T: Float> Gradients<T> {
    pub(crate) fn new(
        tape: Tape<T>,
        loss: T,
        mut parameters: Vec<(ParamId, Tensor<T>)>,
        mut leaves: Vec<(usize, Tensor<T>)>,
        updates: Vec<Update<T>>,
    ) -> Self {
        parameters.sort_unstable_by_key(|(id, _)| *id);
        leaves.sort_unstable_by_key(|(node, _)| *node);
        Self { tape, loss, parameters, leaves, updates }
    }

    /// Gradients that were computed elsewhere, such as those of a private
    /// training, without updates of buffers.
    pub fn from_values(
        loss: T,
        parameters: impl IntoIterator<Item = (ParamId, Tensor<T>)>,
    ) -> Self {
        let parameters = parameters.into_iter().collect();
        Self::new(Tape::inference(), loss, parameters, Vec::new(), Vec::new())
    }

    /// The loss of these gradients; after [`accumulate`](Self::accumulate) a
    /// sum.
    pub fn loss(&self) -> T {
        self.loss
    }

    /// The gradient with respect to a parameter, of the parameter's shape;
    /// `None` when the loss does not depend on it.
    pub fn get(&self, param: &Param<T>) -> Option<&Tensor<T>> {
        let index = self.parameters.binary_search_by_key(&param.id(), |(id, _)| *id).ok()?;
        Some(&self.parameters[index].1)
    }

    /// The gradient with respect to a value that was put on the tape by
    /// [`Tape::leaf`], or for which [`Var::retain_grad`] was called. `None` for
    /// any other value, and when the loss does not depend on it.
    pub fn wrt(&self, leaf: &Var<T>) -> Option<&Tensor<T>> {
        let node =
            leaf.node().filter(|_| leaf.tape().is_some_and(|tape| tape.is_same(&self.tape)))?;
        let index = self.leaves.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        Some(&self.leaves[index].1)
    }

    /// The updates of buffers, in the order of recording.
    pub fn updates(&self) -> &[Update<T>] {
        &self.updates
    }

    /// The gradients of all parameters, for modification in place, in the order
    /// in which the parameters were created.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Tensor<T>> {
        self.parameters.iter_mut().map(|(_, gradient)| gradient)
    }

    /// The first parameter, in the order of creation, whose gradient contains
    /// an infinity or a NaN.
    pub fn first_not_finite(&self) -> Option<ParamId> {
        self.parameters.iter().find(|(_, gradient)| !gradient.is_finite()).map(|(id, _)| *id)
    }

    /// Adds the gradients and the loss of another micro-batch, and appends its
    /// updates. Gradients of leaves belong to one tape and are dropped.
    pub fn accumulate(&mut self, other: Self) {
        self.loss += other.loss;
        self.updates.extend(other.updates);
        self.leaves.clear();
        for (id, gradient) in other.parameters {
            match self.parameters.binary_search_by_key(&id, |(id, _)| *id) {
                Ok(index) => {
                    let sum = &mut self.parameters[index].1;
                    *sum = &*sum + &gradient;
                }
                Err(index) => self.parameters.insert(index, (id, gradient)),
            }
        }
    }

    /// Multiplies all gradients and the loss by a factor, such as `1 / n` after
    /// accumulating `n` micro-batches.
    #[inline(never)]
    pub fn scale(&mut self, factor: f64) {
        let factor = T::from_f64(factor);
        self.loss *= factor;
        let leaves = self.leaves.iter_mut().map(|(_, gradient)| gradient);
        for gradient in self.parameters.iter_mut().map(|(_, gradient)| gradient).chain(leaves) {
            *gradient = &*gradient * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Ops;

    use super::*;
    use crate::parameters::Parameters;

    #[test]
    fn micro_batches_add_up_to_the_whole_batch() {
        let weight = Param::new(Tensor::from([[1.0, -2.0_f64]]));
        let gradients = |rows: Tensor<f64>| {
            let x = Tape::training(0, 0).input(rows);
            x.linear(&weight.on(&x), None).unwrap().square().sum().backward().unwrap()
        };
        let whole = gradients(Tensor::from([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]));
        let mut parts = gradients(Tensor::from([[1.0, 2.0]]));
        parts.accumulate(gradients(Tensor::from([[3.0, 4.0], [5.0, 7.0]])));
        assert_eq!(whole.get(&weight), parts.get(&weight));
        assert_eq!(whole.loss(), parts.loss());
        parts.scale(0.5);
        assert_eq!(parts.get(&weight).unwrap(), &(whole.get(&weight).unwrap() * 0.5));
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_found() {
        let sound = Param::new(Tensor::from([1.0_f32]));
        let unsound = Param::new(Tensor::from([0.0_f32, 4.0]));
        let x = Tape::training(0, 0).input(Tensor::from([1.0_f32]));
        // The slope of the square root is infinite at 0.
        let loss = unsound.on(&x).sqrt().sum() + sound.on(&x).sum();
        let gradients = loss.backward().unwrap();
        assert!(gradients.loss().is_finite());
        assert_eq!(gradients.first_not_finite(), Some(unsound.id()));
    }

    /// Overlapping and repeated pieces, a strided piece, and the whole tensor add up
    /// to one gradient.
    #[test]
    fn pieces_of_a_tensor_add_to_one_gradient() {
        let tape = Tape::<f64>::training(0, 0);
        let x = tape.leaf(Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]));
        let row = |index| x.narrow(0, index, 1).unwrap();
        let column = x.slice(1, 2, None, -2).unwrap().mul_scalar(10.0);
        let rows = row(0).mul_scalar(2.0).sum() + row(1).mul_scalar(3.0).sum() + row(1).sum();
        let loss = rows + column.sum() + x.sum();
        let gradients = loss.backward().unwrap();
        let found = gradients.wrt(&x).unwrap().to_vec();
        assert_eq!(found, [13.0, 3.0, 13.0, 15.0, 5.0, 15.0]);
    }

    #[test]
    fn a_mean_counts_every_micro_batch_once() {
        let mut running = Buffer::new(Tensor::from([9.0_f64]));
        let recorded = |running: &Buffer<f64>, target: f64, seen| {
            let tape = Tape::training(0, 0);
            let x = tape.leaf(Tensor::scalar(1.0));
            tape.update_average(running, Tensor::from([target]), seen);
            x.backward().unwrap()
        };
        let mut both = recorded(&running, 1.0, 0);
        both.accumulate(recorded(&running, 3.0, 0));
        running.apply_updates(&both).unwrap();
        assert_eq!(running.value().to_vec(), [2.0]);
        let third = recorded(&running, 5.0, 2);
        running.apply_updates(&third).unwrap();
        assert_eq!(running.value().to_vec(), [3.0]);
    }

    #[test]
    fn updates_are_applied_in_order() {
        let mut running = Buffer::new(Tensor::from([1.0_f32]));
        let mut count = Counter::new(0);
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::scalar(1.0));
        tape.update_towards(&running, Tensor::from([3.0]), 0.5);
        tape.update_towards(&running, Tensor::from([4.0]), 0.25);
        tape.increment(&count);
        assert_eq!(running.value().to_vec(), [1.0], "forward changes nothing");
        let gradients = x.backward().unwrap();
        running.apply_updates(&gradients).unwrap();
        Parameters::<f32>::apply_updates(&mut count, &gradients).unwrap();
        assert_eq!(running.value().to_vec(), [2.5]);
        assert_eq!(count.value(), 1);
    }
}
