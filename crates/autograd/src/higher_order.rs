//! First and second derivatives of plain functions of a tensor.

use dendra_tensor::{Error, Float, Result, Shape, Tensor};

use crate::tape::Tape;
use crate::var::Var;

/// The value of a function and its vector–Jacobian product: the gradient of
/// ⟨cotangent, function(x)⟩, of the shape of `x`.
///
/// # Errors
///
/// Returns the errors of the function, and an error if the cotangent does not
/// have the shape of its result.
///
/// ```
/// use dendra_autograd::vjp;
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([1.0, 2.0, 3.0]);
/// let (y, gradient) = vjp(|x| Ok(x.square()), &x, &Tensor::from([1.0, 0.0, -1.0]))?;
/// assert_eq!(y.to_vec(), [1.0, 4.0, 9.0]);
/// assert_eq!(gradient.to_vec(), [2.0, 0.0, -6.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn vjp<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
    cotangent: &Tensor<T>,
) -> Result<(Tensor<T>, Tensor<T>)> {
    let Applied { x, y } = apply(function, x)?;
    let gradient = y.vjp(cotangent, &x)?;
    Ok((y.into_value(), gradient))
}

/// The value of a function and its Jacobian–vector product: the derivative of
/// the value when `x` moves along `tangent`.
///
/// It is computed by two vector–Jacobian products: a vector–Jacobian product is
/// linear in its cotangent, and its derivative with respect to the cotangent is
/// this product.
///
/// # Errors
///
/// Returns the errors of the function, and an error if the tangent does not have
/// the shape of `x` or the gradient of an operation cannot be differentiated
/// again.
///
/// ```
/// use dendra_autograd::jvp;
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([1.0, 2.0_f64]);
/// let (_, moved) = jvp(|x| Ok(x * x), &x, &Tensor::from([0.5, -1.0]))?;
/// assert_eq!(moved.to_vec(), [1.0, -4.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn jvp<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
    tangent: &Tensor<T>,
) -> Result<(Tensor<T>, Tensor<T>)> {
    check_shape("jvp", x, tangent)?;
    let Applied { x, y } = apply(function, x)?;
    let cotangent = tape_of(&x)?.leaf(Tensor::zeros(y.shape()));
    let gradient = y.vjp_recorded(&cotangent, &x)?;
    let moved = gradient.vjp(tangent, &cotangent)?;
    Ok((y.into_value(), moved))
}

/// The Jacobian of a function: the derivative of every element of its result
/// with respect to every element of `x`. Its shape is that of the result
/// followed by that of `x`.
///
/// It costs one gradient for each element of the result.
///
/// # Errors
///
/// Returns the errors of the function, and an error if there is not enough memory
/// for the Jacobian.
///
/// ```
/// use dendra_autograd::jacobian;
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([1.0, 2.0, 3.0]);
/// let j = jacobian(|x| x.narrow(0, 0, 2)?.mul(&x.narrow(0, 1, 2)?), &x)?;
/// assert_eq!(j, Tensor::from([[2.0, 1.0, 0.0], [0.0, 3.0, 2.0]]));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn jacobian<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
) -> Result<Tensor<T>> {
    let Applied { x, y } = apply(function, x)?;
    rows("jacobian", &y, &x)
}

/// The value of a scalar function and the product of its Hessian with a vector,
/// of the shape of `x`. It costs as much as two to four gradients; the Hessian
/// is not computed.
///
/// For products with the Hessian with respect to a model's parameters, see
/// [`Var::hvp`].
///
/// # Errors
///
/// Returns the errors of the function, and an error if its result is not a
/// scalar, the vector does not have the shape of `x`, or the gradient of an
/// operation cannot be differentiated again.
///
/// ```
/// use dendra_autograd::hvp;
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([1.0, 2.0_f64]);
/// let (value, product) = hvp(|x| Ok((x * x * x).sum()), &x, &Tensor::from([1.0, -1.0]))?;
/// assert_eq!(value, 9.0);
/// assert_eq!(product.to_vec(), [6.0, -12.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn hvp<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
    vector: &Tensor<T>,
) -> Result<(T, Tensor<T>)> {
    check_shape("hvp", x, vector)?;
    let Applied { x, y } = apply(function, x)?;
    let gradient = y.grad_recorded(&x)?;
    let product = gradient.vjp(vector, &x)?;
    Ok((y.value().item()?, product))
}

/// The Hessian of a scalar function: its second derivatives. Its shape is that
/// of `x` twice.
///
/// It costs about two gradients for each element of `x`.
///
/// # Errors
///
/// Returns the errors of [`hvp`], and an error if there is not enough memory for
/// the Hessian.
///
/// ```
/// use dendra_autograd::hessian;
/// use dendra_tensor::{Ops, Tensor};
///
/// let x = Tensor::from([1.0, 2.0_f64]);
/// let h = hessian(|x| Ok(x.narrow(0, 0, 1)?.mul(&(x * x))?.sum()), &x)?; // x₀³ + x₀·x₁²
/// assert_eq!(h, Tensor::from([[6.0, 4.0], [4.0, 2.0]]));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn hessian<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
) -> Result<Tensor<T>> {
    let Applied { x, y } = apply(function, x)?;
    rows("hessian", &y.grad_recorded(&x)?, &x)
}

/// An argument on a tape and the result of a function.
struct Applied<T: Float> {
    x: Var<T>,
    y: Var<T>,
}

fn apply<T: Float>(
    function: impl FnOnce(&Var<T>) -> Result<Var<T>>,
    x: &Tensor<T>,
) -> Result<Applied<T>> {
    let tape = Tape::evaluation();
    let x = tape.leaf(x.clone());
    let y = function(&x)?;
    // A result that is not on a tape is a constant.
    let y = if y.tape().is_some() { y } else { tape.input(y.into_value()) };
    Ok(Applied { x, y })
}

fn tape_of<T: Float>(x: &Var<T>) -> Result<&Tape<T>> {
    x.tape().ok_or_else(|| Error::tape("the argument is not on a tape"))
}

fn check_shape<T: Float>(context: &str, x: &Tensor<T>, vector: &Tensor<T>) -> Result<()> {
    if x.shape() == vector.shape() {
        return Ok(());
    }
    let message = format!("expected a vector of shape {}, got {}", x.shape(), vector.shape());
    Err(Error::shape(context, message))
}

/// The gradient of each element of `y` with respect to `x`.
fn rows<T: Float>(context: &str, y: &Var<T>, x: &Var<T>) -> Result<Tensor<T>> {
    let shape: Shape = y.shape().iter().chain(x.shape().iter()).copied().collect();
    let mut all = Tensor::try_full(shape, T::ZERO).map_err(|error| error.within(context))?;
    if all.is_empty() {
        return Ok(all);
    }
    let length = x.value().len();
    for (element, row) in all.make_mut().chunks_exact_mut(length).enumerate() {
        let mut cotangent = Tensor::zeros(y.shape());
        cotangent.make_mut()[element] = T::ONE;
        row.copy_from_slice(&y.vjp(&cotangent, x)?.to_vec());
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
