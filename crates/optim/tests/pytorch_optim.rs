//! Every optimizer over 20 steps, every schedule over 30, and clipping, against
//! PyTorch.

use dendra_autograd::{Entry, EntryMut, Gradients, Param, Parameters, Path, StateDict, Tape};
use dendra_optim::{
    Adagrad, Adam, AdamW, CosineAnnealingLr, Descent, ExponentialLr, LinearLr, MultiStepLr, Norm,
    Optimizer, RmsProp, Rule, Schedule, Sgd, StepLr, gradient_norm,
};
use dendra_tensor::{Float, Ops, Tensor};
use serde_json::Value;

#[path = "../../../tests/fixtures/reader.rs"]
mod fixtures;

use fixtures::{Case, Comparison, Fixture, Stored};

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
            compare_schedule(&case, &mut comparison);
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

/// The gradients that are given: those of ⟨gradient, parameter⟩.
fn gradients<T: Float>(model: &Model<T>, weight: Tensor<T>, bias: Tensor<T>) -> Gradients<T> {
    let tape = Tape::training(0, 0);
    let (weight, bias) = (tape.input(weight), tape.input(bias));
    let loss = (model.weight.on(&weight) * &weight).sum() + (model.bias.on(&bias) * &bias).sum();
    loss.backward().unwrap()
}

/// What every optimizer starts from and sees.
struct Run<T: Float> {
    initial: Model<T>,
    /// One gradient for each step, along a first axis.
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
        let at = |param: &Param<T>, step: usize| {
            param.value().narrow(0, step, 1).unwrap().squeeze(0).unwrap()
        };
        for step in 0..self.steps {
            let (weight, bias) = (&self.gradients.weight, &self.gradients.bias);
            let gradients = gradients(&model, at(weight, step), at(bias, step));
            optimizer.step(&mut model, &gradients).unwrap();
            if kept.contains(&(step + 1)) {
                for (name, param) in model.named_parameters() {
                    let place = format!("step{}/{name}", step + 1);
                    let expected = case.tensor(&place);
                    let what = format!("{} {place}", case.key);
                    comparison.close(what, param.value(), &expected, tolerance);
                }
            }
        }
        compare_state::<T>(case, &optimizer.state_dict(), tolerance, comparison);
    }
}

/// What PyTorch keeps, we keep under the same name.
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
            Some(count) if name.ends_with(".step") => count.downcast::<i64>().map(Tensor::cast),
            Some(tensor) => tensor.downcast::<T>().cloned(),
            None => None,
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
    let betas = match &arguments.0["betas"] {
        Value::Null => [0.9, 0.999],
        betas => [betas[0].as_f64().unwrap(), betas[1].as_f64().unwrap()],
    };
    match name {
        "SGD" => {
            let sgd = Sgd::new(lr)
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
            let rmsprop = RmsProp::new(lr)
                .alpha(number("alpha", 0.99))
                .eps(number("eps", 1e-8))
                .momentum(number("momentum", 0.0))
                .centered(arguments.flag("centered"));
            finish(rmsprop, case)
        }
        other => panic!("no optimizer {other}"),
    }
}

/// Weight decay and the bias's group, which every optimizer may have.
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

fn linear(arguments: &Value) -> LinearLr {
    let arguments = Arguments(arguments);
    LinearLr::new(arguments.count("total_iters"))
        .start_factor(arguments.number("start_factor").unwrap())
        .end_factor(arguments.number("end_factor").unwrap())
}

fn cosine(arguments: &Value) -> CosineAnnealingLr {
    let arguments = Arguments(arguments);
    CosineAnnealingLr::new(arguments.count("T_max")).eta_min(arguments.number("eta_min").unwrap())
}

fn compare_schedule(case: &Case, comparison: &mut Comparison) {
    let value = case.setting("arguments");
    let arguments = Arguments(value);
    let gamma = || arguments.number("gamma").unwrap();
    let schedule: Box<dyn Schedule> = match case.text("schedule") {
        "StepLR" => Box::new(StepLr::new(arguments.count("step_size")).gamma(gamma())),
        "MultiStepLR" => {
            let milestones = value["milestones"].as_array().unwrap();
            let milestones: Vec<u64> = milestones.iter().map(|m| m.as_u64().unwrap()).collect();
            Box::new(MultiStepLr::new(milestones).gamma(gamma()))
        }
        "ExponentialLR" => Box::new(ExponentialLr::new(gamma())),
        "CosineAnnealingLR" => Box::new(cosine(value)),
        "LinearLR" => Box::new(linear(value)),
        "SequentialLR" => {
            let (first, next) = (linear(&value["warm_up"]), cosine(&value["cosine"]));
            Box::new(first.then(arguments.count("milestone"), next))
        }
        other => panic!("no schedule {other}"),
    };
    schedule.check().unwrap();
    let expected = case.tensor::<f64>("lr");
    let base = case.number("base_lr");
    let rates = Tensor::from_fn(expected.shape(), |step| schedule.learning_rate(base, step as u64));
    comparison.close(case.key, &rates, &expected, 1e-12);
}

/// A step of length 1 from 0 leads to the clipped gradient, negated.
fn compare_clipping<T: Float + Stored>(case: &Case, tolerance: f64, comparison: &mut Comparison) {
    let before = model::<T>(case, "before");
    let zero = |param: &Param<T>| Param::new(Tensor::zeros(param.value().shape()));
    let mut model = Model { weight: zero(&before.weight), bias: zero(&before.bias) };
    let gradients = gradients(&model, before.weight.value().clone(), before.bias.value().clone());
    let arguments = Arguments(case.setting("arguments"));
    let sgd = Sgd::new(1.0).maximize(true);
    let mut sgd = match case.text("function") {
        "clip_grad_norm" => {
            let norm = match &arguments.0["norm_type"] {
                Value::String(name) if name == "inf" => Norm::Max,
                norm if *norm == 1.0 => Norm::L1,
                norm if *norm == 2.0 => Norm::L2,
                other => panic!("no norm {other}"),
            };
            let total = Tensor::scalar(T::from_f64(gradient_norm(&model, &gradients, norm)));
            let expected = case.tensor("total_norm");
            comparison.close(format!("{}, norm", case.key), &total, &expected, tolerance);
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
