//! Shapes: the extents of a tensor's axes, and the rules of broadcasting.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::error::{Error, Result};

/// One small vector of extents; four axes fit without an allocation.
pub(crate) type Extents = SmallVec<[usize; 4]>;

/// The extents of a tensor's axes, outermost first. Derefs to `[usize]`.
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
pub struct Shape(Extents);

impl Clone for Shape {
    fn clone(&self) -> Self {
        // Copies bytes where the derived one would go extent by extent.
        Self(SmallVec::from_slice(&self.0))
    }
}

impl Shape {
    /// The shape of a scalar: no axes, one element.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// The number of elements: the product of the extents, 1 for a scalar.
    ///
    /// # Panics
    ///
    /// Panics when the product does not fit a `usize`; such a tensor cannot
    /// exist. Use [`checked_elements`](Self::checked_elements) for a shape
    /// that comes from outside.
    #[track_caller]
    pub fn elements(&self) -> usize {
        self.checked_elements().expect("the number of elements must fit a usize")
    }

    /// The number of elements, or `None` when it does not fit a `usize`.
    pub fn checked_elements(&self) -> Option<usize> {
        if self.contains(&0) {
            return Some(0);
        }
        self.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
    }

    /// The index of an axis counted from the front, or from the back when
    /// negative (−1 is the last).
    ///
    /// # Errors
    ///
    /// When there is no such axis; `place` names who asked.
    pub fn axis(&self, place: &str, axis: isize) -> Result<usize> {
        let rank = self.len() as isize;
        let index = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&index) {
            Ok(index as usize)
        } else {
            Err(Error::shape(place, format!("there is no axis {axis} in shape {self}")))
        }
    }

    /// Several axes as [`axis`](Self::axis) gives them, ascending.
    ///
    /// # Errors
    ///
    /// When one does not exist or is named twice.
    pub fn axes(&self, place: &str, axes: &[isize]) -> Result<SmallVec<[usize; 4]>> {
        let mut indices =
            axes.iter().map(|&axis| self.axis(place, axis)).collect::<Result<Extents>>()?;
        indices.sort_unstable();
        if indices.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::argument(place, format!("an axis is named twice in {axes:?}")));
        }
        Ok(indices)
    }

    /// The same shape with another last extent.
    pub(crate) fn with_last(mut self, extent: usize) -> Self {
        if let Some(last) = self.0.last_mut() {
            *last = extent;
        }
        self
    }

    /// The strides, in elements, of a row-major tensor of this shape.
    pub(crate) fn contiguous_strides(&self) -> SmallVec<[isize; 4]> {
        let mut strides: SmallVec<[isize; 4]> = SmallVec::from_elem(0, self.len());
        let mut stride = 1;
        for (slot, &extent) in strides.iter_mut().zip(self.iter()).rev() {
            *slot = stride;
            // Only a tensor without elements can have a product this large.
            stride = stride.saturating_mul(extent.max(1) as isize);
        }
        strides
    }

    /// The shape that both broadcast to: axes are matched from the last, and
    /// an extent of 1 stretches (NumPy's rule).
    ///
    /// # Errors
    ///
    /// When two extents differ and neither is 1; `place` names who asked.
    pub fn broadcast(&self, other: &Self, place: &str) -> Result<Self> {
        if self == other {
            return Ok(self.clone());
        }
        let rank = self.len().max(other.len());
        let extent = |shape: &Self, axis: usize| {
            (axis + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
        };
        (0..rank)
            .map(|axis| match (extent(self, axis), extent(other, axis)) {
                (a, b) if a == b => Ok(a),
                (1, b) => Ok(b),
                (a, 1) => Ok(a),
                _ => Err(Error::shape(
                    place,
                    format!("shapes {self} and {other} do not broadcast to one shape"),
                )),
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The shape without (or, with `keep`, with extent 1 at) the given axes,
    /// which ascend.
    pub(crate) fn reduced(&self, axes: &[usize], keep: bool) -> Self {
        self.iter()
            .enumerate()
            .filter_map(|(axis, &extent)| match axes.contains(&axis) {
                true => keep.then_some(1),
                false => Some(extent),
            })
            .collect()
    }

    /// The shape with another extent at one axis.
    pub(crate) fn with(&self, axis: usize, extent: usize) -> Self {
        let mut shape = self.clone();
        shape.0[axis] = extent;
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
    fn from_iter<I: IntoIterator<Item = usize>>(extents: I) -> Self {
        Self(extents.into_iter().collect())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Self(SmallVec::from_slice(&extents))
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Self {
        Self(SmallVec::from_slice(extents))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(extents: Vec<usize>) -> Self {
        Self(SmallVec::from_vec(extents))
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
