//! Recurrent layers: steps, networks, dropout, projections and errors.

use approx::assert_abs_diff_eq;
use dendra_autograd::{Param, Tape};
use dendra_tensor::Rng;

use super::*;
use crate::layers::LSTMCell;
use crate::sequential::Sequential;

#[test]
fn steps_one_at_a_time_are_the_whole_sequence() {
    let mut rng = Rng::seed(0);
    let lstm = LSTM::new(3, 4).init_as::<f64>(&mut rng).unwrap();
    let mut cell = LSTMCell::new(3, 4).init_as::<f64>(&mut rng).unwrap();
    for ((_, from), to) in lstm.named_parameters().iter().zip(parameters(&mut cell)) {
        to.set(from.value().clone()).unwrap();
    }
    let x = Tensor::normal([5, 2, 3], 0.0, 1.0, &mut rng);
    let (outputs, last) = lstm.run(&Var::new(x.clone()), None, None).unwrap();
    let mut state = None;
    for step in 0..5 {
        let x = Var::new(x.narrow(0, step, 1).unwrap().squeeze(0).unwrap());
        let next = cell.step(&x, state.as_ref()).unwrap();
        let output = outputs.value().select(0, step as isize).unwrap();
        assert_abs_diff_eq!(output, *next.h.value(), epsilon = 1e-12);
        state = Some(next);
    }
    let cells = last.c.unwrap().value().select(0, 0).unwrap();
    assert_abs_diff_eq!(cells, *state.unwrap().c.unwrap().value(), epsilon = 1e-12);
}

fn parameters(cell: &mut LSTMCell<f64>) -> Vec<&mut Param<f64>> {
    let mut all = Vec::new();
    cell.visit_mut(&mut Path::default(), &mut |_, entry| {
        if let EntryMut::Param(param) = entry {
            all.push(param);
        }
    });
    all
}

#[test]
fn a_network_may_hold_recurrent_layers() {
    let bidirectional = GRU::lazy(4).batch_first(true).bidirectional(true);
    let builder = Sequential::input([7, 3]).lstm(5).layer(bidirectional).dense(2);
    let model = builder.build(&mut Rng::seed(0)).unwrap();
    let y = model.forward(&Var::new(Tensor::zeros([6, 7, 3]))).unwrap();
    assert_eq!(*y.shape(), [6, 7, 2]);
    let wrong = Sequential::input([7, 3]).layer(LSTM::lazy(5)).build(&mut Rng::seed(0));
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "layer 0 (LSTM): expected batch_first(true), because Sequential has the batch axis first"
    );
}

#[test]
fn dropout_is_between_layers_and_in_training_alone() {
    let mut rng = Rng::seed(0);
    let gru = GRU::new(3, 4).num_layers(2).dropout(0.5).init(&mut rng).unwrap();
    let x = Tensor::normal([5, 2, 3], 0.0, 1.0, &mut rng);
    let run = |x: Var| gru.forward(&x).unwrap().into_value();
    let plain = run(Var::new(x.clone()));
    assert_eq!(run(Tape::evaluation().input(x.clone())), plain);
    let training = |step| run(Tape::training(1, step).input(x.clone()));
    assert_ne!(training(0), plain);
    assert_ne!(training(0), training(1));
    assert_eq!(training(1), training(1));
}

#[test]
fn the_batch_axis_may_be_missing() {
    let mut rng = Rng::seed(5);
    for batch_first in [false, true] {
        let settings = LSTM::new(3, 4).num_layers(2).bidirectional(true).batch_first(batch_first);
        let lstm: LSTM<f64> = settings.init_as(&mut rng).unwrap();
        let mut of = |shape: &[usize]| Var::new(Tensor::normal(shape, 0.0, 1.0, &mut rng));
        let (x, h, c) = (of(&[5, 3]), of(&[4, 4]), of(&[4, 4]));
        let axis = if batch_first { 0 } else { 1 };
        let batch = |x: &Var<f64>, axis| x.unsqueeze(axis).unwrap();
        let states = RecurrentState { h: batch(&h, 1), c: Some(batch(&c, 1)) };
        let state = RecurrentState { h, c: Some(c) };
        let (y, last) = lstm.run(&x, Some(&state), None).unwrap();
        let (ys, lasts) = lstm.run(&batch(&x, axis), Some(&states), None).unwrap();
        assert_eq!(*y.shape(), [5, 8]);
        assert_eq!(y.value(), ys.squeeze(axis).unwrap().value());
        assert_eq!(last.h.value(), lasts.h.squeeze(1).unwrap().value());
        assert_eq!(last.c.unwrap().value(), lasts.c.unwrap().squeeze(1).unwrap().value());
    }
    let cell = crate::layers::GRUCell::new(3, 4).init(&mut rng).unwrap();
    let (x, h) = (Var::new(Tensor::ones([3])), Var::new(Tensor::ones([4])));
    let one = cell.step(&x, Some(&RecurrentState { h: h.clone(), c: None })).unwrap();
    let states = RecurrentState { h: h.unsqueeze(0).unwrap(), c: None };
    let all = cell.step(&x.unsqueeze(0).unwrap(), Some(&states)).unwrap();
    assert_eq!(one.h.value(), all.h.squeeze(0).unwrap().value());
}

