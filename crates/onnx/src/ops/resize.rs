//! Resizing, and sampling at coordinates.

use dendra_autograd::Var;
use dendra_tensor::{
    Float, GridSampleMode, GridSampleOptions, GridSamplePadding, Ops, Result, Shape, Tensor,
};

use super::shape::check_size;
use super::{Operator, one};
use crate::call::{Call, shape_of};
use crate::tensor::{TypedTensor, each, float, floats};

pub(super) const TABLE: &[Operator] = &[
    one("AffineGrid", affine_grid),
    one("GridSample", grid_sample),
    one("Resize", resize),
    one("Upsample", resize),
];

/// How one axis is resized.
struct Axis {
    axis: usize,
    old: usize,
    new: usize,
    scale: f64,
    /// The region of the axis that is sampled.
    region: (f64, f64),
}

/// The settings for all axes.
struct Mode<'a> {
    mode: &'a str,
    coordinates: &'a str,
    nearest: &'a str,
    antialias: bool,
    exclude_outside: bool,
    cubic: f64,
}

fn resize(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let is_old = call.version() < 11;
    let mode = Mode {
        mode: call.text("mode", "nearest"),
        coordinates: call.text(
            "coordinate_transformation_mode",
            if is_old { "asymmetric" } else { "half_pixel" },
        ),
        nearest: call.text("nearest_mode", if is_old { "floor" } else { "round_prefer_floor" }),
        antialias: call.flag("antialias"),
        exclude_outside: call.flag("exclude_outside"),
        cubic: call.float("cubic_coeff_a", -0.75),
    };
    let axes = plan(call, x, is_old)?;
    let fill = call.float("extrapolation_value", 0.0);
    // Integers are interpolated as doubles.
    let mut y = match x.element().is_float() || mode.mode == "nearest" {
        true => x.clone(),
        false => Tensor::<f64>::into(x.reals()?),
    };
    for axis in &axes {
        if axis.new == axis.old && axis.scale == 1.0 && axis.region == (0.0, 1.0) {
            continue;
        }
        y = resize_axis(&y, axis, &mode, fill)?;
    }
    if y.element() == x.element() {
        return Ok(y);
    }
    Ok(TypedTensor::real(x.element(), y.reals()?.map(f64::round)))
}

/// The new lengths and the scales.
fn plan(call: &Call<'_>, x: &TypedTensor, is_old: bool) -> Result<Vec<Axis>> {
    let shape = x.shape();
    let axes: Vec<usize> = match call.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| x.axis(axis)).collect::<Result<_>>()?,
        None => (0..shape.len()).collect(),
    };
    let count = axes.len();
    let numbers = |index: usize| -> Result<Option<Vec<f64>>> {
        let Some(x) = call.optional(index)? else { return Ok(None) };
        Ok(Some(x.reals()?.to_vec()).filter(|numbers| !numbers.is_empty()))
    };
    let scales = match call.floats("scales") {
        Some(scales) => Some(scales),
        None => numbers(if is_old { 1 } else { 2 })?,
    };
    let sizes = if is_old { None } else { call.optional_integers(3)? };
    let sizes = sizes.filter(|sizes| !sizes.is_empty());
    let roi = if is_old { None } else { numbers(1)? };
    let region = |i: usize| match &roi {
        Some(roi) if roi.len() == 2 * count => (roi[i], roi[count + i]),
        _ => (0.0, 1.0),
    };
    let given = scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len));
    if given != Some(count) {
        return call.refuse(format!("expected {count} scales or sizes"));
    }
    let mut plan = Vec::with_capacity(count);
    for (i, &axis) in axes.iter().enumerate() {
        let old = shape[axis];
        let (new, scale) = match (&sizes, &scales) {
            (Some(sizes), _) => (sizes[i] as f64, sizes[i] as f64 / old as f64),
            (None, Some(scales)) => ((scales[i] * old as f64).floor(), scales[i]),
            (None, None) => return call.refuse("the scales are missing"),
        };
        if !((0.0..1e15).contains(&new) && scale >= 0.0 && (old > 0 || new == 0.0)) {
            return call.refuse(format!("axis {axis} of shape {shape} cannot be of length {new}"));
        }
        plan.push(Axis { axis, old, new: new as usize, scale, region: region(i) });
    }
    if sizes.is_some() {
        let all = plan.iter().map(|axis| axis.scale);
        let scale = match call.text("keep_aspect_ratio_policy", "stretch") {
            "not_larger" => all.reduce(f64::min),
            "not_smaller" => all.reduce(f64::max),
            _ => None,
        };
        if let Some(scale) = scale {
            for axis in &mut plan {
                axis.scale = scale;
                axis.new = (scale * axis.old as f64 + 0.5) as usize;
            }
        }
    }
    let mut new = shape.to_vec();
    plan.iter().for_each(|axis| new[axis.axis] = axis.new);
    check_size(&Shape::from(new))?;
    Ok(plan)
}

/// The coordinate in the old axis for each index of the new one.
fn coordinates(axis: &Axis, mode: &str) -> Vec<f64> {
    let (old, scale) = (axis.old as f64, axis.scale);
    let width = scale * old;
    let (start, end) = axis.region;
    let half_pixel = |x: f64| (x + 0.5) / scale - 0.5;
    let coordinate = |index: usize| {
        let x = index as f64;
        match mode {
            "align_corners" if width == 1.0 => 0.0,
            "align_corners" => x * (old - 1.0) / (width - 1.0),
            "asymmetric" => x / scale,
            "tf_crop_and_resize" if width == 1.0 => {
                (end - start) * (old - 1.0) / 2.0 + start * (old - 1.0)
            }
            "tf_crop_and_resize" => {
                x * (end - start) * (old - 1.0) / (width - 1.0) + start * (old - 1.0)
            }
            "pytorch_half_pixel" if width == 1.0 => -0.5,
            "half_pixel_symmetric" => old / 2.0 * (1.0 - axis.new as f64 / width) + half_pixel(x),
            _ => half_pixel(x),
        }
    };
    (0..axis.new).map(coordinate).collect()
}

