//! Derivatives of functions, compared with differences and with each other.

use approx::assert_relative_eq;
use dendra_tensor::{Ops, Rng};

use super::*;

fn normal(shape: &[usize], seed: u64) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

fn assert_close(a: &Tensor<f64>, b: &Tensor<f64>) {
    assert_relative_eq!(a, b, epsilon = 1e-7, max_relative = 1e-7);
}

/// A function from [3] to [2, 2] whose derivatives all differ.
fn bent(x: &Var<f64>) -> Result<Var<f64>> {
    let w = Var::new(normal(&[4, 3], 1));
    w.matmul(&x.unsqueeze(1)?)?.tanh().mul(&x.sum().exp())?.reshape([2, 2])
}

#[test]
fn all_products_agree_with_the_jacobian_and_that_with_differences() {
    let (x, v, u) = (normal(&[3], 2), normal(&[3], 3), normal(&[2, 2], 4));
    let j = jacobian(bent, &x).unwrap();
    assert_eq!(*j.shape(), [2, 2, 3]);
    let plain = |x: &Tensor<f64>| bent(&Var::new(x.clone())).unwrap().into_value();
    for axis in 0..3 {
        let mut step = Tensor::zeros([3]);
        step.make_mut()[axis] = 1e-6;
        let expected = (plain(&(&x + &step)) - plain(&(&x - &step))) * 5e5;
        assert_close(&j.get((.., .., axis)).unwrap(), &expected);
    }
    let flat = j.reshape([4, 3]).unwrap();
    let (y, pulled) = vjp(bent, &x, &u).unwrap();
    assert_eq!(y, plain(&x));
    let u = u.reshape([1, 4]).unwrap();
    assert_close(&pulled, &u.matmul(&flat).unwrap().reshape([3]).unwrap());
    let (y, moved) = jvp(bent, &x, &v).unwrap();
    assert_eq!(y, plain(&x));
    let expected = flat.matmul(&v.unsqueeze(1).unwrap()).unwrap();
    assert_close(&moved, &expected.reshape([2, 2]).unwrap());
}

#[test]
fn the_hessian_is_the_jacobian_of_the_gradient() {
    let energy = |x: &Var<f64>| Ok(bent(x)?.square().sum());
    let (x, v) = (normal(&[3], 5), normal(&[3], 6));
    let h = hessian(energy, &x).unwrap();
    let gradient = |x: &Tensor<f64>| crate::value_and_grad(energy, x).unwrap().1;
    for axis in 0..3 {
        let mut step = Tensor::zeros([3]);
        step.make_mut()[axis] = 1e-6;
        let expected = (gradient(&(&x + &step)) - gradient(&(&x - &step))) * 5e5;
        assert_close(&h.get((axis,)).unwrap(), &expected);
    }
    let (value, product) = hvp(energy, &x, &v).unwrap();
    assert_eq!(value, energy(&Var::new(x)).unwrap().into_value().item().unwrap());
    assert_close(&product, &h.matmul(&v.unsqueeze(1).unwrap()).unwrap().reshape([3]).unwrap());
}

#[test]
fn constant_and_linear_functions_have_derivatives_of_zero() {
    let x = normal(&[2], 7);
    let constant = |_: &Var<f64>| Ok(Var::new(Tensor::ones([3])));
    assert_eq!(jacobian(constant, &x).unwrap(), Tensor::zeros([3, 2]));
    assert_eq!(jvp(constant, &x, &x).unwrap(), (Tensor::ones([3]), Tensor::zeros([3])));
    assert_eq!(hessian(|x| Ok(x.sum()), &x).unwrap(), Tensor::zeros([2, 2]));
    assert_eq!(jacobian(|x| Ok(x.clone()), &Tensor::<f64>::zeros([0])).unwrap().len(), 0);
}

#[test]
fn wrong_shapes_are_refused() {
    let (x, v) = (normal(&[2], 8), normal(&[3], 9));
    let error = jvp(|x| Ok(x.square()), &x, &v).unwrap_err().to_string();
    assert_eq!(error, "jvp: expected a vector of shape [2], got [3]");
    let error = vjp(|x| Ok(x.square()), &x, &v).unwrap_err().to_string();
    assert_eq!(error, "vjp: expected a cotangent of shape [2], got [3]");
    let error = hvp(|x| Ok(x.square()), &x, &x).unwrap_err().to_string();
    assert!(error.contains("grad needs a scalar, got shape [2]"), "{error}");
}
