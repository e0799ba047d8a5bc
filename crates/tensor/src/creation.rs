//! Ranges, grids, and random tensors with distributions other than uniform and
//! normal.

use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::kernels::dropout::Dropout;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Number> Tensor<T> {
    /// The numbers from `start` to `end`, exclusive, in steps of `step`.
    ///
    /// # Errors
    ///
    /// When the step is 0 or has the wrong sign, a bound is not finite, or
    /// there is not enough memory.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::<f32>::arange_step(1.0, 2.0, 0.25).unwrap();
    /// assert_eq!(x.to_vec(), [1.0, 1.25, 1.5, 1.75]);
    /// ```
    pub fn arange_step(start: f64, end: f64, step: f64) -> Result<Self> {
        let count = ((end - start) / step).ceil();
        if !count.is_finite() || count < 0.0 || !step.is_finite() {
            let message = format!(
                "expected steps that lead from start to end, got {start}, {end} and step {step}"
            );
            return Err(Error::argument("arange_step", message));
        }
        let shape = Shape::from([count as usize]);
        shape.check_memory::<T>("arange_step")?;
        Ok(Self::from_fn(shape, |i| T::from_f64(start + i as f64 * step)))
    }

    /// `count` equally spaced numbers from `start` to `end`, both included.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// assert_eq!(Tensor::<f32>::linspace(0.0, 1.0, 5).to_vec(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// ```
    pub fn linspace(start: f64, end: f64, count: usize) -> Self {
        let step = (end - start) / (count.max(2) - 1) as f64;
        // Computed from both ends, so that the last number is exactly `end`.
        Self::from_fn([count], |i| {
            let from_end = (count - 1 - i) as f64;
            T::from_f64(if 2 * i < count { start + i as f64 * step } else { end - from_end * step })
        })
    }

    /// `base` to the power of each number of [`linspace`](Self::linspace).
    pub fn logspace(start: f64, end: f64, count: usize, base: f64) -> Self {
        Tensor::<f64>::linspace(start, end, count).map(|power| T::from_f64(base.powf(power)))
    }
}

impl Tensor<i64> {
    /// Random integers from `low` to `high`, exclusive.
    ///
    /// # Errors
    ///
    /// When `low` is not below `high`, or there is no memory for the tensor.
    pub fn randint(low: i64, high: i64, shape: impl Into<Shape>, rng: &mut Rng) -> Result<Self> {
        let shape = shape.into();
        shape.check_memory::<i64>("randint")?;
        match high.checked_sub(low).map(usize::try_from) {
            Some(Ok(count @ 1..)) => Ok(Self::from_fn(shape, |_| low + rng.below(count) as i64)),
            _ => {
                let message = format!("expected low below high, got {low} and {high}");
                Err(Error::argument("randint", message))
            }
        }
    }

    /// The numbers `0 .. n` in random order.
    pub fn randperm(n: usize, rng: &mut Rng) -> Self {
        let order = rng.permutation(n);
        Self::from_fn([n], |i| order[i] as i64)
    }
}

impl<T: Float> Tensor<T> {
    /// 1 with the probability given by each element, else 0.
    #[must_use]
    pub fn bernoulli(&self, rng: &mut Rng) -> Self {
        self.with_slice(|probabilities| {
            Self::from_fn(self.shape(), |i| {
                let heads = rng.uniform() < probabilities[i].to_f64();
                if heads { T::ONE } else { T::ZERO }
            })
        })
    }

    /// A mask for dropout: 0 with probability `p`, else `kept`.
    ///
    /// ```
    /// use dendra_tensor::{Rng, Tensor};
    ///
    /// let mask = Tensor::dropout_mask([1000], 0.25, 2.0, &mut Rng::seed(7)).to_vec();
    /// let left_out = mask.iter().filter(|&&factor| factor == 0.0).count();
    /// assert!((200..300).contains(&left_out) && mask.contains(&2.0));
    /// ```
    pub fn dropout_mask(shape: impl Into<Shape>, p: f64, kept: T, rng: &mut Rng) -> Self {
        let mask = Self::build(shape, |out| Dropout::new(p, kept, rng).all_factors(out));
        rng.skip(mask.len() as u64);
        mask
    }

