//! The similarity and the distance of pairs of vectors.

use dendra_autograd::Var;
use dendra_derive::Setters;
use dendra_tensor::{Float, Ops, Result};

/// The cosine of the angle between two inputs along an axis:
///
/// x₁·x₂ / (max(‖x₁‖, eps) · max(‖x₂‖, eps))
///
/// The inputs broadcast, and the axis is removed. The defaults are axis 1 and
/// 10⁻⁸.
///
/// ```
/// use dendra_nn::CosineSimilarity;
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
///
/// let a = Var::new(Tensor::from([[1.0, 0.0], [3.0, 4.0]]));
/// let b = Var::new(Tensor::from([[0.0, 2.0], [6.0, 8.0]]));
/// assert_eq!(CosineSimilarity::default().forward(&a, &b)?.value().to_vec(), [0.0, 1.0]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
pub struct CosineSimilarity {
    axis: isize,
    /// The smallest norm to divide by.
    #[set(default = 1e-8)]
    eps: f64,
}

impl CosineSimilarity {
    /// Makes the layer for this axis.
    pub fn new(axis: isize) -> Self {
        Self::with_defaults(axis)
    }

    /// Computes the similarity of each pair of vectors.
    ///
    /// # Errors
    ///
    /// When the inputs do not broadcast, or have no such axis.
    pub fn forward<T: Float>(&self, a: &Var<T>, b: &Var<T>) -> Result<Var<T>> {
        a.cosine_similarity(b, self.axis, self.eps)
    }
}

impl Default for CosineSimilarity {
    fn default() -> Self {
        Self::with_defaults(1)
    }
}

/// The distance of two inputs along their last axis: ‖x₁ − x₂ + eps‖ in the
/// p-norm (Σ |·|ᵖ)^(1/p). The defaults are p = 2 and eps = 10⁻⁶, which keeps
/// the gradient finite where the inputs are equal.
///
/// ```
/// use dendra_nn::PairwiseDistance;
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::Tensor;
///
/// let a = Var::new(Tensor::from([[0.0, 0.0]]));
/// let b = Var::new(Tensor::from([[3.0, 4.0]]));
/// let distance = PairwiseDistance::default().forward(&a, &b)?.value().item()?;
/// assert!((distance - 5.0_f64).abs() < 1e-5);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
pub struct PairwiseDistance {
    p: f64,
    /// The number added to each difference.
    #[set(default = 1e-6)]
    eps: f64,
    /// Whether the last axis is kept, with length 1.
    #[set(default = false)]
    keepdim: bool,
}

impl PairwiseDistance {
    /// Makes the layer for the p-norm.
    pub fn new(p: f64) -> Self {
        Self::with_defaults(p)
    }

    /// Computes the distance of each pair of vectors.
    ///
    /// # Errors
    ///
    /// When the inputs do not broadcast, or are scalars.
    pub fn forward<T: Float>(&self, a: &Var<T>, b: &Var<T>) -> Result<Var<T>> {
        a.sub(b)?.add_scalar(self.eps).norm_axes(self.p, &[-1], self.keepdim)
    }
}

impl Default for PairwiseDistance {
    fn default() -> Self {
        Self::with_defaults(2.0)
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::check_gradient;
    use dendra_tensor::{Rng, Tensor};

    use super::*;

    fn pair() -> [Tensor<f64>; 2] {
        let mut rng = Rng::seed(1);
        [(); 2].map(|()| Tensor::normal([3, 4], 0.0, 1.0, &mut rng))
    }

    #[test]
    fn gradients_are_right() {
        check_gradient(|v| CosineSimilarity::new(-1).forward(&v[0], &v[1]), &pair()).unwrap();
        for p in [1.0, 2.0, 3.5, f64::INFINITY] {
            let distance = PairwiseDistance::new(p).keepdim(true);
            check_gradient(|v| distance.forward(&v[0], &v[1]), &pair()).unwrap();
        }
    }

    #[test]
    fn the_norms_agree_with_their_definition() {
        let a = Var::new(Tensor::from([[1.0, -2.0, 2.0]]));
        let zero = Var::new(Tensor::zeros([1, 3]));
        let of = |p| {
            let distance = PairwiseDistance::new(p).eps(0.0);
            distance.forward(&a, &zero).unwrap().value().to_vec()[0]
        };
        assert_eq!([of(1.0), of(2.0), of(f64::INFINITY)], [5.0, 3.0, 2.0]);
        assert!((of(3.0) - 17.0_f64.cbrt()).abs() < 1e-12);
    }

    #[test]
    fn squares_out_of_range_do_no_harm() {
        let [a, b] = [[3e20_f32, 4e20], [6e-20, 8e-20]].map(|x| Var::new(Tensor::from([x])));
        let cosine = CosineSimilarity::default().eps(0.0).forward(&a, &b).unwrap();
        assert!((cosine.value().item().unwrap() - 1.0).abs() < 1e-6);
        let distance = PairwiseDistance::default().forward(&a, &b).unwrap();
        assert!((distance.value().item().unwrap() / 5e20 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_vector_of_zeros_has_finite_gradients() {
        let zero = Tensor::<f64>::zeros([2, 3]);
        let tape = dendra_autograd::Tape::evaluation();
        let (a, b) = (tape.leaf(zero.clone()), tape.leaf(zero));
        let cosine = CosineSimilarity::default().forward(&a, &b).unwrap();
        assert_eq!(cosine.value().to_vec(), [0.0; 2]);
        let distance = PairwiseDistance::default().forward(&a, &b).unwrap();
        let sum = cosine.add(&distance).unwrap().sum();
        assert!(sum.backward().unwrap().wrt(&a).unwrap().is_finite());
    }
}
