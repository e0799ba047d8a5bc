//! One step: forward and backward through its batches, then the optimizer.

use dendra_autograd::{Gradients, Tape};
use dendra_losses::{BatchLoss, Loss, RunningLoss};
use dendra_nn::Module;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Tensor};

use crate::trainer::{Gathered, Trainer};

/// A step that was done.
pub(crate) struct Step {
    pub(crate) gradients: Gradients,
    pub(crate) loss: f64,
    pub(crate) samples: usize,
}

/// The stream of random numbers of a batch, which depends on the seed and its
/// position alone: a run that is resumed draws the same.
fn tape(seed: u64, epoch: usize, batch: usize) -> Tape {
    Tape::training(seed, (epoch as u64) << 32 | batch as u64)
}

impl<M: Module, O: Optimizer, L: Loss<Y>, Y: Send> Trainer<M, O, L, Y> {
    /// Trains on some batches, of which the first is the given one of its
    /// epoch. When this fails, neither weights nor figures have changed.
    pub(crate) fn step(
        &mut self,
        batches: Vec<(Tensor, Y)>,
        seed: u64,
        (epoch, first): (usize, usize),
        class_weights: Option<&[f64]>,
        gathered: &mut Gathered<Y>,
    ) -> Result<Step> {
        let mut total: Option<Gradients> = None;
        let mut figures = Vec::with_capacity(batches.len());
        let mut all_inputs = Vec::with_capacity(batches.len());
        let (mut all_samples, mut running) = (0, RunningLoss::default());
        let several = batches.len() > 1;
        for (index, (inputs, targets)) in batches.into_iter().enumerate() {
            let samples = inputs.shape().first().copied().unwrap_or(1);
            all_inputs.push(inputs.clone());
            let tape = tape(seed, epoch, first + index);
            let output = self.model.forward(&tape.input(inputs))?;
            let loss = self.loss.of_batch(&output, &targets, class_weights)?;
            let (factor, counts) = (loss.factor(), loss.counts());
            let BatchLoss { value: loss, divisor } = loss;
            // Where nothing counts, the loss is NaN and its gradient 0.
            if counts && !loss.value().is_finite() {
                let first = tape.first_not_finite(|id| self.model.name_of(id));
                let first = first.unwrap_or_else(|| "the loss itself".to_owned());
                let message = format!("the loss is not finite ({})", loss.value());
                return Err(self.not_finite(format!("{message}; first not finite: {first}")));
            }
            let mut gradients = loss.backward()?;
            let loss = f64::from(gradients.loss());
            running.add(loss, divisor);
            figures.push((loss, divisor, samples, output.into_value(), targets));
            all_samples += samples;
            if several {
                gradients.scale(factor);
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
        if let Some(id) = gradients.first_not_finite() {
            let name = self.model.name_of(id).unwrap_or_else(|| "an unnamed parameter".to_owned());
            // An activation with bounds hides an infinite input from the loss.
            let reason = match all_inputs.iter().all(Tensor::is_finite) {
                true => "",
                false => ", as the input of the model is not",
            };
            return Err(self.not_finite(format!("the gradient of `{name}` is not finite{reason}")));
        }
        self.optimizer.step(&mut self.model, &gradients)?;
        for (loss, divisor, samples, output, targets) in figures {
            gathered.add(loss, divisor, samples, &output, &targets)?;
        }
        Ok(Step { gradients, loss: running.value(), samples: all_samples })
    }

    fn not_finite(&self, message: String) -> Error {
        Error::not_finite(format!("step {}", self.optimizer.steps() + 1), message)
    }
}
