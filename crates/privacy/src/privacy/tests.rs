//! What a private step guarantees, and what it refuses.

use dendra_autograd::{Parameters, Tape};
use dendra_nn::{BatchNorm1d, Linear, Module, Sequential};
use dendra_optim::{Adam, Lion, Optimizer, SGD};
use dendra_tensor::{Ops, Rng};

use super::*;

const SAMPLES: usize = 40;

fn plan() -> Plan {
    Plan { samples: SAMPLES, sample_rate: 0.5, noise_multiplier: 0.0, max_norm: 0.3 }
}

fn private(plan: Plan) -> Privacy {
    Privacy::reproducible_for_tests(plan, 7).unwrap()
}

fn network() -> Sequential {
    Sequential::input([3]).dense(5).tanh().dense(2).build(&mut Rng::seed(1)).unwrap()
}

/// The samples of these indices, some of which have large gradients.
fn samples(indices: &[usize]) -> Tensor {
    let all = Tensor::from_fn([SAMPLES, 3], |i| ((i * 37 + 11) % 23) as f32 / 11.0 - 1.0);
    let scale = Tensor::from_fn([SAMPLES, 1], |i| if i % 5 == 0 { 20.0 } else { 0.3 });
    all.mul(&scale).unwrap().index_select(0, indices).unwrap()
}

/// A loss for each sample.
fn losses(model: &impl Module, indices: &[usize]) -> Var {
    let x = Tape::training(0, 0).input(samples(indices));
    model.forward(&x).unwrap().square().sum_axes(&[1], false).unwrap()
}

/// The gradients of a step in parts of this size, in the order of the
/// parameters.
fn gradients(privacy: &mut Privacy, model: &Sequential, size: usize) -> (Vec<usize>, Gradients) {
    let mut step = privacy.step(model).unwrap();
    let indices = step.indices().to_vec();
    for part in step.parts(size) {
        step.add(&losses(model, &part)).unwrap();
    }
    (indices, step.finish().unwrap())
}

