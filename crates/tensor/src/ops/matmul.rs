//! Matrix products over broadcast leading axes.

use super::broadcast::sum_to;
use super::per_sample::linear_gradient;
use super::{
    Call, Cotangents, Op, Ops, SampleCotangents, SampleGradient, TermCall, TermCotangents,
};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::epilogue::Epilogue;
use crate::kernels::gemm::{Panels, Plus, Problem};
use crate::kernels::matrices::{Matrices, readable};
use crate::kernels::parallel::for_each_chunk;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// C = A·B for A of shape `[…, m, k]` and B of shape `[…, k, n]`.
#[derive(Clone, Copy, Debug)]
pub struct MatMul;

/// The shape of the product, or an error if the shapes do not fit.
pub(super) fn product_shape(a: &Shape, b: &Shape) -> Result<Shape> {
    if let ([a_batch @ .., m, k], [b_batch @ .., rows, n]) = (&a[..], &b[..])
        && k == rows
    {
        let batch = Shape::from(a_batch).broadcast(&b_batch.into(), "matmul")?;
        return Ok(batch.iter().copied().chain([*m, *n]).collect());
    }
    Err(Error::shape("matmul", format!("expected shapes […, m, k] and […, k, n], got {a} and {b}")))
}

/// The product of matrices whose shapes fit, with any strides.
pub(crate) fn product<T: Float>(a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
    product_then(a, b, None, Epilogue::NONE)
}

/// The same with the panels of `b`, if it is one matrix, and what follows.
fn product_then<T: Float>(
    a: &Tensor<T>,
    b: &Tensor<T>,
    panels: Option<&Panels<T>>,
    then: Epilogue<'_, T>,
) -> Tensor<T> {
    let shape = product_shape(a.shape(), b.shape()).expect("the shape rule accepted the inputs");
    let (batch, [m, n]) =
        (&shape[..shape.len() - 2], [shape[shape.len() - 2], shape[shape.len() - 1]]);
    let k = a.shape()[a.rank() - 1];
    if b.rank() == 2 && a.rank() > 2 && a.is_contiguous() {
        // One tall product is faster than a batch of small ones.
        let rows = batch.iter().product::<usize>() * m;
        let tall = a.reshape([rows, k]).expect("the same elements");
        return product_then(&tall, b, panels, then).reshape(shape).expect("the same elements");
    }
    let stretched = |x: &Tensor<T>, rows, columns| {
        readable(x).stretched(batch.iter().copied().chain([rows, columns]).collect())
    };
    if k == 0 {
        return Tensor::build(shape, |out| {
            out.fill(T::ZERO);
            then.apply(0, out);
        });
    }
    let (a, b) = (stretched(a, m, k), stretched(b, k, n));
    let (a, b) = (Matrices::of(&a), Matrices::of(&b));
    Tensor::build(shape.clone(), |out| {
        for_each_chunk(out, (m * n).max(1), k, |index, c| {
            let ((a, a_strides), (b, b_strides)) = (a.rows(index, 0), b.rows(index, 0));
            let (columns, plus, then) = (n, Plus::Nothing, then.from(index * m * n));
            let p = Problem { m, k, n, a, a_strides, b, b_strides, c, columns, plus, then };
            match panels {
                Some(panels) => T::gemm_with_panels(p, panels),
                None => T::gemm(p),
            }
        });
    })
}

impl MatMul {
    /// The product and what follows it; `panels` are those of `b`, which is then
    /// one matrix.
    ///
    /// # Errors
    ///
    /// When the shapes do not match each other, or there is not enough memory
    /// for the output.
    pub fn forward_then<T: Float>(
        self,
        [a, b]: [&Tensor<T>; 2],
        panels: Option<&Panels<T>>,
        then: Epilogue<'_, T>,
    ) -> Result<Tensor<T>> {
        product_shape(a.shape(), b.shape())?.check_memory::<T>("matmul")?;
        let panels = panels.filter(|_| b.rank() == 2 && a.is_contiguous());
        Ok(product_then(a, b, panels, then))
    }
}

/// The last two axes swapped.
pub(crate) fn transposed<T: Float>(x: &Tensor<T>) -> Tensor<T> {
    x.transpose(-1, -2).expect("a matrix has two axes")
}

