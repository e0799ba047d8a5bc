//! Small generated sets of points: [`moons`], [`spirals`], [`blobs`] and
//! [`friedman`], each the same for the same seed.

use std::f64::consts::{PI, TAU};

use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::tensors::TensorDataset;

/// Two interleaving half circles of radius 1 in the plane, in two classes:
/// inputs of shape `[n, 2]`, labels 0 and 1 in halves, in random order.
///
/// Class 0 is the upper half of a circle around (0, 0), class 1 the lower half
/// of one around (1, 0.5); `noise` is the standard deviation of what is added
/// to each coordinate. scikit-learn's `make_moons`.
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

/// Spiral arms in the plane, one for each class: inputs of shape `[n, 2]`, the
/// classes as equal in number as can be, in random order.
///
/// An arm winds from the origin to radius 1 in two thirds of a turn; `noise`
/// is the standard deviation of what is added to each coordinate.
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

/// Round clouds of points, one for each class: inputs of shape
/// `[n, dimensions]`, the classes as equal in number as can be, in random
/// order.
///
/// The centres are drawn evenly from the cube between −10 and 10; `std` is the
/// standard deviation of a cloud along each axis. scikit-learn's `make_blobs`.
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

/// A regression with five inputs: inputs of shape `[n, 5]`, drawn evenly from
/// [0, 1], and targets of shape `[n, 1]` in [0, 1].
///
/// The target is Friedman's first function, `10 sin(π x₀ x₁) + 20 (x₂ − ½)² +
/// 10 x₃ + 5 x₄`, divided by 30 (J. Friedman: "Multivariate adaptive
/// regression splines", The Annals of Statistics 19(1), 1991; scikit-learn's
/// `make_friedman1`). Samples whose target is within 0.1 of one half are
/// drawn again, so that "is it above one half?" has a clear answer, too: about
/// as often yes as no.
///
/// ```
/// use dendra_datasets::{Dataset, friedman};
///
/// let (x, y) = friedman(1000, 42).batch(&[0, 1])?;
/// assert_eq!(x.shape(), &[2, 5]);
/// assert_eq!(y.shape(), &[2, 1]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn friedman(n: usize, seed: u64) -> TensorDataset<f32> {
    let mut rng = Rng::seed(seed);
    let mut inputs = Vec::with_capacity(n * 5);
    let mut targets = Vec::with_capacity(n);
    while targets.len() < n {
        let x: [f64; 5] = std::array::from_fn(|_| rng.uniform());
        let bump = 20.0 * (x[2] - 0.5) * (x[2] - 0.5);
        let y = (10.0 * libm::sin(PI * x[0] * x[1]) + bump + 10.0 * x[3] + 5.0 * x[4]) / 30.0;
        if (y - 0.5).abs() >= 0.1 {
            inputs.extend(x.map(|x| x as f32));
            targets.push(y as f32);
        }
    }
    Tensor::from_vec(inputs, [n, 5])
        .and_then(|inputs| TensorDataset::new(inputs, Tensor::from_vec(targets, [n, 1])?))
        .expect("there are five inputs and a target for each sample")
}

/// The stream of a seed that gives the order of the samples.
const ORDER: u64 = 1;
/// The stream of a seed that gives the noise.
const NOISE: u64 = 2;
/// The stream of a seed that gives the centres of blobs.
const CENTRES: u64 = 3;

/// Makes `n` points with `sample`, which fills in a point and returns its
/// label, and puts them into random order.
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
    for (index, place) in rng.fork(ORDER).permutation(n).into_iter().enumerate() {
        let point = &mut points[place * dimensions..][..dimensions];
        labels[place] = sample(index, &mut noise, point) as i64;
    }
    let inputs = Tensor::from_vec(points, [n, dimensions])?;
    TensorDataset::classification(inputs, Tensor::from_vec(labels, [n])?, classes)
}

/// Where the `index`-th of `count` evenly spread positions from 0 to 1 lies.
fn along(index: usize, count: usize) -> f64 {
    if count < 2 { 0.0 } else { index as f64 / (count - 1) as f64 }
}

/// A point around a centre.
fn scatter(point: &mut [f32], centre: &[f64], std: f64, rng: &mut Rng) {
    for (coordinate, centre) in point.iter_mut().zip(centre) {
        *coordinate = (centre + std * rng.normal()) as f32;
    }
}

fn check_deviation(place: &str, name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    let message = format!("`{name}` must be a standard deviation, 0 or more, got {value}");
    Err(Error::argument(place, message))
}

fn check_classes(place: &str, classes: usize) -> Result<()> {
    if classes > 0 {
        return Ok(());
    }
    Err(Error::argument(place, "`classes` must be at least 1, got 0"))
}
