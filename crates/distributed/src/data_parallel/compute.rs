//! Computing the shards of a process, and summing their gradients.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};

use dendra_autograd::{Gradients, ParamId};
use dendra_losses::RunningLoss;
use dendra_tensor::{Error, Float, Result, Tensor};
use dendra_train::{GradientSeen, Shard, SharedBatch};

use super::{DataParallel, NAME};
use crate::batch_norm::OfAllShards;
use crate::layout::Layout;
use crate::meeting::Meeting;
use crate::reduction::{Reduction, Tree, vector};
use crate::report::{Done, Report};

impl DataParallel<'_> {
    /// The shards of this process.
    pub(super) fn own_shards(&self) -> Range<usize> {
        let each = self.shards / self.group.size();
        self.group.rank() * each..(self.group.rank() + 1) * each
    }

    /// Computes a shard; `None` if it has no samples.
    fn shard<T: Float>(
        &self,
        batch: &dyn SharedBatch<T>,
        index: usize,
        seen: Option<GradientSeen<T>>,
    ) -> Option<Result<Shard<T>>> {
        let samples = self.samples(batch, index);
        (!samples.is_empty()).then(|| batch.shard(index, samples, seen, None))
    }

    /// The samples of a shard.
    fn samples<T: Float>(&self, batch: &dyn SharedBatch<T>, index: usize) -> Range<usize> {
        let start = |index| batch.samples() * index / self.shards;
        start(index)..start(index + 1)
    }

    /// The sum of the gradients of all shards, and the reports of the shards of
    /// this process.
    pub(super) fn reduce<T: Float>(
        &self,
        layout: &Layout<'_, T>,
        batch: &dyn SharedBatch<T>,
    ) -> Result<(Tensor<T>, Vec<Report<T>>)> {
        if self.sync_batch_norm {
            return self.reduce_together(layout, batch);
        }
        let own = self.own_shards();
        let mut tree = Tree::new(self.compression);
        let mut reports = Vec::with_capacity(own.len());
        let last = own.end - 1;
        let mut failed = false;
        for index in own.start..last {
            let shard = if failed { None } else { self.shard(batch, index, None) };
            let (report, values) = self.outcome(shard, layout);
            failed |= matches!(report, Report::Failed(_));
            tree.push(values);
            reports.push(report);
        }
        let reduction = Reduction::new(&self.group, layout, &tree);
        let overlaps = self.overlap && self.group.size() > 1;
        let total = if failed || !overlaps {
            let shard = if failed { None } else { self.shard(batch, last, None) };
            let (report, values) = self.outcome(shard, layout);
            reports.push(report);
            reduction.of_all(values)?
        } else {
            let (shard, total) = self.overlapped(reduction, layout, batch, last);
            reports.push(report_of(shard, layout));
            total?
        };
        Ok((total, reports))
    }

    /// The same for shards that wait for each other at the layers of batch
    /// normalisation.
    fn reduce_together<T: Float>(
        &self,
        layout: &Layout<'_, T>,
        batch: &dyn SharedBatch<T>,
    ) -> Result<(Tensor<T>, Vec<Report<T>>)> {
        let first = (0..self.shards).find(|&index| !self.samples(batch, index).is_empty());
        let own: Vec<(usize, Range<usize>)> =
            self.own_shards().map(|index| (index, self.samples(batch, index))).collect();
        let meeting = Meeting::new(own.iter().map(|(_, samples)| !samples.is_empty()));
        let meeting = Arc::new(meeting);
        let compute = |place: usize| {
            let (index, samples) = own[place].clone();
            let (meeting, updates) = (Arc::clone(&meeting), Some(index) == first);
            let norm = Arc::new(OfAllShards { meeting, place, updates });
            batch.shard(index, samples, None, Some(norm))
        };
        let (shards, led) = thread::scope(|scope| {
            let (compute, meeting) = (&compute, &*meeting);
            let start = |(place, (index, samples)): (usize, &(usize, Range<usize>))| {
                let thread = thread::Builder::new().name(format!("shard {index}"));
                (!samples.is_empty()).then(|| {
                    let shard = move || meeting.attend(place, || compute(place));
                    thread.spawn_scoped(scope, shard).map_err(|error| {
                        meeting.fail(place);
                        Error::io("the thread of a shard", error)
                    })
                })
            };
            let running: Vec<_> = own.iter().enumerate().map(start).collect();
            let led = meeting.lead(&self.group);
            let joined = |shard: ScopedJoinHandle<'_, Result<Shard<T>>>| {
                shard.join().unwrap_or_else(|payload| Err(Error::panic(NAME, &*payload)))
            };
            let shards = running.into_iter().map(|shard| Some(shard?.and_then(joined)));
            (shards.collect::<Vec<Option<Result<Shard<T>>>>>(), led)
        });
        led?;
        let mut tree = Tree::new(self.compression);
        let (mut reports, mut last) = (Vec::with_capacity(own.len()), Tensor::zeros([0]));
        for (place, shard) in shards.into_iter().enumerate() {
            // The reason is in the report of the shard that failed.
            let shard = shard.filter(|_| !meeting.waited_in_vain(place));
            let (report, values) = self.outcome(shard, layout);
            reports.push(report);
            match place + 1 == own.len() {
                true => last = values,
                false => tree.push(values),
            }
        }
        let total = Reduction::new(&self.group, layout, &tree).of_all(last)?;
        Ok((total, reports))
    }

    /// The report and the gradients of a shard.
    fn outcome<T: Float>(
        &self,
        shard: Option<Result<Shard<T>>>,
        layout: &Layout<'_, T>,
    ) -> (Report<T>, Tensor<T>) {
        let gradients = match &shard {
            Some(Ok(shard)) => Some((&shard.gradients, shard.weight)),
            _ => None,
        };
        let values = vector(layout, gradients, self.compression);
        (report_of(shard, layout), values)
    }

    /// Computes the last shard while a helper thread sums the gradients that its
    /// backward pass has completed.
    fn overlapped<T: Float>(
        &self,
        mut reduction: Reduction<'_, '_, T>,
        layout: &Layout<'_, T>,
        batch: &dyn SharedBatch<T>,
        last: usize,
    ) -> (Option<Result<Shard<T>>>, Result<Tensor<T>>) {
        /// A gradient with the weight of the shard; `None` when there are no more.
        type Arrival<T> = Option<(ParamId, Tensor<T>, f64)>;
        let (sender, arrivals) = mpsc::channel::<Arrival<T>>();
        let seen = {
            let sender = sender.clone();
            Arc::new(move |id: ParamId, gradient: &Tensor<T>, weight: f64| {
                // The helper has ended early if a process does not answer.
                let _ = sender.send(Some((id, gradient.clone(), weight)));
            })
        };
        thread::scope(|scope| {
            let helper = scope.spawn(move || {
                while let Ok(Some((id, gradient, weight))) = arrivals.recv() {
                    if let Some(index) = layout.index(id) {
                        reduction.accept(index, &gradient, weight)?;
                    }
                }
                reduction.finish()
            });
            let shard = self.shard(batch, last, Some(seen));
            let _ = sender.send(None);
            let total = helper.join().unwrap_or_else(|payload| Err(Error::panic(NAME, &*payload)));
            (shard, total)
        })
    }
}

