//! Properties that hold for any network: completeness, conservation, and
//! equality of two ways to compute the same result.

use dendra_autograd::Var;
use dendra_nn::{Linear, Module, Parameters, Sequential};
use dendra_tensor::ops::attention::AttentionOptions;
use dendra_tensor::{Ops, Result, Rng, Tensor};

use crate::*;

fn normal(shape: &[usize], seed: u64) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

/// A network whose biases are either random or all 0.
fn network(seed: u64, biases: bool) -> Sequential<f64> {
    let builder = Sequential::input([2, 6, 6]).conv2d(4, 3).relu().max_pool2d(2);
    let builder = builder.flatten().dense(8).relu().dense(3);
    let mut model = builder.build_as::<f64>(&mut Rng::seed(seed)).unwrap();
    if !biases {
        let mut state = model.state_dict();
        let names: Vec<String> = state.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names.iter().filter(|name| name.ends_with("bias")) {
            let zeros = Tensor::<f64>::zeros(state.typed::<f64>(name).unwrap().shape());
            state.insert(name.as_str(), zeros);
        }
        model.load_state_dict(&state).unwrap();
    }
    model
}

#[track_caller]
fn assert_gap(attribution: &Attribution<f64>, bound: f64) {
    let gap = attribution.completeness_gap().unwrap().to_vec();
    assert!(gap.iter().all(|gap| gap.abs() <= bound), "{gap:?}");
}

#[track_caller]
fn assert_close(a: &Tensor<f64>, b: &Tensor<f64>, bound: f64) {
    assert_eq!(a.shape(), b.shape());
    assert!(a.isclose(b, 0.0, bound).unwrap().all(), "{a:?}\n{b:?}");
}

#[test]
fn attributions_of_differences_are_complete() {
    let x = normal(&[2, 2, 6, 6], 1);
    let baseline = normal(&[2, 6, 6], 2);
    for seed in 0..5 {
        let model = network(seed, true);
        let lift = DeepLift::new().baseline(baseline.clone());
        assert_gap(&lift.of(&model, &x, [0, 2]).unwrap(), 1e-9);
        let parts = lift.rule(DeepLiftRule::RevealCancel).of(&model, &x, [0, 2]).unwrap();
        assert_gap(&parts, 1e-9);
        let shap = DeepLiftShap::new(normal(&[3, 2, 6, 6], 3));
        assert_gap(&shap.of(&model, &x, 1).unwrap(), 1e-9);
        let integrated = IntegratedGradients::new(300).baseline(baseline.clone());
        assert_gap(&integrated.of(&model, &x, 1).unwrap(), 0.02);
        let sampled = ShapleyValue::sampling(2).baseline(baseline.clone());
        assert_gap(&sampled.of(&model, &x, 1).unwrap(), 1e-9);
        let kernel = KernelShap::new(80).baseline(baseline.clone());
        assert_gap(&kernel.of(&model, &x, 1).unwrap(), 1e-9);
    }
}

/// A network with a skip connection, a product of two values and a softmax.
#[derive(Parameters)]
#[parameters(crate = dendra_nn, element = f64)]
struct Branches {
    a: Linear<f64>,
    b: Linear<f64>,
}

impl Module<f64> for Branches {
    fn forward(&self, x: &Var<f64>) -> Result<Var<f64>> {
        let a = self.a.forward(x)?.tanh();
        let b = self.b.forward(x)?.sigmoid();
        a.mul(&b)?.add(x)?.softmax(1)
    }
}

fn branches() -> Branches {
    let rng = &mut Rng::seed(4);
    let mut linear = || Linear::new(4, 4).init_as::<f64>(rng).unwrap();
    Branches { a: linear(), b: linear() }
}

#[test]
fn deep_lift_is_complete_across_products_and_skips() {
    let model = branches();
    let x = normal(&[3, 4], 5);
    let lift = DeepLift::new().baseline(normal(&[4], 6));
    assert_gap(&lift.of(&model, &x, [0, 1, 3]).unwrap(), 1e-12);
    let parts = lift.rule(DeepLiftRule::RevealCancel);
    assert_gap(&parts.of(&model, &x, [0, 1, 3]).unwrap(), 1e-12);
}

