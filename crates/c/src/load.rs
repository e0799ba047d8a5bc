//! Loading networks from files and from memory.

use std::ffi::{CStr, CString, c_char};

use dendra_deploy::Axis;

use crate::boundary::{Status, Stop, elements, guard, refuse, value, write};
use crate::describe::Described;

/// A loaded network. Threads may share it.
pub struct Network {
    pub(crate) inner: dendra_deploy::Network,
    pub(crate) inputs: Vec<Described>,
    pub(crate) outputs: Vec<Described>,
    pub(crate) classes: Vec<CString>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

/// Checks at compile time that threads may share a network.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<dendra_deploy::Network>();
};

impl Network {
    fn new(inner: dendra_deploy::Network) -> Self {
        let describe =
            |infos: &[dendra_deploy::TensorInfo]| infos.iter().map(Described::new).collect();
        let (inputs, outputs) = (describe(inner.inputs()), describe(inner.outputs()));
        let classes = inner.class_names().iter().map(|name| text(name)).collect();
        Self { inner, inputs, outputs, classes }
    }

    /// The number of elements of one sample of an input.
    pub(crate) fn sample(&self, index: usize) -> Option<Vec<usize>> {
        let axes = self.inner.inputs().get(index)?.axes.as_ref()?;
        let fixed = |axis: &Axis| match axis {
            Axis::Fixed(length) => Some(*length),
            Axis::Free(_) => None,
        };
        axes.get(1..)?.iter().map(fixed).collect()
    }
}

/// Converts a text for C: up to its first zero byte.
pub(crate) fn text(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().take_while(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// The version of the library, such as `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn dendra_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Loads a network from a file: safetensors with the architecture of a
/// `Sequential`, or ONNX. The format is detected from the content. `path` is
/// UTF-8.
///
/// `*network` is set to the network, which is freed by `dendra_network_free`,
/// or to null if the call fails.
///
/// # Safety
///
/// `path` is null or ends with a zero byte; `network` is null or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_network_load(
    path: *const c_char,
    network: *mut *mut Network,
) -> Status {
    // SAFETY: the caller guarantees the requirements on the pointers.
    unsafe {
        deliver(network, || {
            value("path", path)?;
            let path = CStr::from_ptr(path).to_str();
            let path = path.map_err(|error| refuse("path", format!("not UTF-8: {error}")))?;
            Ok(dendra_deploy::Network::load(path)?)
        })
    }
}

/// Loads a network from the bytes of a file, which may be freed afterwards.
///
/// `*network` is set as by `dendra_network_load`.
///
/// # Safety
///
/// `bytes` is null or points to `length` bytes; `network` is null or valid for a
/// write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_network_from_bytes(
    bytes: *const u8,
    length: usize,
    network: *mut *mut Network,
) -> Status {
    // SAFETY: the caller guarantees the requirements on the pointers.
    unsafe {
        deliver(network, || Ok(dendra_deploy::Network::parse(elements("bytes", bytes, length)?)?))
    }
}

/// Writes the result of `load`, or null.
///
/// # Safety
///
/// `network` is null or valid for a write.
unsafe fn deliver(
    network: *mut *mut Network,
    load: impl FnOnce() -> Result<dendra_deploy::Network, Stop>,
) -> Status {
    guard(|| {
        // SAFETY: the caller guarantees it.
        unsafe { write("network", network, std::ptr::null_mut())? };
        let loaded = Box::into_raw(Box::new(Network::new(load()?)));
        // SAFETY: as above; it was already written.
        unsafe { write("network", network, loaded)? };
        Ok(())
    })
}

/// Frees a network. Null is ignored.
///
/// # Safety
///
/// The network is from a function of this library, was not freed before, and no
/// thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dendra_network_free(network: *mut Network) {
    guard(|| {
        if !network.is_null() {
            // SAFETY: it is from `deliver`, and the caller no longer uses it.
            drop(unsafe { Box::from_raw(network) });
        }
        Ok(())
    });
}

/// Sets the number of threads that share the work, for the whole process. Use 1
/// in a program that calls the library from many threads.
#[unsafe(no_mangle)]
pub extern "C" fn dendra_set_num_threads(threads: usize) -> Status {
    guard(|| Ok(dendra_tensor::set_num_threads(threads)?))
}
