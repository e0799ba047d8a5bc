//! Norms of vectors.

use smallvec::SmallVec;

use super::broadcast::zip;
use super::layout::sample;
use super::reduce::{extreme_shape, forward, kept, kept_term, output_shape};
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::fold::{largest, smallest};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// (Σ |x|ᵖ)^(1/p) over some axes, for a p that is neither 0 nor infinite. Where
/// the norm is 0, its gradient is 0.
///
/// If the powers overflow or underflow, the elements are first divided by the
/// largest (for a negative p by the smallest), and the norm is multiplied by
/// it, as in BLAS's `nrm2`.
#[derive(Clone, Debug)]
pub struct Norm {
    /// The exponent p.
    pub p: f64,
    /// The axes that are reduced.
    pub axes: SmallVec<[isize; 4]>,
    /// Whether they are kept with length 1.
    pub keep: bool,
}

impl Norm {
    /// Σ |x|ᵖ.
    fn sums<T: Float>(&self, x: &Tensor<T>) -> Tensor<T> {
        let p = T::from_f64(self.p);
        let powers = match self.p {
            2.0 => x.map(|x| x * x),
            _ => x.map(|x| x.abs().powf(p)),
        };
        forward(&powers, &self.axes, self.keep, T::ZERO, |a, b| a + b)
    }

    /// The root of a sum of powers.
    fn root<T: Float>(&self, sums: Tensor<T>) -> Tensor<T> {
        let p = T::from_f64(self.p);
        match self.p {
            2.0 => sums.map(T::sqrt),
            _ => sums.map(|sum| sum.powf(T::ONE / p)),
        }
    }
}

impl<T: Float> Op<T> for Norm {
    type Saved = ();
    const NAME: &'static str = "norm";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        // A sum of no negative powers has no root, since a negative power of 0
        // is ∞.
        let rule = if self.p < 0.0 { extreme_shape } else { output_shape };
        rule("norm", inputs[0], &self.axes, self.keep)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let x = inputs[0];
        let sums = self.sums(x);
        // Then the loss of powers below the smallest normal number is less than
        // the rounding error of the sum.
        let least = T::MIN_POSITIVE / T::EPSILON;
        if sums.with_slice(|sums| sums.iter().all(|&sum| sum >= least && sum.is_finite())) {
            return (self.root(sums), ());
        }
        let magnitudes = x.map(T::abs);
        let axes = &self.axes[..];
        let unit = match self.p > 0.0 {
            true => forward(&magnitudes, axes, true, T::ZERO, largest()),
            false => forward(&magnitudes, axes, true, T::HIGHEST, smallest()),
        };
        let unit =
            unit.map(|unit| if unit == T::ZERO || unit == T::HIGHEST { T::ONE } else { unit });
        let scaled = zip(x, &unit, x.shape(), |x, unit| x / unit);
        let norm = self.root(self.sums(&scaled));
        (&norm * &unit.reshape(norm.shape()).expect("one for each norm"), ())
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
                        // The quotient underflows where its power is large, for
                        // p < 1.
                        let slope = if p > T::ZERO && p < T::ONE {
                            x.abs().powf(p - T::ONE) * y.powf(T::ONE - p)
                        } else {
                            (x.abs() / y).powf(p - T::ONE)
                        };
                        if x < T::ZERO { -slope } else { slope }
                    }
                }),
            };
            &slope * &g
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let x = &call.inputs[0];
        let kept = |reduced| kept_term(reduced, x.shape(), &self.axes);
        let (y, g) = (kept(call.output)?, kept(call.cotangent)?);
        let no_norm = y.value().eq_scalar(T::ZERO);
        let y = y.masked_fill(&no_norm, 1.0)?;
        let slope = if self.p == 2.0 {
            x.div(&y)?.masked_fill(&no_norm, 0.0)?
        } else {
            let flat = x.value().eq_scalar(T::ZERO).logical_or(&no_norm)?;
            let magnitude = x.abs().masked_fill(&flat, 1.0)?;
            let exponent = self.p - 1.0;
            let slope = match self.p > 0.0 && self.p < 1.0 {
                true => magnitude.powf(exponent).mul(&y.powf(-exponent))?,
                false => magnitude.div(&y)?.powf(exponent),
            };
            slope.mul(&Term::constant(x.value().sign()))?.masked_fill(&flat, 0.0)?
        };
        call.each(|_| slope.mul(&g))
    }

    fn attributes(&self) -> Attributes {
        vec![("p", self.p.into()), ("axes", self.axes[..].into()), ("keep", self.keep.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let norm = |p, axes: &[isize], keep| Norm { p, axes: axes.into(), keep };
        vec![
            (norm(2.0, &[1], false), sample(&[3, 4])),
            (norm(2.0, &[0, -1], true), sample(&[2, 3, 4])),
            (norm(3.0, &[0], false), sample(&[3, 4])),
            (norm(1.5, &[0, 1], false), sample(&[3, 4])),
            (norm(0.5, &[1], false), vec![Tensor::uniform([2, 3], 0.5, 2.0, &mut Rng::seed(10))]),
            (norm(-1.5, &[0], true), vec![Tensor::uniform([3, 2], -2.0, -0.5, &mut Rng::seed(10))]),
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
    fn norms_whose_powers_are_out_of_range() {
        let x = Tensor::from([[3e20_f32, 3e-30, 0.0, 3e-42], [-4e20, -4e-30, 0.0, 4e-42]]);
        let near = |p: f64, expected: [f32; 4]| {
            let found = x.norm_axes(p, &[0], false).unwrap().to_vec();
            for (&found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 2e-3 * expected, "{found}, {expected}");
            }
        };
        near(2.0, [5e20, 5e-30, 0.0, 5e-42]);
        near(3.0, [4.497_941e20, 4.497_941e-30, 0.0, 4.497e-42]);
        near(-2.0, [2.4e20, 2.4e-30, 0.0, 2.4e-42]);
        let infinite = Tensor::from([f32::INFINITY, 1e30, f32::NEG_INFINITY]);
        assert_eq!(infinite.norm(2.0).unwrap().item().unwrap(), f32::INFINITY);
        assert!(Tensor::from([f32::NAN, 1e30]).norm(2.0).unwrap().item().unwrap().is_nan());
        let spread = Tensor::from([1e20, -1e20_f32]).std(1).item().unwrap();
        assert!((spread / 1e20 - 2_f32.sqrt()).abs() < 1e-6, "{spread}");
    }

    #[test]
    fn the_cosine_is_that_of_vectors_of_the_common_shape() {
        let (x, one) = (Tensor::from([[1.0], [1.0_f64]]), Tensor::from([[1.0]]));
        let cosine = x.cosine_similarity(&one, 0, 1e-8).unwrap().to_vec();
        assert!((cosine[0] - 1.0).abs() < 1e-15, "{cosine:?}");
        // Since its norm is less than epsilon, 1e-9 is divided by epsilon.
        let short = Tensor::from([1e-9, 0.0]);
        let cosine = short.cosine_similarity(&Tensor::from([2.0, 0.0]), 0, 1e-8).unwrap();
        assert!((cosine.item().unwrap() - 0.1).abs() < 1e-15);
        assert!(x.cosine_similarity(&Tensor::zeros([3, 1]), 0, 1e-8).is_err());
        assert!(x.cosine_similarity(&one, 2, 1e-8).is_err());
        let nothing = Tensor::<f32>::zeros([2, 0]);
        assert_eq!(nothing.cdist(&nothing, f64::INFINITY).unwrap().to_vec(), [0.0; 4]);
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
