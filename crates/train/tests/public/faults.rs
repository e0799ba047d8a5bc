//! Errors during training: they name the position, and the weights do not
//! change.

use std::sync::atomic::{AtomicUsize, Ordering};

use dendra_autograd::{Param, Var};
use dendra_datasets::{Batch, Dataset, ImageDataset, Subset, TensorDataset, blobs};
use dendra_losses::{CrossEntropy, MSELoss};
use dendra_nn::{Linear, Module, Parameters, Sequential};
use dendra_optim::{Optimizer, SGD};
use dendra_tensor::{Error, Ops, Result, Rng, Shape, Tensor};
use dendra_train::{Accuracy, BatchReport, Callback, Fit, Moment, NotFinite, Trainer};

type Classifier = Trainer<Sequential, SGD, CrossEntropy>;

fn network(inputs: usize) -> Sequential {
    Sequential::input([inputs]).dense(8).relu().dense(3).build(&mut Rng::seed(1)).unwrap()
}

fn trainer(inputs: usize) -> Classifier {
    Trainer::new(network(inputs), SGD::new(0.1).momentum(0.9), CrossEntropy::new())
        .metric(Accuracy::new())
}

fn data(samples: usize) -> TensorDataset<i64> {
    blobs(samples, 3, 4, 0.5, 7).unwrap()
}

fn fit(epochs: u64) -> Fit<'static> {
    Fit::epochs(epochs).batch_size(8).quiet()
}

/// The message of a refusal that must leave model and optimizer as they were.
fn refusal<D>(trainer: &mut Classifier, data: &D, fit: Fit<'_>) -> String
where
    D: Dataset<Input = Tensor, Target = Tensor<i64>>,
{
    let state = |trainer: &Classifier| (values(trainer.model()), trainer.optimizer().steps());
    let before = state(trainer);
    let message = trainer.fit(data, fit).expect_err("a refusal").to_string();
    assert_eq!(state(trainer), before);
    message
}

fn values(model: &dyn Parameters) -> Vec<(String, Vec<u32>)> {
    let state = model.state_dict();
    let bits = |name: &str| {
        state.typed::<f32>(name).unwrap().to_vec().into_iter().map(f32::to_bits).collect()
    };
    state.iter().map(|(name, _)| (name.to_owned(), bits(name))).collect()
}

#[track_caller]
fn assert_tells(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
}

#[test]
fn an_empty_data_set_is_refused() {
    let all = data(10);
    let empty = all.subset(vec![]).unwrap();
    let message = refusal(&mut trainer(4), &empty, fit(1));
    assert_tells(&message, &["the training data has no samples"]);
    let message = refusal(&mut trainer(4), &all, fit(1).validate_on(&empty));
    assert_tells(&message, &["the validation data has no samples"]);
    let message = trainer(4).evaluate(&empty).unwrap_err().to_string();
    assert_tells(&message, &["the evaluation data has no samples"]);
}

#[test]
fn samples_of_another_shape_name_the_layer_that_refuses_them() {
    let message = refusal(&mut trainer(5), &data(10), fit(1));
    assert_tells(&message, &["epoch 1, batch 1: Sequential", "[N, 5]", "[8, 4]"]);
    let other = blobs(10, 3, 6, 0.5, 7).unwrap();
    let message = refusal(&mut trainer(4), &data(10), fit(1).validate_on(&other));
    assert_tells(&message, &["[4]", "[6]", "validation"]);
}

/// Layers without a check before them.
#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Net {
    fc1: Linear,
    fc2: Linear,
}

impl Module for Net {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.fc2.forward(&self.fc1.forward(x)?.relu())
    }
}

#[test]
fn a_layer_that_does_not_fit_the_one_before_it_is_named() {
    let rng = &mut Rng::seed(1);
    let fc1 = Linear::new(4, 8).init(rng).unwrap();
    let fc2 = Linear::new(7, 3).init(rng).unwrap();
    let model = Net { fc1, fc2 };
    let mut trainer: Trainer<_, _, _> = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
    let message = trainer.fit(&data(10), fit(1)).unwrap_err().to_string();
    assert_tells(&message, &["epoch 1, batch 1", "fc2", "[8, 8]", "7"]);
}

