//! The gradients of products and extremes.

use smallvec::SmallVec;

use super::super::broadcast::zip;
use super::super::softmax::map_rows;
use super::super::{Ops, Term, TermCall, TermCotangents};
use super::{forward, kept, kept_term};
use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The product of all the other factors (those before a factor and those after
/// it), times the cotangent. A quotient would fail where the product or a
/// factor is 0, underflows or overflows.
pub(super) fn prod_gradient<T: Float>(
    x: &Tensor<T>,
    cotangent: &Tensor<T>,
    axes: &[isize],
) -> Tensor<T> {
    let shape = x.shape();
    let axes = shape.axes("reduction", axes).expect("the shape rule accepted the axes");
    // The factors of each product, contiguous in the last axis.
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
    let order: SmallVec<[usize; 4]> = kept.chain(axes.iter().copied()).collect();
    let permuted = x.permuted(&order);
    let length = axes.iter().map(|&axis| shape[axis]).product();
    let rows: Shape = shape.reduced(&axes, false).iter().copied().chain([length]).collect();
    let factors = permuted.reshape(rows).expect("the same elements");
    let others = map_rows([&factors], -1, |[x], out| {
        let mut before = T::ONE;
        for (slot, &x) in out.iter_mut().zip(x) {
            *slot = before;
            before *= x;
        }
        let mut behind = T::ONE;
        for (slot, &x) in out.iter_mut().zip(x).rev() {
            *slot *= behind;
            behind *= x;
        }
    });
    let others = others.reshape(permuted.shape()).expect("the same elements");
    let mut back = order.clone();
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    let cotangent = cotangent.reshape(shape.reduced(&axes, true)).expect("one for each product");
    &others.permuted(&back) * &cotangent
}

/// The product over some axes, by repeated multiplication of halves.
pub(super) fn product<T: Float>(x: &Term<T>, axes: &[isize], shape: &Shape) -> Result<Term<T>> {
    let axes = x.shape().axes("reduction", axes)?;
    if axes.iter().any(|&axis| x.shape()[axis] == 0) {
        return Ok(Term::constant(Tensor::ones(shape)));
    }
    let mut x = x.clone();
    for axis in axes {
        while x.shape()[axis] > 1 {
            let (length, axis) = (x.shape()[axis], axis as isize);
            let half = length / 2;
            let product = x.narrow(axis, 0, half)?.mul(&x.narrow(axis, half, half)?)?;
            x = match length % 2 {
                0 => product,
                _ => Term::cat(&[&product, &x.narrow(axis, length - 1, 1)?], axis)?,
            };
        }
    }
    x.reshape(shape.clone())
}

/// The cotangent, shared equally among the elements that equal the extreme. If
/// that is NaN, no element equals it, and every share is NaN.
pub(super) fn extreme_gradient<T: Float>(
    x: &Tensor<T>,
    output: &Tensor<T>,
    cotangent: &Tensor<T>,
    axes: &[isize],
) -> Tensor<T> {
    let shape = x.shape();
    let (y, g) = (kept(output, shape, axes), kept(cotangent, shape, axes));
    let winner = zip(x, &y, shape, |x, y| if x == y { T::ONE } else { T::ZERO });
    let winners = forward(&winner, axes, true, T::ZERO, |a, b| a + b);
    let share = zip(&g, &winners, g.shape(), |g, n| g / n);
    zip(&winner, &share, shape, |w, s| w * s)
}

/// [`extreme_gradient`] for terms: the shares are piecewise constant.
pub(super) fn extreme_gradient_terms<T: Float>(
    call: &TermCall<'_, T, ()>,
    axes: &[isize],
) -> Result<TermCotangents<T>> {
    let (x, y) = (call.inputs[0].value(), call.output.value());
    let shares = extreme_gradient(x, y, &Tensor::ones(y.shape()), axes);
    call.each(|_| kept_term(call.cotangent, x.shape(), axes)?.mul(&Term::constant(shares.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_of_a_product_survives_zeros() {
        let gradient =
            |x: [f64; 3]| prod_gradient(&Tensor::from(x), &Tensor::scalar(2.0), &[0]).to_vec();
        assert_eq!(gradient([3.0, 4.0, 5.0]), [40.0, 30.0, 24.0]);
        assert_eq!(gradient([3.0, 0.0, 5.0]), [0.0, 30.0, 0.0]);
        assert_eq!(gradient([0.0, 0.0, 5.0]), [0.0, 0.0, 0.0]);
    }

    /// Neither the product nor its quotient by a factor is representable here.
    #[test]
    fn the_gradient_of_a_product_does_not_divide() {
        let x = Tensor::from([[1e-39_f32, 2.0], [1e30, 1e30], [3.0, 4.0]]);
        let ones = Tensor::ones([2]);
        assert_eq!(prod_gradient(&x.narrow(0, 0, 1).unwrap(), &ones, &[0]).to_vec(), [1.0; 2]);
        let rows = prod_gradient(&x, &Tensor::ones([3]), &[1]).to_vec();
        assert_eq!(rows, [2.0, 1e-39, 1e30, 1e30, 4.0, 3.0]);
        let tiny = Tensor::from([[1e-30_f32, 1e-30], [1e20, 2.0]]).transpose(0, 1).unwrap();
        let found = prod_gradient(&tiny, &Tensor::scalar(1.0), &[1, 0]).to_vec();
        for (found, expected) in found.into_iter().zip([2e-10, 0.0, 2e-10, 1e-40]) {
            assert!((found - expected).abs() <= 1e-4 * expected, "{found}, {expected}");
        }
    }
}
