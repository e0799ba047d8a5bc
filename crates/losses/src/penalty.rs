//! Penalties on the weights of a model, to be added to a loss.

use dendra_autograd::{Parameters, Var};
use dendra_tensor::{Float, Ops, Result, Tensor};

/// Returns Σ|w| over the trainable parameters whose names `belongs` accepts, a
/// scalar on the tape of `loss`. Added to the loss, it leads to sparse weights.
///
/// Source: Tibshirani, "Regression shrinkage and selection via the lasso",
/// 1996.
///
/// ```
/// use dendra_autograd::{Param, Tape};
/// use dendra_losses::{l1_penalty, mse_loss};
/// use dendra_tensor::{Ops, Tensor};
///
/// let model = Param::new(Tensor::from([[3.0, -1.0_f32]]));
/// let x = Tape::training(0, 0).input(Tensor::from([[1.0, 2.0]]));
/// let loss = mse_loss(&x.linear(&model.on(&x), None)?, &Tensor::from([[0.0]]))?;
/// let loss = loss.add(&l1_penalty(&model, &loss, |_| true)?.mul_scalar(0.5))?;
/// assert_eq!(loss.value().item()?, 1.0 + 0.5 * 4.0);
/// assert_eq!(loss.backward()?.get(&model).unwrap().to_vec(), [2.0 + 0.5, 4.0 - 0.5]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// Returns the errors of the operations on the parameters.
pub fn l1_penalty<T: Float>(
    model: &(impl Parameters<T> + ?Sized),
    loss: &Var<T>,
    belongs: impl Fn(&str) -> bool,
) -> Result<Var<T>> {
    sum(model, loss, belongs, Var::abs)
}

/// Returns Σw² over the trainable parameters whose names `belongs` accepts, a
/// scalar on the tape of `loss`.
///
/// The gradient of `λ/2 · Σw²` equals an optimizer's `weight_decay` of λ, which is
/// cheaper. In AdamW the weight decay is decoupled from the gradient, so there the
/// two differ.
///
/// Source: Hoerl and Kennard, "Ridge regression: biased estimation for
/// nonorthogonal problems", 1970.
///
/// ```
/// use dendra_autograd::{Param, Tape};
/// use dendra_losses::l2_penalty;
/// use dendra_tensor::{Ops, Tensor};
///
/// let model = vec![Param::new(Tensor::from([3.0, -4.0_f32])), Param::new(Tensor::from([9.0]))];
/// let loss = Tape::training(0, 0).input(Tensor::scalar(1.0));
/// let loss = loss.add(&l2_penalty(&model, &loss, |name| name == "0")?)?;
/// assert_eq!(loss.value().item()?, 26.0);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// Returns the errors of the operations on the parameters.
pub fn l2_penalty<T: Float>(
    model: &(impl Parameters<T> + ?Sized),
    loss: &Var<T>,
    belongs: impl Fn(&str) -> bool,
) -> Result<Var<T>> {
    sum(model, loss, belongs, Var::square)
}

/// Returns the sum of `size` over all elements of the parameters.
fn sum<T: Float>(
    model: &(impl Parameters<T> + ?Sized),
    loss: &Var<T>,
    belongs: impl Fn(&str) -> bool,
    size: impl Fn(&Var<T>) -> Var<T>,
) -> Result<Var<T>> {
    let mut total = Var::new(Tensor::scalar(T::ZERO));
    for (name, param) in model.named_parameters() {
        if param.is_trainable() && belongs(&name) {
            total = total.add(&size(&param.on(loss)).sum())?;
        }
    }
    Ok(total)
}
