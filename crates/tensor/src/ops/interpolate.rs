//! Resizing by interpolation (nearest, linear, cubic and area) along one, two
//! or three axes.
//!
//! Every mode is separable: along each axis a new element is a weighted sum of
//! a few old ones, its *taps*, and the axes are resized one after the other.
//! Coordinates follow PyTorch's `interpolate`. Those of the nearest elements
//! are computed in single precision for every element type, as PyTorch does for
//! images and for all gradients.

use smallvec::SmallVec;

use super::transposed::linear_gradient;
use super::{Attributes, Call, Cotangents, Op, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::offsets::Rows;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How new elements are computed from old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterpolateMode {
    /// The element at the coordinate, rounded down; PyTorch's `nearest`.
    Nearest,
    /// The element whose centre is nearest; PyTorch's `nearest-exact`.
    NearestExact,
    /// Linear interpolation between neighbours: `linear`, `bilinear`,
    /// `trilinear`.
    Linear,
    /// Cubic convolution with a = −0.75 (Keys, 1981): `bicubic`.
    Cubic,
    /// The mean of the old elements that each new one covers: `area`.
    Area,
}

/// The new lengths.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    Size(SmallVec<[usize; 3]>),
    Scale(SmallVec<[f64; 3]>),
}

/// The new size and the mode of a resize.
///
/// ```
/// use dendra_tensor::{Interpolate, InterpolateMode, Ops, Tensor};
///
/// let x = Tensor::from([[[1.0, 2.0_f32]]]);
/// let twice = Interpolate::scale(&[2.0], InterpolateMode::Nearest);
/// assert_eq!(x.interpolate(&twice).unwrap().to_vec(), [1.0, 1.0, 2.0, 2.0]);
/// let line = Interpolate::size(&[3], InterpolateMode::Linear).align_corners(true);
/// assert_eq!(x.interpolate(&line).unwrap().to_vec(), [1.0, 1.5, 2.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Interpolate {
    target: Target,
    mode: InterpolateMode,
    align_corners: bool,
    antialias: bool,
    recompute_scale_factor: bool,
}

fn fail<X>(message: String) -> Result<X> {
    Err(Error::argument("interpolate", message))
}

impl Interpolate {
    /// Resizes the axes after `[N, C]` to these lengths.
    pub fn size(sizes: &[usize], mode: InterpolateMode) -> Self {
        Self::to(Target::Size(sizes.into()), mode)
    }

    /// Resizes the axes after `[N, C]` by these factors; the new lengths are
    /// rounded down. Coordinates are divided by the given factors, which differ
    /// from new length / old length where that was rounded.
    pub fn scale(factors: &[f64], mode: InterpolateMode) -> Self {
        Self::to(Target::Scale(factors.into()), mode)
    }

    fn to(target: Target, mode: InterpolateMode) -> Self {
        let (align_corners, antialias, recompute_scale_factor) = (false, false, false);
        Self { target, mode, align_corners, antialias, recompute_scale_factor }
    }

    /// Whether the centres of the first and last elements are aligned, instead
    /// of the edges of the image; for the modes linear and cubic.
    #[must_use]
    pub fn align_corners(mut self, align: bool) -> Self {
        self.align_corners = align;
        self
    }

    /// Whether an axis that shrinks is smoothed: its taps then cover all old
    /// elements under a new one, as in Pillow; for the modes linear and cubic,
    /// the latter with a = −0.5.
    #[must_use]
    pub fn antialias(mut self, antialias: bool) -> Self {
        self.antialias = antialias;
        self
    }

    /// Whether coordinates use the quotient of the lengths instead of the given
    /// factors.
    #[must_use]
    pub fn recompute_scale_factor(mut self, recompute: bool) -> Self {
        self.recompute_scale_factor = recompute;
        self
    }

