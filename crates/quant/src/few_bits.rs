//! Weights alone in 16, 8 or 4 bits; activations stay floats. In 16 bits they are
//! `bf16`, which a product converts when it packs them; in fewer bits integers.
//!
//! A product of few rows reads the weights once and converts them on the way. A
//! product of many rows converts some filters at a time into the right matrix of
//! a float product.

use dendra_tensor::kernels::epilogue::Epilogue;
use dendra_tensor::kernels::gemm::{Plus, Problem};
use dendra_tensor::kernels::parallel::{for_each_chunk, map};
use dendra_tensor::kernels::simd::dispatch;
use dendra_tensor::{AnyTensor, Error, Float, Result, Tensor, bf16};

use crate::affine::{symmetric, whole};

/// The weights that share a unit.
pub(crate) const GROUP: usize = 32;
/// Up to so many rows, each filter is converted as it is multiplied.
const FEW_ROWS: usize = 8;
/// The filters that are converted at once.
const FILTERS: usize = 64;
/// The sums that are added in turn.
const LANES: usize = 16;

/// The weights of a linear layer in 16, 8 or 4 bits, `[out, in]`.
///
/// Weights of 16 bits are `bf16`. Those of 8 and 4 bits are integers: each
/// [`Self::GROUP`] weights of a filter have a unit of their own. Integers of
/// 4 bits are −7 ..= 7, two in a byte, the first one in the lower half.
#[derive(Clone, Debug, PartialEq)]
pub struct FewBits {
    bits: u8,
    filters: usize,
    depth: usize,
    /// The integers, each filter padded to whole groups.
    data: Vec<u8>,
    scales: Vec<f32>,
    /// The weights in 16 bits, instead of integers.
    halves: Option<Tensor<bf16>>,
}

/// The stored form of weights: the tensor of the weights `[out, …]`, and the units
/// `[out, groups]` of integers.
pub(crate) type Parts = (AnyTensor, Option<Tensor<f32>>);

impl FewBits {
    /// The number of weights that share a unit.
    pub const GROUP: usize = GROUP;