#[test]
fn a_batch_of_one_and_a_ragged_last_batch_train() {
    let data = data(17);
    for batch_size in [1, 8, 16, 17, 100] {
        let mut trainer = trainer(4);
        let fit = Fit::epochs(30).batch_size(batch_size).quiet();
        let history = trainer.fit(&data, fit).unwrap();
        let steps = 30 * data.len().div_ceil(batch_size) as u64;
        assert_eq!(trainer.optimizer().steps(), steps);
        let losses = history.losses();
        assert!(losses[29] < losses[0], "batches of {batch_size}: {losses:?}");
    }
}

#[test]
fn batches_of_no_samples_are_refused() {
    let message = refusal(&mut trainer(4), &data(10), fit(1).batch_size(0));
    assert_tells(&message, &["batch"]);
}

#[test]
fn a_label_out_of_range_is_named() {
    let inputs = Tensor::normal([10, 4], 0.0, 1.0, &mut Rng::seed(3));
    for wrong in [3, -1, i64::MAX] {
        let mut labels = vec![0; 10];
        labels[6] = wrong;
        let labels = Tensor::from_vec(labels, [10]).unwrap();
        let data = TensorDataset::new(inputs.clone(), labels).unwrap();
        let message = refusal(&mut trainer(4), &data, fit(1).batch_size(10).shuffle(false));
        assert_tells(
            &message,
            &["epoch 1, batch 1", &wrong.to_string(), "expected labels in 0..3"],
        );
    }
}

#[test]
fn bytes_as_images_have_labels_checked_too() {
    let images = Tensor::<u8>::zeros([4, 1, 2, 2]);
    let labels = Tensor::from([0, 1, 2, 9_i64]);
    let error = ImageDataset::new(images, labels, 3).unwrap_err().to_string();
    assert_tells(&error, &["9", "3"]);
}

#[test]
fn a_value_that_is_not_finite_stops_at_its_step_and_names_the_place() {
    let good = data(24);
    let mut inputs = good.inputs().to_vec();
    // The third batch of eight.
    inputs[20 * 4] = f32::NAN;
    let inputs = Tensor::from_vec(inputs, [24, 4]).unwrap();
    let data = TensorDataset::new(inputs, good.targets().clone()).unwrap();

    let mut stopped = trainer(4);
    let message = stopped.fit(&data, fit(1).shuffle(false)).unwrap_err().to_string();
    assert_tells(&message, &["epoch 1, batch 3", "step 3", "input"]);

    // The weights are those after two steps.
    let two = Subset::new(&good, (0..16).collect()).unwrap();
    let mut reference = trainer(4);
    reference.fit(&two, fit(1).shuffle(false)).unwrap();
    assert_eq!(values(stopped.model()), values(reference.model()));
    assert_eq!(stopped.optimizer().steps(), 2);
}

#[test]
fn an_infinite_input_that_the_loss_does_not_show_is_named() {
    let mut inputs = data(16).inputs().to_vec();
    inputs[3 * 4] = f32::INFINITY;
    let inputs = Tensor::from_vec(inputs, [16, 4]).unwrap();
    let data = TensorDataset::new(inputs, data(16).targets().clone()).unwrap();
    // The slope of tanh is 0 there, and 0 times infinity is no number.
    let model = Sequential::input([4]).dense(8).tanh().dense(3).build(&mut Rng::seed(1)).unwrap();
    let mut trainer = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
    let message = refusal(&mut trainer, &data, fit(1).shuffle(false));
    assert_tells(&message, &["step 1", "the gradient of `0.weight`", "the input of `linear`"]);
}

#[test]
fn a_weight_that_overflows_names_its_layer() {
    let mut trainer = trainer(4);
    let mut state = trainer.model().state_dict();
    let huge = Tensor::full([3, 8], f32::MAX);
    state.insert("2.weight", huge);
    trainer.model_mut().load_state_dict(&state).unwrap();
    let message = refusal(&mut trainer, &data(16), fit(1));
    assert_tells(&message, &["step 1", "2.weight"]);
}

