//! Comparison with PyTorch: optimizers over 20 steps, schedules over 30 or 50 steps,
//! clipping and weight averages.

use dendra_autograd::{Entry, EntryMut, Gradients, Param, Parameters, Path, StateDict, Tape};
use dendra_optim::{
    ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Descent, LBFGS, Lamb, Lion, Muon,
    NAdam, Norm, Optimizer, RAdam, RMSprop, Rprop, Rule, SGD, Split, WeightAverage, gradient_norm,
};
use dendra_tensor::{Float, Ops, Tensor};
use serde_json::Value;

mod schedules;
use crate::fixtures::{Case, Comparison, Fixture, Stored};

#[test]
fn optimizers_schedules_and_clipping_agree_with_pytorch() {
    agree::<f32>(1e-5);
}

#[test]
fn optimizers_schedules_and_clipping_agree_with_pytorch_in_double_precision() {
    agree::<f64>(1e-12);
}

fn agree<T: Float + Stored>(tolerance: f64) {
    let fixture = Fixture::open::<T>("optim");
    let run = fixture.cases_of("common").next().unwrap();
    let steps = run.integer("steps") as usize;
    let kept = run.sizes("kept");
    let run = Run { initial: model(&run, "initial"), gradients: model(&run, "gradients"), steps };
    let mut comparison = Comparison::default();
    for case in fixture.cases().filter(|case| case.kind() != "common") {
        if case.find_setting("optimizer").is_some() {
            let mut optimizer = optimizer::<T>(&case);
            run.compare(&case, optimizer.as_mut(), &kept, tolerance, &mut comparison);
        } else if case.find_setting("schedule").is_some() {
            schedules::compare_schedule(&case, &mut comparison);
        } else if case.find_setting("plateau").is_some() {
            schedules::compare_plateau(&case, &mut comparison);
        } else if case.find_setting("average").is_some() {
            compare_average::<T>(&case, tolerance, &mut comparison);
        } else if case.find_setting("lbfgs").is_some() {
            // The iterations amplify rounding errors, here by a factor of at most 100.
            compare_lbfgs::<T>(&case, 100.0 * tolerance, &mut comparison);
        } else {
            compare_clipping::<T>(&case, tolerance, &mut comparison);
        }
    }
    comparison.finish();
    fixture.assert_all_read();
}

struct Model<T: Float> {
    weight: Param<T>,
    bias: Param<T>,
}

impl<T: Float> Parameters<T> for Model<T> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
        path.enter("weight", |path| self.weight.visit(path, visitor));
        path.enter("bias", |path| self.bias.visit(path, visitor));
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    ) {
        path.enter("weight", |path| self.weight.visit_mut(path, visitor));
        path.enter("bias", |path| self.bias.visit_mut(path, visitor));
    }
}

fn model<T: Float + Stored>(case: &Case, prefix: &str) -> Model<T> {
    let param = |name| Param::new(case.tensor(&format!("{prefix}/{name}")));
    Model { weight: param("weight"), bias: param("bias") }
}

/// Returns the given gradients, computed as those of ⟨gradient, parameter⟩.
fn gradients<T: Float>(model: &Model<T>, weight: Tensor<T>, bias: Tensor<T>) -> Gradients<T> {
    let tape = Tape::training(0, 0);
    let (weight, bias) = (tape.input(weight), tape.input(bias));
    let loss = (model.weight.on(&weight) * &weight).sum() + (model.bias.on(&bias) * &bias).sum();
    loss.backward().unwrap()
}

/// The initial parameters and the gradients of all cases.
struct Run<T: Float> {
    initial: Model<T>,
    /// The gradients; axis 0 is the step.
    gradients: Model<T>,
    steps: usize,
}

