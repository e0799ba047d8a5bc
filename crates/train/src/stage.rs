//! The interface of a trainer and its data that a training run needs,
//! independent of their types.

use std::thread;

use dendra_datasets::{DataLoader, Dataset};
use dendra_losses::{Loss, RunningLoss};
use dendra_nn::Model;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::batches::Batches;
use crate::callback::AnyModel;
use crate::fit::{Data, Plan};
use crate::history::Evaluation;
use crate::run::{Run, Steps};
use crate::shared::{SharedRun, check_metrics};
use crate::trainer::{Gathered, Trainer, Values};

/// A trainer with its data, as a [`Run`] sees it.
pub(crate) trait Stage<T: Float> {
    fn about(&self) -> About;

    fn parts(&mut self) -> Parts<'_, T>;

    /// Begins an epoch, or continues one in which this loss and number of
    /// samples were gathered.
    fn begin_epoch(&mut self, loss: RunningLoss, samples: usize);

    /// The loss and the number of samples of the epoch so far.
    fn gathered(&self) -> (RunningLoss, usize);

    /// Loss and metrics of the epoch so far.
    fn figures(&self) -> Evaluation;

    /// Loss and metrics on the validation data; several processes may share the
    /// work.
    fn validate(&self, shared: Option<&mut dyn SharedRun<T>>) -> Result<Evaluation>;

    /// Runs the steps that are left of an epoch, until an interruption.
    fn steps(&mut self, run: &mut Run<'_, T>, steps: &mut Steps) -> Result<()>;
}

/// The sizes of the data.
pub(crate) struct About {
    pub(crate) samples: usize,
    pub(crate) batches: usize,
    pub(crate) validates: bool,
}

/// The values that a run changes.
pub(crate) struct Parts<'a, T: Float> {
    pub(crate) model: &'a mut (dyn AnyModel<T> + 'static),
    pub(crate) optimizer: &'a mut dyn Optimizer<T>,
    /// How many epochs the trainer has done.
    pub(crate) epochs: &'a mut u64,
}

/// A trainer together with its data.
pub(crate) struct Work<'r, M, O, L, Y, I, T>
where
    M: Model<I, T>,
    T: Float,
{
    trainer: &'r mut Trainer<M, O, L, Y, I, T>,
    /// The trainer's loss with the class weights of this run.
    weighted: Option<Box<dyn Loss<Y, T, M::Output>>>,
    /// That loss with a value for each sample, if a rule makes the gradients.
    unreduced: Option<Box<dyn Loss<Y, T, M::Output>>>,
    data: Data<'r, I, Y>,
    loader: DataLoader<'r, dyn Dataset<Input = I, Target = Y> + 'r>,
    validation: Option<Data<'r, I, Y>>,
    gathered: Gathered<Y, Values<M, I, T>>,
}

