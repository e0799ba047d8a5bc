//! Every operation against PyTorch: its value on plain tensors and on
//! variables, and the gradient of every input.

use std::collections::BTreeSet;

use dendra_autograd::{Tape, Var};
use dendra_tensor::ops::{Ops, table};
use dendra_tensor::{
    AttentionMask, AttentionOptions, ChannelStatistics, Conv2dOptions, ConvTransposeOptions,
    CrossEntropyOptions, Error, Float, NormStatistics, Pool2dOptions, RecurrentOptions, Reduction,
    Result, Tensor,
};
use serde_json::Value;

#[path = "pytorch_ops/composed.rs"]
mod composed;
#[path = "pytorch_ops/elementwise.rs"]
mod elementwise;
#[path = "pytorch_ops/extremes.rs"]
mod extremes;
#[cfg(feature = "fft")]
#[path = "pytorch_ops/fft.rs"]
mod fft;
#[path = "../../../tests/fixtures/reader.rs"]
mod fixtures;
#[path = "pytorch_ops/indexing.rs"]
mod indexing;
#[cfg(feature = "linalg")]
#[path = "pytorch_ops/linalg.rs"]
mod linalg;
#[path = "pytorch_ops/slicing.rs"]
mod slicing;
#[path = "pytorch_ops/special.rs"]
mod special;

use fixtures::{Case, Comparison, Fixture, Stored, integers};

/// Tolerances relative to the largest value of the compared tensor.
struct Tolerance {
    forward: f64,
    gradient: f64,
}

const SINGLE: Tolerance = Tolerance { forward: 1e-5, gradient: 1e-4 };
const DOUBLE: Tolerance = Tolerance { forward: 1e-12, gradient: 1e-11 };

/// The fixtures of the operations, those of the enabled features included.
const FILES: &[&str] = &[
    "ops",
    #[cfg(feature = "fft")]
    "fft",
    #[cfg(feature = "linalg")]
    "linalg",
];

#[test]
fn operations_agree_with_pytorch() {
    FILES.iter().for_each(|file| agree::<f32>(file, &SINGLE));
}

#[test]
fn operations_agree_with_pytorch_in_double_precision() {
    FILES.iter().for_each(|file| agree::<f64>(file, &DOUBLE));
}

#[test]
fn cross_entropy_agrees_with_pytorch() {
    cross_entropy_agrees::<f32>(&SINGLE);
}

#[test]
fn cross_entropy_agrees_with_pytorch_in_double_precision() {
    cross_entropy_agrees::<f64>(&DOUBLE);
}

#[test]
fn every_operation_has_reference_values() {
    let files = FILES.iter().chain(&["losses"]).map(|file| Fixture::open::<f32>(file));
    let files: Vec<Fixture> = files.collect();
    let covered: BTreeSet<&str> = files.iter().flat_map(|file| file.kinds()).collect();
    let missing: BTreeSet<_> =
        table().iter().map(|row| row.name).filter(|name| !covered.contains(name)).collect();
    assert!(missing.is_empty(), "operations without reference values: {missing:?}");
}

fn agree<T: Float + Stored>(file: &str, tolerance: &Tolerance) {
    let fixture = Fixture::open::<T>(file);
    let mut comparison = Comparison::default();
    for case in fixture.cases() {
        let compared = match case.kind() {
            "argmax" => compare_argmax::<T>(&case, &mut comparison),
            "batch_norm" if case.flag("training") => {
                compare::<T>(&case, tolerance, &mut comparison)
                    .and_then(|()| compare_running::<T>(&case, tolerance, &mut comparison))
            }
            _ => compare::<T>(&case, tolerance, &mut comparison),
        };
        if let Err(error) = compared {
            comparison.fail(format!("{}: {error}", case.key));
        }
    }
    comparison.finish();
    fixture.assert_all_read();
}

