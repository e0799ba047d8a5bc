//! One step: forward and backward pass of its batches, then the optimizer.

use dendra_autograd::{Gradients, Parameters, Tape, Var};
use dendra_losses::{Loss, RunningLoss};
use dendra_nn::{Model, Output};
use dendra_optim::{GradScaler, Optimizer};
use dendra_tensor::{Error, Float, HalfPrecision, Result};

use crate::batches::Ready;
use crate::trainer::{Gathered, Trainer, Values};

/// The result of a step.
pub(crate) struct Step<T: Float> {
    pub(crate) gradients: Gradients<T>,
    pub(crate) loss: f64,
    pub(crate) samples: usize,
    /// Why the parameters did not change, for a step that the loss scale made
    /// infinite.
    pub(crate) skipped: Option<String>,
}

/// How a run uses half precision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mixed {
    pub(crate) precision: Option<HalfPrecision>,
    pub(crate) scaler: Option<GradScaler>,
}

impl Mixed {
    /// The tape of a batch. Its random numbers depend only on the seed and the
    /// position, so that a resumed run draws the same ones.
    fn tape<T: Float>(&self, seed: u64, epoch: u64, batch: usize) -> Tape<T> {
        let tape = Tape::training(seed, epoch << 32 | batch as u64);
        match self.precision {
            Some(precision) => tape.autocast(precision),
            None => tape,
        }
    }

    /// The gradients of the loss, or of the scaled loss.
    fn backward<T: Float>(&self, loss: &Var<T>) -> Result<Gradients<T>> {
        match &self.scaler {
            Some(scaler) => scaler.scale(loss).backward(),
            None => loss.backward(),
        }
    }

    /// Undoes the scaling, and adapts the scale. Returns why the step must be
    /// skipped, if it must.
    fn unscale<T: Float>(&mut self, gradients: &mut Gradients<T>) -> Option<String> {
        let scaler = self.scaler.as_mut()?;
        scaler.unscale(gradients);
        let before = scaler.get_scale();
        let finite = gradients.first_not_finite().is_none();
        if !finite && before <= 1.0 {
            return None;
        }
        scaler.update(finite);
        let now = scaler.get_scale();
        (!finite).then(|| {
            format!(
                "the gradients are not finite at a loss scale of {before}; the step was skipped, \
                 and the scale is now {now}"
            )
        })
    }
}

