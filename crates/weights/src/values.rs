//! The values of one tensor, which are read on demand.

use std::fmt::Debug;
use std::sync::Arc;

use dendra_nn::{Dtype, tensor_from_bytes};
use dendra_tensor::{AnyTensor, Error, Result, Shape};

use crate::source::Source;

/// Reads the values of a tensor.
pub(crate) trait Values: Debug + Send + Sync {
    /// Reads the tensor, which has the announced shape.
    fn read(&self) -> Result<AnyTensor>;
}

/// A tensor that is already in memory.
impl Values for AnyTensor {
    fn read(&self) -> Result<AnyTensor> {
        Ok(self.clone())
    }
}

/// The largest number of elements of a tensor that repeats stored values. Such
/// a tensor needs no memory until it is copied.
const MOST_REPEATED: usize = 1 << 28;

/// Elements that are stored in the file without encoding, with any strides.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    source: Source,
    dtype: Dtype,
    big_endian: bool,
    shape: Shape,
    /// The strides in elements; `None` for row-major order.
    strides: Option<Vec<usize>>,
    /// The number of stored elements from the first to the last one.
    span: usize,
}

impl Plain {
    /// Elements in row-major order from byte `offset` on.
    pub(crate) fn new(source: &Source, offset: u64, dtype: Dtype, shape: Shape) -> Result<Self> {
        let span = elements(source, &shape)?;
        Self::spanning(source, offset, dtype, shape, None, span)
    }

    /// Elements with these strides.
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
            return Err(source.wrong(format!(
                "expected a stride for each of {axes} axes, got {}",
                strides.len()
            )));
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

/// Converts little-endian bytes to a tensor. Errors name the file.
pub(crate) fn decode(
    source: &Source,
    dtype: Dtype,
    shape: Shape,
    bytes: &[u8],
) -> Result<AnyTensor> {
    tensor_from_bytes(dtype, shape, bytes).map_err(|error| match error {
        Error::Data { message, .. } => source.wrong(message),
        error => error,
    })
}

/// Reverses the bytes of each element.
pub(crate) fn swap(bytes: &mut [u8], dtype: Dtype) {
    bytes.chunks_exact_mut((dtype.bitsize() / 8).max(1)).for_each(<[u8]>::reverse);
}

/// The number of elements of an announced shape; an error if the number of
/// bytes overflows.
pub(crate) fn elements(source: &Source, shape: &Shape) -> Result<usize> {
    let sizes = shape.iter().copied().filter(|&size| size != 0).collect::<Shape>();
    match sizes.checked_elements() {
        Some(count) if count <= isize::MAX as usize / 16 => Ok(shape.elements()),
        _ => Err(source.wrong(format!("shape {shape} is too large"))),
    }
}

/// The number of bytes of the elements, saturated.
pub(crate) fn bytes_of(elements: usize, dtype: Dtype) -> u64 {
    (elements as u64).saturating_mul(dtype.bitsize() as u64).div_ceil(8)
}

/// Converts the announced sizes to a shape.
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

/// The strides of column-major (Fortran) order.
pub(crate) fn column_major(shape: &[usize]) -> Vec<usize> {
    let mut next = 1;
    let stride = |&size: &usize| {
        let stride = next;
        next *= size.max(1);
        stride
    };
    shape.iter().map(stride).collect()
}

/// A change of layout.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Permute(Vec<isize>),
    Reshape(Vec<usize>),
    /// Selects the elements at these indices of an axis.
    Select(isize, Vec<usize>),
}

/// Values after a change of layout.
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
