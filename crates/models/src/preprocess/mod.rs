//! Preprocessing of images and sound.

mod image;
mod log_mel;
mod resample;

pub use image::{ImagePreprocessing, Interpolation};
pub use log_mel::LogMel;
