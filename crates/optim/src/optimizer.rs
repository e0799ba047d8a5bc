//! The trait of optimizers.

use dendra_autograd::{Gradients, ParamId, Parameters, StateDict, Tape};
use dendra_tensor::{Error, Float, Result};

/// An optimizer, which updates the parameters of a model from their gradients.
///
/// Settings are not part of the state. To resume a training run, create an optimizer
/// with the same settings and load the state into it. The base learning rate is part
/// of the state, since [`set_learning_rate`](Self::set_learning_rate) can change it.
pub trait Optimizer<T: Float = f32> {
    /// Performs a step: updates the trainable parameters, and applies the updates of
    /// buffers that the forward pass recorded. Frozen parameters are unchanged.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid, a trainable parameter has no
    /// gradient or one of another shape, or the state of the optimizer belongs to
    /// another model. After an error the parameters are unchanged.
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()>;

    /// Performs a step of which this optimizer does a part: only the parameters that
    /// `belongs` accepts are updated, and only they have state afterwards. Everything
    /// else is as in [`step`](Self::step): all gradients are checked and clipped
    /// together, and all updates of buffers are applied. Processes that divide the
    /// parameters among themselves do one step together.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`step`](Self::step). By default an optimizer cannot do a
    /// part of a step.
    fn step_part(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
        belongs: &dyn Fn(ParamId) -> bool,
    ) -> Result<()> {
        let _ = (model, gradients, belongs);
        Err(Error::argument("step_part", "this optimizer cannot update a part of a model"))
    }

    /// Checks whether a step would succeed, without changing any parameter.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`step`](Self::step).
    fn check_step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>)
    -> Result<()>;

    /// Checks the settings. `step` does this too.
    ///
    /// # Errors
    ///
    /// Returns an error that contains the name of an invalid setting.
    fn check(&self) -> Result<()>;

    /// Returns the number of completed steps.
    fn steps(&self) -> u64;

    /// Creates a tape for the next step, in training mode. Its random numbers depend
    /// on the seed and on the number of completed steps.
    ///
    /// If a step uses several batches, create a different tape for each batch with
    /// [`Tape::training`]: tapes with equal seed and step draw equal random numbers.
    ///
    /// ```
    /// use dendra_autograd::{Param, Parameters};
    /// use dendra_optim::{Optimizer, SGD};
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let (mut optimizer, mut weight) = (SGD::new(0.1), Param::new(Tensor::from([1.0_f32])));
    /// for _ in 0..3 {
    ///     let tape = optimizer.tape(42);
    ///     let x = tape.input(Tensor::from([2.0]));
    ///     let gradients = x.mul(&weight.on(&x))?.square().sum().backward()?;
    ///     optimizer.step(&mut weight, &gradients)?;
    /// }
    /// assert_eq!(optimizer.steps(), 3);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    fn tape(&self, seed: u64) -> Tape<T> {
        Tape::training(seed, self.steps())
    }

    /// Returns the learning rate of the next step, including the schedule.
    fn learning_rate(&self) -> f64;

    /// Returns the base learning rate, from which a schedule starts. Without a
    /// schedule it is the learning rate of every step.
    fn base_learning_rate(&self) -> f64;

    /// Changes the base learning rate.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// Marks the end of an epoch, for schedules that count epochs.
    fn end_epoch(&mut self);

    /// Passes a metric, usually the validation loss after an epoch, to the
    /// [`ReduceLROnPlateau`](crate::ReduceLROnPlateau), if there is one.
    fn observe(&mut self, figure: f64);

    /// Returns the state: `steps`, `epochs` and `learning_rate` of the optimizer, the
    /// state of its [`ReduceLROnPlateau`](crate::ReduceLROnPlateau), and for each
    /// parameter the number of its updates and its state tensors, with names such as
    /// `fc1.weight.step` and `fc1.weight.exp_avg`.
    fn state_dict(&self) -> StateDict;

    /// Loads a state. The next steps produce the same bits as those of the optimizer
    /// from which the state was taken. The next step finds the parameters by name; it
    /// returns an error if they are missing, unexpected or of another shape.
    ///
    /// # Errors
    ///
    /// Returns an error if the state is not from this kind of optimizer. The error
    /// lists all entries that are missing, unexpected or of a wrong type. The
    /// optimizer is then unchanged.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()>;
}

impl<T: Float, O: Optimizer<T> + ?Sized> Optimizer<T> for Box<O> {
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()> {
        (**self).step(model, gradients)
    }

    fn step_part(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
        belongs: &dyn Fn(ParamId) -> bool,
    ) -> Result<()> {
        (**self).step_part(model, gradients, belongs)
    }

    fn check_step(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
    ) -> Result<()> {
        (**self).check_step(model, gradients)
    }

    fn check(&self) -> Result<()> {
        (**self).check()
    }

    fn steps(&self) -> u64 {
        (**self).steps()
    }

    fn learning_rate(&self) -> f64 {
        (**self).learning_rate()
    }

    fn base_learning_rate(&self) -> f64 {
        (**self).base_learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        (**self).set_learning_rate(learning_rate);
    }

    fn end_epoch(&mut self) {
        (**self).end_epoch();
    }

    fn observe(&mut self, figure: f64) {
        (**self).observe(figure);
    }

    fn state_dict(&self) -> StateDict {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        (**self).load_state_dict(state)
    }
}
