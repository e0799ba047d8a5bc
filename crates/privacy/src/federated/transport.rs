//! [`Transport`]: how a server reaches its clients.

use std::sync::Arc;

use dendra_tensor::Result;

/// A request for a client, with its index.
pub type Request = (usize, Arc<[u8]>);

/// Carries the requests of a [`Federation`](super::Federation) to its clients, and
/// their answers back.
/// Each client has a [`Participant`](super::Participant), which answers the
/// requests.
pub trait Transport {
    /// Sends the clients their requests, all at the same time, and waits for the
    /// answers. Returns a result for each request, in their order: an error for
    /// a client that failed, did not answer in time, or sent more than `longest`
    /// bytes.
    fn exchange(&mut self, requests: Vec<Request>, longest: usize) -> Vec<Result<Vec<u8>>>;
}
