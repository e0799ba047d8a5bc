//! Every layer against PyTorch: state dict, output, gradients of the input and
//! of each parameter, and the buffers after a pass.

use dendra_nn::autograd::{AnyTensor, Gradients, StateDict, Tape, Var};
use dendra_nn::tensor::{Float, Ops, Result, Rng};
use dendra_nn::{
    Approximation, BatchNorm, BatchNormSettings, Dropout, ELU, Flatten, GELU, GroupNorm, LayerNorm,
    LeakyReLU, Linear, LogSoftmax, MaxPool2d, Module, RMSNorm, ReLU, SiLU, Sigmoid, Softmax,
    Softplus, Tanh,
};
use serde_json::Value;

mod activations;
mod images;
use crate::fixtures::{Case, Comparison, Fixture, Settings, Stored};

#[test]
fn layers_agree_with_pytorch() {
    agree::<f32>(1e-5, 1e-4);
}

#[test]
fn layers_agree_with_pytorch_in_double_precision() {
    agree::<f64>(1e-12, 1e-11);
}

fn agree<T: Float + Stored>(forward: f64, gradient: f64) {
    for file in ["layers", "image_layers"] {
        let fixture = Fixture::open::<T>(file);
        let mut comparison = Comparison::default();
        for case in fixture.cases() {
            let run = Run { case, forward, gradient };
            if let Err(error) = run.compare::<T>(&mut comparison) {
                comparison.fail(format!("{}: {error}", case.key));
            }
        }
        comparison.finish();
        fixture.assert_all_read();
    }
}

/// A case, and the tolerances relative to the largest value of a tensor.
struct Run<'a> {
    case: Case<'a>,
    forward: f64,
    gradient: f64,
}

impl Run<'_> {
    fn compare<T: Float + Stored>(&self, comparison: &mut Comparison) -> Result<()> {
        let case = &self.case;
        let mut layer = layer::<T>(case)?;
        layer.load_state_dict(&state::<T>(case, "state/"))?;
        for (number, mode) in case.setting("passes").as_array().unwrap().iter().enumerate() {
            let tape = match mode.as_str() {
                Some("train") => Tape::training(0, number as u64),
                Some("eval") => Tape::evaluation(),
                _ => panic!("{}: what mode is {mode}?", case.key),
            };
            let pass = format!("pass{number}");
            let x = tape.leaf(case.tensor(&format!("{pass}/input")));
            let y = layer.forward(&x)?;
            let expected = case.tensor(&format!("{pass}/output"));
            let what = format!("{} {pass}", case.key);
            comparison.close(format!("{what}, output"), y.value(), &expected, self.forward);

            let cotangent = Var::new(case.tensor(&format!("{pass}/cotangent")));
            let gradients = y.mul(&cotangent)?.sum().backward()?;
            self.compare_gradients(&pass, &*layer, &x, &gradients, comparison);
            layer.apply_updates(&gradients)?;
            self.compare_buffers::<T>(&pass, &*layer, comparison);
        }
        Ok(())
    }

    fn compare_gradients<T: Float + Stored>(
        &self,
        pass: &str,
        layer: &dyn Module<T>,
        x: &Var<T>,
        gradients: &Gradients<T>,
        comparison: &mut Comparison,
    ) {
        let parameters = layer.named_parameters();
        for name in self.case.names(&format!("{pass}/grad/")) {
            let what = format!("{} {pass}, gradient of {name}", self.case.key);
            let param = parameters.iter().find(|(of, _)| *of == name).map(|(_, param)| param);
            let actual = match &*name {
                "input" => gradients.wrt(x),
                _ => param.and_then(|param| gradients.get(param)),
            };
            let expected = self.case.tensor(&format!("{pass}/grad/{name}"));
            match actual {
                Some(actual) => comparison.close(what, actual, &expected, self.gradient),
                None => comparison.fail(format!("{what}: there is none")),
            }
        }
    }

    fn compare_buffers<T: Float + Stored>(
        &self,
        pass: &str,
        layer: &dyn Module<T>,
        comparison: &mut Comparison,
    ) {
        let after = layer.state_dict();
        for (name, expected) in state::<T>(&self.case, &format!("{pass}/after/")).iter() {
            let what = format!("{} {pass}, {name} after it", self.case.key);
            let Some(actual) = after.get(name) else {
                comparison.fail(format!("{what}: there is none"));
                continue;
            };
            if let (Some(actual), Some(expected)) = (actual.downcast::<T>(), expected.downcast()) {
                comparison.close(what, actual, expected, self.forward);
            } else if let (Some(actual), Some(expected)) = (actual.downcast(), expected.downcast())
            {
                comparison.same(what, actual, expected);
            } else {
                comparison.fail(format!("{what}: of another element type"));
            }
        }
    }
}

