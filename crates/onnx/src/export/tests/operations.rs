//! Every operation of the table.

use dendra_autograd::{Comparison, Plain};
use dendra_tensor::{
    Conv2dOptions, GridSampleMode, GridSampleOptions, GridSamplePadding, Interpolate,
    InterpolateMode, PadMode, PoolOptions, Rounding, ScatterReduction,
};

use super::*;

type Function = fn(&Var) -> Result<Var>;

/// Functions of `[N, 4, 6]`, with elements from 0.05 to 0.95.
const FUNCTIONS: &[(&str, Function)] = &[
    ("gelu_tanh", |x| Ok(x.gelu_tanh())),
    ("softplus", |x| Ok(x.softplus())),
    ("softplus_scaled", |x| Ok(x.softplus_scaled(3.0, 1.5))),
    ("exponentials", |x| Ok(&(&x.exp() + &x.exp_m1()) * &x.exp2())),
    ("logarithms", |x| Ok(&(&x.ln() + &x.ln_1p()) * &(&x.log2() + &x.log10()))),
    ("roots", |x| Ok(&x.sqrt() + &(&x.rsqrt() + &x.reciprocal()))),
    ("signs", |x| Ok(&(x - 0.5).abs() + &(&(x - 0.4).sign() + &(-x)))),
    ("circular", |x| Ok(&(&x.sin() + &x.cos()) + &(&x.tan() + &x.atan()))),
    ("inverse_circular", |x| Ok(&x.asin() + &x.acos())),
    ("hyperbolic", |x| Ok(&(&x.sinh() + &x.cosh()) + &(&x.asinh() + &x.atanh()))),
    ("acosh", |x| Ok((x + 1.5).acosh())),
    ("sinc", |x| Ok((x - 0.5).sinc())),
    ("erf", |x| Ok(&x.erf() + &x.erfc())),
    ("rounding", |x| {
        let y = x * 7.0_f32 - 3.0;
        Ok(&(&y.floor() + &(y.ceil() * 10.0_f32)) + &(y.round() * 100.0_f32))
    }),
    ("truncation", |x| {
        let y = x * 7.0_f32 - 3.0;
        Ok(&y.trunc() + &y.frac())
    }),
    ("nan_to_num", |x| Ok((x * 1e30_f32).square().nan_to_num(1.0, 2.0, 3.0))),
    ("powf", |x| Ok(x.powf(1.7))),
    ("clamp", |x| Ok(&x.clamp(0.3, 0.6) + &x.clamp_min(0.5))),
    ("logit", |x| Ok(&x.logit(None) + &x.logit(Some(0.2)))),
    ("quotient", |x| x.div(&(x + 1.0))),
    ("div_rounded", |x| {
        let down = (x - 0.5).div_rounded(&(x * 0.1_f32), Rounding::Floor)?;
        down.add(&(x - 0.5).div_rounded(&(x * 0.1_f32), Rounding::Trunc)?)
    }),
    ("extremes", |x| x.maximum(&(-x + 1.0))?.add(&x.minimum(&x.square())?)),
    ("pow", |x| x.pow(&(x + 1.0))),
    ("atan2", |x| (x - 0.5).atan2(&x.roll(1, 2)?.sub(&(x * 0.5_f32))?)),
    ("hypot", |x| x.hypot(&x.square())),
    ("remainders", |x| (x - 0.5).remainder(&(x * 0.3_f32))?.add(&(x - 0.5).fmod(&(x * 0.3_f32))?)),
    ("xlogy", |x| (x - 0.5).relu().xlogy(x)),
    ("logaddexp", |x| x.logaddexp(&(-x))),
    ("sum", |x| x.sum_axes(&[1], false)),
    ("prod", |x| x.prod_axes(&[-1], true)),
    ("max", |x| x.max_axes(&[1, 2], false)),
    ("min", |x| x.min_axes(&[-1], false)),
    ("norms", |x| x.norm_axes(2.0, &[1], true)?.add(&x.norm_axes(3.0, &[1], true)?)),
    ("no_axes", |x| x.sum_axes(&[], false)?.add(&x.norm_axes(2.0, &[], false)?)),
    ("scans", |x| x.cumsum(1)?.add(&x.cumprod(2)?)),
    ("matmul", |x| x.matmul(&x.transpose(1, 2)?)),
    ("slices", |x| Var::cat(&[&x.slice(1, 0, None, 2)?, &x.slice(1, -1, Some(0), -2)?], 1)),
    ("broadcast", |x| x.unsqueeze(1)?.broadcast_to([x.shape()[0], 3, 4, 6])),
    ("gather", |x| {
        let index = Tensor::from_fn([1, 2, 6], |i| (i % 4) as i64);
        x.narrow(0, 0, 1)?.gather(1, &index)
    }),
    ("index_select", |x| x.index_select(2, &[5, 0, 0])),
    ("index_add", |x| x.index_add(1, &[3, 0, 3], &x.narrow(1, 0, 3)?)),
    ("scatter", |x| {
        let index = Tensor::from_fn([1, 2, 6], |i| (i / 6 * 2) as i64);
        let y = x.narrow(0, 0, 1)?;
        y.scatter(1, &index, &y.square())?.add(&y.scatter_add(1, &index, &y)?)
    }),
    ("scatter_reduce", |x| {
        let index = Tensor::from_fn([1, 3, 6], |i| (i / 6 % 2) as i64);
        let (y, mut sum) = (x.narrow(0, 0, 1)?, x.narrow(0, 0, 1)?);
        for reduction in [
            ScatterReduction::Sum,
            ScatterReduction::Prod,
            ScatterReduction::Mean,
            ScatterReduction::Max,
            ScatterReduction::Min,
        ] {
            for include_self in [true, false] {
                let z = y.scatter_reduce(1, &index, &y.square(), reduction, include_self)?;
                sum = sum.mul_scalar(1.5).add(&z)?;
            }
        }
        Ok(sum)
    }),
    ("pads", |x| {
        let y = x.pad(&[[1, -2], [2, 0]], PadMode::Constant(0.5))?;
        let y = y.pad(&[[2, -1], [-1, 1]], PadMode::Reflect)?;
        let y = y.pad(&[[1, 1], [0, 2]], PadMode::Replicate)?;
        y.pad(&[[2, 1], [1, -1]], PadMode::Circular)
    }),
    ("diagonals", |x| x.diagonal(1, 1, 2)?.diag_embed(-1)),
    ("views", |x| {
        let part = x.value().narrow(1, 1, 2)?.transpose(1, 2)?;
        let samples = x.value().shape()[0];
        let whole = tape(x).input(x.value().reshape([samples * 4, 6])?);
        tape(x).input(part).mul(&whole.sum_axes(&[0, 1], false)?)
    }),
    ("windows", |x| x.unfold_axis(2, 3, 2)),
    ("grid", |x| {
        let image = x.unsqueeze(1)?;
        let grid = image.reshape([x.shape()[0], 4, 3, 2])?.mul_scalar(2.2).add_scalar(-1.1);
        let options =
            |mode, padding, align_corners| GridSampleOptions { mode, padding, align_corners };
        let bilinear = options(GridSampleMode::Bilinear, GridSamplePadding::Zeros, false);
        let nearest = options(GridSampleMode::Nearest, GridSamplePadding::Border, true);
        image.grid_sample(&grid, bilinear)?.add(&image.grid_sample(&grid, nearest)?)
    }),
    ("pooling", |x| {
        let image = x.unsqueeze(1)?;
        let options = |kernel_size: [usize; 2]| PoolOptions {
            ceil_mode: true,
            padding: [1, 0],
            stride: [2, 3],
            ..PoolOptions::new(kernel_size)
        };
        image
            .max_pool2d(options([2, 4]))?
            .add(&image.avg_pool2d(options([2, 4]), true)?)?
            .add(&image.avg_pool2d(options([2, 4]), false)?)
    }),
    ("conv2d_relu", |x| {
        let weight = Var::constant(Tensor::from_fn([2, 1, 2, 2], |i| i as f32 - 3.5));
        x.unsqueeze(1)?.conv2d_relu(&weight, None, Conv2dOptions::default(), true)
    }),
    ("comparisons", comparisons),
    ("integers", integers),
    ("adaptive", |x| {
        let image = x.unsqueeze(1)?;
        image.adaptive_avg_pool2d([3, 4])?.add(&image.adaptive_max_pool2d([3, 4])?)
    }),
    ("resized", |x| {
        let image = x.unsqueeze(1)?;
        let to = |mode| Interpolate::size(&[7, 9], mode);
        let nearest = image.interpolate(&to(InterpolateMode::Nearest))?;
        let exact = image.interpolate(&to(InterpolateMode::NearestExact))?;
        let linear = image.interpolate(&to(InterpolateMode::Linear))?;
        let aligned = image.interpolate(&to(InterpolateMode::Linear).align_corners(true))?;
        let cubic = image.interpolate(&to(InterpolateMode::Cubic))?;
        nearest.add(&exact)?.add(&linear)?.add(&aligned)?.add(&cubic)
    }),
];

