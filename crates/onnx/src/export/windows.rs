//! Convolutions, pooling and other windows over images.

use dendra_nn::Size;
use dendra_tensor::{Result, Tensor};

use super::call::Call;
use super::graph::{Graph, Settings};
use super::{Row, Write};

pub(super) const TABLE: &[Row] = &[
    ("conv2d", Write::By(conv2d)),
    ("conv2d_relu", Write::By(conv2d_relu)),
    ("conv_transpose2d", Write::By(conv_transpose2d)),
    ("max_pool2d", Write::By(max_pool2d)),
    ("avg_pool2d", Write::By(avg_pool2d)),
    ("adaptive_avg_pool2d", Write::By(adaptive_avg_pool2d)),
    ("adaptive_max_pool2d", Write::By(adaptive_max_pool2d)),
    ("fractional_max_pool2d", Write::By(|g, c| fractional_max_pool(g, c, 2))),
    ("fractional_max_pool3d", Write::By(|g, c| fractional_max_pool(g, c, 3))),
    ("unfold", Write::By(unfold)),
    ("fold", Write::By(fold)),
];

/// The padding of both sides of each axis in ONNX's order: first all
/// beginnings.
fn both_sides(padding: &[i64]) -> Vec<i64> {
    padding.repeat(2)
}

pub(super) fn convolution(call: &Call<'_>) -> Result<Settings> {
    Ok(vec![
        ("strides", call.ints("stride")?.into()),
        ("pads", both_sides(&call.ints("padding")?).into()),
        ("dilations", call.ints("dilation")?.into()),
        ("group", call.int("groups")?.into()),
    ])
}

fn conv2d(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    Ok(graph.op_with("Conv", &call.inputs(), convolution(call)?))
}