/// The inputs of a case that are floating-point numbers, with their positions.
fn inputs<T: Float + Stored>(case: &Case) -> Vec<(usize, Tensor<T>)> {
    (0..)
        .map(|i| (i, format!("in{i}")))
        .take_while(|(_, name)| case.has(name))
        .filter(|(_, name)| case.holds::<T>(name))
        .map(|(i, name)| (i, case.tensor(&name)))
        .collect()
}

/// What the operation sees of input `i`: all, or the view that the case names.
fn seen<V: Ops>(case: &Case, i: usize, input: &V) -> Result<V> {
    let view = case.find_setting("views").map_or(&Value::Null, |views| &views[i]);
    if view.is_null() {
        Ok(input.clone())
    } else if let Some(axes) = view.get("permute") {
        input.permute(&integers(axes))
    } else {
        let [axis, start, end, step] = &view["slice"].as_array().unwrap()[..] else {
            panic!("{}: what view is {view}?", case.key)
        };
        let bound = |value: &Value| value.as_i64().map(|bound| bound as isize);
        input.slice(bound(axis).unwrap(), bound(start).unwrap(), bound(end), bound(step).unwrap())
    }
}

fn compare<T: Float + Stored>(
    case: &Case,
    tolerance: &Tolerance,
    comparison: &mut Comparison,
) -> Result<()> {
    let inputs = inputs::<T>(case);
    let expected = case.tensor("out");
    let key = case.key;

    let views =
        inputs.iter().map(|(i, input)| seen(case, *i, input)).collect::<Result<Vec<_>>>()?;
    let out = apply(case, &views)?;
    comparison.close(format!("{key} of tensors"), &out, &expected, tolerance.forward);

    let tape = Tape::training(0, 0);
    let leaves: Vec<(usize, Var<T>)> =
        inputs.into_iter().map(|(i, input)| (i, tape.leaf(input))).collect();
    let views = leaves.iter().map(|(i, leaf)| seen(case, *i, leaf)).collect::<Result<Vec<_>>>()?;
    let out = apply(case, &views)?;
    comparison.close(format!("{key} of variables"), out.value(), &expected, tolerance.forward);
    let gradients = out.mul(&Var::constant(case.tensor("cotangent")))?.sum().backward()?;
    for (i, leaf) in &leaves {
        let Some(expected) = case.find(&format!("grad{i}")) else { continue };
        let what = format!("{key}, gradient of input {i}");
        match gradients.wrt(leaf) {
            Some(gradient) => comparison.close(what, gradient, &expected, tolerance.gradient),
            None => comparison.fail(format!("{what}: there is none")),
        }
    }
    Ok(())
}

fn compare_argmax<T: Float + Stored>(case: &Case, comparison: &mut Comparison) -> Result<()> {
    let [(_, input)] = &inputs::<T>(case)[..] else { panic!("{}: one input", case.key) };
    let actual = seen(case, 0, input)?.argmax(case.integer("axis"))?;
    comparison.same(case.key, &actual, &case.tensor("out"));
    Ok(())
}

/// The running statistics after a batch, which start from mean 0 and variance
/// 1 and take up the unbiased variance.
fn compare_running<T: Float + Stored>(
    case: &Case,
    tolerance: &Tolerance,
    comparison: &mut Comparison,
) -> Result<()> {
    let (_, x) = &inputs::<T>(case)[0];
    let x = seen(case, 0, x)?;
    let ChannelStatistics { mean, variance } = ChannelStatistics::of(&x)?;
    let momentum = case.number("momentum");
    let count = (x.len() / x.shape()[1]) as f64;
    let variance = variance.mul_scalar(momentum * count / (count - 1.0)).add_scalar(1.0 - momentum);
    for (name, found) in [("mean", mean.mul_scalar(momentum)), ("var", variance)] {
        let expected = case.tensor(&format!("after/running_{name}"));
        comparison.close(format!("{}, {name}", case.key), &found, &expected, tolerance.forward);
    }
    Ok(())
}