#[test]
fn a_learning_rate_far_too_high_stops_the_training() {
    let data = data(64);
    let targets = Tensor::from_fn([64, 1], |i| i as f32);
    let data = TensorDataset::new(data.inputs().clone(), targets).unwrap();
    let model = Sequential::input([4]).dense(8).relu().dense(1).build(&mut Rng::seed(1)).unwrap();
    let mut trainer = Trainer::new(model, SGD::new(1e6), MSELoss::new());
    let fit = Fit::epochs(50).batch_size(8).quiet();
    let message = trainer.fit(&data, fit).unwrap_err().to_string();
    assert_tells(&message, &["the loss is not finite"]);
    // What is left is finite, so that it can be looked at.
    let state = trainer.model().state_dict();
    for (name, _) in state.iter() {
        let values = state.typed::<f32>(name).unwrap().to_vec();
        assert!(values.iter().all(|value| value.is_finite()), "{name}: {values:?}");
    }
}

/// Holds samples and fails for one of them.
struct Broken(TensorDataset<i64>);

impl Dataset for Broken {
    type Input = Tensor;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn input_shape(&self) -> Shape {
        self.0.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        if indices.contains(&13) {
            return Err(Error::data("Broken", "sample 13 is missing"));
        }
        self.0.batch(indices)
    }
}

#[test]
fn an_error_of_the_data_set_arrives_with_its_place() {
    let mut trainer = trainer(4);
    let message = trainer.fit(&Broken(data(24)), fit(1).shuffle(false)).unwrap_err().to_string();
    assert_tells(&message, &["epoch 1, batch 2", "sample 13 is missing"]);
    assert_eq!(trainer.optimizer().steps(), 1);
    trainer.fit(&data(24), fit(1)).unwrap();
}

/// Panics for one sample.
struct Panicking(TensorDataset<i64>);

impl Dataset for Panicking {
    type Input = Tensor;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn input_shape(&self) -> Shape {
        self.0.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        assert!(!indices.contains(&13), "no sample {}", 13);
        self.0.batch(indices)
    }
}

#[test]
fn a_panic_in_the_data_set_is_an_error_with_its_place() {
    let mut trainer = trainer(4);
    let broken = Panicking(data(24));
    let error = trainer.fit(&broken, fit(1).shuffle(false)).unwrap_err();
    assert!(matches!(error, Error::Panic { .. }), "{error}");
    assert_tells(&error.to_string(), &["epoch 1, batch 2", "panicked", "no sample 13"]);
    let fit_with = fit(1).validate_on(&broken);
    let message = trainer.fit(&data(24), fit_with).unwrap_err().to_string();
    assert_tells(&message, &["validation after epoch", "no sample 13"]);
    trainer.fit(&data(24), fit(1)).unwrap();
}

/// The data of `data(24)`, with a NaN in the sample 20.
fn with_nan() -> TensorDataset<i64> {
    let good = data(24);
    let mut inputs = good.inputs().to_vec();
    inputs[20 * 4] = f32::NAN;
    let inputs = Tensor::from_vec(inputs, [24, 4]).unwrap();
    TensorDataset::new(inputs, good.targets().clone()).unwrap()
}

#[test]
fn a_step_that_is_not_finite_may_be_left_out() {
    let mut skipping = trainer(4);
    let policy = NotFinite::Skip { limit: 1 };
    let run = fit(2).shuffle(false).not_finite(policy);
    let history = skipping.fit(&with_nan(), run).unwrap();
    assert_eq!(history.incidents.len(), 2);
    assert_tells(&history.incidents[0], &["epoch 1, batch 3", "step 3", "input", "left out"]);
    // As if the third batch had not been there.
    let good = data(24);
    let two = Subset::new(&good, (0..16).collect()).unwrap();
    let mut reference = trainer(4);
    reference.fit(&two, fit(2).shuffle(false)).unwrap();
    assert_eq!(values(skipping.model()), values(reference.model()));
}

#[test]
fn leaving_out_has_a_limit() {
    let all_bad = TensorDataset::new(Tensor::full([40, 4], f32::NAN), Tensor::zeros([40])).unwrap();
    for policy in [NotFinite::Skip { limit: 3 }, NotFinite::RollBack { every: 2, limit: 3 }] {
        let mut stopped = trainer(4);
        let error = stopped.fit(&all_bad, fit(5).not_finite(policy)).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert_tells(&error.to_string(), &["epoch 1, batch 4", "after 3 such steps in a row"]);
        assert_eq!(values(stopped.model()), values(trainer(4).model()));
    }
}

