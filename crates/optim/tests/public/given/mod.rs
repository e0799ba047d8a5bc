//! Models that are lists of parameters, and gradients that are given.

// Each test binary includes this file and uses the part it needs.
#![allow(dead_code)]

use dendra_autograd::{Gradients, Param, Tape};
use dendra_optim::Optimizer;
use dendra_tensor::{Float, Ops, Result, Rng, Tensor};

/// Parameters of these shapes, named by their indices, with random values.
pub(crate) fn model<T: Float>(shapes: &[&[usize]], seed: u64) -> Model<T> {
    let mut rng = Rng::seed(seed);
    shapes.iter().map(|&shape| Param::new(Tensor::normal(shape, 0.0, 1.0, &mut rng))).collect()
}

/// These gradients, those of Σ ⟨gradient, parameter⟩; `None` for a parameter
/// that the loss does not depend on.
pub(crate) fn gradients<T: Float>(
    model: &[Param<T>],
    values: impl IntoIterator<Item = Option<Tensor<T>>>,
) -> Gradients<T> {
    let tape = Tape::training(0, 0);
    let mut loss = tape.leaf(Tensor::scalar(T::ZERO));
    for (param, value) in model.iter().zip(values) {
        if let Some(value) = value {
            let value = tape.input(value);
            loss = loss + (param.on(&value) * &value).sum();
        }
    }
    loss.backward().unwrap()
}

/// Parameters without a layer around them.
pub(crate) type Model<T = f32> = Vec<Param<T>>;

/// One step by the gradients that `make` makes of the model.
pub(crate) fn take_step<T: Float>(
    optimizer: &mut dyn Optimizer<T>,
    model: &mut Model<T>,
    make: impl FnOnce(&[Param<T>]) -> Gradients<T>,
) -> Result<()> {
    let gradients = make(model);
    optimizer.step(model, &gradients)
}

/// Random gradients of all parameters, which depend on the step.
pub(crate) fn random_gradients<T: Float>(model: &[Param<T>], step: u64) -> Gradients<T> {
    let mut rng = Rng::seed(99).fork(step);
    let draw = |param: &Param<T>| Some(Tensor::normal(param.value().shape(), 0.0, 1.0, &mut rng));
    gradients(model, model.iter().map(draw))
}

/// The values of all parameters.
pub(crate) fn values<T: Float>(model: &[Param<T>]) -> Vec<Vec<T>> {
    model.iter().map(|param| param.value().to_vec()).collect()
}
