//! Losses that compare the outputs for two or three inputs.
//!
//! These losses take more than one output, so they do not implement
//! [`Loss`](crate::Loss). To use one as a `Loss`, write a closure that splits the
//! output of the model.

use dendra_derive::Setters;
use dendra_tensor::ops::Attributes;
use dendra_tensor::{Error, Float, Ops, Reduction, Result, Shape, Tensor};

use crate::hinge::HingeLoss;
use crate::loss::loss_functions;
use crate::pointwise::{Curve, apply, ensure_at_least, ensure_one_shape, ensure_signs};

/// The ranking loss of two scores a and b: `max(0, margin − y·(a − b))`. The score
/// a should be higher than b if the target y is 1, and lower if it is −1. All
/// three must have the same shape; PyTorch broadcasts them.
///
/// ```
/// use dendra_losses::MarginRankingLoss;
/// use dendra_tensor::Tensor;
///
/// let (a, b) = (Tensor::from([2.0, 0.0_f32]), Tensor::from([1.0, 1.0]));
/// let loss = MarginRankingLoss::new().margin(0.5).compute(&a, &b, &Tensor::ones([2]))?;
/// assert_eq!(loss.item()?, 0.75);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct MarginRankingLoss {
    /// The margin in the formula.
    #[set(default = 0.0)]
    margin: f64,
    /// The reduction of the losses of all samples.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The loss of the angle between two embeddings: `1 − cos` if the target is 1, so
