//! Transforms of colours: brightness, contrast, saturation and hue, greyscale,
//! and conversion to floats.

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use super::{Image, Pixel, Transform, between, check_range};

/// The weights of red, green and blue in luminance (ITU-R BT.601).
const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// Checks that an image has one or three channels.
fn check_colours(context: &str, shape: [usize; 3]) -> Result<()> {
    if matches!(shape[0], 1 | 3) {
        return Ok(());
    }
    let message = format!("expected an image of 1 or 3 channels, got shape {shape:?}");
    Err(Error::shape(context, message))
}

/// Changes brightness, contrast, saturation and hue by random amounts, in
/// random order, like torchvision's `ColorJitter`. By default, nothing changes.
///
/// Images have one channel, of which only brightness and contrast change, or
/// three: red, green and blue.
#[derive(Clone, Debug)]
pub struct ColorJitter {
    brightness: (f64, f64),
    contrast: (f64, f64),
    saturation: (f64, f64),
    hue: (f64, f64),
}

impl ColorJitter {
    /// A transform that changes nothing.
    pub fn new() -> Self {
        let off = (1.0, 1.0);
        Self { brightness: off, contrast: off, saturation: off, hue: (0.0, 0.0) }
    }

    /// Multiplies by a factor between `1 - amount` (at least 0) and `1 +
    /// amount`.
    #[must_use]
    pub fn brightness(mut self, amount: f64) -> Self {
        self.brightness = around_one(amount);
        self
    }

    /// Scales the difference from the mean grey by such a factor.
    #[must_use]
    pub fn contrast(mut self, amount: f64) -> Self {
        self.contrast = around_one(amount);
        self
    }

    /// Scales the difference from the grey value of each pixel by such a
    /// factor.
    #[must_use]
    pub fn saturation(mut self, amount: f64) -> Self {
        self.saturation = around_one(amount);
        self
    }

    /// Rotates the hue by up to this share of a full circle either way, at most
    /// 0.5.
    #[must_use]
    pub fn hue(mut self, amount: f64) -> Self {
        self.hue = (-amount, amount);
        self
    }
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self::new()
    }
}

fn around_one(amount: f64) -> (f64, f64) {
    ((1.0 - amount).max(0.0), 1.0 + amount)
}

impl<P: Pixel> Transform<P> for ColorJitter {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let context = "ColorJitter";
        check_colours(context, shape)?;
        check_range(context, "brightness", self.brightness, 0.0..=1e6)?;
        check_range(context, "contrast", self.contrast, 0.0..=1e6)?;
        check_range(context, "saturation", self.saturation, 0.0..=1e6)?;
        check_range(context, "hue", self.hue, -0.5..=0.5)?;
        Ok(shape)
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        let ranges = [self.brightness, self.contrast, self.saturation, self.hue];
        let amounts = ranges.map(|range| between(rng, range) as f32);
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        let mut colours = image.map(|pixel| pixel.to_f32() / P::BOUND);
        for step in order {
            let amount = amounts[step];
            match step {
                0 if amount != 1.0 => {
                    let pixels = colours.pixels_mut().iter_mut();
                    pixels.for_each(|x| *x = (*x * amount).clamp(0.0, 1.0));
                }
                1 if amount != 1.0 => contrast(&mut colours, amount),
                2 if amount != 1.0 => saturation(&mut colours, amount),
                3 if amount != 0.0 => hue(&mut colours, amount),
                _ => {}
            }
        }
        colours.map(|x| P::from_f32(x * P::BOUND))
    }
}

/// The grey value of each pixel.
fn greys(image: &Image<f32>) -> Vec<f32> {
    let planes: Vec<_> = image.planes().collect();
    match planes[..] {
        [red, green, blue] => red
            .iter()
            .zip(green)
            .zip(blue)
            .map(|((r, g), b)| LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)
            .collect(),
        _ => planes.first().map_or_else(Vec::new, |plane| plane.to_vec()),
    }
}

fn contrast(image: &mut Image<f32>, factor: f32) {
    let greys = greys(image);
    let sum: f64 = greys.iter().map(|&grey| f64::from(grey)).sum();
    let mean = (sum / greys.len().max(1) as f64) as f32;
    let pixels = image.pixels_mut().iter_mut();
    pixels.for_each(|x| *x = (mean + factor * (*x - mean)).clamp(0.0, 1.0));
}

