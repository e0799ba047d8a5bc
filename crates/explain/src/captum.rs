//! Compares with Captum on networks that are loaded from PyTorch, in double
//! precision. `tests/fixtures/make_captum.py` computes the expected values.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dendra_autograd::{EntryMut, Parameters, Path, StateDict, Var};
use dendra_nn::{Conv2d, Module, Sequential, SequentialBuilder, StateFile, load};
use dendra_tensor::{Ops, Rng, Tensor};

use crate::gradient_shap::Draws;
use crate::quality::{infidelity_for, sensitivity_for};
use crate::*;

const TARGETS: [usize; 3] = [2, 0, 1];

/// A network and Captum's results for it.
struct Case {
    name: &'static str,
    model: Sequential<f64>,
    state: StateDict,
    /// The largest difference of each result, relative to the largest value.
    compared: Vec<(String, f64)>,
    read: BTreeSet<String>,
}

fn builder(name: &str) -> SequentialBuilder {
    match name {
        "mlp" => Sequential::input([6]).dense(8).relu().dense(8).tanh().dense(3),
        "cnn" => Sequential::input([1, 8, 8])
            .conv2d(4, 3)
            .relu()
            .max_pool2d(2)
            .conv2d(6, 2)
            .relu()
            .flatten()
            .dense(3),
        "norm" => Sequential::input([2, 6, 6])
            .layer(Conv2d::lazy(4, 3).padding(1))
            .batch_norm2d()
            .relu()
            .avg_pool2d(2)
            .flatten()
            .dense(3),
        "gelu" => Sequential::input([6]).dense(8).gelu().dense(8).sigmoid().dense(3),
        _ => unreachable!("there is no network {name}"),
    }
}

fn file(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    PathBuf::from(folder).join(format!("{name}.safetensors"))
}

impl Case {
    fn load(name: &'static str) -> Self {
        let mut model = builder(name).build_as::<f64>(&mut Rng::seed(0)).unwrap();
        load(&mut model, file(name)).unwrap();
        let state = StateFile::read(file(&format!("{name}_captum"))).unwrap().state;
        Self { name, model, state, compared: Vec::new(), read: BTreeSet::new() }
    }

    fn get(&mut self, name: &str) -> Tensor<f64> {
        self.read.insert(name.to_owned());
        let found = self.state.typed::<f64>(name);
        found.unwrap_or_else(|| panic!("{}: {name} is missing", self.name)).clone()
    }

    fn has(&self, name: &str) -> bool {
        self.state.typed::<f64>(name).is_some()
    }

    fn close(&mut self, name: &str, found: &Tensor<f64>, bound: f64) {
        let expected = self.get(name);
        assert_eq!(found.shape(), expected.shape(), "{} of {}", name, self.name);
        let largest =
            |x: &Tensor<f64>| x.to_vec().into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let error = largest(&(found - &expected)) / largest(&expected).max(1.0);
        assert!(error <= bound, "{name} of {}: differs by {error:e}", self.name);
        self.compared.push((name.to_owned(), error));
    }

    fn same(&mut self, name: &str, method: &dyn Method<f64>) {
        // Captum sums Shapley values in single precision.
        let bound = if name == "shapley" { 5e-6 } else { 1e-6 };
        let x = self.get("x");
        let found = method.attribute(&self.model, &x, &TARGETS.into()).unwrap();
        self.close(name, found.values(), bound);
    }

    /// Also compares Captum's convergence delta times `sign`.
    fn same_with_delta(&mut self, name: &str, method: &dyn Method<f64>, sign: f64) {
        let x = self.get("x");
        let found = method.attribute(&self.model, &x, &TARGETS.into()).unwrap();
        self.close(name, found.values(), 1e-6);
        let gap = found.completeness_gap().unwrap().mul_scalar(sign);
        self.close(&format!("{name}_delta"), &gap, 1e-6);
    }

    fn mask(&mut self) -> Tensor<i64> {
        let shape = self.get("x").shape()[1..].to_vec();
        let size: usize = shape.iter().product();
        let number = |i: usize| match size {
            6 => [0, 0, 1, 2, 3, 4][i],
            _ => (i * 5 / size) as i64,
        };
        Tensor::from_fn(shape, number)
    }