#[test]
fn a_layer_keeps_what_skips_it() {
    let (model, x) = (branches(), normal(&[2, 4], 5));
    let whole = model.forward(&x.clone().into()).unwrap().into_value();
    for sample in 0..2 {
        let row = |x: &Tensor<f64>| x.narrow(0, sample, 1).unwrap();
        let layer = Layer::of(&model, &row(&x), "a").unwrap();
        let again = layer.forward(&layer.values().clone().into()).unwrap().into_value();
        assert_close(&again, &row(&whole), 1e-15);
        let thrice = Tensor::cat(&[layer.values(); 3], 0).unwrap();
        let again = layer.forward(&thrice.into()).unwrap().into_value();
        assert_close(&again, &Tensor::cat(&[&row(&whole); 3], 0).unwrap(), 1e-15);
    }
    let layer = Layer::of(&model, &x, "a").unwrap();
    let error = layer.forward(&layer.values().clone().into()).unwrap_err().to_string();
    assert!(error.contains("one sample at a time, got 2"), "{error}");
    let error = Layer::of(&model, &x, "c").unwrap_err().to_string();
    assert!(error.contains("expected one of the parts a, b"), "{error}");
}

#[test]
fn a_layer_that_nothing_skips_takes_any_number_of_samples() {
    let (model, x) = (network(1, true), normal(&[2, 2, 6, 6], 1));
    let layer = Layer::of(&model, &x, "0").unwrap();
    let ablated = FeatureAblation::new().of(&layer, layer.values(), [0, 2]).unwrap();
    for (sample, class) in [0, 2].into_iter().enumerate() {
        let row = |x: &Tensor<f64>| x.narrow(0, sample, 1).unwrap();
        let alone = Layer::of(&model, &row(&x), "0").unwrap();
        let expected = FeatureAblation::new().of(&alone, alone.values(), class).unwrap();
        assert_close(&row(ablated.values()), expected.values(), 1e-12);
    }
}

#[test]
fn relevance_is_conserved_without_biases() {
    let x = normal(&[2, 2, 6, 6], 1).abs();
    let rules = [
        Lrp::default(),
        Lrp::new(LrpRule::Gamma(0.5)),
        // The last layer is excluded, because a score may have no positive
        // part.
        Lrp::default().layer("4", LrpRule::AlphaBeta { alpha: 1.0, beta: 0.0 }),
        Lrp::default().layer("0", LrpRule::ZB { low: 0.0, high: 4.0 }),
        Lrp::default().layer("4", LrpRule::ZPlus),
    ];
    for seed in 0..3 {
        for rule in &rules {
            assert_gap(&rule.of(&network(seed, false), &x, 1).unwrap(), 1e-6);
        }
    }
    // With alpha 1 and inputs above 0, the contributions are those of the
    // positive weights.
    let model = network(0, false);
    let first = Lrp::new(LrpRule::AlphaBeta { alpha: 1.0, beta: 0.0 }).of(&model, &x, 1).unwrap();
    let second = Lrp::new(LrpRule::ZPlus).of(&model, &x, 1).unwrap();
    assert_close(first.values(), second.values(), 1e-9);
    // Relevance passes through a skip connection and a product.
    let lrp = Lrp::new(LrpRule::Epsilon(0.0));
    assert!(lrp.of(&branches(), &normal(&[1, 4], 2), 1).unwrap().values().is_finite());
}

#[test]
fn alpha_and_beta_divide_positive_and_negative_parts() {
    // z = 1·2 + 1·(−1) = 1 has the positive contribution 2 and the negative one
    // −1.
    let mut model = Sequential::input([2]).dense(1).build_as::<f64>(&mut Rng::seed(0)).unwrap();
    let mut state = model.state_dict();
    state.insert("0.weight", Tensor::from([[2.0, -1.0]]));
    state.insert("0.bias", Tensor::from([0.0]));
    model.load_state_dict(&state).unwrap();
    let lrp = Lrp::new(LrpRule::AlphaBeta { alpha: 2.0, beta: 1.0 });
    let found = lrp.of(&model, &Tensor::from([[1.0, 1.0]]), 0).unwrap();
    assert_close(found.values(), &Tensor::from([[2.0, -1.0]]), 1e-8);
}