/// The tensors of a case under a prefix, with the rest of their names.
fn state<T: Float + Stored>(case: &Case, prefix: &str) -> StateDict {
    let mut state = StateDict::new();
    for name in case.names(prefix) {
        let key = format!("{prefix}{name}");
        let tensor = match case.holds::<T>(&key) {
            true => AnyTensor::upcast(&case.tensor::<T>(&key)).unwrap(),
            false => case.tensor::<i64>(&key).into(),
        };
        state.insert(name, tensor);
    }
    state
}

/// The layer of a case, with the settings that the case names.
fn layer<T: Float>(case: &Case) -> Result<Box<dyn Module<T>>> {
    let rng = &mut Rng::seed(0);
    let settings = case.nested("arguments");
    let size = |name| settings.integer(name) as usize;
    Ok(match case.text("layer") {
        "Linear" => {
            let layer = Linear::new(size("in_features"), size("out_features"));
            Box::new(layer.bias(settings.flag("bias")).init_as(rng)?)
        }
        "BatchNorm1d" => Box::new(batch_norm::<1>(&settings).init_as(rng)?),
        "BatchNorm2d" => Box::new(batch_norm::<2>(&settings).init_as(rng)?),
        "LayerNorm" => {
            let layer = LayerNorm::new(settings.sizes("normalized_shape"));
            let layer = layer.bias(settings.find_setting("bias").is_none());
            Box::new(match eps(&settings) {
                Some(eps) => layer.eps(eps).init_as(rng)?,
                None => layer.init_as(rng)?,
            })
        }
        "RMSNorm" => {
            let layer = RMSNorm::new(settings.sizes("normalized_shape"));
            Box::new(match eps(&settings) {
                Some(eps) => layer.eps(eps).init_as(rng)?,
                None => layer.init_as(rng)?,
            })
        }
        "GroupNorm" => {
            let layer = GroupNorm::new(size("num_groups"), size("num_channels"));
            let layer = layer.bias(settings.find_setting("bias").is_none());
            Box::new(match eps(&settings) {
                Some(eps) => layer.eps(eps).affine(settings.flag("affine")).init_as(rng)?,
                None => layer.init_as(rng)?,
            })
        }
        "MaxPool2d" => {
            let layer = MaxPool2d::new(settings.pair("kernel_size"))
                .stride(settings.pair("stride"))
                .padding(settings.pair("padding"))
                .ceil_mode(settings.flag("ceil_mode"));
            Box::new(match settings.find_setting("dilation") {
                Some(_) => layer.dilation(settings.pair("dilation")),
                None => layer,
            })
        }
        "Flatten" => {
            Box::new(Flatten::axes(settings.integer("start_dim"), settings.integer("end_dim")))
        }
        "Dropout" => Box::new(Dropout::new(settings.number("p"))?),
        "ReLU" => Box::new(ReLU),
        "LeakyReLU" => Box::new(LeakyReLU::new(settings.number("negative_slope"))),
        "ELU" => Box::new(ELU::new(settings.number("alpha"))),
        "GELU" => Box::new(GELU::new(match settings.text("approximate") {
            "none" => Approximation::None,
            "tanh" => Approximation::Tanh,
            other => panic!("{}: what is {other}?", case.key),
        })),
        "SiLU" => Box::new(SiLU),
        "Sigmoid" => Box::new(Sigmoid),
        "Tanh" => Box::new(Tanh),
        "Softplus" => Box::new(match settings.find_setting("beta") {
            Some(_) => Softplus::new(settings.number("beta"), settings.number("threshold")),
            None => Softplus::default(),
        }),
        "Softmax" => Box::new(Softmax::new(settings.integer("dim"))),
        "LogSoftmax" => Box::new(LogSoftmax::new(settings.integer("dim"))),
        other => match images::layer(other, &settings)?.or(activations::layer(other, &settings)?) {
            Some(layer) => layer,
            None => panic!("this test does not know the layer {other}"),
        },
    })
}

fn batch_norm<const D: usize>(settings: &Settings) -> BatchNormSettings<D> {
    BatchNorm::<f32, D>::new(settings.integer("num_features") as usize)
        .eps(settings.number("eps"))
        .momentum(settings.find_setting("momentum").and_then(Value::as_f64))
        .affine(settings.flag("affine"))
        .bias(settings.find_setting("bias").is_none())
        .track_running_stats(settings.find_setting("track_running_stats").is_none())
}

/// What a case adds to the variance, where it says so.
fn eps(settings: &Settings) -> Option<f64> {
    settings.find_setting("eps").and_then(Value::as_f64)
}
