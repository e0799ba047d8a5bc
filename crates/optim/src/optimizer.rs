//! The interface of optimizers.

use dendra_autograd::{Gradients, Parameters, StateDict, Tape};
use dendra_tensor::{Float, Result};

/// Changes the parameters of a model along their gradients.
///
/// Its settings are not part of its state: to resume a training, make the same
/// optimizer again and load the state into it. The base learning rate is part
/// of the state, since [`set_learning_rate`](Self::set_learning_rate) may have
/// changed it.
pub trait Optimizer<T: Float = f32> {
    /// One step: updates the trainable parameters, and applies the updates of
    /// buffers that the forward pass recorded. Frozen parameters stay.
    ///
    /// # Errors
    ///
    /// When a setting is invalid, a trainable parameter has no gradient or one
    /// of another shape, or the optimizer's state belongs to another model. On
    /// an error the parameters are unchanged.
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()>;

    /// Checks whether a step would succeed, and changes no parameter.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    fn check_step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>)
    -> Result<()>;

    /// Checks the settings, as `step` does.
    ///
    /// # Errors
    ///
    /// When one is invalid; the error names it.
    fn check(&self) -> Result<()>;

    /// The number of steps done.
    fn steps(&self) -> u64;

    /// The tape of the next step, in training mode: its random numbers depend
    /// on the seed and on the number of steps done.
    ///
    /// A step over several batches needs a different tape for each, from
    /// [`Tape::training`], since tapes with the same step draw the same
    /// numbers.
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

    /// The learning rate that the next step will use, schedule included.
    fn learning_rate(&self) -> f64;

    /// The learning rate that a schedule starts from; that of every step when
    /// there is none.
    fn base_learning_rate(&self) -> f64;

    /// Changes the base learning rate.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// Marks the end of an epoch, for schedules that count epochs.
    fn end_epoch(&mut self);

    /// Passes a figure, usually the loss on the validation data after an epoch,
    /// to the [`ReduceLROnPlateau`](crate::ReduceLROnPlateau), if there is one.
    fn observe(&mut self, figure: f64);

    /// The state: `steps`, `epochs` and `learning_rate` of the optimizer, the
    /// state of its [`ReduceLROnPlateau`](crate::ReduceLROnPlateau), and for
    /// each parameter, under its name, the number of its updates and its
    /// tensors, as `fc1.weight.step` and `fc1.weight.exp_avg`.
    fn state_dict(&self) -> StateDict;

    /// Continues from a state: the next steps are the same, bit for bit, as
    /// those of the optimizer that the state comes from. The next step finds
    /// the parameters by their names and reports those that are missing,
    /// unexpected or of another shape.
    ///
    /// # Errors
    ///
    /// When the state is not from this kind of optimizer: the error lists all
    /// entries that are missing, unexpected or of a wrong type, and the
    /// optimizer is unchanged.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()>;
}

impl<T: Float, O: Optimizer<T> + ?Sized> Optimizer<T> for Box<O> {
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()> {
        (**self).step(model, gradients)
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
