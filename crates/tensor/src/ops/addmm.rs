//! Products of matrices and vectors under PyTorch's names, some with an added
//! term. They are composed of other operations and have no gradients of their
//! own.

use super::Ops;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The functions, as items of the trait.
macro_rules! addmm_functions {
    () => {
        /// The product of two matrices: [`matmul`](Ops::matmul) for matrices
        /// only.
        fn mm(&self, other: &Self) -> Result<Self> {
            products::check_ranks("mm", [self, other], [2, 2])?;
            self.matmul(other)
        }

        /// The product of a matrix and a vector.
        fn mv(&self, vector: &Self) -> Result<Self> {
            products::check_ranks("mv", [self, vector], [2, 1])?;
            self.matmul(vector)
        }

        /// `beta · self + alpha · a·b` for matrices `[n, k]` and `[k, m]` and a
        /// term that broadcasts to `[n, m]`. With a `beta` of 0 the term is
        /// ignored, even if it is NaN.
        ///
        /// ```
        /// use dendra_tensor::{Ops, Tensor};
        ///
        /// let (a, b) = (Tensor::from([[1.0, 2.0_f32]]), Tensor::from([[3.0], [4.0]]));
        /// let sum = Tensor::scalar(10.0).addmm(&a, &b, 0.5, 2.0).unwrap();
        /// assert_eq!(sum, Tensor::from([[27.0]]));
        /// ```
        fn addmm(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
            addmm::added("addmm", self, &a.mm(b)?, beta, alpha)
        }

        /// `beta · self + alpha · a·b` for a matrix `[n, k]` and a vector `[k]`,
        /// as [`addmm`](Ops::addmm).
        fn addmv(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
            addmm::added("addmv", self, &a.mv(b)?, beta, alpha)
        }

        /// `beta · self + alpha · a·bᵀ` for vectors `[n]` and `[m]`, as
        /// [`addmm`](Ops::addmm).
        fn addr(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
            addmm::added("addr", self, &a.outer(b)?, beta, alpha)
        }

        /// `beta · self + alpha · a·b` for batches of matrices `[N, n, k]` and
        /// `[N, k, m]`, as [`addmm`](Ops::addmm).
        fn baddbmm(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
            addmm::added("baddbmm", self, &a.bmm(b)?, beta, alpha)
        }

        /// Like [`baddbmm`](Ops::baddbmm), but with the sum of the products over
        /// the batch.
        fn addbmm(&self, a: &Self, b: &Self, beta: f64, alpha: f64) -> Result<Self> {
            addmm::added("addbmm", self, &a.bmm(b)?.sum_axes(&[0], false)?, beta, alpha)
        }

        /// The scalar products of vectors along an axis; the other axes
        /// broadcast.
        fn vecdot(&self, other: &Self, axis: isize) -> Result<Self> {
            self.mul(other)?.sum_axes(&[axis], false)
        }

        /// The scalar products of each vector along the last axis of `self`
        /// with each vector along that of `other`; with a scalar, the product.
        fn inner(&self, other: &Self) -> Result<Self> {
            if self.value().rank() == 0 || other.value().rank() == 0 {
                return self.mul(other);
            }
            self.tensordot(other, &[-1], &[-1])
        }

        /// Square matrices `[…, m, m]` to the power of `n`; the identity for n
        /// = 0.
        fn matrix_power(&self, n: usize) -> Result<Self> {
            addmm::matrix_power(self, n)
        }

        /// The norm of the difference; both broadcast.
        fn dist(&self, other: &Self, p: f64) -> Result<Self> {
            self.sub(other)?.norm(p)
        }
    };
}

pub(super) use addmm_functions;

/// `beta · term + alpha · product`, of the shape of the product.
pub(super) fn added<V: Ops>(
    context: &str,
    term: &V,
    product: &V,
    beta: f64,
    alpha: f64,
) -> Result<V> {
    let scaled = |x: &V, factor: f64| if factor == 1.0 { x.clone() } else { x.mul_scalar(factor) };
    let shape = product.value().shape();
    let term = term.broadcast_to(shape).map_err(|error| error.within(context))?;
    if beta == 0.0 {
        return Ok(scaled(product, alpha));
    }
    scaled(&term, beta).add(&scaled(product, alpha))
}