#[test]
fn what_does_not_fit_is_named() {
    let mut rng = Rng::seed(0);
    let mut lstm = LSTM::new(3, 4).num_layers(2).init(&mut rng).unwrap();
    let message = |lstm: &LSTM, shape: &[usize], state: Option<&RecurrentState>| {
        let x = Var::new(Tensor::zeros(shape));
        lstm.run(&x, state, None).unwrap_err().to_string()
    };
    assert_eq!(
        message(&lstm, &[3], None),
        "LSTM 3 → 4, 2 layers: expected a sequence [L, N, input_size], got [3]"
    );
    lstm.name_parameters();
    let zeros = |shape: [usize; 3]| Var::new(Tensor::zeros(shape));
    let state = RecurrentState { h: zeros([1, 2, 4]), c: Some(zeros([2, 2, 4])) };
    assert!(
        message(&lstm, &[5, 2, 3], Some(&state))
            .ends_with("expected a state h of shape [2, 2, 4], got [1, 2, 4]")
    );
    let state = RecurrentState { h: zeros([2, 2, 4]), c: None };
    assert!(message(&lstm, &[5, 2, 3], Some(&state)).ends_with("lacks the cell state c"));
    assert!(message(&lstm, &[5, 2, 2], None).contains("weight_ih of shape [16, 2]"));
    assert!(LSTM::new(3, 0).init(&mut rng).is_err());
    assert!(LSTM::new(3, 4).num_layers(0).init(&mut rng).is_err());
    assert!(LSTM::new(3, 4).dropout(2.0).init(&mut rng).is_err());

    let error = LSTM::new(3, 4).proj_size(4).init(&mut rng).unwrap_err();
    assert_eq!(error.to_string(), "LSTM: proj_size 4 must be less than hidden_size 4");
    let lstm = LSTM::new(3, 4).proj_size(2).init(&mut rng).unwrap();
    let state = RecurrentState { h: zeros([1, 2, 4]), c: Some(zeros([1, 2, 4])) };
    assert!(message(&lstm, &[5, 2, 3], Some(&state)).ends_with("[1, 2, 2], got [1, 2, 4]"));
    let state = RecurrentState { h: zeros([1, 2, 2]), c: None };
    assert!(message(&lstm, &[5, 2, 3], Some(&state)).ends_with("lacks the cell state c"));
    let narrow = message(&lstm, &[5, 2, 2], None);
    assert_eq!(narrow, "LSTM 3 → 4 → 2: expected inputs of width 3, got [5, 2, 2]");
}

/// A projection by the identity matrix changes nothing.
#[test]
fn a_projection_is_a_matrix_behind_each_step() {
    let mut rng = Rng::seed(0);
    let plain = LSTM::new(3, 4).bidirectional(true).init_as::<f64>(&mut rng).unwrap();
    let mut projected = plain.clone();
    projected.projections = (0..2).map(|_| Param::new(Tensor::eye(4))).collect();
    let draw = |shape: [usize; 3], rng: &mut Rng| Var::new(Tensor::normal(shape, 0.0, 1.0, rng));
    let x = draw([5, 3, 3], &mut rng);
    let state = RecurrentState { h: draw([2, 3, 4], &mut rng), c: Some(draw([2, 3, 4], &mut rng)) };
    for (state, lengths) in
        [(None, None), (Some(&state), None), (Some(&state), Some(&[5, 0, 3][..]))]
    {
        let (y, last) = plain.run(&x, state, lengths).unwrap();
        let (projected, projected_last) = projected.run(&x, state, lengths).unwrap();
        assert_abs_diff_eq!(*y.value(), *projected.value(), epsilon = 1e-12);
        assert_abs_diff_eq!(*last.h.value(), *projected_last.h.value(), epsilon = 1e-12);
        assert_abs_diff_eq!(
            *last.c.unwrap().value(),
            *projected_last.c.unwrap().value(),
            epsilon = 1e-12
        );
    }
    let names: Vec<String> =
        projected.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[4..6], ["weight_hr_l0", "weight_ih_l0_reverse"]);
}
