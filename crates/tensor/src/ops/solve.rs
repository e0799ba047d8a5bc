//! Systems of linear equations.

use super::batches::{batch, each, matrices, samples, square, transposed};
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::linear_algebra::{Lu, Matrix, solve_triangular};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// X with A·X = B for A of `[…, n, n]` and B of `[…, n, k]`, by Gaussian
/// elimination; where A is singular, elements that are not finite.
#[derive(Clone, Copy, Debug)]
pub struct Solve;

/// X with A·X = B for a triangular A, whose other triangle is not read.
#[derive(Clone, Copy, Debug)]
pub struct SolveTriangular {
    /// Whether the triangle is the upper one.
    pub upper: bool,
    /// Whether the diagonal counts as ones and is not read.
    pub unitriangular: bool,
}

impl SolveTriangular {
    fn of(self, a: &Matrix, b: Matrix) -> Matrix {
        solve_triangular(a, b, self.upper, self.unitriangular)
    }
}

fn output_shape(context: &str, inputs: &[&Shape]) -> Result<Shape> {
    let [a, b] = [inputs[0], inputs[1]];
    let n = square(context, a)?;
    if b.len() == a.len() && batch(a) == batch(b) && b[b.len() - 2] == n {
        return Ok(b.clone());
    }
    let message = format!("shapes {a} and {b} do not fit: expected […, n, n] and […, n, k]");
    Err(Error::shape(context, message))
}

fn count<T: Float>(a: &Tensor<T>) -> usize {
    batch(a.shape()).iter().product()
}

/// The gradients of a solution, from the solution of Aᵀ·Y = G: that of B is Y,
/// and that of A is −Y·Xᵀ for the elements of A that are read, as `reads` says.
fn vjp<T: Float>(
    call: Call<'_, T, ()>,
    transposed: &(dyn Fn(&Matrix, &Matrix) -> Matrix + Sync),
    reads: &(dyn Fn(usize, usize) -> bool + Sync),
) -> Cotangents<T> {
    let [a, b] = [&call.inputs[0], &call.inputs[1]];
    let operands = [matrices(a), matrices(&call.cotangent), matrices(call.output)];
    call.each(|index| match index {
        0 => each(count(a), &operands, a.shape().clone(), &|m| {
            let product = transposed(&m[0], &m[1]).times(&m[2].transposed());
            let n = product.rows;
            Matrix::from_fn(n, n, |i, j| if reads(i, j) { -product[(i, j)] } else { 0.0 }).values
        }),
        _ => {
            each(count(a), &operands[..2], b.shape().clone(), &|m| transposed(&m[0], &m[1]).values)
        }
    })
}

/// [`vjp`] for terms.
fn vjp_terms<T: Float>(
    call: &TermCall<'_, T, ()>,
    of_transposed: impl Op<T>,
    reads: impl Fn(Term<T>) -> Result<Term<T>>,
) -> Result<TermCotangents<T>> {
    let y = Term::try_apply(of_transposed, &[&transposed(&call.inputs[0])?, call.cotangent])?;
    call.each(|index| match index {
        0 => reads(-y.matmul(&transposed(call.output)?)?),
        _ => Ok(y.clone()),
    })
}

impl<T: Float> Op<T> for Solve {
    type Saved = ();
    const NAME: &'static str = "solve";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        output_shape("solve", inputs)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let operands = [matrices(inputs[0]), matrices(inputs[1])];
        let x = each(count(inputs[0]), &operands, inputs[1].shape().clone(), &|m| {
            Lu::of(m[0].clone()).solve(&m[1]).values
        });
        (x, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        vjp(call, &|a, g| Lu::of(a.transposed()).solve(g), &|_, _| true)
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        vjp_terms(&call, Self, Ok)
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        vec![
            (Self, samples(&[&[3, 3], &[3, 2]])),
            (Self, samples(&[&[2, 2, 4, 4], &[2, 2, 4, 1]])),
            (Self, samples(&[&[0, 2, 2], &[0, 2, 3]])),
        ]
    }
}

impl<T: Float> Op<T> for SolveTriangular {
    type Saved = ();
    const NAME: &'static str = "solve_triangular";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        output_shape("solve_triangular", inputs)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let operands = [matrices(inputs[0]), matrices(inputs[1])];
        let x = each(count(inputs[0]), &operands, inputs[1].shape().clone(), &|m| {
            self.of(&m[0], m[1].clone()).values
        });
        (x, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let other = Self { upper: !self.upper, ..*self };
        let reads = |i: usize, j: usize| match i == j {
            true => !self.unitriangular,
            false => (i < j) == self.upper,
        };
        vjp(call, &|a, g| other.of(&a.transposed(), g.clone()), &reads)
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let other = Self { upper: !self.upper, ..*self };
        let beyond = isize::from(self.unitriangular);
        vjp_terms(&call, other, |gradient| match self.upper {
            true => gradient.triu(beyond),
            false => gradient.tril(-beyond),
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("upper", self.upper.into()), ("unitriangular", self.unitriangular.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let case = |upper, unitriangular, shapes: &[&[usize]]| {
            (Self { upper, unitriangular }, samples(shapes))
        };
        vec![
            case(false, false, &[&[3, 3], &[3, 2]]),
            case(true, false, &[&[2, 3, 3], &[2, 3, 1]]),
            case(true, true, &[&[4, 4], &[4, 2]]),
            case(false, true, &[&[2, 2], &[2, 0]]),
        ]
    }
}
