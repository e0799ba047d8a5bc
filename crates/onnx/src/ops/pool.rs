//! Pooling, and the windows that pooling and convolutions share.

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Ops, PadMode, PoolOptions, Result, Shape, Tensor};

use super::arithmetic::mul_two;
use super::conv::setting;
use super::indexing::keys;
use super::shape::{check_size, mapped, zero};
use super::{Operator, many, one};
use crate::call::{Call, shape_of};
use crate::tensor::{TypedTensor, float};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("AveragePool", average_pool),
    one("GlobalAveragePool", global_average_pool),
    one("GlobalLpPool", global_lp_pool),
    one("GlobalMaxPool", global_max_pool),
    one("LpPool", lp_pool),
    many("MaxPool", max_pool),
    one("MaxUnpool", max_unpool),
];

/// How windows move over the axes after batch and channels.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) kernel: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    /// The padding before and after each axis.
    pub(super) before: Vec<usize>,
    pub(super) after: Vec<usize>,
    /// The number of windows along each axis.
    pub(super) output: Vec<usize>,
}

impl Window {
    pub(super) fn new(
        input: &[usize],
        kernel: &[usize],
        stride: &[usize],
        dilation: &[usize],
        pads: &[usize],
        ceil: bool,
    ) -> Result<Self> {
        let axes = input.len();
        let (before, after) = pads.split_at(axes);
        let mut output = Vec::with_capacity(axes);
        for i in 0..axes {
            let padded = input[i].saturating_add(before[i]).saturating_add(after[i]);
            let reach = kernel[i].saturating_sub(1).checked_mul(dilation[i]);
            let Some(room) = reach.and_then(|reach| padded.checked_sub(reach + 1)) else {
                let message = format!("windows of {kernel:?} do not fit {input:?}");
                return Err(Error::shape("window", message));
            };
            let mut count = if ceil { room.div_ceil(stride[i]) } else { room / stride[i] } + 1;
            // The last window must start inside the input or before it.
            if ceil && (count - 1) * stride[i] >= input[i] + before[i] {
                count -= 1;
            }
            output.push(count);
        }
        Ok(Self {
            kernel: kernel.to_vec(),
            stride: stride.to_vec(),
            dilation: dilation.to_vec(),
            before: before.to_vec(),
            after: after.to_vec(),
            output,
        })
    }

    /// The coordinates along each axis of the taps of a window, in row-major
    /// order; they may be outside the input.
    fn coordinates(&self, index: usize) -> impl Iterator<Item = Vec<i64>> + '_ {
        let axes = self.kernel.len();
        let mut rest = index;
        let mut start = vec![0; axes];
        for axis in (0..axes).rev() {
            let step = rest % self.output[axis];
            rest /= self.output[axis];
            start[axis] = (step * self.stride[axis]) as i64 - self.before[axis] as i64;
        }
        let taps: usize = self.kernel.iter().product();
        (0..taps).map(move |tap| {
            let mut rest = tap;
            let mut at = start.clone();
            for axis in (0..axes).rev() {
                at[axis] += (rest % self.kernel[axis] * self.dilation[axis]) as i64;
                rest /= self.kernel[axis];
            }
            at
        })
    }

    /// The row-major positions of the taps of a window; `None` outside the
    /// input.
    pub(super) fn taps<'a>(
        &'a self,
        input: &'a [usize],
        index: usize,
    ) -> impl Iterator<Item = Option<usize>> + 'a {
        self.coordinates(index).map(move |at| {
            at.iter().zip(input).try_fold(0, |position, (&at, &length)| {
                let at = usize::try_from(at).ok().filter(|&at| at < length)?;
                Some(position * length + at)
            })
        })
    }

    /// The number of taps of a window that are in the input or its padding.
    fn covered(&self, input: &[usize], index: usize) -> usize {
        let inside = |at: &Vec<i64>| {
            at.iter().enumerate().all(|(i, &at)| at < (input[i] + self.after[i]) as i64)
        };
        self.coordinates(index).filter(inside).count()
    }
}

