//! Shared code of all C functions: it checks pointers, catches panics, and
//! keeps the message of the last error.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{self, AssertUnwindSafe};
use std::{ptr, slice};

use dendra_tensor::{Element, Error, Result};

/// The result of a function. `dendra_last_error` has the message.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The call succeeded.
    Ok = 0,
    /// An argument is invalid: a null pointer, an unknown name, a wrong length,
    /// or a shape or element type that the network does not accept.
    InvalidArgument = 1,
    /// The file does not exist or cannot be read.
    Io = 2,
    /// The contents of the file are invalid, or not a model.
    InvalidFile = 3,
    /// The buffer for the result is too short. The required length was written.
    BufferTooShort = 4,
    /// An internal error of the library. The network remains usable.
    Internal = 5,
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Io { .. } => Self::Io,
            Error::File { .. } | Error::State { .. } => Self::InvalidFile,
            Error::Panic { .. } => Self::Internal,
            _ => Self::InvalidArgument,
        }
    }
}

thread_local! {
    /// The message of this thread's last error.
    static LAST: RefCell<CString> = RefCell::default();
}

/// The message of the last error of this thread, in UTF-8; empty before the
/// first error. It is valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn dendra_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn keep(message: &str) {
    let message: Vec<u8> = message.bytes().filter(|&byte| byte != 0).collect();
    // This fails only on a thread that is ending.
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(message).unwrap_or_default());
}

/// The reason why a call fails.
pub(crate) enum Stop {
    Error(Error),
    BufferTooShort(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Runs the body of a function. An error or a panic is converted to a status
/// and a message.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Stop>) -> Status {
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    let stop = match result {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(stop)) => stop,
        Err(payload) => {
            let error = Error::panic("dendra", &*payload);
            // Dropping a payload may panic, too.
            std::mem::forget(payload);
            Stop::Error(error)
        }
    };
    let (status, message) = match stop {
        Stop::Error(error) => (Status::from(&error), error.to_string()),
        Stop::BufferTooShort(message) => (Status::BufferTooShort, message),
    };
    keep(&message);
    status
}

pub(crate) fn refuse(argument: &str, message: impl Into<String>) -> Error {
    Error::argument(argument, message)
}

/// Converts a pointer to a reference.
///
/// # Safety
///
/// Unless it is null or misaligned, the pointer points to a value that lives
/// and does not change during `'a`.
pub(crate) unsafe fn value<'a, T>(argument: &str, pointer: *const T) -> Result<&'a T> {
    check(argument, pointer, 1)?;
    // SAFETY: it is neither null nor misaligned; the caller guarantees the
    // rest.
    Ok(unsafe { &*pointer })
}

/// Converts the pointer of an out argument to a reference.
///
/// # Safety
///
/// Unless it is null or misaligned, the pointer is valid for a write.
pub(crate) unsafe fn write<T>(argument: &str, pointer: *mut T, value: T) -> Result<()> {
    check(argument, pointer, 1)?;
    // SAFETY: as above.
    unsafe { ptr::write(pointer, value) };
    Ok(())
}

/// Converts a pointer and a length to a slice.
///
/// # Safety
///
/// Unless it is null, misaligned or longer than memory, the pointer points to
/// `length` elements that live and do not change during `'a`.
pub(crate) unsafe fn elements<'a, T>(
    argument: &str,
    pointer: *const T,
    length: usize,
) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    check(argument, pointer, length)?;
    // SAFETY: neither null nor misaligned nor too long; the caller guarantees
    // the rest.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// Copies values to a buffer of the caller, and writes their number to
/// `written` if it is not null.
///
/// # Safety
///
/// Unless null or misaligned, the pointers are valid for writes, `buffer` of
/// `capacity` elements.
pub(crate) unsafe fn deliver<T: Element>(
    values: &[T],
    buffer: *mut T,
    capacity: usize,
    written: *mut usize,
) -> Result<(), Stop> {
    if !written.is_null() {
        // SAFETY: the caller guarantees it.
        unsafe { write("written", written, values.len())? };
    }
    if values.len() > capacity {
        return Err(Stop::BufferTooShort(format!(
            "output: expected a buffer of {} elements, got {capacity}",
            values.len()
        )));
    }
    if !values.is_empty() {
        check("output", buffer, capacity)?;
        // SAFETY: the buffer has this number of elements, and does not overlap
        // with memory of this library.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), buffer, values.len()) };
    }
    Ok(())
}

/// Returns an error for a pointer that cannot point to this number of elements.
fn check<T>(argument: &str, pointer: *const T, length: usize) -> Result<()> {
    if pointer.is_null() {
        return Err(refuse(argument, "the pointer is null"));
    }
    if !pointer.is_aligned() {
        let message = format!("the pointer is not aligned to {} bytes", align_of::<T>());
        return Err(refuse(argument, message));
    }
    let bytes = length.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= isize::MAX as usize);
    match bytes.and_then(|bytes| (pointer as usize).checked_add(bytes)) {
        Some(_) => Ok(()),
        None => Err(refuse(argument, format!("a length of {length} exceeds the memory"))),
    }
}
