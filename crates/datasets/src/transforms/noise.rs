//! Noise and random erasing.

use std::f32::consts::TAU;

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use super::resize::part_of;
use super::{Image, Pixel, Transform, check_probability, check_range};

/// Adds normally distributed noise to every pixel, like torchvision's
/// `GaussianNoise`.
#[derive(Clone, Debug, Setters)]
pub struct GaussianNoise {
    /// The mean of the noise.
    #[set(default = 0.0)]
    mean: f64,
    sigma: f64,
    /// Whether the values are limited to the range from black to white. Bytes
    /// are always limited.
    #[set(default = true)]
    clip: bool,
}

impl GaussianNoise {
    /// Noise with this standard deviation, where 1 is white (1 for floats, 255
    /// for bytes).
    pub fn new(sigma: f64) -> Self {
        Self::with_defaults(sigma)
    }
}

impl<P: Pixel> Transform<P> for GaussianNoise {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        if !self.mean.is_finite() {
            let message = format!("`mean` must be finite, got {}", self.mean);
            return Err(Error::argument("GaussianNoise", message));
        }
        check_range("GaussianNoise", "sigma", (0.0, self.sigma), 0.0..=1e6).map(|()| shape)
    }

    fn apply(&self, mut image: Image<P>, rng: &mut Rng) -> Image<P> {
        let (mean, sigma) = (self.mean as f32 * P::BOUND, self.sigma as f32 * P::BOUND);
        let add = |pixel: &mut P, noise: f32| {
            let value = pixel.to_f32() + mean + sigma * noise;
            *pixel = P::from_f32(if self.clip { value.clamp(0.0, P::BOUND) } else { value });
        };
        for pair in image.pixels_mut().chunks_mut(2) {
            for (pixel, noise) in pair.iter_mut().zip(normal_pair(rng)) {
                add(pixel, noise);
            }
        }
        image
    }
}

/// Two independent numbers from the standard normal distribution, by the method
/// of Box and Muller (1958), from 32 bits each, which is fast.
fn normal_pair(rng: &mut Rng) -> [f32; 2] {
    let mut uniform = || (rng.next_u32() as f32 + 0.5) * (1.0 / 4_294_967_296.0);
    let radius = (-2.0 * libm::logf(uniform().min(1.0))).sqrt();
    let (sin, cos) = libm::sincosf(TAU * uniform());
    [radius * cos, radius * sin]
}

/// Erases a random rectangle, like torchvision's `RandomErasing`.
///
/// Z. Zhong et al.: "Random erasing data augmentation", AAAI 2020.
#[derive(Clone, Debug, Setters)]
pub struct RandomErasing {
    probability: f64,
    /// The range of the share of the area that is erased.
    #[set(each(low, high), default = (0.02, 0.33))]
    scale: (f64, f64),
    /// The range of the ratio of width to height.
    #[set(each(low, high), default = (0.3, 3.3))]
    ratio: (f64, f64),
    /// The value of the erased pixels.
    #[set(default = 0.0)]
    value: f32,
}

impl RandomErasing {
    /// Erases, with this probability, a rectangle with 2 to 33 % of the area
    /// and a ratio of width to height from 0.3 to 3.3, which is filled with
    /// zeros.
    pub fn new(probability: f64) -> Self {
        Self::with_defaults(probability)
    }
}

impl<P: Pixel> Transform<P> for RandomErasing {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let context = "RandomErasing";
        check_probability(context, self.probability)?;
        check_range(context, "scale", self.scale, 0.0..=1.0)?;
        check_range(context, "ratio", self.ratio, 1e-3..=1e3)?;
        Ok(shape)
    }

    fn apply(&self, mut image: Image<P>, rng: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        if rng.uniform() >= self.probability {
            return image;
        }
        if let Some([h, w]) = part_of([height, width], self.scale, self.ratio, 10, rng) {
            let (top, left) = (rng.below(height - h + 1), rng.below(width - w + 1));
            let value = P::from_f32(self.value);
            for plane in image.planes_mut() {
                plane.chunks_exact_mut(width).skip(top).take(h).for_each(|row| {
                    row[left..left + w].fill(value);
                });
            }
        }
        image
    }
}
