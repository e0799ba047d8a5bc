//! The values of one tensor, which are read when they are asked for.

use std::fmt::Debug;
use std::sync::Arc;

use dendra_nn::{Dtype, tensor_from_bytes};
use dendra_tensor::{AnyTensor, Result, Shape};

use crate::source::Source;

/// Reads the values of a tensor.
pub(crate) trait Values: Debug + Send + Sync {
    /// The tensor, of the shape that was announced for it.
    fn read(&self) -> Result<AnyTensor>;
}

/// A tensor that is in memory already.
impl Values for AnyTensor {
    fn read(&self) -> Result<AnyTensor> {
        Ok(self.clone())
    }
}

/// The most elements of a tensor that shows stored values more than once. Such
/// a tensor needs no memory until it is copied.
const MOST_REPEATED: usize = 1 << 28;

/// Elements that lie in a file as they are, in any order of the axes.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    source: Source,
    dtype: Dtype,
    big_endian: bool,
    shape: Shape,
    /// In elements; `None` for row-major order.
    strides: Option<Vec<usize>>,
    /// How many elements lie between the first and the last, both included.
    span: usize,
}

impl Plain {
    /// Elements in row-major order that begin at `offset` bytes.
    pub(crate) fn new(source: &Source, offset: u64, dtype: Dtype, shape: Shape) -> Result<Self> {
        let span = elements(source, &shape)?;
        Self::spanning(source, offset, dtype, shape, None, span)
    }

    /// Elements whose distance along each axis is in `strides`.
    pub(crate) fn strided(
        source: &Source,
        offset: u64,
        dtype: Dtype,
        shape: Shape,
        strides: &[usize],
    ) -> Result<Self> {
        let count = elements(source, &shape)?;
        if strides.len() != shape.len() {
            let axes = shape.len();
            return Err(source.wrong(format!("{} strides for {axes} axes", strides.len())));
        }
        let reach = |(&length, &stride): (&usize, &usize)| (length - 1).checked_mul(stride);
        let mut span = usize::from(count > 0);
        if count > 0 {
            for axis in shape.iter().zip(strides) {
                span = reach(axis).and_then(|reach| span.checked_add(reach)).ok_or_else(|| {
                    source.wrong(format!("strides {strides:?} of shape {shape} are too large"))
                })?;
            }
        }
        if count > span && count > MOST_REPEATED {
            return Err(source.wrong(format!("shape {shape} repeats {span} stored values")));
        }
        let row_major = is_row_major(&shape, strides);
        let strides = (!row_major).then(|| strides.to_vec());
        Self::spanning(source, offset, dtype, shape, strides, span)
    }

    fn spanning(
        source: &Source,
        offset: u64,
        dtype: Dtype,
        shape: Shape,
        strides: Option<Vec<usize>>,
        span: usize,
    ) -> Result<Self> {
        let source = source.part(offset, bytes_of(span, dtype))?;
        Ok(Self { source, dtype, big_endian: false, shape, strides, span })
    }

    pub(crate) fn big_endian(mut self, big_endian: bool) -> Self {
        self.big_endian = big_endian;
        self
    }
}

impl Values for Plain {
    fn read(&self) -> Result<AnyTensor> {
        let mut bytes = self.source.read(0, self.source.length())?;
        if self.big_endian {
            swap(&mut bytes, self.dtype);
        }
        let Some(strides) = &self.strides else {
            return decode(&self.source, self.dtype, self.shape.clone(), &bytes);
        };
        let flat = decode(&self.source, self.dtype, [self.span].into(), &bytes)?;
        let strides: Vec<isize> = strides.iter().map(|&stride| stride as isize).collect();
        flat.as_strided(self.shape.clone(), &strides, 0)
    }
}

/// A tensor of little-endian bytes; errors name the file.
pub(crate) fn decode(
    source: &Source,
    dtype: Dtype,
    shape: Shape,
    bytes: &[u8],
) -> Result<AnyTensor> {
    tensor_from_bytes(dtype, shape, bytes).map_err(|error| source.wrong(error.to_string()))
}

/// Turns the bytes of each element around.
pub(crate) fn swap(bytes: &mut [u8], dtype: Dtype) {
    bytes.chunks_exact_mut((dtype.bitsize() / 8).max(1)).for_each(<[u8]>::reverse);
}

/// The number of elements of a shape that a file announces, if their bytes can
/// be counted.
pub(crate) fn elements(source: &Source, shape: &Shape) -> Result<usize> {
    let sizes = shape.iter().copied().filter(|&size| size != 0).collect::<Shape>();
    match sizes.checked_elements() {
        Some(count) if count <= isize::MAX as usize / 16 => Ok(shape.elements()),
        _ => Err(source.wrong(format!("shape {shape} is too large"))),
    }
}

/// How many bytes elements of a type take; more than any file has, if they
/// cannot be counted.
pub(crate) fn bytes_of(elements: usize, dtype: Dtype) -> u64 {
    (elements as u64).saturating_mul(dtype.bitsize() as u64).div_ceil(8)
}

/// A shape of the sizes that a file announces.
pub(crate) fn shape_of(source: &Source, sizes: &[u64]) -> Result<Shape> {
    let sizes: Option<Vec<usize>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
    let shape = Shape::from(sizes.ok_or_else(|| source.wrong("an axis is too long"))?);
    elements(source, &shape)?;
    Ok(shape)
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 && stride != expected {
            return false;
        }
        expected *= size.max(1);
    }
    true
}

/// The strides of column-major order, as of a Fortran array.
pub(crate) fn column_major(shape: &[usize]) -> Vec<usize> {
    let mut next = 1;
    let stride = |&size: &usize| {
        let stride = next;
        next *= size.max(1);
        stride
    };
    shape.iter().map(stride).collect()
}

/// One step of a change of layout.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Permute(Vec<isize>),
    Reshape(Vec<usize>),
    /// The elements at these indices of an axis.
    Select(isize, Vec<usize>),
}

/// Values in another layout.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) values: Arc<dyn Values>,
    pub(crate) step: Step,
}

impl Values for Changed {
    fn read(&self) -> Result<AnyTensor> {
        let values = self.values.read()?;
        match &self.step {
            Step::Permute(axes) => values.permute(axes),
            Step::Reshape(shape) => values.reshape(shape.clone()),
            Step::Select(axis, indices) => values.index_select(*axis, indices),
        }
    }
}
