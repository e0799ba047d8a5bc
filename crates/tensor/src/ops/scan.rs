//! Running sums, products and logarithms of sums of exponentials along an axis.

use super::broadcast::zip;
use super::layout::sample;
use super::softmax::map_rows;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float, Number};
use crate::error::Result;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// yᵢ = x₀ + … + xᵢ along an axis.
#[derive(Clone, Copy, Debug)]
pub struct CumSum {
    /// The axis.
    pub axis: isize,
}

/// yᵢ = x₀ · … · xᵢ along an axis; the gradients are exact for factors of 0
/// too.
#[derive(Clone, Copy, Debug)]
pub struct CumProd {
    /// The axis.
    pub axis: isize,
}

/// yᵢ = ln(exp(x₀) + … + exp(xᵢ)) along an axis, without overflow.
#[derive(Clone, Copy, Debug)]
pub struct LogCumSumExp {
    /// The axis.
    pub axis: isize,
}

/// The running results of `f` along an axis.
pub(super) fn running<T: Element>(
    x: &Tensor<T>,
    axis: isize,
    f: impl Fn(T, T) -> T + Sync,
) -> Tensor<T> {
    map_rows(
        [x],
        axis,
        #[inline(always)]
        |[x], out| {
            let mut last = None;
            for (slot, &x) in out.iter_mut().zip(x) {
                *slot = last.map_or(x, |last| f(last, x));
                last = Some(*slot);
            }
        },
    )
}

/// Running results from the end: `step(rᵢ₊₁, i)` along a row.
fn backwards<T: Number>(out: &mut [T], mut step: impl FnMut(T, usize) -> T) {
    let mut last = T::ZERO;
    for (i, slot) in out.iter_mut().enumerate().rev() {
        last = step(last, i);
        *slot = last;
    }
}

/// The gradient of one row of a running product: the product of the factors
/// before i, times sᵢ = gᵢ + xᵢ₊₁·sᵢ₊₁. A quotient would fail where a product
/// is 0, underflows or overflows.
fn cumprod_gradient<T: Float>([x, y, g]: [&[T]; 3], out: &mut [T]) {
    backwards(out, |sum, i| match x.get(i + 1) {
        Some(&next) => g[i] + next * sum,
        None => g[i],
    });
    for (slot, &before) in out.iter_mut().skip(1).zip(y) {
        *slot *= before;
    }
}

/// The running maximum of a row, and the sum of exp(x − maximum) so far.
fn running_exponentials<T: Float>(x: &[T]) -> impl Iterator<Item = (f64, f64)> {
    let mut state = (f64::NEG_INFINITY, 0.0);
    x.iter().map(move |x| {
        let x = x.to_f64();
        let (last, sum) = state;
        let max = last.max_nan(x);
        state = (max, sum * exp_difference(last, max) + exp_difference(x, max));
        state
    })
}

/// exp(a − b), also for two equal infinities.
fn exp_difference(a: f64, b: f64) -> f64 {
    if a == b { 1.0 } else { (a - b).exp() }
}

/// Running results along an axis. Each round, `combine` joins the result of
/// each element with that of elements further back, which doubles the distance
/// that it covers (W. Hillis and G. Steele, "Data parallel algorithms", 1986).
pub(super) fn doubled<T: Float>(
    x: &Term<T>,
    axis: isize,
    mut combine: impl FnMut(&Term<T>, &Term<T>) -> Result<Term<T>>,
) -> Result<Term<T>> {
    let (_, length) = x.shape().along("doubled", axis)?;
    let mut x = x.clone();
    let mut reach = 1;
    while reach < length {
        let early = x.narrow(axis, 0, length - reach)?;
        let late = x.narrow(axis, reach, length - reach)?;
        x = Term::cat(&[&x.narrow(axis, 0, reach)?, &combine(&early, &late)?], axis)?;
        reach *= 2;
    }
    Ok(x)
}

/// The first and the last elements along an axis, as parts of this shape.
fn ends<T: Element>(x: &Tensor<T>, axis: isize, part: &Shape) -> Result<(Tensor<T>, Tensor<T>)> {
    let (along, length) = x.shape().along("ends", axis)?;
    let count = part[along];
    Ok((x.narrow(axis, 0, count)?, x.narrow(axis, length - count, count)?))
}

impl<T: Float> Op<T> for CumSum {
    type Saved = ();
    const NAME: &'static str = "cumsum";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].along("cumsum", self.axis)?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (running(inputs[0], self.axis, |sum, x| sum + x), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| {
            map_rows([&call.cotangent], self.axis, |[g], out| backwards(out, |sum, i| sum + g[i]))
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (axis, g) = (self.axis, call.cotangent);
        call.each(|_| g.flip(&[axis])?.cumsum(axis)?.flip(&[axis]))
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        samples(|axis| CumSum { axis })
    }
}

