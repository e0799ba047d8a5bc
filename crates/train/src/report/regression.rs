//! The errors of a regression.

use std::fmt;

use dendra_autograd::{Tape, Var};
use dendra_datasets::{DataLoader, Dataset};
use dendra_nn::Model;
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::plots::{Chart, Svg};
use crate::trainer::{EVALUATION_BATCH, Trainer};

/// The largest number of points in a chart.
const SHOWN: usize = 2000;

/// The errors of a regression on a data set. All figures except R² are in the
/// unit of the targets. Prints as one line per figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// Each prediction with the true value; several outputs of a sample follow
    /// one another.
    pub pairs: Vec<(f64, f64)>,
}

impl Regression {
    /// Predicts a data set with the model of a trainer.
    ///
    /// # Errors
    ///
    /// When the data set is empty, the model rejects it, or its outputs do not
    /// have the shape of the targets.
    pub fn of<M, O, L, D, T>(
        trainer: &Trainer<M, O, L, Tensor<T>, D::Input, T>,
        data: &D,
    ) -> Result<Self>
    where
        M: Model<D::Input, T, Output = Var<T>>,
        D: Dataset<Target = Tensor<T>>,
        T: Float,
    {
        let mut pairs = Vec::new();
        for batch in DataLoader::new(data).batch_size(EVALUATION_BATCH).epoch(0) {
            let (inputs, targets) = batch?;
            let outputs = trainer.model.run(&inputs, &Tape::inference())?.into_value();
            if outputs.shape() != targets.shape() {
                let (found, expected) = (outputs.shape(), targets.shape());
                let message =
                    format!("expected outputs of the targets' shape {expected}, got {found}");
                return Err(Error::shape("Regression::of", message));
            }
            let targets = targets.to_vec().into_iter().map(T::to_f64);
            pairs.extend(outputs.to_vec().into_iter().map(T::to_f64).zip(targets));
        }
        if pairs.is_empty() {
            return Err(Error::data("Regression::of", "the data set has no samples"));
        }
        Ok(Self { pairs })
    }

    fn mean(&self, of: impl Fn(f64, f64) -> f64) -> f64 {
        self.pairs.iter().map(|&(found, truth)| of(found, truth)).sum::<f64>()
            / self.pairs.len() as f64
    }

    /// The mean of |prediction − truth|.
    pub fn mean_absolute_error(&self) -> f64 {
        self.mean(|found, truth| (found - truth).abs())
    }

    /// The square root of the mean of (prediction − truth)².
    pub fn root_mean_squared_error(&self) -> f64 {
        self.mean(|found, truth| (found - truth).powi(2)).sqrt()
    }

    /// The mean of prediction − truth, which is positive when predictions are
    /// too high.
    pub fn bias(&self) -> f64 {
        self.mean(|found, truth| found - truth)
    }

    /// The largest |prediction − truth|.
    pub fn largest_error(&self) -> f64 {
        self.pairs.iter().map(|&(found, truth)| (found - truth).abs()).fold(0.0, f64::max)
    }

    /// The share of the targets' variance that the predictions explain; NaN
    /// when all targets are equal.
    pub fn r2(&self) -> f64 {
        let mean = self.mean(|_, truth| truth);
        let variance = self.mean(|_, truth| (truth - mean).powi(2));
        let squares = self.mean(|found, truth| (found - truth).powi(2));
        if variance > 0.0 { 1.0 - squares / variance } else { f64::NAN }
    }

    /// A selection of the pairs, evenly spread.
    fn shown(&self) -> impl Iterator<Item = (f64, f64)> {
        self.pairs.iter().copied().step_by(self.pairs.len().div_ceil(SHOWN).max(1))
    }

    /// A chart of the predictions over the true values. Correct predictions are
    /// on the thin line.
    ///
    /// # Errors
    ///
    /// When no prediction is finite.
    pub fn predicted_against_true(&self) -> Result<Svg> {
        let truths = self.pairs.iter().map(|pair| pair.1);
        let low = truths.clone().fold(f64::INFINITY, f64::min);
        let high = truths.fold(f64::NEG_INFINITY, f64::max);
        let points = self.shown().map(|(found, truth)| (truth, found));
        let chart = Chart::new("true", "predicted").guide([(low, low), (high, high)]);
        chart.points("", points).to_svg()
    }

    /// A chart of the errors over the predictions. A pattern in them is
    /// something that the model could still learn.
    ///
    /// # Errors
    ///
    /// When no prediction is finite.
    pub fn residuals(&self) -> Result<Svg> {
        let found = self.pairs.iter().map(|pair| pair.0).filter(|found| found.is_finite());
        let low = found.clone().fold(f64::INFINITY, f64::min);
        let high = found.fold(f64::NEG_INFINITY, f64::max);
        let points = self.shown().map(|(found, truth)| (found, found - truth));
        let chart = Chart::new("predicted", "predicted − true").guide([(low, 0.0), (high, 0.0)]);
        chart.points("", points).to_svg()
    }

    /// The names and values of the figures.
    pub(super) fn figures(&self) -> [(&'static str, f64); 5] {
        [
            ("mean absolute error", self.mean_absolute_error()),
            ("root mean squared error", self.root_mean_squared_error()),
            ("largest error", self.largest_error()),
            ("bias", self.bias()),
            ("R²", self.r2()),
        ]
    }
}

/// One line for each figure.
impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        figures.iter().try_for_each(|(name, value)| writeln!(f, "{name:<24}{value:>12.4}"))?;
        writeln!(f, "{:<24}{:>12}", "samples", self.pairs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_scikit_learn() {
        let truths = [3.0, -0.5, 2.0, 7.0];
        let pairs = [2.5, 0.0, 2.0, 8.0].into_iter().zip(truths).collect();
        let found = Regression { pairs };
        assert_eq!(found.mean_absolute_error(), 0.5);
        assert_eq!(found.root_mean_squared_error(), 0.375_f64.sqrt());
        assert!((found.r2() - 0.948_608_137_044_967_8).abs() < 1e-15);
        assert_eq!((found.bias(), found.largest_error()), (0.25, 1.0));
        let text = found.to_string();
        assert!(text.contains("mean absolute error           0.5000\n"), "{text}");
        for svg in [found.predicted_against_true(), found.residuals()] {
            assert!(svg.unwrap().to_string().matches("<circle").count() >= 4);
        }
    }
}
