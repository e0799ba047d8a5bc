//! What the figures mean, and that private training defeats the attacks.

use dendra_autograd::{Tape, Var};
use dendra_losses::{CrossEntropy, Loss};
use dendra_nn::{Module, Sequential};
use dendra_optim::{Adam, Optimizer};
use dendra_tensor::{Ops, Reduction, Rng};

use super::*;
use crate::{Accountant, Budget, Plan, Privacy};

#[test]
fn the_curve_counts_members_and_others() {
    let roc = Roc::new(&[3.0, 2.0, 2.0, 0.0], &[2.0, 1.0]).unwrap();
    assert_eq!(roc.points(), [(0.0, 0.0), (0.0, 0.25), (0.5, 0.75), (1.0, 0.75), (1.0, 1.0)]);
    assert_eq!(roc.area(), 0.5 * 0.5 + 0.5 * 0.75);
    assert_eq!(roc.advantage(), 0.25);
    assert_eq!([0.0, 0.49, 0.5, 1.0].map(|x| roc.true_positive_rate(x)), [0.25, 0.25, 0.75, 1.0]);
    let same = Roc::new(&[1.0, 1.0], &[1.0]).unwrap();
    assert_eq!((same.advantage(), same.area()), (0.0, 0.5));
    assert!(Roc::new(&[], &[1.0]).is_err() && Roc::new(&[1.0], &[f64::NAN]).is_err());
}

#[test]
fn a_confidence_is_the_log_odds_of_the_right_class() {
    let logits = Tensor::from([[1.0, 2.0, -1.0], [900.0, 0.0, 0.0]]);
    let found = confidences(&logits, &Tensor::from([1_i64, 0])).unwrap();
    let odds = 2.0_f64.exp() / (1.0_f64.exp() + (-1.0_f64).exp());
    assert!((found[0] - odds.ln()).abs() < 1e-12, "{found:?}");
    assert!((found[1] - (900.0 - 2.0_f64.ln())).abs() < 1e-9, "{found:?}");
    assert!(confidences(&logits, &Tensor::from([1_i64, 3])).is_err());
    assert!(confidences(&logits, &Tensor::from([1_i64])).is_err());
}