    /// For each axis after the first two, its new length and the number of old
    /// elements per new one.
    fn plan(&self, shape: &Shape) -> Result<Vec<(usize, f64)>> {
        let axes = match &self.target {
            Target::Size(sizes) => sizes.len(),
            Target::Scale(factors) => factors.len(),
        };
        if axes == 0 || shape.len() != axes + 2 {
            let message = format!("expected an input of [N, C] and {axes} axes, got {shape}");
            return Err(Error::shape("interpolate", message));
        }
        let smooth = matches!(self.mode, InterpolateMode::Linear | InterpolateMode::Cubic);
        if self.align_corners && !smooth {
            return fail(format!(
                "align_corners is for the modes linear and cubic, not {:?}",
                self.mode
            ));
        }
        if self.antialias && !smooth {
            return fail(format!(
                "antialias is for the modes linear and cubic, not {:?}",
                self.mode
            ));
        }
        let axis = |axis: usize| {
            let length = shape[axis + 2];
            let (size, step) = match &self.target {
                Target::Size(sizes) => (sizes[axis], length as f64 / sizes[axis] as f64),
                Target::Scale(factors) => {
                    let size = (length as f64 * factors[axis]).floor();
                    if !(1.0..=u32::MAX.into()).contains(&size) {
                        let factor = factors[axis];
                        return fail(format!(
                            "axis {} of {shape} cannot be scaled by {factor}",
                            axis + 2
                        ));
                    }
                    (size as usize, 1.0 / factors[axis])
                }
            };
            if size == 0 || length == 0 {
                let message =
                    format!("axis {} of {shape} cannot be resized to length {size}", axis + 2);
                return fail(message);
            }
            // The taps are stored even when there are no elements.
            Shape::from([size]).check_memory::<f64>("interpolate")?;
            let step = match self.align_corners {
                false if self.recompute_scale_factor => length as f64 / size as f64,
                true if size == 1 => 0.0,
                true => (length - 1) as f64 / (size - 1) as f64,
                false => step,
            };
            Ok((size, step))
        };
        (0..axes).map(axis).collect()
    }

    /// The taps along an axis; `None` if the axis does not change.
    fn taps<T: Float>(&self, length: usize, (size, step): (usize, f64)) -> Option<Taps<T>> {
        // Cubic interpolation changes an axis whenever the factor is not 1, as
        // in PyTorch; linear interpolation does not if the length is the same.
        let moves = match self.mode {
            InterpolateMode::Cubic => !self.antialias && step != 1.0,
            InterpolateMode::NearestExact => step != 1.0,
            _ => false,
        };
        if length == size && !moves {
            return None;
        }
        let mut taps = Taps { ends: Vec::new(), sources: Vec::new(), weights: Vec::new() };
        let last = length - 1;
        for element in 0..size {
            let centre = match self.align_corners {
                true => element as f64 * step,
                false => (element as f64 + 0.5) * step - 0.5,
            };
            match self.mode {
                InterpolateMode::Nearest if size == 2 * length => taps.push(element / 2, 1.0),
                InterpolateMode::Nearest => {
                    taps.push(((element as f32 * step as f32) as usize).min(last), 1.0);
                }
                InterpolateMode::NearestExact => {
                    taps.push((((element as f32 + 0.5) * step as f32) as usize).min(last), 1.0);
                }
                InterpolateMode::Linear if self.antialias => {
                    taps.push_filtered(length, (element as f64 + 0.5) * step, step, 1.0, |x| {
                        1.0 - x
                    });
                }
                InterpolateMode::Cubic if self.antialias => {
                    let filter = |x| cubic_weight(x, -0.5);
                    taps.push_filtered(length, (element as f64 + 0.5) * step, step, 2.0, filter);
                }
                InterpolateMode::Linear => {
                    let centre = centre.max(0.0);
                    let first = (centre as usize).min(last);
                    let rest = (centre - first as f64).min(1.0);
                    taps.push(first, 1.0 - rest);
                    taps.push((first + 1).min(last), rest);
                }
                InterpolateMode::Cubic => {
                    let rest = centre - centre.floor();
                    for (offset, weight) in (-1..).zip(cubic_weights(rest)) {
                        let source = centre.floor() as isize + offset;
                        taps.push(source.clamp(0, last as isize) as usize, weight);
                    }
                }
                InterpolateMode::Area => {
                    let start = element * length / size;
                    let end = ((element + 1) * length).div_ceil(size);
                    for source in start..end {
                        taps.push(source, 1.0 / (end - start) as f64);
                    }
                }
            }
            taps.ends.push(taps.sources.len());
        }
        Some(taps)
    }

