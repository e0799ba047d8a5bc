//! Operators of quantised models. Products of integers are summed exactly.

use dendra_autograd::Var;
use dendra_tensor::{Ops, Result, Shape, Tensor};

use super::cast::convert;
use super::conv::convolution;
use super::integers;
use super::pool::{Window, window};
use super::{Operator, many, of, one};
use crate::call::Call;
use crate::element::ElementType;
use crate::tensor::TypedTensor;
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("ConvInteger", conv_integer),
    one("DequantizeLinear", dequantize),
    many("DynamicQuantizeLinear", dynamic_quantize),
    one("MatMulInteger", matmul_integer),
    one("QLinearConv", qlinear_conv),
    one("QLinearMatMul", qlinear_matmul),
    one("QuantizeLinear", quantize),
];

/// A product with the transposed weights and a bias, which ONNX Runtime has in a
/// domain of its own. Files do not name it here: a plan puts it in the place of
/// operators on floats.
pub(crate) static QGEMM: Operator = of("com.microsoft", one("QGemm", qgemm));

fn qgemm(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, weight) = (call.tensor(0)?, call.tensor(3)?);
    let transposed = crate::tensor::each!(weight, x => x.permute(&[1, 0])?);
    let zeros = [call.optional(2)?, call.optional(5)?];
    let mut sums = sums_of_matrices([x, &transposed], zeros)?;
    if let Some(bias) = call.optional(6)? {
        sums = sums.add(&bias.reals()?)?;
    }
    let x_scale = call.tensor(1)?.reals()?.reshape(Shape::scalar())?.cast::<f32>();
    let scale = x_scale.mul(&call.tensor(4)?.reals()?.cast::<f32>())?;
    match call.optional(7)? {
        Some(y_scale) => requantised(&sums, &scale, y_scale, call.optional(8)?, ElementType::U8),
        None => Ok(sums.cast::<f32>().mul(&scale)?.into()),
    }
}

/// Scales or zero points for each element of a shape. There is one for all
/// elements, one for each index of an axis, or one for each block of an axis.
fn spread(call: &Call<'_>, x: &TypedTensor, shape: &Shape) -> Result<Tensor<f64>> {
    let values = x.reals()?;
    if values.len() == 1 {
        return values.reshape(Shape::scalar())?.broadcast_to(shape);
    }
    let axis = crate::tensor::axis_of(call.int("axis", 1), shape.len())?;
    let block = usize::try_from(call.int("block_size", 0)).unwrap_or(0);
    if block == 0 {
        let mut lengths = vec![1; shape.len()];
        lengths[axis] = values.len();
        return values.reshape(lengths)?.broadcast_to(shape);
    }
    let blocks = values.shape().get(axis).copied().unwrap_or(0);
    if shape[axis].div_ceil(block) != blocks {
        return call.refuse(format!("blocks of {block} do not fit {shape}"));
    }
    let indices: Vec<usize> = (0..shape[axis]).map(|i| i / block).collect();
    values.index_select(axis as isize, &indices)?.broadcast_to(shape)
}

/// Rounds a number to the precision of an element type.
fn rounded(element: ElementType, x: Tensor<f64>) -> Result<Tensor<f64>> {
    TypedTensor::real(element, x).reals()
}

fn quantize(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let zero = call.optional(2)?;
    let to = match (zero, call.int("output_dtype", 0)) {
        (Some(zero), _) => zero.element(),
        (None, 0) => ElementType::U8,
        (None, code) => ElementType::from_code(code)?,
    };
    let precision = match call.int("precision", 0) {
        0 => x.element(),
        code => ElementType::from_code(code)?,
    };
    let shape = x.shape();
    let precision = if precision.is_float() { precision } else { ElementType::F32 };
    let quotient = x.reals()?.div(&spread(call, scale, shape)?)?;
    let quotient = rounded(precision, quotient)?;
    if to.is_float() {
        let saturate = call.int("saturate", 1) != 0;
        return convert(&quotient.into(), to, saturate);
    }
    let mut y = quotient.round();
    if let Some(zero) = zero {
        y = y.add(&spread(call, zero, shape)?)?;
    }
    Ok(TypedTensor::real(to, y))
}

fn dequantize(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let to = match call.int("output_dtype", 0) {
        0 => scale.element(),
        code => ElementType::from_code(code)?,
    };
    let mut y = x.reals()?;
    if let Some(zero) = call.optional(2)?.filter(|_| !x.element().is_float()) {
        y = y.sub(&spread(call, zero, x.shape())?)?;
    }
    Ok(TypedTensor::real(to, y.mul(&spread(call, scale, x.shape())?)?))
}

fn dynamic_quantize(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?.to::<f32>()?;
    let values = x.to_vec();
    let most = values.iter().copied().fold(0.0_f32, f32::max);
    let least = values.iter().copied().fold(0.0_f32, f32::min);
    let scale = if most == least { 1.0 } else { most - least } / 255.0;
    let zero = (-least / scale).clamp(0.0, 255.0).round_ties_even();
    let y = x.map(|x| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8);
    Ok(vec![y.into(), Tensor::scalar(scale).into(), Tensor::scalar(zero as u8).into()])
}

