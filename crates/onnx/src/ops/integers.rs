//! Products of bytes with the kernels of `dendra-quant`, where the operands fit
//! these. Sums are exact, as those in doubles are.

use dendra_quant::kernels::{
    DepthwiseWeights, Image, MAX_DEPTH, Packed, Source, Sums, Window as Steps, depthwise, product,
    to_channels_first, to_channels_last,
};
use dendra_tensor::{Result, Tensor};

use super::pool::Window;
use crate::tensor::{Data, TypedTensor};

/// Bytes in row-major order with the byte that means 0.
struct Bytes {
    data: Vec<u8>,
    zero: u8,
}

impl Bytes {
    /// Unsigned bytes, or signed ones moved up by 128, with one zero point.
    fn of(x: &TypedTensor, zero: Option<&TypedTensor>) -> Option<Self> {
        let zero = match zero {
            None => 0,
            Some(zero) if zero.len() == 1 => zero.reals().ok()?.to_vec()[0] as i64,
            Some(_) => return None,
        };
        let (data, zero) = match &x.data {
            Data::U8(x) => (x.to_vec(), zero),
            Data::I8(x) => (x.to_vec().into_iter().map(|x| (x as u8) ^ 128).collect(), zero + 128),
            _ => return None,
        };
        Some(Self { data, zero: u8::try_from(zero).ok()? })
    }
}

/// Weights less their zero points, if they are signed bytes then.
fn weights(x: &TypedTensor, zero: Option<&TypedTensor>) -> Option<Vec<i8>> {
    let zeros = zero.map(|zero| zero.reals().map(|zeros| zeros.to_vec())).transpose().ok()?;
    let zero = match zeros.as_deref() {
        None | Some([]) => 0.0,
        Some([first, others @ ..]) if others.iter().all(|zero| zero == first) => *first,
        Some(_) => return None,
    };
    match &x.data {
        Data::I8(x) if zero == 0.0 => Some(x.to_vec()),
        Data::U8(x) if zero == 128.0 => {
            Some(x.to_vec().into_iter().map(|x| (x ^ 128) as i8).collect())
        }
        _ => None,
    }
}

/// Sums as doubles, less those of the zero point.
fn centred(sums: &[i32], columns: usize, zero: u8, of_weights: &[i32]) -> Vec<f64> {
    let zero = i64::from(zero);
    let less: Vec<i64> = of_weights.iter().map(|&sum| zero * i64::from(sum)).collect();
    let rows = sums.chunks(columns.max(1));
    rows.flat_map(|row| row.iter().zip(&less).map(|(&sum, less)| (i64::from(sum) - less) as f64))
        .collect()
}

/// The product of a tensor and a matrix of bytes, each less its zero points;
/// `None` where the kernels do not know the operands.
pub(super) fn matrix_product(
    [a, b]: [&TypedTensor; 2],
    [a_zero, b_zero]: [Option<&TypedTensor>; 2],
) -> Result<Option<Tensor<f64>>> {
    let &[depth, columns] = &b.shape()[..] else { return Ok(None) };
    if a.shape().last() != Some(&depth) || depth > MAX_DEPTH || columns == 0 {
        return Ok(None);
    }
    let (Some(left), Some(right)) = (Bytes::of(a, a_zero), weights(b, b_zero)) else {
        return Ok(None);
    };
    let mut filters = vec![0; right.len()];
    for (row, weights) in right.chunks(columns).enumerate() {
        for (column, &weight) in weights.iter().enumerate() {
            filters[column * depth + row] = weight;
        }
    }
    let packed = Packed::new(&filters, columns, depth)?;
    let mut shape = a.shape().to_vec();
    shape.pop();
    let rows: usize = shape.iter().product();
    shape.push(columns);
    let mut sums = vec![0; rows * columns];
    product(&packed, &Source::Rows(&left.data), &Sums, &mut sums);
    let values = centred(&sums, columns, left.zero, packed.sums());
    Ok(Some(Tensor::from_vec(values, shape)?))
}

/// The convolution of images of bytes, each operand less its zero points; `None`
/// where the kernels do not know the operands.
pub(super) fn convolution(
    [x, weight]: [&TypedTensor; 2],
    [x_zero, weight_zero]: [Option<&TypedTensor>; 2],
    window: &Window,
    groups: usize,
) -> Result<Option<Tensor<f64>>> {
    let (&[samples, channels, height, width], &[filters, inputs, rows, columns]) =
        (&x.shape()[..], &weight.shape()[..])
    else {
        return Ok(None);
    };
    let is_depthwise = groups == channels && filters == channels && inputs == 1;
    let depth = inputs.saturating_mul(rows).saturating_mul(columns);
    if (groups != 1 && !is_depthwise)
        || (groups == 1 && inputs != channels)
        || window.before != window.after
        || depth > MAX_DEPTH
        || filters == 0
        || depth == 0
    {
        return Ok(None);
    }
    let (Some(bytes), Some(integers)) = (Bytes::of(x, x_zero), weights(weight, weight_zero)) else {
        return Ok(None);
    };
    let pair = |sizes: &[usize]| [sizes[0], sizes[1]];
    let steps = Steps {
        kernel: pair(&window.kernel),
        stride: pair(&window.stride),
        padding: pair(&window.before),
        dilation: pair(&window.dilation),
    };
    let output = pair(&window.output);
    if steps.output([height, width]) != Some(output) {
        return Ok(None);
    }
    let mut data = vec![0; bytes.data.len()];
    to_channels_last(&bytes.data, [channels, height * width], &mut data);
    let image = Image {
        data: &data,
        size: [height, width],
        channels,
        window: steps,
        output,
        padding: bytes.zero,
    };
    let mut sums = vec![0; samples * output[0] * output[1] * filters];
    let values = if is_depthwise && groups != 1 {
        let weights = DepthwiseWeights::new(&integers, channels)?;
        depthwise(&weights, &image, &Sums, &mut sums);
        centred(&sums, filters, bytes.zero, weights.sums())
    } else {
        let taps = rows * columns;
        let mut ordered = vec![0; integers.len()];
        to_channels_last(&integers, [inputs, taps], &mut ordered);
        let packed = Packed::new(&ordered, filters, depth)?;
        product(&packed, &Source::Windows(image), &Sums, &mut sums);
        centred(&sums, filters, bytes.zero, packed.sums())
    };
    let mut out = vec![0.0; values.len()];
    to_channels_first(&values, [filters, output[0] * output[1]], &mut out);
    Ok(Some(Tensor::from_vec(out, [samples, filters, output[0], output[1]])?))
}
