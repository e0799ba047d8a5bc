//! Object detection: boxes and regions of images.

use dendra_tensor::{Result, Shape, Tensor};

use super::shape::check_size;
use super::{Operator, one};
use crate::call::Call;
use crate::tensor::TypedTensor;

pub(super) const TABLE: &[Operator] =
    &[one("NonMaxSuppression", non_max_suppression), one("RoiAlign", roi_align)];

/// The corners (y₁, x₁, y₂, x₂) of a box.
fn corners(box_: &[f64], is_centred: bool) -> [f64; 4] {
    let &[a, b, c, d] = box_ else { return [0.0; 4] };
    if is_centred {
        // Centre, width and height.
        return [b - d / 2.0, a - c / 2.0, b + d / 2.0, a + c / 2.0];
    }
    [a.min(c), b.min(d), a.max(c), b.max(d)]
}

/// The intersection over union.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let area = |x: [f64; 4]| (x[2] - x[0]) * (x[3] - x[1]);
    let common = side(0) * side(1);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

fn non_max_suppression(call: &Call<'_>) -> Result<TypedTensor> {
    let (boxes, scores) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, count, 4], &[_, classes, _]) = (&boxes.shape()[..], &scores.shape()[..]) else {
        return call.refuse(format!("expected boxes [batch, n, 4], got {}", boxes.shape()));
    };
    if *scores.shape() != [batch, classes, count] {
        return call.refuse(format!("scores of {} do not fit the boxes", scores.shape()));
    }
    let most = call.optional_integers(2)?.and_then(|most| most.first().copied()).unwrap_or(0);
    let threshold = call.number(3)?.unwrap_or(0.0);
    let least = call.number(4)?.unwrap_or(f64::NEG_INFINITY);
    let is_centred = call.flag("center_point_box");
    let (box_values, score_values) = (boxes.reals()?.to_vec(), scores.reals()?.to_vec());
    let corners: Vec<[f64; 4]> =
        box_values.chunks_exact(4).map(|box_| corners(box_, is_centred)).collect();
    let mut found = Vec::new();
    for image in 0..batch {
        let boxes = &corners[image * count..(image + 1) * count];
        for class in 0..classes {
            let scores = &score_values[(image * classes + class) * count..][..count];
            let mut order: Vec<usize> = (0..count).filter(|&index| scores[index] > least).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut kept: Vec<usize> = Vec::new();
            for index in order {
                if kept.len() as i64 >= most {
                    break;
                }
                let is_new =
                    kept.iter().all(|&other| overlap(boxes[index], boxes[other]) <= threshold);
                if is_new {
                    kept.push(index);
                    found.extend([image as i64, class as i64, index as i64]);
                }
            }
        }
    }
    let rows = found.len() / 3;
    Ok(Tensor::from_vec(found, [rows, 3])?.into())
}

/// Regions of images at a common size (He et al., "Mask R-CNN", 2017).
fn roi_align(call: &Call<'_>) -> Result<TypedTensor> {
    let (x, rois) = (call.tensor(0)?, call.tensor(1)?);
    let batch_indices = call.integers(2)?;
    let (&[batch, channels, height, width], &[regions, 4]) = (&x.shape()[..], &rois.shape()[..])
    else {
        return call.refuse(format!("expected shape [N, C, H, W], got {}", x.shape()));
    };
    let is_image = |index: &i64| (0..batch as i64).contains(index);
    if batch_indices.len() != regions || !batch_indices.iter().all(is_image) {
        return call.refuse(format!("expected the image of each of {regions} regions"));
    }
    let size = |name: &str| usize::try_from(call.int(name, 1)).unwrap_or(0).max(1);
    let (rows, columns) = (size("output_height"), size("output_width"));
    let shape = Shape::from([regions, channels, rows, columns]);
    check_size(&shape)?;
    let default = if call.version() < 16 { "output_half_pixel" } else { "half_pixel" };
    let is_half_pixel = call.text("coordinate_transformation_mode", default) == "half_pixel";
    let offset = if is_half_pixel { 0.5 } else { 0.0 };
    let scale = call.float("spatial_scale", 1.0);
    let ratio = call.int("sampling_ratio", 0);
    let is_average = call.text("mode", "avg") == "avg";
    let (values, rois) = (x.reals()?.to_vec(), rois.reals()?.to_vec());
    let mut out = Vec::with_capacity(shape.elements());
    for (region, &image) in batch_indices.iter().enumerate() {
        let edge = |i: usize| rois[region * 4 + i] * scale - offset;
        let (left, top) = (edge(0), edge(1));
        let least = if is_half_pixel { f64::NEG_INFINITY } else { 1.0 };
        let (bin_width, bin_height) = (
            (edge(2) - left).max(least) / columns as f64,
            (edge(3) - top).max(least) / rows as f64,
        );
        let samples = |bin: f64| {
            let samples = if ratio > 0 { ratio as f64 } else { bin.ceil() };
            // Only malformed regions are larger than their image.
            samples.clamp(0.0, 1e4) as usize
        };
        let (down, across) = (samples(bin_height), samples(bin_width));
        for channel in 0..channels {
            let plane = (image as usize * channels + channel) * height * width;
            for row in 0..rows {
                for column in 0..columns {
                    let points = (0..down * across).map(|i| {
                        let (i, j) = (i / across, i % across);
                        let at = |bin: usize, step: usize, size: f64, steps: usize| {
                            bin as f64 * size + (step as f64 + 0.5) * size / steps as f64
                        };
                        (
                            top + at(row, i, bin_height, down),
                            left + at(column, j, bin_width, across),
                        )
                    });
                    let terms = points.map(|(y, x)| terms(&values[plane..], height, width, y, x));
                    out.push(if is_average {
                        terms.map(|terms| terms.iter().sum::<f64>()).sum::<f64>()
                            / (down * across).max(1) as f64
                    } else {
                        let most = |terms: [f64; 4]| terms.into_iter().fold(f64::MIN, f64::max);
                        terms.map(most).reduce(f64::max).unwrap_or(0.0)
                    });
                }
            }
        }
    }
    Ok(TypedTensor::real(x.element(), Tensor::from_vec(out, shape)?))
}

/// The four pixels around a point with their bilinear weights.
fn terms(plane: &[f64], height: usize, width: usize, y: f64, x: f64) -> [f64; 4] {
    let outside = |at: f64, length: usize| at < -1.0 || at > length as f64;
    if outside(y, height) || outside(x, width) || height == 0 || width == 0 {
        return [0.0; 4];
    }
    let split = |at: f64, length: usize| {
        let at = at.max(0.0);
        let low = (at as usize).min(length - 1);
        let high = (low + 1).min(length - 1);
        let part = if low == high { 0.0 } else { at - low as f64 };
        (low, high, part)
    };
    let ((y0, y1, v), (x0, x1, u)) = (split(y, height), split(x, width));
    let pixel = |y: usize, x: usize| plane[y * width + x];
    [
        (1.0 - v) * (1.0 - u) * pixel(y0, x0),
        (1.0 - v) * u * pixel(y0, x1),
        v * (1.0 - u) * pixel(y1, x0),
        v * u * pixel(y1, x1),
    ]
}
