//! The state of optimizers: saving, loading, and assignment to parameters.

use crate::given::{Model, gradients, model, random_gradients, take_step, values};
use dendra_autograd::{Param, Parameters, StateDict};
use dendra_optim::{
    ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, CosineAnnealingLR,
    CosineAnnealingWarmRestarts, Lamb, LinearLR, Lion, Muon, NAdam, NoamLR, OneCycleLR, Optimizer,
    PolynomialLR, RAdam, RMSprop, ReduceLROnPlateau, Rprop, SGD, Schedule, Split, StepLR,
};
use dendra_tensor::{Shape, Tensor};

const SHAPES: [&[usize]; 3] = [&[4, 3], &[4], &[1, 4]];

fn train(optimizer: &mut dyn Optimizer, model: &mut Model, steps: std::ops::Range<u64>) {
    for step in steps {
        let gradients = random_gradients(model, step);
        optimizer.step(model, &gradients).unwrap();
        if step % 3 == 2 {
            optimizer.end_epoch();
            optimizer.observe(1.0);
        }
    }
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_bit_for_bit() {
    let makers: [fn() -> Box<dyn Optimizer>; 16] = [
        || Box::new(SGD::new(0.1).epoch_schedule(StepLR::new(2).gamma(0.5))),
        || Box::new(SGD::new(0.1).momentum(0.9).dampening(0.5).clip_norm(1.0)),
        || Box::new(Adam::new(0.1).amsgrad(true).schedule(CosineAnnealingLR::new(20))),
        || {
            let schedule = LinearLR::new(7).then(7, CosineAnnealingLR::new(9));
            let optimizer = AdamW::new(0.1).schedule(schedule);
            Box::new(optimizer.group(|name| name == "1", |group| group.learning_rate_factor(0.5)))
        },
        || Box::new(Adagrad::new(0.1).lr_decay(0.1).initial_accumulator_value(0.1)),
        || Box::new(RMSprop::new(0.01).centered(true).momentum(0.9)),
        || Box::new(Adamax::new(0.1).schedule(CosineAnnealingWarmRestarts::new(3).t_mult(2))),
        || Box::new(NAdam::new(0.1).schedule(OneCycleLR::new(20))),
        || Box::new(RAdam::new(0.1).decoupled_weight_decay(true).weight_decay(0.1)),
        || Box::new(Adadelta::new(1.0).epoch_schedule(PolynomialLR::new(9))),
        || Box::new(Adafactor::new(0.1).weight_decay(0.1).clip_value(0.5)),
        || Box::new(ASGD::new(0.1).t0(4.0)),
        || Box::new(Rprop::new(0.1)),
        || Box::new(Lion::new(0.1).schedule(NoamLR::new(4, 5))),
        || Box::new(Lamb::new(0.1).weight_decay(0.1).clip_value(0.5)),
        || {
            let plateau = ReduceLROnPlateau::new().patience(1).cooldown(1);
            let muon = Muon::new(0.1).reduce_on_plateau(plateau);
            let matrices = |_: &str, shape: &Shape| shape.len() == 2;
            Box::new(Split::new(matrices, muon, AdamW::new(0.1)))
        },
    ];
    for make in makers {
        let (mut whole_model, mut whole) = (model(&SHAPES, 1), make());
        train(&mut whole, &mut whole_model, 0..10);
        whole.set_learning_rate(0.07);
        train(&mut whole, &mut whole_model, 10..17);

        let (mut first_model, mut first) = (model(&SHAPES, 1), make());
        train(&mut first, &mut first_model, 0..10);
        first.set_learning_rate(0.07);
        let (model_state, state) = (first_model.state_dict(), first.state_dict());
        // The state is a copy, so later steps do not change it.
        train(&mut first, &mut first_model, 10..12);

        let (mut model, mut resumed) = (model::<f32>(&SHAPES, 2), make());
        model.load_state_dict(&model_state).unwrap();
        resumed.load_state_dict(&state).unwrap();
        assert_eq!(resumed.steps(), 10);
        assert_eq!(resumed.state_dict(), state, "it goes out as it came in");
        train(&mut resumed, &mut model, 10..17);
        assert_eq!(values(&model), values(&whole_model));
        assert_eq!(resumed.state_dict(), whole.state_dict());
        assert_eq!(resumed.learning_rate(), whole.learning_rate());
    }
}

#[test]
fn a_state_from_before_the_first_step_loads() {
    let fresh: Adam = Adam::new(0.1);
    let mut resumed = Adam::new(0.2);
    resumed.load_state_dict(&fresh.state_dict()).unwrap();
    assert_eq!(resumed.base_learning_rate(), 0.1);
    train(&mut resumed, &mut model(&SHAPES, 1), 0..1);
}

#[test]
fn state_is_named_by_its_parameter() {
    let mut model = model(&[&[2], &[3]], 1);
    let mut optimizer = Adam::new(0.1);
    train(&mut optimizer, &mut model, 0..1);
    let state = optimizer.state_dict();
    let mut names = state.iter().map(|(name, _)| name).collect::<Vec<_>>();
    let own = names.split_off(6);
    assert_eq!(own, ["epochs", "learning_rate", "steps"]);
    assert_eq!(
        names,
        ["0.exp_avg", "0.exp_avg_sq", "0.step", "1.exp_avg", "1.exp_avg_sq", "1.step"]
    );
    assert_eq!(*state.get("1.exp_avg").unwrap().shape(), [3]);
}

#[test]
fn a_model_that_is_one_bare_parameter_has_state_too() {
    let again = |optimizer: &mut dyn Optimizer, param: &mut Param| {
        let gradients = random_gradients(std::slice::from_ref(param), 0);
        optimizer.step(param, &gradients).unwrap();
    };
    let mut param = Param::new(Tensor::from([1.0, 2.0]));
    let mut optimizer = SGD::new(0.1).momentum(0.9);
    again(&mut optimizer, &mut param);
    let state = optimizer.state_dict();
    assert!(state.get("momentum_buffer").is_some());

    let mut copy = param.clone();
    let mut resumed = SGD::new(0.1).momentum(0.9);
    resumed.load_state_dict(&state).unwrap();
    again(&mut optimizer, &mut param);
    again(&mut resumed, &mut copy);
    assert_eq!(param.value(), copy.value());
}

#[test]
fn the_state_of_another_optimizer_is_refused_with_every_difference() {
    let mut list = model(&[&[2]], 1);
    let mut sgd = SGD::new(0.1).momentum(0.9);
    train(&mut sgd, &mut list, 0..1);
    let mut state = sgd.state_dict();
    state.insert("steps", Tensor::scalar(-1_i64));
    state.insert("learning_rate", Tensor::scalar(0.1_f32));
    let mut adam = Adam::new(0.1);
    train(&mut adam, &mut model(&[&[2]], 1), 0..2);
    let before = adam.state_dict();
    assert_eq!(
        adam.load_state_dict(&state).unwrap_err().to_string(),
        "state dict does not match: Adam: missing: 0.exp_avg, 0.exp_avg_sq; unexpected: \
         0.momentum_buffer; mismatched: steps (expected a count, found -1), learning_rate \
         (expected f64 [], found f32 [])"
    );
    assert_eq!(adam.state_dict(), before, "it stays as it was");

    let mut double = SGD::<f64>::new(0.1).momentum(0.9);
    let error = double.load_state_dict(&sgd.state_dict()).unwrap_err().to_string();
    assert!(error.contains("0.momentum_buffer (expected f64 [2], found f32 [2])"), "{error}");
    assert!(adam.load_state_dict(&StateDict::new()).is_err());
}

#[test]
fn the_state_of_another_model_is_refused_with_every_difference() {
    let mut old = model(&[&[2], &[3], &[4]], 1);
    let mut sgd = SGD::new(0.1).momentum(0.9);
    train(&mut sgd, &mut old, 0..1);
    let load = |other: &mut Model| {
        let mut resumed = SGD::new(0.1).momentum(0.9);
        resumed.load_state_dict(&sgd.state_dict()).unwrap();
        let gradients = random_gradients(other, 1);
        let before = values(other);
        let error = resumed.step(other, &gradients).unwrap_err().to_string();
        assert_eq!(values(other), before);
        error
    };
    assert_eq!(
        load(&mut model(&[&[2], &[5]], 1)),
        "state dict does not match: SGD: unexpected: 2.step, 2.momentum_buffer; mismatched: \
         1.momentum_buffer (expected f32 [5], found f32 [3])"
    );
    assert_eq!(
        load(&mut model(&[&[2], &[3], &[4], &[1]], 1)),
        "state dict does not match: SGD: missing: 3.step"
    );
}

#[test]
fn state_of_another_shape_than_its_parameter_is_kept_and_compared() {
    let shapes: [&[usize]; 4] = [&[2, 3, 4], &[3], &[], &[0, 2]];
    let mut old = model(&shapes, 1);
    let mut adafactor = Adafactor::new(0.1);
    train(&mut adafactor, &mut old, 0..2);
    let state = adafactor.state_dict();
    let shape = |name: &str| state.get(name).unwrap().shape().to_vec();
    assert_eq!(shape("0.row_var"), [2, 3, 1]);
    assert_eq!(shape("0.col_var"), [2, 1, 4]);
    assert_eq!(shape("1.variance"), [3]);
    assert!(shape("2.variance").is_empty());
    let mut resumed: Adafactor = Adafactor::new(0.1);
    resumed.load_state_dict(&state).unwrap();
    let mut other = model(&[&[2, 4, 3], &[3], &[], &[0, 2]], 1);
    let gradients = random_gradients(&other, 1);
    let error = resumed.step(&mut other, &gradients).unwrap_err().to_string();
    assert_eq!(
        error,
        "state dict does not match: Adafactor: mismatched: 0.row_var (expected f32 [2, 4, 1], \
         found f32 [2, 3, 1]), 0.col_var (expected f32 [2, 1, 3], found f32 [2, 1, 4])"
    );
}

#[test]
fn another_model_is_refused_and_a_copy_can_be_gone_on_with() {
    let mut original = model(&SHAPES, 1);
    let mut optimizer = Adam::new(0.1);
    train(&mut optimizer, &mut original, 0..2);
    let mut copy = original.clone();
    let error = take_step(&mut optimizer, &mut copy, |model| random_gradients(model, 2))
        .unwrap_err()
        .to_string();
    assert!(error.contains("parameters that are not in this model: 0, 1, 2"), "{error}");

    let mut carried = Adam::new(0.1);
    carried.load_state_dict(&optimizer.state_dict()).unwrap();
    train(&mut carried, &mut copy, 2..4);
    train(&mut optimizer, &mut original, 2..4);
    assert_eq!(values(&copy), values(&original));
}

#[test]
fn parameters_keep_their_state_when_the_model_grows_and_changes_order() {
    let mut plain = model(&SHAPES, 1);
    let mut changed = plain.clone();
    let (mut optimizer, mut other) = (Adam::new(0.1), Adam::new(0.1));
    train(&mut optimizer, &mut plain, 0..2);
    for step in 0..2 {
        let gradients = gradients(
            &changed,
            random_gradients(&plain, step).values_mut().map(|gradient| Some(gradient.clone())),
        );
        other.step(&mut changed, &gradients).unwrap();
    }
    assert_eq!(values(&plain), values(&changed));
    changed.swap(0, 2);
    changed.insert(1, Param::new(Tensor::from([5.0])));
    let ones = |model: &[Param]| -> Vec<_> {
        model.iter().map(|param| Some(Tensor::ones(param.value().shape()))).collect()
    };
    take_step(&mut optimizer, &mut plain, |model| gradients(model, ones(model))).unwrap();
    take_step(&mut other, &mut changed, |model| gradients(model, ones(model))).unwrap();
    for (i, j) in [(0, 3), (1, 2), (2, 0)] {
        assert_eq!(plain[i].value(), changed[j].value());
    }
    // The size of Adam's first step is the learning rate.
    assert!((changed[1].value().to_vec()[0] - 4.9).abs() < 1e-6);
    let count = |name| other.state_dict().typed::<i64>(name).unwrap().item().unwrap();
    assert_eq!([count("0.step"), count("1.step")], [3, 1]);
}

#[test]
fn a_parameter_that_changes_its_shape_is_named() {
    let mut model = model(&[&[2], &[3]], 1);
    let mut optimizer = Adam::new(0.1);
    train(&mut optimizer, &mut model, 0..1);
    *model[1].value_mut() = Tensor::zeros([4]);
    let error = take_step(&mut optimizer, &mut model, |model| random_gradients(model, 1))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "Adam: 1: its shape changed from [3] to [4] between steps");
}

