//! [`Callback`]: code that is called while a model trains.

use std::any::{Any, type_name};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dendra_autograd::{Gradients, Parameters, StateDict};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::history::{EpochReport, History};

/// Code that is called during a training run. Every method has a default that
/// does nothing.
///
/// An error ends the training, and `fit` returns it. A panic does too, as
/// [`Error::Panic`]. The trainer can be used afterwards.
///
/// ```
/// use dendra_optim::Optimizer;
/// use dendra_train::{Callback, EpochReport, Moment};
/// use dendra_tensor::Result;
///
/// /// Halves the learning rate when the loss rises.
/// #[derive(Default)]
/// struct Careful(Option<f64>);
///
/// impl Callback for Careful {
///     fn on_epoch(&mut self, now: &mut Moment<'_>, epoch: &EpochReport) -> Result<()> {
///         if self.0.is_some_and(|before| epoch.training.loss > before) {
///             let learning_rate = now.optimizer.base_learning_rate();
///             now.optimizer.set_learning_rate(0.5 * learning_rate);
///         }
///         self.0 = Some(epoch.training.loss);
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a callback for models of `{T}`",
    note = "write `impl Callback for {Self}`; all methods have defaults"
)]
pub trait Callback<T: Float = f32> {
    /// The name of the callback in errors and checkpoints.
    fn name(&self) -> String {
        let full = type_name::<Self>();
        let without_generics = full.split('<').next().unwrap_or(full);
        without_generics.rsplit("::").next().unwrap_or(full).to_owned()
    }

    /// Called before the first step. It discards the state of an earlier run. A
    /// run that is resumed calls [`load_state_dict`](Self::load_state_dict)
    /// next.
    ///
    /// # Errors
    ///
    /// Any error ends the training.
    fn on_start(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// Called after each step.
    ///
    /// # Errors
    ///
    /// Any error ends the training.
    fn on_batch(&mut self, now: &mut Moment<'_, T>, batch: &BatchReport<'_, T>) -> Result<()> {
        let _ = (now, batch);
        Ok(())
    }

    /// Called after each epoch and its validation.
    ///
    /// # Errors
    ///
    /// Any error ends the training.
    fn on_epoch(&mut self, now: &mut Moment<'_, T>, epoch: &EpochReport) -> Result<()> {
        let _ = (now, epoch);
        Ok(())
    }

    /// Called after the last step, unless an error ended the training.
    ///
    /// # Errors
    ///
    /// `fit` returns any error.
    fn on_end(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// The state that a checkpoint must hold so that the callback continues as
    /// in an uninterrupted run; empty by default.
    fn state_dict(&self) -> StateDict {
        StateDict::new()
    }

    /// Restores the state that [`state_dict`](Self::state_dict) returned.
    ///
    /// # Errors
    ///
    /// When the state does not have the expected form.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

impl<T: Float, C: Callback<T> + ?Sized> Callback<T> for &mut C {
    fn name(&self) -> String {
        (**self).name()
    }

    fn on_start(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        (**self).on_start(now)
    }

    fn on_batch(&mut self, now: &mut Moment<'_, T>, batch: &BatchReport<'_, T>) -> Result<()> {
        (**self).on_batch(now, batch)
    }

    fn on_epoch(&mut self, now: &mut Moment<'_, T>, epoch: &EpochReport) -> Result<()> {
        (**self).on_epoch(now, epoch)
    }

    fn on_end(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        (**self).on_end(now)
    }

    fn state_dict(&self) -> StateDict {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        (**self).load_state_dict(state)
    }
}

/// The model of a training run as callbacks see it: its parameters, independent
/// of the types of its inputs and outputs.
pub trait AnyModel<T: Float = f32>: Parameters<T> + Any {}

impl<T: Float, M: Parameters<T> + Any> AnyModel<T> for M {}

/// The position of the training, and what a [`Callback`] may read and change.
pub struct Moment<'a, T: Float = f32> {
    /// The model. [`model_as`](Self::model_as) returns it with its own type.
    pub model: &'a mut (dyn AnyModel<T> + 'static),
    /// The optimizer, which also holds the learning rate.
    pub optimizer: &'a mut dyn Optimizer<T>,
    /// The epochs so far.
    pub history: &'a History,
    /// The number of the epoch, counted from 1.
    pub epoch: u64,
    /// How many batches of the epoch have been processed.
    pub batch: usize,
    /// How many steps the run has done.
    pub step: u64,
    /// Whether the run evaluates on validation data.
    pub validates: bool,
    /// The names of the metrics, in the order in which they were added to the trainer.
    pub metrics: &'a [String],
    pub(crate) stop: &'a mut Option<String>,
}

impl<T: Float> fmt::Debug for Moment<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Moment");
        debug.field("epoch", &self.epoch).field("batch", &self.batch).field("step", &self.step);
        debug.finish_non_exhaustive()
    }
}

impl<T: Float> Moment<'_, T> {
    /// Ends the training after this step. The history keeps the reason.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }

    /// The model with its own type, for callbacks that call its methods.
    ///
    /// ```
    /// use dendra_autograd::Var;
    /// use dendra_nn::{Module, Sequential};
    /// use dendra_tensor::{Result, Tensor};
    /// use dendra_train::{Callback, EpochReport, Moment};
    ///
    /// /// Prints the output of the network for a point.
    /// struct Watch(Tensor);
    ///
    /// impl Callback for Watch {
    ///     fn on_epoch(&mut self, now: &mut Moment<'_>, _: &EpochReport) -> Result<()> {
    ///         let model: &Sequential = now.model_as()?;
    ///         println!("{}", model.forward(&Var::new(self.0.clone()))?.value());
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// When the model has another type.
    pub fn model_as<M: 'static>(&self) -> Result<&M> {
        let model: &dyn Any = &*self.model;
        model.downcast_ref().ok_or_else(|| {
            Error::argument("Moment::model_as", format!("the model is not a {}", type_name::<M>()))
        })
    }
}

/// The result of a step.
#[derive(Debug)]
pub struct BatchReport<'a, T: Float = f32> {
    /// The loss of its samples; NaN when all of them are ignored.
    pub loss: f64,
    /// The number of its samples.
    pub samples: usize,
    /// The gradients, as they were given to the optimizer.
    pub gradients: &'a Gradients<T>,
}

/// Calls the user's code and turns a panic into an error.
pub(crate) fn guarded<R>(
    context: impl FnOnce() -> String,
    work: impl FnOnce() -> Result<R>,
) -> Result<R> {
    // A panic can leave only the user's own values half changed: the values
    // that the framework passes to it are complete.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => Err(Error::panic(context(), &*payload)),
    }
}
