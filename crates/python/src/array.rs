//! Tensors as NumPy arrays and back.

use dendra_tensor::{AnyTensor, Element, Shape, Tensor};
use numpy::ndarray::{ArrayViewD, IxDyn};
use numpy::{Element as NumpyElement, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The owner of an array's memory.
#[pyclass(frozen, module = "dendra._dendra")]
struct Memory {
    _tensor: AnyTensor,
}

/// An array that shares the memory of the tensor; only a strided tensor is
/// copied. The array is writable if nothing else shares the memory, and
/// read-only otherwise.
fn share<'py, T>(py: Python<'py>, tensor: Tensor<T>, alone: bool) -> PyResult<Bound<'py, PyAny>>
where
    T: Element + NumpyElement,
    Tensor<T>: Into<AnyTensor>,
{
    let mut tensor = match tensor.is_contiguous() {
        true => tensor,
        false => tensor.contiguous(),
    };
    let shape = IxDyn(tensor.shape());
    let length = tensor.len();
    let pointer: *const T = match (alone, tensor.as_slice()) {
        // The tensor is contiguous here; this copies if its memory is shared
        // after all.
        (true, _) | (_, None) => tensor.make_mut().as_mut_ptr(),
        (false, Some(elements)) => elements.as_ptr(),
    };
    let memory = Bound::new(py, Memory { _tensor: tensor.into() })?;
    // SAFETY: the pointer points to `length` initialised elements in row-major order, as many as
    // the shape has, and `memory` holds a tensor that owns them.
    let view = unsafe { ArrayViewD::from_shape_ptr(shape, pointer) };
    debug_assert_eq!(view.len(), length);
    // SAFETY: the array keeps `memory` alive, which owns the elements and never changes them. The
    // pointer of an array that can be written to came from an exclusive borrow, and no other
    // tensor has the buffer.
    let array = unsafe { PyArrayDyn::borrow_from_array(&view, memory.into_any()) };
    if !alone {
        array.getattr("flags")?.setattr("writeable", false)?;
    }
    Ok(array.into_any())
}

macro_rules! elements {
    ($($variant:ident $type:ty),*) => {
        /// The tensor as an array; see [`share`].
        fn shared<'py>(
            py: Python<'py>,
            tensor: AnyTensor,
            alone: bool,
        ) -> PyResult<Bound<'py, PyAny>> {
            match tensor {
                $(AnyTensor::$variant(tensor) => share(py, tensor, alone),)*
                // NumPy has no `bfloat16`.
                AnyTensor::F16(tensor) => share(py, tensor.cast::<f32>(), true),
                AnyTensor::BF16(tensor) => share(py, tensor.cast::<f32>(), true),
            }
        }

        /// A tensor with a copy of an array's elements.
        pub(crate) fn tensor(array: &Bound<'_, PyAny>) -> PyResult<AnyTensor> {
            $(if let Ok(array) = array.cast::<PyArrayDyn<$type>>() {
                let array = array.try_readonly()?;
                let shape = Shape::from(array.shape());
                let values = match array.as_slice() {
                    Ok(values) if array.is_c_contiguous() => values.to_vec(),
                    _ => array.as_array().iter().copied().collect(),
                };
                let tensor = Tensor::from_vec(values, shape).map_err(crate::error::exception)?;
                return Ok(tensor.into());
            })*
            let found = array.getattr("dtype").map(|found| found.to_string()).unwrap_or_default();
            let message = format!("expected an array of numbers of up to 64 bits, got {found}");
            Err(PyTypeError::new_err(message))
        }
    };
}

elements! {
    F32 f32, F64 f64, U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64, Bool bool
}

/// A result as a writable array.
pub(crate) fn owned<'py>(
    py: Python<'py>,
    tensor: impl Into<AnyTensor>,
) -> PyResult<Bound<'py, PyAny>> {
    shared(py, tensor.into(), true)
}

/// A tensor of a model as a read-only array. The array keeps its values,
/// because the model copies the tensor before it changes it.
pub(crate) fn read_only<'py>(py: Python<'py>, tensor: &AnyTensor) -> PyResult<Bound<'py, PyAny>> {
    shared(py, tensor.clone(), false)
}