    fn gradients(&mut self) {
        let x = self.get("x");
        let outputs = self.model.forward(&x.into()).unwrap().into_value();
        self.close("outputs", &outputs, 1e-9);
        let baseline = self.get("baseline");
        self.same("saliency", &Saliency::new());
        self.same("saliency_signed", &Saliency::new().signed());
        self.same("input_x_gradient", &InputXGradient);
        for (name, quadrature) in [
            ("gausslegendre", Quadrature::GaussLegendre),
            ("riemann_trapezoid", Quadrature::RiemannTrapezoid),
            ("riemann_left", Quadrature::RiemannLeft),
            ("riemann_right", Quadrature::RiemannRight),
            ("riemann_middle", Quadrature::RiemannMiddle),
        ] {
            let method = IntegratedGradients::new(50).quadrature(quadrature);
            let method = method.baseline(baseline.clone());
            self.same_with_delta(&format!("integrated_gradients_{name}"), &method, 1.0);
        }
        self.same("integrated_gradients_zero", &IntegratedGradients::new(50));
        if self.has("guided_backprop") {
            self.same("guided_backprop", &GuidedBackprop);
            self.same("deconvolution", &Deconvolution);
        }
    }

    fn noisy(&mut self) {
        let (x, targets) = (self.get("x"), Target::from(TARGETS));
        for (name, kind) in [
            ("smoothgrad", NoiseTunnelType::SmoothGrad),
            ("smoothgrad_sq", NoiseTunnelType::SmoothGradSquare),
            ("vargrad", NoiseTunnelType::VarGrad),
        ] {
            let noise = self.get(&format!("{name}_noise"));
            let tunnel = NoiseTunnel::new(Saliency::new().signed()).kind(kind).samples(4);
            let found = tunnel.with_noise(&self.model, &x, &targets, &noise).unwrap();
            self.close(name, found.values(), 1e-6);
        }
        let draws = Draws {
            noise: self.get("gradient_shap_noise"),
            baselines: self.get("gradient_shap_baselines"),
            coefficients: self.get("gradient_shap_coefficients"),
        };
        let shap = GradientShap::new(self.get("baselines")).samples(6);
        let found = shap.with_draws(&self.model, &x, &targets, &draws).unwrap();
        self.close("gradient_shap", found.values(), 1e-6);
    }

    fn differences(&mut self) {
        if !self.has("deep_lift") {
            return;
        }
        let lift = DeepLift::new().baseline(self.get("baseline"));
        let shap = DeepLiftShap::new(self.get("baselines"));
        self.same_with_delta("deep_lift", &lift, 1.0);
        self.same("deep_lift_shap", &shap);
    }

    fn perturbed(&mut self) {
        let (x, baseline, mask) = (self.get("x"), self.get("baseline"), self.mask());
        let targets = Target::from(TARGETS);
        let ablation = FeatureAblation::new().baseline(baseline.clone());
        self.same("feature_ablation", &ablation);
        self.same("feature_ablation_mask", &ablation.feature_mask(mask.clone()));
        let found = FeaturePermutation::new()
            .with_permutations(&self.model, &x, &targets, &mut |_| vec![2, 0, 1])
            .unwrap();
        self.close("feature_permutation", found.values(), 1e-6);
        let occlusion = match x.shape()[1..] {
            [channels, _, _] => Occlusion::new([channels, 3, 3]).strides([1, 2, 3]),
            _ => Occlusion::new([2]),
        };
        self.same("occlusion", &occlusion.baseline(baseline.clone()));
        let exact = ShapleyValue::new().baseline(baseline.clone()).feature_mask(mask.clone());
        self.same("shapley", &exact);
        let orders: Vec<Vec<usize>> =
            (0..4).map(|k| (0..5).map(|i| (3 * i + k) % 5).collect()).collect();
        let found = exact.with_orders(&self.model, &x, &targets, &orders).unwrap();
        self.close("shapley_sampling", found.values(), 5e-6);
        // KernelSHAP is exact too if all sets of features are used.
        let kernel = KernelShap::new(30).baseline(baseline.clone()).feature_mask(mask.clone());
        self.same("shapley", &kernel);
        let draws = self.get("lime_draws");
        let mut sample = 0;
        let found = Lime::new(40)
            .baseline(baseline)
            .feature_mask(mask)
            .with_draws(&self.model, &x, &targets, &mut |_| {
                let drawn = draws.narrow(0, sample, 1).unwrap().to_vec();
                sample += 1;
                drawn.chunks(5).map(|row| row.iter().map(|&kept| kept == 1.0).collect()).collect()
            })
            .unwrap();
        self.close("lime", found.values(), 1e-6);
    }

