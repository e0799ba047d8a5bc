//! [`Prediction`]: the class of a sample, read from a network's outputs.

use std::fmt;
use std::sync::Arc;

use dendra_tensor::{Error, Float, Ops, Result, Tensor};

/// The predicted class of a sample, with the probabilities of all classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    label: usize,
    probabilities: Vec<f64>,
    classes: Arc<[String]>,
}

impl Prediction {
    /// The predictions for a network's outputs of shape `[samples, classes]`,
    /// which are logits or probabilities. For two classes, outputs `[samples,
    /// 1]` are the logit of the second.
    ///
    /// # Errors
    ///
    /// When the classes have no names, or the outputs are not finite or have
    /// another shape.
    pub fn of<T: Float>(outputs: &Tensor<T>, classes: &Arc<[String]>) -> Result<Vec<Self>> {
        const CONTEXT: &str = "Prediction::of";
        if classes.is_empty() {
            let message =
                "the classes have no names; for a regression, use the outputs of the network";
            return Err(Error::argument(CONTEXT, message));
        }
        let probabilities = match outputs.shape()[..] {
            [_, 1] if classes.len() == 2 => {
                let second = outputs.map(T::to_f64).sigmoid();
                Tensor::cat(&[&second.map(|p| 1.0 - p), &second], 1)?
            }
            [_, found] if found == classes.len() => probabilities(outputs)?,
            _ => {
                let expected = format!("[samples, {}]", classes.len());
                let message = format!("expected outputs {expected}, got {}", outputs.shape());
                return Err(Error::shape(CONTEXT, message));
            }
        };
        let rows = probabilities.to_vec();
        let rows = rows.chunks_exact(classes.len()).enumerate().map(|(sample, row)| {
            let finite = row.iter().all(|p| p.is_finite());
            let best =
                (0..row.len()).reduce(|best, next| if row[next] > row[best] { next } else { best });
            let label = best.filter(|_| finite).ok_or_else(|| {
                Error::not_finite(
                    CONTEXT,
                    format!("the outputs for sample {sample} are not finite"),
                )
            })?;
            Ok(Self { label, probabilities: row.to_vec(), classes: Arc::clone(classes) })
        });
        rows.collect()
    }

    /// The name of the most probable class.
    pub fn class(&self) -> &str {
        &self.classes[self.label]
    }

    /// The label of the most probable class.
    pub fn label(&self) -> usize {
        self.label
    }

    /// The probability of the most probable class.
    pub fn probability(&self) -> f64 {
        self.probabilities[self.label]
    }

    /// The probabilities of all classes, in the order of their labels.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// The classes with their probabilities, the most probable one first.
    pub fn ranked(&self) -> Vec<(&str, f64)> {
        let names = self.classes.iter().map(String::as_str);
        let mut ranked: Vec<_> = names.zip(self.probabilities.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

/// Prints `cat (97.1%)`.
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:.1}%)", self.class(), 100.0 * self.probability())
    }
}

/// The probabilities for a network's outputs, `[samples, classes]`, which are
/// either probabilities already or logits.
///
/// # Errors
///
/// When the outputs have another number of axes.
pub fn probabilities<T: Float>(outputs: &Tensor<T>) -> Result<Tensor<f64>> {
    let [_, classes] = outputs.shape()[..] else {
        let message = format!("expected outputs [batch, classes], got {}", outputs.shape());
        return Err(Error::shape("probabilities", message));
    };
    let given = outputs.map(T::to_f64);
    let is_distribution = |row: &[f64]| {
        row.iter().all(|p| (0.0..=1.0).contains(p)) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-3
    };
    if given.to_vec().chunks_exact(classes.max(1)).all(is_distribution) {
        return Ok(given);
    }
    outputs.softmax(1).map(|probabilities| probabilities.map(T::to_f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_probabilities_and_probabilities_stay() {
        let given = Tensor::from([[0.25, 0.75_f32]]);
        assert_eq!(probabilities(&given).unwrap().to_vec(), [0.25, 0.75]);
        let logits = Tensor::from([[0.0, 3_f32.ln()]]);
        let found = probabilities(&logits).unwrap().to_vec();
        assert!((found[0] - 0.25).abs() < 1e-6, "{found:?}");
        assert!(probabilities(&Tensor::<f32>::zeros([3])).is_err());
    }
}
