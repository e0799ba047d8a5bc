//! [`Callback`]: code that is called while a model trains.

use std::any::{Any, type_name};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dendra_autograd::{Gradients, Parameters, StateDict};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::history::{EpochReport, History};

/// Is called at the moments of a training run. Every method has a default that
/// does nothing.
///
/// An error ends the training and comes out of `fit`, and so does a panic, as
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
    message = "`{Self}` is no callback of models of `{T}`",
    note = "write `impl Callback for {Self}`; all methods have defaults"
)]
pub trait Callback<T: Float = f32> {
    /// The name under which errors and checkpoints know it.
    fn name(&self) -> String {
        let full = type_name::<Self>();
        let without_generics = full.split('<').next().unwrap_or(full);
        without_generics.rsplit("::").next().unwrap_or(full).to_owned()
    }

    /// Before the first step: forgets what an earlier run has left. A run
    /// that is resumed calls [`load_state_dict`](Self::load_state_dict) next.
    ///
    /// # Errors
    ///
    /// Whatever it reports ends the training.
    fn on_start(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// After a step.
    ///
    /// # Errors
    ///
    /// Whatever it reports ends the training.
    fn on_batch(&mut self, now: &mut Moment<'_, T>, batch: &BatchReport<'_, T>) -> Result<()> {
        let _ = (now, batch);
        Ok(())
    }

    /// After an epoch and its validation.
    ///
    /// # Errors
    ///
    /// Whatever it reports ends the training.
    fn on_epoch(&mut self, now: &mut Moment<'_, T>, epoch: &EpochReport) -> Result<()> {
        let _ = (now, epoch);
        Ok(())
    }

    /// After the last step of a training that no error has ended.
    ///
    /// # Errors
    ///
    /// Whatever it reports comes out of `fit`.
    fn on_end(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// What a checkpoint must hold so that the callback goes on as if nothing
    /// had happened; nothing unless written.
    fn state_dict(&self) -> StateDict {
        StateDict::new()
    }

    /// Goes on from a state that [`state_dict`](Self::state_dict) gave.
    ///
    /// # Errors
    ///
    /// When the state is of another form.
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

/// The model of a training run as callbacks see it: its parameters, whatever it
/// takes and gives.
pub trait AnyModel<T: Float = f32>: Parameters<T> + Any {}

impl<T: Float, M: Parameters<T> + Any> AnyModel<T> for M {}

/// Where the training is, and what a [`Callback`] may look at and change.
pub struct Moment<'a, T: Float = f32> {
    /// The model. [`model_as`](Self::model_as) gives it with its type.
    pub model: &'a mut (dyn AnyModel<T> + 'static),
    /// The optimizer, and with it the learning rate.
    pub optimizer: &'a mut dyn Optimizer<T>,
    /// The epochs so far.
    pub history: &'a History,
    /// The epoch, from 1 on.
    pub epoch: u64,
    /// How many batches of the epoch are done.
    pub batch: usize,
    /// How many steps the run has done.
    pub step: u64,
    /// Whether the run evaluates on validation data.
    pub validates: bool,
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
    /// Ends the training after this step; the history tells the reason.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }

    /// The model with its type, for callbacks that let it compute something.
    ///
    /// ```
    /// use dendra_autograd::Var;
    /// use dendra_nn::{Module, Sequential};
    /// use dendra_tensor::{Result, Tensor};
    /// use dendra_train::{Callback, EpochReport, Moment};
    ///
    /// /// Prints what the network makes of a point.
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
    /// When it is of another type.
    pub fn model_as<M: 'static>(&self) -> Result<&M> {
        let model: &dyn Any = &*self.model;
        model.downcast_ref().ok_or_else(|| {
            Error::argument("Moment::model_as", format!("the model is no {}", type_name::<M>()))
        })
    }
}

/// A step that was done.
#[derive(Debug)]
pub struct BatchReport<'a, T: Float = f32> {
    /// The loss of its samples; NaN where none of them counts.
    pub loss: f64,
    /// How many samples it took.
    pub samples: usize,
    /// The gradients, as the optimizer got them.
    pub gradients: &'a Gradients<T>,
}

/// Runs what a user wrote, and turns a panic in it into an error.
pub(crate) fn guarded<R>(
    place: impl FnOnce() -> String,
    work: impl FnOnce() -> Result<R>,
) -> Result<R> {
    // What a panic left half-done belongs to the user's code; everything of
    // ours is handed to it complete.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => Err(Error::panic(place(), &*payload)),
    }
}