impl<'r, M, O, L, Y, I, T> Work<'r, M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    Y: Send,
    I: Send,
    T: Float,
{
    pub(crate) fn new(
        trainer: &'r mut Trainer<M, O, L, Y, I, T>,
        data: Data<'r, I, Y>,
        validation: Option<Data<'r, I, Y>>,
        plan: &mut Plan<'_, T>,
    ) -> Result<Self> {
        let loader = DataLoader::new(data).batch_size(plan.batch_size).drop_last(plan.drop_last);
        let loader = plan.sampling.apply(loader, plan.seed)?;
        let weights = plan.class_weights.as_deref();
        let weighted = weights.map(|weights| trainer.loss.with_class_weights(weights));
        let (weighted, gathered) = (weighted.transpose()?, Gathered::new(&trainer.metrics));
        let is_shared = plan.shared().is_some();
        if is_shared {
            check_metrics(&trainer.metrics)?;
        }
        let unreduced = plan.rule.as_ref().filter(|_| !is_shared).map(|_| match &weighted {
            Some(weighted) => weighted.unreduced(),
            None => trainer.loss.unreduced(),
        });
        let unreduced = unreduced.transpose()?;
        Ok(Self { trainer, weighted, unreduced, data, loader, validation, gathered })
    }

    /// Runs the steps that are left of an epoch, with gradients by a rule.
    fn steps_by_rule(&mut self, run: &mut Run<'_, T>, steps: &mut Steps) -> Result<()>
    where
        M: 'static,
    {
        while let Some((epoch, index, count)) = run.next_step(steps) {
            run.before_step(self.parts(), steps);
            let seed = run.seed();
            let (Some(rule), Some(unreduced)) = (run.rule(), &self.unreduced) else { break };
            let position = (seed, epoch, index);
            let Self { trainer, data, gathered, .. } = self;
            let result = trainer.step_by_rule(rule, *data, &**unreduced, position, gathered);
            run.after_step(self, result, count, steps)?;
        }
        Ok(())
    }
}

impl<M, O, L, Y, I, T> Work<'_, M, O, L, Y, I, T>
where
    M: Model<I, T> + 'static,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    Y: Send,
    I: Send,
    T: Float,
{
    /// Runs the steps that are left of an epoch, which several processes share.
    fn steps_shared(&mut self, run: &mut Run<'_, T>, steps: &mut Steps) -> Result<()> {
        let order = self.loader.order(run.position().epoch);
        let batch_size = self.loader.batch_len(0);
        if batch_size == 0 {
            return Err(Error::argument("Fit", "batch_size must be at least 1, got 0"));
        }
        while let Some((epoch, index, count)) = run.next_step(steps) {
            run.before_step(self.parts(), steps);
            let (seed, stop) = (run.seed(), run.is_asked_to_stop());
            let Some(shared) = run.shared() else { break };
            let start = index * batch_size;
            let indices = &order[start..order.len().min(start + batch_size)];
            let Self { trainer, data, weighted, gathered, .. } = self;
            let (position, loss) = ((seed, epoch, index), weighted.as_deref());
            let result =
                trainer.step_shared(shared, (*data, indices), loss, position, stop, gathered);
            let result = result.map(|(step, stop)| {
                run.agree_to_stop(stop);
                step
            });
            run.after_step(self, result, count, steps)?;
        }
        Ok(())
    }
}

impl<M, O, L, Y, I, T> Stage<T> for Work<'_, M, O, L, Y, I, T>
where
    M: Model<I, T> + 'static,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    Y: Send,
    I: Send,
    T: Float,
{
    fn about(&self) -> About {
        let validates = self.validation.is_some();
        About { samples: self.data.len(), batches: self.loader.len(), validates }
    }

    fn parts(&mut self) -> Parts<'_, T> {
        let Trainer { model, optimizer, epochs, .. } = &mut *self.trainer;
        Parts { model, optimizer, epochs }
    }

    fn begin_epoch(&mut self, loss: RunningLoss, samples: usize) {
        self.gathered = Gathered::new(&self.trainer.metrics);
        (self.gathered.loss, self.gathered.samples) = (loss, samples);
    }

    fn gathered(&self) -> (RunningLoss, usize) {
        (self.gathered.loss, self.gathered.samples)
    }

    fn figures(&self) -> Evaluation {
        self.gathered.evaluation()
    }

    fn validate(&self, shared: Option<&mut dyn SharedRun<T>>) -> Result<Evaluation> {
        let data = self.validation;
        let data = data.ok_or_else(|| Error::argument("fit", "there is no validation data"))?;
        match shared {
            Some(shared) => self.trainer.evaluate_shared(data, shared),
            None => self.trainer.evaluate_any(data),
        }
    }

    fn steps(&mut self, run: &mut Run<'_, T>, steps: &mut Steps) -> Result<()> {
        if self.unreduced.is_some() {
            return self.steps_by_rule(run, steps);
        }
        if run.shared().is_some() {
            return self.steps_shared(run, steps);
        }
        let loader = self.loader.clone();
        let (epoch, batch) = (run.position().epoch, run.position().batch);
        thread::scope(|scope| {
            let mut source = Batches::new(scope, loader, epoch, batch, run.gathering);
            while let Some((epoch, first, count)) = run.next_step(steps) {
                let mut group = Vec::with_capacity(count);
                for index in first..first + count {
                    let context = || format!("epoch {}, batch {}", epoch + 1, index + 1);
                    let batch =
                        source.next().transpose().map_err(|error| error.within(context()))?;
                    group.push(batch.ok_or_else(|| {
                        Error::data(
                            context(),
                            "the data set has fewer batches than its length says",
                        )
                    })?);
                }
                run.before_step(self.parts(), steps);
                let loss = self.weighted.as_deref();
                let position = (epoch, first);
                let (seed, gathered) = (run.seed(), &mut self.gathered);
                let result = self.trainer.step(&group, seed, position, loss, run.mixed(), gathered);
                drop(group);
                run.after_step(self, result, count, steps)?;
            }
            run.gathering = source.gathering();
            Ok(())
        })
    }
}
