//! Norms of vectors.

use smallvec::SmallVec;

use super::broadcast::zip;
use super::layout::sample;
use super::reduce::{extreme_shape, forward, kept, output_shape};
use super::{Call, Cotangents, Op};
use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// (Σ |x|ᵖ)^(1/p) over some axes, for a p that is neither 0 nor infinite. Where
/// the norm is 0, so is its gradient.
#[derive(Clone, Debug)]
pub struct Norm {
    /// The exponent p.
    pub p: f64,
    /// The axes that go.
    pub axes: SmallVec<[isize; 4]>,
    /// Whether they stay with the extent 1.
    pub keep: bool,
}

impl<T: Float> Op<T> for Norm {
    type Saved = ();
    const NAME: &'static str = "norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        // A negative power of nothing is ∞, and so no sum of it has a root.
        let rule = if self.p < 0.0 { extreme_shape } else { output_shape };
        rule("norm", inputs[0], &self.axes, self.keep)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let p = T::from_f64(self.p);
        let powers = match self.p {
            2.0 => inputs[0].map(|x| x * x),
            _ => inputs[0].map(|x| x.abs().powf(p)),
        };
        let sums = forward(&powers, &self.axes, self.keep, T::ZERO, |a, b| a + b);
        let norm = match self.p {
            2.0 => sums.map(T::sqrt),
            _ => sums.map(|sum| sum.powf(T::ONE / p)),
        };
        (norm, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (x, p) = (&call.inputs[0], T::from_f64(self.p));
        let [y, g] =
            [call.output, &call.cotangent].map(|reduced| kept(reduced, x.shape(), &self.axes));
        call.each(|_| {
            let slope = match self.p {
                2.0 => zip(x, &y, x.shape(), |x, y| if y == T::ZERO { y } else { x / y }),
                _ => zip(x, &y, x.shape(), |x: T, y| {
                    if x == T::ZERO || y == T::ZERO {
                        T::ZERO
                    } else {
                        let slope = (x.abs() / y).powf(p - T::ONE);
                        if x < T::ZERO { -slope } else { slope }
                    }
                }),
            };
            &slope * &g
        })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let norm = |p, axes: &[isize], keep| Norm { p, axes: axes.into(), keep };
        vec![
            (norm(2.0, &[1], false), sample(&[3, 4])),
            (norm(2.0, &[0, -1], true), sample(&[2, 3, 4])),
            (norm(3.0, &[0], false), sample(&[3, 4])),
            (norm(1.5, &[0, 1], false), sample(&[3, 4])),
            (norm(2.0, &[0], false), sample(&[0, 3])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    #[test]
    fn norms_of_every_order() {
        let x = Tensor::from([[3.0, -4.0], [0.0, 1.0_f64]]);
        let norm = |p| x.norm_axes(p, &[1], false).unwrap().to_vec();
        assert_eq!(norm(2.0), [5.0, 1.0]);
        assert_eq!(norm(1.0), [7.0, 1.0]);
        assert_eq!(norm(0.0), [2.0, 1.0]);
        assert_eq!(norm(f64::INFINITY), [4.0, 1.0]);
        assert_eq!(norm(f64::NEG_INFINITY), [3.0, 0.0]);
        assert!((norm(3.0)[0] - 91_f64.cbrt()).abs() < 1e-14);
        assert_eq!(x.norm(2.0).unwrap().item().unwrap(), 26_f64.sqrt());
    }

    #[test]
    fn the_gradient_at_zero_is_zero() {
        let x = Tensor::<f64>::zeros([3]);
        for p in [2.0, 1.5, 3.0] {
            let norm = Norm { p, axes: [0].as_slice().into(), keep: false };
            let (output, ()) = norm.forward(&[&x]);
            let cotangent = Tensor::scalar(1.0);
            let (inputs, needs) = (&[x.clone()][..], &[true][..]);
            let call = Call { inputs, output: &output, saved: &(), needs, cotangent };
            assert_eq!(norm.vjp(call)[0].as_ref().unwrap().to_vec(), [0.0; 3], "p = {p}");
        }
    }
}