fn flat(gradients: &Gradients, model: &impl Parameters<f32>) -> Vec<f64> {
    let parameters = model.named_parameters();
    let of = |param: &Param| gradients.get(param).unwrap().to_vec();
    parameters.iter().flat_map(|(_, param)| of(param)).map(f64::from).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// The sum of the clipped gradients of these samples.
fn clipped(model: &Sequential, indices: &[usize], size: usize, max_norm: f64) -> Vec<f64> {
    let mut privacy = private(Plan { max_norm, ..plan() });
    let mut step = privacy.step(model).unwrap();
    step.indices = indices.to_vec();
    for part in step.parts(size) {
        step.add(&losses(model, &part)).unwrap();
    }
    let sum = flat(&step.finish().unwrap(), model);
    sum.iter().map(|x| x * privacy.expected_batch_size()).collect()
}

#[test]
fn removing_a_sample_changes_the_sum_by_at_most_the_norm() {
    let model = network();
    let all: Vec<usize> = (0..SAMPLES).collect();
    let mut changes = Vec::new();
    for norm in [0.3, 1.0, 3.0, 10.0] {
        let whole = clipped(&model, &all, SAMPLES, norm);
        for removed in all.iter().step_by(3) {
            let rest: Vec<usize> = all.iter().copied().filter(|index| index != removed).collect();
            let change = distance(&whole, &clipped(&model, &rest, SAMPLES, norm)) / norm;
            assert!(change <= 1.0 + 1e-6, "{change} for {norm} without {removed}");
            changes.push(change);
        }
    }
    // Some are clipped, and some are not.
    assert!(changes.iter().any(|change| *change > 0.999), "{changes:?}");
    assert!(changes.iter().any(|change| *change < 0.9), "{changes:?}");
}

#[test]
fn the_sum_is_that_of_the_clipped_gradients() {
    let model = network();
    let indices = [0, 3, 5, 9, 21];
    let expected = losses(&model, &indices).backward_per_sample().unwrap();
    let expected = flat(&expected.clipped_sum(0.3).unwrap(), &model);
    let found = clipped(&model, &indices, 2, 0.3);
    assert!(distance(&found, &expected) < 1e-4, "{found:?}, expected {expected:?}");
}

#[test]
fn parts_of_any_size_add_up_to_the_batch() {
    let model = network();
    let of_size = |size| {
        let (indices, found) = gradients(&mut private(plan()), &model, size);
        (indices, flat(&found, &model))
    };
    let (indices, whole) = of_size(SAMPLES);
    assert!(indices.len() > 10 && indices.is_sorted(), "{indices:?}");
    for size in [0, 1, 4] {
        let (same, parts) = of_size(size);
        assert_eq!(same, indices);
        assert!(distance(&parts, &whole) < 1e-6, "{size}");
    }
}

#[test]
fn noise_has_the_deviation_of_the_norm_also_for_an_empty_batch() {
    let model = Linear::new(100, 50).init(&mut Rng::seed(1)).unwrap();
    let plan = Plan { samples: 2, sample_rate: 1e-9, noise_multiplier: 1.5, max_norm: 2.0 };
    let mut privacy = private(plan);
    let step = privacy.step(&model).unwrap();
    assert!(step.indices().is_empty() && step.parts(8).is_empty());
    let found = flat(&step.finish().unwrap(), &model);
    assert_eq!(found.len(), 5050);
    let scaled = found.iter().map(|x| x * privacy.expected_batch_size());
    let squares: f64 = scaled.map(|x| x * x).sum();
    let deviation = (squares / 5050.0).sqrt();
    assert!((deviation / 3.0 - 1.0).abs() < 0.05, "{deviation}");
    let one = Mechanism { noise_multiplier: 1.5, sample_rate: 1e-9, steps: 1 };
    assert_eq!(privacy.ledger().entries(), [one]);
}

#[test]
fn every_optimizer_takes_private_gradients() {
    let optimizers: [Box<dyn Optimizer>; 4] = [
        Box::new(SGD::new(0.1).momentum(0.9)),
        Box::new(Adam::new(0.01)),
        Box::new(Lion::new(0.01)),
        Box::new(SGD::new(0.1).clip_norm(0.01)),
    ];
    for mut optimizer in optimizers {
        let mut model = network();
        let mut privacy = private(Plan { noise_multiplier: 1.0, ..plan() });
        for _ in 0..3 {
            let (_, found) = gradients(&mut privacy, &model, 8);
            assert!(found.loss().is_finite() && found.updates().is_empty());
            optimizer.step(&mut model, &found).unwrap();
        }
        assert_eq!(privacy.ledger().steps(), 3);
    }
}

#[test]
fn without_noise_the_gradient_is_at_most_the_norm() {
    let model = network();
    let mut privacy = private(plan());
    for _ in 0..5 {
        let (indices, found) = gradients(&mut privacy, &model, 8);
        let most = 0.3 * indices.len() as f64 / privacy.expected_batch_size();
        let norm = distance(&flat(&found, &model), &[0.0; 32]);
        assert!(norm <= most + 1e-6, "{norm}, at most {most}");
    }
}

#[test]
fn frozen_parameters_have_no_gradient() {
    let mut model = network();
    model.set_trainable_where(false, &|name| name.starts_with("0."));
    let (_, found) = gradients(&mut private(plan()), &model, 8);
    let parameters = model.named_parameters();
    let has: Vec<bool> = parameters.iter().map(|(_, param)| found.get(param).is_some()).collect();
    assert_eq!(has, [false, false, true, true]);
}

#[test]
fn a_budget_ends_the_training_also_after_it_was_resumed() {
    let model = network();
    let settings = Plan { noise_multiplier: 2.0, ..plan() };
    let budget = Budget { epsilon: 4.0, delta: 1e-3 };
    let start = || private(settings).budget(Accountant::Renyi, budget);
    let mut privacy = start();
    let all = privacy.remaining_steps().unwrap();
    assert!((3..100).contains(&all), "{all}");
    for _ in 0..2 {
        gradients(&mut privacy, &model, 40);
    }
    let text = serde_json::to_string(privacy.ledger()).unwrap();
    let ledger = serde_json::from_str(&text).unwrap();
    let mut privacy = start().resume(ledger, privacy.max_norm()).unwrap();
    assert_eq!(privacy.remaining_steps().unwrap(), all - 2);
    while privacy.remaining_steps().unwrap() > 0 {
        gradients(&mut privacy, &model, 40);
    }
    assert_eq!(privacy.ledger().steps(), all);
    assert!(privacy.epsilon(Accountant::Renyi, 1e-3).unwrap() <= 4.0);
    let error = privacy.step(&model).unwrap_err().to_string();
    assert!(error.contains("the budget is spent"), "{error}");
    let mut after = privacy.ledger().clone();
    after.record(mechanism(settings)).unwrap();
    assert!(Accountant::Renyi.epsilon(&after, 1e-3).unwrap() > 4.0);
}

#[test]
fn the_norm_adapts_to_the_gradients() {
    let model = network();
    let mut privacy = private(Plan { max_norm: 1e4, ..plan() }).adaptive(Default::default());
    for _ in 0..100 {
        gradients(&mut privacy, &model, 40);
    }
    let all: Vec<usize> = (0..SAMPLES).collect();
    let mut norms = losses(&model, &all).per_sample_norms().unwrap().to_vec();
    norms.sort_by(f32::total_cmp);
    let found = privacy.max_norm() as f32;
    assert!(norms[10] < found && found < norms[30], "{found}: {norms:?}");
}

#[test]
fn what_breaks_the_guarantee_is_refused() {
    let model = network();
    let indices = [0, 1, 2];
    let refused = |add: &dyn Fn(&mut PrivateStep<'_>) -> Result<()>, part: &str| {
        let mut privacy = private(plan());
        let mut step = privacy.step(&model).unwrap();
        let error = add(&mut step).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(privacy.ledger().steps(), 0);
    };
    refused(&|step| step.add(&losses(&model, &indices).mean()), "Reduction::None");
    refused(&|step| step.add(&Var::new(Tensor::ones([3]))), "on a tape");
    let infinite = |step: &mut PrivateStep<'_>| {
        let x = Tape::training(0, 0).input(Tensor::full([2, 3], f32::INFINITY));
        step.add(&model.forward(&x)?.square().sum_axes(&[1], false)?)
    };
    refused(&infinite, "the gradient of sample 0 of this part is not finite");

    // Batch normalisation mixes the samples, and keeps their mean.
    let norm = BatchNorm1d::new(3).init(&mut Rng::seed(0)).unwrap();
    for indices in [&[0, 1, 2][..], &[0, 1]] {
        let add = |step: &mut PrivateStep<'_>| step.add(&losses(&norm, indices));
        refused(&add, "use group or layer normalisation");
    }
    let mut privacy = private(plan());
    let mut step = privacy.step(&model).unwrap();
    step.add(&losses(&model, &[1])).unwrap();
    let error = step.finish().unwrap_err().to_string();
    assert!(error.contains("got the losses of 1"), "{error}");
    assert_eq!(privacy.ledger().steps(), 0);
}

