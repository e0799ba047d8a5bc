//! [`Server`]: what the server does to learn the sum alone.

use std::collections::BTreeMap;

use dendra_tensor::{Error, Result};
use x25519_dalek::StaticSecret;

use super::keys::{self, Advert, Purpose};
use super::{Letters, NAME, Sealed, Secret, shamir};

/// The server in one round. After each exchange it knows who is left.
#[derive(Debug)]
pub(crate) struct Server {
    round: u64,
    threshold: usize,
    adverts: Vec<(u32, Advert)>,
    /// What shows that a seed is right, of the clients that divided secrets.
    commitments: BTreeMap<u32, [u8; 32]>,
    /// The clients whose vectors arrived.
    arrived: Vec<u32>,
    sum: Vec<u64>,
}

/// The shares that a client reveals, each with the client whose secret it is.
pub(crate) type Reveal = (u32, Vec<(u32, Secret)>);

/// What a client sends in the second exchange, with what shows that its seed is
/// right.
pub(crate) type Shares = (u32, [u8; 32], Letters);

impl Server {
    /// A round of the clients with these keys, in ascending order. More than
    /// `share` of them must stay until the end.
    ///
    /// # Errors
    ///
    /// When fewer than two clients sent keys.
    pub(crate) fn new(round: u64, adverts: Vec<(u32, Advert)>, share: f64) -> Result<Self> {
        let clients = adverts.len();
        let threshold = (share * clients as f64).floor() as usize + 1;
        let threshold = threshold.clamp(2.max(clients / 2 + 1), clients.max(2));
        let server = Self {
            round,
            threshold,
            adverts,
            commitments: BTreeMap::new(),
            arrived: Vec::new(),
            sum: Vec::new(),
        };
        server.enough(clients).map(|()| server)
    }

    /// The number of clients that must stay.
    pub(crate) fn threshold(&self) -> usize {
        self.threshold
    }

    pub(crate) fn adverts(&self) -> &[(u32, Advert)] {
        &self.adverts
    }

    pub(crate) fn arrived(&self) -> &[u32] {
        &self.arrived
    }

    fn enough(&self, left: usize) -> Result<()> {
        if left >= self.threshold {
            return Ok(());
        }
        let message = format!("{left} clients are left, {} are needed", self.threshold);
        Err(Error::data(NAME, message))
    }

    /// Passes the sealed shares on: for each client that divided its secrets,
    /// what the others sent to it.
    ///
    /// # Errors
    ///
    /// When too few clients are left.
    pub(crate) fn pass_on(&mut self, shares: Vec<Shares>) -> Result<BTreeMap<u32, Letters>> {
        self.enough(shares.len())?;
        self.commitments = shares.iter().map(|(id, commitment, _)| (*id, *commitment)).collect();
        let mut inboxes: BTreeMap<u32, Letters> =
            self.commitments.keys().map(|id| (*id, Vec::new())).collect();
        for (from, _, sealed) in shares {
            for (to, sealed) in sealed {
                if let Some(inbox) = inboxes.get_mut(&to) {
                    inbox.push((from, sealed));
                }
            }
        }
        Ok(inboxes)
    }

    /// Whether this is what a client must send in the second exchange: sealed
    /// shares for each other client.
    pub(crate) fn is_complete(&self, from: u32, sealed: &[(u32, Sealed)]) -> bool {
        let others = self.adverts.iter().map(|(id, _)| *id).filter(|id| *id != from);
        others.eq(sealed.iter().map(|(id, _)| *id))
    }

    /// Adds the masked vectors, all of the same length.
    ///
    /// # Errors
    ///
    /// When too few arrived.
    pub(crate) fn add(&mut self, vectors: Vec<(u32, Vec<u64>)>) -> Result<()> {
        self.enough(vectors.len())?;
        self.arrived = vectors.iter().map(|(id, _)| *id).collect();
        self.sum = vec![0; vectors.first().map_or(0, |(_, vector)| vector.len())];
        for (_, vector) in vectors {
            let both = self.sum.iter_mut().zip(vector);
            both.for_each(|(sum, value)| *sum = sum.wrapping_add(value));
        }
        Ok(())
    }

    /// Whether these are shares of one secret of each client that divided some.
    pub(crate) fn is_revealing(&self, shares: &[(u32, Secret)]) -> bool {
        self.commitments.keys().eq(shares.iter().map(|(id, _)| id))
    }

    /// The sum of the vectors that arrived, without masks.
    ///
    /// # Errors
    ///
    /// When too few clients reveal shares, or shares are wrong.
    pub(crate) fn unmask(mut self, revealed: &[Reveal]) -> Result<Vec<u64>> {
        self.enough(revealed.len())?;
        let point = |id: u32| self.adverts.iter().position(|(other, _)| *other == id);
        for (index, (&owner, commitment)) in self.commitments.iter().enumerate() {
            let shares = revealed
                .iter()
                .take(self.threshold)
                .filter_map(|(holder, shares)| Some((point(*holder)? as u16 + 1, shares[index].1)));
            let secret = shamir::join(&shares.collect::<Vec<_>>());
            let wrong = || {
                let message = format!("the shares of the secrets of client {owner} are wrong");
                Err(Error::data(NAME, message))
            };
            if self.arrived.binary_search(&owner).is_ok() {
                if keys::commitment(&secret) != *commitment {
                    return wrong();
                }
                keys::add_mask(&mut self.sum, secret, true);
                continue;
            }
            let secret = StaticSecret::from(secret);
            let advert = |id: u32| point(id).map(|index| self.adverts[index].1.masking);
            if advert(owner) != Some(keys::public(&secret)) {
                return wrong();
            }
            for &id in &self.arrived {
                let Some(other) = advert(id) else { return wrong() };
                let pair = (self.round, id.min(owner), id.max(owner));
                let mask = keys::agreed(Purpose::Mask, &secret, &other, pair)?;
                // The client added it if its index is the lower one.
                keys::add_mask(&mut self.sum, mask, id < owner);
            }
        }
        Ok(self.sum)
    }
}
