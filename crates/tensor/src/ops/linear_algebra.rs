//! Linear algebra, behind the feature `linalg`: the trait [`LinearAlgebra`].

use super::batches::{batch, per_matrix, rectangle, square};
use super::cholesky::Cholesky;
use super::determinant::{Det, SlogDet};
use super::eigh::Eigh;
use super::matrix_exp::MatrixExp;
use super::qr::Qr;
use super::solve::{Solve, SolveTriangular};
use super::svd::{Pinv, Svd};
use super::{Ops, Row};
use crate::element::{Float, Number};
use crate::error::{Error, MatrixFault, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

family! {
    /// Linear algebra, as methods of tensors and of the variables of automatic
    /// differentiation.
    ///
    /// Matrices are the last two axes; the axes before them are a batch.
    /// Everything is computed in double precision and rounded to the number
    /// type at the end, for matrices of moderate size: a few hundred rows take
    /// much less than a second. A matrix with a NaN or an infinity is an error
    /// ([`Error::NotFinite`]) everywhere, where PyTorch returns NaN from some
    /// functions.
    ///
    /// ```
    /// use dendra_tensor::{LinearAlgebra, Ops, Tensor};
    ///
    /// let a = Tensor::from([[4.0, 2.0], [2.0, 3.0_f64]]);
    /// let x = a.solve(&Tensor::from([2.0, 5.0]))?;
    /// assert_eq!(a.matmul(&x)?.to_vec(), [2.0, 5.0]);
    /// assert_eq!(a.det()?.item()?, 8.0);
    ///
    /// let error = Tensor::from([[1.0, 2.0], [2.0, 4.0_f32]]).inv().unwrap_err();
    /// assert_eq!(error.to_string(), "inv: the matrix is singular");
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    trait LinearAlgebra = "LinearAlgebra";

    Solve:
    /// X with A·X = B, where `self` is A of `[…, n, n]` and B is `[…, n, k]` or
    /// a vector `[n]`; batches broadcast.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or a matrix is singular.
    fn solve(&self, b: &Self) -> Result<Self> {
        system("solve", Solve, self, b)
    }

    SolveTriangular:
    /// Like [`solve`](LinearAlgebra::solve), for a triangular A. The other
    /// triangle is not read. With `unitriangular` the diagonal counts as ones
    /// and is not read either.
    ///
    /// # Errors
    ///
    /// The errors of `solve`.
    fn solve_triangular(&self, b: &Self, upper: bool, unitriangular: bool) -> Result<Self> {
        system("solve_triangular", SolveTriangular { upper, unitriangular }, self, b)
    }

    Cholesky:
    /// The lower triangular L with L·Lᵀ = A, for a symmetric positive definite
    /// A of `[…, n, n]`; any other A is replaced by (A + Aᵀ) / 2.
    ///
    /// # Errors
    ///
    /// When the matrices are not square, or one is not positive definite.
    fn cholesky(&self) -> Result<Self> {
        let context = "cholesky";
        square(context, self.value().shape())?;
        finite(context, self)?;
        let l = Self::try_apply(Cholesky, &[self])?;
        accepted(context, l, self.value().shape(), MatrixFault::NotPositiveDefinite)
    }

    Det:
    /// The determinants of `[…, n, n]`, as `[…]`. Singular matrices have a
    /// gradient too.
    ///
    /// # Errors
    ///
    /// When the matrices are not square.
    fn det(&self) -> Result<Self> {
        square("det", self.value().shape())?;
        finite("det", self)?;
        Self::try_apply(Det, &[self])
    }

    SlogDet:
    /// The signs of the determinants of `[…, n, n]` and the logarithms of their
    /// absolute values, as `[…]` each. For a singular matrix they are 0 and −∞,
    /// without a gradient. No gradient flows through the signs.
    ///
    /// # Errors
    ///
    /// When the matrices are not square.
    fn slogdet(&self) -> Result<(Self, Self)> {
        square("slogdet", self.value().shape())?;
        finite("slogdet", self)?;
        let both = Self::try_apply(SlogDet, &[self])?;
        Ok((both.narrow(-1, 0, 1)?.squeeze(-1)?, both.narrow(-1, 1, 1)?.squeeze(-1)?))
    }

    Qr:
    /// Q of `[…, m, k]`, whose columns are orthonormal, and the upper triangular R of
    /// `[…, k, n]` with A = Q·R, for A of `[…, m, n]` and k = min(m, n) (PyTorch's
    /// mode `reduced`, and the signs of LAPACK).
    ///
    /// The gradient assumes that the first k columns are independent; otherwise
    /// it is not finite, as in PyTorch.
    ///
    /// # Errors
    ///
    /// When there are fewer than two axes.
    fn qr(&self) -> Result<(Self, Self)> {
        let shape = self.value().shape();
        let [m, n] = rectangle("qr", shape)?;
        let k = m.min(n);
        finite("qr", self)?;
        let mut packed = Packed::of(Self::try_apply(Qr, &[self])?, shape);
        Ok((packed.next(&[m, k])?, packed.next(&[k, n])?))
    }

    Eigh:
    /// The eigenvalues `[…, n]` of symmetric matrices `[…, n, n]`, ascending,
    /// and their unit eigenvectors as the columns of `[…, n, n]`. Any other
    /// matrix A is replaced by (A + Aᵀ) / 2. The element of an eigenvector with
    /// the largest absolute value is positive.
    ///
    /// The gradient of an eigenvector is not finite if its eigenvalue occurs
    /// twice, as in PyTorch; the gradient of the eigenvalues is finite.
    ///
    /// # Errors
    ///
    /// When the matrices are not square.
    fn eigh(&self) -> Result<(Self, Self)> {
        let context = "eigh";
        let shape = self.value().shape();
        let n = square(context, shape)?;
        finite(context, self)?;
        let packed = Self::try_apply(Eigh, &[self])?;
        let packed = accepted(context, packed, shape, MatrixFault::NotConverged)?;
        let mut packed = Packed::of(packed, shape);
        Ok((packed.next(&[n])?, packed.next(&[n, n])?))
    }

    Svd:
    /// U of `[…, m, k]`, the singular values S of `[…, k]`, descending, and Vᵀ of
    /// `[…, k, n]` with A = U·diag(S)·Vᵀ, for A of `[…, m, n]` and k = min(m, n)
    /// (PyTorch's `full_matrices=False`). The element of a column of U with the
    /// largest absolute value is positive.
    ///
    /// The gradients of U and V are not finite if a singular value occurs
    /// twice, or is 0 and A is not square, as in PyTorch; the gradient of the
    /// singular values is finite.
    ///
    /// # Errors
    ///
    /// When there are fewer than two axes.
    fn svd(&self) -> Result<(Self, Self, Self)> {
        let context = "svd";
        let shape = self.value().shape();
        let [m, n] = rectangle(context, shape)?;
        let k = m.min(n);
        finite(context, self)?;
        let packed = Self::try_apply(Svd, &[self])?;
        let packed = accepted(context, packed, shape, MatrixFault::NotConverged)?;
        let mut packed = Packed::of(packed, shape);
        Ok((packed.next(&[m, k])?, packed.next(&[k])?, packed.next(&[k, n])?))
    }

    Pinv:
    /// The pseudoinverse `[…, n, m]` of `[…, m, n]`. Singular values up to
    /// `rtol` times the largest count as 0. The default of `rtol` is max(m, n)
    /// times the difference between 1 and the next number of the type.
    ///
    /// The gradient assumes that the rank is constant (G. Golub and V. Pereyra,
    /// 1973).
    ///
    /// # Errors
    ///
    /// When there are fewer than two axes, or `rtol` is negative or NaN.
    fn pinv(&self, rtol: Option<f64>) -> Result<Self> {
        let shape = self.value().shape();
        let rtol = tolerance::<Self::Element>("pinv", shape, rtol)?;
        finite("pinv", self)?;
        let inverse = Self::try_apply(Pinv { rtol }, &[self])?;
        accepted("pinv", inverse, shape, MatrixFault::NotConverged)
    }

    MatrixExp:
    /// The exponential Σ Aᵏ/k! of matrices `[…, n, n]`; infinite or NaN where
    /// it is out of the range of the number type.
    ///
    /// # Errors
    ///
    /// When the matrices are not square.
    fn matrix_exp(&self) -> Result<Self> {
        square("matrix_exp", self.value().shape())?;
        finite("matrix_exp", self)?;
        Self::try_apply(MatrixExp, &[self])
    }

    =>

    /// The inverses of `[…, n, n]`.
    ///
    /// # Errors
    ///
    /// When the matrices are not square, or one is singular.
    fn inv(&self) -> Result<Self> {
        let shape = self.value().shape();
        let n = square("inv", shape)?;
        let identity = Self::constant(Tensor::eye(n));
        system("inv", Solve, self, &identity)
    }

    /// X with L·Lᵀ·X = B, where `self` is B of `[…, n, k]` or a vector `[n]`,
    /// for a factor L from [`cholesky`](LinearAlgebra::cholesky).
    ///
    /// # Errors
    ///
    /// When the shapes do not fit, or L has a zero on its diagonal.
    fn cholesky_solve(&self, l: &Self) -> Result<Self> {
        let within = |error: Error| error.within("cholesky_solve");
        let y = l.solve_triangular(self, false, false).map_err(within)?;
        let upper = l.transpose(-2, -1)?;
        upper.solve_triangular(&y, true, false).map_err(within)
    }

    /// The eigenvalues of symmetric matrices; see
    /// [`eigh`](LinearAlgebra::eigh).
    ///
    /// # Errors
    ///
    /// When the matrices are not square.
    fn eigvalsh(&self) -> Result<Self> {
        Ok(self.eigh()?.0)
    }

    /// The singular values; see [`svd`](LinearAlgebra::svd).
    ///
    /// # Errors
    ///
    /// When there are fewer than two axes.
    fn svdvals(&self) -> Result<Self> {
        Ok(self.svd()?.1)
    }

    /// The least-squares solution of A·X = B, where `self` is A of `[…, m, n]`
    /// of any rank, and B is `[…, m, k]` or a vector `[m]`. Of several
    /// solutions it is the one with the smallest norm: the
    /// [`pinv`](LinearAlgebra::pinv) of A times B.
    ///
    /// # Errors
    ///
    /// When the shapes do not fit.
    fn lstsq(&self, b: &Self) -> Result<Self> {
        let within = |error: Error| error.within("lstsq");
        self.pinv(None).and_then(|inverse| inverse.matmul(b)).map_err(within)
    }

    /// The number of singular values above `rtol` times the largest, as `[…]`;
    /// see [`pinv`](LinearAlgebra::pinv) for the default of `rtol`.
    ///
    /// # Errors
    ///
    /// The errors of `pinv`.
    fn matrix_rank(&self, rtol: Option<f64>) -> Result<Tensor<i64>> {
        let shape = self.value().shape();
        let rtol = tolerance::<Self::Element>("matrix_rank", shape, rtol)?;
        let s = self.value().svdvals().map_err(|error| error.within("matrix_rank"))?;
        let k = s.shape()[s.rank() - 1];
        let values = s.to_vec();
        Ok(Tensor::from_fn(batch(shape), |index| {
            let s = &values[index * k..][..k];
            let least = rtol * s.first().map_or(0.0, |first| first.to_f64());
            s.iter().filter(|s| s.to_f64() > least).count() as i64
        }))
    }
}

/// The first index of a batch at which a tensor has an element that is not
/// finite.
fn first_not_finite<T: Float>(x: &Tensor<T>, batch: &[usize]) -> Option<Vec<usize>> {
    if x.is_finite() {
        return None;
    }
    let element = x.to_vec().iter().position(|x| !x.is_finite())?;
    let mut matrix = element / (x.len() / batch.iter().product::<usize>());
    let mut index = vec![0; batch.len()];
    for (slot, size) in index.iter_mut().zip(batch).rev() {
        *slot = matrix % size;
        matrix /= size;
    }
    Some(index)
}

/// An error for matrices that are not finite.
fn finite<V: Ops>(context: &str, x: &V) -> Result<()> {
    match first_not_finite(x.value(), batch(x.value().shape())) {
        None => Ok(()),
        Some(index) => {
            let which = crate::error::at(&index);
            Err(Error::not_finite(context, format!("the matrix{which} has a NaN or an infinity")))
        }
    }
}

/// An error for results that are not finite: their matrices have this fault.
fn accepted<V: Ops>(context: &str, result: V, shape: &Shape, fault: MatrixFault) -> Result<V> {
    match first_not_finite(result.value(), batch(shape)) {
        None => Ok(result),
        Some(batch) => Err(Error::Matrix { context: context.to_owned(), fault, batch }),
    }
}

/// The bound below which singular values count as 0, relative to the largest.
fn tolerance<T: Float>(context: &str, shape: &Shape, rtol: Option<f64>) -> Result<f64> {
    let [m, n] = rectangle(context, shape)?;
    match rtol {
        None => Ok(m.max(n) as f64 * T::EPSILON.to_f64()),
        Some(rtol) if rtol >= 0.0 => Ok(rtol),
        Some(rtol) => Err(Error::argument(
            context,
            format!("rtol must be a number of at least 0, got {rtol}"),
        )),
    }
}

/// The solution of a system, for matrices or vectors, with batches that
/// broadcast.
fn system<V: Ops, O: super::Op<V::Element>>(context: &str, op: O, a: &V, b: &V) -> Result<V> {
    let n = square(context, a.value().shape())?;
    if b.value().rank() == 1 {
        return system(context, op, a, &b.unsqueeze(-1)?)?.squeeze(-1);
    }
    let [rows, columns] = rectangle(context, b.value().shape())?;
    if rows != n {
        let [a, b] = [a, b].map(|x| x.value().shape());
        let message = format!("shapes {a} and {b} do not fit: expected […, n, n] and […, n, k]");
        return Err(Error::shape(context, message));
    }
    finite(context, a)?;
    finite(context, b)?;
    let [a_batch, b_batch] = [a, b].map(|x| Shape::from(batch(x.value().shape())));
    let both = a_batch.broadcast(&b_batch, context)?;
    let stretched = |x: &V, own: &Shape, sizes: [usize; 2]| match *own == both {
        true => Ok(x.clone()),
        false => x.broadcast_to(both.iter().copied().chain(sizes).collect::<Vec<_>>()),
    };
    let (a, b) = (stretched(a, &a_batch, [n, n])?, stretched(b, &b_batch, [n, columns])?);
    let x = V::try_apply(op, &[&a, &b])?;
    accepted(context, x, a.value().shape(), MatrixFault::Singular)
}

/// Several results of an operation, concatenated along the last axis.
pub(super) struct Packed<'a, V> {
    values: V,
    shape: &'a Shape,
    start: usize,
}

