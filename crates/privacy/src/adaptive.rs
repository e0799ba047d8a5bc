//! A clipping norm that follows the gradients.

use dendra_tensor::{Error, Result};

use crate::noise::Noise;

/// Clipping at a quantile of the norms of the samples' gradients, which is
/// estimated privately in each step.
///
/// The number of samples below the norm is released with noise of its own. In
/// return, the gradients get a little more noise, so that both together cost
/// what the noise multiplier says.
///
/// Andrew, Thakkar, McMahan and Ramaswamy, "Differentially private learning
/// with adaptive clipping", 2021.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveClipping {
    /// The share of the samples that are not clipped, from 0 to 1.
    pub quantile: f64,
    /// The rate by which the norm changes in a step, in logarithms.
    pub learning_rate: f64,
    /// The standard deviation of the noise of the number of samples, relative to
    /// the expected batch size.
    pub count_noise: f64,
}

impl Default for AdaptiveClipping {
    /// The settings of the paper: the median, rate 0.2, noise of a twentieth
    /// of the batch.
    fn default() -> Self {
        Self { quantile: 0.5, learning_rate: 0.2, count_noise: 0.05 }
    }
}

/// The limits of the norm.
const NORMS: (f64, f64) = (1e-9, 1e9);

impl AdaptiveClipping {
    /// The noise multiplier of the gradients with which gradients and count
    /// together cost as much privacy as gradients with the noise multiplier `both`
    /// alone (theorem 1 of the paper).
    pub(crate) fn gradient_noise(&self, both: f64, batch: f64) -> Result<f64> {
        let fail = |message| Err(Error::argument("AdaptiveClipping", message));
        if !(0.0..=1.0).contains(&self.quantile) {
            return fail(format!("quantile: expected 0 to 1, got {}", self.quantile));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            let rate = self.learning_rate;
            return fail(format!("learning_rate: expected a positive number, got {rate}"));
        }
        if both == 0.0 {
            return Ok(0.0);
        }
        // A sample changes `below − samples / 2` by a half.
        let of_count = 2.0 * self.count_noise * batch;
        if !(of_count > both && of_count.is_finite()) {
            return fail(format!(
                "count_noise: expected more than {} for a noise multiplier of {both} and {batch} \
                 samples in a batch, got {}",
                both / (2.0 * batch),
                self.count_noise
            ));
        }
        Ok((both.powi(-2) - of_count.powi(-2)).powf(-0.5))
    }

    /// The norm for the next step, when `below` of `samples` had a norm of at
    /// most `norm`.
    pub(crate) fn next(
        &self,
        norm: f64,
        (below, samples): (usize, usize),
        batch: f64,
        noise: &mut Noise,
    ) -> f64 {
        let centred = below as f64 - samples as f64 / 2.0;
        let mut share = [centred / batch];
        noise.add(&mut share, self.count_noise);
        let above = 0.5 + share[0] - self.quantile;
        (norm * (-self.learning_rate * above).exp()).clamp(NORMS.0, NORMS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_converges_to_the_quantile() {
        let clipping = AdaptiveClipping { quantile: 0.7, ..Default::default() };
        let mut noise = Noise::reproducible(3);
        let mut norm = 50.0;
        for _ in 0..300 {
            // The norms are 0.01, 0.02, …, 1.
            let below = (1..=100).filter(|percent| f64::from(*percent) / 100.0 <= norm).count();
            norm = clipping.next(norm, (below, 100), 100.0, &mut noise);
        }
        assert!((norm - 0.7).abs() < 0.06, "{norm}");
    }

    #[test]
    fn both_releases_cost_what_one_did() {
        let clipping = AdaptiveClipping::default();
        let noise = clipping.gradient_noise(1.1, 240.0).unwrap();
        let both = (noise.powi(-2) + (2.0 * 0.05 * 240.0_f64).powi(-2)).powf(-0.5);
        assert!(noise > 1.1 && (both - 1.1).abs() < 1e-12, "{noise}");
        let error = clipping.gradient_noise(1.1, 8.0).unwrap_err().to_string();
        assert!(error.contains("count_noise: expected more than 0.068"), "{error}");
    }
}
