//! Rotation, affine maps and elastic distortion. Every new pixel is read from a
//! position in the old image, with linear interpolation.

use std::f64::consts::PI;
use std::ops::RangeInclusive;

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use super::blur::blur;
use super::{Image, Pixel, Transform, between, check_range};

/// The image whose pixel at (x, y) is the old image at `source(x, y)`.
/// Positions are in pixels from the centre of the first pixel. The value
/// outside the image is `fill`.
fn warp<P: Pixel>(
    image: &Image<P>,
    fill: f32,
    source: impl Fn(usize, usize) -> (f32, f32),
) -> Image<P> {
    let [channels, height, width] = image.shape();
    let (pixels, size) = (image.pixels(), height * width);
    Image::build(image.shape(), |out| {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let (place_x, place_y) = source(x, y);
            let (left, top) = (place_x.floor(), place_y.floor());
            let (u, v) = (place_x - left, place_y - top);
            let weights = [(1.0 - v) * (1.0 - u), (1.0 - v) * u, v * (1.0 - u), v * u];
            // The conversion saturates NaN and values that are far outside.
            let (left, top) = (left as isize, top as isize);
            let inside =
                (0..width as isize - 1).contains(&left) && (0..height as isize - 1).contains(&top);
            for channel in 0..channels {
                let plane = &pixels[channel * size..][..size];
                let value = if inside {
                    let first = top as usize * width + left as usize;
                    let taps = [first, first + 1, first + width, first + width + 1];
                    taps.iter().zip(weights).map(|(&tap, w)| plane[tap].to_f32() * w).sum()
                } else {
                    edge(plane, [height, width], [top, left], weights, fill)
                };
                out[channel * size + y * width + x] = P::from_f32(value);
            }
        }
    })
}

/// The interpolated value if some of the four pixels may be outside the image.
fn edge<P: Pixel>(
    plane: &[P],
    [height, width]: [usize; 2],
    [top, left]: [isize; 2],
    weights: [f32; 4],
    fill: f32,
) -> f32 {
    let tap = |(index, weight): (usize, f32)| {
        let y = top.saturating_add((index / 2) as isize);
        let x = left.saturating_add((index % 2) as isize);
        let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
        let value = if inside { plane[y as usize * width + x as usize].to_f32() } else { fill };
        value * weight
    };
    weights.into_iter().enumerate().map(tap).sum()
}

/// Rotates, scales, shears and shifts the image around its centre, like
/// torchvision's function `affine` with linear interpolation, except that the
/// angle is counter-clockwise. By default, nothing changes.
#[derive(Clone, Debug, Setters)]
#[set(new)]
pub struct Affine {
    /// The angle of the rotation, counter-clockwise, in degrees.
    #[set(default = 0.0)]
    angle: f64,
    /// The shift to the right and down, in pixels.
    #[set(each(right, down), default = [0.0; 2])]
    translate: [f64; 2],
    /// The scale of both axes.
    #[set(default = 1.0)]
    scale: f64,
    /// The shear along x and y in degrees, which is applied before the
    /// rotation.
    #[set(each(x, y), default = [0.0; 2])]
    shear: [f64; 2],
    /// The value outside the image.
    #[set(default = 0.0)]
    fill: f32,
}

impl Affine {
    /// The matrix from positions in the new image to positions in the old one.
    fn inverse(&self) -> [f64; 4] {
        let [sin, cos] = [libm::sin, libm::cos].map(|f| f(self.angle * PI / 180.0));
        let [lean_x, lean_y] = self.shear.map(|degrees| libm::tan(degrees * PI / 180.0));
        // Rows grow downwards, so +sin is in the upper right for a
        // counter-clockwise rotation.
        let turn = [cos, sin, -sin, cos];
        let lean = [1.0, lean_x, lean_y, 1.0 + lean_x * lean_y];
        let [a, b, c, d] = [
            turn[0] * lean[0] + turn[1] * lean[2],
            turn[0] * lean[1] + turn[1] * lean[3],
            turn[2] * lean[0] + turn[3] * lean[2],
            turn[2] * lean[1] + turn[3] * lean[3],
        ];
        // Rotation and shear keep areas, so the determinant is 1.
        [d, -b, -c, a].map(|entry| entry / self.scale)
    }

    fn check(&self, context: &str) -> Result<()> {
        let range = |value| (value, value);
        check_range(context, "angle", range(self.angle), ANGLES)?;
        check_range(context, "scale", range(self.scale), SCALES)?;
        for shear in self.shear {
            check_range(context, "shear", range(shear), SHEARS)?;
        }
        for translate in self.translate {
            check_range(context, "translate", range(translate), -1e9..=1e9)?;
        }
        Ok(())
    }
}

/// Limits for rotations in degrees, scales, and shears in degrees.
const ANGLES: RangeInclusive<f64> = -1e6..=1e6;
const SCALES: RangeInclusive<f64> = 1e-6..=1e6;
const SHEARS: RangeInclusive<f64> = -89.0..=89.0;

impl<P: Pixel> Transform<P> for Affine {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        self.check("Affine").map(|()| shape)
    }

    fn apply(&self, image: Image<P>, _: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        let [middle_x, middle_y] = [width, height].map(|length| (length as f64 - 1.0) / 2.0);
        let [a, b, c, d] = self.inverse();
        warp(&image, self.fill, |x, y| {
            let x = x as f64 - middle_x - self.translate[0];
            let y = y as f64 - middle_y - self.translate[1];
            ((a * x + b * y + middle_x) as f32, (c * x + d * y + middle_y) as f32)
        })
    }
}

