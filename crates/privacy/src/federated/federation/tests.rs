//! What a round computes, and what it refuses.

use dendra_datasets::{Dataset, TensorDataset, moons};
use dendra_losses::CrossEntropy;
use dendra_nn::{Module, Sequential};
use dendra_optim::{Adam, SGD};

use crate::federated::{LocalTraining, divide_by_label, divide_evenly};
use crate::{Accountant, Plan};

use super::*;

const SAMPLES: usize = 240;
const CLIENTS: usize = 6;

fn data() -> TensorDataset<i64> {
    moons(SAMPLES, 0.1, 3).unwrap()
}

fn model() -> Sequential {
    Sequential::input([2]).dense(16).tanh().dense(2).build(&mut Rng::seed(1)).unwrap()
}

fn weights(model: &Sequential) -> Vec<f32> {
    model.named_parameters().iter().flat_map(|(_, param)| param.value().to_vec()).collect()
}

fn accuracy(model: &Sequential) -> f64 {
    let (x, y) = data().batch(&(0..SAMPLES).collect::<Vec<_>>()).unwrap();
    let logits = model.forward(&dendra_autograd::Var::new(x)).unwrap();
    let right = logits.value().to_vec();
    let right = right.chunks(2).zip(y.to_vec()).filter(|(z, y)| (z[1] > z[0]) == (*y == 1));
    right.count() as f64 / SAMPLES as f64
}

/// Rounds with the data divided evenly.
fn train<O: Optimizer<f32>>(
    federation: &mut Federation<Sequential, O>,
    local: LocalTraining,
    rounds: usize,
) -> Vec<Round> {
    let (data, parts) = (data(), divide_evenly(SAMPLES, CLIENTS, 1).unwrap());
    let mut train = |task: Task, model: &mut Sequential| {
        let part = data.subset(parts[task.client].clone())?;
        local.train(task, model, &CrossEntropy::new(), &part)
    };
    (0..rounds).map(|_| federation.round(CLIENTS, &mut train).unwrap()).collect()
}

