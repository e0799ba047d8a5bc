//! Recurrent layers: LSTM, GRU and the plain one.

mod cell;
mod last_step;
mod projection;
mod sequence;

pub use cell::*;
pub use last_step::*;
pub use sequence::*;
