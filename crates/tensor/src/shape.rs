//! Shapes: the lengths of a tensor's axes, and the rules of broadcasting.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::buffer::Buffer;
use crate::element::Element;
use crate::error::{Error, Result};

/// A vector of axis lengths; four axes fit without an allocation.
pub(crate) type Lengths = SmallVec<[usize; 4]>;

/// The lengths of a tensor's axes, outermost first. Derefs to `[usize]`.
///
/// ```
/// use dendra_tensor::Shape;
///
/// let shape = Shape::from([2, 3, 4]);
/// assert_eq!(shape.elements(), 24);
/// assert_eq!(shape.axis("example", -1).unwrap(), 2);
/// assert_eq!(shape.to_string(), "[2, 3, 4]");
/// ```
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Shape(Lengths);

impl Clone for Shape {
    fn clone(&self) -> Self {
        // Copies bytes; the derived `clone` would copy one length at a time.
        Self(SmallVec::from_slice(&self.0))
    }
}

impl Shape {
    /// The shape of a scalar: no axes, one element.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// The number of elements: the product of the lengths, 1 for a scalar.
    ///
    /// # Panics
    ///
    /// Panics when the product does not fit a `usize`; such a tensor cannot
    /// exist. Use [`checked_elements`](Self::checked_elements) for a shape that
    /// comes from data.
    #[track_caller]
    pub fn elements(&self) -> usize {
        self.checked_elements().expect("the number of elements must fit a usize")
    }

    /// The number of elements, or `None` when it does not fit a `usize`.
    pub fn checked_elements(&self) -> Option<usize> {
        if self.contains(&0) {
            return Some(0);
        }
        self.iter().try_fold(1usize, |product, &length| product.checked_mul(length))
    }

    /// An error when a tensor of this shape with elements of type `T` does not
    /// fit into memory; `context` names the function in the error. For sizes that
    /// come from data, before memory is allocated.
    pub(crate) fn check_memory<T: Element>(&self, context: &str) -> Result<()> {
        if self.checked_elements().is_some_and(Buffer::<T>::fits) {
            return Ok(());
        }
        let message = format!("not enough memory for a tensor of shape {self}");
        Err(Error::shape(context, message))
    }