impl<T: Float + Stored> Run<T> {
    fn compare(
        &self,
        case: &Case,
        optimizer: &mut dyn Optimizer<T>,
        kept: &[usize],
        tolerance: f64,
        comparison: &mut Comparison,
    ) {
        let mut model =
            Model { weight: self.initial.weight.clone(), bias: self.initial.bias.clone() };
        let at = |param: &Param<T>, step| param.value().select(0, step as isize).unwrap();
        for step in 0..self.steps {
            let (weight, bias) = (&self.gradients.weight, &self.gradients.bias);
            let gradients = gradients(&model, at(weight, step), at(bias, step));
            optimizer.step(&mut model, &gradients).unwrap();
            if kept.contains(&(step + 1)) {
                for (name, param) in model.named_parameters() {
                    let place = format!("step{}/{name}", step + 1);
                    let what = format!("{} {place}", case.key);
                    comparison.close(what, param.value(), &case.tensor(&place), tolerance);
                }
            }
        }
        compare_state::<T>(case, &optimizer.state_dict(), tolerance, comparison);
    }
}

/// Checks that the state has the same names and values as PyTorch's.
fn compare_state<T: Float + Stored>(
    case: &Case,
    state: &StateDict,
    tolerance: f64,
    comparison: &mut Comparison,
) {
    for name in case.names("state/") {
        let what = format!("{} {name}", case.key);
        let expected = case.tensor::<T>(&format!("state/{name}"));
        let actual = match state.get(&name) {
            Some(count) if name.ends_with(".step") => {
                count.downcast::<i64>().map(|count| count.cast())
            }
            Some(tensor) => tensor.downcast::<T>().cloned(),
            // Muon is the first optimizer of a `Split`.
            None => state.typed::<T>(&format!("first.{name}")).cloned(),
        };
        match actual {
            Some(actual) => comparison.close(what, &actual, &expected, tolerance),
            None => comparison.fail(format!("{what}: there is none")),
        }
    }
}

/// The arguments of a case.
struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn number(&self, name: &str) -> Option<f64> {
        self.0[name].as_f64()
    }

    fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("a count {name} in {}", self.0))
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }
}