#[test]
fn the_training_may_go_back() {
    let good = data(24);
    let mut back = trainer(4);
    let policy = NotFinite::RollBack { every: 2, limit: 1 };
    let history = back.fit(&with_nan(), fit(1).batch_size(4).shuffle(false).not_finite(policy));
    let history = history.unwrap();
    assert_eq!(history.incidents.len(), 1);
    assert_tells(&history.incidents[0], &["batch 6", "went back 1 steps"]);
    // Of six steps the sixth failed and took the fifth with it.
    let four = Subset::new(&good, (0..16).collect()).unwrap();
    let mut reference = trainer(4);
    reference.fit(&four, fit(1).batch_size(4).shuffle(false)).unwrap();
    assert_eq!(values(back.model()), values(reference.model()));
    assert_eq!(back.optimizer().steps(), 4);
}

/// Puts a value into the first weight before a step.
struct Inject(u64, f32);

impl Callback for Inject {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step + 1 == self.0 {
            now.model.visit_mut(&mut Default::default(), &mut |path, entry| {
                if let dendra_autograd::EntryMut::Param(param) = entry
                    && path.as_str() == "2.weight"
                {
                    param.value_mut().make_mut()[0] = self.1;
                }
            });
        }
        Ok(())
    }
}

#[test]
fn a_spoilt_weight_stops_its_step_and_going_back_heals_it() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for step in [2, 3, 5] {
            let mut stopped = trainer(4);
            let run = fit(3).callback(Inject(step, value));
            let message = stopped.fit(&data(24), run).unwrap_err().to_string();
            assert_tells(&message, &[&format!("step {step}:"), "2.weight"]);
            assert_eq!(stopped.optimizer().steps(), step - 1);

            let mut healed = trainer(4);
            let policy = NotFinite::RollBack { every: 1000, limit: 1 };
            let run = fit(3).callback(Inject(step, value)).not_finite(policy);
            let history = healed.fit(&data(24), run).unwrap();
            assert_eq!(history.incidents.len(), 1);
            assert!(history.last().unwrap().training.loss.is_finite());
        }
    }
}

/// A loss that is not finite in one of its calls.
fn spoilt_loss(step: usize, value: f64) -> impl Fn(&Var, &Tensor<i64>) -> Result<Var> {
    let calls = AtomicUsize::new(0);
    move |output, target| {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        let loss = dendra_losses::cross_entropy(output, target)?;
        Ok(if call == step { loss.add_scalar(value) } else { loss })
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_at_its_step() {
    for value in [f64::NAN, f64::INFINITY] {
        let mut stopped: Trainer<_, _, _> =
            Trainer::new(network(4), SGD::new(0.1), spoilt_loss(2, value));
        let message = stopped.fit(&data(24), fit(1)).unwrap_err().to_string();
        assert_tells(&message, &["epoch 1, batch 2", "step 2", "add_scalar"]);
        assert_eq!(stopped.optimizer().steps(), 1);
    }
}

#[test]
fn a_gradient_that_is_not_finite_names_its_parameter() {
    // The root of 0 has an infinite slope, and a finite value.
    let loss = |output: &Var, _: &Tensor<i64>| Ok(output.mul_scalar(0.0).abs().sqrt().sum());
    let mut stopped: Trainer<_, _, _> = Trainer::new(network(4), SGD::new(0.1), loss);
    let before = values(stopped.model());
    let error = stopped.fit(&data(24), fit(1)).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert_tells(&error.to_string(), &["step 1", "the gradient of `", "weight`"]);
    assert_eq!(values(stopped.model()), before);
}

/// Leaves a parameter out of its forward pass.
#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Forgetful {
    layers: Sequential,
    forgotten: Param,
}

impl Module for Forgetful {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.layers.forward(x)
    }
}

#[test]
fn a_parameter_without_gradient_is_named() {
    let model = Forgetful { layers: network(4), forgotten: Param::new(Tensor::zeros([2])) };
    let mut trainer: Trainer<_, _, _> = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
    let message = trainer.fit(&data(8), fit(1)).unwrap_err().to_string();
    assert_tells(&message, &["forgotten", "gradient"]);
}
