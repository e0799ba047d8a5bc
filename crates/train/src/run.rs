//! A training run: the loop over epochs and steps, with all that looks on.

use std::path::Path;
use std::thread;
use std::time::Instant;

use dendra_datasets::{DataLoader, Dataset};
use dendra_losses::{Loss, RunningLoss};
use dendra_nn::Module;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Tensor};

use crate::batches::{Batches, Gathering};
use crate::callback::{BatchReport, Callback, Moment, guarded};
use crate::checkpoint::{Checkpoint, Keeper, Position, Settings, file_of};
use crate::fit::{Data, Fit};
use crate::history::{EpochReport, History};
use crate::not_finite::Guard;
use crate::progress::{Progress, Verbose};
use crate::stop::Interrupt;
use crate::trainer::{Gathered, Trainer};

/// A training run.
pub(crate) struct Run<'r, 'a, M, O, L, Y> {
    trainer: &'r mut Trainer<M, O, L, Y>,
    loader: DataLoader<'r, dyn Dataset<Input = Tensor, Target = Y> + 'r>,
    validation: Option<Data<'r, Y>>,
    fit: Fit<'a, Y>,
    settings: Settings,
    position: Position,
    history: History,
    keeper: Option<Keeper>,
    guard: Guard,
    gathering: Gathering,
    interrupt: Interrupt,
}

