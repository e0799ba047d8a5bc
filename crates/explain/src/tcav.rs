//! Testing with concept activation vectors.

use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use crate::batch::{per_sample_sum, samples_of};
use crate::features::Rows;
use crate::layer::Layer;
use crate::regression::solve;
use crate::target::Target;

/// A concept activation vector: the normal of a linear classifier between the
/// outputs of a layer for examples with and without a concept (Kim et al.,
/// 2018).
#[derive(Clone, Debug)]
pub struct ConceptVector<T: Float = f32> {
    part: String,
    direction: Tensor<T>,
    accuracy: f64,
}

/// The influence of a concept on the score of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConceptScore {
    /// The share of the inputs whose score increases in the direction of the
    /// concept.
    pub sign_count: f64,
    /// The sum of the positive derivatives in that direction, relative to the
    /// sum of all absolute ones.
    pub magnitude: f64,
}

impl<T: Float> ConceptVector<T> {
    /// Fits the vector for a part of the model, by a ridge regression of ±1 on
    /// the activations. The penalty is `ridge` times their mean square.
    ///
    /// # Errors
    ///
    /// When there are no examples of one kind, the penalty is not positive, or
    /// the model has no such part.
    pub fn find(
        model: &dyn Module<T>,
        part: &str,
        concept: &Tensor<T>,
        others: &Tensor<T>,
        ridge: f64,
    ) -> Result<Self> {
        let counts = [samples_of(concept)?, samples_of(others)?];
        if counts.contains(&0) || !(ridge > 0.0 && ridge.is_finite()) {
            let message = "expected examples with and without the concept, and a positive ridge";
            return Err(Error::argument("ConceptVector", message));
        }
        let both = Tensor::cat(&[concept, others], 0)?;
        let layer = Layer::of(model, &both, part)?;
        let values = Rows::of(layer.values());
        let count = counts[0] + counts[1];
        let rows: Vec<Vec<f64>> =
            (0..count).map(|row| values.get(row).iter().map(|x| x.to_f64()).collect()).collect();
        let width = rows[0].len();
        let mean: Vec<f64> =
            (0..width).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / count as f64).collect();
        let centred: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| row.iter().zip(&mean).map(|(x, mean)| x - mean).collect())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // The dual form has as many unknowns as examples, regardless of the
        // width of the layer.
        let mut gram: Vec<Vec<f64>> =
            centred.iter().map(|a| centred.iter().map(|b| dot(a, b)).collect()).collect();
        let penalty = ridge * (0..count).map(|i| gram[i][i]).sum::<f64>() / count as f64;
        (0..count).for_each(|i| gram[i][i] += penalty);
        let label = |row: usize| if row < counts[0] { 1.0 } else { -1.0 };
        let middle = (counts[0] as f64 - counts[1] as f64) / count as f64;
        let labels: Vec<f64> = (0..count).map(|row| label(row) - middle).collect();
        let weights = solve(gram, labels);
        let mut direction = vec![0.0; width];
        for (weight, row) in weights.iter().zip(&centred) {
            direction.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
        }
        let norm = dot(&direction, &direction).sqrt().max(f64::MIN_POSITIVE);
        let right = centred
            .iter()
            .enumerate()
            .filter(|(row, x)| (dot(x, &direction) + middle > 0.0) == (label(*row) > 0.0));
        let accuracy = right.count() as f64 / count as f64;
        let direction = direction.iter().map(|x| T::from_f64(x / norm)).collect();
        let shape: Vec<usize> = layer.values().shape()[1..].to_vec();
        Ok(Self { part: part.to_owned(), direction: Tensor::from_vec(direction, shape)?, accuracy })
    }

    /// The vector of length 1, in the shape of one sample of the layer.
    pub fn direction(&self) -> &Tensor<T> {
        &self.direction
    }

    /// The accuracy of the classifier on the examples. If it is near ½, the
    /// layer does not represent the concept.
    pub fn accuracy(&self) -> f64 {
        self.accuracy
    }

    /// Computes the influence of the concept on the score of a target for these
    /// inputs.
    ///
    /// # Errors
    ///
    /// When the model does not accept the inputs, or has no such target.
    pub fn score(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: impl Into<Target>,
    ) -> Result<ConceptScore> {
        let layer = Layer::of(model, x, &self.part)?;
        let (_, gradients) = layer.gradient(&target.into())?;
        let slopes = per_sample_sum(&gradients.mul(&self.direction)?).to_vec();
        let slopes: Vec<f64> = slopes.into_iter().map(T::to_f64).collect();
        let positive = slopes.iter().filter(|&&slope| slope > 0.0);
        let all: f64 = slopes.iter().map(|slope| slope.abs()).sum();
        Ok(ConceptScore {
            sign_count: positive.clone().count() as f64 / slopes.len().max(1) as f64,
            magnitude: if all > 0.0 { positive.sum::<f64>() / all } else { 0.0 },
        })
    }
}
