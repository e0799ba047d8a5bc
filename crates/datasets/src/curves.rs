//! Small generated regressions: [`friedman`], [`linear`] and [`sine`]. The same
//! seed gives the same data.

use std::f64::consts::{PI, TAU};

use dendra_tensor::{Result, Rng, Tensor};

use crate::points::check_deviation;
use crate::tensors::TensorDataset;

/// A regression with five inputs: inputs of shape `[n, 5]`, uniformly
/// distributed in [0, 1], and targets of shape `[n, 1]` in [0, 1].
///
/// The target is Friedman's first function, `10 sin(π x₀ x₁) + 20 (x₂ − ½)² +
/// 10 x₃ + 5 x₄`, divided by 30 (J. Friedman: "Multivariate adaptive regression
/// splines", The Annals of Statistics 19(1), 1991; scikit-learn's
/// `make_friedman1`). Samples whose target is within 0.1 of one half are drawn
/// again, so that the question "is it above one half?" is a clear binary
/// classification with about equal classes.
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

/// A linear regression: inputs of shape `[n, weights]` from the standard normal
/// distribution, and targets `weights · x + bias + noise` of shape `[n, 1]`.
///
/// `noise` is the standard deviation of the noise that is added to each target.
/// A trained model has found the weights and the bias.
///
/// ```
/// use dendra_datasets::{Dataset, linear};
///
/// let (x, y) = linear(100, &[2.0, -1.0], 0.5, 0.0, 42)?.batch(&[7])?;
/// let (x, y) = (x.to_vec(), y.item()?);
/// assert!((2.0 * x[0] - x[1] + 0.5 - y).abs() < 1e-5);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// When `noise` is negative or not finite.
pub fn linear(
    n: usize,
    weights: &[f64],
    bias: f64,
    noise: f64,
    seed: u64,
) -> Result<TensorDataset<f32>> {
    check_deviation("linear", "noise", noise)?;
    let mut rng = Rng::seed(seed);
    regression(n, weights.len(), |x| {
        x.iter_mut().for_each(|x| *x = rng.normal());
        let sum: f64 = x.iter().zip(weights).map(|(x, weight)| x * weight).sum();
        sum + bias + noise * rng.normal()
    })
}

/// A sine wave: inputs of shape `[n, 1]`, uniformly distributed in [−1, 1], and
/// targets `sin(2π · periods / 2 · x) + noise` of shape `[n, 1]`, so that there
/// are `periods` periods.
///
/// `noise` is the standard deviation of the noise that is added to each target.
///
/// # Errors
///
/// When `noise` is negative or not finite.
pub fn sine(n: usize, periods: f64, noise: f64, seed: u64) -> Result<TensorDataset<f32>> {
    check_deviation("sine", "noise", noise)?;
    let mut rng = Rng::seed(seed);
    regression(n, 1, |x| {
        x[0] = 2.0 * rng.uniform() - 1.0;
        libm::sin(TAU * periods / 2.0 * x[0]) + noise * rng.normal()
    })
}

/// Makes `n` samples with `sample`, which writes the inputs and returns the
/// target.
fn regression(
    n: usize,
    inputs: usize,
    mut sample: impl FnMut(&mut [f64]) -> f64,
) -> Result<TensorDataset<f32>> {
    let mut x = vec![0.0; inputs];
    let (mut all, mut targets) = (Vec::with_capacity(n * inputs), Vec::with_capacity(n));
    for _ in 0..n {
        targets.push(sample(&mut x) as f32);
        all.extend(x.iter().map(|&x| x as f32));
    }
    TensorDataset::new(Tensor::from_vec(all, [n, inputs])?, Tensor::from_vec(targets, [n, 1])?)
}
