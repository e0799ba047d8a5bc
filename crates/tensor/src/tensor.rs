//! `Tensor<T>`: a shape, strides and a shared, copy-on-write buffer.

use smallvec::SmallVec;

use crate::buffer::Buffer;
use crate::element::{Element, Float, Number};
use crate::error::{Error, Result};
use crate::half;
use crate::kernels::offsets::copy_in_order;
use crate::kernels::{parallel, simd};
use crate::random::Rng;
use crate::shape::Shape;

/// The strides of a tensor's axes, in elements; negative ones run backwards.
pub(crate) type Strides = SmallVec<[isize; 4]>;

/// An n-dimensional array of `T`.
///
/// A tensor is plain data: a clone shares the buffer, and writing to a shared
/// buffer copies it first. Permuting, slicing and broadcasting only change
/// shape and strides. The rank is dynamic; a scalar has no axes.
///
/// ```
/// use dendra_tensor::Tensor;
///
/// let x = Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0_f32]]);
/// assert_eq!(*x.shape(), [2, 3]);
/// assert_eq!(x.transpose(0, 1).unwrap().to_vec(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// ```
pub struct Tensor<T: Element = f32> {
    shape: Shape,
    /// `None` for a contiguous tensor, which is the usual case: so a tensor is
    /// 64 bytes, and whether it is contiguous is known without looking at the
    /// strides.
    strides: Option<Box<Strides>>,
    offset: usize,
    buffer: Buffer<T>,
}

impl<T: Element> Clone for Tensor<T> {
    fn clone(&self) -> Self {
        Self {
            shape: self.shape.clone(),
            strides: self.strides.clone(),
            offset: self.offset,
            buffer: self.buffer.clone(),
        }
    }
}

/// Making tensors.
impl<T: Element> Tensor<T> {
    fn from_buffer(shape: Shape, buffer: Buffer<T>) -> Self {
        Self { shape, strides: None, offset: 0, buffer }
    }

    /// A tensor of the values of `vec`, in row-major order. It takes over the
    /// memory without a copy.
    ///
    /// # Errors
    ///
    /// When the number of values does not fit the shape.
    pub fn from_vec(vec: Vec<T>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.checked_elements() != Some(vec.len()) {
            return Err(Error::shape(
                "Tensor::from_vec",
                format!("{} values do not fit shape {shape}", vec.len()),
            ));
        }
        Ok(Self::from_buffer(shape, Buffer::from_vec(vec)))
    }

    /// A tensor whose values are written by `fill`, in row-major order.
    ///
    /// The slice holds unspecified values at first; `fill` must write all of
    /// them.
    ///
    /// # Panics
    ///
    /// When there is not enough memory, as with `vec!`. The same holds for all
    /// functions that take a shape and return no `Result`. For a shape that
    /// comes from data, see [`try_full`](Self::try_full).
    pub fn build(shape: impl Into<Shape>, fill: impl FnOnce(&mut [T])) -> Self {
        let shape = shape.into();
        let mut buffer = Buffer::new(shape.elements());
        fill(buffer.as_mut_slice());
        Self::from_buffer(shape, buffer)
    }

    /// Two tensors whose values `fill` writes together, as in
    /// [`build`](Self::build).
    pub(crate) fn build_pair<U: Element>(
        shape: impl Into<Shape>,
        other: impl Into<Shape>,
        fill: impl FnOnce(&mut [T], &mut [U]),
    ) -> (Self, Tensor<U>) {
        let (shape, other) = (shape.into(), other.into());
        let (mut first, mut second) =
            (Buffer::new(shape.elements()), Buffer::new(other.elements()));
        fill(first.as_mut_slice(), second.as_mut_slice());
        (Self::from_buffer(shape, first), Tensor::from_buffer(other, second))
    }

    /// A tensor whose elements are all `value`.
    pub fn full(shape: impl Into<Shape>, value: T) -> Self {
        Self::build(shape, |out| out.fill(value))
    }