/// The windows of a node, over an input `[N, C, …]`.
pub(super) fn window(call: &Call<'_>, shape: &Shape, kernel: Option<&[usize]>) -> Result<Window> {
    let input = shape.get(2..).unwrap_or_default();
    let axes = input.len();
    let kernel = match (call.ints("kernel_shape"), kernel) {
        (_, Some(kernel)) => kernel.to_vec(),
        (Some(kernel), None) => shape_of(kernel)?.to_vec(),
        (None, None) => return call.refuse("kernel_shape is missing"),
    };
    if kernel.len() != axes || axes == 0 {
        return call.refuse(format!("a kernel of {kernel:?} does not fit shape {shape}"));
    }
    check_size(&kernel.iter().copied().collect())?;
    let (stride, dilation) =
        (setting(call, "strides", axes, 1)?, setting(call, "dilations", axes, 1)?);
    let mut pads = setting(call, "pads", 2 * axes, 0)?;
    let auto = call.text("auto_pad", "NOTSET");
    if auto.starts_with("SAME") {
        for i in 0..axes {
            let windows = input[i].div_ceil(stride[i]);
            let reach = kernel[i].saturating_sub(1) * dilation[i] + 1;
            let needed = windows.saturating_sub(1) * stride[i] + reach;
            let total = needed.saturating_sub(input[i]);
            let half = total / 2;
            let (before, after) =
                if auto == "SAME_LOWER" { (total - half, half) } else { (half, total - half) };
            (pads[i], pads[axes + i]) = (before, after);
        }
    } else if auto == "VALID" {
        pads.fill(0);
    }
    Window::new(input, &kernel, &stride, &dilation, &pads, call.flag("ceil_mode"))
}

/// The shape of the output.
fn pooled(shape: &Shape, window: &Window) -> Result<Shape> {
    let pooled = shape[..2].iter().chain(&window.output).copied().collect();
    check_size(&pooled)?;
    Ok(pooled)
}

/// Pooling by the kernels of [`Ops`], where they support the windows.
macro_rules! fast {
    ($x:expr, $window:expr, $one:ident $two:ident $three:ident $(, $more:expr)*) => {{
        let window: &Window = $window;
        macro_rules! along {
            ($pool:ident) => {{
                let all = |list: &[usize]| list.try_into().expect("one number for each axis");
                let options = PoolOptions {
                    kernel_size: all(&window.kernel),
                    stride: all(&window.stride),
                    padding: all(&window.before),
                    dilation: all(&window.dilation),
                    ceil_mode: false,
                };
                float!($x, x => x.$pool(options $(, $more)*)?)
            }};
        }
        match window.kernel.len() {
            1 => along!($one),
            2 => along!($two),
            _ => along!($three),
        }
    }};
}

/// The input and windows without padding, which is added to the input as
/// elements with a value; `None` where [`Ops`] supports the padding.
fn padded(
    call: &Call<'_>,
    x: &TypedTensor,
    window: &Window,
    value: f64,
) -> Result<Option<(TypedTensor, Window)>> {
    let half = window.before.iter().zip(&window.kernel).all(|(&pad, &size)| pad <= size / 2);
    if !call.flag("ceil_mode") && window.before == window.after && half {
        return Ok(None);
    }
    let axes = window.kernel.len();
    let sides = (0..axes).rev().map(|i| {
        let reach = window.kernel[i].saturating_sub(1) * window.dilation[i] + 1;
        let needed = window.output[i].saturating_sub(1) * window.stride[i] + reach;
        let before = window.before[i] as isize;
        [before, needed as isize - x.shape()[i + 2] as isize - before]
    });
    let sides: Vec<[isize; 2]> = sides.collect();
    let x = float!(x, x => x.pad(&sides, PadMode::Constant(value))?)?;
    Ok(Some((x, Window { before: vec![0; axes], after: vec![0; axes], ..window.clone() })))
}

fn max_pool(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let window = window(call, x.shape(), None)?;
    let shape = pooled(x.shape(), &window)?;
    if !call.wants(1) && x.element().is_float() && window.kernel.len() <= 3 {
        let padded = padded(call, x, &window, f64::NEG_INFINITY)?;
        let (x, window) = padded.as_ref().map_or((x, &window), |(x, window)| (x, window));
        return Ok(vec![fast!(x, window, max_pool1d max_pool2d max_pool3d)?.into()]);
    }
    let input = &x.shape()[2..];
    let (size, windows): (usize, usize) = (input.iter().product(), window.output.iter().product());
    let keys = keys(x)?.to_vec();
    let mut found = Vec::with_capacity(shape.elements());
    for plane in 0..shape[0] * shape[1] {
        for index in 0..windows {
            let offsets = window.taps(input, index).flatten().map(|offset| plane * size + offset);
            let best = offsets.reduce(|best, new| if keys[new] > keys[best] { new } else { best });
            match best {
                Some(best) => found.push(best),
                None => return call.refuse("a window is outside the input"),
            }
        }
    }
    let values = x.take(&found, shape.clone())?;
    let columns_first = call.flag("storage_order");
    let index = |offset: &usize| {
        if !columns_first || input.len() != 2 {
            return *offset as i64;
        }
        let (plane, inside) = (offset / size, offset % size);
        (plane * size + inside % input[1] * input[0] + inside / input[1]) as i64
    };
    let indices = Tensor::from_vec(found.iter().map(index).collect(), shape)?;
    Ok(vec![values.into(), indices.into()])
}

