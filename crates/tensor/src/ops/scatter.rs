//! Writing elements at positions given by an index along an axis, or adding
//! them there.

use super::layout::sample;
use super::padding::PadMode;
use super::selection::listed;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float, Number};
use crate::error::{Error, Result};
use crate::kernels::offsets::{Offsets, add_rows};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Replaces elements at the positions that an index gives along an axis.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// The axis.
    pub axis: isize,
    /// For every element of the source its coordinate along the axis.
    pub index: Tensor<i64>,
}

/// Adds elements at the positions that an index gives along an axis.
#[derive(Clone, Debug)]
pub struct ScatterAdd {
    /// The axis.
    pub axis: isize,
    /// For every element of the source its coordinate along the axis.
    pub index: Tensor<i64>,
}

/// Adds whole slices to those of an axis.
#[derive(Clone, Debug)]
pub struct IndexAdd {
    /// The axis.
    pub axis: isize,
    /// The index of each slice of the source.
    pub indices: Vec<usize>,
}

/// The index of the axis, if the index fits the tensor and the source.
pub(super) fn checked_axis(
    context: &str,
    shape: &Shape,
    axis: isize,
    index: &Tensor<i64>,
    source: &Shape,
) -> Result<usize> {
    let along = shape.check_gather(context, axis, index)?;
    let index = index.shape();
    let [reach, sides] = [index, source].map(Shape::at_least_vector);
    if sides.len() == reach.len() && reach.iter().zip(&sides[..]).all(|(i, s)| i <= s) {
        return Ok(along);
    }
    Err(Error::shape(
        context,
        format!("an index of shape {index} does not fit a source of shape {source}"),
    ))
}

/// `x` with `combine(old, new)` at the positions that the index gives.
pub(super) fn scattered<T: Element>(
    x: &Tensor<T>,
    axis: usize,
    index: &Tensor<i64>,
    source: &Tensor<T>,
    combine: impl Fn(T, T) -> T,
) -> Tensor<T> {
    if x.rank() == 0 || index.rank() == 0 {
        let [vector, source] = [x, source].map(Tensor::at_least_vector);
        let result = scattered(&vector, 0, &index.at_least_vector(), &source, combine);
        return result.with_shape(x.shape().clone());
    }
    let mut strides = x.shape().contiguous_strides();
    // A scalar has no stride along its axis of length 1.
    let along = strides.get_mut(axis).map_or(0, std::mem::take) as usize;
    let targets = Offsets::new(index.shape(), &strides, 0);
    let (values, start) = source.storage();
    let sources = Offsets::new(index.shape(), &source.strides(), start);
    let mut result = x.clone();
    index.with_slice(|index| {
        let out = result.make_mut();
        for ((target, source), &index) in targets.zip(sources).zip(index) {
            let slot = &mut out[target + index as usize * along];
            *slot = combine(*slot, values[source]);
        }
    });
    result
}

/// The row-major positions that an index gives along an axis of a tensor of
/// this shape.
pub(super) fn targets(shape: &Shape, axis: usize, index: &Tensor<i64>) -> Vec<usize> {
    let mut strides = shape.contiguous_strides();
    // A scalar has no stride along its axis of length 1.
    let along = strides.get_mut(axis).map_or(0, std::mem::take) as usize;
    let targets = Offsets::new(index.shape(), &strides, 0).zip(index.to_vec());
    targets.map(|(target, index)| target + index as usize * along).collect()
}

/// The gradient of a source, of which only the elements that `index` covers
/// were used.
fn source_gradient<T: Float>(
    source: &Shape,
    axis: isize,
    index: &Tensor<i64>,
    cotangent: &Tensor<T>,
) -> Tensor<T> {
    into_source(source, &cotangent.gather(axis, index).expect(CHECKED))
}

/// The gradient of a source, from that of the elements that an index covers.
pub(super) fn into_source<T: Float>(source: &Shape, taken: &Tensor<T>) -> Tensor<T> {
    if source == taken.shape() {
        return taken.clone();
    }
    crate::kernels::offsets::add_through(source, taken, |zeros| {
        zeros.with_layout(taken.shape().clone(), zeros.strides(), 0)
    })
}

