//! Reductions over axes (sum, product, maximum, minimum), and `argmax`.
//!
//! A reduction processes chunks whose size depends only on the shape, and
//! combines their results in order, so the result has the same bits for any
//! number of threads. Splitting a long sum also keeps its rounding error small.

use smallvec::SmallVec;

use super::order::{index_rows, is_nan};
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float, Number};
use crate::error::{Error, Result};
use crate::kernels::fold::{Fold, largest, smallest};
use crate::kernels::parallel::{GRAIN, for_each_chunk, map, rows_per_chunk};
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

mod gradients;

use gradients::{extreme_gradient, extreme_gradient_terms, prod_gradient, product};

/// The number of values that are reduced in one elementary step.
const VALUES_PER_STEP: usize = 4;

/// Reduces the given axes (in ascending order) with an associative `f`.
pub(crate) fn fold<T: Element>(
    x: &Tensor<T>,
    axes: &[usize],
    identity: T,
    f: impl Fold<T>,
) -> Tensor<T> {
    let shape = x.shape().reduced(axes, false);
    // Adjacent axes are reduced in place; others are moved to the end.
    let adjacent = axes.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let (x, inner) = if adjacent || axes.is_empty() {
        let inner = axes.last().map_or(1, |&last| x.shape()[last + 1..].iter().product());
        (x.contiguous(), inner)
    } else {
        let kept = (0..x.rank()).filter(|axis| !axes.contains(axis));
        let order: SmallVec<[usize; 4]> = kept.chain(axes.iter().copied()).collect();
        (x.permuted(&order).contiguous(), 1)
    };
    let values = x.as_slice().expect("made contiguous above");
    let outer = shape.elements() / inner.max(1);
    let length = values.len().checked_div(outer * inner).unwrap_or(0);
    Tensor::build(shape, |out| {
        if inner == 1 {
            fold_rows(values, length, out, identity, &f);
        } else {
            fold_columns(values, length, inner, out, identity, &f);
        }
    })
}

/// Reduces each row of `length` values to one.
fn fold_rows<T: Element>(
    values: &[T],
    length: usize,
    out: &mut [T],
    identity: T,
    f: &impl Fold<T>,
) {
    let block = GRAIN / 2;
    if length > block {
        for (slot, row) in out.iter_mut().zip(values.chunks(length)) {
            let partial = map(length.div_ceil(block), block / VALUES_PER_STEP, |i| {
                let part = &row[i * block..length.min((i + 1) * block)];
                simd::dispatch(
                    #[inline(always)]
                    || f.row(part, identity),
                )
            });
            *slot = partial.into_iter().fold(identity, |a, b| f.pair(a, b));
        }
        return;
    }
    let rows = rows_per_chunk(length);
    for_each_chunk(out, rows, length.div_ceil(VALUES_PER_STEP), |index, out| {
        let values = &values[index * rows * length..][..out.len() * length];
        simd::dispatch(
            #[inline(always)]
            || {
                for (i, slot) in out.iter_mut().enumerate() {
                    *slot = f.row(&values[i * length..(i + 1) * length], identity);
                }
            },
        );
    });
}

/// The most columns of a matrix that is narrow: starting a row takes longer
/// than reducing it.
const NARROW: usize = 32;

/// Reduces the columns of a matrix from `first` on, `ABREAST` at a time in
/// registers; returns the first column that is left.
#[inline(always)]
fn fold_abreast<const ABREAST: usize, T: Element>(
    matrix: &[T],
    mut first: usize,
    out: &mut [T],
    identity: T,
    f: &impl Fold<T>,
) -> usize {
    let columns = out.len();
    while let Some(out) = out.get_mut(first..first + ABREAST) {
        let mut folded = [identity; ABREAST];
        for row in matrix.chunks_exact(columns) {
            for (folded, &value) in folded.iter_mut().zip(&row[first..first + ABREAST]) {
                *folded = f.pair(*folded, value);
            }
        }
        out.copy_from_slice(&folded);
        first += ABREAST;
    }
    first
}

