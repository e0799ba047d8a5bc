//! From numbers to integers: units and zero points.

use crate::kernels;

/// The meaning of bytes: `(byte − zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The unit.
    pub scale: f32,
    /// The byte that means 0.
    pub zero: u8,
}

impl Affine {
    /// The finest bytes that cover a range and 0.
    ///
    /// ```
    /// use dendra_quant::Affine;
    ///
    /// let affine = Affine::of_range(-1.0, 3.0);
    /// assert_eq!(affine.zero, 64);
    /// assert!((affine.scale - 4.0 / 255.0).abs() < 1e-6);
    /// ```
    pub fn of_range(low: f32, high: f32) -> Self {
        // NaN counts as 0, and the difference stays finite.
        let low = if low < 0.0 { low.max(f32::MIN / 4.0) } else { 0.0 };
        let high = if high > 0.0 { high.min(f32::MAX / 4.0) } else { 0.0 };
        let scale = (high - low) / 255.0;
        if scale < f32::MIN_POSITIVE {
            return Self { scale: 1.0, zero: 0 };
        }
        Self { scale, zero: (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8 }
    }

    /// The byte of a number.
    pub fn byte(&self, x: f32) -> u8 {
        let mut byte = [0];
        kernels::quantise(&[x], self.scale, self.zero, &mut byte);
        byte[0]
    }

    /// The bytes of a range, such as that of an activation.
    pub(crate) fn limits(&self, [low, high]: [f32; 2]) -> [u8; 2] {
        [self.byte(low), self.byte(high)]
    }
}

/// The largest weight by default. With seven bits, sums of several products fit
/// into 16 bits, which AVX2 adds fastest.
pub(crate) const SEVEN_BITS: f32 = 63.0;

/// Rounds the weights of each filter to integers of at most ±`most` times a unit,
/// and returns these units.
pub(crate) fn by_filter(weights: &[f32], filters: usize, most: f32) -> (Vec<i8>, Vec<f32>) {
    if filters == 0 || weights.is_empty() {
        return (Vec::new(), vec![1.0; filters]);
    }
    let mut integers = Vec::with_capacity(weights.len());
    let mut scales = Vec::with_capacity(filters);
    for filter in weights.chunks(weights.len() / filters) {
        let scale = symmetric(filter, most);
        integers.extend(filter.iter().map(|&x| whole(x, scale, most)));
        scales.push(scale);
    }
    (integers, scales)
}

/// The unit in which the largest weight is `most`.
pub(crate) fn symmetric(weights: &[f32], most: f32) -> f32 {
    let largest = weights.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = largest.min(f32::MAX) / most;
    if scale < f32::MIN_POSITIVE { 1.0 } else { scale }
}

/// A number in units of `scale`, rounded and limited to ±`most`; 0 for NaN.
pub(crate) fn whole(x: f32, scale: f32, most: f32) -> i8 {
    (x / scale).round_ties_even().clamp(-most, most) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_byte_of_its_own() {
        for (low, high) in [(-1.0, 3.0), (0.5, 2.0), (-3.0, -1.0), (-1e-3, 1e3), (0.0, 6.0)] {
            let affine = Affine::of_range(low, high);
            assert_eq!(affine.byte(0.0), affine.zero);
            let back = |x: f32| (f32::from(affine.byte(x)) - f32::from(affine.zero)) * affine.scale;
            for x in [low, high, 0.3 * low + 0.7 * high] {
                assert!((back(x) - x).abs() <= 0.51 * affine.scale, "{x} in {low} .. {high}");
            }
        }
        assert_eq!(Affine::of_range(0.0, 0.0), Affine { scale: 1.0, zero: 0 });
        assert!(Affine::of_range(f32::NEG_INFINITY, f32::INFINITY).scale.is_finite());
        assert_eq!(Affine::of_range(f32::NAN, f32::NAN), Affine { scale: 1.0, zero: 0 });
    }

    #[test]
    fn each_filter_uses_the_whole_range() {
        let (integers, scales) =
            by_filter(&[0.5, -1.0, 0.25, 100.0, 0.0, -30.0, 0.0, 0.0], 4, 127.0);
        assert_eq!(integers, [64, -127, 0, 127, 0, -127, 0, 0]);
        assert_eq!(scales[3], 1.0);
    }
}