/// Applies a case's operation to its inputs, tensors or variables.
fn apply<V: Ops>(case: &Case, inputs: &[V]) -> Result<V> {
    let all: Vec<&V> = inputs.iter().collect();
    let keep = || case.flag("keep_dims");
    let axes = || case.integers("axes");
    match (case.kind(), inputs) {
        ("relu", [x]) => Ok(x.relu()),
        ("leaky_relu", [x]) => Ok(x.leaky_relu(case.number("slope"))),
        ("elu", [x]) => Ok(x.elu(case.number("alpha"))),
        ("gelu", [x]) => Ok(x.gelu()),
        ("gelu_tanh", [x]) => Ok(x.gelu_tanh()),
        ("silu", [x]) => Ok(x.silu()),
        ("softplus", [x]) => Ok(x.softplus()),
        ("sigmoid", [x]) => Ok(x.sigmoid()),
        ("log_sigmoid", [x]) => Ok(x.log_sigmoid()),
        ("tanh", [x]) => Ok(x.tanh()),
        ("exp", [x]) => Ok(x.exp()),
        ("exp_m1", [x]) => Ok(x.exp_m1()),
        ("ln", [x]) => Ok(x.ln()),
        ("ln_1p", [x]) => Ok(x.ln_1p()),
        ("sqrt", [x]) => Ok(x.sqrt()),
        ("rsqrt", [x]) => Ok(x.rsqrt()),
        ("square", [x]) => Ok(x.square()),
        ("reciprocal", [x]) => Ok(x.reciprocal()),
        ("abs", [x]) => Ok(x.abs()),
        ("neg", [x]) => Ok(x.neg()),
        ("sin", [x]) => Ok(x.sin()),
        ("cos", [x]) => Ok(x.cos()),
        ("tan", [x]) => Ok(x.tan()),
        ("erf", [x]) => Ok(x.erf()),
        ("powf", [x]) => Ok(x.powf(case.number("exponent"))),
        ("clamp", [x]) => Ok(x.clamp(case.number("low"), case.number("high"))),
        ("add_scalar", [x]) => Ok(x.add_scalar(case.number("scalar"))),
        ("mul_scalar", [x]) => Ok(x.mul_scalar(case.number("scalar"))),

        ("add", [x, y]) => x.add(y),
        ("sub", [x, y]) => x.sub(y),
        ("mul", [x, y]) => x.mul(y),
        ("div", [x, y]) => x.div(y),
        ("maximum", [x, y]) => x.maximum(y),
        ("minimum", [x, y]) => x.minimum(y),
        ("pow", [x, y]) => x.pow(y),

        ("sum", [x]) => Ok(x.sum()),
        ("mean", [x]) => Ok(x.mean()),
        ("sum_axes", [x]) => x.sum_axes(&axes(), keep()),
        ("mean_axes", [x]) => x.mean_axes(&axes(), keep()),
        ("prod_axes", [x]) => x.prod_axes(&axes(), keep()),
        ("max_axes", [x]) => x.max_axes(&axes(), keep()),
        ("min_axes", [x]) => x.min_axes(&axes(), keep()),
        ("var_axes", [x]) => x.var_axes(&axes(), case.number("correction"), keep()),
        ("softmax", [x]) => x.softmax(case.integer("axis")),
        ("log_softmax", [x]) => x.log_softmax(case.integer("axis")),
        ("logsumexp", [x]) => x.logsumexp(case.integer("axis"), keep()),

        ("matmul", [x, y]) => x.matmul(y),
        ("linear", [x, weight]) => x.linear(weight, None),
        ("linear", [x, weight, bias]) => x.linear(weight, Some(bias)),

        ("conv2d" | "conv2d_relu", [x, weight, bias @ ..]) => {
            let options = Conv2dOptions {
                stride: case.pair("stride"),
                padding: case.pair("padding"),
                dilation: case.pair("dilation"),
                groups: case.integer("groups") as usize,
            };
            match case.kind() {
                "conv2d" => x.conv2d(weight, bias.first(), options),
                _ => x.conv2d_relu(weight, bias.first(), options, case.flag("max_pool")),
            }
        }
        ("conv_transpose2d", [x, weight, bias @ ..]) => {
            let options = ConvTransposeOptions {
                stride: case.pair("stride"),
                padding: case.pair("padding"),
                output_padding: case.pair("output_padding"),
                dilation: case.pair("dilation"),
                groups: case.integer("groups") as usize,
            };
            x.conv_transpose2d(weight, bias.first(), options)
        }
        ("adaptive_avg_pool2d", [x]) => x.adaptive_avg_pool2d(case.pair("output_size")),
        ("adaptive_max_pool2d", [x]) => x.adaptive_max_pool2d(case.pair("output_size")),
        ("batch_norm", [x, rest @ ..]) => {
            let (affine, running) = rest.split_at(if case.flag("affine") { 2 } else { 0 });
            let statistics = match running {
                [mean, variance] => NormStatistics::Fixed(ChannelStatistics {
                    mean: mean.value().clone(),
                    variance: variance.value().clone(),
                }),
                _ => NormStatistics::Batch,
            };
            x.batch_norm(affine.first(), affine.get(1), statistics, case.number("eps"))
        }
        ("max_pool2d", [x]) => {
            let dilation = case.pair("dilation");
            x.max_pool2d(Pool2dOptions { dilation, ..pool2d_options(case) })
        }
        ("avg_pool2d", [x]) => x.avg_pool2d(pool2d_options(case), case.flag("count_include_pad")),

        ("layer_norm", [x, affine @ ..]) => {
            let shape = case.sizes("normalized_shape");
            x.layer_norm(shape, affine.first(), affine.get(1), case.number("eps"))
        }
        ("rms_norm", [x, affine @ ..]) => {
            x.rms_norm(case.sizes("normalized_shape"), affine.first(), case.number("eps"))
        }
        ("group_norm", [x, affine @ ..]) => {
            let groups = case.integer("groups") as usize;
            x.group_norm(groups, affine.first(), affine.get(1), case.number("eps"))
        }

        ("embedding", [table]) => {
            let padding = case.find_setting("padding_idx").and_then(Value::as_u64);
            table.embedding(&case.tensor("in1"), padding.map(|row| row as usize))
        }
        ("lstm", [x, h, c, w, u, biases @ ..]) => {
            x.lstm([h, c], [w, u], pair(biases), recurrent_options(case))
        }
        ("gru", [x, h, w, u, biases @ ..]) => {
            x.gru(h, [w, u], pair(biases), recurrent_options(case))
        }
        ("rnn", [x, h, w, u, biases @ ..]) => {
            x.rnn(h, [w, u], pair(biases), case.flag("relu"), recurrent_options(case))
        }
        ("scaled_dot_product_attention", [q, k, v, mask @ ..]) => {
            let mask = match mask {
                [mask] => AttentionMask::Add(mask.value().clone()),
                _ => case.find("in3").map_or(AttentionMask::None, AttentionMask::Keep),
            };
            let scale = case.find_setting("scale").and_then(Value::as_f64);
            let is_causal = case.flag("is_causal");
            let options = AttentionOptions { mask, is_causal, scale, dropout: None };
            q.scaled_dot_product_attention(k, v, options)
        }

        ("reshape", [x]) => x.reshape(case.sizes("shape")),
        ("broadcast_to", [x]) => x.broadcast_to(case.sizes("shape")),
        ("flatten", [x]) => x.flatten(case.integer("start"), case.integer("end")),
        ("squeeze", [x]) => x.squeeze(case.integer("axis")),
        ("unsqueeze", [x]) => x.unsqueeze(case.integer("axis")),
        ("permute", [x]) => x.permute(&axes()),
        ("transpose", [x]) => x.transpose(case.integer("first"), case.integer("second")),
        ("slice", [x]) => {
            let end = case.find_setting("end").and_then(Value::as_i64).map(|end| end as isize);
            x.slice(case.integer("axis"), case.integer("start"), end, case.integer("step"))
        }
        ("narrow", [x]) => {
            let [start, length] = ["start", "length"].map(|name| case.integer(name) as usize);
            x.narrow(case.integer("axis"), start, length)
        }
        ("cat", _) => V::cat(&all, case.integer("axis")),
        ("stack", _) => V::stack(&all, case.integer("axis")),
        ("gather", [x]) => x.gather(case.integer("axis"), &case.tensor("in1")),
        ("index_select", [x]) => {
            let indices = case.tensor::<i64>("in1").to_vec();
            let indices: Vec<usize> = indices.into_iter().map(|i| i as usize).collect();
            x.index_select(case.integer("axis"), &indices)
        }
        ("where_mask", [x, other]) => x.where_mask(&case.tensor("in1"), other),
        (op, _) => elementwise::apply(case, inputs)
            .or_else(|| slicing::apply(case, inputs))
            .or_else(|| composed::apply(case, inputs))
            .or_else(|| of_features(case, inputs))
            .unwrap_or_else(|| Err(Error::argument(op, "this test does not know the operation"))),
    }
}

