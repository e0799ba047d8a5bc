//! Federated learning of processes that talk over HTTP.
//!
//! The server is a [`Transport`](super::Transport): clients fetch its requests, so
//! that only the server needs an address. A client that disconnects, takes too
//! long or sends a malformed answer is left out of the round.
//!
//! ```no_run
//! # use dendra_nn::Sequential;
//! # use dendra_optim::SGD;
//! # use dendra_privacy::federated::{Federation, Participant};
//! # use dendra_tensor::{Result, Rng};
//! use dendra_privacy::federated::http::{Client, Server, Settings};
//!
//! # fn model() -> Result<Sequential> { Sequential::input([2]).dense(2).build(&mut Rng::seed(0)) }
//! # fn serve() -> Result<()> {
//! // The server's process:
//! let mut server = Server::start(Settings { clients: 100, ..Settings::default() })?;
//! let mut federation = Federation::new(model()?, SGD::new(1.0)).fraction(0.1);
//! let round = federation.round_over(100, &mut server)?;
//! # Ok(())
//! # }
//! # fn join() -> Result<()> {
//!
//! // A process with 25 of the clients:
//! let mut participant = Participant::new(model()?, |task, model| {
//!     // Train the model on the data of the client `task.client`.
//! #   let _ = (task, model);
//!     Ok(600)
//! });
//! Client::new("http://127.0.0.1:7070").serve(0..25, &mut participant)?;
//! # Ok(())
//! # }
//! # let _ = (serve, join);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```
//!
//! The connection is not encrypted, and a token only keeps others out who
//! cannot listen. Across machines, put it behind TLS.

mod client;
mod desk;
mod refusal;
mod server;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use refusal::Refusal;
pub use server::{Server, Settings};

/// The headers that go with a request for a client.
const CLIENT: &str = "dendra-client";
const EXCHANGE: &str = "dendra-exchange";
