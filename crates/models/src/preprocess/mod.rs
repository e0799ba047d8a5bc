//! Pictures and sound as the networks expect them.

mod image;
mod log_mel;
mod resample;

pub use image::{ImagePreprocessing, Interpolation};
pub use log_mel::LogMel;