fn optimizer<T: Float + Stored>(case: &Case) -> Box<dyn Optimizer<T>> {
    let known = [
        ("SGD", &["momentum", "dampening", "nesterov"][..]),
        ("Adam", &["betas", "eps", "amsgrad"]),
        ("AdamW", &["betas", "eps", "amsgrad"]),
        ("Adagrad", &["lr_decay", "initial_accumulator_value", "eps"]),
        ("RMSprop", &["alpha", "eps", "momentum", "centered"]),
        ("Adamax", &["betas", "eps"]),
        ("NAdam", &["betas", "momentum_decay", "decoupled_weight_decay"]),
        ("RAdam", &["betas", "eps", "decoupled_weight_decay"]),
        ("Adadelta", &["rho", "eps"]),
        ("ASGD", &["lambd", "alpha", "t0"]),
        ("Rprop", &["etas", "step_sizes"]),
        ("Adafactor", &["beta2_decay", "eps", "d"]),
        ("Muon", &["momentum", "nesterov", "ns_steps", "adjust_lr_fn"]),
        ("Lion", &["betas"]),
        ("Lamb", &["betas"]),
    ];
    let name = case.text("optimizer");
    let arguments = case.setting("arguments");
    let (_, own) = known.iter().find(|(known, _)| *known == name).unwrap();
    for argument in arguments.as_object().unwrap().keys() {
        let common = ["lr", "weight_decay"].contains(&&**argument);
        assert!(common || own.contains(&&**argument), "{}: what is {argument}?", case.key);
    }
    let arguments = Arguments(arguments);
    let lr = arguments.number("lr").unwrap();
    let number = |name: &str, default: f64| arguments.number(name).unwrap_or(default);
    let pair = |name: &str, default: [f64; 2]| match &arguments.0[name] {
        Value::Null => default,
        pair => [pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap()],
    };
    let betas = pair("betas", [0.9, 0.999]);
    match name {
        "SGD" => {
            let sgd = SGD::new(lr)
                .momentum(number("momentum", 0.0))
                .dampening(number("dampening", 0.0))
                .nesterov(arguments.flag("nesterov"));
            finish(sgd, case)
        }
        "Adam" => {
            let adam = Adam::new(lr)
                .betas(betas[0], betas[1])
                .eps(number("eps", 1e-8))
                .amsgrad(arguments.flag("amsgrad"));
            finish(adam, case)
        }
        "AdamW" => {
            let adam = AdamW::new(lr)
                .betas(betas[0], betas[1])
                .eps(number("eps", 1e-8))
                .amsgrad(arguments.flag("amsgrad"));
            finish(adam, case)
        }
        "Adagrad" => {
            let adagrad = Adagrad::new(lr)
                .lr_decay(number("lr_decay", 0.0))
                .initial_accumulator_value(number("initial_accumulator_value", 0.0))
                .eps(number("eps", 1e-10));
            finish(adagrad, case)
        }
        "RMSprop" => {
            let rmsprop = RMSprop::new(lr)
                .alpha(number("alpha", 0.99))
                .eps(number("eps", 1e-8))
                .momentum(number("momentum", 0.0))
                .centered(arguments.flag("centered"));
            finish(rmsprop, case)
        }
        "Adamax" => {
            finish(Adamax::new(lr).betas(betas[0], betas[1]).eps(number("eps", 1e-8)), case)
        }
        "NAdam" => {
            let nadam = NAdam::new(lr)
                .betas(betas[0], betas[1])
                .momentum_decay(number("momentum_decay", 4e-3))
                .decoupled_weight_decay(arguments.flag("decoupled_weight_decay"));
            finish(nadam, case)
        }
        "RAdam" => {
            let radam = RAdam::new(lr)
                .betas(betas[0], betas[1])
                .eps(number("eps", 1e-8))
                .decoupled_weight_decay(arguments.flag("decoupled_weight_decay"));
            finish(radam, case)
        }
        "Adadelta" => {
            finish(Adadelta::new(lr).rho(number("rho", 0.9)).eps(number("eps", 1e-6)), case)
        }
        "ASGD" => {
            let asgd = ASGD::new(lr)
                .lambd(number("lambd", 1e-4))
                .alpha(number("alpha", 0.75))
                .t0(number("t0", 1e6));
            finish(asgd, case)
        }
        "Rprop" => {
            let (etas, sizes) = (pair("etas", [0.5, 1.2]), pair("step_sizes", [1e-6, 50.0]));
            finish(Rprop::new(lr).etas(etas[0], etas[1]).step_sizes(sizes[0], sizes[1]), case)
        }
        "Adafactor" => {
            let adafactor = Adafactor::new(lr)
                .beta2_decay(number("beta2_decay", -0.8))
                .clipping_threshold(number("d", 1.0));
            let [eps1, eps2] = pair("eps", [T::EPSILON.to_f64(), 1e-3]);
            finish(adafactor.eps(eps1, eps2), case)
        }
        "Muon" => {
            let muon = Muon::new(lr)
                .weight_decay(0.0)
                .momentum(number("momentum", 0.95))
                .nesterov(arguments.0["nesterov"].as_bool().unwrap_or(true))
                .ns_steps(number("ns_steps", 5.0) as usize)
                .match_rms_adamw(arguments.0["adjust_lr_fn"] == "match_rms_adamw");
            Box::new(Split::new(|_, shape| shape.len() == 2, muon, SGD::new(lr)))
        }
        "Lion" => {
            let [beta1, beta2] = pair("betas", [0.9, 0.99]);
            finish(Lion::new(lr).betas(beta1, beta2), case)
        }
        "Lamb" => finish(Lamb::new(lr).betas(betas[0], betas[1]), case),
        other => panic!("no optimizer {other}"),
    }
}

/// Sets the weight decay and the group of biases, which all optimizers support.
fn finish<R: Rule, T: Float + Stored>(
    mut optimizer: Descent<R, T>,
    case: &Case,
) -> Box<dyn Optimizer<T>> {
    let arguments = Arguments(case.setting("arguments"));
    let lr = arguments.number("lr").unwrap();
    if let Some(weight_decay) = arguments.number("weight_decay") {
        optimizer = optimizer.weight_decay(weight_decay);
    }
    if let Some(group) = case.find_setting("bias_group") {
        let group = Arguments(group);
        let factor = group.number("lr").unwrap() / lr;
        let weight_decay = group.number("weight_decay").unwrap();
        optimizer = optimizer.group(
            |name| name == "bias",
            move |group| group.learning_rate_factor(factor).weight_decay(weight_decay),
        );
    }
    Box::new(optimizer)
}