fn tape(x: &Var) -> Tape {
    x.tape().cloned().unwrap_or_else(Tape::inference)
}

fn comparisons(x: &Var) -> Result<Var> {
    let (tape, other) = (tape(x), x.roll(1, 1)?);
    let mut sum = x.clone();
    for comparison in [
        Comparison::Eq,
        Comparison::Ne,
        Comparison::Lt,
        Comparison::Le,
        Comparison::Gt,
        Comparison::Ge,
    ] {
        let mask: Tensor<bool> =
            tape.call(Plain::Compare(comparison), &[x.value(), other.value()])?;
        let second: Tensor<bool> =
            tape.call(Plain::CompareScalar(comparison, 0.5), &[x.value()])?;
        let mask: Tensor<bool> = tape.call(Plain::Or, &[&mask, &second])?;
        let filled: Tensor = tape.call(Plain::MaskedFill { value: 2.0 }, &[x.value(), &mask])?;
        sum = sum.mul_scalar(1.5).add(&tape.input(filled))?;
    }
    Ok(sum)
}

fn integers(x: &Var) -> Result<Var> {
    let tape = tape(x);
    let first: Tensor<i64> = tape.call(Plain::Argmax { axis: 2 }, &[x.value()])?;
    let second: Tensor<i64> = tape.call(Plain::Argmin { axis: -1 }, &[x.value()])?;
    let sum: Tensor<i64> = tape.call(Plain::Add, &[&first, &second])?;
    let sum: Tensor<i64> = tape.call(Plain::MulScalar(3), &[&sum])?;
    let sum: Tensor<i64> = tape.call(Plain::AddScalar(-1), &[&sum])?;
    let floats: Tensor = tape.call(Plain::Cast { element: "f32" }, &[&sum])?;
    let largest = x.max_axes(&[2], false)?;
    let lengths: Tensor<i64> = tape.call(Plain::Argmax { axis: 1 }, &[largest.value()])?;
    let before: Tensor<bool> = tape.call(Plain::LengthMask { length: 4 }, &[&lengths])?;
    tape.input(floats).where_mask(&before, &largest)
}