#[test]
fn a_kind_of_state_cannot_be_changed_midway() {
    let mut model = model(&[&[2]], 1);
    let mut optimizer = SGD::new(0.1);
    train(&mut optimizer, &mut model, 0..1);
    let mut optimizer = optimizer.momentum(0.9);
    let error = take_step(&mut optimizer, &mut model, |model| random_gradients(model, 1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("after the first step"), "{error}");
    // Settings that do not change the state tensors can be changed.
    let mut optimizer = optimizer.momentum(0.0).weight_decay(0.1);
    train(&mut optimizer, &mut model, 1..2);
}

#[test]
fn a_frozen_parameter_stays_and_goes_on_when_thawed() {
    let mut model = model(&[&[2], &[2]], 1);
    let mut optimizer = Adam::new(0.1).weight_decay(0.1);
    train(&mut optimizer, &mut model, 0..2);
    model[0].set_trainable(false);
    let before = values(&model);
    train(&mut optimizer, &mut model, 2..5);
    let after = values(&model);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    model[0].set_trainable(true);
    train(&mut optimizer, &mut model, 5..6);
    assert_ne!(values(&model)[0], before[0]);
    let count = |name| optimizer.state_dict().typed::<i64>(name).unwrap().item().unwrap();
    assert_eq!([count("0.step"), count("1.step")], [3, 6]);
}
