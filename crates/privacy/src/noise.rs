//! Random numbers that an observer cannot predict.

mod normal;

use dendra_tensor::kernels::simd::dispatch;
use dendra_tensor::{Error, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The values that get noise at a time.
pub(crate) const PART: usize = 2 * normal::PAIRS;

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

    /// Adds independent normal noise of this standard deviation to each value, and
    /// rounds the sums to multiples of a power of two that is about 2⁻¹⁶ of the
    /// deviation.
    ///
    /// The rounding is a part of the guarantee. Normal noise of floating-point
    /// numbers takes only some values, and the low bits of an unrounded sum can
    /// tell which values without noise are possible (Mironov, "On significance of
    /// the least significant bits for differential privacy", 2012; for pairs of
    /// Box and Muller's method Jin et al., "Are we there yet? Timing and
    /// floating-point attacks on differential privacy systems", 2022). Rounding to
    /// the precision of `f32` is not enough, since a sum near 0 keeps its low
    /// bits. On a fixed grid, a pair of results whose noise is not larger than usual
    /// comes from about 2⁷⁰ of the 2¹⁰⁶ pairs of random numbers, whatever the
    /// values are, so its probability is that of exact noise up to a factor of
    /// about 1 ± 2⁻³⁰. The variance of the noise grows by less than 10⁻¹⁰ of it.
    pub(crate) fn add(&mut self, values: &mut [f64], deviation: f64) {
        if deviation == 0.0 {
            return;
        }
        let grid = grid(deviation);
        let inverse = 1.0 / grid;
        for values in values.chunks_mut(PART) {
            let (radii, angles) = (self.bits(), self.bits());
            dispatch(
                #[inline(always)]
                || {
                    let noise = normal::pairs(&radii, &angles);
                    for (value, noise) in values.iter_mut().zip(noise.as_flattened()) {
                        let sum = (*value + deviation * noise) * inverse;
                        // Larger numbers are integers already.
                        let rounded = (sum + normal::ROUND) - normal::ROUND;
                        *value = grid * if sum.abs() < normal::ROUND / 4.0 { rounded } else { sum };
                    }
                },
            );
        }
    }

    /// Random bits for as many pairs as are computed at a time.
    fn bits(&mut self) -> [u64; normal::PAIRS] {
        let mut bytes = [[0; 8]; normal::PAIRS];
        self.0.fill_bytes(bytes.as_flattened_mut());
        bytes.map(u64::from_le_bytes)
    }
}

/// The power of two to whose multiples noisy values are rounded.
fn grid(deviation: f64) -> f64 {
    let exponent = (deviation.to_bits() >> 52) as i32 - 1023;
    2_f64.powi((exponent - 16).max(-1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_moments_of_the_normal_distribution() {
        let mut noise = Noise::reproducible(1);
        let mut values = vec![0.0; COUNT];
        noise.add(&mut values, 1.0);
        check(&values);
        // Neighbours come from the same pair.
        let products = values.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        assert!(products.abs() < 5.0 * (COUNT as f64 / 2.0).sqrt(), "{products}");
        let squares = |pair: &[f64]| (pair[0].powi(2) - 1.0) * (pair[1].powi(2) - 1.0);
        let products = values.chunks_exact(2).map(squares).sum::<f64>();
        assert!(products.abs() < 10.0 * (COUNT as f64 / 2.0).sqrt(), "{products}");
    }

    #[test]
    fn noisy_values_are_on_a_grid() {
        let mut noise = Noise::reproducible(4);
        for (deviation, grid) in [(1.0, 16), (1.9, 16), (0.3, 18), (3e-5, 32)] {
            let grid = 2_f64.powi(-grid);
            let mut values: Vec<f64> = (0..5000).map(|i| f64::from(i) * 1e-7 * deviation).collect();
            let before = values.clone();
            noise.add(&mut values, deviation);
            assert!(values.iter().all(|value| value % grid == 0.0), "{deviation}");
            let far = |(a, b): (&f64, &f64)| (a - b).abs() > deviation;
            let far = values.iter().zip(&before).filter(|pair| far(*pair)).count();
            // 31.7 % of 5000, with five standard errors.
            assert!((far as f64 - 1587.0).abs() < 165.0, "{far}");
        }
        // Without noise, and where the noise is too small to count.
        let mut values = [0.1, 1e30];
        noise.add(&mut values[..1], 0.0);
        noise.add(&mut values[1..], 1.0);
        assert_eq!(values, [0.1, 1e30]);
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
        let mut values = [[0.0], [0.0]];
        a.add(&mut values[0], 1.0);
        b.add(&mut values[1], 1.0);
        assert_ne!(values[0], values[1]);
    }
}