/// The gradients of a loss, as from `loss.backward()`, with the check for
/// values that are not finite that [`Trainer::fit`] makes, for a loop written
/// by hand.
///
/// ```
/// use dendra_autograd::Tape;
/// use dendra_losses::cross_entropy;
/// use dendra_nn::{Module, Sequential};
/// use dendra_tensor::{Rng, Tensor};
/// use dendra_train::checked_backward;
///
/// let model = Sequential::input([2]).dense(3).build(&mut Rng::seed(0))?;
/// let x = Tape::training(0, 0).input(Tensor::from([[1.0, f32::NAN]]));
/// let loss = cross_entropy(&model.forward(&x)?, &Tensor::from([2]))?;
/// let error = checked_backward(&loss, &model).err().unwrap().to_string();
/// assert!(error.contains("first not finite: the input of `linear` with `0.weight`"), "{error}");
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::NotFinite`] when the loss or a gradient is infinite or NaN; it
/// names the first value of the step that is not finite, or the parameter. Also
/// those of [`Var::backward`].
pub fn checked_backward<T: Float>(
    loss: &Var<T>,
    model: &(impl Parameters<T> + ?Sized),
) -> Result<Gradients<T>> {
    const PLACE: &str = "checked_backward";
    let first = || loss.tape()?.first_not_finite(|id| model.name_of(id));
    if !loss.value().is_finite() {
        return Err(Error::not_finite(PLACE, loss_not_finite(loss, first())));
    }
    let gradients = loss.backward()?;
    match gradients.first_not_finite() {
        None => Ok(gradients),
        Some(id) => Err(Error::not_finite(PLACE, gradient_not_finite(model.name_of(id), None))),
    }
}

/// The message for a loss that is not finite, when `first` is the first such
/// value.
pub(crate) fn loss_not_finite<T: Float>(loss: &Var<T>, first: Option<String>) -> String {
    let first = first.as_deref().unwrap_or("the loss itself");
    format!("the loss is not finite ({}); first not finite: {first}", loss.value())
}

/// The message for a gradient that is not finite.
fn gradient_not_finite(name: Option<String>, reason: Option<String>) -> String {
    let name = name.as_deref().unwrap_or("an unnamed parameter");
    let reason = reason.map_or_else(String::new, |first| format!("; first not finite: {first}"));
    format!("the gradient of `{name}` is not finite{reason}")
}

impl<M, O, L, Y, I, T> Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    T: Float,
{
    /// Trains on some batches with the trainer's loss or another one; `first`
    /// is the index of the first of them in its epoch. If this fails, neither the
    /// weights nor the figures have changed.
    pub(crate) fn step(
        &mut self,
        batches: &[Ready<I, Y>],
        seed: u64,
        (epoch, first): (u64, usize),
        other_loss: Option<&dyn Loss<Y, T, M::Output>>,
        mixed: &mut Mixed,
        gathered: &mut Gathered<Y, Values<M, I, T>>,
    ) -> Result<Step<T>> {
        let criterion = other_loss.unwrap_or(&self.loss);
        let mut total: Option<Gradients<T>> = None;
        let mut figures = Vec::with_capacity(batches.len());
        let (mut all_samples, mut running) = (0, RunningLoss::default());
        let several = batches.len() > 1;
        for (index, Ready { samples, inputs, targets }) in batches.iter().enumerate() {
            let tape = mixed.tape(seed, epoch, first + index);
            let output = self.model.run(inputs, &tape)?;
            let loss = criterion.forward(&output, targets)?;
            let divisor = criterion.divisor(&output, targets, *samples);
            // When all samples are ignored, the loss is NaN and its gradient is
            // 0.
            if divisor != Some(0.0) && !loss.value().is_finite() {
                let first = self.first_not_finite(&tape);
                return Err(self.not_finite(loss_not_finite(&loss, first)));
            }
            let mut gradients = mixed.backward(&loss)?;
            let loss = loss.value().item()?.to_f64();
            running.add(loss, divisor);
            figures.push((loss, divisor, *samples, output.into_values(), targets));
            all_samples += samples;
            if several {
                gradients.scale(divisor.unwrap_or(1.0));
            }
            match &mut total {
                None => total = Some(gradients),
                Some(total) => total.accumulate(gradients),
            }
        }
        let mut gradients = total.ok_or_else(|| Error::argument("step", "there is no batch"))?;
        if several && running.divisor > 0.0 {
            gradients.scale(1.0 / running.divisor);
        }
        let skipped = mixed.unscale(&mut gradients);
        if skipped.is_none()
            && let Some(id) = gradients.first_not_finite()
        {
            // A bounded activation can hide an infinite input from the loss.
            let reason = batches.iter().enumerate().find_map(|(index, batch)| {
                let tape = mixed.tape(seed, epoch, first + index);
                self.model.run(&batch.inputs, &tape).ok()?;
                self.first_not_finite(&tape)
            });
            return Err(self.not_finite(gradient_not_finite(self.model.name_of(id), reason)));
        }
        if skipped.is_none() {
            self.optimizer.step(&mut self.model, &gradients)?;
        }
        for (loss, divisor, samples, values, targets) in figures {
            gathered.add(loss, divisor, samples, &values, targets)?;
        }
        Ok(Step { gradients, loss: running.value(), samples: all_samples, skipped })
    }

    /// A description of the first value on a tape that is not finite.
    fn first_not_finite(&self, tape: &Tape<T>) -> Option<String> {
        tape.first_not_finite(|id| self.model.name_of(id))
    }

    fn not_finite(&self, message: String) -> Error {
        Error::not_finite(format!("step {}", self.optimizer.steps() + 1), message)
    }
}
