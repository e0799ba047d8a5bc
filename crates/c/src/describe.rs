//! Descriptions of the inputs and outputs of a network.

use std::ffi::{CString, c_char};
use std::ptr;

use dendra_deploy::Axis;

use crate::boundary::{Status, guard, refuse, value, write};
use crate::load::{Network, text};

/// The element type of a tensor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// A type that this version does not know.
    Other = 0,
    /// `float`.
    F32 = 1,
    /// `double`.
    F64 = 2,
    /// `int64_t`.
    I64 = 3,
    /// `int32_t`.
    I32 = 4,
    /// `int16_t`.
    I16 = 5,
    /// `int8_t`.
    I8 = 6,
    /// `uint64_t`.
    U64 = 7,
    /// `uint32_t`.
    U32 = 8,
    /// `uint16_t`.
    U16 = 9,
    /// `uint8_t`.
    U8 = 10,
    /// `bool`, a byte that is 0 or 1.
    Bool = 11,
    /// Strings, which this interface does not support.
    Text = 12,
}

impl From<dendra_deploy::ElementType> for ElementType {
    fn from(element: dendra_deploy::ElementType) -> Self {
        use dendra_deploy::ElementType as Rust;
        match element {
            Rust::F32 => Self::F32,
            Rust::F64 => Self::F64,
            Rust::I64 => Self::I64,
            Rust::I32 => Self::I32,
            Rust::I16 => Self::I16,
            Rust::I8 => Self::I8,
            Rust::U64 => Self::U64,
            Rust::U32 => Self::U32,
            Rust::U16 => Self::U16,
            Rust::U8 => Self::U8,
            Rust::Bool => Self::Bool,
            Rust::Text => Self::Text,
            _ => Self::Other,
        }
    }
}

/// An input or output of a network. The pointers are valid until the network is
/// freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TensorInfo {
    /// The name.
    pub name: *const c_char,
    /// The element type.
    pub element: ElementType,
    /// The number of axes, or −1 if the model does not declare it.
    pub rank: i32,
    /// The length of each axis, or −1 for any length; null if `rank` is not positive.
    pub axes: *const i64,
}

/// The data behind a [`TensorInfo`].
pub(crate) struct Described {
    name: CString,
    element: ElementType,
    axes: Option<Vec<i64>>,
}

impl Described {
    pub(crate) fn new(info: &dendra_deploy::TensorInfo) -> Self {
        let length = |axis: &Axis| match axis {
            Axis::Fixed(length) => i64::try_from(*length).unwrap_or(i64::MAX),
            Axis::Free(_) => -1,
        };
        let axes = info.axes.as_ref().map(|axes| axes.iter().map(length).collect());
        Self { name: text(&info.name), element: info.element.into(), axes }
    }

    fn info(&self) -> TensorInfo {
        let axes = self.axes.as_deref();
        TensorInfo {
            name: self.name.as_ptr(),
            element: self.element,
            rank: axes.map_or(-1, |axes| axes.len() as i32),
            axes: match axes {
                Some([_, ..]) => axes.map_or(ptr::null(), <[_]>::as_ptr),
                _ => ptr::null(),
            },
        }
    }
}

/// The number of inputs; 0 for null.
///
/// # Safety
///
/// `network` is null or a network of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_input_count(network: *const Network) -> usize {
    // SAFETY: the caller guarantees it.
    unsafe { value("network", network) }.map_or(0, |network| network.inputs.len())
}

/// The number of outputs; 0 for null.
///
/// # Safety
///
/// `network` is null or a network of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_output_count(network: *const Network) -> usize {
    // SAFETY: the caller guarantees it.
    unsafe { value("network", network) }.map_or(0, |network| network.outputs.len())
}

/// Describes an input.
///
/// # Safety
///
/// `network` is null or a network of this library; `info` is null or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_input_info(
    network: *const Network,
    index: usize,
    info: *mut TensorInfo,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { describe(network, |network| &network.inputs, index, info) }
}

/// Describes an output.
///
/// # Safety
///
/// `network` is null or a network of this library; `info` is null or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_output_info(
    network: *const Network,
    index: usize,
    info: *mut TensorInfo,
) -> Status {
    // SAFETY: the caller guarantees it.
    unsafe { describe(network, |network| &network.outputs, index, info) }
}

/// # Safety
///
/// The requirements of [`dendra_input_info`].
unsafe fn describe(
    network: *const Network,
    which: fn(&Network) -> &[Described],
    index: usize,
    info: *mut TensorInfo,
) -> Status {
    guard(|| {
        // SAFETY: the caller guarantees it.
        let all = which(unsafe { value("network", network)? });
        let Some(described) = all.get(index) else {
            return Err(refuse(
                "index",
                format!("expected an index below {}, got {index}", all.len()),
            ))?;
        };
        // SAFETY: the caller guarantees it.
        unsafe { write("info", info, described.info())? };
        Ok(())
    })
}

/// The number of class names; 0 for null.
///
/// # Safety
///
/// `network` is null or a network of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_class_count(network: *const Network) -> usize {
    // SAFETY: the caller guarantees it.
    unsafe { value("network", network) }.map_or(0, |network| network.classes.len())
}

/// The name of a class, valid until the network is freed; null if there is no
/// such class.
///
/// # Safety
///
/// `network` is null or a network of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_class_name(network: *const Network, index: usize) -> *const c_char {
    // SAFETY: the caller guarantees it.
    let network = unsafe { value("network", network) };
    let name = network.ok().and_then(|network| network.classes.get(index));
    name.map_or(ptr::null(), |name| name.as_ptr())
}
