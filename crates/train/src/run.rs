//! A training run: the loop over epochs and steps, with callbacks and checkpoints.

use std::path::Path;
use std::time::Instant;

use dendra_losses::RunningLoss;
use dendra_tensor::{Error, Float, Result};

use crate::batches::Gathering;
use crate::callback::{BatchReport, Callback, Moment, guarded};
use crate::checkpoint::{Checkpoint, Keeper, Position, RunSettings, file_of};
use crate::fit::Plan;
use crate::gradient_rule::GradientRule;
use crate::history::{EpochReport, History};
use crate::not_finite::Guard;
use crate::progress::{Progress, Verbose};
use crate::shared::SharedRun;
use crate::stage::{Parts, Stage};
use crate::step::{Mixed, Step};
use crate::stop::Interrupt;

mod saving;

/// The name of the loss scale among the states of callbacks.
const SCALER: &str = "GradScaler";

/// A training run. The types of model and data are behind the trait [`Stage`],
/// so that the loop is compiled once.
pub(crate) struct Run<'a, T: Float> {
    plan: Plan<'a, T>,
    settings: RunSettings,
    /// The number of batches in an epoch.
    batches: usize,
    validates: bool,
    /// The names of the metrics.
    metrics: Vec<String>,
    position: Position,
    history: History,
    keeper: Option<Keeper>,
    guard: Guard,
    pub(crate) gathering: Gathering,
    interrupt: Interrupt,
    /// Whether the processes that share the run have agreed to stop.
    agreed_stop: bool,
}

/// State while the steps of an epoch run.
pub(crate) struct Steps {
    progress: Progress,
    /// The learning rate of the last step.
    learning_rate: f64,
    /// Whether a stop was requested.
    interrupted: bool,
}

impl<'a, T: Float> Run<'a, T> {
    /// Prepares the run, and loads the checkpoint to resume from.
    #[inline(never)]
    pub(crate) fn begin(stage: &mut dyn Stage<T>, mut plan: Plan<'a, T>) -> Result<Self> {
        let about = stage.about();
        if about.batches == 0 {
            let message = "the data has fewer samples than a batch, so drop_last leaves no batch";
            return Err(Error::argument("Fit", message));
        }
        let settings = RunSettings {
            samples: about.samples,
            batch_size: plan.batch_size,
            accumulate: plan.accumulate,
            batches_per_epoch: plan.batches_per_epoch,
            seed: plan.seed,
            sampling: plan.order_of_samples(),
            drop_last: plan.drop_last,
            validation_split: plan.validation_split,
            class_weights: plan.class_weights.clone(),
            autocast: plan.mixed.precision.map(|precision| precision.name().to_owned()),
        };
        if let Some(rule) = &plan.rule {
            rule.check(about.samples, plan.batch_size)?;
        }
        let epochs = *stage.parts().epochs;
        let position = Position {
            first_epoch: epochs,
            epoch: epochs,
            batch: 0,
            step: 0,
            samples: 0,
            loss: RunningLoss::default(),
        };
        let keeper = plan.keeper()?;
        let interrupt = Interrupt::listen(plan.ctrl_c)?;
        let guard = Guard::new(plan.not_finite);
        let gathering = Gathering::new(plan.workers);
        let history = History::default();
        let resume =
            plan.resume.take().filter(|path| plan.resume_must_exist || file_of(path).exists());
        let batches = about.batches.min(plan.batches_per_epoch.unwrap_or(usize::MAX));
        let mut run = Self {
            plan,
            settings,
            batches,
            validates: about.validates,
            metrics: stage.figures().metrics.into_iter().map(|(name, _)| name).collect(),
            position,
            history,
            keeper,
            guard,
            gathering,
            interrupt,
            agreed_stop: false,
        };
        if let Some(keeper) = &run.keeper {
            keeper.check_figure(run.validates, &run.metrics)?;
        }
        let checkpoint = resume.as_deref().map(|path| run.resume(stage, path)).transpose()?;
        run.call(stage, |callback, now| callback.on_start(now))?;
        if let Some(checkpoint) = checkpoint {
            run.resume_callbacks(checkpoint)?;
        }
        run.begin_shared(stage)?;
        run.ask_rule()?;
        Ok(run)
    }