impl<'a, V: Ops> Packed<'a, V> {
    /// The results for matrices of this shape.
    pub(super) fn of(values: V, shape: &'a Shape) -> Self {
        Self { values, shape, start: 0 }
    }

    /// The next result, which has this shape for each matrix.
    pub(super) fn next(&mut self, of_each: &[usize]) -> Result<V> {
        let length = of_each.iter().product();
        let values = self.values.narrow(-1, self.start, length)?;
        self.start += length;
        values.reshape(per_matrix(self.shape, of_each))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::random::Rng;

    fn random(shape: &[usize], seed: u64) -> Tensor<f64> {
        Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
    }

    fn assert_close(a: &Tensor<f64>, b: &Tensor<f64>, tolerance: f64) {
        assert_abs_diff_eq!(a, b, epsilon = tolerance);
    }

    #[test]
    fn factors_multiply_to_what_was_factored() {
        for shape in [[2, 5, 5], [3, 7, 4], [1, 3, 8]] {
            let a = random(&shape, 1);
            let (q, r) = a.qr().unwrap();
            assert_close(&q.matmul(&r).unwrap(), &a, 1e-13);
            let (u, s, vt) = a.svd().unwrap();
            let us = u.mul(&s.unsqueeze(-2).unwrap()).unwrap();
            assert_close(&us.matmul(&vt).unwrap(), &a, 1e-13);
            let p = a.pinv(None).unwrap();
            assert_close(&a.matmul(&p).unwrap().matmul(&a).unwrap(), &a, 1e-12);
        }
        let a = random(&[3, 6, 6], 2);
        let definite = a.matmul(&a.transpose(-1, -2).unwrap()).unwrap();
        let l = definite.cholesky().unwrap();
        assert_close(&l.matmul(&l.transpose(1, 2).unwrap()).unwrap(), &definite, 1e-12);
        let (values, v) = definite.eigh().unwrap();
        let scaled = v.mul(&values.unsqueeze(-2).unwrap()).unwrap();
        assert_close(&scaled.matmul(&v.transpose(1, 2).unwrap()).unwrap(), &definite, 1e-12);
        let b = random(&[6, 2], 3);
        let x = definite.solve(&b).unwrap();
        assert_close(&definite.matmul(&x).unwrap(), &b.broadcast_to([3, 6, 2]).unwrap(), 1e-9);
        assert_close(&b.cholesky_solve(&l).unwrap(), &x, 1e-9);
        let inverse = definite.inv().unwrap();
        assert_close(&inverse.matmul(&b).unwrap(), &x, 1e-9);
    }

    #[test]
    fn a_bad_matrix_is_named_with_its_place_in_the_batch() {
        let mut x = Tensor::<f64>::eye(2).broadcast_to([2, 3, 2, 2]).unwrap().contiguous();
        x.make_mut()[4 * 4..][..4].copy_from_slice(&[1.0, 2.0, 2.0, 4.0]);
        let error = x.inv().unwrap_err();
        assert_eq!(error.to_string(), "inv: the matrix at batch index [1, 1] is singular");
        assert!(matches!(
            error,
            Error::Matrix { fault: MatrixFault::Singular, batch, .. } if batch == [1, 1]
        ));
        let error = x.neg().cholesky().unwrap_err().to_string();
        assert_eq!(error, "cholesky: the matrix at batch index [0, 0] is not positive definite");
        x.make_mut()[3] = f64::NAN;
        for result in [x.svd().map(drop), x.eigh().map(drop), x.qr().map(drop), x.det().map(drop)] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::NotFinite { .. }));
            assert!(error.to_string().contains("at batch index [0, 0] has a NaN"), "{error}");
        }
        assert!(x.matrix_exp().is_err() && x.pinv(None).is_err() && x.matrix_rank(None).is_err());
    }

    #[test]
    fn shapes_and_settings_that_do_not_fit_are_refused() {
        let x = Tensor::<f32>::zeros([2, 3]);
        assert!(x.inv().is_err() && x.det().is_err() && x.cholesky().is_err() && x.eigh().is_err());
        assert!(x.solve(&x).is_err() && x.matrix_exp().is_err() && x.slogdet().is_err());
        let vector = Tensor::<f32>::zeros([3]);
        assert!(vector.svd().is_err() && vector.qr().is_err() && vector.pinv(None).is_err());
        let square = Tensor::<f32>::eye(2);
        assert!(square.solve(&vector).is_err() && square.lstsq(&vector).is_err());
        assert!(square.solve(&Tensor::scalar(1.0)).is_err());
        for rtol in [-1.0, f64::NAN] {
            assert!(square.pinv(Some(rtol)).is_err() && square.matrix_rank(Some(rtol)).is_err());
        }
        let batches = Tensor::<f32>::ones([3, 2, 1]);
        assert!(square.broadcast_to([2, 2, 2]).unwrap().solve(&batches).is_err());
    }

    #[test]
    fn ranks_and_least_squares() {
        let a = Tensor::from([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]);
        assert_eq!(a.matrix_rank(None).unwrap(), Tensor::scalar(1));
        assert_eq!(Tensor::<f32>::zeros([2, 3, 4]).matrix_rank(None).unwrap().to_vec(), [0, 0]);
        assert_eq!(Tensor::<f64>::zeros([0, 4]).matrix_rank(None).unwrap(), Tensor::scalar(0));
        // The least-squares solution of the smallest norm: (1, 2) · 14 / 70.
        let x = a.lstsq(&Tensor::from([1.0, 2.0, 3.0])).unwrap();
        assert_close(&x, &Tensor::from([0.2, 0.4]), 1e-15);
    }

    #[test]
    fn nothing_is_a_matrix_too() {
        let x = Tensor::<f64>::zeros([2, 0, 0]);
        assert_eq!(x.det().unwrap().to_vec(), [1.0, 1.0]);
        assert_eq!(x.slogdet().unwrap().1.to_vec(), [0.0, 0.0]);
        assert!(x.inv().unwrap().is_empty() && x.eigvalsh().unwrap().is_empty());
        let (u, s, vt) = Tensor::<f64>::zeros([3, 0]).svd().unwrap();
        assert!(*u.shape() == [3, 0] && *s.shape() == [0] && *vt.shape() == [0, 0]);
        assert_eq!(*Tensor::<f32>::zeros([0, 3, 2]).pinv(None).unwrap().shape(), [0, 2, 3]);
    }
}
