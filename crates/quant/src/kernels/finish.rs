//! What becomes of the sums of products: bytes, floats, or nothing.
//!
//! A sum is converted to `f32`, multiplied, limited, and rounded, halves to the
//! even number. These are the operations of ONNX Runtime in its order, and none
//! are fused, so that every CPU gives the same bits.

/// 1.5 · 2²³. A sum of it and a small number has no fractional bits, so adding it
/// rounds.
const ROUNDING: f32 = 12_582_912.0;

/// The nearest integer, halves to the even one, of a number within ±2²¹.
#[inline(always)]
pub(super) fn round(x: f32) -> i32 {
    (x + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i32
}

/// `x` limited to a range; its start for NaN.
#[inline(always)]
pub(super) fn limit(x: f32, [low, high]: [f32; 2]) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// What becomes of the sums of a product.
pub trait Finish: Sync {
    /// The elements of the result.
    type Element: Copy + Default + Send;

    /// Computes the elements of a row from `column` on from their sums.
    ///
    /// Implement it as `#[inline(always)]`, with plain loops.
    fn finish(&self, row: usize, column: usize, sums: &[i32], out: &mut [Self::Element]);
}

/// The sums themselves.
#[derive(Clone, Copy, Debug)]
pub struct Sums;

impl Finish for Sums {
    type Element = i32;

    #[inline(always)]
    fn finish(&self, _: usize, _: usize, sums: &[i32], out: &mut [i32]) {
        out.copy_from_slice(&sums[..out.len()]);
    }
}

/// Bytes in the units of the next layer: `(sum + offset) · scale`, rounded, with
/// `zero` for 0.
#[derive(Clone, Copy, Debug)]
pub struct Requantise<'a> {
    /// What is added to the sums of a column: its bias, and the zero point of the
    /// inputs times the sum of its weights, subtracted.
    pub offsets: &'a [i32],
    /// The factor of each column.
    pub scales: &'a [f32],
    /// The byte that means 0.
    pub zero: u8,
    /// The least and the largest byte. An activation such as ReLU is such a limit.
    pub limits: [u8; 2],
}

impl Requantise<'_> {
    /// The limits before `zero` is added.
    #[inline(always)]
    fn range(&self) -> [f32; 2] {
        self.limits.map(|limit| f32::from(limit) - f32::from(self.zero))
    }
}

impl Finish for Requantise<'_> {
    type Element = u8;

    #[inline(always)]
    fn finish(&self, _: usize, column: usize, sums: &[i32], out: &mut [u8]) {
        let (range, zero) = (self.range(), i32::from(self.zero));
        let offsets = &self.offsets[column..][..out.len()];
        let scales = &self.scales[column..][..out.len()];
        for (((out, &sum), &offset), &scale) in out.iter_mut().zip(sums).zip(offsets).zip(scales) {
            let x = sum.wrapping_add(offset) as f32 * scale;
            *out = (round(limit(x, range)) + zero) as u8;
        }
    }
}

/// Floats: `(sum + offset) · scale`, limited.
#[derive(Clone, Copy, Debug)]
pub struct Dequantise<'a> {
    /// As in [`Requantise`].
    pub offsets: &'a [i32],
    /// The factor of each column.
    pub scales: &'a [f32],
    /// The least and the largest result.
    pub limits: [f32; 2],
}

impl Finish for Dequantise<'_> {
    type Element = f32;

    #[inline(always)]
    fn finish(&self, _: usize, column: usize, sums: &[i32], out: &mut [f32]) {
        let offsets = &self.offsets[column..][..out.len()];
        let scales = &self.scales[column..][..out.len()];
        for (((out, &sum), &offset), &scale) in out.iter_mut().zip(sums).zip(offsets).zip(scales) {
            *out = limit(sum.wrapping_add(offset) as f32 * scale, self.limits);
        }
    }
}

/// Floats of inputs whose unit differs from sample to sample:
/// `(sum − zero · weight_sum) · scale · column_scale + bias`, limited.
#[derive(Clone, Copy, Debug)]
pub struct PerRow<'a> {
    /// The unit and the zero point of each sample.
    pub samples: &'a [(f32, u8)],
    /// The number of rows of a sample.
    pub rows: usize,
    /// The sum of the weights of each column.
    pub weight_sums: &'a [i32],
    /// The unit of the weights of each column.
    pub scales: &'a [f32],
    /// The bias of each column.
    pub bias: &'a [f32],
    /// The least and the largest result.
    pub limits: [f32; 2],
}

impl Finish for PerRow<'_> {
    type Element = f32;

    #[inline(always)]
    fn finish(&self, row: usize, column: usize, sums: &[i32], out: &mut [f32]) {
        let (unit, zero) = self.samples[row / self.rows];
        let zero = i32::from(zero);
        let count = out.len();
        let weight_sums = &self.weight_sums[column..][..count];
        let scales = self.scales[column..][..count].iter().zip(&self.bias[column..][..count]);
        let sums = sums.iter().zip(weight_sums);
        for ((out, (&sum, &weights)), (&scale, &bias)) in out.iter_mut().zip(sums).zip(scales) {
            let sum = sum.wrapping_sub(zero.wrapping_mul(weights));
            *out = limit(sum as f32 * (unit * scale) + bias, self.limits);
        }
    }
}
