//! What a classifier gets right and wrong.

use std::any::Any;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dendra_autograd::{Tape, Var};
use dendra_datasets::{DataLoader, Dataset};
use dendra_nn::Model;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use crate::metrics::IGNORED;
use crate::picture;
use crate::trainer::{EVALUATION_BATCH, Trainer};

/// How many mistakes are kept.
const MISTAKES: usize = 24;

/// What a classifier gets right and wrong on a data set.
#[derive(Clone, Debug)]
pub struct Classification {
    /// How often each class was taken for each: `confusion[truth][prediction]`.
    pub confusion: Vec<Vec<u64>>,
    /// The mean of −ln p, with p the probability given to the right class.
    pub loss: f64,
    /// The mistakes with the least probability of the right class, the worst
    /// first.
    pub worst: Vec<Mistake>,
    /// How long all predictions took, in seconds.
    pub seconds: f64,
}

/// A sample that was taken for another class.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Its index in the data set.
    pub index: usize,
    /// Its class.
    pub truth: usize,
    /// The class it was taken for.
    pub predicted: usize,
    /// The probability of that class.
    pub probability: f64,
    /// The probability of its own.
    pub of_truth: f64,
    /// Its picture as a `data:` address, where its input is one.
    pub(super) picture: Option<String>,
}

/// The figures of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassFigures {
    /// The number of its samples.
    pub samples: u64,
    /// Which share of what was taken for it is of it; NaN when nothing was.
    pub precision: f64,
    /// Which share of it was taken for it; NaN when it has no samples.
    pub recall: f64,
    /// The harmonic mean of both: `2·tp / (2·tp + fp + fn)`.
    pub f1: f64,
}

impl Classification {
    /// Lets the model of a trainer classify a data set. Its outputs, of shape
    /// `[batch, classes]`, are logits or probabilities. Samples with the label
    /// −100 do not count, as for losses and metrics.
    ///
    /// # Errors
    ///
    /// When the data set is empty, the model refuses it, or its outputs are
    /// not of that shape.
    pub fn of<M, O, L, D, T>(
        trainer: &Trainer<M, O, L, Tensor<i64>, D::Input, T>,
        data: &D,
    ) -> Result<Self>
    where
        M: Model<D::Input, T, Output = Var<T>>,
        D: Dataset<Input: 'static, Target = Tensor<i64>>,
        T: Float,
    {
        if data.is_empty() {
            return Err(Error::data("Classification::of", "the data set holds no samples"));
        }
        let start = Instant::now();
        let mut found = Self { confusion: Vec::new(), loss: 0.0, worst: Vec::new(), seconds: 0.0 };
        let mut index = 0;
        for batch in DataLoader::new(data).batch_size(EVALUATION_BATCH).epoch(0) {
            let (inputs, labels) = batch?;
            let outputs = trainer.model.run(&inputs, &Tape::inference())?.into_value();
            let probabilities = probabilities(&outputs)?;
            found.add(&mut index, &probabilities, &labels)?;
        }
        found.seconds = start.elapsed().as_secs_f64();
        found.loss /= found.samples() as f64;
        let of_one = data.input_shape();
        if !found.worst.is_empty() && picture::fits(&of_one) {
            let indices: Vec<usize> = found.worst.iter().map(|mistake| mistake.index).collect();
            let (inputs, _) = data.batch(&indices)?;
            let Some(inputs) = (&inputs as &dyn Any).downcast_ref::<Tensor>() else {
                return Ok(found);
            };
            for (i, mistake) in found.worst.iter_mut().enumerate() {
                let values = inputs.narrow(0, i, 1)?.to_vec();
                let png = STANDARD.encode(picture::png(&values, &of_one)?);
                mistake.picture = Some(format!("data:image/png;base64,{png}"));
            }
        }
        Ok(found)
    }