fn report_of<T: Float>(shard: Option<Result<Shard<T>>>, layout: &Layout<'_, T>) -> Report<T> {
    match shard {
        None => Report::Empty,
        Some(Ok(shard)) => Report::Done(Done::of(&shard, layout)),
        Some(Err(error)) => Report::Failed(error),
    }
}

/// The gradients of a batch from their weighted sum over the shards.
pub(super) fn gradients_of<T: Float>(
    layout: &Layout<'_, T>,
    mut total: Tensor<T>,
    done: &[Done<T>],
) -> Result<Gradients<T>> {
    let mut running = RunningLoss::default();
    let mut present = vec![false; layout.places.len()];
    for Done { figures, present: of_shard, .. } in done {
        running.add(figures.loss, figures.divisor);
        present.iter_mut().zip(of_shard).for_each(|(all, of_shard)| *all |= of_shard);
    }
    let factor = T::from_f64(if running.divisor > 0.0 { 1.0 / running.divisor } else { 1.0 });
    total.make_mut().iter_mut().for_each(|sum| *sum *= factor);
    let mut values = Vec::with_capacity(present.len());
    for (index, param) in layout.parameters.iter().enumerate().filter(|(i, _)| present[*i]) {
        let place = &layout.places[index];
        let gradient = total.narrow(0, place.start, place.len())?;
        values.push((param.id(), gradient.reshape(param.value().shape().clone())?));
    }
    let mut gradients = Gradients::from_values(T::from_f64(running.value()), values);
    let changes = || done.iter().flat_map(|done| &done.changes);
    if changes().next().is_some() {
        gradients.accumulate(layout.updates(changes())?);
    }
    Ok(gradients)
}
