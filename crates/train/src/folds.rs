//! Cross-validation.

use std::fmt;

use dendra_datasets::{Dataset, Subset};
use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use crate::history::Evaluation;

/// Splits a data set into k folds; each is held out once.
///
/// ```
/// use dendra_datasets::moons;
/// use dendra_losses::CrossEntropy;
/// use dendra_nn::Sequential;
/// use dendra_optim::Adam;
/// use dendra_tensor::Rng;
/// use dendra_train::{Accuracy, Fit, KFold, Trainer};
///
/// let data = moons(200, 0.1, 7)?;
/// let scores = KFold::new(4).seed(1).run(&data, |train, validation| {
///     let model = Sequential::input([2]).dense(16).relu().dense(2).build(&mut Rng::seed(42))?;
///     let mut trainer =
///         Trainer::new(model, Adam::new(1e-2), CrossEntropy::new()).metric(Accuracy::new());
///     trainer.fit(train, Fit::epochs(20).quiet())?;
///     trainer.evaluate(validation)
/// })?;
/// println!("{scores}");
/// assert!(scores.mean("accuracy")? > 0.8);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
pub struct KFold {
    folds: usize,
    /// The seed of the random draw.
    #[set(default = 0)]
    seed: u64,
    /// Spreads the samples of every label evenly over the folds; `stratified` has
    /// one label per sample.
    #[set(into)]
    stratified: Option<Vec<i64>>,
}

impl KFold {
    /// This many folds, drawn at random.
    pub fn new(folds: usize) -> Self {
        Self::with_defaults(folds)
    }

    /// The indices of the samples of each fold, in increasing order.
    ///
    /// # Errors
    ///
    /// When there are fewer than two folds or more folds than samples, or the
    /// number of labels is not that of the samples.
    pub fn indices(&self, samples: usize) -> Result<Vec<Vec<usize>>> {
        if self.folds < 2 || self.folds > samples {
            let message = format!("expected 2 to {samples} folds, got {}", self.folds);
            return Err(Error::argument("KFold", message));
        }
        let mut order = Rng::seed(self.seed).permutation(samples);
        if let Some(labels) = &self.stratified {
            if labels.len() != samples {
                let message =
                    format!("expected {samples} labels, one for each sample, got {}", labels.len());
                return Err(Error::argument("KFold", message));
            }
            // After sorting by label, dealing the samples out in turn spreads
            // each label evenly.
            order.sort_by_key(|&index| labels[index]);
        }
        let mut folds = vec![Vec::new(); self.folds];
        for (turn, index) in order.into_iter().enumerate() {
            folds[turn % self.folds].push(index);
        }
        folds.iter_mut().for_each(|fold| fold.sort_unstable());
        Ok(folds)
    }

    /// Trains and evaluates once for each fold: `evaluate` gets the samples for
    /// training and the held-out samples.
    ///
    /// # Errors
    ///
    /// The errors of [`indices`](Self::indices), and any error of `evaluate`, with
    /// the number of the fold.
    pub fn run<D: Dataset>(
        &self,
        data: &D,
        mut evaluate: impl FnMut(&Subset<&D>, &Subset<&D>) -> Result<Evaluation>,
    ) -> Result<CrossValidation> {
        let folds = self.indices(data.len())?;
        let mut evaluations = Vec::with_capacity(folds.len());
        for (held_out, fold) in folds.iter().enumerate() {
            let others = folds.iter().enumerate().filter(|(index, _)| *index != held_out);
            let mut rest: Vec<usize> = others.flat_map(|(_, fold)| fold).copied().collect();
            rest.sort_unstable();
            let (train, validation) = (data.subset(rest)?, data.subset(fold.clone())?);
            let context = format!("fold {} of {}", held_out + 1, self.folds);
            evaluations.push(evaluate(&train, &validation).map_err(|error| error.within(context))?);
        }
        Ok(CrossValidation { evaluations })
    }
}

/// The result of cross-validation.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidation {
    /// The evaluation of each fold.
    pub evaluations: Vec<Evaluation>,
}

impl CrossValidation {
    fn values(&self, figure: &str) -> Result<Vec<f64>> {
        let value = |evaluation: &Evaluation| match figure {
            "loss" => Ok(evaluation.loss),
            metric => evaluation.metric(metric),
        };
        self.evaluations.iter().map(value).collect()
    }

    /// The mean of a figure, `loss` or a metric, over the folds.
    ///
    /// # Errors
    ///
    /// When there is no such metric.
    pub fn mean(&self, figure: &str) -> Result<f64> {
        let values = self.values(figure)?;
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The standard deviation of a figure over the folds: the square root of
    /// the sum of squared deviations from the mean, divided by the number of
    /// folds less one.
    ///
    /// # Errors
    ///
    /// When there is no such metric.
    pub fn std(&self, figure: &str) -> Result<f64> {
        let (values, mean) = (self.values(figure)?, self.mean(figure)?);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Ok((squares / (values.len() as f64 - 1.0)).sqrt())
    }
}

/// One line for each fold, and one with means and standard deviations.
impl fmt::Display for CrossValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, evaluation) in self.evaluations.iter().enumerate() {
            writeln!(f, "fold {}  {evaluation}", index + 1)?;
        }
        let Some(first) = self.evaluations.first() else { return Ok(()) };
        let metrics = first.metrics.iter().map(|(name, _)| name.as_str());
        f.write_str("mean")?;
        for name in std::iter::once("loss").chain(metrics) {
            let (Ok(mean), Ok(std)) = (self.mean(name), self.std(name)) else { continue };
            write!(f, "  {name} {mean:.4} ± {std:.4}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_held_out_once() {
        let folds = KFold::new(3).seed(7).indices(10).unwrap();
        let sizes: Vec<usize> = folds.iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 3, 3]);
        let mut all: Vec<usize> = folds.concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_ne!(folds, KFold::new(3).seed(8).indices(10).unwrap());
    }

    #[test]
    fn labels_are_spread_evenly() {
        let labels: Vec<i64> = (0..100).map(|i| i64::from(i % 10 == 0)).collect();
        for fold in KFold::new(5).stratified(labels.clone()).indices(100).unwrap() {
            assert_eq!(fold.iter().filter(|&&index| labels[index] == 1).count(), 2);
        }
        assert!(KFold::new(5).stratified(labels).indices(99).is_err());
    }

    #[test]
    fn too_few_and_too_many_folds_are_refused() {
        assert!(KFold::new(1).indices(10).is_err());
        assert!(KFold::new(11).indices(10).is_err());
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_folds() {
        let of = |loss| Evaluation { loss, metrics: vec![("accuracy".into(), loss / 10.0)] };
        let scores = CrossValidation { evaluations: [1.0, 2.0, 3.0].map(of).into() };
        assert_eq!((scores.mean("loss").unwrap(), scores.std("loss").unwrap()), (2.0, 1.0));
        assert!((scores.std("accuracy").unwrap() - 0.1).abs() < 1e-12);
        assert!(scores.mean("f1").is_err());
        assert!(
            scores.to_string().ends_with("mean  loss 2.0000 ± 1.0000  accuracy 0.2000 ± 0.1000")
        );
    }
}
