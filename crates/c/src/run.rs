//! Running networks on buffers of the caller.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use dendra_deploy::Value;
use dendra_tensor::{AnyTensor, Element, Error, Result, Tensor};

use crate::boundary::{Status, Stop, deliver, elements, guard, refuse, value, write};
use crate::describe::ElementType;
use crate::load::{Network, text};

/// An input of a run: a tensor in row-major order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The name of the input.
    pub name: *const c_char,
    /// The element type: `DENDRA_ELEMENT_TYPE_F32` or
    /// `DENDRA_ELEMENT_TYPE_I64`, depending on the network. It is not an enum,
    /// because an enum in C may contain any number, which would be undefined
    /// behaviour in Rust.
    pub element: i32,
    /// The elements.
    pub data: *const c_void,
    /// The number of elements, which must match the shape.
    pub length: usize,
    /// The length of each axis.
    pub shape: *const usize,
    /// The number of axes.
    pub rank: usize,
}

/// An output of a run, in row-major order. The pointers are valid until the
/// outputs are freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The name of the output.
    pub name: *const c_char,
    /// The type of the elements.
    pub element: ElementType,
    /// The elements; null if there are none, and for strings.
    pub data: *const c_void,
    /// The number of elements.
    pub length: usize,
    /// The length of each axis.
    pub shape: *const usize,
    /// The number of axes.
    pub rank: usize,
}

/// The outputs of a run.
#[derive(Debug)]
pub struct Outputs {
    outputs: Vec<(CString, Value)>,
}

/// Runs a network on inputs by name.
///
/// `*outputs` is set to the outputs, which are freed by `dendra_outputs_free`,
/// or to null if the call fails.
///
/// # Safety
///
/// `network` is null or a network of this library; `inputs` is null or points
/// to `count` inputs, whose pointers are null or valid for their lengths;
/// `outputs` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_run(
    network: *const Network,
    inputs: *const Input,
    count: usize,
    outputs: *mut *mut Outputs,
) -> Status {
    guard(|| {
        // SAFETY: the caller guarantees the requirements on the pointers.
        let (network, inputs) = unsafe {
            write("outputs", outputs, ptr::null_mut())?;
            (value("network", network)?, elements("inputs", inputs, count)?)
        };
        let mut given = Vec::with_capacity(inputs.len());
        for input in inputs {
            // SAFETY: as above.
            given.push(unsafe { (name(input.name)?, tensor(input)?) });
        }
        let values = network.inner.run(&given)?;
        let names = network.inner.outputs().iter().map(|info| text(&info.name));
        let values = values.into_iter().map(contiguous);
        let made = Box::new(Outputs { outputs: names.zip(values).collect() });
        // SAFETY: as above.
        unsafe { write("outputs", outputs, Box::into_raw(made))? };
        Ok(())
    })
}

/// # Safety
///
/// `pointer` is null, or ends with a zero byte and lives during `'a`.
unsafe fn name<'a>(pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller guarantees it; null is an error.
    let name = unsafe {
        value("input name", pointer)?;
        CStr::from_ptr(pointer).to_str()
    };
    name.map_err(|error| refuse("input name", format!("not UTF-8: {error}")))
}

/// # Safety
///
/// The pointers of the input are null or valid for its lengths.
unsafe fn tensor(input: &Input) -> Result<Value> {
    // SAFETY: the caller guarantees it.
    let shape = unsafe { elements("shape", input.shape, input.rank)? };
    const F32: i32 = ElementType::F32 as i32;
    const I64: i32 = ElementType::I64 as i32;
    // SAFETY: as above.
    unsafe {
        match input.element {
            F32 => from_buffer::<f32>(input.data, input.length, shape),
            I64 => from_buffer::<i64>(input.data, input.length, shape),
            other => {
                Err(refuse("input", format!("expected the element type F32 or I64, got {other}")))
            }
        }
    }
}

/// # Safety
///
/// `data` is null, or points to `length` elements.
unsafe fn from_buffer<T: Element>(
    data: *const c_void,
    length: usize,
    shape: &[usize],
) -> Result<Value>
where
    AnyTensor: From<Tensor<T>>,
{
    let product = shape.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
    if product != Some(length) {
        return Err(refuse(
            "input",
            format!("expected as many elements as shape {shape:?} has, got {length}"),
        ));
    }
    // SAFETY: the caller guarantees it.
    let data = unsafe { elements("data", data.cast::<T>(), length)? };
    Ok(Tensor::from_vec(data.to_vec(), shape)?.into())
}

/// Converts a tensor of any element type.
macro_rules! each {
    ($any:expr, $tensor:ident => $value:expr) => {
        match $any {
            AnyTensor::F32($tensor) => $value,
            AnyTensor::F64($tensor) => $value,
            AnyTensor::F16($tensor) => $value,
            AnyTensor::BF16($tensor) => $value,
            AnyTensor::U8($tensor) => $value,
            AnyTensor::U16($tensor) => $value,
            AnyTensor::U32($tensor) => $value,
            AnyTensor::U64($tensor) => $value,
            AnyTensor::I8($tensor) => $value,
            AnyTensor::I16($tensor) => $value,
            AnyTensor::I32($tensor) => $value,
            AnyTensor::I64($tensor) => $value,
            AnyTensor::Bool($tensor) => $value,
        }
    };
}

