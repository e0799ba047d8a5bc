//! The behaviour of steps for any rule: which parameters they update, how gradients
//! are clipped, and which errors they return.

use crate::given::{gradients, model, random_gradients, take_step, values};
use dendra_autograd::{Buffer, Param, Parameters, Tape};
use dendra_optim::{
    ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, ExponentialLR, Lamb, LinearLR, Lion,
    Muon, NAdam, Norm, Optimizer, RAdam, RMSprop, ReduceLROnPlateau, Rprop, SGD, Schedule, Split,
    StepLR, gradient_norm,
};
use dendra_tensor::{Error, Tensor};

/// All element-wise rules, with all settings that add state or a branch.
fn every_rule() -> Vec<(&'static str, Box<dyn Optimizer>)> {
    vec![
        ("sgd", Box::new(SGD::new(0.1))),
        ("momentum", Box::new(SGD::new(0.1).momentum(0.9).dampening(0.1).weight_decay(0.01))),
        ("nesterov", Box::new(SGD::new(0.1).momentum(0.9).nesterov(true).clip_value(0.5))),
        ("adam", Box::new(Adam::new(0.1).weight_decay(0.1).maximize(true))),
        ("amsgrad", Box::new(Adam::new(0.1).amsgrad(true).clip_value(0.5))),
        ("adamw", Box::new(AdamW::new(0.1))),
        ("adagrad", Box::new(Adagrad::new(0.1).lr_decay(0.1))),
        ("rmsprop", Box::new(RMSprop::new(0.1))),
        ("rmsprop with all", Box::new(RMSprop::new(0.1).momentum(0.5).centered(true))),
        ("adamax", Box::new(Adamax::new(0.1))),
        ("nadam", Box::new(NAdam::new(0.1))),
        ("radam", Box::new(RAdam::new(0.1).decoupled_weight_decay(true).weight_decay(0.1))),
        ("adadelta", Box::new(Adadelta::new(1.0))),
        ("asgd", Box::new(ASGD::new(0.1).t0(1.0))),
        ("rprop", Box::new(Rprop::new(0.1))),
        ("lion", Box::new(Lion::new(0.1).weight_decay(0.1))),
    ]
}

#[test]
fn a_parameter_is_updated_in_pieces_as_it_would_be_in_whole() {
    // 40 rows of 1000 elements are larger than a piece and a block of a step.
    for (name, mut whole_optimizer) in every_rule() {
        let mut whole = model::<f32>(&[&[40, 1000]], 1);
        let row = |tensor: &Tensor, i| tensor.narrow(0, i, 1).unwrap().contiguous();
        let mut rows: Vec<Param> = (0..40).map(|i| Param::new(row(whole[0].value(), i))).collect();
        let (_, mut row_optimizer) =
            every_rule().into_iter().find(|(other, _)| *other == name).unwrap();
        for step in 0..3 {
            let all = random_gradients(&whole, step);
            let parts = (0..40).map(|i| Some(row(all.get(&whole[0]).unwrap(), i)));
            take_step(&mut row_optimizer, &mut rows, |model| gradients(model, parts)).unwrap();
            whole_optimizer.step(&mut whole, &all).unwrap();
        }
        assert_eq!(values(&whole).concat(), values(&rows).concat(), "{name}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shapes: [&[usize]; 6] = [&[300, 400], &[7], &[0, 3], &[33_333], &[64, 96], &[3, 50, 70]];
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut model = model::<f32>(&shapes, 2);
            let lamb = Lamb::new(0.01).weight_decay(0.1);
            let adam = Adam::new(0.01).clip_norm(2.0).weight_decay(0.1);
            let mut optimizer = Split::new(
                |_, shape| *shape == [64, 96],
                Muon::new(0.01).clip_value(0.5),
                Split::new(
                    |_, shape| *shape == [33_333],
                    lamb,
                    Split::new(|_, shape| shape.len() == 3, Adafactor::new(0.01), adam),
                ),
            );
            for step in 0..3 {
                let gradients = random_gradients(&model, step);
                optimizer.step(&mut model, &gradients).unwrap();
            }
            let norm = gradient_norm(&model, &random_gradients(&model, 9), Norm::L2);
            (values(&model), norm)
        })
    };
    let expected = train(1);
    for threads in [2, 3, 7] {
        assert!(train(threads) == expected, "{threads} threads");
    }
}

#[test]
fn the_norm_is_that_of_all_gradients_together() {
    let model = model::<f64>(&[&[100, 1000], &[5]], 3);
    let gradients = random_gradients(&model, 0);
    let flat: Vec<f64> =
        model.iter().flat_map(|param| gradients.get(param).unwrap().to_vec()).collect();
    let close = |norm, expected: f64| {
        let found = gradient_norm(&model, &gradients, norm);
        assert!((found / expected - 1.0).abs() < 1e-12, "{norm:?}: {found} for {expected}");
    };
    close(Norm::L1, flat.iter().map(|x| x.abs()).sum());
    close(Norm::L2, flat.iter().map(|x| x * x).sum::<f64>().sqrt());
    close(Norm::Max, flat.iter().fold(0.0, |max: f64, x| max.max(x.abs())));
}