/// Reduces each `length × inner` matrix to one row of `inner`.
pub(super) fn fold_columns<T: Element>(
    values: &[T],
    length: usize,
    inner: usize,
    out: &mut [T],
    identity: T,
    f: &impl Fold<T>,
) {
    let accumulate = |rows: &[T], out: &mut [T]| {
        simd::dispatch(
            #[inline(always)]
            || {
                if inner <= NARROW {
                    let first = fold_abreast::<8, T>(rows, 0, out, identity, f);
                    fold_abreast::<1, T>(rows, first, out, identity, f);
                    return;
                }
                out.fill(identity);
                for row in rows.chunks_exact(inner) {
                    for (slot, &value) in out.iter_mut().zip(row) {
                        *slot = f.pair(*slot, value);
                    }
                }
            },
        );
    };
    if out.is_empty() {
        return;
    }
    if length == 0 {
        out.fill(identity);
        return;
    }
    let block = rows_per_chunk(inner);
    for_each_chunk(out, inner, length.div_ceil(VALUES_PER_STEP), |index, out| {
        let matrix = &values[index * length * inner..][..length * inner];
        if length <= block {
            accumulate(matrix, out);
            return;
        }
        let partial = map(length.div_ceil(block), block * inner / VALUES_PER_STEP, |i| {
            let rows = &matrix[i * block * inner..length.min((i + 1) * block) * inner];
            let mut sum = vec![identity; inner];
            accumulate(rows, &mut sum);
            sum
        });
        accumulate(&partial.concat(), out);
    });
}

/// The shape of the result of a reduction; `context` names the function in
/// errors.
pub(super) fn output_shape(
    context: &str,
    shape: &Shape,
    axes: &[isize],
    keep: bool,
) -> Result<Shape> {
    Ok(shape.reduced(&shape.axes(context, axes)?, keep))
}

/// Like [`output_shape`], for a reduction that is not defined for no elements,
/// such as a maximum.
pub(super) fn extreme_shape(
    context: &str,
    shape: &Shape,
    axes: &[isize],
    keep: bool,
) -> Result<Shape> {
    let axes = shape.axes(context, axes)?;
    match axes.iter().find(|&&axis| shape[axis] == 0) {
        None => Ok(shape.reduced(&axes, keep)),
        Some(axis) => Err(Error::shape(context, format!("axis {axis} of {shape} has no elements"))),
    }
}

/// Reduces axes, which are kept with length 1 if `keep` is set.
pub(super) fn forward<T: Element>(
    x: &Tensor<T>,
    axes: &[isize],
    keep: bool,
    identity: T,
    f: impl Fold<T>,
) -> Tensor<T> {
    let axes = x.shape().axes("reduction", axes).expect("the shape rule accepted the axes");
    let folded = fold(x, &axes, identity, f);
    if !keep {
        return folded;
    }
    folded.reshape(x.shape().reduced(&axes, true)).expect("kept axes hold one element")
}

/// A reduced tensor with length 1 along the reduced axes, so that it broadcasts
/// against the input.
pub(super) fn kept<T: Element>(reduced: &Tensor<T>, shape: &Shape, axes: &[isize]) -> Tensor<T> {
    let axes = shape.axes("reduction", axes).expect("the shape rule accepted the axes");
    reduced.reshape(shape.reduced(&axes, true)).expect("kept axes hold one element")
}

/// [`kept`] for a term.
pub(super) fn kept_term<T: Float>(
    reduced: &Term<T>,
    shape: &Shape,
    axes: &[isize],
) -> Result<Term<T>> {
    reduced.reshape(shape.reduced(&shape.axes("reduction", axes)?, true))
}