impl<'r, 'a, M, O, L, Y> Run<'r, 'a, M, O, L, Y>
where
    M: Module,
    O: Optimizer,
    L: Loss<Y>,
    Y: Send,
{
    /// Makes everything ready, and loads the checkpoint to go on from.
    pub(crate) fn begin(
        trainer: &'r mut Trainer<M, O, L, Y>,
        data: Data<'r, Y>,
        validation: Option<Data<'r, Y>>,
        mut fit: Fit<'a, Y>,
    ) -> Result<Self> {
        let loader = DataLoader::new(data).batch_size(fit.batch_size).drop_last(fit.drop_last);
        let loader = fit.sampling.apply(loader, fit.seed)?;
        if loader.is_empty() {
            let message = "the data holds fewer samples than a batch, and drop_last leaves it out";
            return Err(Error::argument("Fit", message));
        }
        let settings = Settings {
            samples: data.len(),
            batch_size: fit.batch_size,
            accumulate: fit.accumulate,
            batches_per_epoch: fit.batches_per_epoch,
            seed: fit.seed,
            sampling: fit.sampling.to_string(),
            drop_last: fit.drop_last,
            validation_split: fit.validation_split,
            class_weights: fit.class_weights.clone(),
        };
        let epochs = trainer.epochs;
        let position = Position {
            first_epoch: epochs,
            epoch: epochs,
            batch: 0,
            step: 0,
            samples: 0,
            loss: RunningLoss::default(),
        };
        let keeper = fit.checkpoints.take().map(Keeper::open).transpose()?;
        let interrupt = Interrupt::listen(fit.ctrl_c)?;
        let guard = Guard::new(fit.not_finite);
        let gathering = Gathering::new(fit.workers);
        let history = History::default();
        let resume =
            fit.resume.take().filter(|path| fit.resume_must_exist || file_of(path).exists());
        let mut run = Self {
            trainer,
            loader,
            validation,
            fit,
            settings,
            position,
            history,
            keeper,
            guard,
            gathering,
            interrupt,
        };
        let checkpoint = resume.as_deref().map(|path| run.resume(path)).transpose()?;
        run.call(|callback, now| callback.on_start(now))?;
        if let Some(checkpoint) = checkpoint {
            run.resume_callbacks(checkpoint)?;
        }
        Ok(run)
    }

    /// Loads all of a checkpoint but the callbacks' states.
    fn resume(&mut self, path: &Path) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::read(path)?;
        let place = |error: Error| error.within(file_of(path).display().to_string());
        checkpoint.settings.check_same(&self.settings).map_err(place)?;
        let Position { first_epoch, epoch, batch, .. } = checkpoint.position;
        if first_epoch > epoch || batch >= self.batches().max(1) {
            let message = format!("the position in the data makes no sense: batch {batch}");
            return Err(Error::file(file_of(path), message));
        }
        checkpoint.restore(&mut self.trainer.model, &mut self.trainer.optimizer).map_err(place)?;
        self.position = checkpoint.position;
        self.trainer.epochs = epoch;
        self.history = checkpoint.history.clone();
        // What was told of the epoch that is gone on with would be there twice.
        self.history.epochs.retain(|report| report.number <= epoch);
        if let Some(keeper) = &mut self.keeper {
            keeper.set_best(checkpoint.best);
        }
        Ok(checkpoint)
    }

    fn resume_callbacks(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let mut callbacks: Vec<_> = self.fit.callbacks.iter_mut().collect();
        for (name, state) in checkpoint.callbacks {
            let Some(index) = callbacks.iter().position(|callback| callback.name() == name) else {
                let message = format!(
                    "the checkpoint holds the state of a callback `{name}`, which this fit lacks"
                );
                return Err(Error::argument("resume", message));
            };
            let callback = callbacks.remove(index);
            ask(&mut **callback, |callback| callback.load_state_dict(&state))?;
        }
        Ok(())
    }

    /// The number of batches of an epoch.
    fn batches(&self) -> usize {
        self.loader.len().min(self.fit.batches_per_epoch.unwrap_or(usize::MAX))
    }

    /// The number of the last epoch.
    fn last_epoch(&self) -> usize {
        self.position.first_epoch.saturating_add(self.fit.epochs)
    }

    /// Whether the run is through.
    fn is_over(&self) -> bool {
        self.history.stopped.is_some()
            || self.position.epoch >= self.last_epoch()
            || self.fit.max_steps.is_some_and(|limit| self.position.step >= limit)
    }

    /// Whether someone asked to stop.
    fn is_interrupted(&self) -> bool {
        self.fit.stop.is_set() || self.interrupt.is_pressed()
    }

    /// Trains until the run is over.
    pub(crate) fn train(mut self) -> Result<History> {
        while !self.is_over() {
            self.epoch()?;
        }
        self.call(|callback, now| callback.on_end(now))?;
        if self.fit.verbose != Verbose::Silent
            && let Some(reason) = &self.history.stopped
        {
            eprintln!("stopped: {reason}");
        }
        // A later fit is not to see the batches of a cut epoch again.
        self.trainer.epochs = self.position.epoch + usize::from(self.position.batch > 0);
        Ok(self.history)
    }

    /// Trains an epoch, or what is left of it.
    fn epoch(&mut self) -> Result<()> {
        let number = self.position.epoch + 1;
        let batches = self.batches();
        let last = (self.fit.epochs < usize::MAX).then(|| self.last_epoch());
        let samples = self.settings.samples.min(batches.saturating_mul(self.fit.batch_size));
        let mut progress = Progress::epoch(number, last, samples, self.fit.verbose);
        let start = Instant::now();
        let already = self.position.samples;
        let mut gathered = Gathered::new(&self.trainer.metrics);
        (gathered.loss, gathered.samples) = (self.position.loss, already);

        let Some(learning_rate) = self.steps(&mut gathered, &mut progress)? else {
            return self.interrupted(progress);
        };
        let seconds = start.elapsed().as_secs_f64();
        let complete = self.position.batch == batches;
        if complete {
            let Position { first_epoch, step, .. } = self.position;
            let epoch = self.position.epoch + 1;
            let loss = RunningLoss::default();
            self.position = Position { first_epoch, epoch, batch: 0, step, samples: 0, loss };
            self.trainer.epochs = epoch;
            self.trainer.optimizer.end_epoch();
        }
        let validate = number.is_multiple_of(self.fit.validate_every) || self.is_over();
        let validation = self.validation.filter(|_| validate);
        let validation = validation.map(|data| {
            guarded(|| "evaluation".to_owned(), || self.trainer.evaluate_any(data))
                .map_err(|error| error.within(format!("validation after epoch {number}")))
        });
        let report = EpochReport {
            number,
            training: gathered.evaluation(),
            validation: validation.transpose()?,
            seconds,
            samples_per_second: (gathered.samples - already) as f64 / seconds,
            learning_rate,
        };
        // A schedule that waits for a plateau looks at what one trains for.
        let watched = match self.validation {
            Some(_) => report.validation.as_ref(),
            None => Some(&report.training),
        };
        if let Some(watched) = watched.filter(|_| complete) {
            self.trainer.optimizer.observe(watched.loss);
        }
        progress.finish(&report);
        self.history.epochs.push(report.clone());
        // Callbacks may count an epoch that a limit of steps cuts short. A run that goes on with it
        // hears of it again, so the checkpoint must not know.
        let keeps = self.keeper.is_some();
        let cut = (keeps && !complete).then(|| self.checkpoint()).transpose()?;
        self.call(|callback, now| callback.on_epoch(now, &report))?;
        self.write_after(&report, cut)?;
        if self.is_interrupted() && !self.is_over() {
            return self.end_interrupted(&format!("after epoch {number}"));
        }
        Ok(())
    }

    /// The steps of an epoch, or of what is left of it, up to an interruption:
    /// the learning rate of the last one, unless there was one.
    fn steps(
        &mut self,
        gathered: &mut Gathered<Y>,
        progress: &mut Progress,
    ) -> Result<Option<f64>> {
        let Position { epoch, batch, .. } = self.position;
        let batches = self.batches();
        let loader = self.loader.clone();
        let mut learning_rate = self.trainer.optimizer.learning_rate();
        thread::scope(|scope| {
            let mut source = Batches::new(scope, loader, epoch, batch, self.gathering);
            while self.position.batch < batches && !self.is_over() {
                let first = self.position.batch;
                let count = self.fit.accumulate.min(batches - first);
                let mut group = Vec::with_capacity(count);
                for index in first..first + count {
                    let place = || format!("epoch {}, batch {}", epoch + 1, index + 1);
                    let batch = source.next().transpose().map_err(|error| error.within(place()))?;
                    group.push(batch.ok_or_else(|| {
                        Error::data(place(), "the data set has fewer batches than it told")
                    })?);
                }
                learning_rate = self.trainer.optimizer.learning_rate();
                self.one_step(group, gathered, progress)?;
                progress.update(gathered.samples, || gathered.evaluation());
                (self.position.loss, self.position.samples) = (gathered.loss, gathered.samples);
                if self.position.batch < batches && !self.is_over() {
                    if self.is_interrupted() {
                        return Ok(None);
                    }
                    let step = self.position.step;
                    if self.keeper.as_ref().is_some_and(|keeper| keeper.due_after_step(step)) {
                        self.write_last()?;
                    }
                }
            }
            self.gathering = source.gathering();
            Ok(Some(learning_rate))
        })
    }

    /// One step, and what becomes of it when it is not finite.
    fn one_step(
        &mut self,
        group: Vec<(Tensor, Y)>,
        gathered: &mut Gathered<Y>,
        progress: &mut Progress,
    ) -> Result<()> {
        let (count, first) = (group.len(), self.position.batch);
        let Trainer { model, optimizer, .. } = &*self.trainer;
        self.guard.before(self.position.step, model, optimizer);
        let place = (self.position.epoch, first);
        let weights = self.fit.class_weights.as_deref();
        let result = self.trainer.step(group, self.fit.seed, place, weights, gathered);
        let result = result.map_err(|error| {
            let batch = match count {
                1 => format!("batch {}", first + 1),
                _ => format!("batches {} to {}", first + 1, first + count),
            };
            error.within(format!("epoch {}, {batch}", self.position.epoch + 1))
        });
        let done = match result {
            Ok(done) => {
                self.guard.done();
                Some(done)
            }
            Err(error) => {
                let Trainer { model, optimizer, .. } = &mut *self.trainer;
                let incident = self.guard.failed(error, model, optimizer)?;
                progress.line(&incident);
                self.history.incidents.push(incident);
                None
            }
        };
        self.position.batch += count;
        self.position.step += 1;
        if let Some(done) = done {
            let report =
                BatchReport { loss: done.loss, samples: done.samples, gradients: &done.gradients };
            self.call(|callback, now| callback.on_batch(now, &report))?;
        }
        Ok(())
    }

    /// Calls every callback.
    fn call(
        &mut self,
        call: impl Fn(&mut dyn Callback, &mut Moment<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut stop = None;
        for callback in &mut self.fit.callbacks {
            let mut now = Moment {
                model: &mut self.trainer.model,
                optimizer: &mut self.trainer.optimizer,
                history: &self.history,
                epoch: self.position.epoch + usize::from(self.position.batch > 0),
                batch: self.position.batch,
                step: self.position.step,
                validates: self.validation.is_some(),
                stop: &mut stop,
            };
            ask(&mut **callback, |callback| call(callback, &mut now))?;
        }
        if self.history.stopped.is_none() {
            self.history.stopped = stop;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut callbacks = Vec::new();
        for callback in &mut self.fit.callbacks {
            let named = |callback: &mut dyn Callback| Ok((callback.name(), callback.state_dict()));
            let (name, state) = ask(&mut **callback, named)?;
            if !state.is_empty() {
                callbacks.push((name, state));
            }
        }
        Ok(Checkpoint {
            model: self.trainer.model.state_dict(),
            optimizer: self.trainer.optimizer.state_dict(),
            callbacks,
            position: self.position,
            settings: self.settings.clone(),
            history: self.history.clone(),
            best: self.keeper.as_ref().and_then(Keeper::best),
        })
    }

    fn write_last(&mut self) -> Result<()> {
        if self.keeper.is_none() {
            return Ok(());
        }
        let checkpoint = self.checkpoint()?;
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.write_last(&checkpoint))
    }

    /// The checkpoints that are due after an epoch; `cut` is the last one when
    /// the epoch was cut short.
    fn write_after(&mut self, report: &EpochReport, cut: Option<Checkpoint>) -> Result<()> {
        let (over, validates) = (self.is_over(), self.validation.is_some());
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let best = keeper.is_best(report, validates)?;
        let due = over
            || keeper.due_after_epoch(report.number)
            || keeper.due_after_step(self.position.step);
        if !(best || due) {
            return Ok(());
        }
        let checkpoint = self.checkpoint()?;
        let Some(keeper) = &self.keeper else { return Ok(()) };
        if best {
            keeper.write_best(&checkpoint)?;
        }
        if due { keeper.write_last(&cut.unwrap_or(checkpoint)) } else { Ok(()) }
    }

    /// Stops in the middle of an epoch.
    fn interrupted(&mut self, progress: Progress) -> Result<()> {
        let place =
            format!("in epoch {}, after batch {}", self.position.epoch + 1, self.position.batch);
        progress.finish(&format!("interrupted {place}"));
        self.end_interrupted(&place)
    }

    fn end_interrupted(&mut self, place: &str) -> Result<()> {
        self.write_last()?;
        let how = match &self.keeper {
            None => "nothing was saved, since this fit writes no checkpoints".to_owned(),
            Some(keeper) => {
                let path = keeper.last().display().to_string();
                format!("saved {path}; go on with Fit::resume({path:?})")
            }
        };
        Err(Error::interrupted(format!("interrupted {place}: {how}")))
    }
}

/// Calls a callback. A panic is an error that names it.
fn ask<R>(
    callback: &mut (dyn Callback + '_),
    call: impl FnOnce(&mut dyn Callback) -> Result<R>,
) -> Result<R> {
    guarded(String::new, || call(callback)).map_err(|error| match error {
        Error::Panic { message, .. } => {
            let name = guarded(String::new, || Ok(callback.name()));
            let place = format!("callback {}", name.unwrap_or_default());
            Error::Panic { place, message }
        }
        error => error,
    })
}