    /// Loads a checkpoint, except for the states of the callbacks.
    fn resume(&mut self, stage: &mut dyn Stage<T>, path: &Path) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::read(path)?;
        let in_file = |error: Error| error.within(file_of(path).display().to_string());
        checkpoint.settings.check_same(&self.settings).map_err(in_file)?;
        let Position { first_epoch, epoch, batch, .. } = checkpoint.position;
        if first_epoch > epoch || batch >= self.batches.max(1) {
            let message =
                format!("expected a position within the batches of an epoch, got batch {batch}");
            return Err(Error::file(file_of(path), message));
        }
        let Parts { model, optimizer, epochs } = stage.parts();
        checkpoint.restore(model, optimizer).map_err(in_file)?;
        self.position = checkpoint.position;
        *epochs = epoch;
        self.history = checkpoint.history.clone();
        // An interrupted epoch runs again and is reported again, so its earlier
        // report is removed.
        self.history.epochs.retain(|report| report.number <= epoch);
        if let Some(keeper) = &mut self.keeper {
            keeper.set_best(checkpoint.best);
        }
        Ok(checkpoint)
    }

    fn resume_callbacks(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let mut callbacks: Vec<_> = self.plan.callbacks.iter_mut().collect();
        for (name, state) in checkpoint.callbacks {
            if let Some(rule) = self.plan.rule.as_mut().filter(|rule| rule.name() == name) {
                rule.load_state_dict(&state)?;
                continue;
            }
            if let Some(scaler) = self.plan.mixed.scaler.as_mut().filter(|_| name == SCALER) {
                scaler.load_state_dict(&state)?;
                continue;
            }
            let Some(index) = callbacks.iter().position(|callback| callback.name() == name) else {
                let message = format!(
                    "the checkpoint has the state of a callback `{name}`, which was not given"
                );
                return Err(Error::argument("resume", message));
            };
            let callback = callbacks.remove(index);
            ask(&mut **callback, |callback| callback.load_state_dict(&state))?;
        }
        Ok(())
    }

    /// The number of the last epoch, counted from 1.
    fn last_epoch(&self) -> u64 {
        self.position.first_epoch.saturating_add(self.plan.epochs)
    }

    /// Whether the run is complete.
    fn is_over(&self) -> bool {
        self.history.stopped.is_some()
            || self.position.epoch >= self.last_epoch()
            || self.plan.max_steps.is_some_and(|limit| self.position.step >= limit)
    }

    /// Whether this process was asked to stop.
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.plan.stop.is_set() || self.interrupt.is_pressed()
    }

    /// Notes whether one of the processes that share the run was asked to stop.
    pub(crate) fn agree_to_stop(&mut self, stop: bool) {
        self.agreed_stop = stop;
    }

    /// Whether the run stops.
    fn is_interrupted(&mut self) -> bool {
        match self.shared() {
            Some(_) => self.agreed_stop,
            None => self.is_asked_to_stop(),
        }
    }

    /// Trains until the run is complete.
    #[inline(never)]
    pub(crate) fn train(mut self, stage: &mut dyn Stage<T>) -> Result<History> {
        let result = self.epochs(stage);
        if let Some(shared) = self.shared() {
            shared.end(result.as_ref().err());
        }
        result.map(|()| self.history)
    }

    fn epochs(&mut self, stage: &mut dyn Stage<T>) -> Result<()> {
        while !self.is_over() {
            self.epoch(stage)?;
        }
        self.call(stage, |callback, now| callback.on_end(now))?;
        if self.plan.verbose != Verbose::Silent
            && let Some(reason) = &self.history.stopped
        {
            eprintln!("stopped: {reason}");
        }
        // A later call of fit starts a new epoch and does not repeat the
        // batches of one that was cut short.
        *stage.parts().epochs = self.position.epoch + u64::from(self.position.batch > 0);
        Ok(())
    }

    /// Trains an epoch, or the rest of one.
    fn epoch(&mut self, stage: &mut dyn Stage<T>) -> Result<()> {
        let number = self.position.epoch + 1;
        let batches = self.batches;
        let last = (self.plan.epochs < u64::MAX).then(|| self.last_epoch());
        let samples = self.settings.samples.min(batches.saturating_mul(self.plan.batch_size));
        let mut steps = Steps {
            progress: Progress::epoch(number, last, samples, self.plan.verbose),
            learning_rate: stage.parts().optimizer.learning_rate(),
            interrupted: false,
        };
        let start = Instant::now();
        let already = self.position.samples;
        stage.begin_epoch(self.position.loss, already);
        stage.steps(self, &mut steps)?;
        let Steps { progress, learning_rate, interrupted } = steps;
        if interrupted {
            return self.interrupted(stage, progress);
        }
        let seconds = start.elapsed().as_secs_f64();
        let complete = self.position.batch == batches;
        if complete {
            let Position { first_epoch, step, .. } = self.position;
            let epoch = self.position.epoch + 1;
            let loss = RunningLoss::default();
            self.position = Position { first_epoch, epoch, batch: 0, step, samples: 0, loss };
            let Parts { optimizer, epochs, .. } = stage.parts();
            *epochs = epoch;
            optimizer.end_epoch();
        }
        let validate = number.is_multiple_of(self.plan.validate_every) || self.is_over();
        let validation = (self.validates && validate).then(|| {
            guarded(|| "evaluation".to_owned(), || stage.validate(self.plan.shared()))
                .map_err(|error| error.within(format!("validation after epoch {number}")))
        });
        let report = EpochReport {
            number,
            training: stage.figures(),
            validation: validation.transpose()?,
            seconds,
            samples_per_second: (stage.gathered().1 - already) as f64 / seconds,
            learning_rate,
        };
        self.history.incidents.extend(self.plan.not_finite.check_losses(&report)?);
        // A schedule that reduces on a plateau watches the validation loss if
        // there is one.
        let watched = match self.validates {
            true => report.validation.as_ref(),
            false => Some(&report.training),
        };
        if let Some(watched) = watched.filter(|_| complete) {
            stage.parts().optimizer.observe(watched.loss);
        }
        progress.finish(&report);
        self.history.epochs.push(report.clone());
        // Callbacks are called for an epoch that a limit of steps cuts short. A
        // run that resumes within this epoch calls them for it again, so the
        // checkpoint holds their state from before.
        let keeps = self.keeper.is_some();
        let cut = (keeps && !complete).then(|| self.checkpoint(stage)).transpose()?;
        self.call(stage, |callback, now| callback.on_epoch(now, &report))?;
        self.write_after(stage, &report, cut)?;
        if self.is_interrupted() && !self.is_over() {
            return self.end_interrupted(stage, &format!("after epoch {number}"));
        }
        Ok(())
    }

    /// Epoch, first batch and number of batches of the next step, counted from
    /// 0; `None` when the epoch or the run is complete, or a stop was
    /// requested.
    pub(crate) fn next_step(&self, steps: &Steps) -> Option<(u64, usize, usize)> {
        let Position { epoch, batch, .. } = self.position;
        let is_left = batch < self.batches && !self.is_over() && !steps.interrupted;
        is_left.then(|| (epoch, batch, self.plan.accumulate.min(self.batches - batch)))
    }

    /// The position from which the epoch continues.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// The rule that makes the gradients, if one does.
    pub(crate) fn rule(&mut self) -> Option<&mut (dyn GradientRule<T> + 'a)> {
        self.plan.rule.as_deref_mut()
    }

    /// The run as several processes share it, if they do.
    pub(crate) fn shared(&mut self) -> Option<&mut dyn SharedRun<T>> {
        self.plan.shared()
    }

    /// Compares settings and states with those of the other processes that share
    /// the run.
    fn begin_shared(&mut self, stage: &mut dyn Stage<T>) -> Result<()> {
        let settings = format!("{:?}, {:?}", self.settings, self.position);
        let Some(shared) = self.shared() else { return Ok(()) };
        let Parts { model, optimizer, .. } = stage.parts();
        shared.begin(&settings, [&model.state_dict(), &optimizer.state_dict()])?;
        if !shared.leads() {
            self.plan.verbose = Verbose::Silent;
        }
        Ok(())
    }

    /// Ends the training before the next step if the rule wants it.
    fn ask_rule(&mut self) -> Result<()> {
        let Some(rule) = &mut self.plan.rule else { return Ok(()) };
        if self.history.stopped.is_none() {
            self.history.stopped = rule.stop()?;
        }
        Ok(())
    }

    /// How the run uses half precision.
    pub(crate) fn mixed(&mut self) -> &mut Mixed {
        &mut self.plan.mixed
    }

    /// The seed of everything random.
    pub(crate) fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// Called before a step.
    pub(crate) fn before_step(&mut self, parts: Parts<'_, T>, steps: &mut Steps) {
        steps.learning_rate = parts.optimizer.learning_rate();
        self.guard.before(self.position.step, parts.model, parts.optimizer);
    }

    /// Called after a step of this many batches: handles a step that is not
    /// finite, callbacks, progress and checkpoints.
    #[inline(never)]
    pub(crate) fn after_step(
        &mut self,
        stage: &mut dyn Stage<T>,
        result: Result<Step<T>>,
        count: usize,
        steps: &mut Steps,
    ) -> Result<()> {
        let first = self.position.batch;
        let result = result.map_err(|error| {
            let batch = match count {
                1 => format!("batch {}", first + 1),
                _ => format!("batches {} to {}", first + 1, first + count),
            };
            error.within(format!("epoch {}, {batch}", self.position.epoch + 1))
        });
        let done = match result {
            Ok(Step { skipped: Some(reason), .. }) => {
                let batch = format!("epoch {}, batch {}", self.position.epoch + 1, first + count);
                let incident = format!("{batch}: {reason}");
                steps.progress.line(&incident);
                self.history.incidents.push(incident);
                None
            }
            Ok(done) => {
                self.guard.done();
                Some(done)
            }
            Err(error) => {
                let Parts { model, optimizer, .. } = stage.parts();
                let incident = self.guard.failed(error, model, optimizer)?;
                steps.progress.line(&incident);
                self.history.incidents.push(incident);
                None
            }
        };
        self.position.batch += count;
        self.position.step += 1;
        if let Some(done) = done {
            let report =
                BatchReport { loss: done.loss, samples: done.samples, gradients: &done.gradients };
            self.call(stage, |callback, now| callback.on_batch(now, &report))?;
        }
        (self.position.loss, self.position.samples) = stage.gathered();
        steps.progress.update(self.position.samples, || stage.figures());
        self.ask_rule()?;
        if self.position.batch < self.batches && !self.is_over() {
            if self.is_interrupted() {
                steps.interrupted = true;
                return Ok(());
            }
            let step = self.position.step;
            if self.keeper.as_ref().is_some_and(|keeper| keeper.due_after_step(step)) {
                self.write_last(stage)?;
            }
        }
        Ok(())
    }

    /// Calls every callback.
    fn call(
        &mut self,
        stage: &mut dyn Stage<T>,
        call: impl Fn(&mut dyn Callback<T>, &mut Moment<'_, T>) -> Result<()>,
    ) -> Result<()> {
        let mut stop = None;
        for callback in &mut self.plan.callbacks {
            let Parts { model, optimizer, .. } = stage.parts();
            let mut now = Moment {
                model,
                optimizer,
                history: &self.history,
                epoch: self.position.epoch + u64::from(self.position.batch > 0),
                batch: self.position.batch,
                step: self.position.step,
                validates: self.validates,
                metrics: &self.metrics,
                stop: &mut stop,
            };
            ask(&mut **callback, |callback| call(callback, &mut now))?;
        }
        if self.history.stopped.is_none() {
            self.history.stopped = stop;
        }
        Ok(())
    }

    /// Stops in the middle of an epoch.
    fn interrupted(&mut self, stage: &mut dyn Stage<T>, progress: Progress) -> Result<()> {
        let position =
            format!("in epoch {}, after batch {}", self.position.epoch + 1, self.position.batch);
        progress.finish(&format!("interrupted {position}"));
        self.end_interrupted(stage, &position)
    }

    fn end_interrupted(&mut self, stage: &mut dyn Stage<T>, position: &str) -> Result<()> {
        self.write_last(stage)?;
        let how = match &self.keeper {
            None => "nothing was saved, since this fit writes no checkpoints".to_owned(),
            Some(keeper) => {
                let path = keeper.last().display().to_string();
                format!("saved {path}; go on with Fit::resume({path:?})")
            }
        };
        Err(Error::interrupted(format!("interrupted {position}: {how}")))
    }
}

/// Calls a callback, and turns a panic into an error that names it.
fn ask<R, T: Float>(
    callback: &mut (dyn Callback<T> + '_),
    call: impl FnOnce(&mut dyn Callback<T>) -> Result<R>,
) -> Result<R> {
    guarded(String::new, || call(callback)).map_err(|error| match error {
        Error::Panic { message, .. } => {
            let name = guarded(String::new, || Ok(callback.name()));
            let context = format!("callback {}", name.unwrap_or_default());
            Error::Panic { context, message }
        }
        error => error,
    })
}

/// Compiles the loop for `f32` in this crate, once, instead of in each crate
/// that trains: `#[inline(never)]` functions are shared between crates.
#[doc(hidden)]
pub fn compile_here() -> [*const (); 3] {
    [
        Run::<f32>::begin as *const (),
        Run::<f32>::train as *const (),
        Run::<f32>::after_step as *const (),
    ]
}