    /// Like [`full`](Self::full), for a shape that comes from data.
    ///
    /// # Errors
    ///
    /// When there is not enough memory.
    ///
    /// ```
    /// use dendra_tensor::Tensor;
    ///
    /// assert_eq!(Tensor::try_full([2], 7_i64).unwrap().to_vec(), [7, 7]);
    /// assert!(Tensor::try_full([usize::MAX / 2], 0.0_f32).is_err());
    /// ```
    pub fn try_full(shape: impl Into<Shape>, value: T) -> Result<Self> {
        let shape = shape.into();
        shape.check_memory::<T>("Tensor::try_full")?;
        Ok(Self::full(shape, value))
    }

    /// A tensor without axes that holds one value.
    pub fn scalar(value: T) -> Self {
        Self::full(Shape::scalar(), value)
    }

    /// A tensor whose element at row-major position `i` is `f(i)`.
    pub fn from_fn(shape: impl Into<Shape>, mut f: impl FnMut(usize) -> T) -> Self {
        Self::build(shape, |out| {
            for (index, slot) in out.iter_mut().enumerate() {
                *slot = f(index);
            }
        })
    }
}

impl<T: Number> Tensor<T> {
    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        Self::full(shape, T::ZERO)
    }

    /// A tensor of ones.
    pub fn ones(shape: impl Into<Shape>) -> Self {
        Self::full(shape, T::ONE)
    }

    /// The numbers 0, 1, … `n` − 1 as a vector.
    pub fn arange(n: usize) -> Self {
        Self::from_fn([n], |index| T::from_f64(index as f64))
    }

    /// The identity matrix of `n` rows.
    pub fn eye(n: usize) -> Self {
        Self::from_fn([n, n], |index| if index / n == index % n { T::ONE } else { T::ZERO })
    }
}

impl<T: Float> Tensor<T> {
    /// Uniformly distributed values in `low .. high`.
    pub fn uniform(shape: impl Into<Shape>, low: f64, high: f64, rng: &mut Rng) -> Self {
        Self::from_fn(shape, |_| T::from_f64(low + (high - low) * rng.uniform()))
    }

    /// Normally distributed values.
    pub fn normal(shape: impl Into<Shape>, mean: f64, std: f64, rng: &mut Rng) -> Self {
        Self::from_fn(shape, |_| T::from_f64(mean + std * rng.normal()))
    }
}

/// Reading and writing.
impl<T: Element> Tensor<T> {
    /// The lengths of the axes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        // The shape was checked for overflow when the tensor was made.
        self.shape.iter().fold(1, |elements, &length| elements.wrapping_mul(length))
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The distance between neighbours along each axis, in elements.
    pub fn strides(&self) -> SmallVec<[isize; 4]> {
        match &self.strides {
            Some(strides) => Strides::clone(strides),
            None => self.shape.contiguous_strides(),
        }
    }

