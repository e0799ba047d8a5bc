//! Secure aggregation: a server learns the sum of the clients' vectors, and
//! nothing else about them.
//!
//! Bonawitz et al., "Practical secure aggregation for privacy-preserving machine
//! learning", 2017, against parties that follow the protocol and are curious.
//! Vectors are of integers modulo 2⁶⁴. A round has four exchanges:
//!
//! 1. Each client sends two new public keys ([`Client::advert`]).
//! 2. Each client divides two secrets among all, so that a threshold of them can
//!    restore either: the key of its masks, and the seed of a mask of its own
//!    ([`Client::share`]). The shares are encrypted; the server passes them on.
//! 3. Each client sends its vector with its own mask and a mask for each other
//!    client ([`Client::mask`]). The masks of two clients are negatives of each
//!    other.
//! 4. Each client reveals, for every other one, a share of one secret
//!    ([`Client::unmask`]): of the seed if its vector arrived, otherwise of the
//!    key. The server removes the masks that are left ([`Server::unmask`]).

mod client;
mod field;
mod keys;
mod server;
mod shamir;
#[cfg(test)]
mod tests;

pub(crate) use client::Client;
pub(crate) use keys::Advert;
pub(crate) use server::{Reveal, Server};

/// A secret, a key, or a share of one.
pub(crate) type Secret = [u8; 32];

/// The two shares for another client, encrypted, with the tag.
pub(crate) type Sealed = [u8; keys::SEALED];

/// Sealed shares, each with the client that sent or gets it.
pub(crate) type Letters = Vec<(u32, Sealed)>;

const NAME: &str = "secure aggregation";
