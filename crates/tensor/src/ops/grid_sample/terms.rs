//! The same operation on terms: each tap's weight, a polynomial of the
//! coordinates, times the pixels at that tap.

use super::{AxisTap, GridSample, GridSampleMode};
use crate::element::Float;
use crate::error::Result;
use crate::kernels::offsets::NOWHERE;
use crate::ops::interpolate::cubic_terms;
use crate::ops::{Ops, Term};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The taps along one axis at all coordinates.
struct Along<T: Float> {
    /// The pixel at each tap of each coordinate, or [`NOWHERE`].
    pixels: Vec<[usize; 4]>,
    /// For each tap its weights at all coordinates, `[N, points]`; `None` if
    /// all are 1.
    weights: Option<Vec<Term<T>>>,
}

impl GridSample {
    /// The output for images or volumes and a grid.
    pub(super) fn composed<T: Float>(&self, x: &Term<T>, grid: &Term<T>) -> Result<Term<T>> {
        let shape = x.shape().clone();
        let axes = shape.len() - 2;
        let batch = [shape[0], shape[1]];
        let points: usize = grid.shape()[1..=axes].iter().product();
        let output: Shape =
            batch.into_iter().chain(grid.shape()[1..=axes].iter().copied()).collect();
        let pixels = x.flatten(2, -1)?;
        // In the order of coordinates: the last axis first.
        let sizes = |axis: usize| shape[shape.len() - 1 - axis];
        let along: Vec<Along<T>> = (0..axes)
            .map(|axis| {
                let coordinates = grid.narrow(-1, axis, 1)?.reshape([batch[0], points])?;
                self.taps_of(&coordinates, sizes(axis))
            })
            .collect::<Result<_>>()?;
        let count = self.options.taps_along();
        let mut sum = Term::constant(Tensor::zeros([batch[0], batch[1], points]));
        for tap in 0..count.pow(axes as u32) {
            let digit = |axis: usize| tap / count.pow(axis as u32) % count;
            let pixel_at = |place: usize| {
                let mut stride = 1;
                let mut index = 0;
                for (axis, along) in along.iter().enumerate() {
                    let pixel = along.pixels[place][digit(axis)];
                    if pixel == NOWHERE {
                        return -1;
                    }
                    index += pixel * stride;
                    stride *= sizes(axis);
                }
                index as i64
            };
            let indices = Tensor::from_fn([batch[0], 1, points], pixel_at);
            let outside = indices.lt_scalar(0);
            let stretched = indices.map(|index| index.max(0)).broadcast_to(sum.shape())?;
            let mut seen = pixels.gather(-1, &stretched)?;
            if outside.any() {
                seen = seen.masked_fill(&outside, 0.0)?;
            }
            for (axis, along) in along.iter().enumerate() {
                if let Some(weights) = &along.weights {
                    seen = seen * weights[digit(axis)].unsqueeze(1)?;
                }
            }
            sum = sum + seen;
        }
        sum.reshape(output)
    }

    /// The taps of coordinates `[N, points]` along an axis of `length` pixels.
    fn taps_of<T: Float>(&self, coordinates: &Term<T>, length: usize) -> Result<Along<T>> {
        let options = &self.options;
        let taps: Vec<[AxisTap; 4]> = coordinates
            .value()
            .to_vec()
            .iter()
            .map(|x| options.along(x.to_f64(), length))
            .collect();
        let pixels = taps.iter().map(|taps| taps.map(|tap| tap.index)).collect();
        if options.mode == GridSampleMode::Nearest {
            return Ok(Along { pixels, weights: None });
        }
        // The distance of the coordinate from the pixel before it. Between the
        // kinks it is linear; here it is expanded around the present value.
        let rests: Vec<(f64, f64)> =
            coordinates.value().to_vec().iter().map(|x| options.rest(x.to_f64(), length)).collect();
        let constant = |value: &dyn Fn(usize) -> f64| {
            Term::constant(Tensor::from_fn(coordinates.shape(), |i| T::from_f64(value(i))))
        };
        let infinite = coordinates.value().isfinite().logical_not();
        let finite = coordinates.masked_fill(&infinite, 0.0)?;
        let moved = &finite - Term::constant(finite.value().clone());
        let rest = moved * constant(&|i| rests[i].1) + constant(&|i| rests[i].0);
        let weights = match options.mode {
            GridSampleMode::Bicubic => cubic_terms(&rest).into(),
            _ => vec![-&rest + 1.0, rest],
        };
        Ok(Along { pixels, weights: Some(weights) })
    }
}
