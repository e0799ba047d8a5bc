//! Features: groups of elements of a sample that are replaced together.

use dendra_nn::Module;
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::batch::{AT_ONCE, predict};
use crate::target::Target;

/// The feature of each element of a sample.
pub(crate) struct Features {
    of_element: Vec<usize>,
    count: usize,
}

impl Features {
    /// Each element is a feature, or a mask in the shape of one sample groups
    /// them. The numbers in the mask need not be consecutive.
    pub(crate) fn of<T: Float>(
        method: &str,
        mask: Option<&Tensor<i64>>,
        x: &Tensor<T>,
    ) -> Result<Self> {
        let sample = &x.shape()[1..];
        let count = sample.iter().product();
        let Some(mask) = mask else {
            return Ok(Self { of_element: (0..count).collect(), count });
        };
        let shape = mask.shape();
        if shape[..] != *sample && (shape.first() != Some(&1) || shape[1..] != *sample) {
            let message = format!(
                "expected a feature mask in the shape of a sample of {}, got {shape}",
                x.shape()
            );
            return Err(Error::shape(method, message));
        }
        let numbers = mask.to_vec();
        let mut kinds = numbers.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let index = |number| kinds.binary_search(number).unwrap_or_default();
        Ok(Self { of_element: numbers.iter().map(index).collect(), count: kinds.len() })
    }

    /// The number of features.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// `x` where a feature is kept, else `other`.
    pub(crate) fn mixed<T: Float>(&self, x: &[T], other: &[T], kept: &[bool]) -> Vec<T> {
        let elements = x.iter().zip(other).zip(&self.of_element);
        elements.map(|((&x, &other), &feature)| if kept[feature] { x } else { other }).collect()
    }

    /// Copies the value of each feature to all of its elements.
    pub(crate) fn spread<T: Float>(&self, values: &[f64]) -> Vec<T> {
        self.of_element.iter().map(|&feature| T::from_f64(values[feature])).collect()
    }
}

/// Flattens samples to rows.
pub(crate) struct Rows<T> {
    values: Vec<T>,
    width: usize,
}

impl<T: Float> Rows<T> {
    pub(crate) fn of(x: &Tensor<T>) -> Self {
        Self { values: x.to_vec(), width: x.shape()[1..].iter().product() }
    }

    pub(crate) fn get(&self, sample: usize) -> &[T] {
        &self.values[sample * self.width..][..self.width]
    }
}

/// Collects rows and predicts them in batches.
pub(crate) struct Queue<'a, T: Float> {
    model: &'a dyn Module<T>,
    sample: Vec<usize>,
    rows: Vec<T>,
    classes: Vec<usize>,
    scores: Vec<f64>,
}

impl<'a, T: Float> Queue<'a, T> {
    /// For samples of this shape.
    pub(crate) fn new(model: &'a dyn Module<T>, sample: &[usize]) -> Self {
        let sample = sample.to_vec();
        Self { model, sample, rows: Vec::new(), classes: Vec::new(), scores: Vec::new() }
    }

    /// Adds a row, of which the score of a class is needed.
    pub(crate) fn push(&mut self, row: Vec<T>, class: usize) -> Result<()> {
        self.rows.extend(row);
        self.classes.push(class);
        if self.classes.len() == AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let shape: Vec<usize> = [self.classes.len()].iter().chain(&self.sample).copied().collect();
        let x = Tensor::from_vec(std::mem::take(&mut self.rows), shape)?;
        let target = Target::Each(std::mem::take(&mut self.classes));
        let scores = predict(self.model, &x, &target)?.to_vec();
        self.scores.extend(scores.into_iter().map(T::to_f64));
        Ok(())
    }

    /// The scores of all rows, in order.
    pub(crate) fn finish(mut self) -> Result<Vec<f64>> {
        if !self.classes.is_empty() {
            self.flush()?;
        }
        Ok(self.scores)
    }
}