    /// Rounds the weights `[out, in]` of a linear layer.
    ///
    /// # Errors
    ///
    /// When `bits` is none of 16, 8 and 4, or the weights are no matrix.
    ///
    /// ```
    /// use dendra_quant::FewBits;
    /// use dendra_tensor::{Rng, Tensor};
    ///
    /// let weights = Tensor::<f32>::normal([8, 64], 0.0, 1.0, &mut Rng::seed(1));
    /// let few = FewBits::of(&weights, 4)?;
    /// let y = few.linear(&Tensor::ones([3, 64]), None)?;
    /// assert_eq!(*y.shape(), [3, 8]);
    /// assert_eq!(few.bytes(), 8 * 64 / 2 + 8 * 2 * 4);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn of(weights: &Tensor<f32>, bits: u8) -> Result<Self> {
        let (&[filters, depth], 16 | 8 | 4) = (&weights.shape()[..], bits) else {
            let shape = weights.shape();
            let message = format!("expected a matrix and 16, 8 or 4 bits, got {shape} and {bits}");
            return Err(Error::argument("FewBits", message));
        };
        if bits == 16 {
            return Ok(Self::of_halves(filters, depth, weights.contiguous().cast()));
        }
        let most = if bits == 8 { 127.0 } else { 7.0 };
        let groups = depth.div_ceil(GROUP);
        let mut data = Vec::with_capacity(filters * groups * GROUP * usize::from(bits) / 8);
        let mut scales = Vec::with_capacity(filters * groups);
        let weights = weights.to_vec();
        for filter in weights.chunks(depth.max(1)).take(filters) {
            for group in filter.chunks(GROUP) {
                let scale = symmetric(group, most);
                let mut integers = [0; GROUP];
                for (integer, &x) in integers.iter_mut().zip(group) {
                    *integer = whole(x, scale, most);
                }
                match bits {
                    8 => data.extend(integers.map(|integer| integer as u8)),
                    _ => data.extend(
                        integers
                            .chunks(2)
                            .map(|pair| (pair[0] + 8) as u8 | ((pair[1] + 8) as u8) << 4),
                    ),
                }
                scales.push(scale);
            }
        }
        Ok(Self { bits, filters, depth, data, scales, halves: None })
    }

    fn of_halves(filters: usize, depth: usize, halves: Tensor<bf16>) -> Self {
        let (data, scales) = (Vec::new(), Vec::new());
        Self { bits: 16, filters, depth, data, scales, halves: Some(halves) }
    }

    /// The weights `[out, depth]` from their stored form.
    pub(crate) fn from_parts(bits: u8, depth: usize, parts: &Parts) -> Result<Self> {
        let (data, scales) = match parts {
            (AnyTensor::BF16(halves), None) if bits == 16 => {
                return match halves.shape()[..] {
                    [filters, found] if found == depth => {
                        Ok(Self::of_halves(filters, depth, halves.contiguous()))
                    }
                    _ => {
                        let shape = halves.shape();
                        let message = format!("16 bits for {depth} inputs do not fit {shape}");
                        Err(Error::shape("FewBits", message))
                    }
                };
            }
            (AnyTensor::U8(data), Some(scales)) => (data, scales),
            (other, _) => {
                let element = other.element();
                let message = format!("elements of type {element} are not weights of {bits} bits");
                return Err(Error::argument("FewBits", message));
            }
        };
        let groups = depth.div_ceil(GROUP);
        let bytes = groups * GROUP * usize::from(bits) / 8;
        let fits = matches!(bits, 8 | 4)
            && data.shape().len() == 2
            && data.shape()[1] == bytes
            && scales.shape()[..] == [data.shape()[0], groups];
        if !fits {
            let message = format!(
                "{bits} bits for {depth} inputs do not fit {} and {}",
                data.shape(),
                scales.shape()
            );
            return Err(Error::shape("FewBits", message));
        }
        let filters = data.shape()[0];
        let (data, scales) = (data.to_vec(), scales.to_vec());
        Ok(Self { bits, filters, depth, data, scales, halves: None })
    }

    /// The stored form.
    pub(crate) fn parts(&self) -> Result<Parts> {
        if let Some(halves) = &self.halves {
            return Ok((halves.clone().into(), None));
        }
        let count = self.filters.max(1);
        let (bytes, groups) = (self.data.len() / count, self.scales.len() / count);
        Ok((
            Tensor::from_vec(self.data.clone(), [self.filters, bytes])?.into(),
            Some(Tensor::from_vec(self.scales.clone(), [self.filters, groups])?),
        ))
    }

    /// The shape of the weights, `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.filters, self.depth]
    }

    /// The bits of a weight.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The bytes of all weights and units.
    pub fn bytes(&self) -> usize {
        let halves = self.halves.as_ref().map_or(0, Tensor::len);
        self.data.len() + 4 * self.scales.len() + 2 * halves
    }

    /// The weights as floats, `[out, in]`.
    pub fn to_floats(&self) -> Tensor<f32> {
        if let Some(halves) = &self.halves {
            return halves.cast();
        }
        let stride = self.stride();
        let mut filter = vec![0.0; stride];
        Tensor::build([self.filters, self.depth], |out| {
            for (index, out) in out.chunks_mut(self.depth.max(1)).enumerate() {
                self.convert(index, &mut filter);
                out.copy_from_slice(&filter[..self.depth]);
            }
        })
    }

    fn stride(&self) -> usize {
        self.depth.div_ceil(GROUP) * GROUP
    }

    /// The weights of a filter as floats, with its padding.
    fn convert(&self, filter: usize, out: &mut [f32]) {
        let groups = self.depth.div_ceil(GROUP);
        let scales = &self.scales[filter * groups..][..groups];
        let bytes = GROUP * usize::from(self.bits) / 8;
        let data = &self.data[filter * groups * bytes..][..groups * bytes];
        let four = self.bits == 4;
        dispatch(
            #[inline(always)]
            || {
                let groups = out.chunks_exact_mut(GROUP).zip(data.chunks_exact(bytes));
                for ((out, data), &scale) in groups.zip(scales) {
                    if four {
                        for (pair, &byte) in out.chunks_exact_mut(2).zip(data) {
                            pair[0] = (i32::from(byte & 15) - 8) as f32 * scale;
                            pair[1] = (i32::from(byte >> 4) - 8) as f32 * scale;
                        }
                    } else {
                        for (out, &byte) in out.iter_mut().zip(data) {
                            *out = f32::from(byte as i8) * scale;
                        }
                    }
                }
            },
        );
    }

    /// Computes `x·Wᵀ + b` for `x` of shape `[…, in]`.
    ///
    /// # Errors
    ///
    /// When the last axis of `x` has another length, or the bias another shape.
    pub fn linear(&self, x: &Tensor<f32>, bias: Option<&Tensor<f32>>) -> Result<Tensor<f32>> {
        let Some((&depth, outer)) = x.shape().split_last().filter(|&(&d, _)| d == self.depth)
        else {
            let message = format!("expected […, {}], got {}", self.depth, x.shape());
            return Err(Error::shape("FewBits::linear", message));
        };
        if let Some(halves) = &self.halves {
            return x.mixed_linear(halves, bias);
        }
        let bias = bias.map_or_else(|| vec![0.0; self.filters], Tensor::to_vec);
        if bias.len() != self.filters {
            let message = format!("expected a bias of {}, got {}", self.filters, bias.len());
            return Err(Error::shape("FewBits::linear", message));
        }
        let rows: usize = outer.iter().product();
        let mut shape = outer.to_vec();
        shape.push(self.filters);
        let x = x.to_vec();
        if rows == 0 || self.filters == 0 || depth == 0 {
            return Ok(Tensor::from_fn(shape, |index| bias[index % self.filters.max(1)]));
        }
        Ok(Tensor::build(shape, |out| match rows <= FEW_ROWS {
            true => self.few_rows(&x, rows, &bias, out),
            false => self.many_rows(&x, rows, &bias, out),
        }))
    }

    fn few_rows(&self, x: &[f32], rows: usize, bias: &[f32], out: &mut [f32]) {
        // Rows padded to whole groups.
        let stride = self.stride();
        let mut padded = vec![0.0; rows * stride];
        for (padded, row) in padded.chunks_mut(stride).zip(x.chunks(self.depth)) {
            padded[..self.depth].copy_from_slice(row);
        }
        let mut columns = vec![0.0; rows * self.filters];
        for_each_chunk(&mut columns, 8 * rows, self.depth / 8 + 1, |chunk, out| {
            let mut weights = vec![0.0; stride];
            for (index, out) in out.chunks_mut(rows).enumerate() {
                let filter = chunk * 8 + index;
                self.convert(filter, &mut weights);
                for (row, out) in padded.chunks(stride).zip(out) {
                    *out = dot(row, &weights) + bias[filter];
                }
            }
        });
        for (row, out) in out.chunks_mut(self.filters).enumerate() {
            for (filter, out) in out.iter_mut().enumerate() {
                *out = columns[filter * rows + row];
            }
        }
    }

    fn many_rows(&self, x: &[f32], rows: usize, bias: &[f32], out: &mut [f32]) {
        let (stride, depth) = (self.stride(), self.depth);
        for first in (0..self.filters).step_by(FILTERS) {
            let count = FILTERS.min(self.filters - first);
            let converted = map(count, depth, |index| {
                let mut filter = vec![0.0; stride];
                self.convert(first + index, &mut filter);
                filter
            });
            let weights = converted.concat();
            f32::gemm(Problem {
                m: rows,
                k: depth,
                n: count,
                a: x,
                a_strides: [depth, 1],
                b: &weights,
                b_strides: [1, stride],
                c: &mut out[first..],
                columns: self.filters,
                plus: Plus::Row(&bias[first..][..count]),
                then: Epilogue::NONE,
            });
        }
    }
}