/// Applies a case's operation, if it is one of a feature.
fn of_features<V: Ops>(_case: &Case, _inputs: &[V]) -> Option<Result<V>> {
    #[cfg(feature = "fft")]
    if let Some(result) = fft::apply(_case, _inputs) {
        return Some(result);
    }
    #[cfg(feature = "linalg")]
    if let Some(result) = linalg::apply(_case, _inputs) {
        return Some(result);
    }
    None
}

/// Two biases or none.
fn pair<V>(biases: &[V]) -> Option<[&V; 2]> {
    biases.first_chunk().map(|pair: &[V; 2]| pair.each_ref())
}

fn recurrent_options(case: &Case) -> RecurrentOptions {
    let lengths = case.find_setting("lengths").filter(|lengths| !lengths.is_null());
    let lengths = lengths.map(|_| case.sizes("lengths"));
    RecurrentOptions { lengths, reverse: case.flag("reverse") }
}

fn pool2d_options(case: &Case) -> Pool2dOptions {
    Pool2dOptions {
        stride: case.pair("stride"),
        padding: case.pair("padding"),
        ceil_mode: case.flag("ceil_mode"),
        ..Pool2dOptions::new(case.pair("kernel_size"))
    }
}

/// The operation on labels, whose reference values are those of the loss.
fn cross_entropy_agrees<T: Float + Stored>(tolerance: &Tolerance) {
    let fixture = Fixture::open::<T>("losses");
    let mut comparison = Comparison::default();
    for case in fixture.cases_of("cross_entropy").filter(|case| case.text("target") == "index") {
        if let Err(error) = compare_cross_entropy::<T>(&case, tolerance, &mut comparison) {
            comparison.fail(format!("{}: {error}", case.key));
        }
    }
    comparison.finish();
}