    /// Whether the elements are in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.strides.is_none()
    }

    /// The elements as a slice, if they are contiguous.
    pub fn as_slice(&self) -> Option<&[T]> {
        self.is_contiguous().then(|| &self.buffer.as_slice()[self.offset..][..self.len()])
    }

    /// The same values in row-major order without gaps; a cheap clone if they
    /// are already contiguous.
    #[must_use]
    pub fn contiguous(&self) -> Self {
        if self.is_contiguous() {
            return self.clone();
        }
        Self::build(self.shape.clone(), |out| self.copy_to(out))
    }

    /// Writes the elements to `out` in row-major order.
    fn copy_to(&self, out: &mut [T]) {
        match self.as_slice() {
            Some(values) => parallel::map_slice(values, out, |x| x),
            None => copy_in_order(self, out),
        }
    }

    /// Calls `f` with the elements as a row-major slice, copying them first if
    /// they are not contiguous.
    pub(crate) fn with_slice<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        // One call of `f`, since it is inlined: two would double its code.
        let copy;
        let values = match self.as_slice() {
            Some(values) => values,
            None => {
                copy = self.contiguous();
                copy.as_slice().expect("a contiguous tensor is a slice")
            }
        };
        f(values)
    }

    /// The elements in row-major order.
    pub fn to_vec(&self) -> Vec<T> {
        self.with_slice(<[T]>::to_vec)
    }

    /// Whether [`make_mut`](Self::make_mut) copies nothing.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_contiguous() && self.buffer.is_unique()
    }

    /// The elements in row-major order, for writing; copies them first when the
    /// buffer is shared or strided.
    pub fn make_mut(&mut self) -> &mut [T] {
        if !self.is_writable() {
            *self = Self::build(self.shape.clone(), |out| self.copy_to(out));
        }
        let length = self.len();
        &mut self.buffer.as_mut_slice()[self.offset..][..length]
    }

    /// The value of a tensor of one element.
    ///
    /// # Errors
    ///
    /// When the tensor has not exactly one element.
    pub fn item(&self) -> Result<T> {
        if self.len() != 1 {
            return Err(Error::shape(
                "item",
                format!("expected one element, got shape {}", self.shape),
            ));
        }
        Ok(self.buffer.as_slice()[self.offset])
    }

    /// The elements converted by `f`, in parallel when there are many.
    #[must_use]
    #[expect(clippy::redundant_closure, reason = "the closure is what is inlined into the loop")]
    pub fn map<U: Element>(&self, f: impl Fn(T) -> U + Sync) -> Tensor<U> {
        self.map_copy(
            #[inline(always)]
            |x| f(x),
        )
    }

    /// Like [`map`](Self::map), each loop with a copy of `f`; see
    /// [`map_slice`](parallel::map_slice).
    pub(crate) fn map_copy<U: Element>(&self, f: impl Fn(T) -> U + Sync + Copy) -> Tensor<U> {
        self.with_slice(|values| {
            Tensor::build(self.shape.clone(), |out| parallel::map_slice(values, out, f))
        })
    }

    /// The whole buffer, and the offset of the first element in it, to which
    /// kernels add strides.
    pub(crate) fn storage(&self) -> (&[T], usize) {
        (self.buffer.as_slice(), self.offset)
    }

    /// The same buffer with another shape, strides and offset.
    ///
    /// # Panics
    ///
    /// When the view reaches outside the buffer, or the number of its elements
    /// does not fit a `usize`.
    pub(crate) fn with_layout(&self, shape: Shape, strides: Strides, offset: usize) -> Self {
        if shape.elements() == 0 {
            // A view without elements may have any offset, since nothing is
            // read.
            return Self { shape, strides: None, offset: 0, buffer: self.buffer.clone() };
        }
        // The lowest and the highest offset that an index can reach must be in
        // the buffer; `unsafe` code relies on it.
        let (mut low, mut high) = (offset as isize, offset as isize);
        let (mut step, mut row_major) = (1, true);
        for (&length, &stride) in shape.iter().zip(&strides).rev() {
            let reach = (length as isize - 1) * stride;
            low += reach.min(0);
            high += reach.max(0);
            row_major &= length == 1 || stride == step as isize;
            step *= length;
        }
        assert!(
            low >= 0 && (high as usize) < self.buffer.as_slice().len(),
            "a view must stay in its buffer"
        );
        let strides = (!row_major).then(|| Box::new(strides));
        Self { shape, strides, offset, buffer: self.buffer.clone() }
    }

    /// The same tensor, or a scalar as a vector of one element.
    pub(crate) fn at_least_vector(&self) -> Self {
        if self.rank() == 0 { self.contiguous().with_shape([1].into()) } else { self.clone() }
    }

    /// The elements of a row-major tensor with another shape of the same number
    /// of elements.
    pub(crate) fn with_shape(&self, shape: Shape) -> Self {
        assert!(self.is_contiguous() && shape.elements() == self.len(), "the same elements");
        Self { shape, strides: None, offset: self.offset, buffer: self.buffer.clone() }
    }
}