/// [`source_gradient`] for terms.
pub(super) fn source_gradient_term<T: Float>(
    source: &Shape,
    axis: isize,
    index: &Tensor<i64>,
    cotangent: &Term<T>,
) -> Result<Term<T>> {
    let taken = cotangent.gather(axis, index)?;
    if taken.shape() == source {
        return Ok(taken);
    }
    // The ranks differ when one is a scalar and the other a vector.
    let [sides, reach] = [source, taken.shape()].map(Shape::at_least_vector);
    let rest = sides.iter().zip(&reach[..]).rev().map(|(side, reach)| [0, (side - reach) as isize]);
    let rest: Vec<[isize; 2]> = rest.collect();
    taken.reshape(reach)?.pad(&rest, PadMode::Constant(0.0))?.reshape(source.clone())
}

impl<T: Element> Tensor<T> {
    /// A copy in which elements of `source` replace those at the same position,
    /// with the coordinate along `axis` replaced by the value of `index`. Of
    /// several elements for one position the last one is kept.
    ///
    /// # Errors
    ///
    /// When the ranks differ, `index` is longer than the source or, along an
    /// axis other than `axis`, than the tensor, or an index is out of range.
    pub fn scatter(&self, axis: isize, index: &Tensor<i64>, source: &Self) -> Result<Self> {
        let along = checked_axis("scatter", self.shape(), axis, index, source.shape())?;
        Ok(scattered(self, along, index, source, |_, new| new))
    }
}

impl<T: Number> Tensor<T> {
    /// Like [`scatter`](Self::scatter), but adds to the elements.
    ///
    /// # Errors
    ///
    /// The errors of [`scatter`](Self::scatter).
    pub fn scatter_add(&self, axis: isize, index: &Tensor<i64>, source: &Self) -> Result<Self> {
        let along = checked_axis("scatter_add", self.shape(), axis, index, source.shape())?;
        Ok(scattered(self, along, index, source, |sum, new| sum + new))
    }

    /// A copy in which each slice of `source` is added to the slice at its
    /// index of `axis`.
    ///
    /// # Errors
    ///
    /// When the axis or an index does not exist, or the source does not have
    /// the shape of those slices.
    pub fn index_add(&self, axis: isize, indices: &[usize], source: &Self) -> Result<Self> {
        let along = check_index_add(self.shape(), axis, indices, source.shape())?;
        if self.rank() == 0 {
            return Ok(self + source);
        }
        let mut sum = self.clone();
        add_rows(sum.make_mut(), self.shape(), along, indices, source);
        Ok(sum)
    }
}

fn check_index_add(shape: &Shape, axis: isize, indices: &[usize], source: &Shape) -> Result<usize> {
    let (along, expected) = shape.selected("index_add", axis, indices)?;
    if *source == expected {
        return Ok(along);
    }
    Err(Error::shape("index_add", format!("expected a source of shape {expected}, got {source}")))
}

const CHECKED: &str = "the shape rule accepted the inputs";