impl<T: Float> Op<T> for CumProd {
    type Saved = ();
    const NAME: &'static str = "cumprod";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].along("cumprod", self.axis)?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (running(inputs[0], self.axis, |product, x| product * x), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let rows = [&call.inputs[0], call.output, &call.cotangent];
        call.each(|_| map_rows(rows, self.axis, cumprod_gradient))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.compose(|inputs| doubled(&inputs[0], self.axis, |early, late| early.mul(late)))
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let zeros = [[1.0, 0.0, 2.0, -1.5], [0.0, 3.0, 0.5, 2.0], [2.0, 0.0, 0.0, 1.0]];
        let zeros = zeros.map(|row| row.map(T::from_f64));
        let mut samples = samples(|axis| CumProd { axis });
        samples.push((CumProd { axis: 1 }, vec![Tensor::from(zeros)]));
        samples
    }
}

impl<T: Float> Op<T> for LogCumSumExp {
    type Saved = ();
    const NAME: &'static str = "logcumsumexp";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].along("logcumsumexp", self.axis)?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let y = map_rows([inputs[0]], self.axis, |[x], out| {
            for (slot, (max, sum)) in out.iter_mut().zip(running_exponentials(x)) {
                *slot = T::from_f64(max + sum.ln());
            }
        });
        (y, ())
    }

    /// With rᵢ = Σ gⱼ·exp(yᵢ − yⱼ) over j ≥ i, the gradient is rᵢ·exp(xᵢ − yᵢ),
    /// and no exponent is above 0. The rounded logarithms y are not used, since
    /// their rounding errors would be multiplied.
    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|_| {
            map_rows([&call.inputs[0], &call.cotangent], self.axis, |[x, g], out| {
                let running: Vec<_> = running_exponentials(x).collect();
                let mut total = 0.0;
                for (i, slot) in out.iter_mut().enumerate().rev() {
                    let (max, sum) = running[i];
                    if let Some(&(next_max, next_sum)) = running.get(i + 1) {
                        total *= exp_difference(max, next_max) * sum / next_sum;
                    }
                    total += g[i].to_f64();
                    *slot = T::from_f64(total * exp_difference(x[i].to_f64(), max) / sum);
                }
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (x, axis) = (&call.inputs[0], self.axis);
        // Running sums of exp(x − maximum), where the running maximum is a
        // constant.
        let max = running(x.value(), axis, T::max_nan);
        let infinite = max.isinf().logical_and(&max.eq_elements(x.value())?)?;
        let exponentials = x.sub(&Term::constant(max.clone()))?.masked_fill(&infinite, 0.0)?.exp();
        let scaled = |sum: &Term<T>, max: Tensor<T>, by: Tensor<T>| {
            let difference = |a: T, b: T| T::from_f64(exp_difference(a.to_f64(), b.to_f64()));
            sum.mul(&Term::constant(zip(&max, &by, max.shape(), difference)))
        };
        let sums = doubled(&exponentials, axis, |early, late| {
            let (first, last) = ends(&max, axis, early.shape())?;
            scaled(early, first, last)?.add(late)
        })?;
        // rᵢ = Σ gⱼ·exp(maxᵢ − maxⱼ)/sumⱼ over j ≥ i, from the end.
        let turned = max.flip(&[axis])?;
        let shares = doubled(&call.cotangent.div(&sums)?.flip(&[axis])?, axis, |early, late| {
            let (first, last) = ends(&turned, axis, early.shape())?;
            scaled(early, last, first)?.add(late)
        })?;
        call.each(|_| exponentials.mul(&shares.flip(&[axis])?))
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        samples(|axis| LogCumSumExp { axis })
    }
}

fn samples<O, T: Float>(along: impl Fn(isize) -> O) -> Vec<(O, Vec<Tensor<T>>)> {
    let positive = Tensor::uniform([3, 5], 0.5, 1.5, &mut Rng::seed(18));
    vec![
        (along(1), vec![positive]),
        (along(0), sample(&[4])),
        (along(-2), sample(&[2, 4, 3])),
        (along(0), sample(&[0, 3])),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;
    use crate::ScatterReduction;

    /// As in PyTorch for each of these; functions that divide an axis refuse a
    /// scalar.
    #[test]
    fn a_scalar_is_one_element_along_its_axis() {
        let x = Tensor::scalar(2.5);
        let same = |result: Result<Tensor<f64>>| assert_eq!(result.unwrap(), x);
        for axis in [0, -1] {
            for keep in [false, true] {
                same(x.sum_axes(&[axis], keep));
                same(x.mean_axes(&[axis], keep));
                same(x.prod_axes(&[axis], keep));
                same(x.max_axes(&[axis], keep));
                same(x.norm_axes(2.0, &[axis], keep));
                same(x.logsumexp(axis, keep));
                same(x.max_along(axis, keep).map(|pair| pair.0));
                same(x.median(axis, keep).map(|pair| pair.0));
                same(x.nanmedian(axis, keep).map(|pair| pair.0));
                same(x.mode(axis, keep).map(|pair| pair.0));
                same(x.kthvalue(1, axis, keep).map(|pair| pair.0));
            }
            same(x.quantile(0.3, axis, true));
            same(x.aminmax(&[axis], false).map(|pair| pair.1));
            assert_eq!(x.cosine_similarity(&x, axis, 1e-8).unwrap(), Tensor::scalar(1.0));
            same(x.cumsum(axis));
            same(x.cumprod(axis));
            same(x.logcumsumexp(axis));
            same(x.sort(axis, true).map(|pair| pair.0));
            same(x.topk(1, axis, true).map(|pair| pair.0));
            same(x.cummax(axis).map(|pair| pair.0));
            same(x.cummin(axis).map(|pair| pair.0));
            same(x.flip(&[axis]));
            same(x.squeeze(axis));
            assert_eq!(x.unfold_axis(axis, 1, 1).unwrap(), Tensor::from([2.5]));
            same(x.transpose(axis, 0));
            same(x.movedim(axis, 0));
            same(x.gather(axis, &Tensor::scalar(0)));
            same(x.index_select(axis, &[0]));
            let largest = ScatterReduction::Max;
            same(x.index_reduce(axis, &[0], &Tensor::scalar(1.0), largest, true));
            assert_eq!(x.softmax(axis).unwrap(), Tensor::scalar(1.0));
            assert_eq!(x.log_softmax(axis).unwrap(), Tensor::scalar(0.0));
            assert_eq!(x.normalize(2.0, axis, 1e-12).unwrap(), Tensor::scalar(1.0));
            assert_eq!(x.argmax(axis).unwrap(), Tensor::scalar(0));
            assert_eq!(Tensor::scalar(7_u8).sum_axes(&[axis], true).unwrap(), Tensor::scalar(7));
            assert_eq!(Tensor::scalar(7_u8).cumsum(axis).unwrap(), Tensor::scalar(7));
            assert!(x.select(axis, 0).is_err() && x.narrow(axis, 0, 1).is_err());
            assert!(x.unbind(axis).is_err() && x.split(1, axis).is_err());
            assert!(x.roll(1, axis).is_err() && x.glu(axis).is_err());
            assert!(x.diff(axis).is_err() && Tensor::cat(&[&x, &x], axis).is_err());
        }
        assert!(x.sum_axes(&[1], false).is_err() && x.sum_axes(&[0, -1], false).is_err());
        assert!(x.softmax(1).is_err() && x.sort(-2, false).is_err());
    }

    #[test]
    fn running_results() {
        let x = Tensor::from([[1, 2, 3], [4, 5, 6_i64]]);
        assert_eq!(x.cumsum(1).unwrap().to_vec(), [1, 3, 6, 4, 9, 15]);
        assert_eq!(x.cumprod(0).unwrap().to_vec(), [1, 2, 3, 4, 10, 18]);
        let y = Tensor::from([1000.0, 1000.0, f64::NEG_INFINITY]).logcumsumexp(0).unwrap();
        assert_eq!(y.to_vec(), [1000.0, 1000.0 + 2_f64.ln(), 1000.0 + 2_f64.ln()]);
        let low = Tensor::from([f64::NEG_INFINITY, 0.0]).logcumsumexp(0).unwrap();
        assert_eq!(low.to_vec(), [f64::NEG_INFINITY, 0.0]);
        assert!(x.cumsum(2).is_err() && y.cumsum(1).is_err());
    }

    /// The gradient of Σ y is Σ over j ≥ i of the share of xᵢ in the first j.
    #[test]
    fn the_gradient_of_running_logarithms_is_exact() {
        let gradient = |x: [f32; 3]| {
            let (x, operation) = (Tensor::from(x), LogCumSumExp { axis: 0 });
            let (output, ()) = operation.forward(&[&x]);
            let (inputs, needs) = (&[x][..], &[true][..]);
            let cotangent = Tensor::ones([3]);
            let call = Call { inputs, output: &output, saved: &(), needs, cotangent };
            operation.vjp(call)[0].as_ref().unwrap().to_vec()
        };
        let thirds = [11.0 / 6.0, 5.0 / 6.0, 1.0 / 3.0_f32];
        for x in [0.0, 5.0, 1e20, f32::NEG_INFINITY] {
            assert_eq!(gradient([x; 3]), thirds, "{x}");
        }
    }

    #[test]
    fn the_gradient_of_a_running_product_does_not_divide() {
        let gradient = |x: [f32; 3]| {
            let y = Tensor::from(x).cumprod(0).unwrap().to_vec();
            let mut out = [0.0; 3];
            cumprod_gradient([&x, &y, &[1.0; 3]], &mut out);
            out
        };
        assert_eq!(gradient([1e-30, 1e-30, 1e20]), [1.0, 1e-30 * 1e20, 0.0]);
        assert_eq!(gradient([1e-39, 2.0, 3.0]), [9.0, 1e-39 * 4.0, 2e-39]);
        assert_eq!(gradient([0.0, 2.0, 0.0]), [3.0, 0.0, 0.0]);
    }
}