    /// The index of an axis counted from the front, or from the back when
    /// negative (−1 is the last).
    ///
    /// # Errors
    ///
    /// When the axis does not exist; `context` names the function in the error.
    pub fn axis(&self, context: &str, axis: isize) -> Result<usize> {
        let rank = self.len() as isize;
        let index = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&index) {
            Ok(index as usize)
        } else {
            Err(Error::shape(context, format!("there is no axis {axis} in shape {self}")))
        }
    }

    /// The index and the length of an axis, for a function that works along
    /// this axis and treats the others independently. For such functions a
    /// scalar has one axis, of length 1, as in PyTorch. Use
    /// [`axis`](Self::axis) for functions that split an axis, which is an error
    /// for a scalar.
    ///
    /// # Errors
    ///
    /// When the axis does not exist; `context` names the function in the error.
    pub fn along(&self, context: &str, axis: isize) -> Result<(usize, usize)> {
        if self.is_empty() && matches!(axis, 0 | -1) {
            return Ok((0, 1));
        }
        let axis = self.axis(context, axis)?;
        Ok((axis, self[axis]))
    }

    /// The indices of several axes that a function reduces or reverses, in
    /// ascending order. For a scalar, which counts as having one axis of length
    /// 1 (see [`along`](Self::along)), the result is empty.
    ///
    /// # Errors
    ///
    /// When an axis does not exist or is named twice.
    pub fn axes(&self, context: &str, axes: &[isize]) -> Result<SmallVec<[usize; 4]>> {
        let index = |&axis| Ok(self.along(context, axis)?.0);
        let mut indices = axes.iter().map(index).collect::<Result<Lengths>>()?;
        indices.sort_unstable();
        if indices.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::argument(context, format!("an axis is named twice in {axes:?}")));
        }
        if self.is_empty() {
            indices.clear();
        }
        Ok(indices)
    }

    /// All axes, as an argument for functions of several axes.
    pub(crate) fn all_axes(&self) -> SmallVec<[isize; 4]> {
        (0..self.len() as isize).collect()
    }

    /// The index of an axis, and the shape of the elements at some indices of
    /// it. An error when an index is out of range. A scalar has one index,
    /// which can be selected once.
    pub(crate) fn selected(
        &self,
        context: &str,
        axis: isize,
        indices: &[usize],
    ) -> Result<(usize, Self)> {
        let (along, length) = self.along(context, axis)?;
        if let Some(index) = indices.iter().find(|&&index| index >= length) {
            let message = format!("index {index} is out of range for axis {along} of shape {self}");
            return Err(Error::argument(context, message));
        }
        match (self.len(), indices.len()) {
            (0, 1) => Ok((along, self.clone())),
            (0, count) => {
                let message = format!("expected at most one index of a scalar, got {count}");
                Err(Error::argument(context, message))
            }
            (_, count) => Ok((along, self.with(along, count))),
        }
    }

    /// The same shape, or `[1]` for a scalar.
    pub(crate) fn at_least_vector(&self) -> Self {
        if self.is_empty() { [1].into() } else { self.clone() }
    }

    /// The same shape with another length of the last axis.
    pub(crate) fn with_last(mut self, length: usize) -> Self {
        if let Some(last) = self.0.last_mut() {
            *last = length;
        }
        self
    }

    /// The strides, in elements, of a row-major tensor of this shape.
    pub(crate) fn contiguous_strides(&self) -> SmallVec<[isize; 4]> {
        let mut strides: SmallVec<[isize; 4]> = SmallVec::from_elem(0, self.len());
        let mut stride = 1;
        for (slot, &length) in strides.iter_mut().zip(self.iter()).rev() {
            *slot = stride;
            // A product this large occurs only in a tensor without elements.
            stride = stride.saturating_mul(length.max(1) as isize);
        }
        strides
    }

    /// The shape that both shapes broadcast to by NumPy's rule: axes are
    /// matched from the last one, and an axis of length 1 is repeated.
    ///
    /// # Errors
    ///
    /// When two lengths differ and neither is 1; `context` names the function in
    /// the error.
    pub fn broadcast(&self, other: &Self, context: &str) -> Result<Self> {
        if self == other {
            return Ok(self.clone());
        }
        let rank = self.len().max(other.len());
        let length = |shape: &Self, axis: usize| {
            (axis + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
        };
        (0..rank)
            .map(|axis| match (length(self, axis), length(other, axis)) {
                (a, b) if a == b => Ok(a),
                (1, b) => Ok(b),
                (a, 1) => Ok(a),
                _ => Err(Error::shape(
                    context,
                    format!("shapes {self} and {other} do not broadcast to one shape"),
                )),
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The shape without the given axes, which are in ascending order; with
    /// `keep`, these axes have length 1.
    pub(crate) fn reduced(&self, axes: &[usize], keep: bool) -> Self {
        self.iter()
            .enumerate()
            .filter_map(|(axis, &length)| match axes.contains(&axis) {
                true => keep.then_some(1),
                false => Some(length),
            })
            .collect()
    }

    /// The shape with another length of one axis.
    pub(crate) fn with(&self, axis: usize, length: usize) -> Self {
        let mut shape = self.clone();
        shape.0[axis] = length;
        shape
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(lengths: I) -> Self {
        // `SmallVec::from_iter` compiles to ten times the code, in each of hundreds of callers.
        let mut shape = Lengths::new();
        for length in lengths {
            shape.push(length);
        }
        Self(shape)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(lengths: [usize; N]) -> Self {
        Self(SmallVec::from_slice(&lengths))
    }
}

impl From<&[usize]> for Shape {
    fn from(lengths: &[usize]) -> Self {
        Self(SmallVec::from_slice(lengths))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(lengths: Vec<usize>) -> Self {
        Self(SmallVec::from_vec(lengths))
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        **self == other[..]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0[..], f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ConvOptions, ConvTransposeOptions, Interpolate, InterpolateMode, Ops, PadMode, PoolOptions,
        Rng, Tensor, UnfoldOptions,
    };

    #[test]
    fn broadcasting_follows_numpy() {
        let broadcast =
            |a: &[usize], b: &[usize]| Shape::from(a).broadcast(&Shape::from(b), "test");
        assert_eq!(broadcast(&[8, 1, 6, 1], &[7, 1, 5]).unwrap(), [8, 7, 6, 5]);
        assert_eq!(broadcast(&[], &[3]).unwrap(), [3]);
        assert_eq!(broadcast(&[0, 1], &[1, 4]).unwrap(), [0, 4]);
        let error = broadcast(&[2, 1], &[8, 4, 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test: shapes [2, 1] and [8, 4, 3] do not broadcast to one shape"
        );
    }

    #[test]
    fn axes_count_from_both_ends_and_are_checked() {
        let shape = Shape::from([2, 3, 4]);
        assert_eq!(shape.axes("test", &[-1, 0]).unwrap()[..], [0, 2]);
        assert!(shape.axes("test", &[1, -2]).is_err());
        assert!(shape.axis("test", 3).is_err());
        assert!(shape.axis("test", -4).is_err());
    }

    #[test]
    fn a_scalar_has_an_axis_to_work_along() {
        let scalar = Shape::scalar();
        assert_eq!(scalar.along("test", 0).unwrap(), (0, 1));
        assert_eq!(scalar.along("test", -1).unwrap(), (0, 1));
        assert!(scalar.axes("test", &[-1]).unwrap().is_empty());
        assert!(scalar.along("test", 1).is_err() && scalar.axes("test", &[0, -1]).is_err());
        assert!(scalar.axis("test", 0).is_err(), "a scalar has no axis to divide");
        assert_eq!(Shape::from([2, 3]).along("test", -1).unwrap(), (1, 3));
    }

    /// Every function that takes a size and returns a `Result` is called with
    /// sizes that do not fit the address space, and with sizes whose products
    /// and sums overflow.
    #[test]
    fn sizes_beyond_all_memory_are_errors() {
        for n in [1 << 50, 1 << 62, isize::MAX as usize, usize::MAX / 2 + 2, usize::MAX] {
            let scalar = Tensor::scalar(1.0_f32);
            let row = Tensor::<f32>::ones([2, 3]);
            let count = Tensor::from([1_i64]);
            let image = Tensor::<f32>::ones([1, 1, 4, 4]);
            let kernel = Tensor::<f32>::ones([1, 1, 2, 2]);
            let many = i64::try_from(n).unwrap_or(-1);
            let plain = ConvOptions::<2>::default();
            let back = ConvTransposeOptions::<2>::default();
            let large = PoolOptions { padding: [n / 2; 2], ..PoolOptions::new([n, n]) };
            let windows = UnfoldOptions::new([2, 2]);
            let steps = UnfoldOptions { stride: [n, 2], ..windows };
            let nearest = |size| Interpolate::size(size, InterpolateMode::Nearest);
            let pad = [many as isize, many as isize];
            let wide = |x: &Tensor<f32>| x.pad(&[pad], PadMode::Constant(0.0));
            let random = |n| Tensor::randint(0, 9, [n], &mut Rng::seed(1));
            let beyond = n > isize::MAX as usize;
            let by_ops = |x: &Tensor<f32>| Ops::pad(x, &[pad], PadMode::Replicate).is_err();
            let conv = |options| image.conv2d(&kernel, None, options).is_err();
            let transposed = |options| image.conv_transpose2d(&kernel, None, options).is_err();
            let columns = Tensor::<f32>::ones([1, 4, 1]);
            let results = [
                ("try_full", Tensor::try_full([n, 2], 0_i64).is_err()),
                ("arange_step", Tensor::<f32>::arange_step(0.0, n as f64, 1.0).is_err()),
                ("randint", random(n).is_err()),
                ("broadcast_to", scalar.broadcast_to([n, 2]).is_err()),
                ("broadcast_to of Ops", Ops::broadcast_to(&scalar, [n, 2]).is_err()),
                ("expand", row.expand(&[many as isize, 2, 3]).is_err()),
                ("repeat", row.repeat(&[n, 1]).is_err() && row.repeat(&[1, n]).is_err()),
                ("repeat_interleave", row.repeat_interleave(n, 0).is_err()),
                ("one_hot", count.one_hot::<u8>(n).is_err()),
                ("bincount", count.bincount(n).is_err()),
                ("bincount of a label", Tensor::from([many]).bincount(0).is_err()),
                ("histc", row.histc(n, 0.0, 1.0).is_err()),
                ("unflatten", row.unflatten(0, &[n, 2]).is_err()),
                ("reshape", row.reshape([n, 6]).is_err()),
                ("diag_embed", row.diag_embed(many as isize).is_err() || beyond),
                ("unfold_axis", row.unfold_axis(1, n, 1).is_err()),
                ("pad", wide(&row).is_err() || beyond),
                ("pad of Ops", by_ops(&row) || beyond),
                ("pad of nothing", wide(&row.narrow(0, 0, 0).unwrap()).is_err() || beyond),
                ("interpolate", image.interpolate(&nearest(&[n, 2])).is_err()),
                ("interpolate to a square", image.interpolate(&nearest(&[n, n])).is_err()),
                ("adaptive_avg_pool2d", image.adaptive_avg_pool2d([n, n]).is_err()),
                ("adaptive_max_pool2d", image.adaptive_max_pool2d([1, n]).is_err()),
                ("conv2d", conv(ConvOptions { padding: [n, 0], ..plain })),
                ("conv2d with all padded", conv(ConvOptions { padding: [n / 2; 2], ..plain })),
                ("conv2d dilated", conv(ConvOptions { dilation: [n, 1], ..plain })),
                ("conv_transpose2d", transposed(ConvTransposeOptions { stride: [n, 1], ..back })),
                ("its dilation", transposed(ConvTransposeOptions { dilation: [1, n], ..back })),
                ("its padding", transposed(ConvTransposeOptions { padding: [n, n], ..back })),
                ("max_pool2d", image.max_pool2d(large).is_err()),
                ("avg_pool2d", image.avg_pool2d(large, true).is_err()),
                ("unfold", image.unfold(UnfoldOptions { padding: [n, 0], ..windows }).is_err()),
                ("fold", columns.fold([n, n], windows).is_err()),
                ("fold in large steps", columns.fold([n, 2], steps).is_err()),
                ("pixel_shuffle", image.pixel_shuffle(n).is_err()),
                ("kthvalue", row.kthvalue(n, 1, false).is_err()),
                ("topk", row.topk(n, 1, true).is_err()),
                ("narrow", row.narrow(0, n, n).is_err()),
                ("index_select", row.index_select(0, &[n]).is_err()),
            ];
            for (name, refused) in results {
                assert!(refused, "{name} of {n}");
            }
        }
        let wide = Tensor::scalar(1_i64).stretched([1 << 40, 1].into());
        let tall = Tensor::scalar(1_i64).stretched([1, 1 << 40].into());
        assert!(wide.maximum(&tall).is_err() && wide.gt(&tall).is_err());
        assert!(wide.where_mask(&Tensor::scalar(true), &tall).is_err());
        let wide = Tensor::scalar(1.0_f32).stretched([1 << 40, 1].into());
        let tall = Tensor::scalar(1.0_f32).stretched([1, 1 << 40].into());
        assert!(wide.add(&tall).is_err() && wide.matmul(&tall).is_err());
        assert!(wide.isclose(&tall, 0.0, 0.0).is_err());
    }

    #[test]
    fn an_overflowing_product_is_no_shape() {
        assert_eq!(Shape::from([usize::MAX, 2]).checked_elements(), None);
        assert_eq!(Shape::from([usize::MAX, 2, 0]).checked_elements(), Some(0));
    }

    #[test]
    fn extents_beyond_all_memory_are_fine_where_there_are_no_elements() {
        let shape = Shape::from([0, 1 << 40, 1 << 40]);
        assert_eq!(shape.checked_elements(), Some(0));
        assert!(shape.contiguous_strides().iter().all(|&stride| stride > 0));
    }
}