fn compare_cross_entropy<T: Float + Stored>(
    case: &Case,
    tolerance: &Tolerance,
    comparison: &mut Comparison,
) -> Result<()> {
    let defaults = CrossEntropyOptions::<T>::default();
    let setting = |name| case.find_setting(name);
    let options = CrossEntropyOptions {
        weight: case.find("weight"),
        ignore_index: setting("ignore_index")
            .map_or(defaults.ignore_index, |label| label.as_i64().unwrap()),
        label_smoothing: setting("label_smoothing")
            .map_or(defaults.label_smoothing, |part| part.as_f64().unwrap()),
        reduction: match case.text("reduction") {
            "mean" => Reduction::Mean,
            "sum" => Reduction::Sum,
            "none" => Reduction::None,
            other => panic!("{}: what is {other}?", case.key),
        },
    };
    let logits = Tape::training(0, 0).leaf(case.tensor::<T>("input"));
    let loss = logits.cross_entropy(&case.tensor("target"), options)?;
    comparison.close(case.key, loss.value(), &case.tensor("out"), tolerance.forward);
    let gradients = loss.mul(&Var::constant(case.tensor("cotangent")))?.sum().backward()?;
    let gradient = gradients.wrt(&logits).expect("the logits are a leaf of the loss");
    let what = format!("{}, gradient", case.key);
    comparison.close(what, gradient, &case.tensor("grad"), tolerance.gradient);
    Ok(())
}
