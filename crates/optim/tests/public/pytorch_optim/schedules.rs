//! Learning rates against PyTorch's.

use dendra_optim::{
    ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR, CyclicMode,
    ExponentialLR, LinearLR, MultiStepLR, OneCycleLR, Optimizer, PolynomialLR, ReduceLROnPlateau,
    SGD, Schedule, StepLR,
};
use dendra_tensor::Tensor;
use serde_json::Value;

use super::Arguments;
use crate::fixtures::{Case, Comparison};

fn linear(arguments: &Value) -> LinearLR {
    let arguments = Arguments(arguments);
    LinearLR::new(arguments.count("total_iters"))
        .start_factor(arguments.number("start_factor").unwrap())
        .end_factor(arguments.number("end_factor").unwrap())
}

fn cosine(arguments: &Value) -> CosineAnnealingLR {
    let arguments = Arguments(arguments);
    CosineAnnealingLR::new(arguments.count("T_max")).eta_min(arguments.number("eta_min").unwrap())
}

pub(crate) fn compare_schedule(case: &Case, comparison: &mut Comparison) {
    let value = case.setting("arguments");
    let arguments = Arguments(value);
    let gamma = || arguments.number("gamma").unwrap();
    let schedule: Box<dyn Schedule> = match case.text("schedule") {
        "StepLR" => Box::new(StepLR::new(arguments.count("step_size")).gamma(gamma())),
        "MultiStepLR" => {
            let milestones = value["milestones"].as_array().unwrap();
            let milestones: Vec<u64> = milestones.iter().map(|m| m.as_u64().unwrap()).collect();
            Box::new(MultiStepLR::new(milestones).gamma(gamma()))
        }
        "ExponentialLR" => Box::new(ExponentialLR::new(gamma())),
        "CosineAnnealingLR" => Box::new(cosine(value)),
        "LinearLR" => Box::new(linear(value)),
        "SequentialLR" => {
            let (first, next) = (linear(&value["warm_up"]), cosine(&value["cosine"]));
            let sequence = first.then(arguments.count("milestone"), next);
            match &value["exponential"]["gamma"] {
                Value::Null => Box::new(sequence),
                gamma => {
                    let third = ExponentialLR::new(gamma.as_f64().unwrap());
                    Box::new(sequence.then(arguments.count("second_milestone"), third))
                }
            }
        }
        "ChainedScheduler" => {
            let (step, exponential) = (Arguments(&value["step"]), Arguments(&value["exponential"]));
            let step = StepLR::new(step.count("step_size")).gamma(step.number("gamma").unwrap());
            let exponential = ExponentialLR::new(exponential.number("gamma").unwrap());
            Box::new(linear(&value["linear"]).chain(step).chain(exponential))
        }
        "ConstantLR" => Box::new(
            ConstantLR::new(arguments.count("total_iters"))
                .factor(arguments.number("factor").unwrap()),
        ),
        "PolynomialLR" => Box::new(
            PolynomialLR::new(arguments.count("total_iters"))
                .power(arguments.number("power").unwrap()),
        ),
        "CosineAnnealingWarmRestarts" => Box::new(
            CosineAnnealingWarmRestarts::new(arguments.count("T_0"))
                .t_mult(arguments.count("T_mult"))
                .eta_min(arguments.number("eta_min").unwrap()),
        ),
        "CyclicLR" => {
            let cycle = CyclicLR::new(arguments.number("max_lr").unwrap());
            let cycle = cycle.step_size_up(arguments.count("step_size_up"));
            let cycle = cycle.mode(match value["mode"].as_str() {
                Some("triangular2") => CyclicMode::Triangular2,
                Some("exp_range") => CyclicMode::ExpRange(gamma()),
                _ => CyclicMode::Triangular,
            });
            match value["step_size_down"].as_u64() {
                Some(down) => Box::new(cycle.step_size_down(down)),
                None => Box::new(cycle),
            }
        }
        "OneCycleLR" => Box::new(
            OneCycleLR::new(arguments.count("total_steps"))
                .pct_start(arguments.number("pct_start").unwrap_or(0.3))
                .div_factor(arguments.number("div_factor").unwrap_or(25.0))
                .final_div_factor(arguments.number("final_div_factor").unwrap_or(1e4))
                .three_phase(arguments.flag("three_phase"))
                .linear(value["anneal_strategy"] == "linear"),
        ),
        other => panic!("no schedule {other}"),
    };
    schedule.check().unwrap();
    let expected = case.tensor::<f64>("lr");
    let base = case.number("base_lr");
    let rates = Tensor::from_fn(expected.shape(), |step| schedule.learning_rate(base, step as u64));
    comparison.close(case.key, &rates, &expected, 1e-12);
}

/// The learning rate after each figure, and again from a state saved halfway.
pub(crate) fn compare_plateau(case: &Case, comparison: &mut Comparison) {
    let arguments = Arguments(case.setting("arguments"));
    let number = |name: &str, default: f64| arguments.number(name).unwrap_or(default);
    let plateau = ReduceLROnPlateau::new()
        .factor(number("factor", 0.1))
        .patience(number("patience", 10.0) as u64)
        .cooldown(number("cooldown", 0.0) as u64)
        .min_lr(number("min_lr", 0.0))
        .maximize(arguments.0["mode"] == "max");
    let plateau = match arguments.0["threshold_mode"] == "abs" {
        true => plateau.absolute_threshold(number("threshold", 1e-4)),
        false => plateau.threshold(number("threshold", 1e-4)),
    };
    let make = || SGD::<f32>::new(case.number("base_lr")).reduce_on_plateau(plateau.clone());
    let figures = case.tensor::<f64>("figures").to_vec();
    let mut optimizer = make();
    optimizer.check().unwrap();
    let mut rates = Vec::new();
    for (index, &figure) in figures.iter().enumerate() {
        if index == figures.len() / 2 {
            let state = optimizer.state_dict();
            optimizer = make();
            optimizer.load_state_dict(&state).unwrap();
        }
        optimizer.observe(figure);
        rates.push(optimizer.learning_rate());
    }
    let rates = Tensor::from_vec(rates, [figures.len()]).unwrap();
    comparison.close(case.key, &rates, &case.tensor("lr"), 1e-12);
}
