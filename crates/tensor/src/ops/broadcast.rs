//! Element-wise functions of two tensors under NumPy's broadcasting rule, and
//! the sum that is the gradient of a broadcast.

use smallvec::SmallVec;

use crate::element::{Element, Number};
use crate::error::Result;
use crate::kernels::parallel::{self, for_each_chunk};
use crate::kernels::simd;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The shape that two tensors broadcast to, checked against the available
/// memory; `context` names the function in the error.
pub(super) fn paired_shape<A: Element, B: Element, C: Element>(
    a: &Tensor<A>,
    b: &Tensor<B>,
    context: &str,
) -> Result<Shape> {
    let shape = a.shape().broadcast(b.shape(), context)?;
    shape.check_memory::<C>(context)?;
    Ok(shape)
}

/// One axis of the loop: length, stride in `a`, stride in `b`.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    strides: [isize; 2],
}

/// The axes of the loop over `shape`. Neighbouring axes are merged when both
/// tensors can step through them as one.
fn joined_axes<A: Element, B: Element>(
    shape: &Shape,
    a: &Tensor<A>,
    b: &Tensor<B>,
) -> SmallVec<[Axis; 4]> {
    let mut axes: SmallVec<[Axis; 4]> = SmallVec::new();
    for (index, &size) in shape.iter().enumerate() {
        if size == 1 {
            continue;
        }
        let axis = Axis { size, strides: [a.strides()[index], b.strides()[index]] };
        match axes.last_mut() {
            Some(outer) if (0..2).all(|i| outer.strides[i] == axis.strides[i] * size as isize) => {
                *outer = Axis { size: outer.size * size, strides: axis.strides };
            }
            _ => axes.push(axis),
        }
    }
    axes
}

/// `f` of every pair of elements; `shape` is the shape that both broadcast to.
pub(crate) fn zip<A: Element, B: Element, C: Element>(
    a: &Tensor<A>,
    b: &Tensor<B>,
    shape: &Shape,
    f: impl Fn(A, B) -> C + Sync,
) -> Tensor<C> {
    let rows = Rows::new(a, b, shape);
    let (a, b) = (rows.a.storage().0, rows.b.storage().0);
    rows.for_each(&|out: &mut [C], a_start, b_start| {
        let n = out.len();
        simd::dispatch(
            #[inline(always)]
            || match rows.inner.strides {
                [1, 0] => {
                    let b = b[b_start];
                    for (slot, &a) in out.iter_mut().zip(&a[a_start..][..n]) {
                        *slot = f(a, b);
                    }
                }
                [0, 1] => {
                    let a = a[a_start];
                    for (slot, &b) in out.iter_mut().zip(&b[b_start..][..n]) {
                        *slot = f(a, b);
                    }
                }
                _ => {
                    let (a, b) = (&a[a_start..][..n], &b[b_start..][..n]);
                    for ((slot, &a), &b) in out.iter_mut().zip(a).zip(b) {
                        *slot = f(a, b);
                    }
                }
            },
        );
    })
}

/// A loop over two tensors, as rows in which the elements of each tensor are
/// contiguous or repeat one value.
struct Rows<'a, A: Element, B: Element> {
    a: Tensor<A>,
    b: Tensor<B>,
    shape: &'a Shape,
    /// The axes of the rows, without that of the elements in a row.
    outer: SmallVec<[Axis; 4]>,
    inner: Axis,
}

impl<'a, A: Element, B: Element> Rows<'a, A, B> {
    #[inline(never)]
    fn new(a: &Tensor<A>, b: &Tensor<B>, shape: &'a Shape) -> Self {
        let (mut a, mut b) = (a.stretched(shape.clone()), b.stretched(shape.clone()));
        let mut outer = joined_axes(shape, &a, &b);
        // Other layouts are copied first.
        let is_easy = |strides: [isize; 2]| matches!(strides, [1, 1] | [1, 0] | [0, 1]);
        if outer.last().is_some_and(|inner| !is_easy(inner.strides)) {
            (a, b) = (a.contiguous(), b.contiguous());
            outer = joined_axes(shape, &a, &b);
        }
        let inner = outer.pop().unwrap_or(Axis { size: 1, strides: [1, 1] });
        Self { a, b, shape, outer, inner }
    }

