//! [`DataParallel`]: one training run on several processes.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use dendra_autograd::{Gradients, ParamId, Parameters, StateDict, Var};
use dendra_losses::RunningLoss;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result, Tensor};
use dendra_train::{
    Figures, GradientRule, GradientSeen, Shard, SharedBatch, SharedRun, SharedStep,
};

use crate::bytes::{Reader, Writer};
use crate::communicator::Communicator;
use crate::floats::Compression;
use crate::group::Group;
use crate::layout::Layout;
use crate::reduction::{Reduction, Tree, vector};
use crate::report::{self, Done, Report, malformed};
use crate::share;
use crate::state;

const NAME: &str = "DataParallel";

/// Divides each batch of a training run into shards, which several processes
/// compute; set it with [`Fit::gradients`](dendra_train::Fit::gradients).
///
/// The number of shards is a setting of the run, like the batch size: each
/// shard has its own random numbers and its own statistics of batch
/// normalisation, and the gradients of the shards are added in a binary tree.
/// The weights are therefore the same to the bit for any number of processes
/// and threads.
///
/// The number of processes must be a power of two, and at most that of the
/// shards. See the [crate's documentation](crate) for an example.
#[derive(Debug)]
pub struct DataParallel<'w> {
    group: Group<'w>,
    shards: usize,
    compression: Compression,
    shards_optimizer: bool,
    overlaps: bool,
    /// Whether the other processes know how the run of this one has ended, or
    /// will find the same themselves.
    settled: Cell<bool>,
    /// The text of the last error that all processes know.
    known: Option<String>,
}

impl<'w> DataParallel<'w> {
    /// Training with the processes of `world`, in 8 shards.
    pub fn new(world: &'w dyn Communicator) -> Self {
        Self {
            group: Group::new(world),
            shards: 8,
            compression: Compression::None,
            shards_optimizer: false,
            overlaps: true,
            settled: Cell::new(false),
            known: None,
        }
    }

    /// The number of shards of a batch, a power of two; 8 by default. A batch
    /// with fewer samples leaves some shards empty.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// How gradients are sent; with all bits by default. The weights of a run
    /// depend on it.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Whether each process keeps the optimizer's state of its share of the
    /// parameters alone, updates only these, and receives the others (the first
    /// stage of ZeRO: Rajbhandari et al., "ZeRO: memory optimizations toward
    /// training trillion parameter models", 2020); false by default. The
    /// weights do not depend on it. Checkpoints hold the whole state. After the
    /// run, the optimizer of each process has the state of its share.
    #[must_use]
    pub fn shard_optimizer(mut self, shard: bool) -> Self {
        self.shards_optimizer = shard;
        self
    }

    /// Whether the gradients of the last layers are sent while those of the
    /// first are computed; true by default. The backward pass of the last shard
    /// of each process then keeps its activations until it is complete. The
    /// weights do not depend on it.
    #[must_use]
    pub fn overlap(mut self, overlap: bool) -> Self {
        self.overlaps = overlap;
        self
    }

    /// The shards of this process.
    fn own_shards(&self) -> Range<usize> {
        let each = self.shards / self.group.size();
        self.group.rank() * each..(self.group.rank() + 1) * each
    }

    /// Computes a shard; `None` if it has no samples.
    fn shard<T: Float>(
        &self,
        batch: &mut dyn SharedBatch<T>,
        index: usize,
        seen: Option<GradientSeen<T>>,
    ) -> Option<Result<Shard<T>>> {
        let start = |index| batch.samples() * index / self.shards;
        let samples = start(index)..start(index + 1);
        (!samples.is_empty()).then(|| batch.shard(index, samples, seen))
    }

