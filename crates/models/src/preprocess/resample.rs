//! Resizing of images of bytes, with the arithmetic of Pillow's `resize`.

use super::image::Interpolation;

/// The number of fractional bits of the weights, in Pillow `PRECISION_BITS`.
const PRECISION: u32 = 32 - 8 - 2;

/// The old pixels and their weights for a new pixel.
struct Taps {
    first: usize,
    weights: Vec<i64>,
}

impl Interpolation {
    /// The radius of the filter at the original size.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn filter(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// The taps of each new pixel along an axis. When the axis shrinks, the filter
/// covers all old pixels under a new one.
fn taps(old: usize, new: usize, interpolation: Interpolation) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let stretched = scale.max(1.0);
    let support = interpolation.support() * stretched;
    let tap = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        // Truncation towards 0, as in C.
        let first = ((centre - support + 0.5) as i64).max(0) as usize;
        let end = ((centre + support + 0.5) as i64).min(old as i64) as usize;
        let weight =
            |x: usize| interpolation.filter(((x as f64) - centre + 0.5) * (1.0 / stretched));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let rounded = |weight: f64| {
            let weight = if sum == 0.0 { weight } else { weight / sum };
            (weight * f64::from(1 << PRECISION)).round() as i64
        };
        Taps { first, weights: weights.into_iter().map(rounded).collect() }
    };
    (0..new).map(tap).collect()
}

/// Resizes a plane `[height, width]`: first its rows, then its columns, rounded
/// to bytes after each.
pub(super) fn resize(
    plane: &[u8],
    [height, width]: [usize; 2],
    [new_height, new_width]: [usize; 2],
    interpolation: Interpolation,
) -> Vec<u8> {
    let sum = |taps: &Taps, pixel: &dyn Fn(usize) -> u8| {
        let products = taps.weights.iter().enumerate();
        let sum: i64 = products.map(|(i, w)| w * i64::from(pixel(taps.first + i))).sum();
        ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
    };
    let mut rows = plane.to_vec();
    if new_width != width {
        let taps = taps(width, new_width, interpolation);
        let of_row = |row: &[u8]| taps.iter().map(|t| sum(t, &|x| row[x])).collect::<Vec<u8>>();
        rows = plane.chunks(width).flat_map(of_row).collect();
    }
    if new_height == height {
        return rows;
    }
    let mut resized = Vec::with_capacity(new_height * new_width);
    for taps in taps(height, new_height, interpolation) {
        let pixel = |x: usize| sum(&taps, &|y| rows[y * new_width + x]);
        resized.extend((0..new_width).map(pixel));
    }
    resized
}
