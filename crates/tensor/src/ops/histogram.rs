//! Histograms, which have no gradient.

use crate::element::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<T: Float> Tensor<T> {
    /// The number of elements in each of `bins` equal parts of a range, and the
    /// `bins` + 1 edges of the parts. The default range is from the smallest
    /// element to the largest. Each part includes its lower edge; the last one
    /// also its upper edge. A range of length 0 is widened by ½ on both sides.
    ///
    /// With weights of the same shape, the result is the sum of the weights in
    /// each part instead of the number of elements. With `density`, the bars
    /// have a total area of 1.
    ///
    /// # Errors
    ///
    /// When `bins` is 0 or too large for the memory, the range is descending or
    /// not finite, or the weights have another shape.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// let x = Tensor::from([1.0, 2.0, 1.0_f32]);
    /// let (counts, edges) = x.histogram(4, Some([0.0, 3.0]), None, false).unwrap();
    /// assert_eq!(counts.to_vec(), [0.0, 2.0, 1.0, 0.0]);
    /// assert_eq!(edges.to_vec(), [0.0, 0.75, 1.5, 2.25, 3.0]);
    /// ```
    pub fn histogram(
        &self,
        bins: usize,
        range: Option<[f64; 2]>,
        weights: Option<&Self>,
        density: bool,
    ) -> Result<(Self, Self)> {
        let [mut low, mut high] = range.unwrap_or_else(|| self.bounds());
        if low == high {
            (low, high) = (low - 0.5, high + 0.5);
        }
        if bins == 0 || !(low < high && (high - low).is_finite()) {
            let message = format!(
                "expected at least 1 bin and ascending bounds, got {bins} bins from {low} to {high}"
            );
            return Err(Error::argument("histogram", message));
        }
        Shape::from([bins.saturating_add(1)]).check_memory::<T>("histogram")?;
        let edges = Self::linspace(low, high, bins + 1);
        Ok((self.histogram_edges(&edges, weights, density)?, edges))
    }

    /// Like [`histogram`](Self::histogram), with given ascending edges.
    ///
    /// # Errors
    ///
    /// When the edges are not an ascending vector of two or more elements, or
    /// the weights have another shape.
    pub fn histogram_edges(
        &self,
        edges: &Self,
        weights: Option<&Self>,
        density: bool,
    ) -> Result<Self> {
        let edges = edges.contiguous();
        let bounds = edges.as_slice().filter(|edges| {
            edges.len() >= 2 && edges.is_sorted() && !edges.iter().any(|edge| edge.is_nan())
        });
        let (1, Some(bounds)) = (edges.rank(), bounds) else {
            let message = "expected a vector of two or more ascending edges";
            return Err(Error::argument("histogram_edges", message));
        };
        if let Some(weights) = weights.filter(|weights| weights.shape() != self.shape()) {
            let (shape, own) = (weights.shape(), self.shape());
            let message = format!("expected weights of shape {own}, got {shape}");
            return Err(Error::shape("histogram_edges", message));
        }
        let bins = bounds.len() - 1;
        let mut sums = vec![T::ZERO; bins];
        let weights = weights.map(Self::to_vec);
        self.with_slice(|values| {
            for (i, &x) in values.iter().enumerate() {
                if x >= bounds[0] && x <= bounds[bins] {
                    let bin = bounds.partition_point(|&edge| edge <= x).clamp(1, bins) - 1;
                    sums[bin] += weights.as_ref().map_or(T::ONE, |weights| weights[i]);
                }
            }
        });
        if density {
            let total: f64 = sums.iter().map(|sum| sum.to_f64()).sum();
            for (sum, edges) in sums.iter_mut().zip(bounds.windows(2)) {
                let width = edges[1].to_f64() - edges[0].to_f64();
                *sum = T::from_f64(sum.to_f64() / total / width);
            }
        }
        Self::from_vec(sums, [bins])
    }

    /// The smallest and the largest element; 0 and 1 for no elements.
    fn bounds(&self) -> [f64; 2] {
        self.with_slice(|values| {
            let values = || values.iter().map(|x| x.to_f64());
            let wider = |[low, high]: [f64; 2], x: f64| match x.is_nan() {
                true => [x; 2],
                false => [if x < low { x } else { low }, if x > high { x } else { high }],
            };
            match values().next() {
                None => [0.0, 1.0],
                Some(first) => values().fold([first; 2], wider),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const NAN: f64 = f64::NAN;

    fn assert_near(actual: &Tensor<f64>, expected: &[f64]) {
        let expected = Tensor::from_vec(expected.to_vec(), actual.shape()).unwrap();
        assert_relative_eq!(*actual, expected, epsilon = 1e-12, max_relative = 1e-9);
    }

    /// Expected values: PyTorch's.
    #[test]
    fn histograms_count_weigh_and_average() {
        let x = Tensor::from([1.0, 2.0, 1.0, 0.0, 3.0, 2.5, NAN, 9.0]);
        let range = Some([0.0, 3.0]);
        let counts = x.histogram(4, range, None, false).unwrap().0;
        assert_eq!(counts.to_vec(), [1.0, 2.0, 1.0, 2.0]);
        let weights = Tensor::from([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let density = x.histogram(4, range, Some(&weights), true).unwrap().0;
        assert_near(&density, &[0.253968254, 0.253968254, 0.126984127, 0.6984126984]);
        let few = x.narrow(0, 0, 4).unwrap();
        let (counts, edges) = few.histogram(3, None, None, false).unwrap();
        assert_eq!(counts.to_vec(), [1.0, 2.0, 1.0]);
        assert_near(&edges, &[0.0, 2.0 / 3.0, 4.0 / 3.0, 2.0]);
        let (counts, edges) = Tensor::full([2], 2.0).histogram(2, None, None, false).unwrap();
        assert_eq!((counts.to_vec(), edges.to_vec()), (vec![0.0, 2.0], vec![1.5, 2.0, 2.5]));
        let uneven = x.histogram_edges(&Tensor::from([0.0, 1.0, 2.5]), None, false).unwrap();
        assert_eq!(uneven.to_vec(), [1.0, 4.0]);
        let empty = Tensor::<f64>::zeros([0]).histogram(2, None, None, false).unwrap();
        assert_eq!(empty.1.to_vec(), [0.0, 0.5, 1.0]);
        assert!(x.histogram(2, None, None, false).is_err(), "its range is NaN");
        assert!(few.histogram(0, None, None, false).is_err());
        assert!(few.histogram(usize::MAX, None, None, false).is_err());
        assert!(few.histogram(usize::MAX - 1, None, None, false).is_err());
        assert!(few.histogram(2, Some([1.0, 0.0]), None, false).is_err());
        assert!(few.histogram(2, None, Some(&weights), false).is_err());
        let edges = |edges: &[f64]| Tensor::from_vec(edges.to_vec(), [edges.len()]).unwrap();
        assert!(few.histogram_edges(&edges(&[1.0]), None, false).is_err());
        assert!(few.histogram_edges(&edges(&[1.0, 0.0]), None, false).is_err());
        assert!(few.histogram_edges(&edges(&[0.0, NAN]), None, false).is_err());
    }
}