/// The definition, over all orders of the features.
fn by_all_orders(value: &dyn Fn(&[bool]) -> f64, n: usize) -> Vec<f64> {
    fn visit(order: &mut Vec<usize>, n: usize, each: &mut dyn FnMut(&[usize])) {
        if order.len() == n {
            return each(order);
        }
        for next in 0..n {
            if !order.contains(&next) {
                order.push(next);
                visit(order, n, each);
                order.pop();
            }
        }
    }
    let (mut sums, mut count) = (vec![0.0; n], 0.0);
    visit(&mut Vec::new(), n, &mut |order| {
        let mut kept = vec![false; n];
        let mut before = value(&kept);
        for &feature in order {
            kept[feature] = true;
            let now = value(&kept);
            sums[feature] += now - before;
            before = now;
        }
        count += 1.0;
    });
    sums.into_iter().map(|sum| sum / count).collect()
}

#[test]
fn shapley_values_are_those_of_the_definition() {
    for n in 1..=5 {
        let builder = Sequential::input([n]).dense(6).tanh().dense(2);
        let model = builder.build_as::<f64>(&mut Rng::seed(n as u64)).unwrap();
        let (x, baseline) = (normal(&[1, n], 1), normal(&[1, n], 2));
        let value = |kept: &[bool]| {
            let row = (0..n).map(|i| if kept[i] { x.to_vec()[i] } else { baseline.to_vec()[i] });
            let row = Tensor::from_vec(row.collect(), [1, n]).unwrap();
            model.forward(&row.into()).unwrap().value().to_vec()[1]
        };
        let expected = Tensor::from_vec(by_all_orders(&value, n), [1, n]).unwrap();
        let exact = ShapleyValue::new().baseline(baseline.clone()).of(&model, &x, 1).unwrap();
        assert_close(exact.values(), &expected, 1e-12);
        let kernel = KernelShap::new(1 << n).baseline(baseline.clone()).of(&model, &x, 1).unwrap();
        assert_close(kernel.values(), &expected, 1e-9);
    }
}

#[test]
fn kernel_shap_is_exact_for_twelve_features() {
    let builder = Sequential::input([12]).dense(8).relu().dense(2);
    let model = builder.build_as::<f64>(&mut Rng::seed(3)).unwrap();
    let x = normal(&[1, 12], 4);
    let exact = ShapleyValue::new().of(&model, &x, 0).unwrap();
    let kernel = KernelShap::new(4094).of(&model, &x, 0).unwrap();
    assert_close(kernel.values(), exact.values(), 1e-9);
    assert_gap(&kernel, 1e-9);
}

/// Self-attention of one head over a sequence, with a score for each class.
#[derive(Parameters)]
#[parameters(crate = dendra_nn, element = f64)]
struct Attends {
    query: Linear<f64>,
    key: Linear<f64>,
    head: Linear<f64>,
}

impl Module<f64> for Attends {
    fn forward(&self, x: &Var<f64>) -> Result<Var<f64>> {
        let mut h = x.clone();
        for _ in 0..2 {
            let [q, k, v] = [self.query.forward(&h)?, self.key.forward(&h)?, h.clone()];
            // One head: [N, 1, L, E].
            let [q, k, v] = [q, k, v].map(|x| x.unsqueeze(1));
            let options = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
            h = q?.scaled_dot_product_attention(&k?, &v?, options)?.squeeze(1)?;
        }
        self.head.forward(&h.mean_axes(&[1], false)?)
    }
}

#[test]
fn attention_weights_and_their_rollout() {
    let rng = &mut Rng::seed(4);
    let mut linear = |width| Linear::new(4, width).init_as::<f64>(rng).unwrap();
    let model = Attends { query: linear(4), key: linear(4), head: linear(2) };
    let x = normal(&[2, 3, 4], 1);
    let weights = attention_weights(&model, &x).unwrap();
    let [q, k] = [&model.query, &model.key].map(|layer| layer.forward(&x.clone().into()));
    let [q, k] = [q, k].map(|x| x.unwrap().into_value());
    let scores = q.matmul(&k.transpose(1, 2).unwrap()).unwrap().mul_scalar(0.5);
    let future = Tensor::from_fn([3, 3], |i| i % 3 > i / 3);
    let expected = scores.masked_fill(&future, f64::NEG_INFINITY).unwrap().softmax(2).unwrap();
    assert_eq!(weights.len(), 2);
    assert_close(&weights[0].squeeze(1).unwrap(), &expected, 1e-12);
    let rollout = attention_rollout(&model, &x).unwrap();
    let half = |weights: &Tensor<f64>| {
        weights.squeeze(1).unwrap().add(&Tensor::eye(3)).unwrap().mul_scalar(0.5)
    };
    assert_close(&rollout, &half(&weights[1]).matmul(&half(&weights[0])).unwrap(), 1e-12);
    assert_close(&rollout.sum_axes(&[2], false).unwrap(), &Tensor::ones([2, 3]), 1e-12);
    assert!(attention_rollout(&branches(), &normal(&[1, 4], 1)).is_err());
}