fn saturation(image: &mut Image<f32>, factor: f32) {
    if image.shape()[0] == 1 {
        return;
    }
    let greys = greys(image);
    for plane in image.planes_mut() {
        for (x, grey) in plane.iter_mut().zip(&greys) {
            *x = (grey + factor * (*x - grey)).clamp(0.0, 1.0);
        }
    }
}

fn hue(image: &mut Image<f32>, turn: f32) {
    let mut planes: Vec<_> = image.planes_mut().collect();
    if let [red, green, blue] = &mut planes[..] {
        for ((r, g), b) in red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut()) {
            [*r, *g, *b] = turned([*r, *g, *b], turn);
        }
    }
}

/// Rotates the hue of a colour by this share of a full circle; saturation and
/// value do not change.
fn turned([r, g, b]: [f32; 3], turn: f32) -> [f32; 3] {
    let (value, low) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = value - low;
    if chroma <= 0.0 {
        return [r, g, b];
    }
    // The hue in sixths of a circle, starting from red.
    let sixths = if value == r {
        (g - b) / chroma
    } else if value == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    let sixths = sixths + 6.0 * turn;
    [5.0, 3.0, 1.0].map(|offset| {
        let position = sixths + offset;
        let position = position - 6.0 * (position / 6.0).floor();
        value - chroma * position.min(4.0 - position).clamp(0.0, 1.0)
    })
}

/// Converts red, green and blue to one grey channel, like torchvision's
/// `Grayscale`. An image with one channel does not change.
#[derive(Clone, Debug, Setters)]
pub struct Grayscale {
    /// Whether to keep three channels, which are then equal.
    #[set(default = false)]
    keep_channels: bool,
}

impl Grayscale {
    /// A transform to one channel.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<P: Pixel> Transform<P> for Grayscale {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        check_colours("Grayscale", shape)?;
        Ok(if self.keep_channels { shape } else { [1, shape[1], shape[2]] })
    }

    fn apply(&self, image: Image<P>, _: &mut Rng) -> Image<P> {
        let [channels, height, width] = image.shape();
        if channels == 1 {
            return image;
        }
        let greys = greys(&image.map(Pixel::to_f32));
        let channels = if self.keep_channels { channels } else { 1 };
        Image::build([channels, height, width], |out| {
            for (x, &grey) in out.iter_mut().zip(greys.iter().cycle()) {
                *x = P::from_f32(grey);
            }
        })
    }
}

/// Converts bytes to floats in [0, 1]; floats do not change. It is
/// torchvision's `ToDtype(float32, scale=True)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToFloat;

impl<P: Pixel> Transform<P> for ToFloat {
    type Output = f32;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        Ok(shape)
    }

    fn apply(&self, image: Image<P>, _: &mut Rng) -> Image<f32> {
        image.map(|pixel| pixel.to_f32() / P::BOUND)
    }
}

/// `(value - mean) / std`, with one mean and one standard deviation for each
/// channel, like torchvision's `Normalize`. It is for floats; see [`ToFloat`].
#[derive(Clone, Debug)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// A transform with these means and standard deviations, one for each
    /// channel.
    ///
    /// # Errors
    ///
    /// When their numbers differ, one is not finite, or a standard deviation is
    /// not above 0.
    pub fn new(mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Result<Self> {
        let (mean, std) = (mean.into(), std.into());
        crate::images::check_moments("Normalize", &mean, &std, mean.len())?;
        Ok(Self { mean, std })
    }
}

impl Transform<f32> for Normalize {
    type Output = f32;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        if shape[0] == self.mean.len() {
            return Ok(shape);
        }
        let channels = self.mean.len();
        let message = format!("expected an image of {channels} channels, got shape {shape:?}");
        Err(Error::shape("Normalize", message))
    }

    fn apply(&self, mut image: Image<f32>, _: &mut Rng) -> Image<f32> {
        for ((plane, mean), std) in image.planes_mut().zip(&self.mean).zip(&self.std) {
            plane.iter_mut().for_each(|x| *x = (*x - mean) / std);
        }
        image
    }
}