    /// The sum of the gradients of all shards, and the reports of the shards of
    /// this process.
    fn reduce<T: Float>(
        &self,
        layout: &Layout<'_, T>,
        batch: &mut dyn SharedBatch<T>,
    ) -> Result<(Vec<T>, Vec<Report<T>>)> {
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
        let overlaps = self.overlaps && self.group.size() > 1;
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

    /// The report and the gradients of a shard.
    fn outcome<T: Float>(
        &self,
        shard: Option<Result<Shard<T>>>,
        layout: &Layout<'_, T>,
    ) -> (Report<T>, Vec<T>) {
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
        batch: &mut dyn SharedBatch<T>,
        last: usize,
    ) -> (Option<Result<Shard<T>>>, Result<Vec<T>>) {
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

    /// Notes an error that all processes return.
    fn known<R>(&mut self, error: Error) -> Result<R> {
        self.known = Some(error.to_string());
        Err(error)
    }

    /// Whether each process has the optimizer's state of its share alone.
    fn divides_optimizer(&self) -> bool {
        self.shards_optimizer && self.group.size() > 1
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
fn gradients_of<T: Float>(
    layout: &Layout<'_, T>,
    total: &[T],
    done: &[Done<T>],
) -> Result<Gradients<T>> {
    let mut running = RunningLoss::default();
    let mut present = vec![false; layout.places.len()];
    for Done { figures, present: of_shard, .. } in done {
        running.add(figures.loss, figures.divisor);
        present.iter_mut().zip(of_shard).for_each(|(all, of_shard)| *all |= of_shard);
    }
    let factor = T::from_f64(if running.divisor > 0.0 { 1.0 / running.divisor } else { 1.0 });
    let mut values = Vec::with_capacity(present.len());
    for (index, param) in layout.parameters.iter().enumerate().filter(|(i, _)| present[*i]) {
        let gradient = total[layout.places[index].clone()].iter().map(|&sum| sum * factor);
        let shape = param.value().shape().clone();
        values.push((param.id(), Tensor::from_vec(gradient.collect(), shape)?));
    }
    let mut gradients = Gradients::from_values(T::from_f64(running.value()), values);
    let changes = || done.iter().flat_map(|done| &done.changes);
    if changes().next().is_some() {
        gradients.accumulate(layout.updates(changes())?);
    }
    Ok(gradients)
}

impl<T: Float> GradientRule<T> for DataParallel<'_> {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn check(&self, _: usize, _: usize) -> Result<()> {
        let (shards, processes) = (self.shards, self.group.size());
        let message = if !processes.is_power_of_two() {
            format!("the number of processes must be a power of two, got {processes}")
        } else if !shards.is_power_of_two() {
            format!("the number of shards must be a power of two, got {shards}")
        } else if shards < processes {
            format!("{processes} processes need at least as many shards, got {shards}")
        } else {
            return Ok(());
        };
        self.settled.set(true);
        Err(Error::argument(NAME, message))
    }

    fn step(
        &mut self,
        _: &dyn Parameters<T>,
        _: &mut dyn FnMut(&[usize]) -> Result<Var<T>>,
    ) -> Result<Gradients<T>> {
        Err(Error::argument(NAME, "the samples are those of the loader, see `shared`"))
    }

    fn shared(&mut self) -> Option<&mut dyn SharedRun<T>> {
        Some(self)
    }
}

impl<T: Float> SharedRun<T> for DataParallel<'_> {
    fn division(&self) -> String {
        let rounding = match self.compression {
            Compression::None => "",
            Compression::Bf16 => " with gradients in bf16",
        };
        format!("in {} shards{rounding}", self.shards)
    }

    fn leads(&self) -> bool {
        self.group.rank() == 0
    }

    fn begin(&mut self, settings: &str, states: [&StateDict; 2]) -> Result<()> {
        let [model, optimizer] = states.map(state::hash);
        let optimizer = if self.divides_optimizer() { String::new() } else { optimizer };
        let mut writer = Writer::default();
        let own = [settings, &model, &optimizer];
        own.iter().for_each(|text| writer.text(text));
        let all = self.group.all_gather(writer.finish())?;
        for (rank, message) in all.iter().enumerate().skip(1) {
            let (mut first, mut other) = (Reader::new(&all[0]), Reader::new(message));
            for what in ["other settings or data", "another model", "another optimizer's state"] {
                let (first, other) = (first.text()?, other.text()?);
                if first != other {
                    let detail = match what {
                        "other settings or data" => format!(": {other} instead of {first}"),
                        _ => String::new(),
                    };
                    let message = format!("process {rank} has {what} than process 0{detail}");
                    self.settled.set(true);
                    return self.known(Error::argument(NAME, message));
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        model: &dyn Parameters<T>,
        batch: &mut dyn SharedBatch<T>,
        stop: bool,
    ) -> Result<SharedStep<T>> {
        let layout = Layout::of(model);
        let (total, reports) = self.reduce(&layout, batch)?;
        let mut writer = Writer::default();
        writer.flag(stop);
        reports.iter().for_each(|report| report.write(&mut writer));
        let mut own = reports.into_iter();
        let (mut done, mut stop) = (Vec::with_capacity(self.shards), false);
        for (rank, message) in self.group.all_gather(writer.finish())?.iter().enumerate() {
            let mut reader = Reader::new(message);
            stop |= reader.flag()?;
            for _ in 0..self.own_shards().len() {
                let sent = Report::read(rank, &mut reader)?;
                // An own error keeps its kind.
                let report = match rank == self.group.rank() {
                    true => own.next().unwrap_or(sent),
                    false => sent,
                };
                match report {
                    Report::Empty => {}
                    Report::Done(report) if report.present.len() == layout.places.len() => {
                        done.push(report);
                    }
                    Report::Done(_) => return Err(malformed()),
                    Report::Failed(error) => return self.known(error),
                }
            }
        }
        let gradients = gradients_of(&layout, &total, &done)?;
        let figures = done.into_iter().map(|done| done.figures).collect();
        Ok(SharedStep { gradients, figures, stop })
    }

    fn update(
        &mut self,
        optimizer: &mut dyn Optimizer<T>,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
    ) -> Result<()> {
        if !self.divides_optimizer() {
            return optimizer.step(model, gradients);
        }
        share::step(&self.group, optimizer, model, gradients)
    }

    fn optimizer_state(&mut self, optimizer: &dyn Optimizer<T>) -> Result<StateDict> {
        let own = optimizer.state_dict();
        if !self.divides_optimizer() {
            return Ok(own);
        }
        let all = self.group.all_gather(state::write(&own)?)?;
        let all = all.iter().map(|message| state::read(message)).collect::<Result<Vec<_>>>()?;
        Ok(state::joined(&all))
    }

    fn gather(
        &mut self,
        parts: usize,
        figures: &mut dyn FnMut(usize) -> Result<Figures>,
    ) -> Result<Vec<Figures>> {
        let (rank, size) = (self.group.rank(), self.group.size());
        let own: Result<Vec<Figures>> = (rank..parts).step_by(size).map(figures).collect();
        let mut writer = Writer::default();
        let (outcome, own) = match own {
            Ok(own) => (Ok(()), own),
            Err(error) => (Err(error), Vec::new()),
        };
        report::write_outcome(&outcome, &mut writer);
        own.iter().for_each(|figures| report::write_figures(figures, &mut writer));
        let messages = self.group.all_gather(writer.finish())?;
        let mut readers: Vec<Reader<'_>> =
            messages.iter().map(|message| Reader::new(message)).collect();
        let mut outcome = Some(outcome);
        for (other, reader) in readers.iter_mut().enumerate() {
            let sent = report::read_outcome(other, reader)?;
            let result = outcome.take_if(|_| other == rank).unwrap_or(sent);
            if let Err(error) = result {
                return self.known(error);
            }
        }
        (0..parts).map(|part| report::read_figures(&mut readers[part % size])).collect()
    }

    fn agree(&mut self, result: Result<()>) -> Result<()> {
        let mut writer = Writer::default();
        report::write_outcome(&result, &mut writer);
        let messages = self.group.all_gather(writer.finish())?;
        if let Err(error) = result {
            return self.known(error);
        }
        for (rank, message) in messages.iter().enumerate() {
            if let Err(error) = report::read_outcome(rank, &mut Reader::new(message))? {
                return self.known(error);
            }
        }
        Ok(())
    }

    fn end(&mut self, error: Option<&Error>) {
        self.settled.set(true);
        let Some(error) = error else { return };
        let text = error.to_string();
        // All processes stop for the same reason, and the world can be used again.
        let all_stop = matches!(error, Error::NotFinite { .. } | Error::Interrupted { .. })
            || self.known.as_ref().is_some_and(|known| text.ends_with(known));
        if !all_stop {
            self.group.abort(&text);
        }
    }
}

/// A process that panics, or whose run ends before it has begun, ends the run of all.
impl Drop for DataParallel<'_> {
    fn drop(&mut self) {
        if !self.settled.get() {
            self.group.abort("ended the run early; its own output has the reason");
        }
    }
}