fn conv2d_relu(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let y = conv2d(graph, call)?;
    let y = graph.op("Relu", &[&y]);
    if !call.flag("max_pool")? {
        return Ok(y);
    }
    let settings = vec![("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())];
    Ok(graph.op_with("MaxPool", &[&y], settings))
}

fn conv_transpose2d(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let mut settings = convolution(call)?;
    settings.push(("output_padding", call.ints("output_padding")?.into()));
    Ok(graph.op_with("ConvTranspose", &call.inputs(), settings))
}

/// The settings of a pooling. The padding at the end is chosen so that the last
/// window just fits, whatever `ceil_mode` is, because runtimes round
/// differently.
fn pooling(call: &Call<'_>) -> Result<Settings> {
    let [kernel, stride, padding, dilation] =
        ["kernel_size", "stride", "padding", "dilation"].map(|name| call.ints(name));
    let (kernel, stride, padding, dilation) = (kernel?, stride?, padding?, dilation?);
    let mut pads = both_sides(&padding);
    for axis in 0..2 {
        let Size::Fixed(windows) = call.shape[2 + axis] else {
            return call.refuse("the size of the images must not depend on the batch size");
        };
        let covered = (windows - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1;
        let rest = covered - call.length(0, 2 + axis)? - padding[axis];
        pads[2 + axis] = if call.flag("ceil_mode")? { rest.max(0) } else { padding[axis] };
    }
    Ok(vec![
        ("kernel_shape", kernel.into()),
        ("strides", stride.into()),
        ("pads", pads.into()),
        ("dilations", dilation.into()),
    ])
}

fn max_pool2d(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    Ok(graph.op_with("MaxPool", &[call.input(0)], pooling(call)?))
}

fn avg_pool2d(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let mut settings = pooling(call)?;
    let counts_padding = call.flag("count_include_pad")?;
    let divisor = call.optional_int("divisor_override")?;
    if divisor.is_none() && !(counts_padding && call.flag("ceil_mode")?) {
        settings.push(("count_include_pad", i64::from(counts_padding).into()));
        return Ok(graph.op_with("AveragePool", &[call.input(0)], settings));
    }
    // The means of whole windows, times the number of taps, divided by the
    // correct count of each window.
    settings.push(("count_include_pad", 1.into()));
    let means = graph.op_with("AveragePool", &[call.input(0)], settings);
    let (kernel, stride) = (call.ints("kernel_size")?, call.ints("stride")?);
    let padding = call.ints("padding")?;
    let taps = (kernel[0] * kernel[1]) as f64;
    let sizes = [call.length(0, 2)?, call.length(0, 3)?];
    let windows = [call.shape[2].of(1) as usize, call.shape[3].of(1) as usize];
    let factors = Tensor::from_fn([windows[0], windows[1]], |index| {
        let at = [index / windows[1], index % windows[1]];
        let inside = (0..2).map(|axis| {
            let start = at[axis] as i64 * stride[axis] - padding[axis];
            (start + kernel[axis]).min(sizes[axis] + padding[axis]) - start
        });
        taps / divisor.unwrap_or_else(|| inside.product()) as f64
    });
    let factors = graph.constant(call.values(&factors));
    Ok(graph.op("Mul", &[&means, &factors]))
}

/// The windows of an adaptive pooling along an axis.
fn adaptive(length: i64, windows: i64) -> Vec<Vec<i64>> {
    let window =
        |i: i64| (i * length / windows..((i + 1) * length + windows - 1) / windows).collect();
    (0..windows).map(window).collect()
}

/// Multiplies each axis by a matrix of weights.
fn adaptive_avg_pool2d(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let output = call.ints("output_size")?;
    if output == [1, 1] {
        return Ok(graph.op("GlobalAveragePool", &[call.input(0)]));
    }
    let sizes = [call.length(0, 2)?, call.length(0, 3)?];
    if (0..2).all(|axis| output[axis] > 0 && sizes[axis] % output[axis] == 0) {
        let kernel: Vec<i64> = (0..2).map(|axis| sizes[axis] / output[axis]).collect();
        let settings = vec![("kernel_shape", kernel.clone().into()), ("strides", kernel.into())];
        return Ok(graph.op_with("AveragePool", &[call.input(0)], settings));
    }
    let [rows, columns] = [0, 1].map(|axis| {
        let mut weights = vec![0.0; (output[axis] * sizes[axis]) as usize];
        for (index, window) in adaptive(sizes[axis], output[axis]).iter().enumerate() {
            for &at in window {
                let (row, column) =
                    if axis == 0 { (index, at as usize) } else { (at as usize, index) };
                let width = if axis == 0 { sizes[0] } else { output[1] } as usize;
                weights[row * width + column] = 1.0 / window.len() as f64;
            }
        }
        let shape = if axis == 0 { [output[0], sizes[0]] } else { [sizes[1], output[1]] };
        let shape = shape.map(|length| length as usize);
        graph.constant(call.values(&Tensor::from_fn(shape, |index| weights[index])))
    });
    let y = graph.op("MatMul", &[&rows, call.input(0)]);
    Ok(graph.op("MatMul", &[&y, &columns]))
}

fn adaptive_max_pool2d(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let output = call.ints("output_size")?;
    let windows = [0, 1].map(|axis| Ok(adaptive(call.length(0, 2 + axis)?, output[axis])));
    let [rows, columns] = windows;
    largest(graph, call, &[rows?, columns?])
}

/// The windows for the random number ½.
fn fractional_max_pool(graph: &mut Graph, call: &Call<'_>, axes: usize) -> Result<String> {
    let kernel = call.ints("kernel_size")?;
    let mut windows = Vec::with_capacity(axes);
    let first = call.shape.len() - axes;
    for (axis, &kernel) in kernel.iter().enumerate() {
        let (length, output) = (call.length(0, first + axis)?, call.shape[first + axis].of(1));
        let last = length - kernel;
        // In the precision of the model, like the layer.
        let at = |x: f64| match call.element {
            "f64" => (x * (last as f64 / (output.max(2) - 1) as f64)) as i64,
            _ => (x as f32 * (last as f32 / (output.max(2) - 1) as f32)) as i64,
        };
        let starts = (0..output - 1).map(|i| at(i as f64 + 0.5) - at(0.5)).chain([last]);
        windows.push(starts.map(|start| (start..start + kernel).collect()).collect());
    }
    largest(graph, call, &windows)
}

/// The maximum of windows at arbitrary positions. The windows are written side
/// by side along each axis; shorter ones repeat one of their elements.
fn largest(graph: &mut Graph, call: &Call<'_>, windows: &[Vec<Vec<i64>>]) -> Result<String> {
    let first = call.rank(0) - windows.len();
    let mut y = call.input(0).to_owned();
    let mut kernel = Vec::with_capacity(windows.len());
    for (axis, windows) in windows.iter().enumerate() {
        let most = windows.iter().map(Vec::len).max().unwrap_or(0);
        let all = windows.iter().flat_map(|window| {
            (0..most).map(|index| window.get(index).copied().unwrap_or(window[0]))
        });
        let all: Vec<i64> = all.collect();
        y = graph.pick(&y, (first + axis) as i64, Tensor::from_fn([all.len()], |i| all[i]));
        kernel.push(most as i64);
    }
    let settings: Settings =
        vec![("kernel_shape", kernel.clone().into()), ("strides", kernel.into())];
    Ok(graph.op_with("MaxPool", &[&y], settings))
}

/// Each element of each window, `[N, C, taps, rows, taps, columns]`: the
/// position in the window before that of the window.
fn unfold(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let [kernel, stride, padding, dilation] =
        ["kernel_size", "stride", "padding", "dilation"].map(|name| call.ints(name));
    let (kernel, stride, padding, dilation) = (kernel?, stride?, padding?, dilation?);
    let pads = graph.ints(&[0, 0, padding[0], padding[1], 0, 0, padding[0], padding[1]]);
    let mut y = graph.op("Pad", &[call.input(0), &pads]);
    for axis in 0..2 {
        let length = call.length(0, 2 + axis)? + 2 * padding[axis];
        let windows = (length - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1;
        let positions = Tensor::from_fn([kernel[axis] as usize, windows as usize], |index| {
            let index = index as i64;
            index / windows * dilation[axis] + index % windows * stride[axis]
        });
        y = graph.pick(&y, if axis == 0 { 2 } else { 4 }, positions);
    }
    let y = graph.transpose(&y, vec![0, 1, 2, 4, 3, 5]);
    graph.reshape(&y, call.shape)
}

fn fold(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let size = graph.ints(&call.ints("output_size")?);
    let kernel = graph.ints(&call.ints("kernel_size")?);
    let settings: Settings = vec![
        ("strides", call.ints("stride")?.into()),
        ("pads", both_sides(&call.ints("padding")?).into()),
        ("dilations", call.ints("dilation")?.into()),
    ];
    Ok(graph.op_with("Col2Im", &[call.input(0), &size, &kernel], settings))
}
