//! Recurrent layers: LSTM, GRU and the plain one.

mod cell;
mod last_step;
mod projection;
mod sequence;

pub use cell::{
    CellSettings, GRUCell, LSTMCell, RNNCell, RecurrentCell, RecurrentNonlinearity, RecurrentState,
};
pub use last_step::LastStep;
pub use sequence::{GRU, LSTM, RNN, Recurrent, RecurrentSettings, pad_sequence};