#[test]
fn the_ratio_is_that_of_two_normal_densities() {
    let shadow = |confidence: f64, member: bool| Shadow {
        confidences: vec![confidence],
        member: vec![member],
    };
    // Means 4 and 1; variances 2 and 0.5.
    let shadows = [shadow(3.0, true), shadow(5.0, true), shadow(0.5, false), shadow(1.5, false)];
    let density = |x: f64, mean: f64, variance: f64| {
        (-(x - mean).powi(2) / (2.0 * variance)).exp() / variance.sqrt()
    };
    for x in [-1.0, 1.0, 2.5, 4.0] {
        let ratio = likelihood_ratios(&[x], &shadows).unwrap()[0];
        let expected = (density(x, 4.0, 2.0) / density(x, 1.0, 0.5)).ln();
        assert!((ratio - expected).abs() < 1e-9, "{ratio} {expected}");
    }
    for (shadows, part) in [
        (&shadows[..2], "every shadow was trained on sample 0"),
        (&shadows[2..], "no shadow was trained on sample 0"),
    ] {
        let error = likelihood_ratios(&[1.0], shadows).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(likelihood_ratios(&[1.0, 2.0], &shadows).is_err());
    assert!(likelihood_ratios(&[f64::INFINITY], &shadows).is_err());
}

#[test]
fn the_bound_grows_with_epsilon() {
    assert_eq!(most_advantage(0.0, 0.0), 0.0);
    assert!((most_advantage(0.0, 0.1) - 0.1).abs() < 1e-12);
    assert!((most_advantage(1.0, 0.0) - 0.462_117_157).abs() < 1e-9);
    assert!((most_advantage(1000.0, 1e-5) - 1.0).abs() < 1e-12);
}

const SAMPLES: usize = 60;
const MODELS: usize = 8;
const DELTA: f64 = 1e-3;

/// Samples with random labels, which a network can only memorise.
fn samples() -> (Tensor, Tensor<i64>) {
    let mut rng = Rng::seed(4);
    let x = Tensor::from_fn([SAMPLES, 20], |_| rng.normal() as f32);
    (x, Tensor::from_fn([SAMPLES], |_| rng.below(2) as i64))
}

/// A network that was trained on a random half of the samples, by a plan or
/// without privacy.
fn trained(seed: u64, plan: Option<Plan>) -> Shadow {
    let (x, y) = samples();
    let mut members = Rng::seed(seed).permutation(SAMPLES);
    members.truncate(SAMPLES / 2);
    let network = Sequential::input([20]).dense(32).tanh().dense(2);
    let mut model = network.build(&mut Rng::seed(seed)).unwrap();
    let mut optimizer = Adam::new(0.02);
    let loss = CrossEntropy::new().reduction(Reduction::None);
    let mut privacy = plan.map(|plan| Privacy::reproducible_for_tests(plan, seed).unwrap());
    for _ in 0..60 {
        let losses = |indices: &[usize]| {
            let indices: Vec<usize> = indices.iter().map(|&index| members[index]).collect();
            let batch = x.index_select(0, &indices).unwrap();
            let logits = model.forward(&Tape::training(0, 0).input(batch)).unwrap();
            loss.forward(&logits, &y.index_select(0, &indices).unwrap()).unwrap()
        };
        let gradients = match &mut privacy {
            None => losses(&(0..SAMPLES / 2).collect::<Vec<_>>()).mean().backward().unwrap(),
            Some(privacy) => {
                let mut step = privacy.step(&model).unwrap();
                for part in step.parts(SAMPLES) {
                    step.add(&losses(&part)).unwrap();
                }
                step.finish().unwrap()
            }
        };
        optimizer.step(&mut model, &gradients).unwrap();
    }
    let logits = model.forward(&Var::new(x)).unwrap();
    let mut member = vec![false; SAMPLES];
    members.iter().for_each(|&index| member[index] = true);
    Shadow { confidences: confidences(logits.value(), &y).unwrap(), member }
}

/// The advantage of both attacks, on each network with the others as shadows.
fn advantages(plan: Option<Plan>) -> [f64; 2] {
    let models: Vec<Shadow> = (0..MODELS as u64).map(|seed| trained(seed, plan)).collect();
    let mut scores = [const { [const { Vec::new() }; 2] }; 2];
    for target in 0..MODELS {
        let mut shadows = models.clone();
        let Shadow { confidences, member } = shadows.remove(target);
        // With seven shadows, a sample may be in none of them or in all.
        let known = |sample: usize| {
            let inside = shadows.iter().filter(|shadow| shadow.member[sample]).count();
            0 < inside && inside < shadows.len()
        };
        let kept: Vec<usize> = (0..SAMPLES).filter(|&sample| known(sample)).collect();
        let keep = |of: &Shadow| Shadow {
            confidences: kept.iter().map(|&sample| of.confidences[sample]).collect(),
            member: kept.iter().map(|&sample| of.member[sample]).collect(),
        };
        let target = keep(&Shadow { confidences, member });
        let shadows: Vec<Shadow> = shadows.iter().map(keep).collect();
        let ratios = likelihood_ratios(&target.confidences, &shadows).unwrap();
        for (attack, found) in [&target.confidences, &ratios].into_iter().enumerate() {
            for (score, member) in found.iter().zip(&target.member) {
                scores[attack][usize::from(*member)].push(*score);
            }
        }
    }
    scores.map(|[others, members]| Roc::new(&members, &others).unwrap().advantage())
}

#[test]
fn private_training_defeats_the_attacks() {
    let plain = advantages(None);
    assert!(plain.iter().all(|advantage| *advantage > 0.6), "{plain:?}");
    let budget = Budget { epsilon: 0.5, delta: DELTA };
    let plan = Plan::for_budget(SAMPLES / 2, 30, 60, Accountant::Renyi, budget).unwrap();
    let private = advantages(Some(plan));
    let bound = most_advantage(budget.epsilon, budget.delta);
    assert!(private.iter().all(|advantage| *advantage < bound), "{private:?}, {bound}");
}