fn resize_axis(x: &TypedTensor, axis: &Axis, mode: &Mode<'_>, fill: f64) -> Result<TypedTensor> {
    let along = axis.axis as isize;
    if axis.new == 0 {
        return x.narrow_axis(along, 0, 0);
    }
    let coordinates = coordinates(axis, mode.coordinates);
    let last = axis.old.saturating_sub(1) as f64;
    let y = if mode.mode == "nearest" {
        let nearest = |&x: &f64| {
            let nearest = match mode.nearest {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                _ => (x - 0.5).ceil(),
            };
            nearest.clamp(0.0, last) as usize
        };
        let indices: Vec<usize> = coordinates.iter().map(nearest).collect();
        each!(x, x => x.index_select(along, &indices)?)
    } else {
        let taps = taps(&coordinates, axis, mode);
        float!(x, x => weighted(x, along, &taps)?)?
    };
    if mode.coordinates != "tf_crop_and_resize" {
        return Ok(y);
    }
    let outside: Vec<bool> = coordinates.iter().map(|&x| x < 0.0 || x > last).collect();
    let mut shape = vec![1; x.rank()];
    shape[axis.axis] = axis.new;
    let outside = Tensor::from_vec(outside, shape)?;
    let fill = TypedTensor::real(y.element(), Tensor::scalar(fill));
    super::logic::select(&outside, &fill, &y)
}

/// For each tap, the index and the weight for each new element.
fn taps(coordinates: &[f64], axis: &Axis, mode: &Mode<'_>) -> Vec<(Vec<usize>, Vec<f64>)> {
    // For an axis that shrinks, antialiasing widens the kernel.
    let stretch = if mode.antialias { axis.scale.min(1.0) } else { 1.0 };
    let radius: f64 = if mode.mode == "cubic" { 2.0 } else { 1.0 };
    let a = mode.cubic;
    let kernel = |x: f64| {
        let x = x.abs();
        match x {
            _ if radius == 1.0 => (1.0 - x).max(0.0),
            _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            _ => 0.0,
        }
    };
    let before = (-radius / stretch).floor() as i64 + 1;
    let count = 2 - 2 * before;
    let mut taps = vec![(Vec::new(), Vec::new()); count as usize];
    for &x in coordinates {
        // Regions may extend beyond the input.
        let x = x.clamp(-1e9, 1e9);
        let left = x.floor() as i64;
        let index = |tap: i64| left + before + tap;
        let weight = |tap: i64| {
            let inside = (0..axis.old as i64).contains(&index(tap));
            if mode.exclude_outside && !inside {
                return 0.0;
            }
            kernel((index(tap) as f64 - x) * stretch)
        };
        let total: f64 = (0..count).map(weight).sum();
        let total = if total == 0.0 { 1.0 } else { total };
        for (tap, (indices, weights)) in (0..count).zip(&mut taps) {
            indices.push(index(tap).clamp(0, axis.old as i64 - 1) as usize);
            weights.push(weight(tap) / total);
        }
    }
    taps
}

fn weighted<T: Float>(x: &Var<T>, axis: isize, taps: &[(Vec<usize>, Vec<f64>)]) -> Result<Var<T>> {
    let mut shape = vec![1; x.shape().len()];
    let mut sum: Option<Var<T>> = None;
    for (indices, weights) in taps {
        shape[axis as usize] = weights.len();
        let weights = weights.iter().map(|&weight| T::from_f64(weight)).collect();
        let weights = Var::new(Tensor::from_vec(weights, &shape[..])?);
        let part = x.index_select(axis, indices)?.mul(&weights)?;
        sum = Some(match sum {
            Some(sum) => sum.add(&part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| dendra_tensor::Error::argument("Resize", "there are no taps"))
}

fn grid_sample(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, grid) = (call.tensor(0)?, call.tensor(1)?);
    let mode = match call.text("mode", "linear") {
        "nearest" => GridSampleMode::Nearest,
        "cubic" | "bicubic" => GridSampleMode::Bicubic,
        _ => GridSampleMode::Bilinear,
    };
    let padding = match call.text("padding_mode", "zeros") {
        "border" => GridSamplePadding::Border,
        "reflection" => GridSamplePadding::Reflection,
        _ => GridSamplePadding::Zeros,
    };
    let options = GridSampleOptions { mode, padding, align_corners: call.flag("align_corners") };
    let wide = super::normalisation::wider(x)?;
    let grid = super::cast::convert(grid, wide.element(), false)?;
    let y = floats!(&wide, [grid], |x, others| x.grid_sample(others[0], options)?)?;
    super::cast::convert(&y, x.element(), false)
}

fn affine_grid(call: &Call<'_>) -> Result<TypedTensor> {
    let size = shape_of(&call.integers(1)?)?;
    check_size(&size)?;
    let inner = size.get(2..).unwrap_or_default();
    let align = call.flag("align_corners");
    float!(call.tensor(0)?, x => x.affine_grid(inner, align)?)
}
