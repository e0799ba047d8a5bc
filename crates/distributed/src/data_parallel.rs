//! [`DataParallel`]: one training run on several processes.

use std::cell::Cell;

use dendra_autograd::{Gradients, Parameters, StateDict, Var};
use dendra_derive::Setters;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};
use dendra_train::{Figures, GradientRule, SharedBatch, SharedRun, SharedStep};

use crate::bytes::{Reader, Writer};
use crate::communicator::Communicator;
use crate::floats::Compression;
use crate::group::Group;
use crate::layout::Layout;
use crate::report::{self, Report, malformed};
use crate::share;
use crate::state;

mod compute;

use compute::gradients_of;

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
#[derive(Debug, Setters)]
pub struct DataParallel<'w> {
    group: Group<'w>,
    /// The number of shards of a batch, a power of two. A batch with fewer
    /// samples leaves some shards empty.
    #[set(default = 8)]
    shards: usize,
    /// How gradients are sent. The weights of a run depend on it.
    #[set(default = Compression::None)]
    compression: Compression,
    /// Whether each process keeps the optimizer's state of its share of the
    /// parameters alone, updates only these, and receives the others (the first
    /// stage of ZeRO: Rajbhandari et al., "ZeRO: memory optimizations toward
    /// training trillion parameter models", 2020). The weights do not depend on
    /// it. Checkpoints hold the whole state. After the run, the optimizer of
    /// each process has the state of its share.
    #[set(default = false)]
    shard_optimizer: bool,
    /// Whether the gradients of the last layers are sent while those of the
    /// first are computed. The backward pass of the last shard of each process
    /// then keeps its activations until it is complete. The weights do not
    /// depend on it.
    #[set(default = true)]
    overlap: bool,
    /// Whether layers of batch normalisation use the statistics of the whole
    /// batch, as PyTorch's `SyncBatchNorm` does, instead of those of each
    /// shard. The weights of a run depend on it, and with it the running
    /// statistics change once for each batch.
    ///
    /// The shards of a process then compute a step together: each waits at such
    /// a layer, in the forward and in the backward pass, until all have reached
    /// it. So a process keeps the activations of all its shards, and gradients
    /// are sent after the backward pass, not during it. All shards must reach the
    /// same layers.
    #[set(default = false)]
    sync_batch_norm: bool,
    /// Whether the other processes know how the run of this one has ended, or
    /// will find the same themselves.
    #[set(skip)]
    settled: Cell<bool>,
    /// The text of the last error that all processes know.
    #[set(skip)]
    known: Option<String>,
}

impl<'w> DataParallel<'w> {
    /// Training with the processes of `world`.
    pub fn new(world: &'w dyn Communicator) -> Self {
        Self::with_defaults(Group::new(world))
    }

    /// Notes an error that all processes return.
    fn known<R>(&mut self, error: Error) -> Result<R> {
        self.known = Some(error.to_string());
        Err(error)
    }

    /// Whether each process has the optimizer's state of its share alone.
    fn divides_optimizer(&self) -> bool {
        self.shard_optimizer && self.group.size() > 1
    }
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
        let norm = if self.sync_batch_norm { " with synchronised batch normalisation" } else { "" };
        format!("in {} shards{rounding}{norm}", self.shards)
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
        batch: &dyn SharedBatch<T>,
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
        let gradients = gradients_of(&layout, total, &done)?;
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
