//! One step: forward and backward through its batches, then the optimizer.

use dendra_autograd::{Gradients, Tape};
use dendra_losses::Loss;
use dendra_nn::Module;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Tensor};

use crate::trainer::{Gathered, Trainer};

/// A step that was done.
pub(crate) struct Step {
    pub(crate) gradients: Gradients,
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
        let mut all_samples = 0;
        let several = batches.len() > 1;
        for (index, (inputs, targets)) in batches.into_iter().enumerate() {
            let samples = inputs.shape().first().copied().unwrap_or(1);
            all_inputs.push(inputs.clone());
            let tape = tape(seed, epoch, first + index);
            let output = self.model.forward(&tape.input(inputs))?;
            let loss = match class_weights {
                Some(weights) => self.loss.forward_weighted(&output, &targets, weights)?,
                None => self.loss.forward(&output, &targets)?,
            };
            if !loss.value().is_finite() {
                let first = tape.first_not_finite(|id| self.model.name_of(id));
                let first = first.unwrap_or_else(|| "the loss itself".to_owned());
                let message = format!("the loss is not finite ({})", loss.value());
                return Err(self.not_finite(format!("{message}; first not finite: {first}")));
            }
            let mut gradients = loss.backward()?;
            figures.push((f64::from(gradients.loss()), samples, output.into_value(), targets));
            all_samples += samples;
            if several {
                gradients.scale(samples as f64);
            }
            match &mut total {
                None => total = Some(gradients),
                Some(total) => total.accumulate(gradients),
            }
        }
        let mut gradients = total.ok_or_else(|| Error::argument("step", "there is no batch"))?;
        if several {
            gradients.scale(1.0 / all_samples as f64);
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
        for (loss, samples, output, targets) in figures {
            gathered.add(loss, samples, &output, &targets)?;
        }
        Ok(Step { gradients, samples: all_samples })
    }

    fn not_finite(&self, message: String) -> Error {
        Error::not_finite(format!("step {}", self.optimizer.steps() + 1), message)
    }
}