impl<T: Float> Op<T> for MatMul {
    type Saved = ();
    const NAME: &'static str = "matmul";
    const PRODUCT_OPERANDS: u32 = 0b11;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        product_shape(inputs[0], inputs[1])
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, ()>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let [a, b] = [call.inputs[0].clone(), call.inputs[1].clone()];
        let (needs, g) = (call.needs, call.cotangent.clone());
        let batches = a.rank() > 2 && a.rank() == b.rank() && a.shape()[0] == b.shape()[0];
        if !batches && (b.rank() > 2 || a.rank() < 2) {
            return Ok(None);
        }
        // Like a linear layer with a transposed weight, or a product for each
        // row.
        let only_a = [needs[0], needs[1] && batches];
        let mut gradients: SampleCotangents<T> = self
            .vjp(Call { needs: &only_a, ..call })
            .into_iter()
            .map(|gradient| gradient.map(SampleGradient::Rows))
            .collect();
        if needs[1] && !batches {
            let Some(gradient) = linear_gradient([&a, &g], 1, samples) else { return Ok(None) };
            gradients[1] = Some(SampleGradient::Each(transposed(&gradient)));
        }
        Ok(Some(gradients))
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (product(inputs[0], inputs[1]), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let [a, b] = [&call.inputs[0], &call.inputs[1]];
        call.each(|index| match index {
            0 => sum_to(product(&call.cotangent, &transposed(b)), a.shape()),
            _ => sum_to(product(&transposed(a), &call.cotangent), b.shape()),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let (a, b, g) = (&call.inputs[0], &call.inputs[1], call.cotangent);
        call.each(|index| match index {
            0 => g.matmul(&b.transpose(-1, -2)?)?.sum_to(a.shape()),
            _ => a.transpose(-1, -2)?.matmul(g)?.sum_to(b.shape()),
        })
    }

    fn multiply_adds(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let inner = inputs[0].last().map_or(0, |&inner| inner);
        output.elements() as u64 * inner as u64
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(7);
        let mut pair = |a: &[usize], b: &[usize]| {
            (MatMul, [a, b].map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng)).into())
        };
        vec![
            pair(&[3, 4], &[4, 5]),
            pair(&[2, 3, 4], &[4, 5]),
            pair(&[2, 1, 3, 4], &[5, 4, 2]),
            pair(&[0, 4], &[4, 2]),
            pair(&[3, 0], &[0, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_count_as_rows_and_columns() {
        let matrix = Tensor::from([[1.0, 2.0], [3.0, 4.0_f32]]);
        let vector = Tensor::from([10.0, 1.0]);
        assert_eq!(matrix.matmul(&vector).unwrap().to_vec(), [12.0, 34.0]);
        assert_eq!(vector.matmul(&matrix).unwrap().to_vec(), [13.0, 24.0]);
        assert_eq!(vector.matmul(&vector).unwrap(), Tensor::scalar(101.0));
    }

    #[test]
    fn strided_operands_are_read_in_place() {
        let mut rng = Rng::seed(8);
        let a = Tensor::<f64>::normal([7, 5], 0.0, 1.0, &mut rng);
        let b = Tensor::<f64>::normal([7, 6], 0.0, 1.0, &mut rng);
        let expected = a
            .view()
            .into_dimensionality::<ndarray::Ix2>()
            .unwrap()
            .t()
            .dot(&b.view().into_dimensionality::<ndarray::Ix2>().unwrap());
        let found = a.transpose(0, 1).unwrap().matmul(&b).unwrap();
        let difference = &found.view() - &expected.into_dyn();
        assert!(difference.iter().all(|d: &f64| d.abs() < 1e-12));
        let backwards = a.slice(1, -1, None, -1).unwrap();
        let again = backwards.slice(1, -1, None, -1).unwrap().transpose(0, 1).unwrap();
        assert_eq!(again.matmul(&b).unwrap(), found);
    }

    #[test]
    fn a_batch_may_run_backwards() {
        let mut rng = Rng::seed(8);
        let a = Tensor::<f64>::normal([3, 2, 4], 0.0, 1.0, &mut rng);
        let b = Tensor::<f64>::normal([3, 4, 5], 0.0, 1.0, &mut rng);
        let [back_a, back_b] = [&a, &b].map(|x| x.slice(0, -1, None, -1).unwrap());
        let product = back_a.matmul(&back_b).unwrap().slice(0, -1, None, -1).unwrap();
        assert_eq!(product, a.matmul(&b).unwrap());
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let product = Tensor::<f32>::zeros([2, 0]).matmul(&Tensor::zeros([0, 3])).unwrap();
        assert_eq!(product, Tensor::zeros([2, 3]));
    }

    #[test]
    fn shapes_that_do_not_multiply_are_named() {
        let error = Tensor::<f32>::zeros([2, 3]).matmul(&Tensor::zeros([4, 3])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "matmul: expected shapes […, m, k] and […, k, n], got [2, 3] and [4, 3]"
        );
        assert!(Tensor::<f32>::scalar(1.0).matmul(&Tensor::zeros([1])).is_err());
    }
}
