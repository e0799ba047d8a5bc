//! Training whose effect is undone afterwards, to examine what a model does.

use std::fmt;

use dendra_datasets::{DataLoader, Dataset};
use dendra_losses::Loss;
use dendra_nn::Model;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::batches::Ready;
use crate::step::Mixed;
use crate::trainer::{Gathered, Trainer};

impl<M, O, L, Y, I, T> Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    T: Float,
{
    /// Runs a function, then restores model and optimizer.
    pub(crate) fn on_trial<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let (model, optimizer) = (self.model.state_dict(), self.optimizer.state_dict());
        let result = work(self);
        self.model.load_state_dict(&model)?;
        self.optimizer.load_state_dict(&optimizer)?;
        result
    }

    /// Trains on the first batch alone, repeatedly, then restores model and
    /// optimizer.
    ///
    /// A network that cannot overfit one batch will not learn the data: a layer
    /// is wrong, the targets do not belong to their inputs, or the learning
    /// rate is unsuitable. This check takes little time.
    ///
    /// ```
    /// use dendra_datasets::moons;
    /// use dendra_losses::CrossEntropy;
    /// use dendra_nn::Sequential;
    /// use dendra_optim::Adam;
    /// use dendra_tensor::Rng;
    /// use dendra_train::Trainer;
    ///
    /// let model = Sequential::input([2]).dense(32).relu().dense(2).build(&mut Rng::seed(1))?;
    /// let mut trainer: Trainer<_, _, _> =
    ///     Trainer::new(model, Adam::new(1e-2), CrossEntropy::new());
    /// let overfit = trainer.overfit_one_batch(&moons(100, 0.1, 7)?, 16, 300)?;
    /// println!("{overfit}");
    /// assert!(overfit.is_learnt());
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the data set is empty, or the model, the loss or the optimizer
    /// rejects the batch.
    pub fn overfit_one_batch<D>(
        &mut self,
        data: &D,
        batch_size: usize,
        steps: usize,
    ) -> Result<Overfit>
    where
        I: Send,
        Y: Send,
        D: Dataset<Input = I, Target = Y>,
    {
        let batch = DataLoader::new(data).batch_size(batch_size).epoch(0).next();
        let batch =
            batch.ok_or_else(|| Error::data("overfit_one_batch", "the data set has no samples"));
        let (inputs, targets) = batch??;
        let samples = batch_size.min(data.len());
        let batch = [Ready { samples, inputs, targets }];
        self.on_trial(|trainer| {
            let mut losses = Vec::with_capacity(steps);
            for step in 0..steps {
                let mut figures = Gathered::new(&[]);
                let mixed = &mut Mixed::default();
                trainer.step(&batch, 0, (0, step), None, mixed, &mut figures)?;
                losses.push(figures.loss.value());
            }
            Ok(Overfit { losses })
        })
    }
}

/// The result of training on one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Overfit {
    /// The loss before each step.
    pub losses: Vec<f64>,
}

impl Overfit {
    /// Whether the loss fell to a tenth of its first value or less.
    pub fn is_learnt(&self) -> bool {
        match (self.losses.first(), self.losses.last()) {
            (Some(first), Some(last)) => *last <= 0.1 * first,
            _ => false,
        }
    }
}

/// Prints `loss 2.3026 → 0.0012 in 300 steps on one batch: learnt`.
impl fmt::Display for Overfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.losses.first(), self.losses.last()) else {
            return f.write_str("no steps");
        };
        let verdict = if self.is_learnt() { "learnt" } else { "not learnt" };
        let steps = self.losses.len();
        write!(f, "loss {first:.4} → {last:.4} in {steps} steps on one batch: {verdict}")
    }
}
