//! Search for a learning rate.

use std::fmt;

use dendra_datasets::{DataLoader, Dataset};
use dendra_derive::Setters;
use dendra_losses::Loss;
use dendra_nn::Model;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::batches::Ready;
use crate::step::Mixed;
use crate::trainer::{Gathered, Trainer};

/// The share of the running mean of the loss that each step keeps.
const SMOOTHING: f64 = 0.9;

/// The search ends when the loss is this many times its lowest value.
const DIVERGED: f64 = 4.0;

/// The settings of [`Trainer::find_learning_rate`]: the range of learning rates
/// and how they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
pub struct LearningRates {
    lowest: f64,
    highest: f64,
    /// The number of steps.
    #[set(default = 100)]
    steps: usize,
    /// The number of samples in a batch.
    #[set(default = 32)]
    batch_size: usize,
    /// The seed of the order of the samples.
    #[set(default = 0)]
    seed: u64,
}

impl LearningRates {
    /// Learning rates from the lowest to the highest.
    pub fn between(lowest: f64, highest: f64) -> Self {
        Self::with_defaults(lowest, highest)
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::argument("LearningRates", message));
        let (lowest, highest) = (self.lowest, self.highest);
        if !(lowest > 0.0 && lowest < highest && highest.is_finite()) {
            return wrong(format!("expected 0 < lowest < highest, got {lowest} and {highest}"));
        }
        if self.steps < 10 {
            return wrong(format!("steps must be at least 10, got {}", self.steps));
        }
        Ok(())
    }
}

/// From 1e-7 to 10.
impl Default for LearningRates {
    fn default() -> Self {
        Self::between(1e-7, 10.0)
    }
}

/// The result of [`Trainer::find_learning_rate`].
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRateCurve {
    /// Each learning rate with the smoothed loss before its step.
    pub points: Vec<(f64, f64)>,
}

impl<M, O, L, Y, I, T> Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    T: Float,
{
    /// Trains with a learning rate that grows by a constant factor in each step
    /// until the loss diverges. Model and optimizer are then restored.
    ///
    /// Source: Smith, "Cyclical learning rates for training neural networks",
    /// 2015.
    ///
    /// ```
    /// use dendra_datasets::moons;
    /// use dendra_losses::CrossEntropy;
    /// use dendra_nn::Sequential;
    /// use dendra_optim::Adam;
    /// use dendra_tensor::Rng;
    /// use dendra_train::{LearningRates, Trainer};
    ///
    /// let model = Sequential::input([2]).dense(32).relu().dense(2).build(&mut Rng::seed(1))?;
    /// let mut trainer: Trainer<_, _, _> =
    ///     Trainer::new(model, Adam::new(1e-3), CrossEntropy::new());
    /// let curve = trainer.find_learning_rate(&moons(500, 0.1, 7)?, LearningRates::default())?;
    /// println!("{curve}");
    /// let suggestion = curve.suggestion().expect("the loss falls somewhere");
    /// assert!(suggestion > 1e-5 && suggestion < 1.0);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a setting is invalid, the data set is empty, or the model, the loss
    /// or the optimizer rejects a batch.
    pub fn find_learning_rate<D>(
        &mut self,
        data: &D,
        rates: LearningRates,
    ) -> Result<LearningRateCurve>
    where
        I: Send,
        Y: Send,
        D: Dataset<Input = I, Target = Y>,
    {
        rates.check()?;
        if data.is_empty() {
            return Err(Error::data("find_learning_rate", "the data set has no samples"));
        }
        let loader = DataLoader::new(data).batch_size(rates.batch_size).shuffle(rates.seed);
        let mut batches = (0..).flat_map(|epoch| loader.epoch(epoch).enumerate());
        let ratio = (rates.highest / rates.lowest).powf(1.0 / (rates.steps - 1) as f64);
        self.on_trial(|trainer| {
            let mut points = Vec::with_capacity(rates.steps);
            let (mut mean, mut least) = (0.0, f64::INFINITY);
            for step in 0..rates.steps {
                let Some((index, batch)) = batches.next() else { break };
                let (inputs, targets) = batch?;
                let batch = [Ready { samples: loader.batch_len(index), inputs, targets }];
                let rate = rates.lowest * ratio.powi(step as i32);
                trainer.optimizer.set_learning_rate(rate);
                let mut figures = Gathered::new(&[]);
                let mixed = &mut Mixed::default();
                match trainer.step(&batch, rates.seed, (0, step), None, mixed, &mut figures) {
                    // Divergence ends the search.
                    Err(Error::NotFinite { .. }) => break,
                    result => _ = result?,
                }
                // The loss of a batch whose samples are all ignored is NaN.
                let loss = figures.loss.value();
                if loss.is_nan() {
                    continue;
                }
                mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss;
                let smoothed = mean / (1.0 - SMOOTHING.powi(points.len() as i32 + 1));
                points.push((rate, smoothed));
                least = least.min(smoothed);
                if smoothed > DIVERGED * least {
                    break;
                }
            }
            Ok(LearningRateCurve { points })
        })
    }
}

impl LearningRateCurve {
    /// The learning rate at which the loss falls most steeply as a function of
    /// the logarithm of the learning rate; `None` when it falls nowhere.
    pub fn suggestion(&self) -> Option<f64> {
        let slope = |window: &[(f64, f64)]| {
            let [(x1, y1), _, (x2, y2)] = window else { return 0.0 };
            (y2 - y1) / (x2 / x1).ln()
        };
        // The running mean of the first losses is not smooth yet.
        let settled = self.points.get(5..)?;
        let slopes = settled.windows(3).map(|window| (slope(window), window[1].0));
        let steepest = slopes.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (steepest.0 < 0.0).then_some(steepest.1)
    }
}

/// One line for every tenth learning rate, then the suggestion.
impl fmt::Display for LearningRateCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "learning rate      loss")?;
        let highest = self.points.iter().map(|(_, loss)| *loss).fold(0.0, f64::max);
        for (rate, loss) in self.points.iter().step_by(self.points.len().div_ceil(20).max(1)) {
            let bar = "█".repeat((30.0 * loss / highest).round() as usize);
            writeln!(f, "{rate:>13.2e}  {loss:>8.4}  {bar}")?;
        }
        match self.suggestion() {
            Some(rate) => write!(f, "the loss falls most steeply at {rate:.2e}"),
            None => write!(f, "the loss falls nowhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_fall_is_suggested() {
        let curve = |loss: fn(f64) -> f64| LearningRateCurve {
            points: (0..60)
                .map(|i| 10f64.powf(-6.0 + 0.1 * f64::from(i)))
                .map(|x| (x, loss(x)))
                .collect(),
        };
        // The loss falls as a function of the logarithm, most steeply at 1e-3.
        let fall = curve(|x| 1.0 / (1.0 + (3.0 * (x / 1e-3).ln()).exp()));
        let found = fall.suggestion().unwrap();
        assert!((found / 1e-3).ln().abs() < 0.3, "{found}");
        assert_eq!(curve(|x| x).suggestion(), None);
        assert_eq!(LearningRateCurve { points: vec![] }.suggestion(), None);
    }
}