#[test]
fn impossible_settings_are_refused() {
    for (plan, part) in [
        (Plan { samples: 0, ..plan() }, "expected samples"),
        (Plan { sample_rate: 1.1, ..plan() }, "sample_rate"),
        (Plan { noise_multiplier: f64::NAN, ..plan() }, "noise_multiplier"),
        (Plan { max_norm: 0.0, ..plan() }, "max_norm: expected a positive number, got 0"),
    ] {
        let error = Privacy::new(plan).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(private(plan()).resume(Ledger::new(), f64::NAN).is_err());
}

#[test]
fn a_private_network_learns() {
    let points = Tensor::from_fn([1000, 3], |i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0);
    let above = |point: &[f32]| if point[0] + point[1] > 0.3 * point[2] { 1.0 } else { -1.0 };
    let signs: Vec<f32> = points.to_vec().chunks(3).map(above).collect();
    let signs = Tensor::from_vec(signs, [1000, 1]).unwrap();
    let mut model = Linear::new(3, 1).init(&mut Rng::seed(1)).unwrap();
    let plan = Plan { samples: 1000, sample_rate: 0.1, noise_multiplier: 2.0, max_norm: 1.0 };
    let mut privacy = private(plan);
    let mut optimizer = SGD::new(2.0);
    for _ in 0..40 {
        let mut step = privacy.step(&model).unwrap();
        for part in step.parts(64) {
            let x = optimizer.tape(0).input(points.index_select(0, &part).unwrap());
            let y = Var::new(signs.index_select(0, &part).unwrap());
            // The logistic loss: −ln σ(y·f(x)).
            let scores = model.forward(&x).unwrap().mul(&y).unwrap().flatten(0, -1).unwrap();
            step.add(&scores.log_sigmoid().neg()).unwrap();
        }
        let gradients = step.finish().unwrap();
        optimizer.step(&mut model, &gradients).unwrap();
    }
    let scores = model.forward(&Var::new(points)).unwrap().value().mul(&signs).unwrap();
    let right = scores.to_vec().iter().filter(|score| **score > 0.0).count();
    assert!(right > 940, "{right} of 1000");
    assert!(privacy.epsilon(Accountant::Renyi, 1e-4).unwrap() < 3.0);
}