/// Computed by repeated squaring.
pub(super) fn matrix_power<V: Ops>(x: &V, mut n: usize) -> Result<V> {
    let shape = x.value().shape();
    let &[.., rows, columns] = &shape[..] else {
        return Err(Error::shape("matrix_power", format!("expected matrices, got {shape}")));
    };
    if rows != columns {
        return Err(Error::shape(
            "matrix_power",
            format!("expected square matrices, got shape {shape}"),
        ));
    }
    let (mut square, mut power) = (x.clone(), None);
    while n > 0 {
        if n % 2 == 1 {
            power = Some(power.map_or_else(|| Ok(square.clone()), |x: V| x.matmul(&square))?);
        }
        n /= 2;
        if n > 0 {
            square = square.matmul(&square)?;
        }
    }
    match power {
        Some(power) => Ok(power),
        // It has the shape of x, but does not depend on its values.
        None => V::constant(Tensor::eye(rows)).broadcast_to(shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Tensor<f64> {
        Tensor::arange(4).reshape([2, 2]).unwrap()
    }

    /// Expected values: PyTorch's.
    #[test]
    fn products_with_a_term() {
        let a = square();
        let both = Tensor::stack(&[&a, &a], 0).unwrap();
        let (x, y) = (Tensor::from([1.0, 2.0]), Tensor::from([3.0, 4.0]));
        let nan = Tensor::from([f64::NAN, f64::NAN]);
        assert_eq!(nan.addmm(&a, &a, 0.0, 1.0).unwrap().to_vec(), [2.0, 3.0, 6.0, 11.0]);
        assert_eq!(x.addmm(&a, &a, 2.0, -1.0).unwrap().to_vec(), [0.0, 1.0, -4.0, -7.0]);
        assert_eq!(Tensor::from([1.0]).addmv(&a, &x, 2.0, 3.0).unwrap().to_vec(), [8.0, 26.0]);
        assert_eq!(a.addr(&x, &y, 1.0, 1.0).unwrap().to_vec(), [3.0, 5.0, 8.0, 11.0]);
        let sums = x.addbmm(&both, &both, 0.5, 2.0).unwrap();
        assert_eq!(sums.to_vec(), [8.5, 13.0, 24.5, 45.0]);
        let products = x.baddbmm(&both, &both, 1.0, 1.0).unwrap();
        assert_eq!(products.to_vec(), [3.0, 5.0, 7.0, 13.0, 3.0, 5.0, 7.0, 13.0]);
        let error = both.addmm(&a, &a, 1.0, 1.0).unwrap_err().to_string();
        assert!(error.starts_with("addmm: broadcast_to: shape [2, 2, 2]"), "{error}");
        assert!(a.addmm(&both, &a, 1.0, 1.0).is_err() && x.addmv(&x, &x, 1.0, 1.0).is_err());
    }

    #[test]
    fn products_of_vectors_and_powers_of_matrices() {
        let a = square();
        assert_eq!(a.vecdot(&a, 0).unwrap().to_vec(), [4.0, 10.0]);
        assert_eq!(a.vecdot(&Tensor::from([1.0, 2.0]), -1).unwrap().to_vec(), [2.0, 8.0]);
        assert_eq!(a.inner(&Tensor::from([1.0, 2.0])).unwrap().to_vec(), [2.0, 8.0]);
        assert_eq!(a.inner(&Tensor::scalar(2.0)).unwrap().to_vec(), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(a.matrix_power(5).unwrap().to_vec(), [78.0, 139.0, 278.0, 495.0]);
        assert_eq!(a.matrix_power(1).unwrap(), a);
        assert_eq!(a.matrix_power(0).unwrap(), Tensor::eye(2));
        let batch = Tensor::full([3, 1, 1], f64::NAN).matrix_power(0).unwrap();
        assert_eq!(batch, Tensor::ones([3, 1, 1]));
        assert!(Tensor::<f64>::ones([2, 3]).matrix_power(2).is_err());
        assert!(Tensor::scalar(2.0).matrix_power(0).is_err());
        assert_eq!(a.dist(&Tensor::scalar(1.0), 2.0).unwrap().item().unwrap(), 6_f64.sqrt());
    }
}
