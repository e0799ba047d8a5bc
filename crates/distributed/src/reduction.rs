//! The sum of the shards' gradients, in a fixed tree.

use std::ops::Range;

use dendra_autograd::Gradients;
use dendra_tensor::{Float, Result, Tensor};

use crate::floats::{Compression, elements};
use crate::group::Group;
use crate::layout::Layout;

/// The sums of the shards of a process that were computed before its last one:
/// at most one for each power of two.
pub(crate) struct Tree<T: Float> {
    compression: Compression,
    /// The number of shards in each sum, and the sum.
    sums: Vec<(usize, Tensor<T>)>,
}

impl<T: Float> Tree<T> {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, sums: Vec::new() }
    }

    /// Adds the next shard.
    pub(crate) fn push(&mut self, mut values: Tensor<T>) {
        let mut shards = 1;
        while let Some((_, left)) = self.sums.pop_if(|(left, _)| *left == shards) {
            let mut sum = left;
            add(sum.make_mut(), &elements(&values));
            self.compression.round(sum.make_mut());
            (values, shards) = (sum, 2 * shards);
        }
        self.sums.push((shards, values));
    }

    /// Adds all sums to some values of the last shard.
    fn complete(&self, place: Range<usize>, values: &mut [T]) {
        for (_, left) in self.sums.iter().rev() {
            add(values, &elements(left)[place.clone()]);
            self.compression.round(values);
        }
    }
}

fn add<T: Float>(sums: &mut [T], values: &[T]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
}

/// Writes a gradient, multiplied by the weight of its shard.
fn write<T: Float>(gradient: &Tensor<T>, weight: f64, compression: Compression, into: &mut [T]) {
    let weight = T::from_f64(weight);
    let gradient = elements(gradient);
    into.iter_mut().zip(&gradient[..]).for_each(|(into, &value)| *into = value * weight);
    compression.round(into);
}

/// All gradients of a shard as one vector, multiplied by its weight; zeros for
/// a shard without gradients. It is a tensor, whose memory is recycled.
pub(crate) fn vector<T: Float>(
    layout: &Layout<'_, T>,
    gradients: Option<(&Gradients<T>, f64)>,
    compression: Compression,
) -> Tensor<T> {
    Tensor::build([layout.len()], |values| {
        for (param, place) in layout.parameters.iter().zip(&layout.places) {
            let values = &mut values[place.clone()];
            match gradients.and_then(|(all, weight)| Some((all.get(param)?, weight))) {
                Some((gradient, weight)) => write(gradient, weight, compression, values),
                None => values.fill(T::ZERO),
            }
        }
    })
}

/// The sum over the processes, which begins before the last shard of this
/// process is complete.
pub(crate) struct Reduction<'a, 'm, T: Float> {
    group: &'a Group<'a>,
    layout: &'a Layout<'m, T>,
    tree: &'a Tree<T>,
    values: Tensor<T>,
    /// The parameters whose gradients have arrived.
    arrived: Vec<bool>,
    buckets: Vec<Range<usize>>,
    /// The first bucket that was not summed yet.
    next: usize,
}

impl<'a, 'm, T: Float> Reduction<'a, 'm, T> {
    pub(crate) fn new(group: &'a Group<'a>, layout: &'a Layout<'m, T>, tree: &'a Tree<T>) -> Self {
        Self {
            group,
            layout,
            tree,
            values: Tensor::zeros([layout.len()]),
            arrived: vec![false; layout.places.len()],
            buckets: layout.buckets(),
            next: 0,
        }
    }

    /// Takes the gradient of a parameter of the last shard, and sums the buckets
    /// that are complete, in their order.
    pub(crate) fn accept(&mut self, index: usize, gradient: &Tensor<T>, weight: f64) -> Result<()> {
        let place = self.layout.places[index].clone();
        write(gradient, weight, self.tree.compression, &mut self.values.make_mut()[place]);
        self.complete(index);
        self.sum_buckets()
    }

    fn complete(&mut self, index: usize) {
        let place = self.layout.places[index].clone();
        self.tree.complete(place.clone(), &mut self.values.make_mut()[place]);
        self.arrived[index] = true;
    }

    fn sum_buckets(&mut self) -> Result<()> {
        while let Some(bucket) = self.buckets.get(self.next).cloned() {
            if !self.arrived[bucket.clone()].iter().all(|&arrived| arrived) {
                break;
            }
            let places = &self.layout.places[bucket];
            let place = places[0].start..places[places.len() - 1].end;
            self.group.all_reduce(&mut self.values.make_mut()[place], self.tree.compression)?;
            self.next += 1;
        }
        Ok(())
    }

    /// The sums of all gradients. Parameters that have not arrived have none.
    pub(crate) fn finish(mut self) -> Result<Tensor<T>> {
        for index in 0..self.arrived.len() {
            if !self.arrived[index] {
                self.complete(index);
            }
        }
        self.sum_buckets()?;
        Ok(self.values)
    }

    /// The sums of all gradients when the last shard is complete.
    pub(crate) fn of_all(mut self, last: Tensor<T>) -> Result<Tensor<T>> {
        self.values = last;
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_in_a_tree() {
        // The small numbers get lost when each is added to the large one.
        let shards = [1e8_f32, -1e8, 0.5, 0.25, 3.0, 1e8, -1e8, 7.0];
        let expected = ((1e8 + -1e8) + (0.5 + 0.25)) + ((3.0 + 1e8) + (-1e8 + 7.0_f32));
        let mut tree = Tree::new(Compression::None);
        shards[..7].iter().for_each(|&shard| tree.push(Tensor::from([shard])));
        let counts: Vec<usize> = tree.sums.iter().map(|(shards, _)| *shards).collect();
        assert_eq!(counts, [4, 2, 1]);
        let mut last = [shards[7]];
        tree.complete(0..1, &mut last);
        assert_eq!(last[0].to_bits(), expected.to_bits());
    }
}
