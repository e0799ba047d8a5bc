//! Gradients of plain functions, and checking them.

use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor};

use crate::tape::Tape;
use crate::var::Var;

/// The value of a scalar function of one tensor, and its gradient.
///
/// # Errors
///
/// Returns the errors of the function, and an error if its result is not a scalar
/// or does not depend on `x`.
///
/// ```
/// use dendra_autograd::{Var, value_and_grad};
/// use dendra_tensor::{Ops, Tensor};
///
/// let w = Var::new(Tensor::from([[1.0], [2.0_f32]]));
/// let x = Tensor::from([[0.5, -0.25]]);
/// let (value, gradient) = value_and_grad(|x| Ok(x.matmul(&w)?.tanh().square().mean()), &x)?;
/// assert_eq!(value, 0.0);
/// assert_eq!(gradient.to_vec(), [0.0, 0.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn value_and_grad<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
) -> Result<(T, Tensor<T>)> {
    let x = Tape::evaluation().leaf(x.clone());
    let gradients = function(&x)?.backward()?;
    let gradient = gradients.wrt(&x).ok_or_else(|| {
        Error::tape("the result does not depend on the argument of value_and_grad")
    })?;
    Ok((gradients.loss(), gradient.clone()))
}

/// Checks the gradient of a function against central differences along random
/// directions.
///
/// The function's result is summed with random weights. It must be
/// differentiable at the inputs and must not be random.
///
/// # Errors
///
/// Returns the errors of the function, and an error if the gradients differ by
/// more than 1e-6 (relative, or absolute near 0).
///
/// ```
/// use dendra_autograd::check_gradient;
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([0.3, -0.7]);
/// check_gradient(|inputs| Ok(inputs[0].sin().exp()), &[x])?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn check_gradient(
    function: impl Fn(&[Var<f64>]) -> Result<Var<f64>>,
    inputs: &[Tensor<f64>],
) -> Result<()> {
    let mut rng = Rng::seed(0);
    let plain = |inputs: &[Tensor<f64>]| -> Result<Tensor<f64>> {
        let inputs: Vec<Var<f64>> = inputs.iter().cloned().map(Var::new).collect();
        Ok(function(&inputs)?.into_value())
    };
    let weights = Tensor::normal(plain(inputs)?.shape(), 0.0, 1.0, &mut rng);

    let tape = Tape::evaluation();
    let leaves: Vec<Var<f64>> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
    let gradients = function(&leaves)?.mul(&Var::new(weights.clone()))?.sum().backward()?;
    for (index, (leaf, input)) in leaves.iter().zip(inputs).enumerate() {
        let zeros = Tensor::zeros(input.shape());
        let gradient = gradients.wrt(leaf).unwrap_or(&zeros);
        for _ in 0..4 {
            let direction = Tensor::<f64>::normal(input.shape(), 0.0, 1.0, &mut rng);
            let moved = |step: f64| -> Result<f64> {
                let mut inputs = inputs.to_vec();
                inputs[index] = &inputs[index] + &direction * step;
                (plain(&inputs)? * &weights).sum().item()
            };
            let step = 1e-6;
            let expected = (moved(step)? - moved(-step)?) / (2.0 * step);
            let found = (gradient * &direction).sum().item()?;
            let scale = 1.0 + expected.abs().max(found.abs());
            let close = (expected - found).abs() <= 1e-6 * scale;
            if !close {
                return Err(Error::data(
                    "check_gradient",
                    format!(
                        "the derivative by input {index} of shape {} is {found}, differences give \
                         {expected}",
                        input.shape()
                    ),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_functions_have_the_right_gradients() {
        let mut rng = Rng::seed(1);
        let mut input = |shape: &[usize]| Tensor::<f64>::normal(shape, 0.0, 1.0, &mut rng);
        let (x, w) = (input(&[3, 4]), input(&[4, 2]));
        let check = |f: fn(&[Var<f64>]) -> Result<Var<f64>>, inputs: &[Tensor<f64>]| {
            check_gradient(f, inputs).unwrap();
        };
        check(|v| v[0].matmul(&v[1])?.tanh().var_axes(&[0], 1, false), &[x.clone(), w]);
        let one = std::slice::from_ref(&x);
        check(|v| v[0].logsumexp(1, false), one);
        check(|v| v[0].mean_axes(&[0, 1], true), one);
        check(|v| Ok(v[0].narrow(1, 1, 2)?.flatten(0, -1)?.square()), one);
        check(|v| Var::stack(&[&v[0], &v[0].exp()], 1), one);
    }

    #[test]
    fn a_missing_gradient_is_found() {
        let x = Tensor::from([0.5, 1.5]);
        let error = check_gradient(|v| Ok(&v[0] * &v[0].detach()), &[x]).unwrap_err();
        assert!(error.to_string().contains("differences give"), "{error}");
    }
}