macro_rules! reductions {
    ($(
        $(#[$doc:meta])*
        $name:ident by $shape:ident:
            $identity:expr, $fold:expr, |$call:ident, $axes:ident| $gradient:expr,
            |$term_call:ident, $term_axes:ident| $terms:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// The axes that are reduced.
            pub axes: SmallVec<[isize; 4]>,
            /// Whether they are kept with length 1.
            pub keep: bool,
        }

        impl<T: Float> Op<T> for $name {
            type Saved = ();
            const NAME: &'static str = snake_case!($name);

            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                $shape(<Self as Op<T>>::NAME, inputs[0], &self.axes, self.keep)
            }

            #[inline(never)]
            fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
                (forward(inputs[0], &self.axes, self.keep, $identity, $fold), ())
            }

            #[inline(never)]
            fn vjp(&self, $call: Call<'_, T, ()>) -> Cotangents<T> {
                let $axes = &self.axes[..];
                $call.each(|_| $gradient)
            }

            fn vjp_terms(&self, $term_call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
                let $term_axes = &self.axes[..];
                $terms
            }

            fn attributes(&self) -> Attributes {
                vec![("axes", self.axes[..].into()), ("keep", self.keep.into())]
            }

            fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
                let mut rng = Rng::seed(3);
                let cases: [(&[usize], &[isize], bool); 7] = [
                    (&[3, 4], &[1], false),
                    (&[3, 4], &[0], true),
                    (&[2, 3, 4], &[0, -1], false),
                    (&[2, 3, 4], &[1], false),
                    (&[2, 3, 4], &[0, 1, 2], true),
                    (&[5], &[], false),
                    (&[2, 0], &[0], false),
                ];
                cases
                    .map(|(shape, axes, keep)| {
                        let x = Tensor::uniform(shape, 0.5, 2.0, &mut rng);
                        ($name { axes: axes.into(), keep }, vec![x])
                    })
                    .into()
            }
        }
    )*};
}

reductions! {
    /// Σ x over some axes
    Sum by output_shape: T::ZERO, #[inline(always)] |a: T, b: T| a + b, |call, axes| {
        let shape = call.inputs[0].shape();
        kept(&call.cotangent, shape, axes).stretched(shape.clone())
    }, |call, axes| {
        let shape = call.inputs[0].shape();
        call.each(|_| kept_term(call.cotangent, shape, axes)?.broadcast_to(shape.clone()))
    };
    /// Π x over some axes; the gradients are exact for factors of 0 too
    Prod by output_shape: T::ONE, #[inline(always)] |a: T, b: T| a * b, |call, axes| {
        prod_gradient(&call.inputs[0], &call.cotangent, axes)
    }, |call, axes| call.compose(|inputs| product(&inputs[0], axes, call.output.shape()));
    /// max x over some axes
    Max by extreme_shape: T::LOWEST, largest(), |call, axes| {
        extreme_gradient(&call.inputs[0], call.output, &call.cotangent, axes)
    }, |call, axes| extreme_gradient_terms(&call, axes);
    /// min x over some axes
    Min by extreme_shape: T::HIGHEST, smallest(), |call, axes| {
        extreme_gradient(&call.inputs[0], call.output, &call.cotangent, axes)
    }, |call, axes| extreme_gradient_terms(&call, axes);
}

/// Indices of extremes, which have no gradient.
impl<T: Number> Tensor<T> {
    /// The index of the largest element along an axis, which is removed; the
    /// first of equal elements. NaN counts as larger than any number.
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has no elements.
    pub fn argmax(&self, axis: isize) -> Result<Tensor<i64>> {
        self.extreme_index("argmax", axis, |a, b| a > b)
    }

    /// The index of the smallest element along an axis; otherwise as
    /// [`argmax`](Self::argmax).
    ///
    /// # Errors
    ///
    /// When the axis does not exist or has no elements.
    pub fn argmin(&self, axis: isize) -> Result<Tensor<i64>> {
        self.extreme_index("argmin", axis, |a, b| a < b)
    }