/// Subtracts the zero point from integers. Several zero points belong to an
/// axis.
fn centred(x: &TypedTensor, zero: Option<&TypedTensor>, axis: usize) -> Result<Tensor<f64>> {
    let values = x.reals()?;
    let Some(zero) = zero else { return Ok(values) };
    let zeros = zero.reals()?;
    let zeros = match (zeros.len(), zeros.rank()) {
        (1, _) => zeros.reshape(Shape::scalar())?,
        (count, 1) => {
            let mut shape = vec![1; x.rank()];
            shape[axis] = count;
            zeros.reshape(shape)?
        }
        _ => zeros,
    };
    values.sub(&zeros)
}

/// Sums of 32-bit integers, which wrap around.
fn accumulated(x: &Tensor<f64>) -> TypedTensor {
    TypedTensor::whole(ElementType::I32, x.map(|x| x as i64))
}

fn matmul_integer(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    Ok(accumulated(&sums_of_matrices([a, b], [call.optional(2)?, call.optional(3)?])?))
}

/// The product of two tensors, each less its zero points.
fn sums_of_matrices(
    [a, b]: [&TypedTensor; 2],
    zeros: [Option<&TypedTensor>; 2],
) -> Result<Tensor<f64>> {
    if let Some(sums) = integers::matrix_product([a, b], zeros)? {
        return Ok(sums);
    }
    let a = centred(a, zeros[0], a.rank().saturating_sub(2))?;
    let b = centred(b, zeros[1], b.rank().saturating_sub(1))?;
    a.matmul(&b)
}

fn qlinear_matmul(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b) = (call.tensor(0)?, call.tensor(3)?);
    let rows = a.rank().saturating_sub(2);
    let last = b.rank().saturating_sub(1);
    let product = sums_of_matrices([a, b], [call.optional(2)?, call.optional(5)?])?;
    let a_scale = along(call.tensor(1)?, rows, product.rank())?;
    let b_scale = along(call.tensor(4)?, last, product.rank())?;
    let scale = a_scale.cast::<f32>().mul(&b_scale.cast::<f32>())?;
    requantised(&product, &scale, call.tensor(6)?, call.optional(7)?, a.element())
}

/// Scales that belong to an axis.
fn along(x: &TypedTensor, axis: usize, rank: usize) -> Result<Tensor<f64>> {
    let x = x.reals()?;
    if x.len() == 1 {
        return x.reshape(Shape::scalar());
    }
    let mut shape = vec![1; rank];
    match shape.get_mut(axis) {
        Some(length) if x.rank() == 1 => {
            *length = x.len();
            x.reshape(shape)
        }
        _ => Ok(x),
    }
}

/// Converts sums of products in units of `scale` to integers of the output. The
/// operations on `f32` and their order are those of ONNX Runtime, so that ties
/// are rounded in the same way.
fn requantised(
    sums: &Tensor<f64>,
    scale: &Tensor<f32>,
    y_scale: &TypedTensor,
    zero: Option<&TypedTensor>,
    default: ElementType,
) -> Result<TypedTensor> {
    let y_scale = y_scale.reals()?.reshape(Shape::scalar())?.cast::<f32>();
    let y = sums.cast::<f32>().mul(&scale.div(&y_scale)?)?.round().cast::<f64>();
    Ok(match zero {
        Some(zero) => {
            let y = y.add(&zero.reals()?.reshape(Shape::scalar())?)?;
            TypedTensor::real(zero.element(), y)
        }
        None => TypedTensor::real(default, y),
    })
}

fn groups(call: &Call<'_>) -> usize {
    usize::try_from(call.int("group", 1)).unwrap_or(0)
}

fn conv_integer(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, weight) = (call.tensor(0)?, call.tensor(1)?);
    let kernel = weight.shape().get(2..).unwrap_or_default().to_vec();
    let window = window(call, x.shape(), Some(&kernel))?;
    let zeros = [call.optional(2)?, call.optional(3)?];
    Ok(accumulated(&sums_of_images([x, weight], zeros, &window, groups(call))?))
}

/// The convolution of two tensors, each less its zero points.
fn sums_of_images(
    [x, weight]: [&TypedTensor; 2],
    zeros: [Option<&TypedTensor>; 2],
    window: &Window,
    groups: usize,
) -> Result<Tensor<f64>> {
    if let Some(sums) = integers::convolution([x, weight], zeros, window, groups)? {
        return Ok(sums);
    }
    let x = Var::new(centred(x, zeros[0], 1)?);
    let weight = Var::new(centred(weight, zeros[1], 0)?);
    Ok(convolution(&x, &weight, None, window, groups)?.into_value())
}

fn qlinear_conv(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, weight) = (call.tensor(0)?, call.tensor(3)?);
    let kernel = weight.shape().get(2..).unwrap_or_default().to_vec();
    let window = window(call, x.shape(), Some(&kernel))?;
    let zeros = [call.optional(2)?, call.optional(5)?];
    let mut sums = sums_of_images([x, weight], zeros, &window, groups(call))?;
    if let Some(bias) = call.optional(8)? {
        let mut shape = vec![1; x.rank()];
        shape[1] = bias.len();
        sums = sums.add(&bias.reals()?.reshape(shape)?)?;
    }
    let x_scale = call.tensor(1)?.reals()?.reshape(Shape::scalar())?.cast::<f32>();
    let scale = along(call.tensor(4)?, 1, x.rank())?.cast::<f32>();
    let scale = x_scale.mul(&scale)?;
    requantised(&sums, &scale, call.tensor(6)?, call.optional(7)?, x.element())
}
