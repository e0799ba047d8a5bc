//! The C API: load a model file, describe its inputs and outputs, and predict.
//!
//! The header `include/dendra.h` is generated from these files by
//! `cargo xtask c --write-header`; the page on deployment has a program in C.
//! The rules of the API:
//!
//! - Every function returns a [`Status`] or cannot fail. [`dendra_last_error`]
//!   has the message of the last error of a thread.
//! - No panic crosses the boundary: each function catches panics of its body
//!   (`boundary::guard`).
//! - Null pointers, misaligned buffers, and lengths that do not match the shape
//!   are errors. Whether a pointer points to as many elements as its length
//!   states cannot be checked: the caller guarantees it.
//! - Running a network does not change it, so threads may share it.
//!   [`dendra_network_free`] must be the last use.

mod boundary;
mod describe;
mod load;
mod run;

#[cfg(test)]
mod tests;

pub use boundary::{Status, dendra_last_error};
pub use describe::{
    ElementType, TensorInfo, dendra_class_count, dendra_class_name, dendra_input_count,
    dendra_input_info, dendra_output_count, dendra_output_info,
};
pub use load::{
    Network, dendra_network_free, dendra_network_from_bytes, dendra_network_load,
    dendra_set_num_threads, dendra_version,
};
pub use run::{
    Input, Output, Outputs, dendra_outputs_count, dendra_outputs_free, dendra_outputs_get,
    dendra_predict_f32, dendra_predict_i64, dendra_run,
};
