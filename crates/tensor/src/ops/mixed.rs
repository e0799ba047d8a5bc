//! Products of tensors that are stored in half precision, with sums in `f32`.

use super::Op;
use super::linear::Linear;
use super::matmul::product_shape;
use crate::element::Element;
use crate::error::Result;
use crate::half::{bf16, f16};
use crate::kernels::gemm::{Plus, Stored, multiply_stored};
use crate::kernels::matrices::{Matrices, readable};
use crate::kernels::parallel::for_each_chunk;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// An element that mixed products read as `f32`: `f32`, [`f16`](struct@f16) or [`bf16`].
pub trait MixedElement: Element {
    /// The elements with the way in which they are stored.
    fn stored(values: &[Self]) -> Stored<'_>;
}

impl MixedElement for f32 {
    fn stored(values: &[Self]) -> Stored<'_> {
        Stored::F32(values)
    }
}

impl MixedElement for f16 {
    fn stored(values: &[Self]) -> Stored<'_> {
        Stored::F16(values)
    }
}

impl MixedElement for bf16 {
    fn stored(values: &[Self]) -> Stored<'_> {
        Stored::BF16(values)
    }
}

impl<A: MixedElement> Tensor<A> {
    /// The matrix product A·B for A of shape `[…, m, k]` and B of shape `[…, k, n]`, each of
    /// elements of type `f32`, `f16` or `bf16`, with sums in `f32`. The leading axes broadcast.
    ///
    /// Halves are converted when the product packs its operands, so their tensor is read once and
    /// needs no copy in `f32`. The result has the bits of the product of the converted tensors. It
    /// has no gradient.
    ///
    /// ```
    /// use dendra_tensor::{Rng, Tensor, bf16};
    ///
    /// let x = Tensor::<f32>::normal([2, 3], 0.0, 1.0, &mut Rng::seed(1));
    /// let weight = Tensor::<f32>::eye(3).cast::<bf16>();
    /// assert_eq!(x.mixed_matmul(&weight)?, x);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or there is not enough memory for the result.
    pub fn mixed_matmul<B: MixedElement>(&self, other: &Tensor<B>) -> Result<Tensor<f32>> {
        let shape = product_shape(self.shape(), other.shape())?;
        shape.check_memory::<f32>("mixed_matmul")?;
        Ok(product(self, other, shape))
    }

    /// x·Wᵀ + b for x of shape `[…, in]`, W of shape `[out, in]` and, optionally, b of shape
    /// `[out]`: a fully connected layer whose weight is stored in half precision. Otherwise like
    /// [`mixed_matmul`](Self::mixed_matmul).
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or there is not enough memory for the result.
    pub fn mixed_linear<W: MixedElement>(
        &self,
        weight: &Tensor<W>,
        bias: Option<&Tensor<f32>>,
    ) -> Result<Tensor<f32>> {
        let shapes = [Some(self.shape()), Some(weight.shape()), bias.map(Tensor::shape)];
        let shapes: Vec<&Shape> = shapes.into_iter().flatten().collect();
        let shape = Op::<f32>::output_shape(&Linear, &shapes)?;
        shape.check_memory::<f32>("mixed_linear")?;
        let [n, k] = [weight.shape()[0], weight.shape()[1]];
        let m = self.shape()[..self.rank() - 1].iter().product();
        let bias = bias.map(Tensor::contiguous);
        let plus = bias.as_ref().and_then(Tensor::as_slice).map_or(Plus::Nothing, Plus::Row);
        Ok(Tensor::build(shape, |y| {
            self.with_slice(|x| {
                weight.with_slice(|weight| {
                    let (x, weight) = ((A::stored(x), [k, 1]), (W::stored(weight), [1, k]));
                    multiply_stored([m, k, n], x, weight, y, plus);
                });
            });
        }))
    }
}

/// The product of matrices whose shapes fit.
fn product<A: MixedElement, B: MixedElement>(
    a: &Tensor<A>,
    b: &Tensor<B>,
    shape: Shape,
) -> Tensor<f32> {
    let (batch, [m, n]) =
        (&shape[..shape.len() - 2], [shape[shape.len() - 2], shape[shape.len() - 1]]);
    let k = a.shape()[a.rank() - 1];
    if k == 0 || shape.elements() == 0 {
        return Tensor::zeros(shape);
    }
    let of = |rows, columns| batch.iter().copied().chain([rows, columns]).collect::<Shape>();
    // One tall product is faster than a batch of small ones.
    let is_tall = b.rank() == 2 && a.rank() > 2 && a.is_contiguous();
    let rows = if is_tall { batch.iter().product::<usize>() * m } else { m };
    let (a, b) = match is_tall {
        true => (a.with_shape([rows, k].into()), readable(b)),
        false => (readable(a).stretched(of(m, k)), readable(b).stretched(of(k, n))),
    };
    let (a, b) = (Matrices::of(&a), Matrices::of(&b));
    Tensor::build(shape, |out| {
        for_each_chunk(out, rows * n, k, |index, c| {
            let ((a, a_strides), (b, b_strides)) = (a.rows(index, 0), b.rows(index, 0));
            let (a, b) = ((A::stored(a), a_strides), (B::stored(b), b_strides));
            multiply_stored([rows, k, n], a, b, c, Plus::Nothing);
        });
    })
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;
    use crate::random::Rng;

    #[test]
    fn mixed_products_are_those_of_the_converted_tensors() {
        let mut rng = Rng::seed(5);
        let mut random = |shape: &[usize]| Tensor::<f32>::normal(shape, 0.0, 1.0, &mut rng);
        let shapes: [(&[usize], &[usize]); 4] = [
            (&[3, 70], &[70, 40]),
            (&[2, 5, 33], &[33, 8]),
            (&[2, 1, 4, 9], &[3, 9, 5]),
            (&[3, 0], &[0, 2]),
        ];
        for (a, b) in shapes {
            let (a, b) = (random(a).cast::<f16>(), random(b).cast::<bf16>());
            let (wide_a, wide_b) = (a.cast::<f32>(), b.cast::<f32>());
            let expected = wide_a.matmul(&wide_b).unwrap();
            assert_eq!(a.mixed_matmul(&b).unwrap(), expected);
            assert_eq!(wide_a.mixed_matmul(&b).unwrap(), expected);
            let turned = b.transpose(-1, -2).unwrap().contiguous().transpose(-1, -2).unwrap();
            assert_eq!(a.mixed_matmul(&turned).unwrap(), expected);
        }
        let (x, bias) = (random(&[2, 3, 50]), random(&[20]));
        let weight = random(&[20, 50]).cast::<bf16>();
        let expected = x.linear(&weight.cast(), Some(&bias)).unwrap();
        assert_eq!(x.mixed_linear(&weight, Some(&bias)).unwrap(), expected);
        let expected = x.linear(&weight.cast(), None).unwrap();
        assert_eq!(x.mixed_linear(&weight, None).unwrap(), expected);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (x, weight) = (Tensor::<f32>::zeros([2, 3]), Tensor::<bf16>::zeros([4, 5]));
        assert!(x.mixed_matmul(&weight).is_err() && x.mixed_linear(&weight, None).is_err());
        let weight = Tensor::<bf16>::zeros([4, 3]);
        assert!(x.mixed_linear(&weight, Some(&Tensor::zeros([3]))).is_err());
        assert_eq!(*x.mixed_linear(&weight, None).unwrap().shape(), [2, 4]);
        assert!(Tensor::<f32>::scalar(1.0).mixed_linear(&weight, None).is_err());
    }
}
