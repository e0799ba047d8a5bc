//! Losses with class labels or probabilities: properties that both kinds of targets
//! have in common, and invalid arguments.

use dendra_autograd::Var;
use dendra_losses::{CrossEntropy, Loss, NLLLoss, Reduction, cross_entropy, nll_loss};
use dendra_tensor::{Result, Rng, Tensor};

fn logits(shape: &[usize]) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 3.0, &mut Rng::seed(1))
}

fn message<X>(result: Result<X>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn certain_probabilities_are_labels() {
    let labels = Tensor::from([[2, 0], [1, 1_i64]]);
    let certain = Tensor::from_fn([2, 3, 2], |i| {
        let (sample, class, place) = (i / 6, i / 2 % 3, i % 2);
        f64::from(labels.to_vec()[sample * 2 + place] == class as i64)
    });
    let logits = logits(&[2, 3, 2]);
    for loss in [CrossEntropy::new(), CrossEntropy::new().label_smoothing(0.3)] {
        let by_labels = loss.compute(&logits, &labels).unwrap().item().unwrap();
        let by_probabilities = loss.compute(&logits, &certain).unwrap().item().unwrap();
        assert!((by_labels - by_probabilities).abs() < 1e-12);
    }
}

#[test]
fn one_sample_needs_no_axis_of_samples() {
    let logits = logits(&[4]);
    let batch = logits.unsqueeze(0).unwrap();
    let (label, labels) = (Tensor::scalar(2_i64), Tensor::from([2_i64]));
    let one = |reduction| {
        let loss = CrossEntropy::new().reduction(reduction).label_smoothing(0.1);
        let (alone, batch) = (loss.compute(&logits, &label), loss.compute(&batch, &labels));
        let alone = alone.unwrap();
        assert_eq!(alone.rank(), 0);
        assert_eq!(alone.item().unwrap(), batch.unwrap().item().unwrap());
    };
    [Reduction::Mean, Reduction::Sum, Reduction::None].into_iter().for_each(one);
    let alone = nll_loss(&logits, &label).unwrap().item().unwrap();
    assert_eq!(alone, -logits.to_vec()[2]);
}

#[test]
fn an_ignored_sample_counts_for_nothing_whatever_it_holds() {
    let values = Tensor::from([[f64::NEG_INFINITY, 0.0], [-2.0, -1.0]]);
    let nll = NLLLoss::new().ignore_index(7);
    assert_eq!(nll.compute(&values, &Tensor::from([7, 0])).unwrap().item().unwrap(), 2.0);
    let apart = nll.reduction(Reduction::None);
    let losses = apart.compute(&values, &Tensor::from([7, 1])).unwrap();
    assert_eq!(losses.to_vec(), [0.0, 1.0]);
    let nothing = nll_loss(&values, &Tensor::from([-100, -100])).unwrap();
    assert!(nothing.item().unwrap().is_nan());
}

#[test]
fn one_loss_serves_both_kinds_of_target() {
    fn value<Y>(loss: &impl Loss<Y>, target: &Y) -> f32 {
        let output = Var::new(Tensor::zeros([2, 4]));
        loss.forward(&output, target).unwrap().value().item().unwrap()
    }
    let loss = CrossEntropy::new();
    let expected = 4_f32.ln();
    assert!((value(&loss, &Tensor::from([0, 3_i64])) - expected).abs() < 1e-6);
    assert!((value(&loss, &Tensor::<f32>::full([2, 4], 0.25)) - expected).abs() < 1e-6);
}

#[test]
fn labels_that_do_not_fit_are_named() {
    let logits = logits(&[2, 3]);
    let wrong_shape = Tensor::from([[0], [1_i64]]);
    assert_eq!(
        message(cross_entropy(&logits, &wrong_shape)),
        "cross_entropy: logits of [2, 3] need labels of shape [2], got [2, 1]"
    );
    assert_eq!(
        message(nll_loss(&logits, &wrong_shape)),
        "nll_loss: an output of shape [2, 3] needs labels of shape [2], got [2, 1]"
    );
    for bad in [3_i64, -1, i64::MIN] {
        let labels = Tensor::from([0, bad]);
        let expected = format!("expected labels in 0..3, got {bad} at [1]");
        assert!(message(cross_entropy(&logits, &labels)).ends_with(&expected));
        assert!(message(nll_loss(&logits, &labels)).ends_with(&expected));
    }
    assert_eq!(
        message(cross_entropy(&logits, &Tensor::<f64>::zeros([2, 1]))),
        "cross_entropy: a target of floats contains a probability for each class, so its shape \
         must be that of the output, [2, 3], got [2, 1]; class labels are integers, `Tensor<i64>`"
    );
    let scalar = message(nll_loss(&Tensor::scalar(1.0), &Tensor::scalar(0_i64)));
    assert!(scalar.contains("got a scalar"), "{scalar}");
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let (logits, labels) = (logits(&[2, 3]), Tensor::from([0, 1_i64]));
    let uniform = Tensor::<f64>::ones([2, 3]);
    let ignoring = CrossEntropy::new().ignore_index(1);
    assert!(message(ignoring.compute(&logits, &uniform)).contains("ignore_index requires labels"));
    let weighted = |weights: &[f64]| CrossEntropy::new().class_weights(weights);
    assert_eq!(
        message(weighted(&[1.0, 2.0]).compute(&logits, &labels)),
        "cross_entropy: expected 3 class weights, one for each class, got 2"
    );
    assert!(message(weighted(&[1.0; 4]).compute(&logits, &uniform)).ends_with("got 4"));
    let nll = NLLLoss::new().class_weights([1.0, -1.0, f64::NAN]);
    assert_eq!(
        message(nll.compute(&logits, &labels)),
        "nll_loss: class weights must be finite and not negative, got -1"
    );
    for share in [-0.1, 1.1, f64::NAN] {
        let smoothed = CrossEntropy::new().label_smoothing(share);
        assert!(message(smoothed.compute(&logits, &labels)).contains("label_smoothing"));
        assert!(message(smoothed.compute(&logits, &uniform)).contains("label_smoothing"));
    }
}

#[test]
fn the_classes_may_lie_in_any_axis() {
    let last = logits(&[2, 3, 4]);
    let labels = Tensor::from([[2, 0, -100], [1, 3, 1_i64]]);
    let second = last.movedim(-1, 1).unwrap();
    let weights = [1.0, 2.0, 3.0, 4.0];
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        let loss = CrossEntropy::new().class_weights(weights).reduction(reduction);
        let expected = loss.compute(&second, &labels).unwrap();
        let found = loss.clone().class_axis(-1).compute(&last, &labels).unwrap();
        assert_eq!(found.shape(), expected.shape());
        for (found, expected) in found.to_vec().into_iter().zip(expected.to_vec()) {
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        }
        let nll = NLLLoss::new().reduction(reduction);
        let expected = nll.compute(&second, &labels).unwrap();
        assert_eq!(nll.class_axis(2).compute(&last, &labels).unwrap(), expected);
    }
    let wrong = CrossEntropy::new().class_axis(-1);
    let error = message(wrong.compute(&last, &Tensor::<i64>::zeros([2, 4])));
    assert_eq!(
        error,
        "cross_entropy: an output of shape [2, 3, 4] needs labels of shape [2, 3], got [2, 4]"
    );
    assert!(message(wrong.class_axis(3).compute(&last, &labels)).contains("cross_entropy"));
}
