//! Gaussian differential privacy.

use crate::ledger::Mechanism;
use crate::special::log_normal_cdf;

/// The ε of mechanisms in sequence, by the central limit theorem where samples
/// are drawn.
pub(crate) fn epsilon(mechanisms: &[Mechanism], delta: f64) -> f64 {
    let squared = |mechanism: &Mechanism| {
        let Mechanism { noise_multiplier, sample_rate, steps } = *mechanism;
        let one = noise_multiplier.powi(-2);
        let sampled = sample_rate * sample_rate * one.exp_m1();
        steps as f64 * if sample_rate == 1.0 { one } else { sampled }
    };
    let mu = mechanisms.iter().map(squared).sum::<f64>().sqrt();
    if mu.is_infinite() {
        return f64::INFINITY;
    }
    // δ falls with ε.
    let (mut low, mut high) = (0.0, 1.0);
    if delta_of(mu, low) <= delta {
        return 0.0;
    }
    while delta_of(mu, high) > delta {
        (low, high) = (high, 2.0 * high);
    }
    while high - low > 1e-12 * high {
        let middle = low + (high - low) / 2.0;
        if delta_of(mu, middle) > delta { low = middle } else { high = middle }
    }
    high
}

/// The δ of μ-Gaussian differential privacy (Dong, Roth and Su, "Gaussian
/// differential privacy", 2022, corollary 1).
fn delta_of(mu: f64, epsilon: f64) -> f64 {
    let part = |sign: f64| log_normal_cdf(-epsilon / mu + sign * mu / 2.0);
    part(1.0).exp() - (epsilon + part(-1.0)).exp()
}