fn compare_average<T: Float + Stored>(case: &Case, tolerance: f64, comparison: &mut Comparison) {
    let mut average = match case.text("average") {
        "swa" => WeightAverage::swa(),
        _ => WeightAverage::ema(case.nested("arguments").number("decay")),
    };
    let weights = case.tensor::<T>("weights");
    for row in 0..weights.shape()[0] {
        let row = weights.narrow(0, row, 1).unwrap().squeeze(0).unwrap();
        average.update(&Param::new(row)).unwrap();
    }
    comparison.close(case.key, average.get("").unwrap(), &case.tensor("average"), tolerance);
}

/// Compares L-BFGS on Σ softplus(A·x) + |x|²/2 + Σ x⁴/4. The state is saved and loaded
/// before each step.
fn compare_lbfgs<T: Float + Stored>(case: &Case, tolerance: f64, comparison: &mut Comparison) {
    let arguments = Arguments(case.setting("arguments"));
    let number = |name: &str| arguments.0[name].as_u64().map(|count| count as usize);
    let make = || {
        let mut lbfgs = LBFGS::<T>::new(arguments.number("lr").unwrap())
            .strong_wolfe(arguments.0["line_search_fn"] == "strong_wolfe");
        if let Some(count) = number("max_iter") {
            lbfgs = lbfgs.max_iter(count);
        }
        if let Some(count) = number("max_eval") {
            lbfgs = lbfgs.max_eval(count);
        }
        if let Some(count) = number("history_size") {
            lbfgs = lbfgs.history_size(count);
        }
        lbfgs
    };
    let matrix = case.tensor::<T>("matrix");
    let mut optimizer = make();
    let mut point = Param::new(case.tensor::<T>("initial"));
    for step in 1..=3 {
        let state = optimizer.state_dict();
        optimizer = make();
        optimizer.load_state_dict(&state).unwrap();
        let loss = optimizer
            .step(&mut point, |point| {
                let matrix = Tape::training(0, 0).input(matrix.clone());
                let x = point.on(&matrix);
                let square = x.square();
                let quartic = square.square().sum().mul_scalar(0.25);
                let loss = matrix.matmul(&x)?.softplus().sum();
                loss.add(&square.sum().mul_scalar(0.5))?.add(&quartic)?.backward()
            })
            .unwrap();
        let mut close = |name: String, found: &Tensor<T>| {
            comparison.close(format!("{} {name}", case.key), found, &case.tensor(&name), tolerance);
        };
        close(format!("loss{step}"), &Tensor::scalar(loss));
        close(format!("step{step}"), point.value());
    }
}

/// After a step with learning rate 1 from 0, the weights are the negative clipped
/// gradient.
fn compare_clipping<T: Float + Stored>(case: &Case, tolerance: f64, comparison: &mut Comparison) {
    let before = model::<T>(case, "before");
    let zero = |param: &Param<T>| Param::new(Tensor::zeros(param.value().shape()));
    let mut model = Model { weight: zero(&before.weight), bias: zero(&before.bias) };
    let gradients = gradients(&model, before.weight.value().clone(), before.bias.value().clone());
    let arguments = Arguments(case.setting("arguments"));
    let sgd = SGD::new(1.0).maximize(true);
    let mut sgd = match case.text("function") {
        "clip_grad_norm" => {
            let norm = match &arguments.0["norm_type"] {
                Value::String(name) if name == "inf" => Norm::Max,
                norm if *norm == 1.0 => Norm::L1,
                norm if *norm == 2.0 => Norm::L2,
                other => panic!("no norm {other}"),
            };
            let total = Tensor::scalar(T::from_f64(gradient_norm(&model, &gradients, norm)));
            let what = format!("{}, norm", case.key);
            comparison.close(what, &total, &case.tensor("total_norm"), tolerance);
            sgd.clip_norm_of(norm, arguments.number("max_norm").unwrap())
        }
        "clip_grad_value" => sgd.clip_value(arguments.number("clip_value").unwrap()),
        other => panic!("no function {other}"),
    };
    sgd.step(&mut model, &gradients).unwrap();
    for (name, param) in model.named_parameters() {
        let expected = case.tensor(&format!("after/{name}"));
        comparison.close(format!("{} {name}", case.key), param.value(), &expected, tolerance);
    }
}