/// One step of gradient descent by each client is one step on all data.
#[test]
fn one_step_of_all_clients_is_a_step_on_all_data() {
    let mut federation = Federation::new(model(), SGD::new(1.0));
    let local = LocalTraining::new(0.5).batch_size(SAMPLES);
    let rounds = train(&mut federation, local, 3);
    assert_eq!(rounds[2].clients, [0, 1, 2, 3, 4, 5]);
    assert_eq!((rounds[2].number, rounds[2].samples), (2, SAMPLES));

    let mut whole = model();
    for round in 0..3 {
        let task = Task { client: 0, round };
        local.train(task, &mut whole, &CrossEntropy::new(), &data()).unwrap();
    }
    for (a, b) in weights(federation.model()).iter().zip(weights(&whole)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn averaging_learns_by_any_optimizer_of_the_server() {
    let local = LocalTraining::new(0.3).epochs(5);
    let mut average = Federation::new(model(), SGD::new(1.0)).fraction(0.5);
    assert!(train(&mut average, local, 40).iter().all(|round| round.clients.len() == 3));
    let mut adaptive = Federation::new(model(), Adam::new(0.03)).fraction(0.5);
    train(&mut adaptive, local, 40);
    let mut proximal = Federation::new(model(), SGD::new(1.0)).fraction(0.5);
    train(&mut proximal, local.proximal(0.1), 40);
    let found = [&average, &proximal].map(|federation| accuracy(federation.model()));
    assert!(found.iter().all(|accuracy| *accuracy > 0.95), "{found:?}");
    assert!(accuracy(adaptive.model()) > 0.9, "{}", accuracy(adaptive.model()));
    assert!(weights(average.model()) != weights(proximal.model()));
}

/// The penalty keeps the clients near the global model.
#[test]
fn a_large_penalty_leaves_the_model_where_it_is() {
    let distance = |proximal: f64| {
        let mut federation = Federation::new(model(), SGD::new(1.0));
        train(&mut federation, LocalTraining::new(0.1).epochs(5).proximal(proximal), 1);
        let after = weights(federation.model());
        after.iter().zip(weights(&model())).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    assert!(distance(8.0) < 0.05 * distance(0.0), "{} {}", distance(8.0), distance(0.0));
}

#[test]
fn clients_that_drop_out_do_not_count() {
    let (data, parts) = (data(), divide_by_label(&vec![0; SAMPLES], CLIENTS, 1, 1).unwrap());
    let run = |chosen: &[usize]| {
        let mut federation = Federation::new(model(), SGD::new(1.0));
        let round = federation.round(CLIENTS, |task, model| {
            if task.client == 4 {
                let infinite = model.named_parameters()[0].1.value().map(|_| f32::INFINITY);
                let mut state = model.state_dict();
                state.insert("0.weight", infinite);
                model.load_state_dict(&state)?;
                return Ok(10);
            }
            if !chosen.contains(&task.client) {
                return Err(Error::data("client", "the connection was lost"));
            }
            let part = data.subset(parts[task.client].clone())?;
            LocalTraining::new(0.1).train(task, model, &CrossEntropy::new(), &part)
        });
        (round.unwrap(), weights(federation.model()))
    };
    let (round, after) = run(&[0, 2]);
    assert_eq!(round.clients, [0, 2]);
    assert_eq!(round.samples, 2 * SAMPLES / CLIENTS);
    assert_eq!(round.dropped.len(), 4);
    assert!(round.dropped[0].1.contains("connection was lost"), "{round:?}");
    assert!(round.dropped[2].1.contains("not finite"), "{round:?}");
    assert!(after.iter().all(|weight| weight.is_finite()) && after != weights(&model()));
    let (round, after) = run(&[]);
    assert!(round.clients.is_empty());
    assert_eq!(after, weights(&model()));
}

#[test]
fn statistics_of_the_clients_are_averaged() {
    let network = Sequential::input([2]).dense(4).batch_norm1d().dense(2);
    let model = network.build(&mut Rng::seed(1)).unwrap();
    let before = statistics(&model);
    let mut federation = Federation::new(model, SGD::new(1.0));
    train(&mut federation, LocalTraining::new(0.1), 2);
    let after = statistics(federation.model());
    assert!(after.iter().zip(&before).all(|(a, b)| a.1.to_vec() != b.1.to_vec()));
}

fn private() -> Privacy {
    let (samples, sample_rate) = (CLIENTS, 0.5);
    let plan = Plan { samples, sample_rate, noise_multiplier: 1.0, max_norm: 0.2 };
    Privacy::reproducible_for_tests(plan, 5).unwrap()
}

#[test]
fn a_private_federation_counts_its_rounds_and_bounds_a_client() {
    let mut federation = Federation::new(model(), SGD::new(1.0)).private(private());
    let rounds = train(&mut federation, LocalTraining::new(5.0).epochs(5), 4);
    let sizes: Vec<usize> = rounds.iter().map(|round| round.clients.len()).collect();
    assert!(sizes.iter().any(|size| *size != sizes[0]), "{sizes:?}");
    let privacy = federation.privacy().unwrap();
    assert_eq!(privacy.ledger().steps(), 4);
    assert!(privacy.epsilon(Accountant::Renyi, 1e-3).unwrap() > 0.5);

    // Without noise, all clients together move the model by less than the sum
    // of their norms over the expected number of clients.
    let plan = Plan { noise_multiplier: 0.0, samples: CLIENTS, sample_rate: 0.5, max_norm: 0.2 };
    let quiet = Privacy::reproducible_for_tests(plan, 5).unwrap();
    let mut federation = Federation::new(model(), SGD::new(1.0)).private(quiet);
    let round = train(&mut federation, LocalTraining::new(5.0).epochs(5), 1).remove(0);
    let after = weights(federation.model());
    let moved = after.iter().zip(weights(&model())).map(|(a, b)| f64::from(a - b).powi(2));
    let bound = 0.2 * round.clients.len() as f64 / 3.0;
    assert!(moved.sum::<f64>().sqrt() <= 1.0001 * bound);
}

#[test]
fn impossible_settings_are_refused() {
    let fraction = |fraction| Federation::new(model(), SGD::new(1.0)).fraction(fraction);
    let train = |_: Task, _: &mut Sequential| Ok(1);
    assert!(fraction(0.0).round(3, train).is_err());
    assert!(fraction(f64::NAN).round(3, train).is_err());
    assert!(fraction(1.0).round(0, train).is_err());
    let error = Federation::new(model(), SGD::new(1.0)).private(private()).round(7, train);
    assert!(error.unwrap_err().to_string().contains("6 clients"));
    let network = Sequential::input([2]).batch_norm1d().dense(2);
    let with_statistics = network.build(&mut Rng::seed(1)).unwrap();
    let mut federation = Federation::new(with_statistics, SGD::new(1.0)).private(private());
    let error = federation.round(CLIENTS, |_, _| Ok(1)).unwrap_err().to_string();
    assert!(error.contains("statistics"), "{error}");
}

#[test]
fn a_restored_federation_continues() {
    let federation = || Federation::new(model(), Adam::new(0.03)).fraction(0.5);
    let local = LocalTraining::new(0.3);
    let mut whole = federation();
    train(&mut whole, local, 4);
    let mut first = federation();
    train(&mut first, local, 2);
    let mut second = federation();
    second.load_state_dict(&first.state_dict()).unwrap();
    let rounds = train(&mut second, local, 2);
    assert_eq!(rounds[1].number, 3);
    assert_eq!(weights(second.model()), weights(whole.model()));
}
