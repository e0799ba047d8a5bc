//! Recurrent layers: LSTM, GRU and the plain RNN.

mod cell;
mod last_step;
mod projection;
mod sequence;

pub use cell::*;
pub use last_step::*;
pub use sequence::*;
