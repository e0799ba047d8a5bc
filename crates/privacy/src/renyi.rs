//! Rényi differential privacy of the Poisson-subsampled Gaussian mechanism.

use std::f64::consts::SQRT_2;

use crate::ledger::Mechanism;
use crate::special::{log_erfc, log_of_sum};

/// The orders that are tried: those of Opacus, and further ones of
/// dp-accounting for much noise.
pub(crate) fn orders() -> impl Iterator<Item = f64> {
    let fractional = (1..100).map(|tenths| 1.0 + f64::from(tenths) / 10.0);
    fractional.chain((11..64_u32).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0])
}

/// The most terms of a series. It is longer for some orders near 1, which then
/// give no guarantee; dp-accounting leaves out the same ones.
const TERMS: u32 = 1000;

/// The Rényi divergence of this order, above 1, of one step of the
/// Poisson-subsampled Gaussian mechanism. It adds up over steps.
///
/// It is infinite without noise, and where it cannot be computed.
///
/// Mironov, Talwar and Zhang, "Rényi differential privacy of the sampled
/// Gaussian mechanism", 2019, section 3.3.
pub fn renyi_divergence(noise_multiplier: f64, sample_rate: f64, order: f64) -> f64 {
    let variance = noise_multiplier * noise_multiplier;
    if sample_rate == 0.0 {
        return 0.0;
    }
    if variance == 0.0 || order.is_infinite() {
        return f64::INFINITY;
    }
    if sample_rate == 1.0 {
        return order / (2.0 * variance);
    }
    let log = match order.fract() {
        0.0 => log_moment_of_integer(variance, sample_rate, order),
        _ => log_moment(variance, sample_rate, order),
    };
    let divergence = log / (order - 1.0);
    if divergence.is_nan() { f64::INFINITY } else { divergence.max(0.0) }
}

fn log_moment_of_integer(variance: f64, rate: f64, order: f64) -> f64 {
    let (log_rate, log_rest) = (rate.ln(), (-rate).ln_1p());
    let mut log_binomial = 0.0;
    let terms: Vec<(f64, f64)> = (0..=order as u32)
        .map(|index| {
            let i = f64::from(index);
            if index > 0 {
                log_binomial += ((order - i + 1.0) / i).ln();
            }
            let exponent = i * (i - 1.0) / (2.0 * variance);
            (1.0, log_binomial + i * log_rate + (order - i) * log_rest + exponent)
        })
        .collect();
    log_of_sum(&terms)
}

fn log_moment(variance: f64, rate: f64, order: f64) -> f64 {
    let (log_rate, log_rest) = (rate.ln(), (-rate).ln_1p());
    let z0 = variance * (log_rest - log_rate) + 0.5;
    let scale = SQRT_2 * variance.sqrt();
    let (mut sign, mut log_binomial) = (1.0_f64, 0.0);
    let mut terms = Vec::new();
    for index in 0..TERMS {
        let i = f64::from(index);
        let j = order - i;
        let log_half = 0.5_f64.ln();
        let below = log_binomial
            + i * log_rate
            + j * log_rest
            + i * (i - 1.0) / (2.0 * variance)
            + log_half
            + log_erfc((i - z0) / scale);
        let above = log_binomial
            + j * log_rate
            + i * log_rest
            + j * (j - 1.0) / (2.0 * variance)
            + log_half
            + log_erfc((z0 - j) / scale);
        terms.extend([(sign, below), (sign, above)]);
        // The sum is at least 1, and the signs alternate from here on.
        if below.max(above) < -30.0 && i > order {
            return log_of_sum(&terms);
        }
        let factor = j / (i + 1.0);
        sign *= factor.signum();
        log_binomial += factor.abs().ln();
    }
    f64::INFINITY
}

/// The formula by which Rényi privacy becomes (ε, δ).
#[derive(Clone, Copy)]
pub(crate) enum Conversion {
    /// Mironov, "Rényi differential privacy", 2017, proposition 3.
    Mironov,
    /// Canonne, Kamath and Steinke, "The discrete Gaussian for differential
    /// privacy", 2020, proposition 12; also Balle et al., "Hypothesis testing
    /// interpretations and Rényi differential privacy", 2020, theorem 21.
    Canonne,
}

/// The least ε of the orders for some mechanisms in sequence.
pub(crate) fn epsilon(
    mechanisms: &[Mechanism],
    delta: f64,
    conversion: Conversion,
    orders: impl Iterator<Item = f64>,
) -> f64 {
    let of_order = |order: f64| {
        let divergence = |each: &Mechanism| {
            each.steps as f64 * renyi_divergence(each.noise_multiplier, each.sample_rate, order)
        };
        let divergence: f64 = mechanisms.iter().map(divergence).sum();
        divergence
            + match conversion {
                Conversion::Mironov => -delta.ln() / (order - 1.0),
                Conversion::Canonne => {
                    (-1.0 / order).ln_1p() - (delta.ln() + order.ln()) / (order - 1.0)
                }
            }
    };
    orders.map(of_order).fold(f64::INFINITY, f64::min).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_grows_with_the_order_also_between_integers() {
        for (noise, rate) in [(0.6, 0.01), (1.1, 0.004), (2.0, 0.3), (20.0, 0.9), (0.3, 0.5)] {
            let divergences = orders().take(99).map(|order| renyi_divergence(noise, rate, order));
            let found: Vec<f64> = divergences.filter(|found| found.is_finite()).collect();
            assert!(found.len() > 70, "{noise} {rate}: {} of 99", found.len());
            assert!(found.is_sorted() && found[0] > 0.0, "{noise} {rate}: {found:?}");
        }
    }

    #[test]
    fn without_noise_or_samples_the_answer_is_known() {
        assert_eq!(renyi_divergence(0.0, 0.5, 2.0), f64::INFINITY);
        assert_eq!(renyi_divergence(0.0, 0.0, 2.0), 0.0);
        assert_eq!(renyi_divergence(2.0, 1.0, 3.0), 3.0 / 8.0);
        // For noise so small that the series is too long or overflows.
        assert!(renyi_divergence(1e-3, 0.5, 2.0) > 1e5);
        assert_eq!(renyi_divergence(1e-200, 0.5, 2.5), f64::INFINITY);
    }
}