impl<T: Float> Op<T> for Scatter {
    type Saved = ();
    const NAME: &'static str = "scatter";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        checked_axis("scatter", inputs[0], self.axis, &self.index, inputs[1])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].scatter(self.axis, &self.index, inputs[1]).expect(CHECKED), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let g = &call.cotangent;
        call.each(|input| match input {
            0 => {
                let zeros = Tensor::scalar(T::ZERO).stretched(self.index.shape().clone());
                g.scatter(self.axis, &self.index, &zeros).expect(CHECKED)
            }
            _ => source_gradient(call.inputs[1].shape(), self.axis, &self.index, g),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let g = call.cotangent;
        call.each(|input| match input {
            0 => {
                let zeros = Term::constant(Tensor::zeros(self.index.shape()));
                g.scatter(self.axis, &self.index, &zeros)
            }
            _ => source_gradient_term(call.inputs[1].shape(), self.axis, &self.index, g),
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into()), ("index", (&self.index).into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let once = Tensor::from([[2, 0], [1, 3_i64]]);
        let pair = |a: &[usize], b: &[usize]| [sample(a), sample(b)].concat();
        vec![
            (Scatter { axis: 1, index: once.clone() }, pair(&[3, 4], &[2, 2])),
            (Scatter { axis: 0, index: once }, pair(&[4, 2], &[3, 2])),
            (Scatter { axis: 0, index: Tensor::zeros([0, 2]) }, pair(&[3, 2], &[0, 2])),
        ]
    }
}

impl<T: Float> Op<T> for ScatterAdd {
    type Saved = ();
    const NAME: &'static str = "scatter_add";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        checked_axis("scatter_add", inputs[0], self.axis, &self.index, inputs[1])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].scatter_add(self.axis, &self.index, inputs[1]).expect(CHECKED), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let g = &call.cotangent;
        call.each(|input| match input {
            0 => g.clone(),
            _ => source_gradient(call.inputs[1].shape(), self.axis, &self.index, g),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let g = call.cotangent;
        call.each(|input| match input {
            0 => Ok(g.clone()),
            _ => source_gradient_term(call.inputs[1].shape(), self.axis, &self.index, g),
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into()), ("index", (&self.index).into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let twice = Tensor::from([[2, 2, 0], [1, 3, 1_i64]]);
        let pair = |a: &[usize], b: &[usize]| [sample(a), sample(b)].concat();
        vec![
            (ScatterAdd { axis: 1, index: twice.clone() }, pair(&[3, 4], &[2, 4])),
            (ScatterAdd { axis: 0, index: twice }, pair(&[4, 3], &[2, 3])),
            (ScatterAdd { axis: 0, index: Tensor::zeros([0, 2]) }, pair(&[3, 2], &[0, 2])),
        ]
    }
}

impl<T: Float> Op<T> for IndexAdd {
    type Saved = ();
    const NAME: &'static str = "index_add";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        check_index_add(inputs[0], self.axis, &self.indices, inputs[1])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        (inputs[0].index_add(self.axis, &self.indices, inputs[1]).expect(CHECKED), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let g = &call.cotangent;
        call.each(|input| match input {
            0 => g.clone(),
            _ => g.index_select(self.axis, &self.indices).expect(CHECKED),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let g = call.cotangent;
        call.each(|input| match input {
            0 => Ok(g.clone()),
            _ => g.index_select(self.axis, &self.indices),
        })
    }

    fn attributes(&self) -> Attributes {
        vec![("axis", self.axis.into()), ("indices", listed(&self.indices))]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let add = |axis, indices: &[usize]| IndexAdd { axis, indices: indices.into() };
        let pair = |a: &[usize], b: &[usize]| [sample(a), sample(b)].concat();
        vec![
            (add(0, &[2, 0, 2]), pair(&[3, 4], &[3, 4])),
            (add(-1, &[1]), pair(&[2, 3], &[2, 1])),
            (add(0, &[]), pair(&[2, 3], &[0, 3])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_at_the_index() {
        let x = Tensor::<i64>::zeros([2, 3]);
        let index = Tensor::from([[0, 2], [1, 1_i64]]);
        let source = Tensor::from([[1, 2, 9], [3, 4, 9_i64]]);
        let put = x.scatter(1, &index, &source).unwrap();
        assert_eq!(put, Tensor::from([[1, 0, 2], [0, 4, 0]]));
        let added = x.scatter_add(1, &index, &source).unwrap();
        assert_eq!(added, Tensor::from([[1, 0, 2], [0, 7, 0]]));
        let rows = x.index_add(0, &[1, 1], &Tensor::from([[1, 2, 3], [10, 20, 30]])).unwrap();
        assert_eq!(rows, Tensor::from([[0, 0, 0], [11, 22, 33]]));
    }

    #[test]
    fn positions_out_of_range_are_refused() {
        let x = Tensor::<f32>::zeros([2, 3]);
        let message = |index: Tensor<i64>, source: &[usize]| {
            x.scatter(1, &index, &Tensor::zeros(source)).unwrap_err().to_string()
        };
        assert_eq!(
            message(Tensor::from([[3]]), &[1, 1]),
            "scatter: index 3 is out of range for axis 1 of shape [2, 3]"
        );
        assert!(
            message(Tensor::zeros([2, 2]), &[2, 1])
                .contains("does not fit a source of shape [2, 1]")
        );
        assert!(message(Tensor::zeros([3, 1]), &[3, 1]).contains("does not fit"));
        let error = x.index_add(0, &[0], &Tensor::zeros([2, 3])).unwrap_err();
        assert_eq!(error.to_string(), "index_add: expected a source of shape [1, 3], got [2, 3]");
    }
}
