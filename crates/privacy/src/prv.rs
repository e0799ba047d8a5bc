//! Numerical composition of privacy loss.
//!
//! The privacy loss of a step is a random variable (PRV); that of several steps
//! is their sum. Its distribution is computed on a grid by Fourier transforms.
//! Gopi, Lee and Wutschitz, "Numerical composition of differential privacy",
//! 2021.

use std::f64::consts::{PI, SQRT_2};

use dendra_tensor::{Error, Result};
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use crate::ledger::Mechanism;
use crate::renyi::{self, Conversion};

/// The limits of ε for some δ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The lower bound of ε.
    pub lower: f64,
    /// The result of the computation without allowance for its errors.
    pub estimate: f64,
    /// The upper bound of ε, which is the guarantee.
    pub upper: f64,
}

/// The error of ε that the grid is chosen for.
const EPSILON_ERROR: f64 = 0.01;

/// The error of δ that the grid is chosen for, relative to δ.
const DELTA_ERROR: f64 = 1e-3;

/// The most points of the grid: 128 MB.
const POINTS: usize = 1 << 24;

/// The largest loss whose exponential is computed.
const LARGEST: f64 = 600.0;

/// Whether the neighbouring data set lacks a sample or has one more.
#[derive(Clone, Copy)]
enum Neighbour {
    Removed,
    Added,
}

/// The bounds of ε for mechanisms in sequence; `None` when the loss is too
/// large for a grid.
pub(crate) fn bounds(mechanisms: &[Mechanism], delta: f64) -> Result<Option<Bounds>> {
    if mechanisms.is_empty() {
        return Ok(Some(Bounds { lower: 0.0, estimate: 0.0, upper: 0.0 }));
    }
    let Some(grid) = Grid::new(mechanisms, delta * DELTA_ERROR) else { return Ok(None) };
    if f64::EPSILON * grid.points as f64 > delta * (1.0 - DELTA_ERROR) {
        let message = format!(
            "delta: {delta} is below the rounding errors of the Fourier transform; use \
             Accountant::Renyi, or a larger delta"
        );
        return Err(Error::argument("Accountant::Prv", message));
    }
    let removed = grid.bounds(mechanisms, delta, Neighbour::Removed);
    let added = grid.bounds(mechanisms, delta, Neighbour::Added);
    Ok(Some(Bounds {
        lower: removed.lower.max(added.lower),
        estimate: removed.estimate.max(added.estimate),
        upper: removed.upper.max(added.upper),
    }))
}

/// The losses `(index − middle) · step`.
struct Grid {
    step: f64,
    middle: usize,
    points: usize,
}

impl Grid {
    /// The grid of remark 5.6 of the paper, with the margin of its authors'
    /// program.
    fn new(mechanisms: &[Mechanism], delta_error: f64) -> Option<Self> {
        let steps: f64 = mechanisms.iter().map(|mechanism| mechanism.steps as f64).sum();
        let loss = |mechanisms: &[Mechanism], delta| {
            renyi::epsilon(mechanisms, delta, Conversion::Canonne, renyi::orders())
        };
        let of_one = |mechanism: &Mechanism| {
            loss(&[Mechanism { steps: 1, ..*mechanism }], delta_error / (8.0 * steps))
        };
        let largest =
            mechanisms.iter().map(of_one).fold(loss(mechanisms, delta_error / 4.0), f64::max);
        let largest = largest.max(EPSILON_ERROR) + 3.0;
        let step = EPSILON_ERROR / (steps * (12.0 / delta_error).ln() / 2.0).sqrt();
        let needed = 2.0 * (largest / step).ceil() + 2.0;
        if needed.is_nan() || needed > POINTS as f64 {
            return None;
        }
        // A power of 2 or three quarters of one, for which transforms are fast.
        let power = (needed as usize).next_power_of_two();
        let points = if power / 4 * 3 >= needed as usize { power / 4 * 3 } else { power };
        let middle = points / 2 - 1;
        (middle as f64 * step <= LARGEST).then_some(Self { step, middle, points })
    }

    fn loss(&self, index: usize) -> f64 {
        (index as f64 - self.middle as f64) * self.step
    }

    fn bounds(&self, mechanisms: &[Mechanism], delta: f64, neighbour: Neighbour) -> Bounds {
        let (probabilities, shift) = self.compose(mechanisms, neighbour);
        let error = delta * DELTA_ERROR;
        // The sums from each point to the end, of the probabilities and of those times e^(−loss).
        let mut tails = vec![(0.0, 0.0); self.points];
        let mut sums = (0.0, 0.0);
        for (index, tail) in tails.iter_mut().enumerate().rev() {
            let probability = probabilities[index];
            sums.0 += probability;
            sums.1 += probability * (-self.loss(index) - shift).exp();
            *tail = sums;
        }
        let epsilon = |delta: f64| {
            let exceeds = |index: &usize| {
                let (all, scaled) = tails[*index];
                all - (self.loss(*index) + shift).exp() * scaled <= delta
            };
            let Some(index) = (0..self.points).find(exceeds) else { return f64::INFINITY };
            let (all, scaled) = tails[index];
            let found = ((all - delta) / scaled).ln();
            // Rounding can only matter where next to nothing is left of the distribution.
            if found.is_finite() { found.max(0.0) } else { (self.loss(index) + shift).max(0.0) }
        };
        Bounds {
            lower: (epsilon(delta + error) - EPSILON_ERROR).max(0.0),
            estimate: epsilon(delta),
            upper: epsilon(delta - error) + EPSILON_ERROR,
        }
    }