/// that they should have the same direction, and `max(0, cos − margin)` if it is
/// −1.
///
/// | | shape |
/// |---|---|
/// | both embeddings | `[n, features]` or `[features]` |
/// | target | `[n]` or `[]` |
///
/// The cosine is `a·b / √((a·a + ε)·(b·b + ε))` with ε = 1e-12.
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct CosineEmbeddingLoss {
    /// The margin in the formula.
    #[set(default = 0.0)]
    margin: f64,
    /// The reduction of the losses of all samples.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

/// The triplet loss: `max(0, d(a, p) − d(a, n) + margin)` with the distance
/// `d(x, y) = ‖x − y + ε‖_p`. The embedding a, the anchor, should be closer to the
/// positive example p than to the negative example n.
///
/// The three embeddings have the shape `[…, features]`. The losses before the
/// reduction have the shape `[…]`.
///
/// Source: Balntas et al., "Learning local feature descriptors with triplets
/// and shallow convolutional neural networks", 2016; it also defines `swap`.
///
/// ```
/// use dendra_losses::TripletMarginLoss;
/// use dendra_tensor::Tensor;
///
/// let anchor = Tensor::from([[0.0, 0.0_f32]]);
/// let (positive, negative) = (Tensor::from([[3.0, 4.0]]), Tensor::from([[0.0, 5.5]]));
/// let loss = TripletMarginLoss::new().compute(&anchor, &positive, &negative)?;
/// assert!((loss.item()? - 0.5).abs() < 1e-5);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Setters)]
#[set(new)]
pub struct TripletMarginLoss {
    /// The margin in the formula.
    #[set(default = 1.0)]
    margin: f64,
    /// The order p of the norm: 1 for the sum of absolute differences, 2 for the
    /// Euclidean distance, infinity for the largest absolute difference.
    #[set(default = 2.0)]
    p: f64,
    /// The number ε, which is added to each difference to keep the derivative of the
    /// norm finite.
    #[set(default = 1e-6)]
    eps: f64,
    /// Whether d(p, n) replaces d(a, n) if it is smaller.
    #[set(default = false)]
    swap: bool,
    /// The reduction of the losses of all samples.
    #[set(default = Reduction::Mean)]
    reduction: Reduction,
}

impl MarginRankingLoss {
    const NAME: &'static str = "margin_ranking_loss";

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes differ or a target is neither 1 nor −1.
    pub fn compute<V: Ops>(&self, first: &V, second: &V, target: &Tensor<V::Element>) -> Result<V> {
        let shape = first.value().shape();
        ensure_one_shape(Self::NAME, "both outputs", shape, second.value().shape())?;
        ensure_one_shape(Self::NAME, "outputs and target", shape, target.shape())?;
        ensure_signs(Self::NAME, target)?;
        let hinge = HingeLoss::new().margin(self.margin).reduction(self.reduction);
        hinge.compute(&first.sub(second)?, target)
    }
}

impl CosineEmbeddingLoss {
    const NAME: &'static str = "cosine_embedding_loss";

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes do not match, or a target is neither 1 nor −1.
    pub fn compute<V: Ops>(&self, first: &V, second: &V, target: &Tensor<V::Element>) -> Result<V> {
        let shape = first.value().shape();
        ensure_one_shape(Self::NAME, "both embeddings", shape, second.value().shape())?;
        let expected = without_features(Self::NAME, shape)?;
        if *target.shape() != expected {
            let found = target.shape();
            let message = format!(
                "embeddings of shape {shape} need targets of shape {expected}, got {found}"
            );
            return Err(Error::shape(Self::NAME, message));
        }
        ensure_signs(Self::NAME, target)?;
        let product = |a: &V, b: &V| a.mul(b)?.sum_axes(&[-1], false);
        let length = |x: &V| Ok(product(x, x)?.add_scalar(1e-12));
        let lengths = length(first)?.mul(&length(second)?)?.sqrt();
        let cosine = product(first, second)?.div(&lengths)?;
        apply(Cosine { margin: self.margin }, &cosine, [target.clone()], self.reduction)
    }
}

impl TripletMarginLoss {
    const NAME: &'static str = "triplet_margin_loss";

    /// Computes the loss of tensors or variables.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes differ or a setting is invalid.
    pub fn compute<V: Ops>(&self, anchor: &V, positive: &V, negative: &V) -> Result<V> {
        if self.p.is_nan() || self.p <= 0.0 {
            let message = format!("p must be above 0, got {}", self.p);
            return Err(Error::argument(Self::NAME, message));
        }
        ensure_at_least(Self::NAME, "eps", 0.0, self.eps)?;
        without_features(Self::NAME, anchor.value().shape())?;
        self.compute_by(anchor, positive, negative, |x, y| {
            x.sub(y)?.add_scalar(self.eps).norm_axes(self.p, &[-1], false)
        })
    }

    /// Computes the loss with another distance (PyTorch's
    /// `TripletMarginWithDistanceLoss`). `distance` returns one value for each pair.
    ///
    /// # Errors
    ///
    /// Returns an error if the shapes differ, and the errors of `distance`.
    pub fn compute_by<V: Ops>(
        &self,
        anchor: &V,
        positive: &V,
        negative: &V,
        distance: impl Fn(&V, &V) -> Result<V>,
    ) -> Result<V> {
        let shape = anchor.value().shape();
        ensure_one_shape(Self::NAME, "anchor and positive", shape, positive.value().shape())?;
        ensure_one_shape(Self::NAME, "anchor and negative", shape, negative.value().shape())?;
        let near = distance(anchor, positive)?;
        let mut far = distance(anchor, negative)?;
        if self.swap {
            far = far.minimum(&distance(positive, negative)?)?;
        }
        let hinge = HingeLoss::new().margin(self.margin).reduction(self.reduction);
        let ahead = far.sub(&near)?;
        let target = Tensor::ones(ahead.value().shape());
        hinge.compute(&ahead, &target)
    }
}

loss_functions! {
    margin_ranking_loss(first, second: &V, target: &Tensor<V::Element>) = MarginRankingLoss;
    cosine_embedding_loss(first, second: &V, target: &Tensor<V::Element>) = CosineEmbeddingLoss;
    triplet_margin_loss(anchor, positive: &V, negative: &V) = TripletMarginLoss;
}

/// Returns the shape of the embeddings without the axis of features.
fn without_features(context: &str, shape: &Shape) -> Result<Shape> {
    match shape.split_last() {
        Some((_, samples)) => Ok(samples.into()),
        None => Err(Error::shape(context, "expected embeddings […, features], got a scalar")),
    }
}

/// The loss as a function of the cosine of two embeddings.
#[derive(Clone, Copy)]
struct Cosine {
    margin: f64,
}

impl Curve<1> for Cosine {
    const NAME: &'static str = CosineEmbeddingLoss::NAME;
    const CONSTANTS: [&'static str; 1] = ["target"];

    fn examples() -> Vec<Self> {
        vec![Self { margin: 0.0 }, Self { margin: 0.4 }]
    }

    fn check(&self) -> Result<()> {
        ensure_at_least(Self::NAME, "margin", f64::MIN, self.margin)
    }

    #[inline(always)]
    fn value<T: Float>(&self, cosine: T, [y]: [T; 1]) -> T {
        if y > T::ZERO {
            T::ONE - cosine
        } else {
            (cosine - T::from_f64(self.margin)).max_nan(T::ZERO)
        }
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, cosine: T, [y]: [T; 1]) -> T {
        if y > T::ZERO {
            -T::ONE
        } else if cosine > T::from_f64(self.margin) {
            T::ONE
        } else {
            T::ZERO
        }
    }

    fn attributes(&self) -> Attributes {
        vec![("margin", self.margin.into())]
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;
    use dendra_tensor::ops::check::check_twice;

    use super::*;
    use crate::pointwise::Pointwise;

    #[test]
    fn the_gradient_of_the_cosine_agrees_with_differences() {
        check_twice::<Pointwise<Cosine, f64, 1>>().unwrap();
    }

    #[test]
    fn equal_embeddings_have_the_cosine_one() {
        let x = Tensor::<f64>::normal([3, 4], 0.0, 1.0, &mut Rng::seed(1));
        let alike = cosine_embedding_loss(&x, &x.mul_scalar(7.0), &Tensor::ones([3])).unwrap();
        assert!(alike.item().unwrap().abs() < 1e-9);
        let unlike = CosineEmbeddingLoss::new().margin(0.25);
        let loss = unlike.compute(&x, &x, &Tensor::full([3], -1.0)).unwrap();
        assert!((loss.item().unwrap() - 0.75).abs() < 1e-9);
    }

    #[test]
    fn a_distance_can_be_given() {
        let x = |value| Tensor::from([[value, 0.0_f64]]);
        let by_first = |a: &Tensor<f64>, b: &Tensor<f64>| a.sub(b)?.abs().max_axes(&[-1], false);
        let loss = TripletMarginLoss::new();
        let found = loss.compute_by(&x(0.0), &x(3.0), &x(1.0), by_first).unwrap();
        assert_eq!(found.item().unwrap(), 3.0);
        let swapped = loss.swap(true).compute_by(&x(0.0), &x(3.0), &x(2.5), by_first).unwrap();
        assert_eq!(swapped.item().unwrap(), 3.5);
    }

    #[test]
    fn shapes_that_differ_are_named() {
        let (a, b) = (Tensor::<f32>::zeros([2, 3]), Tensor::zeros([3, 2]));
        let message = |result: Result<Tensor>| result.unwrap_err().to_string();
        let one = Tensor::ones([2]);
        assert_eq!(
            message(cosine_embedding_loss(&a, &a, &Tensor::ones([2, 1]))),
            "cosine_embedding_loss: embeddings of shape [2, 3] need targets of shape [2], got \
             [2, 1]"
        );
        assert!(message(cosine_embedding_loss(&a, &b, &one)).contains("both embeddings"));
        assert!(message(triplet_margin_loss(&a, &a, &b)).contains("anchor and negative"));
        assert!(message(margin_ranking_loss(&a, &a, &one)).contains("outputs and target"));
        let scalar = Tensor::scalar(1.0_f32);
        assert!(message(triplet_margin_loss(&scalar, &scalar, &scalar)).contains("a scalar"));
        let zero = TripletMarginLoss::new().p(0.0);
        assert!(message(zero.compute(&a, &a, &a)).contains("p must be above 0"));
    }
}