    /// The axes that change, with their taps.
    fn all_taps<T: Float>(&self, shape: &Shape) -> Vec<(usize, Taps<T>)> {
        let plan = self.plan(shape).expect("the shape rule accepted the input");
        let axes = (2..).zip(plan);
        axes.filter_map(|(axis, plan)| Some((axis, self.taps(shape[axis], plan)?))).collect()
    }
}

/// The weights of four neighbours for a coordinate at a distance of `t` from
/// the second.
pub(super) fn cubic_weights(t: f64) -> [f64; 4] {
    [t + 1.0, t, 1.0 - t, 2.0 - t].map(|x| cubic_weight(x, -0.75))
}

/// [`cubic_weights`] as terms.
pub(super) fn cubic_terms<T: Float>(t: &Term<T>) -> [Term<T>; 4] {
    const A: f64 = -0.75;
    let near = |x: Term<T>| ((&x * (A + 2.0) - (A + 3.0)) * &x * &x) + 1.0;
    let far = |x: Term<T>| ((&x * A - 5.0 * A) * &x + 8.0 * A) * &x - 4.0 * A;
    [far(t + 1.0), near(t.clone()), near(-t + 1.0), far(-t + 2.0)]
}

/// The derivatives of [`cubic_weights`] by `t`.
pub(super) fn cubic_slopes(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| (3.0 * (A + 2.0) * x - 2.0 * (A + 3.0)) * x;
    let far = |x: f64| (3.0 * A * x - 10.0 * A) * x + 8.0 * A;
    [far(t + 1.0), near(t), -near(1.0 - t), -far(2.0 - t)]
}

/// The kernel of cubic convolution at a distance from 0 to 2 (Keys, 1981).
fn cubic_weight(x: f64, a: f64) -> f64 {
    match x <= 1.0 {
        true => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        false => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
    }
}

/// The old elements from which each new one is computed.
struct Taps<T> {
    /// For each new element, the end of its taps.
    ends: Vec<usize>,
    sources: Vec<usize>,
    weights: Vec<T>,
}

impl<T: Float> Taps<T> {
    fn push(&mut self, source: usize, weight: f64) {
        self.sources.push(source);
        self.weights.push(T::from_f64(weight));
    }

    /// Adds the taps of an element whose centre is at `centre` on an axis of
    /// old elements. The weights are a filter of the distance in steps, which
    /// is 0 from `reach` on, scaled to a sum of 1. A step below 1 counts as 1.
    fn push_filtered(
        &mut self,
        length: usize,
        centre: f64,
        step: f64,
        reach: f64,
        filter: impl Fn(f64) -> f64,
    ) {
        let step = step.max(1.0);
        let start = (centre - reach * step + 0.5).max(0.0) as usize;
        let end = ((centre + reach * step + 0.5) as usize).min(length);
        let weight = |source: usize| {
            let distance = ((source as f64 - centre + 0.5) / step).abs();
            if distance < reach { filter(distance) } else { 0.0 }
        };
        let sum: f64 = (start..end).map(weight).sum();
        (start..end).for_each(|source| self.push(source, weight(source) / sum));
    }

    /// Calls `work(element, source, weight)` for all taps.
    #[inline(always)]
    fn each(&self, mut work: impl FnMut(usize, usize, T)) {
        let mut tap = 0;
        for (element, &end) in self.ends.iter().enumerate() {
            while tap < end {
                work(element, self.sources[tap], self.weights[tap]);
                tap += 1;
            }
        }
    }