/// The value with its elements in row-major order, those of half precision as `f32`.
fn contiguous(value: Value) -> Value {
    match value {
        Value::Tensor(any) => each!(any.widened(), tensor => tensor.contiguous().into()),
        texts => texts,
    }
}

/// The number of outputs; 0 for null.
///
/// # Safety
///
/// `outputs` is null or from `dendra_run`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_outputs_count(outputs: *const Outputs) -> usize {
    // SAFETY: the caller guarantees it.
    unsafe { value("outputs", outputs) }.map_or(0, |outputs| outputs.outputs.len())
}

/// An output.
///
/// # Safety
///
/// `outputs` is null or from `dendra_run`; `output` is null or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_outputs_get(
    outputs: *const Outputs,
    index: usize,
    output: *mut Output,
) -> Status {
    guard(|| {
        // SAFETY: the caller guarantees it.
        let all = &unsafe { value("outputs", outputs)? }.outputs;
        let Some((name, value)) = all.get(index) else {
            return Err(refuse(
                "index",
                format!("expected an index below {}, got {index}", all.len()),
            ))?;
        };
        let shape = value.shape();
        let length = shape.elements();
        let data = match value {
            Value::Tensor(tensor) if length > 0 => address(tensor),
            _ => ptr::null(),
        };
        let found = Output {
            name: name.as_ptr(),
            element: value.element().into(),
            data,
            length,
            shape: shape.as_ptr(),
            rank: shape.len(),
        };
        // SAFETY: the caller guarantees it.
        unsafe { write("output", output, found)? };
        Ok(())
    })
}

/// A pointer to the elements of a contiguous tensor.
fn address(any: &AnyTensor) -> *const c_void {
    fn of<T: Element>(tensor: &Tensor<T>) -> *const c_void {
        tensor.as_slice().map_or(ptr::null(), |values| values.as_ptr().cast())
    }
    each!(any, tensor => of(tensor))
}

/// Frees the outputs of a run. Null is ignored.
///
/// # Safety
///
/// The outputs are from `dendra_run`, were not freed before, and no thread uses
/// them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_outputs_free(outputs: *mut Outputs) {
    guard(|| {
        if !outputs.is_null() {
            // SAFETY: they are from `dendra_run`, and the caller no longer uses
            // them.
            drop(unsafe { Box::from_raw(outputs) });
        }
        Ok(())
    });
}

/// Computes the first float output for some samples. The network must have one
/// input of `float` whose samples have a fixed shape. `input` contains the
/// samples one after the other, each in row-major order; `output` receives
/// their outputs in the same order.
///
/// Unless `written` is null, `*written` is set to the number of elements of the
/// output, even if `capacity` is smaller.
///
/// # Safety
///
/// `network` is null or a network of this library; `input` is null or points to
/// `length` elements; `output` is null or has room for `capacity` elements;
/// `written` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_predict_f32(
    network: *const Network,
    input: *const f32,
    length: usize,
    output: *mut f32,
    capacity: usize,
    written: *mut usize,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { predict(network, input, length, output, capacity, written) }
}

/// Like `dendra_predict_f32`, for a network whose input is `int64_t`, such as
/// token ids.
///
/// # Safety
///
/// The requirements of `dendra_predict_f32`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_predict_i64(
    network: *const Network,
    input: *const i64,
    length: usize,
    output: *mut f32,
    capacity: usize,
    written: *mut usize,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { predict(network, input, length, output, capacity, written) }
}

/// # Safety
///
/// The requirements of [`dendra_predict_f32`].
unsafe fn predict<T: Element>(
    network: *const Network,
    input: *const T,
    length: usize,
    output: *mut f32,
    capacity: usize,
    written: *mut usize,
) -> Status
where
    AnyTensor: From<Tensor<T>>,
{
    guard(|| {
        // SAFETY: the caller guarantees it.
        let network = unsafe { value("network", network)? };
        let [info] = network.inner.inputs() else {
            let count = network.inner.inputs().len();
            return Err(refuse(
                "network",
                format!("expected a network of one input, got {count}"),
            ))?;
        };
        let Some(sample) = network.sample(0) else {
            return Err(refuse(
                "network",
                format!("expected samples of a fixed shape, got {info}"),
            ))?;
        };
        let each: usize = sample.iter().product();
        if each == 0 || !length.is_multiple_of(each) {
            return Err(refuse(
                "input",
                format!("expected {each} elements for each sample, got {length}"),
            ))?;
        }
        // SAFETY: as above.
        let values = unsafe { elements("input", input, length)? };
        let shape = [&[length / each], &sample[..]].concat();
        let values: Value = Tensor::from_vec(values.to_vec(), shape)?.into();
        let outputs = network.inner.run(&[(&info.name, values)])?;
        let floats = outputs.iter().find_map(|output| output.tensor::<f32>());
        let no_floats =
            || Stop::from(Error::argument("network", "expected an output of f32, found none"));
        let floats = floats.ok_or_else(no_floats)?.contiguous();
        // SAFETY: as above.
        unsafe { deliver(floats.as_slice().unwrap_or_default(), output, capacity, written) }
    })
}
