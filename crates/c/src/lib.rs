//! The border to C: load a model file, ask what goes in and out, and predict.
//!
//! The header `include/dendra.h` is generated from these files by `cargo xtask
//! c header`; the page on deployment shows a program in C. The rules of the
//! border:
//!
//! - Every function returns a [`Status`] or cannot fail. The text of the last
//!   error of a thread is [`dendra_last_error`].
//! - No panic crosses it: each function catches what its body may throw
//!   (`border::guard`).
//! - A pointer that is null, a buffer that is not aligned, and a length that is
//!   not that of the shape are refused. That a pointer points to as many
//!   elements as its length says, nothing can check: the caller promises it.
//! - A network changes nothing when it runs, so threads may share one. Only
//!   [`dendra_network_free`] must be the last use.

mod border;
mod describe;
mod load;
mod run;

#[cfg(test)]
mod tests;

pub use border::{Status, dendra_last_error};
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
