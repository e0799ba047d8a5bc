//! Recurrent layers: LSTM, GRU and the plain one.

mod cell;
mod projection;
mod sequence;

pub use cell::{
    CellSettings, GRUCell, LSTMCell, RNNCell, RecurrentCell, RecurrentNonlinearity, RecurrentState,
};
pub use sequence::{GRU, LSTM, RNN, Recurrent, RecurrentSettings, pad_sequence};
