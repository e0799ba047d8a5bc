//! What every function of the border does: check pointers, catch panics, keep
//! the text of an error.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{self, AssertUnwindSafe};
use std::{ptr, slice};

use dendra_tensor::{Element, Error, Result};

/// What a function returns. The text is `dendra_last_error`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The call did what it says.
    Ok = 0,
    /// An argument is wrong: a null pointer, an unknown name, a wrong length, a
    /// shape or element type that the network does not take.
    InvalidArgument = 1,
    /// The file does not exist or cannot be read.
    Io = 2,
    /// The contents of the file are wrong, or no model.
    InvalidFile = 3,
    /// The buffer for the result is too short. The length that it needs was
    /// written.
    BufferTooShort = 4,
    /// A fault of the library. The network may be used further.
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
    /// The text of this thread's last error.
    static LAST: RefCell<CString> = RefCell::default();
}

/// The text of the last error of this thread, in UTF-8; empty before the first.
/// It is valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn dendra_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn keep(message: &str) {
    let message: Vec<u8> = message.bytes().filter(|&byte| byte != 0).collect();
    // Only a thread that is ending has no place for it.
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(message).unwrap_or_default());
}

/// Why a call stops.
pub(crate) enum Stop {
    Error(Error),
    BufferTooShort(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Runs the body of a function; an error or a panic becomes a status and a text.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Stop>) -> Status {
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    let stop = match result {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(stop)) => stop,
        Err(payload) => {
            let error = Error::panic("dendra", &*payload);
            // The drop of a payload may panic, too.
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

/// The value behind a pointer.
///
/// # Safety
///
/// Unless it is null or misaligned, the pointer points to a value that lives
/// and does not change during `'a`.
pub(crate) unsafe fn value<'a, T>(argument: &str, pointer: *const T) -> Result<&'a T> {
    check(argument, pointer, 1)?;
    // SAFETY: it is neither null nor misaligned; the rest the caller promises.
    Ok(unsafe { &*pointer })
}

/// The place that a pointer of an out argument points to.
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

/// The elements of a buffer.
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
    // SAFETY: neither null nor misaligned nor too long; the rest the caller promises.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// Copies values to a buffer of the caller, and writes their number to
/// `written` if that is not null.
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
        // SAFETY: the caller promises it.
        unsafe { write("written", written, values.len())? };
    }
    if values.len() > capacity {
        return Err(Stop::BufferTooShort(format!(
            "output: expected room for {} elements, got {capacity}",
            values.len()
        )));
    }
    if !values.is_empty() {
        check("output", buffer, capacity)?;
        // SAFETY: the buffer has room for that many, and does not overlap with memory of this
        // library.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), buffer, values.len()) };
    }
    Ok(())
}

/// Refuses a pointer that cannot point to so many elements.
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
        None => Err(refuse(argument, format!("a length of {length} is more than memory has"))),
    }
}