    /// Takes a batch in.
    fn add(
        &mut self,
        index: &mut usize,
        probabilities: &Tensor<f64>,
        labels: &Tensor<i64>,
    ) -> Result<()> {
        let classes = probabilities.shape()[1];
        self.confusion.resize_with(classes, || vec![0; classes]);
        let rows = probabilities.to_vec();
        for (row, label) in rows.chunks_exact(classes).zip(labels.to_vec()) {
            let sample = *index;
            *index += 1;
            if label == IGNORED {
                continue;
            }
            let truth = usize::try_from(label).ok().filter(|&truth| truth < classes);
            let Some(truth) = truth else {
                let message = format!("sample {sample} has label {label}, of {classes} classes");
                return Err(Error::data("Classification::of", message));
            };
            let (predicted, &probability) = row
                .iter()
                .enumerate()
                .reduce(|best, next| if next.1 > best.1 { next } else { best })
                .ok_or_else(|| Error::shape("Classification::of", "there are no classes"))?;
            self.confusion[truth][predicted] += 1;
            let of_truth = row[truth];
            self.loss -= of_truth.max(1e-38).ln();
            if predicted != truth {
                let picture = None;
                let index = sample;
                self.keep(Mistake { index, truth, predicted, probability, of_truth, picture });
            }
        }
        Ok(())
    }

    /// Keeps a mistake when it is among the worst.
    fn keep(&mut self, mistake: Mistake) {
        let place = self.worst.partition_point(|other| other.of_truth <= mistake.of_truth);
        self.worst.insert(place, mistake);
        self.worst.truncate(MISTAKES);
    }

    /// The number of samples that count.
    pub fn samples(&self) -> u64 {
        self.confusion.iter().flatten().sum()
    }

    /// The share of samples that were classified right.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.confusion.iter().enumerate().map(|(i, row)| row[i]).sum();
        right as f64 / self.samples() as f64
    }

    /// The figures of every class.
    pub fn figures(&self) -> Vec<ClassFigures> {
        let figures = self.confusion.iter().enumerate().map(|(class, row)| {
            let right = row[class] as f64;
            let samples: u64 = row.iter().sum();
            let taken: u64 = self.confusion.iter().map(|row| row[class]).sum();
            ClassFigures {
                samples,
                precision: right / taken as f64,
                recall: right / samples as f64,
                f1: 2.0 * right / (samples + taken) as f64,
            }
        });
        figures.collect()
    }
}

/// The probabilities that a model's outputs are, or are the logits of.
fn probabilities<T: Float>(outputs: &Tensor<T>) -> Result<Tensor<f64>> {
    let [_, classes] = outputs.shape()[..] else {
        let message = format!("expected outputs [batch, classes], got {}", outputs.shape());
        return Err(Error::shape("Classification::of", message));
    };
    let wide = |outputs: &Tensor<T>| outputs.map(T::to_f64);
    let given = wide(outputs);
    let is_distribution = |row: &[f64]| {
        row.iter().all(|p| (0.0..=1.0).contains(p)) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-3
    };
    if given.to_vec().chunks_exact(classes.max(1)).all(is_distribution) {
        return Ok(given);
    }
    Ok(wide(&outputs.softmax(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classification() -> Classification {
        let mut found =
            Classification { confusion: Vec::new(), loss: 0.0, worst: Vec::new(), seconds: 0.0 };
        let outputs = Tensor::from([
            [0.7, 0.2, 0.1],
            [0.1, 0.2, 0.7],
            [0.6, 0.3, 0.1],
            [0.05, 0.9, 0.05],
            [0.8, 0.1, 0.1],
            [0.2, 0.2, 0.6],
        ]);
        found.add(&mut 0, &outputs, &Tensor::from([0, -100, 1, 1, 2, 2])).unwrap();
        found
    }

    #[test]
    fn figures_follow_from_the_confusion() {
        let found = classification();
        assert_eq!(found.confusion, [[1, 0, 0], [1, 1, 0], [1, 0, 1]]);
        assert_eq!((found.samples(), found.accuracy()), (5, 0.6));
        let figures = found.figures();
        let expected = ClassFigures { samples: 1, precision: 1.0 / 3.0, recall: 1.0, f1: 0.5 };
        assert_eq!(figures[0], expected);
        assert_eq!((figures[1].precision, figures[1].recall), (1.0, 0.5));
    }

    #[test]
    fn the_worst_mistakes_come_first() {
        let worst: Vec<usize> = classification().worst.iter().map(|m| m.index).collect();
        assert_eq!(worst, [4, 2]);
    }

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