/// Rotates the image around its centre, like torchvision's `RandomRotation`
/// with linear interpolation.
#[derive(Clone, Debug, Setters)]
pub struct RandomRotation {
    /// The range of the angle of the rotation, counter-clockwise, in degrees.
    #[set(given, each(low, high))]
    degrees: (f64, f64),
    /// The value outside the image.
    #[set(default = 0.0)]
    fill: f32,
}

impl RandomRotation {
    /// Rotates by up to this number of degrees either way.
    pub fn new(degrees: f64) -> Self {
        Self::with_defaults((-degrees, degrees))
    }
}

impl<P: Pixel> Transform<P> for RandomRotation {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        check_range("RandomRotation", "degrees", self.degrees, ANGLES).map(|()| shape)
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        Affine::new().angle(between(rng, self.degrees)).fill(self.fill).apply(image, rng)
    }
}

/// Rotates, shifts, scales and shears the image, like torchvision's
/// `RandomAffine` with linear interpolation. By default, it only rotates.
#[derive(Clone, Debug, Setters)]
pub struct RandomAffine {
    /// The range of the angle of the rotation, counter-clockwise, in degrees.
    #[set(given, each(low, high))]
    degrees: (f64, f64),
    /// The largest shift either way, as shares of width and height.
    #[set(each(horizontal, vertical), default = [0.0; 2])]
    translate: [f64; 2],
    /// The range of the scale of both axes.
    #[set(each(low, high), default = (1.0, 1.0))]
    scale: (f64, f64),
    #[set(skip, default = [(0.0, 0.0); 2])]
    shear: [(f64, f64); 2],
    /// The value outside the image.
    #[set(default = 0.0)]
    fill: f32,
}

impl RandomAffine {
    /// Rotates by up to this number of degrees either way.
    pub fn new(degrees: f64) -> Self {
        Self::with_defaults((-degrees, degrees))
    }

    /// Shears along x by an angle from this range, in degrees.
    #[must_use]
    pub fn shear(mut self, low: f64, high: f64) -> Self {
        self.shear[0] = (low, high);
        self
    }

    /// Shears along y by an angle from this range, in degrees.
    #[must_use]
    pub fn shear_y(mut self, low: f64, high: f64) -> Self {
        self.shear[1] = (low, high);
        self
    }
}

impl<P: Pixel> Transform<P> for RandomAffine {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let context = "RandomAffine";
        check_range(context, "degrees", self.degrees, ANGLES)?;
        check_range(context, "scale", self.scale, SCALES)?;
        for shear in self.shear {
            check_range(context, "shear", shear, SHEARS)?;
        }
        for translate in self.translate {
            check_range(context, "translate", (0.0, translate), 0.0..=1.0)?;
        }
        Ok(shape)
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        let angle = between(rng, self.degrees);
        let [right, down] = [(width, self.translate[0]), (height, self.translate[1])]
            .map(|(length, share)| between(rng, (-share, share)) * length as f64);
        let scale = between(rng, self.scale);
        let [x, y] = self.shear.map(|range| between(rng, range));
        let affine = Affine::new().angle(angle).translate(right, down).scale(scale).shear(x, y);
        affine.fill(self.fill).apply(image, rng)
    }
}

/// Distorts the image smoothly: every pixel is moved by a random field that was
/// blurred.
///
/// P. Simard, D. Steinkraus and J. Platt: "Best practices for convolutional
/// neural networks applied to visual document analysis", ICDAR 2003.
/// torchvision's `ElasticTransform` has the same field for half the `alpha`.
#[derive(Clone, Debug, Setters)]
pub struct ElasticTransform {
    alpha: f64,
    sigma: f64,
    /// The value outside the image.
    #[set(default = 0.0)]
    fill: f32,
}

impl ElasticTransform {
    /// Moves pixels by `alpha` times a field of random numbers between −1 and
    /// 1, blurred with a Gaussian of `sigma` pixels. The paper uses 34 and 4
    /// for digits of 29×29 pixels.
    pub fn new(alpha: f64, sigma: f64) -> Self {
        Self::with_defaults(alpha, sigma)
    }
}

impl<P: Pixel> Transform<P> for ElasticTransform {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let context = "ElasticTransform";
        if !self.alpha.is_finite() {
            let message = format!("`alpha` must be finite, got {}", self.alpha);
            return Err(Error::argument(context, message));
        }
        check_range(context, "sigma", (self.sigma, self.sigma), 0.0..=1e3).map(|()| shape)
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        let [_, height, width] = image.shape();
        let mut field = || {
            let mut field: Vec<f32> = (0..height * width)
                .map(|_| rng.next_u32() as f32 * (2.0 / u32::MAX as f32) - 1.0)
                .collect();
            blur(&mut field, [height, width], self.sigma);
            field.iter_mut().for_each(|move_by| *move_by *= self.alpha as f32);
            field
        };
        let (across, down) = (field(), field());
        warp(&image, self.fill, |x, y| {
            let pixel = y * width + x;
            (x as f32 + across[pixel], y as f32 + down[pixel])
        })
    }
}