    /// The tensor that `row` fills, one row per call. `row` is given the offset of
    /// the row in the storage of `a` and of `b`. It is called through a pointer, so
    /// that this function is compiled once for all functions of the same types.
    #[inline(never)]
    fn for_each<C: Element>(&self, row: &(dyn Fn(&mut [C], usize, usize) + Sync)) -> Tensor<C> {
        let Self { a, b, shape, outer, inner } = self;
        let (a_offset, b_offset) = (a.storage().1, b.storage().1);
        Tensor::build(*shape, |out| {
            if out.is_empty() {
                return;
            }
            if outer.is_empty() {
                let length = parallel::GRAIN / 2;
                for_each_chunk(out, length, 1, |index, out| {
                    let start = index * length;
                    let at = |offset: usize, stride: isize| offset + start * stride as usize;
                    row(out, at(a_offset, inner.strides[0]), at(b_offset, inner.strides[1]));
                });
                return;
            }
            let rows = parallel::rows_per_chunk(inner.size);
            for_each_chunk(out, rows * inner.size, 1, |index, out| {
                for (i, out) in out.chunks_mut(inner.size).enumerate() {
                    let mut rest = index * rows + i;
                    let (mut a_start, mut b_start) = (a_offset as isize, b_offset as isize);
                    for axis in outer.iter().rev() {
                        let coordinate = (rest % axis.size) as isize;
                        rest /= axis.size;
                        a_start += coordinate * axis.strides[0];
                        b_start += coordinate * axis.strides[1];
                    }
                    row(out, a_start as usize, b_start as usize);
                }
            });
        })
    }
}

/// The sum over the axes along which a tensor of `shape` was broadcast to that
/// of `x`.
pub(crate) fn sum_to<T: Number>(x: Tensor<T>, shape: &Shape) -> Tensor<T> {
    if x.shape() == shape {
        return x;
    }
    let new_axes = x.rank() - shape.len();
    let axes: SmallVec<[usize; 4]> = (0..x.rank())
        .filter(|&axis| axis < new_axes || (shape[axis - new_axes] == 1 && x.shape()[axis] != 1))
        .collect();
    let summed = super::reduce::fold(&x, &axes, T::ZERO, |a, b| a + b);
    summed.reshape(shape).expect("the sum has the elements of the shape before stretching")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// All combinations of layouts, compared with ndarray's broadcasting.
    #[test]
    fn zip_matches_ndarray_for_any_layout() {
        let mut rng = Rng::seed(5);
        let base = |shape: &[usize], rng: &mut Rng| Tensor::<f64>::uniform(shape, -1.0, 1.0, rng);
        let a = base(&[4, 5, 6], &mut rng);
        let operands = [
            a.clone(),
            base(&[6, 5, 4], &mut rng).permute(&[2, 1, 0]).unwrap(),
            base(&[4, 5, 13], &mut rng).slice(2, -1, Some(0), -2).unwrap(),
            base(&[5, 6], &mut rng),
            base(&[4, 1, 1], &mut rng),
            base(&[4, 5, 1], &mut rng),
            base(&[1, 5, 1], &mut rng),
            base(&[], &mut rng),
        ];
        for x in &operands {
            for y in &operands {
                let shape = x.shape().broadcast(y.shape(), "test").unwrap();
                let found = zip(x, y, &shape, |x, y| x - 2.0 * y);
                let wide = |t: &Tensor<f64>| t.view().broadcast(&shape[..]).unwrap().to_owned();
                let expected = wide(x) - 2.0 * wide(y);
                assert_eq!(found.view(), expected, "{} and {}", x.shape(), y.shape());
            }
        }
    }

    #[test]
    fn large_and_empty_zips() {
        let n = 300_000;
        let x = Tensor::<f64>::arange(n);
        let sum = zip(&x, &x, x.shape(), |a, b| a + b);
        assert!(sum.to_vec().iter().enumerate().all(|(i, &s)| s == 2.0 * i as f64));
        let empty = Tensor::<f64>::zeros([3, 0]);
        assert!(zip(&empty, &Tensor::scalar(1.0), empty.shape(), |a, b| a + b).is_empty());
    }

    #[test]
    fn sum_to_adds_up_what_was_stretched() {
        let x = Tensor::<f64>::ones([2, 3, 4]);
        assert_eq!(sum_to(x.clone(), &[3, 1].into()).to_vec(), [8.0; 3]);
        assert_eq!(sum_to(x.clone(), &Shape::scalar()).to_vec(), [24.0]);
        assert_eq!(sum_to(x, &[1, 1, 4].into()).to_vec(), [6.0; 4]);
    }
}