    /// `count` random indices along the last axis, whose elements are their
    /// weights. The weights need not add up to 1. Each index is drawn at most
    /// once unless `replacement` is set.
    ///
    /// # Errors
    ///
    /// When a weight is negative or not finite, or when fewer weights than
    /// `count` are positive (with replacement: none).
    pub fn multinomial(
        &self,
        count: usize,
        replacement: bool,
        rng: &mut Rng,
    ) -> Result<Tensor<i64>> {
        let Some((&classes, batch)) = self.shape().split_last() else {
            return Err(Error::shape("multinomial", "a scalar has no axis of weights"));
        };
        let shape: Shape = batch.iter().copied().chain([count]).collect();
        shape.check_memory::<i64>("multinomial")?;
        let mut drawn = Vec::with_capacity(shape.elements());
        let weights: Vec<f64> = self.to_vec().into_iter().map(|x| x.to_f64()).collect();
        for row in 0..shape.elements().checked_div(count).unwrap_or(0) {
            let mut weights = weights[row * classes..][..classes].to_vec();
            let positive = weights.iter().filter(|&&weight| weight > 0.0).count();
            let needed = if replacement { 1 } else { count };
            let bad = weights.iter().find(|&&weight| weight < 0.0 || !weight.is_finite());
            if let Some(weight) = bad {
                return Err(Error::data(
                    "multinomial",
                    format!("expected weights of at least 0, got {weight}"),
                ));
            }
            if positive < needed {
                let message =
                    format!("cannot draw {count} indices from {positive} positive weights");
                return Err(Error::data("multinomial", message));
            }
            for _ in 0..count {
                let total: f64 = weights.iter().sum();
                let mut left = rng.uniform() * total;
                // Rounding may leave a remainder at the end: the last index
                // with a positive weight takes it.
                let mut chosen = 0;
                for (index, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                    chosen = index;
                    if left < weight {
                        break;
                    }
                    left -= weight;
                }
                drawn.push(chosen as i64);
                if !replacement {
                    weights[chosen] = 0.0;
                }
            }
        }
        Tensor::from_vec(drawn, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_they_should() {
        assert_eq!(Tensor::<i64>::arange_step(5.0, -1.0, -2.0).unwrap().to_vec(), [5, 3, 1]);
        assert!(Tensor::<i64>::arange_step(0.0, 0.0, 1.0).unwrap().is_empty());
        for (start, end, step) in [(0.0, 1.0, 0.0), (0.0, 1.0, -1.0), (0.0, f64::INFINITY, 1.0)] {
            assert!(Tensor::<f32>::arange_step(start, end, step).is_err());
        }
        let x = Tensor::<f64>::linspace(-1.0, 0.3, 14).to_vec();
        assert!(x[13] == 0.3 && x[0] == -1.0 && (x[7] + 0.3).abs() < 1e-15);
        assert_eq!(Tensor::<f32>::linspace(3.0, 9.0, 1).to_vec(), [3.0]);
        assert!(Tensor::<f32>::linspace(3.0, 9.0, 0).is_empty());
        assert_eq!(Tensor::<f32>::logspace(0.0, 2.0, 3, 10.0).to_vec(), [1.0, 10.0, 100.0]);
    }

    #[test]
    fn draws_follow_their_weights() {
        let mut rng = Rng::seed(1);
        let weights = Tensor::from([[0.0, 3.0, 1.0], [1.0, 0.0, 0.0_f32]]);
        let drawn = weights.multinomial(4000, true, &mut rng).unwrap();
        let first = drawn.select(0, 0).unwrap();
        let counts = first.bincount(3).unwrap().to_vec();
        assert!(counts[0] == 0 && (2900..3100).contains(&counts[1]), "{counts:?}");
        assert!(drawn.select(0, 1).unwrap().to_vec().iter().all(|&index| index == 0));
        let all = weights.select(0, 0).unwrap().multinomial(2, false, &mut rng).unwrap();
        let mut all = all.to_vec();
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert!(weights.multinomial(2, false, &mut rng).is_err());
        assert!(Tensor::from([-1.0_f32]).multinomial(1, true, &mut rng).is_err());
        let coins = Tensor::<f32>::full([4000], 0.25).bernoulli(&mut rng).to_vec();
        assert!((900..1100).contains(&(coins.iter().sum::<f32>() as usize)));
    }

    #[test]
    fn random_integers_stay_inside() {
        let mut rng = Rng::seed(2);
        let x = Tensor::randint(-2, 3, [500], &mut rng).unwrap();
        assert_eq!(x.unique().0.to_vec(), [-2, -1, 0, 1, 2]);
        assert!(Tensor::randint(3, 3, [1], &mut rng).is_err());
        assert!(Tensor::randint(i64::MIN, i64::MAX, [1], &mut rng).is_err());
        assert_eq!(Tensor::randperm(9, &mut rng).sort(0, false).unwrap().0, Tensor::arange(9));
    }
}