impl<T: Number> Tensor<T> {
    /// The elements converted to another number type: to integers by rounding
    /// towards zero, with saturation; to floats by rounding to the nearest.
    #[must_use]
    pub fn cast<U: Number>(&self) -> Tensor<U> {
        half::converted(self).unwrap_or_else(|| self.map(|x| U::from_f64(x.to_f64())))
    }
}

impl<T: Float> Tensor<T> {
    /// Whether no element is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        const CHUNK: usize = 16 * 1024;
        let chunk_is_finite = |chunk: &[T]| {
            simd::dispatch(
                #[inline(always)]
                || {
                    let mut finite = true;
                    // No early exit, which would prevent vectorisation.
                    for x in chunk {
                        finite &= x.is_finite();
                    }
                    finite
                },
            )
        };
        self.with_slice(|values| {
            if values.len() <= CHUNK {
                return chunk_is_finite(values);
            }
            parallel::map(values.len().div_ceil(CHUNK), CHUNK, |index| {
                chunk_is_finite(&values[index * CHUNK..values.len().min((index + 1) * CHUNK)])
            })
            .into_iter()
            .all(|finite| finite)
        })
    }
}

/// Equal shape and equal elements.
impl<T: Element> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.with_slice(|a| other.with_slice(|b| a == b))
    }
}

impl<T: Element> From<T> for Tensor<T> {
    fn from(value: T) -> Self {
        Self::scalar(value)
    }
}

impl<T: Element, const N: usize> From<[T; N]> for Tensor<T> {
    fn from(values: [T; N]) -> Self {
        Self::build([N], |out| out.copy_from_slice(&values))
    }
}

impl<T: Element, const N: usize, const M: usize> From<[[T; N]; M]> for Tensor<T> {
    fn from(values: [[T; N]; M]) -> Self {
        Self::build([M, N], |out| out.copy_from_slice(values.as_flattened()))
    }
}

impl<T: Element, const N: usize, const M: usize, const L: usize> From<[[[T; N]; M]; L]>
    for Tensor<T>
{
    fn from(values: [[[T; N]; M]; L]) -> Self {
        Self::build([L, M, N], |out| out.copy_from_slice(values.as_flattened().as_flattened()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_to_a_shared_buffer_copies_it() {
        let mut a = Tensor::from([1, 2, 3_i64]);
        let b = a.clone();
        a.make_mut()[0] = 9;
        assert_eq!(a.to_vec(), [9, 2, 3]);
        assert_eq!(b.to_vec(), [1, 2, 3]);
        let address = a.as_slice().unwrap().as_ptr();
        assert_eq!(a.make_mut().as_ptr(), address, "unshared, so written in place");
    }

    #[test]
    fn a_view_without_elements_may_begin_behind_the_buffer() {
        let mut nothing = Tensor::<f32>::zeros([3, 0]).narrow(0, 2, 1).unwrap();
        assert!(nothing.to_vec().is_empty() && nothing.make_mut().is_empty());
    }

    #[test]
    fn a_wrong_number_of_values_is_refused() {
        let error = Tensor::from_vec(vec![1.0_f32; 5], [2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "Tensor::from_vec: 5 values do not fit shape [2, 3]");
        assert!(Tensor::from_vec(vec![1.0_f32; 2], [usize::MAX, 2]).is_err());
    }

    #[test]
    fn casts_saturate() {
        let x = Tensor::from([-1.5, 0.0, 300.7, f64::NAN]);
        assert_eq!(x.cast::<u8>().to_vec(), [0, 0, 255, 0]);
    }

    #[test]
    fn one_bad_value_among_many_is_found() {
        let mut x = Tensor::<f32>::zeros([5000]);
        assert!(x.is_finite());
        x.make_mut()[4321] = f32::NAN;
        assert!(!x.is_finite());
    }
}
