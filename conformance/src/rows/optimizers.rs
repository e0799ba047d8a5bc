//! Optimizers: the parameters after each of some steps along given gradients.

use dendra_autograd::{Gradients, Param, Tape, Var};
use dendra_optim::{
    ASGD, Adadelta, Adagrad, Adam, AdamW, Adamax, Descent, LBFGS, Muon, NAdam, Optimizer, RAdam,
    RMSprop, Rprop, Rule, SGD,
};
use dendra_tensor::{Float, Ops, Result, Tensor};

use super::{Row, rows};
use crate::argument::Constant;
use crate::call::{Call, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = adaptive();
    rows.extend(others());
    rows
}

fn adaptive<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "optim.Adadelta" (
            lr: f64 = 1.0, rho: f64 = 0.9, eps: f64 = 1e-6, weight_decay: Option<f64> = None,
            maximize: bool = false,
        ) => descended(call, Adadelta::new(lr).rho(rho).eps(eps), weight_decay, maximize);
        "optim.Adagrad" (
            lr: f64 = 1e-2, lr_decay: f64 = 0.0, weight_decay: Option<f64> = None,
            initial_accumulator_value: f64 = 0.0, eps: f64 = 1e-10, maximize: bool = false,
        ) => {
            let adagrad = Adagrad::new(lr).lr_decay(lr_decay).eps(eps);
            let adagrad = adagrad.initial_accumulator_value(initial_accumulator_value);
            descended(call, adagrad, weight_decay, maximize)
        };
        "optim.Adam" (
            lr: f64 = 1e-3, betas: [f64; 2] = [0.9, 0.999], eps: f64 = 1e-8,
            weight_decay: Option<f64> = None, amsgrad: bool = false, maximize: bool = false,
        ) => {
            let adam = Adam::new(lr).betas(betas[0], betas[1]).eps(eps).amsgrad(amsgrad);
            descended(call, adam, weight_decay, maximize)
        };
        "optim.AdamW" (
            lr: f64 = 1e-3, betas: [f64; 2] = [0.9, 0.999], eps: f64 = 1e-8,
            weight_decay: Option<f64> = None, amsgrad: bool = false, maximize: bool = false,
        ) => {
            let adam = AdamW::new(lr).betas(betas[0], betas[1]).eps(eps).amsgrad(amsgrad);
            descended(call, adam, weight_decay, maximize)
        };
        "optim.Adamax" (
            lr: f64 = 2e-3, betas: [f64; 2] = [0.9, 0.999], eps: f64 = 1e-8,
            weight_decay: Option<f64> = None, maximize: bool = false,
        ) => {
            let adamax = Adamax::new(lr).betas(betas[0], betas[1]).eps(eps);
            descended(call, adamax, weight_decay, maximize)
        };
        "optim.NAdam" (
            lr: f64 = 2e-3, betas: [f64; 2] = [0.9, 0.999], eps: f64 = 1e-8,
            weight_decay: Option<f64> = None, momentum_decay: f64 = 4e-3,
            decoupled_weight_decay: bool = false, maximize: bool = false,
        ) => {
            let nadam = NAdam::new(lr).betas(betas[0], betas[1]).eps(eps);
            let nadam = nadam.momentum_decay(momentum_decay);
            let nadam = nadam.decoupled_weight_decay(decoupled_weight_decay);
            descended(call, nadam, weight_decay, maximize)
        };
        "optim.RAdam" (
            lr: f64 = 1e-3, betas: [f64; 2] = [0.9, 0.999], eps: f64 = 1e-8,
            weight_decay: Option<f64> = None, decoupled_weight_decay: bool = false,
            maximize: bool = false,
        ) => {
            let radam = RAdam::new(lr).betas(betas[0], betas[1]).eps(eps);
            let radam = radam.decoupled_weight_decay(decoupled_weight_decay);
            descended(call, radam, weight_decay, maximize)
        };
    }
}

