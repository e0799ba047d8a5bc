//! Optimizers over 20 steps, schedules over 30, and the rest, against PyTorch.

use dendra_autograd::{Entry, EntryMut, Gradients, Param, Parameters, Path, StateDict, Tape};
use dendra_optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Asgd, ConstantLr, CosineAnnealingLr,
    CosineAnnealingWarmRestarts, CyclicLr, CyclicMode, Descent, ExponentialLr, Lamb, Lbfgs,
    LinearLr, Lion, MultiStepLr, Muon, NAdam, Norm, OneCycleLr, Optimizer, PolynomialLr, RAdam,
    ReduceLrOnPlateau, RmsProp, Rprop, Rule, Schedule, Sgd, Split, StepLr, WeightAverage,
    gradient_norm,
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
        } else if case.find_setting("plateau").is_some() {
            compare_plateau(&case, &mut comparison);
        } else if case.find_setting("average").is_some() {
            compare_average::<T>(&case, tolerance, &mut comparison);
        } else if case.find_setting("lbfgs").is_some() {
            // Its path multiplies what rounding does, a hundredfold at most here.
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
            Some(count) if name.ends_with(".step") => {
                count.downcast::<i64>().map(|count| count.cast())
            }
            Some(tensor) => tensor.downcast::<T>().cloned(),
            // A Split has Muon first.
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
            let asgd = Asgd::new(lr)
                .lambd(number("lambd", 1e-4))
                .alpha(number("alpha", 0.75))
                .t0(number("t0", 1e6));
            finish(asgd, case)
        }
        "Rprop" => {
            let (etas, sizes) = (pair("etas", [0.5, 1.2]), pair("step_sizes", [1e-6, 50.0]));
            finish(Rprop::new(lr).etas(etas[0], etas[1]).step_sizes(sizes[0], sizes[1]), case)
        }
        "Muon" => {
            let muon = Muon::new(lr)
                .weight_decay(0.0)
                .momentum(number("momentum", 0.95))
                .nesterov(arguments.0["nesterov"].as_bool().unwrap_or(true))
                .ns_steps(number("ns_steps", 5.0) as usize)
                .match_rms_adamw(arguments.0["adjust_lr_fn"] == "match_rms_adamw");
            Box::new(Split::new(|_, shape| shape.len() == 2, muon, Sgd::new(lr)))
        }
        "Lion" => {
            let [beta1, beta2] = pair("betas", [0.9, 0.99]);
            finish(Lion::new(lr).betas(beta1, beta2), case)
        }
        "Lamb" => finish(Lamb::new(lr).betas(betas[0], betas[1]), case),
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
        "ConstantLR" => Box::new(
            ConstantLr::new(arguments.count("total_iters"))
                .factor(arguments.number("factor").unwrap()),
        ),
        "PolynomialLR" => Box::new(
            PolynomialLr::new(arguments.count("total_iters"))
                .power(arguments.number("power").unwrap()),
        ),
        "CosineAnnealingWarmRestarts" => Box::new(
            CosineAnnealingWarmRestarts::new(arguments.count("T_0"))
                .t_mult(arguments.count("T_mult"))
                .eta_min(arguments.number("eta_min").unwrap()),
        ),
        "CyclicLR" => {
            let cycle = CyclicLr::new(arguments.number("max_lr").unwrap());
            let cycle = cycle.step_size_up(arguments.count("step_size_up"));
            let cycle = cycle.mode(match value["mode"].as_str() {
                Some("triangular2") => CyclicMode::Triangular2,
                Some("exp_range") => CyclicMode::ExpRange(gamma()),
                _ => CyclicMode::Triangular,
            });
            match value["step_size_down"].as_u64() {
                Some(down) => Box::new(cycle.step_size_down(down)),
                None => Box::new(cycle),
            }
        }
        "OneCycleLR" => Box::new(
            OneCycleLr::new(arguments.count("total_steps"))
                .pct_start(arguments.number("pct_start").unwrap_or(0.3))
                .div_factor(arguments.number("div_factor").unwrap_or(25.0))
                .final_div_factor(arguments.number("final_div_factor").unwrap_or(1e4))
                .three_phase(arguments.flag("three_phase"))
                .linear(value["anneal_strategy"] == "linear"),
        ),
        other => panic!("no schedule {other}"),
    };
    schedule.check().unwrap();
    let expected = case.tensor::<f64>("lr");
    let base = case.number("base_lr");
    let rates = Tensor::from_fn(expected.shape(), |step| schedule.learning_rate(base, step as u64));
    comparison.close(case.key, &rates, &expected, 1e-12);
}

/// The learning rate after each figure, and again from a state saved halfway.
fn compare_plateau(case: &Case, comparison: &mut Comparison) {
    let arguments = Arguments(case.setting("arguments"));
    let number = |name: &str, default: f64| arguments.number(name).unwrap_or(default);
    let plateau = ReduceLrOnPlateau::new()
        .factor(number("factor", 0.1))
        .patience(number("patience", 10.0) as u64)
        .cooldown(number("cooldown", 0.0) as u64)
        .min_lr(number("min_lr", 0.0))
        .maximize(arguments.0["mode"] == "max");
    let plateau = match arguments.0["threshold_mode"] == "abs" {
        true => plateau.absolute_threshold(number("threshold", 1e-4)),
        false => plateau.threshold(number("threshold", 1e-4)),
    };
    let make = || Sgd::<f32>::new(case.number("base_lr")).reduce_on_plateau(plateau.clone());
    let figures = case.tensor::<f64>("figures").to_vec();
    let mut optimizer = make();
    optimizer.check().unwrap();
    let mut rates = Vec::new();
    for (index, &figure) in figures.iter().enumerate() {
        if index == figures.len() / 2 {
            let state = optimizer.state_dict();
            optimizer = make();
            optimizer.load_state_dict(&state).unwrap();
        }
        optimizer.observe(figure);
        rates.push(optimizer.learning_rate());
    }
    let rates = Tensor::from_vec(rates, [figures.len()]).unwrap();
    comparison.close(case.key, &rates, &case.tensor("lr"), 1e-12);
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

/// L-BFGS on Σ softplus(A·x) + |x|²/2 + Σ x⁴/4, and again from a saved state.
fn compare_lbfgs<T: Float + Stored>(case: &Case, tolerance: f64, comparison: &mut Comparison) {
    let arguments = Arguments(case.setting("arguments"));
    let number = |name: &str| arguments.0[name].as_u64().map(|count| count as usize);
    let make = || {
        let mut lbfgs = Lbfgs::<T>::new(arguments.number("lr").unwrap())
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