    /// Resizes an axis or, with `backwards`, computes the gradient of that for
    /// an axis of this length.
    fn apply(&self, x: &Tensor<T>, axis: usize, backwards: Option<usize>) -> Tensor<T> {
        let from = Rows::new(x.shape(), axis);
        let size = backwards.unwrap_or(self.ends.len());
        let to = Rows { size, ..from };
        let cost = (self.sources.len() / size).max(1);
        x.with_slice(|x| {
            Tensor::build(x_shape(to, from, x.len()), |out| {
                for_each_chunk(out, to.block(), cost, |block, out| {
                    let x = &x[block * from.block()..][..from.block()];
                    out.fill(T::ZERO);
                    simd::dispatch(
                        #[inline(always)]
                        || {
                            self.each(
                                #[inline(always)]
                                |element, source, weight| {
                                    let (read, written) = match backwards {
                                        None => (source, element),
                                        Some(_) => (element, source),
                                    };
                                    let x = &x[read * from.length..][..from.length];
                                    let out = &mut out[written * to.length..][..to.length];
                                    for (sum, &x) in out.iter_mut().zip(x) {
                                        *sum += weight * x;
                                    }
                                },
                            );
                        },
                    );
                });
            })
        })
        .reshape(x.shape().with(axis, size))
        .expect("the same elements")
    }
}

/// The number of elements of rows of another length.
fn x_shape(to: Rows, from: Rows, elements: usize) -> [usize; 1] {
    [elements / from.block().max(1) * to.block()]
}

impl<T: Float> Op<T> for Interpolate {
    type Saved = ();
    const NAME: &'static str = "interpolate";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let sizes = self.plan(inputs[0])?.into_iter().map(|(size, _)| size);
        let shape: Shape = inputs[0][..2].iter().copied().chain(sizes).collect();
        match shape.checked_elements() {
            Some(_) => Ok(shape),
            None => {
                let message = format!("the number of elements of {shape} overflows");
                Err(Error::shape("interpolate", message))
            }
        }
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let taps = self.all_taps::<T>(inputs[0].shape());
        let x = inputs[0].clone();
        (taps.iter().fold(x, |x, (axis, taps)| taps.apply(&x, *axis, None)), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let taps = self.all_taps::<T>(shape);
        call.each(|_| {
            let g = call.cotangent.clone();
            taps.iter().rev().fold(g, |g, (axis, taps)| taps.apply(&g, *axis, Some(shape[*axis])))
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        linear_gradient(self, &call)
    }

    fn attributes(&self) -> Attributes {
        let (size, scale_factor) = match &self.target {
            Target::Size(sizes) => (Some(&sizes[..]), None),
            Target::Scale(factors) => (None, Some(&factors[..])),
        };
        let mode = match self.mode {
            InterpolateMode::Nearest => "nearest",
            InterpolateMode::NearestExact => "nearest-exact",
            InterpolateMode::Linear => "linear",
            InterpolateMode::Cubic => "cubic",
            InterpolateMode::Area => "area",
        };
        vec![
            ("size", size.into()),
            ("scale_factor", scale_factor.into()),
            ("mode", mode.into()),
            ("align_corners", self.align_corners.into()),
            ("antialias", self.antialias.into()),
            ("recompute_scale_factor", self.recompute_scale_factor.into()),
        ]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        use InterpolateMode::*;
        let mut rng = Rng::seed(17);
        let mut case = |shape: &[usize], operation| {
            (operation, vec![Tensor::normal(shape, 0.0, 1.0, &mut rng)])
        };
        vec![
            case(&[2, 1, 5], Self::size(&[7], Nearest)),
            case(&[1, 2, 5], Self::scale(&[0.5], NearestExact)),
            case(&[1, 2, 3, 4], Self::size(&[5, 3], Linear)),
            case(&[1, 2, 3, 4], Self::size(&[5, 4], Linear).align_corners(true)),
            case(&[1, 1, 2, 3, 2], Self::scale(&[1.5, 1.0, 2.0], Linear)),
            case(&[1, 2, 4, 3], Self::scale(&[1.7, 2.0], Cubic)),
            case(&[1, 2, 4, 4], Self::scale(&[1.2, 1.0], Cubic)),
            case(&[1, 2, 7, 5], Self::size(&[3, 8], Linear).antialias(true)),
            case(&[1, 1, 9], Self::size(&[2], Cubic).antialias(true)),
            case(&[1, 2, 5, 7], Self::size(&[2, 3], Area)),
            case(&[0, 2, 3], Self::size(&[2], Linear)),
        ]
    }
}

#[cfg(test)]
mod tests;