fn others<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "optim.SGD" (
            lr: f64 = 1e-3, momentum: f64 = 0.0, dampening: f64 = 0.0,
            weight_decay: Option<f64> = None, nesterov: bool = false, maximize: bool = false,
        ) => {
            let sgd = SGD::new(lr).momentum(momentum).dampening(dampening).nesterov(nesterov);
            descended(call, sgd, weight_decay, maximize)
        };
        "optim.RMSprop" (
            lr: f64 = 1e-2, alpha: f64 = 0.99, eps: f64 = 1e-8, weight_decay: Option<f64> = None,
            momentum: f64 = 0.0, centered: bool = false, maximize: bool = false,
        ) => {
            let rmsprop = RMSprop::new(lr).alpha(alpha).eps(eps);
            let rmsprop = rmsprop.momentum(momentum).centered(centered);
            descended(call, rmsprop, weight_decay, maximize)
        };
        "optim.ASGD" (
            lr: f64 = 1e-2, lambd: f64 = 1e-4, alpha: f64 = 0.75, t0: f64 = 1e6,
            weight_decay: Option<f64> = None, maximize: bool = false,
        ) => {
            let asgd = ASGD::new(lr).lambd(lambd).alpha(alpha).t0(t0);
            descended(call, asgd, weight_decay, maximize)
        };
        "optim.Rprop" (
            lr: f64 = 1e-2, etas: [f64; 2] = [0.5, 1.2], step_sizes: [f64; 2] = [1e-6, 50.0],
            maximize: bool = false,
        ) => {
            let rprop = Rprop::new(lr).etas(etas[0], etas[1]);
            descended(call, rprop.step_sizes(step_sizes[0], step_sizes[1]), None, maximize)
        };
        "optim.Muon" (
            lr: f64 = 1e-3, weight_decay: f64 = 0.1, momentum: f64 = 0.95, nesterov: bool = true,
            ns_coefficients: [f64; 3] = [3.4445, -4.775, 2.0315], ns_steps: usize = 5,
            eps: f64 = 1e-7, adjust_lr_fn: Option<String> = None,
        ) => {
            let muon = Muon::new(lr)
                .momentum(momentum)
                .nesterov(nesterov)
                .ns_coefficients(ns_coefficients)
                .ns_steps(ns_steps)
                .eps(eps);
            let muon = match adjust_lr_fn.as_deref() {
                None | Some("original") => muon,
                Some("match_rms_adamw") => muon.match_rms_adamw(true),
                Some(other) => return Err(Stop::inexpressible(format!("the rule {other}"))),
            };
            descended(call, muon, Some(weight_decay), false)
        };
        "optim.LBFGS" (
            lr: f64 = 1.0, max_iter: usize = 20, max_eval: Option<usize> = None,
            tolerance_grad: f64 = 1e-7, tolerance_change: f64 = 1e-9, history_size: usize = 100,
            line_search_fn: Option<String> = None,
        ) => {
            let lbfgs = LBFGS::new(lr)
                .max_iter(max_iter)
                .tolerance_grad(tolerance_grad)
                .tolerance_change(tolerance_change)
                .history_size(history_size)
                .strong_wolfe(line_search_fn.as_deref() == Some("strong_wolfe"));
            let lbfgs = match max_eval {
                Some(count) => lbfgs.max_eval(count),
                None => lbfgs,
            };
            minimised(call, lbfgs)
        };
    }
}

/// The parameters after each step.
fn descended<T: Float, R: Rule>(
    call: &Call<'_, T>,
    mut optimizer: Descent<R, T>,
    weight_decay: Option<f64>,
    maximize: bool,
) -> Result<Vec<Tensor<T>>, Stop> {
    if let Some(share) = weight_decay {
        optimizer = optimizer.weight_decay(share);
    }
    optimizer = optimizer.maximize(maximize);
    let start: Vec<Constant<T>> = call.argument("start", None)?;
    let steps: Vec<Vec<Constant<T>>> = call.argument("gradients", None)?;
    let mut model: Vec<Param<T>> = start.into_iter().map(|start| Param::new(start.0)).collect();
    let mut path = Vec::new();
    for step in steps {
        let gradients = along(&model, &step)?;
        optimizer.step(&mut model, &gradients)?;
        path.extend(model.iter().map(|param| param.value().clone()));
    }
    Ok(path)
}

/// A loss whose gradients are the given ones: Σ ⟨parameter, gradient⟩.
fn along<T: Float>(model: &[Param<T>], given: &[Constant<T>]) -> Result<Gradients<T>> {
    let tape = Tape::training(0, 0);
    let mut loss = tape.input(Tensor::zeros([]));
    for (param, Constant(gradient)) in model.iter().zip(given) {
        let gradient = tape.input(gradient.clone());
        loss = loss.add(&param.on(&gradient).mul(&gradient)?.sum())?;
    }
    loss.backward()
}

/// The point after each step of minimising Σ softplus(A·x) + |x|²/2.
fn minimised<T: Float>(
    call: &Call<'_, T>,
    mut optimizer: LBFGS<T>,
) -> Result<Vec<Tensor<T>>, Stop> {
    let [start, matrix]: [Constant<T>; 2] = {
        let given: Vec<Constant<T>> = call.argument("start", None)?;
        given.try_into().map_err(|_| Stop::inexpressible("another problem"))?
    };
    let mut point = Param::new(start.0);
    let mut path = Vec::new();
    for _ in 0..3 {
        optimizer.step(&mut point, |point: &Param<T>| {
            let matrix: Var<T> = Tape::training(0, 0).input(matrix.0.clone());
            let x = point.on(&matrix);
            let loss = matrix.matmul(&x)?.softplus().sum();
            loss.add(&x.square().sum().mul_scalar(0.5))?.backward()
        })?;
        path.push(point.value().clone());
    }
    Ok(path)
}
