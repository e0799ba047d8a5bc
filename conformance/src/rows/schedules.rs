//! Schedules: the learning rate of each of some steps.

use dendra_optim::{
    ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR, CyclicMode,
    ExponentialLR, LinearLR, MultiStepLR, OneCycleLR, Optimizer, PolynomialLR, ReduceLROnPlateau,
    SGD, Schedule, StepLR,
};
use dendra_tensor::{Float, Tensor};

use super::{Row, rows};
use crate::call::{Call, Stop};

/// The rows.
#[expect(non_snake_case, reason = "the names of PyTorch's arguments")]
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "lr_scheduler.ConstantLR" (factor: f64 = 1.0 / 3.0, total_iters: usize = 5) => {
            rates(call, &ConstantLR::new(total_iters as u64).factor(factor))
        };
        "lr_scheduler.CosineAnnealingLR" (T_max: usize, eta_min: f64 = 0.0) => {
            rates(call, &CosineAnnealingLR::new(T_max as u64).eta_min(eta_min))
        };
        "lr_scheduler.CosineAnnealingWarmRestarts" (
            T_0: usize, T_mult: usize = 1, eta_min: f64 = 0.0,
        ) => {
            let restarts = CosineAnnealingWarmRestarts::new(T_0 as u64).t_mult(T_mult as u64);
            rates(call, &restarts.eta_min(eta_min))
        };
        "lr_scheduler.CyclicLR" (
            max_lr: f64, step_size_up: usize = 2000, step_size_down: Option<usize> = None,
            mode: String = "triangular".into(), gamma: f64 = 1.0,
        ) => {
            let cycle = CyclicLR::new(max_lr).step_size_up(step_size_up as u64);
            let cycle = step_size_down.map_or(cycle, |down| cycle.step_size_down(down as u64));
            rates(call, &cycle.mode(match &*mode {
                "triangular2" => CyclicMode::Triangular2,
                "exp_range" => CyclicMode::ExpRange(gamma),
                _ => CyclicMode::Triangular,
            }))
        };
        "lr_scheduler.ExponentialLR" (gamma: f64) => rates(call, &ExponentialLR::new(gamma));
        "lr_scheduler.LambdaLR" (lr_lambda: Vec<f64>) => {
            let factor = move |base: f64, count: u64| {
                base * lr_lambda.get(count as usize).copied().unwrap_or(f64::NAN)
            };
            rates(call, &factor)
        };
        "lr_scheduler.MultiplicativeLR" (lr_lambda: Vec<f64>) => {
            // The first factor applies from the second step on.
            let factor = move |base: f64, count: u64| {
                lr_lambda.iter().skip(1).take(count as usize).product::<f64>() * base
            };
            rates(call, &factor)
        };
        "lr_scheduler.LinearLR" (
            start_factor: f64 = 1.0 / 3.0, end_factor: f64 = 1.0, total_iters: usize = 5,
        ) => {
            let linear = LinearLR::new(total_iters as u64).start_factor(start_factor);
            rates(call, &linear.end_factor(end_factor))
        };
        "lr_scheduler.MultiStepLR" (milestones: Vec<usize>, gamma: f64 = 0.1) => {
            let milestones: Vec<u64> = milestones.iter().map(|&count| count as u64).collect();
            rates(call, &MultiStepLR::new(milestones).gamma(gamma))
        };
        "lr_scheduler.OneCycleLR" (
            total_steps: usize, pct_start: f64 = 0.3, anneal_strategy: String = "cos".into(),
            div_factor: f64 = 25.0, final_div_factor: f64 = 1e4, three_phase: bool = false,
        ) => {
            let cycle = OneCycleLR::new(total_steps as u64)
                .pct_start(pct_start)
                .linear(anneal_strategy == "linear")
                .div_factor(div_factor)
                .final_div_factor(final_div_factor)
                .three_phase(three_phase);
            rates(call, &cycle)
        };
        "lr_scheduler.PolynomialLR" (total_iters: usize = 5, power: f64 = 1.0) => {
            rates(call, &PolynomialLR::new(total_iters as u64).power(power))
        };
        "lr_scheduler.StepLR" (step_size: usize, gamma: f64 = 0.1) => {
            rates(call, &StepLR::new(step_size as u64).gamma(gamma))
        };
        "lr_scheduler.SequentialLR" (milestones: Vec<usize>) => match milestones[..] {
            [first] => {
                let warm_up = LinearLR::new(first as u64).start_factor(0.1);
                rates(call, &warm_up.then(first as u64, ExponentialLR::new(0.9)))
            }
            _ => Err(Stop::inexpressible("other schedules")),
        };
        "lr_scheduler.ChainedScheduler" () => {
            let constant = ConstantLR::new(4).factor(0.1);
            rates(call, &constant.chain(ExponentialLR::new(0.9)))
        };
        "lr_scheduler.ReduceLROnPlateau" (
            mode: String = "min".into(), factor: f64 = 0.1, patience: usize = 10,
            threshold: f64 = 1e-4, threshold_mode: String = "rel".into(), cooldown: usize = 0,
            min_lr: f64 = 0.0, eps: f64 = 1e-8,
        ) => {
            let plateau = ReduceLROnPlateau::new()
                .maximize(mode == "max")
                .factor(factor)
                .patience(patience as u64)
                .cooldown(cooldown as u64)
                .min_lr(min_lr)
                .eps(eps);
            let plateau = match &*threshold_mode {
                "abs" => plateau.absolute_threshold(threshold),
                _ => plateau.threshold(threshold),
            };
            let base: f64 = call.argument("base", None)?;
            let figures: Vec<f64> = call.argument("figures", None)?;
            let mut optimizer = SGD::<T>::new(base).reduce_on_plateau(plateau);
            let rates = figures.iter().map(|&figure| {
                optimizer.observe(figure);
                T::from_f64(optimizer.learning_rate())
            });
            Tensor::from_vec(rates.collect(), [figures.len()])
        };
    }
}

/// The learning rates of the requested number of steps.
fn rates<T: Float>(call: &Call<'_, T>, schedule: &dyn Schedule) -> Result<Tensor<T>, Stop> {
    schedule.check()?;
    let base: f64 = call.argument("base", None)?;
    let steps: usize = call.argument("steps", None)?;
    let rate = |step| T::from_f64(schedule.learning_rate(base, step as u64));
    Ok(Tensor::from_fn([steps], rate))
}