    fn layers(&mut self, part: &str) {
        let (x, baseline) = (self.get("x"), self.get("baseline"));
        self.same("layer", &LayerActivation::new(part));
        let conductance = LayerConductance::new(part, 50).baseline(baseline.clone());
        self.same("layer_conductance", &conductance);
        let influence = InternalInfluence::new(part, 50).baseline(baseline.clone());
        self.same("internal_influence", &influence);
        self.same("grad_cam", &LayerGradCam::new(part));
        if x.rank() == 4 {
            self.same("guided_grad_cam", &GuidedGradCam::new(part));
        }
        let layer = Layer::of(&self.model, &x, part).unwrap();
        let start = Layer::of(&self.model, &baseline, part).unwrap().values().clone();
        let method = IntegratedGradients::new(50).baseline(start);
        let found = method.of(&layer, layer.values(), TARGETS).unwrap();
        self.close("layer_integrated_gradients", found.values(), 1e-6);
        let found = InputXGradient.of(&layer, layer.values(), TARGETS).unwrap();
        self.close("layer_gradient_x_activation", found.values(), 1e-6);
    }

    fn judged(&mut self) {
        let (x, noise) = (self.get("x"), self.get("infidelity_noise"));
        let (targets, method) = (Target::from(TARGETS), Saliency::new().signed());
        let values = method.attribute(&self.model, &x, &targets).unwrap().into_values();
        for (name, normalize) in [("infidelity", false), ("infidelity_normalized", true)] {
            let found = infidelity_for(&self.model, &x, &values, &targets, &noise, normalize);
            self.close(name, &found.unwrap(), 1e-6);
        }
        let found = sensitivity_for(&method, &self.model, &x, &targets, &noise).unwrap();
        self.close("sensitivity_max", &found, 1e-6);
        let labels = Tensor::from(TARGETS.map(|class| class as i64));
        let loss = |outputs: &Var<f64>, labels: &Tensor<i64>| {
            let scores = outputs.log_softmax(1)?.gather(1, &labels.unsqueeze(1)?)?;
            scores.neg().squeeze(1)
        };
        let mut half = self.model.clone();
        half.visit_mut(&mut Path::default(), &mut |_, entry| {
            if let EntryMut::Param(param) = entry {
                param.set(param.value().mul_scalar(0.5)).unwrap();
            }
        });
        let states = TracIn::new()
            .checkpoint(self.model.state_dict(), 0.1)
            .checkpoint(half.state_dict(), 0.05);
        let baseline = self.get("baseline");
        let (training, test) = ((x, labels.clone()), (baseline, labels));
        let found = states.influence(&self.model, &training, &test, loss).unwrap();
        self.close("tracin", &found, 1e-6);
    }

    fn relevance(&mut self) {
        let is_normalised = self.name == "norm";
        self.same_with_delta("lrp_default", &Lrp::default(), -1.0);
        // Captum's normalisation layers keep the default rule.
        let keep = |lrp: Lrp| match is_normalised {
            true => lrp.layer("1", LrpRule::Epsilon(1e-9)),
            false => lrp,
        };
        self.same_with_delta("lrp_epsilon", &keep(Lrp::new(LrpRule::Epsilon(0.05))), -1.0);
        self.same_with_delta("lrp_gamma", &Lrp::new(LrpRule::Gamma(0.3)), -1.0);
        self.same_with_delta("lrp_z_plus", &Lrp::new(LrpRule::ZPlus), -1.0);
        let composite = Lrp::new(LrpRule::Epsilon(0.01)).layer("0", LrpRule::Gamma(0.25));
        self.same_with_delta("lrp_composite", &keep(composite), -1.0);
    }
}

fn check(name: &'static str, part: &str) {
    let mut case = Case::load(name);
    case.gradients();
    case.noisy();
    case.differences();
    case.perturbed();
    case.layers(part);
    case.judged();
    if case.has("lrp_default") {
        case.relevance();
    }
    for (result, error) in &case.compared {
        println!("| {name} | {result} | {error:.0e} |");
    }
    let unread = case.state.iter().map(|(name, _)| name).filter(|&name| !case.read.contains(name));
    let unread: Vec<&str> = unread.collect();
    assert!(unread.is_empty(), "{name}: {unread:?} were not compared");
}

#[test]
fn dense_network() {
    check("mlp", "2");
}

#[test]
fn convolutional_network() {
    check("cnn", "3");
}

#[test]
fn network_with_batch_norm() {
    check("norm", "0");
}

#[test]
fn network_with_smooth_activations() {
    check("gelu", "0");
}