pub(super) fn check_all() {
    let none = Sequential::input([1]).identity().build(&mut Rng::seed(1)).unwrap();
    let inputs = |samples: usize, seed: u64| {
        Tensor::uniform([samples, 4, 6], 0.05, 0.95, &mut Rng::seed(seed))
    };
    for (name, function) in FUNCTIONS {
        let name = format!("function_{name}");
        difference(&name, &none, &[Some(0)], inputs, |x, tape| {
            Ok(vec![function(&tape.input(x.clone()))?])
        });
    }
}

#[test]
fn each_operation_has_a_row_or_a_reason() {
    let unknown = dendra_tensor::ops::table().into_iter().map(|row| row.traced);
    let unknown: Vec<&str> = unknown
        .filter(|name| !TABLES.into_iter().flatten().any(|(known, _)| known == name))
        .collect();
    assert!(unknown.is_empty(), "give these a row: {unknown:?}");
    let mut names: Vec<&str> = TABLES.into_iter().flatten().map(|(name, _)| *name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name has two rows");
}

#[test]
fn all_that_cannot_be_exported_is_named() {
    let none = Sequential::input([3]).identity().build(&mut Rng::seed(1)).unwrap();
    let x = Tensor::<f32>::full([2, 3], 0.5);
    let trace = Trace::of_function(&none, &x, |x, tape| {
        let x = tape.input(x.clone());
        Ok(x.lgamma().digamma().relu())
    });
    let error = Export::of_trace(&trace.unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "onnx::export: these operations cannot be exported: digamma (ONNX has no operator for \
         it), lgamma (ONNX has no operator for it)"
    );
}