#[test]
fn a_concept_is_the_direction_that_tells_its_examples_apart() {
    let builder = Sequential::input([3]).dense(3).named("hidden").dense(2);
    let mut model = builder.build_as::<f64>(&mut Rng::seed(0)).unwrap();
    let mut state = model.state_dict();
    state.insert("hidden.weight", Tensor::<f64>::eye(3));
    state.insert("1.weight", Tensor::from([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]));
    model.load_state_dict(&state).unwrap();
    let others = normal(&[40, 3], 1).mul_scalar(0.1);
    let concept = normal(&[40, 3], 2).mul_scalar(0.1).add(&Tensor::from([1.0, 0.0, 0.0])).unwrap();
    let found = ConceptVector::find(&model, "hidden", &concept, &others, 0.01).unwrap();
    assert_eq!(found.accuracy(), 1.0);
    assert!(found.direction().to_vec()[0] > 0.97, "{:?}", found.direction());
    let score = |class| found.score(&model, &others, class).unwrap();
    assert_eq!(score(0), ConceptScore { sign_count: 1.0, magnitude: 1.0 });
    assert_eq!(score(1), ConceptScore { sign_count: 0.0, magnitude: 0.0 });
}

#[test]
fn curves_follow_the_order_of_the_attributions() {
    let mut model = Sequential::input([4]).dense(1).build_as::<f64>(&mut Rng::seed(0)).unwrap();
    let mut state = model.state_dict();
    state.insert("0.weight", Tensor::from([[1.0, 2.0, 3.0, 4.0]]));
    state.insert("0.bias", Tensor::from([0.0]));
    model.load_state_dict(&state).unwrap();
    let x = Tensor::ones([1, 4]);
    let why = InputXGradient.of(&model, &x, 0).unwrap().into_values();
    let falls = &deletion(&model, &x, &why, 0, None, 4).unwrap()[0];
    assert_eq!(falls.shares, [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(falls.scores, [10.0, 6.0, 3.0, 1.0, 0.0]);
    assert_eq!(falls.area(), 3.75);
    let rises = &insertion(&model, &x, &why, 0, None, 2).unwrap()[0];
    assert_eq!(rises.scores, [0.0, 7.0, 10.0]);
    assert!(deletion(&model, &x, &why, 0, None, 5).is_err());
    // A linear model has an infidelity of 0.
    let noise = Perturbation::normal(10, 0.5);
    let gradient = Saliency::new().signed().of(&model, &x, 0).unwrap().into_values();
    assert!(infidelity(&model, &x, &gradient, 0, &noise, false).unwrap().to_vec()[0] < 1e-20);
    let changes = sensitivity_max(&Saliency::new(), &model, &x, 0, &Perturbation::uniform(5, 0.1));
    assert_eq!(changes.unwrap().to_vec(), [0.0]);
}

#[test]
fn randomised_parameters_change_the_attributions() {
    let model = network(1, true);
    let x = normal(&[3, 2, 6, 6], 1);
    let found = randomised_parameters(&Saliency::new(), &model, &x, 1, 7).unwrap();
    let layers: Vec<&str> = found.iter().map(|(layer, _)| layer.as_str()).collect();
    assert_eq!(layers, ["6", "4", "0"]);
    assert!(found.iter().all(|(_, correlation)| (0.0..0.9).contains(correlation)), "{found:?}");
}

#[test]
fn grad_cam_plus_plus_weighs_by_powers_of_the_gradient() {
    // With one channel of one row, the map is proportional to the activations.
    let builder = Sequential::input([1, 1, 4]).relu().flatten().dense(2);
    let model = builder.build_as::<f64>(&mut Rng::seed(2)).unwrap();
    let x = Tensor::from([1.0, 2.0, 3.0, 4.0]).reshape([1, 1, 1, 4]).unwrap();
    let found = LayerGradCam::plus_plus("0").of(&model, &x, 1).unwrap();
    let weight = model.state_dict().typed::<f64>("2.weight").unwrap().to_vec();
    let share = |g: f64| g * g / (2.0 * g * g + 10.0 * g * g * g + 1e-6) * g.max(0.0);
    let factor: f64 = weight[4..].iter().map(|&g| share(g)).sum();
    let expected = x.mul_scalar(factor).relu();
    assert_close(found.values(), &expected, 1e-12);
}

#[test]
fn single_precision_agrees_with_double() {
    let builder = || Sequential::input([6]).dense(8).tanh().dense(3);
    let single = builder().build(&mut Rng::seed(1)).unwrap();
    let double = builder().build_as::<f64>(&mut Rng::seed(1)).unwrap();
    let x = normal(&[2, 6], 3);
    let a = IntegratedGradients::new(50).of(&single, &x.cast::<f32>(), 1).unwrap();
    let b = IntegratedGradients::new(50).of(&double, &x, 1).unwrap();
    assert_close(&a.values().cast::<f64>(), b.values(), 1e-5);
}

#[test]
fn noise_and_draws_depend_on_the_seed_alone() {
    let model = network(1, true);
    let x = normal(&[1, 2, 6, 6], 1);
    let methods: [&dyn Fn(u64) -> Box<dyn Method<f64>>; 5] = [
        &|seed| Box::new(NoiseTunnel::new(Saliency::new()).seed(seed)),
        &|seed| Box::new(GradientShap::new(normal(&[4, 2, 6, 6], 2)).stdev(0.1).seed(seed)),
        &|seed| Box::new(ShapleyValue::sampling(1).seed(seed)),
        &|seed| Box::new(KernelShap::new(10).seed(seed)),
        &|seed| Box::new(Lime::new(10).seed(seed)),
    ];
    for method in methods {
        let of = |seed| method(seed).of(&model, &x, 1).unwrap().into_values();
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}

#[test]
fn mistakes_are_explained() {
    let model = network(1, true);
    let x = normal(&[2, 2, 6, 6], 1);
    let message = |method: &dyn Method<f64>, target: Target| {
        method.attribute(&model, &x, &target).unwrap_err().to_string()
    };
    let cases: [(&dyn Method<f64>, Target, &str); 14] = [
        (&Saliency::new(), 3.into(), "expected a class below 3, the number of outputs, got 3"),
        (&Saliency::new(), [1].into(), "expected a class for each of 2 samples, got 1"),
        (&IntegratedGradients::new(0), 1.into(), "expected 1 to 1048576 steps, got 0"),
        (&LayerConductance::new("0", usize::MAX), 1.into(), "steps, got 18446744073709551615"),
        (&NoiseTunnel::new(InputXGradient).samples(usize::MAX), 1.into(), "samples, got 1844"),
        (&KernelShap::new(usize::MAX), 1.into(), "samples, got 18446744073709551615"),
        (&DeepLift::new().baseline(normal(&[5], 1)), 1.into(), "expected a baseline"),
        (&DeepLiftShap::new(normal(&[0, 2, 6, 6], 1)), 1.into(), "expected baselines [B, …]"),
        (&ShapleyValue::new(), 1.into(), "72 features have too many sets"),
        (&Occlusion::new([2, 7, 1]), 1.into(), "expected a window inside a sample"),
        (&Occlusion::new([2, 3, 3]).strides([1, 4, 1]), 1.into(), "strides of at most"),
        (&Lrp::default().layer("1", LrpRule::ZPlus), 1.into(), "no layer \"1\" has parameters"),
        (&Lrp::new(LrpRule::Gamma(-1.0)), 1.into(), "settings of Gamma(-1.0) are invalid"),
        (&NoiseTunnel::new(InputXGradient).stdev(f64::NAN), 1.into(), "a finite noise"),
    ];
    for (method, target, expected) in cases {
        let found = message(method, target);
        assert!(found.contains(expected), "{found}");
    }
    let one = normal(&[1, 2, 6, 6], 1);
    let error = FeaturePermutation::new().of(&model, &one, 1).unwrap_err().to_string();
    assert!(error.contains("at least two samples"), "{error}");
    let error = Saliency::new().of(&model, &Tensor::scalar(1.0), 0).unwrap_err().to_string();
    assert!(error.contains("got a scalar"), "{error}");
}
