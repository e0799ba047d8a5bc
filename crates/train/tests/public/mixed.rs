//! Mixed precision: agreement with PyTorch's autocast, loss scaling, resumed runs.

use dendra_autograd::{Parameters, StateDict, Tape};
use dendra_losses::{CrossEntropy, Loss, MSELoss};
use dendra_nn::{Module, Sequential};
use dendra_optim::{GradScaler, SGD};
use dendra_tensor::{HalfPrecision, Ops, Rng, Tensor};
use dendra_train::{Checkpoint, Checkpoints, Fit, Trainer};
use serde_json::Value;

use crate::common::{data, state, trainer};

fn fixture() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/autocast.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn tensor(stored: &Value) -> Tensor {
    let list = |key: &str| stored[key].as_array().unwrap().iter();
    let shape: Vec<usize> = list("shape").map(|x| x.as_u64().unwrap() as usize).collect();
    let values = list("values").map(|x| x.as_f64().unwrap() as f32).collect();
    Tensor::from_vec(values, shape).unwrap()
}

/// The length of the difference relative to that of the expected values.
fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    let length = |x: &Tensor| x.square().sum().item().unwrap().sqrt();
    length(&found.sub(expected).unwrap()) / length(expected)
}

#[test]
fn small_networks_agree_with_pytorch_in_bf16() {
    let rng = &mut Rng::seed(0);
    let perceptron = Sequential::input([20]).dense(32).relu().dense(5).build(rng).unwrap();
    let convolution = Sequential::input([2, 10, 10])
        .conv2d(6, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(5)
        .build(rng)
        .unwrap();
    let stored = fixture();
    for (name, mut model) in [("perceptron", perceptron), ("convolution", convolution)] {
        let case = &stored[name];
        let mut state = StateDict::new();
        for (path, _) in model.named_parameters() {
            state.insert(path.clone(), tensor(&case["parameters"][&path]));
        }
        model.load_state_dict(&state).unwrap();
        let labels = case["labels"].as_array().unwrap().iter().map(|x| x.as_i64().unwrap());
        let labels: Vec<i64> = labels.collect();
        let labels = Tensor::from_vec(labels.clone(), [labels.len()]).unwrap();
        let run = |tape: Tape| {
            let logits = model.forward(&tape.input(tensor(&case["input"]))).unwrap();
            let loss = CrossEntropy::new().forward(&logits, &labels).unwrap();
            (logits.value().clone(), loss.backward().unwrap())
        };
        let (logits, gradients) = run(Tape::training(0, 0).autocast(HalfPrecision::BF16));
        let (exact, plain) = run(Tape::training(0, 0));
        let expected = &case["bf16"];
        // Both round to 8 bits, sometimes to another side.
        const ROUNDING: f32 = 1.0 / 256.0;
        assert!(distance(&logits, &tensor(&expected["logits"])) < ROUNDING, "{name}");
        assert!(distance(&exact, &tensor(&case["f32"]["logits"])) < 1e-5, "{name}");
        let loss = expected["loss"].as_f64().unwrap() as f32;
        assert!((gradients.loss() - loss).abs() < ROUNDING * loss, "{name}");
        for (path, param) in model.named_parameters() {
            let found = gradients.get(param).unwrap();
            let gap = distance(found, &tensor(&expected["gradients"][&path]));
            assert!(gap < 2.0 * ROUNDING, "{name}, {path}: {gap}");
            let full = tensor(&case["f32"]["gradients"][&path]);
            assert!(distance(plain.get(param).unwrap(), &full) < 1e-4, "{name}, {path}");
            // Rounding moves values across the kink of ReLU.
            let is_first = path == "0.weight";
            assert!(!is_first || distance(found, &full) > 0.04, "{name}: autocast rounds");
        }
    }
}

fn fit<'a>(precision: HalfPrecision) -> Fit<'a> {
    Fit::epochs(3).batch_size(8).quiet().autocast(precision)
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut trainer = trainer();
        pool.install(|| trainer.fit(&data(), fit(HalfPrecision::F16))).unwrap();
        state(&trainer)
    };
    let once = run(1);
    assert_eq!(once, run(3));
    let mut plain = trainer();
    plain.fit(&data(), Fit::epochs(3).batch_size(8).quiet()).unwrap();
    assert_ne!(once, state(&plain));
}

#[test]
fn a_resumed_run_continues_the_scale() {
    let folder = tempfile::tempdir().unwrap();
    // So large that the first steps are skipped, and growing every third step.
    let scaler = || GradScaler::new().init_scale(2.0_f64.powi(40)).growth_interval(3);
    let fit = || fit(HalfPrecision::F16).grad_scaler(scaler());
    let (mut whole, mut cut, mut resumed) = (trainer(), trainer(), trainer());
    let history = whole.fit(&data(), fit()).unwrap();
    let skipped = history.incidents.len();
    assert!(skipped > 10, "{:?}", history.incidents);
    assert!(history.incidents[0].contains("a loss scale of 1099511627776"));
    cut.fit(&data(), fit().max_steps(20).checkpoints(Checkpoints::new(folder.path()))).unwrap();
    let checkpoint = Checkpoint::read(folder.path()).unwrap();
    assert_eq!(checkpoint.callbacks[0].0, "GradScaler");
    let history = resumed.fit(&data(), fit().resume(folder.path())).unwrap();
    assert_eq!(history.incidents.len(), skipped);
    assert_eq!(state(&resumed), state(&whole));
    let other = Fit::epochs(3).batch_size(8).quiet().resume(folder.path());
    let error = trainer().fit(&data(), other).unwrap_err().to_string();
    assert!(error.contains("autocast was f16 and is unset"), "{error}");
}

#[test]
fn an_infinite_gradient_at_a_scale_of_one_is_an_error() {
    // The gradient of the first layer is beyond the numbers of f16.
    let model = || {
        let model = Sequential::input([2]).dense(3).dense(1).build(&mut Rng::seed(1)).unwrap();
        Trainer::new(model, SGD::new(1e-9), MSELoss::new())
    };
    let x = Tensor::full([4, 2], 100.0);
    let data = dendra_datasets::TensorDataset::new(x, Tensor::full([4, 1], 1e6)).unwrap();
    let fit = || Fit::epochs(1).quiet().autocast(HalfPrecision::F16);
    let mut trainer = model();
    let error = trainer.fit(&data, fit().grad_scaler(GradScaler::new().init_scale(1.0)));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is not finite"), "{error}");
    let mut scaled = model();
    let before = scaled.model().state_dict();
    let history = scaled.fit(&data, fit()).unwrap();
    assert_eq!(history.incidents.len(), 1);
    assert_eq!(scaled.model().state_dict(), before, "the step was skipped");
}

#[test]
fn a_scaler_with_wrong_settings_is_refused() {
    let scaler = GradScaler::new().growth_factor(0.5);
    let error = trainer().fit(&data(), fit(HalfPrecision::BF16).grad_scaler(scaler)).unwrap_err();
    assert!(error.to_string().contains("growth_factor"), "{error}");
}
