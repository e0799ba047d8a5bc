//! Random numbers that an observer cannot predict.

mod normal;

use std::f64::consts::TAU;

use dendra_tensor::{Error, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The generator of the samples and the noise: ChaCha with 20 rounds.
pub(crate) struct Noise(ChaCha20Rng);

impl Noise {
    /// A generator whose seed the operating system chooses and nobody knows.
    pub(crate) fn secret() -> Result<Self> {
        ChaCha20Rng::try_from_os_rng().map(Self).map_err(|error| {
            let message = format!("the operating system gives no random seed: {error}");
            Error::argument("Privacy", message)
        })
    }

    pub(crate) fn reproducible(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// A number in `0 .. 1` with 53 random bits.
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// The samples of a step: each of them with this probability, independently
    /// of the others.
    pub(crate) fn draw(&mut self, samples: usize, rate: f64) -> Vec<usize> {
        (0..samples).filter(|_| self.uniform() < rate).collect()
    }

    /// A number of the standard normal distribution.
    ///
    /// The low bits of a single number of Box and Muller's method would tell
    /// something about the value that it hides. Those of a sum of four do not
    /// (Holohan and Braghin, "Secure random sampling in differential privacy",
    /// 2021).
    pub(crate) fn normal(&mut self) -> f64 {
        let mut one = || {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            radius * (TAU * self.uniform()).cos()
        };
        (one() + one() + one() + one()) / 2.0
    }

    /// Numbers of the standard normal distribution for results that are rounded
    /// to `f32`, several times as fast as [`normal`](Self::normal).
    ///
    /// They are those of Box and Muller's method. What their low bits tell is
    /// lost when a sum with them is rounded to 24 bits: some 2²⁹ numbers become
    /// the same result, whatever they hide.
    pub(crate) fn fill(&mut self, out: &mut [f64]) {
        for out in out.chunks_mut(2 * normal::PAIRS) {
            let radii = std::array::from_fn(|_| self.0.next_u64());
            let angles = std::array::from_fn(|_| self.0.next_u64());
            let values = normal::pairs(&radii, &angles);
            let length = out.len();
            out.copy_from_slice(&values.as_flattened()[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_moments_of_the_normal_distribution() {
        let mut noise = Noise::reproducible(1);
        check(&(0..COUNT).map(|_| noise.normal()).collect::<Vec<_>>());
        let mut values = vec![f64::NAN; COUNT];
        noise.fill(&mut values);
        check(&values);
        // Neighbours come from the same pair.
        let products = values.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        assert!(products.abs() < 5.0 * (COUNT as f64 / 2.0).sqrt(), "{products}");
        let squares = |pair: &[f64]| (pair[0].powi(2) - 1.0) * (pair[1].powi(2) - 1.0);
        let products = values.chunks_exact(2).map(squares).sum::<f64>();
        assert!(products.abs() < 10.0 * (COUNT as f64 / 2.0).sqrt(), "{products}");
    }

    const COUNT: usize = 40_001;

    fn check(values: &[f64]) {
        let moment = |n: i32| values.iter().map(|value| value.powi(n)).sum::<f64>() / COUNT as f64;
        // Five standard errors of each.
        let error = |variance: f64| 5.0 * (variance / COUNT as f64).sqrt();
        assert!(moment(1).abs() < error(1.0), "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < error(2.0), "{}", moment(2));
        assert!(moment(3).abs() < error(15.0), "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < error(96.0), "{}", moment(4));
        let beyond = values.iter().filter(|value| value.abs() > 1.96).count() as f64;
        assert!((beyond / COUNT as f64 - 0.05).abs() < error(0.05), "{beyond}");
    }

    #[test]
    fn samples_are_drawn_independently() {
        let mut noise = Noise::reproducible(2);
        let sizes: Vec<f64> = (0..2000).map(|_| noise.draw(100, 0.04).len() as f64).collect();
        let mean = sizes.iter().sum::<f64>() / 2000.0;
        let variance = sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / 2000.0;
        assert!((mean - 4.0).abs() < 0.25 && (variance - 3.84).abs() < 0.7, "{mean} {variance}");
        // About 1.7 % of the batches are empty.
        assert!(sizes.contains(&0.0));
        assert_eq!(noise.draw(3, 1.0), [0, 1, 2]);
        assert!(noise.draw(1000, 0.0).is_empty());
    }

    #[test]
    fn secret_generators_differ() {
        let [mut a, mut b] = [Noise::secret().unwrap(), Noise::secret().unwrap()];
        assert_ne!(a.normal(), b.normal());
    }
}