/// Σ a·b, in a fixed order for every CPU.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    dispatch(
        #[inline(always)]
        || {
            for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    sums[lane] += a[lane] * b[lane];
                }
            }
        },
    );
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Ops, Rng};

    use super::*;

    #[test]
    fn products_are_those_with_the_rounded_weights() {
        let mut rng = Rng::seed(1);
        let cases = [(70, 100, 8), (5, 33, 4), (130, 64, 4), (1, 7, 8), (70, 100, 16), (3, 9, 16)];
        for (filters, depth, bits) in cases {
            let weights = Tensor::<f32>::normal([filters, depth], 0.0, 1.0, &mut rng);
            let bias = Tensor::<f32>::normal([filters], 0.0, 1.0, &mut rng);
            let few = FewBits::of(&weights, bits).unwrap();
            let rounded = few.to_floats();
            let most = if bits == 8 { 0.02 } else { 0.4 };
            let error = rounded.sub(&weights).unwrap().abs().max().unwrap().item().unwrap();
            assert!(error < most, "{error}");
            for rows in [1, 3, FEW_ROWS + 5] {
                let x = Tensor::<f32>::normal([rows, depth], 0.0, 1.0, &mut rng);
                let expected = x.linear(&rounded, Some(&bias)).unwrap();
                let y = few.linear(&x, Some(&bias)).unwrap();
                let difference = y.sub(&expected).unwrap().abs().max().unwrap().item().unwrap();
                assert!(difference < 1e-3, "{rows} × {depth} × {filters}: {difference}");
            }
            let parts = few.parts().unwrap();
            assert_eq!(FewBits::from_parts(bits, depth, &parts).unwrap(), few);
            assert!(FewBits::from_parts(bits, depth + 40, &parts).is_err());
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let weights = Tensor::<f32>::ones([4, 40]);
        assert!(FewBits::of(&weights, 3).is_err());
        assert!(FewBits::of(&Tensor::ones([4]), 8).is_err());
        let few = FewBits::of(&weights, 4).unwrap();
        assert!(few.linear(&Tensor::ones([2, 41]), None).is_err());
        assert!(few.linear(&Tensor::ones([2, 40]), Some(&Tensor::ones([3]))).is_err());
        assert_eq!(*few.linear(&Tensor::ones([0, 40]), None).unwrap().shape(), [0, 4]);
        let parts = few.parts().unwrap();
        assert!(FewBits::from_parts(8, 40, &parts).is_err());
        assert!(FewBits::from_parts(16, 40, &parts).is_err());
    }
}