#[test]
fn clipping_by_norm_comes_before_clipping_by_value() {
    let mut model = vec![Param::new(Tensor::from([0.0, 0.0_f64]))];
    let mut sgd = SGD::new(1.0).clip_norm(1.0).clip_value(0.7);
    take_step(&mut sgd, &mut model, |model| gradients(model, [Some(Tensor::from([3.0, -4.0]))]))
        .unwrap();
    let found = model[0].value().to_vec();
    assert!((found[0] + 0.6).abs() < 1e-6 && found[1] == 0.7, "{found:?}");
}

#[test]
fn every_missing_gradient_is_named_and_nothing_changes() {
    let mut model = model::<f32>(&[&[2], &[3], &[1], &[2]], 4);
    model[2].set_trainable(false);
    let before = values(&model);
    let some =
        |model: &[Param]| gradients(model, [None, Some(Tensor::from([1.0, 2.0, 3.0])), None, None]);
    let mut optimizer = Adam::new(0.1);
    match take_step(&mut optimizer, &mut model, some) {
        Err(Error::MissingGradient { names }) => assert_eq!(names, ["0", "3"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(values(&model), before);
    assert_eq!(optimizer.steps(), 0);

    let mut optimizer = Adam::new(0.1).allow_missing_gradients();
    take_step(&mut optimizer, &mut model, some).unwrap();
    let after = values(&model);
    assert_ne!(after[1], before[1]);
    assert!([0, 2, 3].into_iter().all(|i| after[i] == before[i]));
    // Each parameter counts its own updates. The size of Adam's first update is the
    // learning rate.
    let all = [[1.0, -1.0].into(), [0.0, 0.0, 0.0].into(), [0.0].into(), [1.0, 1.0].into()];
    take_step(&mut optimizer, &mut model, |model| gradients(model, all.map(Some))).unwrap();
    assert!((values(&model)[0][0] - (before[0][0] - 0.1)).abs() < 1e-6);
    let count = |name| optimizer.state_dict().typed::<i64>(name).unwrap().item().unwrap();
    assert_eq!([count("0.step"), count("1.step"), count("2.step"), count("steps")], [1, 2, 0, 2]);
}

#[test]
fn groups_change_what_their_parameters_are_given() {
    let mut model: Vec<Param> = (0..3).map(|_| Param::new(Tensor::from([1.0]))).collect();
    let mut sgd = SGD::new(0.5)
        .group(|name| name != "0", |group| group.learning_rate_factor(0.5))
        .group(|name| name == "2", |group| group.weight_decay(0.0))
        .weight_decay(0.5);
    let ones = [1.0, 1.0, 1.0].map(|one| Some(Tensor::from([one])));
    take_step(&mut sgd, &mut model, |model| gradients(model, ones)).unwrap();
    assert_eq!(values(&model).concat(), [1.0 - 0.5 * 1.5, 1.0 - 0.25 * 1.5, 1.0 - 0.25]);
}

#[test]
fn a_strided_gradient_is_read_in_the_order_of_its_parameter() {
    let mut model = vec![Param::new(Tensor::<f32>::zeros([2, 3]))];
    let mut gradients = gradients(&model, [Some(Tensor::zeros([2, 3]))]);
    let transposed = Tensor::from([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]).transpose(0, 1).unwrap();
    *gradients.values_mut().next().unwrap() = transposed;
    SGD::new(1.0).step(&mut model, &gradients).unwrap();
    assert_eq!(model[0].value().to_vec(), [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]);
}

#[test]
fn a_gradient_of_another_shape_is_named() {
    let mut model = model::<f32>(&[&[2], &[2, 3]], 5);
    let mut gradients = random_gradients(&model, 0);
    *gradients.values_mut().nth(1).unwrap() = Tensor::zeros([3, 2]);
    let error = Adam::new(0.1).step(&mut model, &gradients).unwrap_err().to_string();
    assert_eq!(error, "Adam: 1: its gradient has shape [3, 2], expected [2, 3]");
}

#[test]
fn a_gradient_that_is_not_finite_has_no_norm() {
    let mut model = model::<f32>(&[&[2], &[2]], 6);
    let before = values(&model);
    let bad = [Some(Tensor::from([1.0, 2.0])), Some(Tensor::from([0.0, f32::NAN]))];
    let bad = gradients(&model, bad);
    let mut optimizer = Adam::new(0.1).clip_norm(1.0);
    let error = optimizer.step(&mut model, &bad).unwrap_err().to_string();
    assert!(error.contains("step 0: the gradient of `1` is not finite"), "{error}");
    assert_eq!(values(&model), before);
}

#[test]
fn a_step_applies_the_updates_of_buffers() {
    let weight = Param::new(Tensor::scalar(1.0));
    let running = Buffer::new(Tensor::scalar(0.0));
    let tape = Tape::training(0, 0);
    let x = tape.input(Tensor::scalar(3.0_f32));
    tape.update_towards(&running, Tensor::scalar(8.0), 0.25);
    let gradients = (weight.on(&x) * &x).backward().unwrap();
    let mut model: Vec<Box<dyn Parameters>> = vec![Box::new(weight), Box::new(running)];
    SGD::new(0.125).step(&mut model, &gradients).unwrap();
    let value = |name| model.state_dict().typed::<f32>(name).unwrap().item().unwrap();
    assert_eq!([value("0"), value("1")], [1.0 - 0.125 * 3.0, 2.0]);
}

#[test]
fn the_learning_rate_follows_steps_or_epochs() {
    let mut model = vec![Param::new(Tensor::from([0.0_f64]))];
    let one = |model: &[Param<f64>]| gradients(model, [Some(Tensor::from([-1.0]))]);
    let mut by_step = SGD::new(1.0).schedule(ExponentialLR::new(0.5));
    let mut at = vec![];
    for _ in 0..3 {
        take_step(&mut by_step, &mut model, one).unwrap();
        by_step.end_epoch();
        at.push(model[0].value().to_vec()[0]);
    }
    assert_eq!(at, [1.0, 1.5, 1.75]);
    assert_eq!((by_step.learning_rate(), by_step.base_learning_rate()), (0.125, 1.0));
    by_step.set_learning_rate(8.0);
    assert_eq!(by_step.learning_rate(), 1.0);

    let mut by_epoch = SGD::<f64>::new(1.0).epoch_schedule(StepLR::new(2).gamma(0.5));
    let mut rates = vec![];
    for _ in 0..5 {
        rates.push(by_epoch.learning_rate());
        by_epoch.end_epoch();
    }
    assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25]);
}

#[test]
fn invalid_settings_are_named_and_change_nothing() {
    let check = |mut optimizer: Box<dyn Optimizer>, expected: &str| {
        let mut model = model::<f32>(&[&[2]], 7);
        let before = values(&model);
        let gradients = random_gradients(&model, 0);
        let error = optimizer.check().unwrap_err().to_string();
        assert_eq!(error, expected);
        assert_eq!(optimizer.step(&mut model, &gradients).unwrap_err().to_string(), expected);
        assert_eq!(values(&model), before);
    };
    let rate = "the learning rate must be a finite number and not negative, got";
    check(Box::new(SGD::new(-0.1)), &format!("SGD: {rate} -0.1"));
    check(Box::new(AdamW::new(f64::NAN)), &format!("AdamW: {rate} NaN"));
    check(
        Box::new(Adam::new(0.1).betas(0.9, 1.0)),
        "Adam: the second of the betas must be at least 0 and less than 1, got 1",
    );
    check(
        Box::new(Adam::new(0.1).eps(f64::INFINITY)),
        "Adam: eps must be a finite number and not negative, got inf",
    );
    check(
        Box::new(SGD::new(0.1).nesterov(true)),
        "SGD: nesterov needs a momentum above 0 and a dampening of 0, got 0 and 0",
    );
    check(
        Box::new(Adagrad::new(0.1).initial_accumulator_value(-1.0)),
        "Adagrad: initial_accumulator_value must be a finite number and not negative, got -1",
    );
    check(
        Box::new(Rprop::new(0.1).etas(1.1, 1.2)),
        "Rprop: etas must be below and above 1, got 1.1 and 1.2",
    );
    check(
        Box::new(SGD::new(0.1).reduce_on_plateau(ReduceLROnPlateau::new().factor(2.0))),
        "ReduceLROnPlateau: factor must be at least 0 and below 1, got 2",
    );
    check(
        Box::new(RMSprop::new(0.1).alpha(-0.5)),
        "RMSprop: alpha must be at least 0 and less than 1, got -0.5",
    );
    check(
        Box::new(SGD::new(0.1).group(|_| false, |group| group.weight_decay(-1.0))),
        "SGD: weight_decay must be a finite number and not negative, got -1",
    );
    check(
        Box::new(SGD::new(0.1).clip_norm(-1.0)),
        "SGD: clip_norm must be a finite number and not negative, got -1",
    );
    check(
        Box::new(SGD::new(0.1).schedule(LinearLR::new(3).then(3, StepLR::new(0)))),
        "StepLR: step_size must be at least 1, got 0",
    );
}

#[test]
fn a_learning_rate_that_becomes_invalid_stops_the_step() {
    let mut model = model::<f32>(&[&[2]], 8);
    let schedule = |base: f64, step: u64| if step < 2 { base } else { f64::NAN };
    let mut optimizer = Adam::new(0.1).schedule(schedule);
    let gradients = random_gradients(&model, 0);
    optimizer.step(&mut model, &gradients).unwrap();
    optimizer.set_learning_rate(-1.0);
    assert!(optimizer.step(&mut model, &gradients).is_err());
    optimizer.set_learning_rate(0.1);
    optimizer.step(&mut model, &gradients).unwrap();
    let error = optimizer.step(&mut model, &gradients);
    assert!(error.unwrap_err().to_string().contains("the learning rate"));
    assert_eq!(optimizer.steps(), 2);
}

#[test]
fn a_split_changes_nothing_unless_both_can_step() {
    let mut model = model::<f32>(&[&[2, 3], &[3]], 9);
    let before = values(&model);
    let make = || Split::new(|_, shape| shape.len() == 2, Muon::new(0.1), Adam::new(0.1));
    let mut optimizer = make();
    let first = |model: &[Param]| gradients(model, [Some(Tensor::ones([2, 3])), None]);
    match take_step(&mut optimizer, &mut model, first) {
        Err(Error::MissingGradient { names }) => assert_eq!(names, ["1"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(values(&model), before);
    take_step(&mut optimizer, &mut model, |model| random_gradients(model, 0)).unwrap();
    let after = values(&model);
    assert!(after[0] != before[0] && after[1] != before[1]);

    let mut state = Optimizer::<f32>::state_dict(&optimizer);
    assert!(state.get("first.0.momentum_buffer").is_some());
    assert!(state.get("second.1.exp_avg").is_some());
    state.insert("third.steps", Tensor::scalar(1_i64));
    let error = Optimizer::<f32>::load_state_dict(&mut make(), &state).unwrap_err().to_string();
    assert!(error.contains("unexpected: third.steps"), "{error}");
}

#[test]
fn muon_names_what_is_no_matrix() {
    let mut model = model::<f32>(&[&[2, 3], &[3]], 10);
    let gradients = random_gradients(&model, 0);
    let error = Muon::new(0.1).step(&mut model, &gradients).unwrap_err().to_string();
    assert!(error.contains("1: Muon: expected a matrix, got a parameter of shape [3]"), "{error}");
    model[1].set_trainable(false);
    Muon::new(0.1).step(&mut model, &gradients).unwrap();
}

#[test]
fn two_optimizers_do_one_step_together() {
    let more = || -> Vec<(&'static str, Box<dyn Optimizer>)> {
        let split = Split::new(|_, shape| shape.len() == 2, Muon::new(0.02), AdamW::new(0.01));
        vec![("clipped", Box::new(Adam::new(0.1).clip_norm(0.1))), ("split", Box::new(split))]
    };
    let rules = || every_rule().into_iter().chain(more());
    for ((name, mut whole_optimizer), halves) in rules().zip(rules().zip(rules())) {
        let shapes: [&[usize]; 4] = [&[3, 4], &[5], &[4, 2], &[2]];
        let mut whole = model::<f32>(&shapes, 1);
        let mut models = [model::<f32>(&shapes, 1), model::<f32>(&shapes, 1)];
        let mut optimizers = [halves.0.1, halves.1.1];
        for step in 0..3 {
            let all = random_gradients(&whole, step);
            whole_optimizer.step(&mut whole, &all).unwrap();
            for (half, (model, optimizer)) in models.iter_mut().zip(&mut optimizers).enumerate() {
                let all = random_gradients(model, step);
                let own: Vec<_> = model.iter().skip(half).step_by(2).map(Param::id).collect();
                optimizer.step_part(model, &all, &|id| own.contains(&id)).unwrap();
            }
            for index in 0..shapes.len() {
                let updated = models[index % 2][index].value().clone();
                models[1 - index % 2][index].set(updated).unwrap();
            }
        }
        for (half, (model, optimizer)) in models.iter().zip(&optimizers).enumerate() {
            assert_eq!(values(model), values(&whole), "{name}");
            // Each has the state of its parameters, and none of the others.
            for (key, tensor) in whole_optimizer.state_dict().iter() {
                let index = key.split('.').find_map(|part| part.parse::<usize>().ok());
                let state = optimizer.state_dict();
                match index {
                    Some(index) if index % 2 != half && !key.ends_with("step") => {
                        assert!(state.get(key).is_none(), "{name}: {key}");
                    }
                    Some(index) if index % 2 != half => {}
                    _ => assert_eq!(state.get(key), Some(tensor), "{name}: {key}"),
                }
            }
        }
    }
}