    /// The distribution of the sum of all losses, and by how much its grid is
    /// shifted.
    fn compose(&self, mechanisms: &[Mechanism], neighbour: Neighbour) -> (Vec<f64>, f64) {
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, inverse) =
            (planner.plan_fft_forward(self.points), planner.plan_fft_inverse(self.points));
        let mut product = vec![Complex::new(1.0 / self.points as f64, 0.0); self.points / 2 + 1];
        let mut spectrum = forward.make_output_vec();
        let (mut shift, mut steps) = (0.0, 0);
        for mechanism in mechanisms {
            let loss = Loss { mechanism, neighbour };
            let mut single = self.discretise(&loss);
            shift += mechanism.steps as f64 * (loss.mean(self) - self.mean(&single));
            steps += mechanism.steps;
            forward.process(&mut single, &mut spectrum).expect("the lengths are those of the plan");
            for (product, value) in product.iter_mut().zip(&spectrum) {
                *product *= value.powf(mechanism.steps as f64);
            }
        }
        // Of a real signal, both are real; rounding may have added an imaginary part.
        product[0].im = 0.0;
        product[self.points / 2].im = 0.0;
        let mut sum = inverse.make_output_vec();
        inverse.process(&mut product, &mut sum).expect("the lengths are those of the plan");
        // The sum of `steps` indices counts the middle `steps` times.
        let turns = (u128::from(steps - 1) * self.middle as u128 % self.points as u128) as usize;
        sum.rotate_left(turns);
        (sum, shift)
    }

    fn discretise(&self, loss: &Loss<'_>) -> Vec<f64> {
        let mut above = loss.above(self.loss(0));
        let mass = above - loss.above(self.loss(self.points - 1));
        (0..self.points)
            .map(|index| {
                // The distribution is cut off at both ends of the grid.
                let edge = (self.loss(index) + self.step / 2.0).min(self.loss(self.points - 1));
                let next = loss.above(edge);
                let probability = (above - next) / mass;
                above = next;
                probability
            })
            .collect()
    }

    fn mean(&self, probabilities: &[f64]) -> f64 {
        probabilities.iter().enumerate().map(|(index, p)| p * self.loss(index)).sum()
    }
}

/// The privacy loss of one step: the logarithm of the ratio of the densities
/// with and without a sample, whose value is 1.
struct Loss<'a> {
    mechanism: &'a Mechanism,
    neighbour: Neighbour,
}

impl Loss<'_> {
    /// The released value at which a sample that is removed causes this loss.
    fn released(&self, loss: f64) -> f64 {
        let Mechanism { noise_multiplier, sample_rate, .. } = *self.mechanism;
        let ratio = (loss.exp_m1() + sample_rate) / sample_rate;
        if ratio <= 0.0 {
            return f64::NEG_INFINITY;
        }
        noise_multiplier * noise_multiplier * ratio.ln() + 0.5
    }

    /// The loss at a released value, if a sample is removed.
    fn at(&self, released: f64) -> f64 {
        let Mechanism { noise_multiplier, sample_rate, .. } = *self.mechanism;
        let ratio = (released - 0.5) / (noise_multiplier * noise_multiplier);
        // ln(1 − q + q·e^ratio), also where the exponential overflows.
        match ratio < 700.0 {
            true => (sample_rate * ratio.exp_m1()).ln_1p(),
            false => ratio + sample_rate.ln(),
        }
    }

    /// The probability of a loss above this one.
    fn above(&self, loss: f64) -> f64 {
        let Mechanism { noise_multiplier, sample_rate, .. } = *self.mechanism;
        let upper = |x: f64| libm::erfc(x / (SQRT_2 * noise_multiplier)) / 2.0;
        match self.neighbour {
            Neighbour::Removed => {
                let x = self.released(loss);
                sample_rate * upper(x - 1.0) + (1.0 - sample_rate) * upper(x)
            }
            Neighbour::Added => upper(-self.released(-loss)),
        }
    }

    /// The mean of the distribution that is cut off at the ends of the grid, by
    /// Simpson's rule over the released value.
    fn mean(&self, grid: &Grid) -> f64 {
        const INTERVALS: u32 = 1 << 14;
        let Mechanism { noise_multiplier, sample_rate, .. } = *self.mechanism;
        let (low, high) = (grid.loss(0), grid.loss(grid.points - 1));
        let (from, to) = match self.neighbour {
            Neighbour::Removed => (low, high),
            Neighbour::Added => (-high, -low),
        };
        // Beyond 12 standard deviations, the density is below the rounding errors.
        let reach = 12.0 * noise_multiplier;
        let from = self.released(from).max(-reach);
        let width = self.released(to).min(1.0 + reach) - from;
        let scale = 1.0 / (noise_multiplier * (2.0 * PI).sqrt());
        let density = |x: f64| scale * (-0.5 * (x / noise_multiplier).powi(2)).exp();
        let value = |index: u32| {
            let x = from + width * f64::from(index) / f64::from(INTERVALS);
            let weight = match index {
                0 | INTERVALS => 1.0,
                _ if index % 2 == 1 => 4.0,
                _ => 2.0,
            };
            let product = match self.neighbour {
                Neighbour::Removed => {
                    let mixture = sample_rate * density(x - 1.0) + (1.0 - sample_rate) * density(x);
                    self.at(x) * mixture
                }
                Neighbour::Added => -self.at(x) * density(x),
            };
            weight * product
        };
        let sum: f64 = (0..=INTERVALS).map(value).sum();
        sum * width / (3.0 * f64::from(INTERVALS)) / (self.above(low) - self.above(high))
    }
}
