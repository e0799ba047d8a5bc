//! Small generated sets of points: [`moons`], [`circles`], [`spirals`],
//! [`blobs`] and [`xor`]. The same seed gives the same data.

use std::f64::consts::{PI, TAU};

use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::tensors::TensorDataset;

/// Two interleaving half circles of radius 1 in the plane, in two classes of
/// equal size: inputs of shape `[n, 2]`, labels 0 and 1, in random order.
///
/// Class 0 is the upper half of a circle around (0, 0), class 1 the lower half
/// of one around (1, 0.5). `noise` is the standard deviation of the noise that
/// is added to each coordinate. It is scikit-learn's `make_moons`.
///
/// ```
/// use dendra_datasets::{Dataset, moons};
///
/// let data = moons(1000, 0.1, 42)?;
/// assert_eq!((data.len(), data.classes()), (1000, Some(2)));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// When `noise` is negative or not finite.
pub fn moons(n: usize, noise: f64, seed: u64) -> Result<TensorDataset<i64>> {
    check_deviation("moons", "noise", noise)?;
    let upper = n.div_ceil(2);
    classified(n, 2, 2, seed, |index, rng, point| {
        let label = usize::from(index >= upper);
        let (position, of) = if label == 0 { (index, upper) } else { (index - upper, n - upper) };
        let angle = PI * along(position, of);
        let (sin, cos) = (libm::sin(angle), libm::cos(angle));
        let centre = if label == 0 { [cos, sin] } else { [1.0 - cos, 0.5 - sin] };
        scatter(point, &centre, noise, rng);
        label
    })
}

/// Spiral arms in the plane, one for each class: inputs of shape `[n, 2]`, with
/// classes of sizes as equal as possible, in random order.
///
/// An arm goes from the origin to radius 1 in two thirds of a turn. `noise` is
/// the standard deviation of the noise that is added to each coordinate.
///
/// # Errors
///
/// When `classes` is 0, or `noise` is negative or not finite.
pub fn spirals(n: usize, classes: usize, noise: f64, seed: u64) -> Result<TensorDataset<i64>> {
    check_deviation("spirals", "noise", noise)?;
    check_classes("spirals", classes)?;
    classified(n, 2, classes, seed, |index, rng, point| {
        let label = index % classes;
        let radius = along(index / classes, n.div_ceil(classes));
        let angle = TAU * (label as f64 / classes as f64 + radius * 2.0 / 3.0);
        let centre = [radius * libm::cos(angle), radius * libm::sin(angle)];
        scatter(point, &centre, noise, rng);
        label
    })
}

/// Normally distributed clouds of points, one for each class: inputs of shape
/// `[n, dimensions]`, with classes of sizes as equal as possible, in random
/// order.
///
/// The centres are uniformly distributed in the cube from −10 to 10; `std` is
/// the standard deviation of a cloud along each axis. It is scikit-learn's
/// `make_blobs`.
///
/// # Errors
///
/// When `classes` is 0, or `std` is negative or not finite.
pub fn blobs(
    n: usize,
    classes: usize,
    dimensions: usize,
    std: f64,
    seed: u64,
) -> Result<TensorDataset<i64>> {
    check_deviation("blobs", "std", std)?;
    check_classes("blobs", classes)?;
    let mut rng = Rng::seed(seed).fork(CENTRES);
    let centres: Vec<Vec<f64>> = (0..classes)
        .map(|_| (0..dimensions).map(|_| 20.0 * rng.uniform() - 10.0).collect())
        .collect();
    classified(n, dimensions, classes, seed, |index, rng, point| {
        let label = index % classes;
        scatter(point, &centres[label], std, rng);
        label
    })
}

/// Two circles around the origin, of radius 1 and `factor`, in two classes:
/// inputs of shape `[n, 2]`, labels 0 for the outer and 1 for the inner circle,
/// in random order.
///
/// `noise` is the standard deviation of the noise that is added to each
/// coordinate. It is scikit-learn's `make_circles`.
///
/// # Errors
///
/// When `factor` is not in `0 .. 1`, or `noise` is negative or not finite.
pub fn circles(n: usize, factor: f64, noise: f64, seed: u64) -> Result<TensorDataset<i64>> {
    check_deviation("circles", "noise", noise)?;
    if !(0.0..1.0).contains(&factor) {
        let message = format!("`factor` must be at least 0 and below 1, got {factor}");
        return Err(Error::argument("circles", message));
    }
    let outer = n.div_ceil(2);
    classified(n, 2, 2, seed, |index, rng, point| {
        let label = usize::from(index >= outer);
        let (position, of) = if label == 0 { (index, outer) } else { (index - outer, n - outer) };
        let angle = TAU * position as f64 / of as f64;
        let radius = if label == 0 { 1.0 } else { factor };
        let centre = [radius * libm::cos(angle), radius * libm::sin(angle)];
        scatter(point, &centre, noise, rng);
        label
    })
}

/// Clouds around the four corners (±1, ±1), with a class for each diagonal, so
/// that no straight line separates the classes: inputs of shape `[n, 2]`, label
/// 1 where the signs differ, in random order.
///
/// `noise` is the standard deviation of a cloud along each axis.
///
/// # Errors
///
/// When `noise` is negative or not finite.
pub fn xor(n: usize, noise: f64, seed: u64) -> Result<TensorDataset<i64>> {
    check_deviation("xor", "noise", noise)?;
    classified(n, 2, 2, seed, |index, rng, point| {
        let corner = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]][index % 4];
        scatter(point, &corner, noise, rng);
        index % 2
    })
}

/// The random stream for the order of the samples.
const ORDER: u64 = 1;
/// The random stream for the noise.
const NOISE: u64 = 2;
/// The random stream for the centres of blobs.
const CENTRES: u64 = 3;

/// Makes `n` points with `sample`, which writes a point and returns its label,
/// and puts them into random order.
fn classified(
    n: usize,
    dimensions: usize,
    classes: usize,
    seed: u64,
    sample: impl Fn(usize, &mut Rng, &mut [f32]) -> usize,
) -> Result<TensorDataset<i64>> {
    let rng = Rng::seed(seed);
    let mut noise = rng.fork(NOISE);
    let mut points = vec![0.0; n * dimensions];
    let mut labels = vec![0; n];
    for (index, position) in rng.fork(ORDER).permutation(n).into_iter().enumerate() {
        let point = &mut points[position * dimensions..][..dimensions];
        labels[position] = sample(index, &mut noise, point) as i64;
    }
    let inputs = Tensor::from_vec(points, [n, dimensions])?;
    TensorDataset::classification(inputs, Tensor::from_vec(labels, [n])?, classes)
}

/// The `index`-th of `count` evenly spaced numbers from 0 to 1.
fn along(index: usize, count: usize) -> f64 {
    if count < 2 { 0.0 } else { index as f64 / (count - 1) as f64 }
}

/// Writes a random point around a centre.
fn scatter(point: &mut [f32], centre: &[f64], std: f64, rng: &mut Rng) {
    for (coordinate, centre) in point.iter_mut().zip(centre) {
        *coordinate = (centre + std * rng.normal()) as f32;
    }
}

pub(crate) fn check_deviation(context: &str, name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    let message = format!("`{name}` must be a standard deviation, 0 or more, got {value}");
    Err(Error::argument(context, message))
}

fn check_classes(context: &str, classes: usize) -> Result<()> {
    if classes > 0 {
        return Ok(());
    }
    Err(Error::argument(context, "`classes` must be at least 1, got 0"))
}
