//! [`LocalTraining`]: what a client does with its data.

use dendra_autograd::{Gradients, ParamId, Parameters, Tape, Var};
use dendra_datasets::{DataLoader, Dataset};
use dendra_derive::Setters;
use dendra_losses::Loss;
use dendra_nn::Model;
use dendra_optim::{Optimizer, SGD};
use dendra_tensor::{Ops, Result, Rng, Tensor};

use super::Task;

/// Plain gradient descent on a client's data. The order of its samples depends
/// on the seed, the client and the round.
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
pub struct LocalTraining {
    learning_rate: f64,
    /// The number of epochs in a round, E in the literature.
    #[set(default = 1)]
    epochs: u64,
    /// The number of samples in a batch, B in the literature.
    #[set(default = 10)]
    batch_size: usize,
    /// The weight μ of the penalty μ/2·‖w − w₀‖² on the distance to the global
    /// model (FedProx).
    #[set(default = 0.0)]
    proximal: f64,
    /// The seed of the order of the samples and of dropout.
    #[set(default = 0)]
    seed: u64,
}

impl LocalTraining {
    /// Training with this learning rate.
    pub fn new(learning_rate: f64) -> Self {
        Self::with_defaults(learning_rate)
    }

    /// Trains the client's copy of the model, and returns the number of its
    /// samples, as [`Federation::round`](super::Federation::round) wants it.
    ///
    /// # Errors
    ///
    /// When the model, the loss or the optimizer rejects a batch, or the data
    /// set fails.
    pub fn train<M, L, D>(&self, task: Task, model: &mut M, loss: &L, data: &D) -> Result<usize>
    where
        M: Model<D::Input, f32, Output = Var>,
        L: Loss<D::Target>,
        D: Dataset,
    {
        let seed = Rng::seed(self.seed).fork(task.round).fork(task.client as u64).next_u64();
        let loader = DataLoader::new(data).batch_size(self.batch_size).shuffle(seed);
        let start: Vec<(ParamId, Tensor)> = match self.proximal {
            0.0 => Vec::new(),
            _ => {
                let parameters = model.named_parameters();
                let trained = parameters.into_iter().filter(|(_, param)| param.is_trainable());
                trained.map(|(_, param)| (param.id(), param.value().clone())).collect()
            }
        };
        let mut optimizer = SGD::new(self.learning_rate);
        for epoch in 0..self.epochs {
            for batch in loader.epoch(epoch) {
                let (inputs, targets) = batch?;
                let tape: Tape = optimizer.tape(seed);
                let output = model.run(&inputs, &tape)?;
                let mut gradients = loss.forward(&output, &targets)?.backward()?;
                if !start.is_empty() {
                    gradients.accumulate(self.towards(&start, &*model)?);
                }
                optimizer.step(model, &gradients)?;
            }
        }
        Ok(data.len())
    }

    /// The gradient of the penalty on the distance to the global model.
    fn towards<M: Parameters<f32>>(
        &self,
        start: &[(ParamId, Tensor)],
        model: &M,
    ) -> Result<Gradients> {
        let parameters = model.named_parameters();
        let trained = parameters.into_iter().filter(|(_, param)| param.is_trainable());
        let values = trained.zip(start).map(|((_, param), (id, before))| {
            Ok((*id, param.value().sub(before)?.mul_scalar(self.proximal)))
        });
        Ok(Gradients::from_values(0.0, values.collect::<Result<Vec<_>>>()?))
    }
}