    fn extreme_index(
        &self,
        context: &str,
        axis: isize,
        beats: impl Fn(T, T) -> bool + Sync,
    ) -> Result<Tensor<i64>> {
        extreme_shape(context, self.shape(), &[axis], false)?;
        let (axis, _) = self.shape().along(context, axis)?;
        let indices = index_rows(self, axis, 1, |row, out| {
            let mut best = 0;
            for (i, &x) in row.iter().enumerate() {
                if beats(x, row[best]) || (is_nan(x) && !is_nan(row[best])) {
                    best = i;
                }
                if is_nan(row[best]) {
                    break;
                }
            }
            out[0] = best as i64;
        });
        indices.squeeze(axis as isize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    /// Every set of axes of a strided tensor, compared with a plain loop.
    #[test]
    fn sums_match_a_plain_loop() {
        let mut rng = Rng::seed(4);
        let x = Tensor::<f64>::normal([5, 3, 40, 2], 0.0, 1.0, &mut rng)
            .permute(&[2, 0, 3, 1])
            .unwrap();
        for set in 0..16_usize {
            let axes: Vec<isize> = (0..4).filter(|axis| set >> axis & 1 == 1).collect();
            let found = x.sum_axes(&axes, true).unwrap();
            let mut expected = ndarray::ArrayD::<f64>::zeros(found.view().raw_dim());
            for (place, &value) in x.view().indexed_iter() {
                let mut place = place;
                axes.iter().for_each(|&axis| place[axis as usize] = 0);
                expected[place] += value;
            }
            let difference = (&found.view() - &expected).mapv(f64::abs);
            assert!(difference.iter().all(|&d| d < 1e-12), "axes {axes:?}");
        }
    }

    #[test]
    fn a_long_sum_has_the_same_bits_for_any_number_of_threads_and_is_accurate() {
        let x = Tensor::<f32>::uniform([1_000_003], 0.0, 1.0, &mut Rng::seed(5));
        let tall = x.narrow(0, 0, 1_000_000).unwrap().reshape([100_000, 10]).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (x.sum().to_vec(), tall.sum_axes(&[0], false).unwrap().to_vec()))
        };
        let once = run(1);
        for threads in [2, 3, 7] {
            assert_eq!(once, run(threads), "{threads} threads");
        }
        let exact: f64 = x.to_vec().iter().map(|&x| f64::from(x)).sum();
        assert!((f64::from(once.0[0]) - exact).abs() / exact < 1e-6);
    }

    #[test]
    fn reductions_of_nothing_are_neutral_elements_or_errors() {
        let x = Tensor::<f32>::zeros([0, 3]);
        assert_eq!(x.sum_axes(&[0], false).unwrap().to_vec(), [0.0; 3]);
        assert_eq!(x.prod_axes(&[0], false).unwrap().to_vec(), [1.0; 3]);
        assert!(x.mean().item().unwrap().is_nan());
        assert_eq!(x.logsumexp(0, false).unwrap().to_vec(), [f32::NEG_INFINITY; 3]);
        assert_eq!(x.norm_axes(0.5, &[0], false).unwrap().to_vec(), [0.0; 3]);
        let error = x.max_axes(&[0], false).unwrap_err();
        assert_eq!(error.to_string(), "max: axis 0 of [0, 3] has no elements");
        assert!(x.min_axes(&[-1, 0], true).is_err());
        assert!(x.max().is_err() && x.min().is_err());
        assert!(x.argmax(0).is_err() && x.max_along(0, true).is_err());
        for p in [f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.5] {
            assert!(x.norm_axes(p, &[0], false).is_err() && x.norm(p).is_err(), "p = {p}");
            assert!(x.norm_axes(p, &[1], false).unwrap().is_empty());
        }
        assert!(x.max_axes(&[1], false).unwrap().is_empty());
    }

    #[test]
    fn the_first_maximum_is_found_and_nan_is_larger_than_all() {
        let x = Tensor::from([[1.0, 3.0, 3.0], [f64::NAN, 9.0, f64::NAN], [-1.0, -2.0, -0.5]]);
        assert_eq!(x.argmax(1).unwrap().to_vec(), [1, 0, 2]);
        assert_eq!(x.argmin(-1).unwrap().to_vec(), [0, 0, 1]);
        assert_eq!(Tensor::from([[3, 9], [4, 1_i64]]).argmax(0).unwrap().to_vec(), [1, 0]);
        assert!(x.max_axes(&[1], false).unwrap().to_vec()[1].is_nan());
    }
}