fn average_pool(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let window = window(call, x.shape(), None)?;
    let with_padding = call.flag("count_include_pad");
    let input = &x.shape()[2..];
    if window.kernel.len() <= 3 && window.dilation.iter().all(|&step| step == 1) {
        let Some((padded, whole)) = padded(call, x, &window, 0.0)? else {
            return fast!(x, &window, avg_pool1d avg_pool2d avg_pool3d, with_padding);
        };
        // The means over all taps, with the number of taps to divide by.
        let means = fast!(&padded, &whole, avg_pool1d avg_pool2d avg_pool3d, true)?;
        let taps: usize = window.kernel.iter().product();
        let factor = |index: usize| {
            let count = match with_padding {
                true => window.covered(input, index),
                false => window.taps(input, index).flatten().count(),
            };
            taps as f64 / count as f64
        };
        let shape: Shape = [1, 1].iter().chain(&window.output).copied().collect();
        let factors = TypedTensor::real(x.element(), Tensor::from_fn(shape, factor));
        return mul_two(&means, &factors);
    }
    fold(x, &window, &|index, values| {
        let sum: f64 = values.iter().sum();
        let count = if with_padding { window.covered(input, index) } else { values.len() };
        sum / count as f64
    })
}

/// A number for each window, computed from its index and its elements.
fn fold(x: &TypedTensor, window: &Window, f: &dyn Fn(usize, &[f64]) -> f64) -> Result<TypedTensor> {
    let shape = pooled(x.shape(), window)?;
    let input = &x.shape()[2..];
    let (size, windows): (usize, usize) = (input.iter().product(), window.output.iter().product());
    let values = x.reals()?.to_vec();
    let mut folded = Vec::with_capacity(shape.elements());
    let mut taken = Vec::new();
    for plane in 0..shape[0] * shape[1] {
        for index in 0..windows {
            taken.clear();
            let offsets = window.taps(input, index).flatten();
            taken.extend(offsets.map(|offset| values[plane * size + offset]));
            folded.push(f(index, &taken));
        }
    }
    Ok(TypedTensor::real(x.element(), Tensor::from_vec(folded, shape)?))
}

fn lp_pool(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let p = call.int("p", 2) as f64;
    let window = window(call, x.shape(), None)?;
    fold(x, &window, &|_, values| values.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
}

/// The axes after batch and channels.
fn inner(x: &TypedTensor) -> Vec<isize> {
    (2..x.rank() as isize).collect()
}

fn global_average_pool(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axes = inner(x);
    float!(x, x => x.mean_axes(&axes, true)?)
}

fn global_max_pool(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let axes = inner(x);
    float!(x, x => x.max_axes(&axes, true)?)
}

fn global_lp_pool(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, p) = (call.tensor(0)?, call.int("p", 2) as f64);
    let axes = inner(x);
    float!(x, x => norm(x, p, &axes)?)
}

fn norm<T: Float>(x: &Var<T>, p: f64, axes: &[isize]) -> Result<Var<T>> {
    x.norm_axes(p, axes, true)
}

fn max_unpool(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, indices) = (call.tensor(0)?, call.integers(1)?);
    let input = x.shape().get(2..).unwrap_or_default();
    let axes = input.len();
    let Some(kernel) = call.ints("kernel_shape") else {
        return call.refuse("kernel_shape is missing");
    };
    let kernel = shape_of(kernel)?;
    let stride = setting(call, "strides", axes, 1)?;
    let pads = setting(call, "pads", 2 * axes, 0)?;
    if kernel.len() != axes || axes == 0 {
        return call.refuse("the kernel does not fit the input");
    }
    let length = |i: usize| {
        let full = input[i].saturating_sub(1) * stride[i] + kernel[i];
        full.saturating_sub(pads[i] + pads[axes + i])
    };
    let shape: Shape = x.shape()[..2].iter().copied().chain((0..axes).map(length)).collect();
    check_size(&shape)?;
    let size = shape.elements();
    let mut values = vec![0.0; size];
    for (&index, x) in indices.iter().zip(x.reals()?.to_vec()) {
        match usize::try_from(index).ok().filter(|&index| index < size) {
            Some(index) => values[index] = x,
            None => return call.refuse(format!("index {index} is outside {shape}")),
        }
    }
    let unpooled = TypedTensor::real(x.element(), Tensor::from_vec(values, shape.clone())?);
    let Some(asked) = call.optional_integers(2)? else { return Ok(unpooled) };
    // A larger output is padded with zeros at the ends of the axes.
    let asked = shape_of(&asked)?;
    if asked.len() != shape.len() {
        return call.refuse(format!("an output of {asked} does not fit {shape}"));
    }
    check_size(&asked)?;
    let map = |(&new, &old): (&usize, &usize)| -> Vec<Option<usize>> {
        (0..new).map(|i| (i < old).then_some(i)).collect()
    };
    let maps: Vec<_> = asked.iter().zip(shape.iter()).map(map).collect();
    mapped(&unpooled, &maps, &zero(&unpooled))
}
