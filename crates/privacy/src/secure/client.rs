//! [`Client`]: what a client does to hide its vector.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dendra_tensor::{Error, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use x25519_dalek::StaticSecret;

use super::keys::{self, Advert, Purpose};
use super::{Letters, NAME, Sealed, Secret, shamir};

/// A client in one round. Its keys and seeds are new in each.
pub(crate) struct Client {
    id: u32,
    round: u64,
    random: ChaCha20Rng,
    sealing: StaticSecret,
    masking: StaticSecret,
    stage: Stage,
}

/// How far the protocol is, with what the next exchange needs.
enum Stage {
    New,
    Shared {
        adverts: BTreeMap<u32, Advert>,
        threshold: usize,
        /// The seed of the client's own mask.
        seed: Secret,
        /// Its own shares of its secrets.
        own: [Secret; 2],
    },
    Masked {
        threshold: usize,
        /// The shares of the key and of the seed of each client that divided
        /// its own.
        shares: BTreeMap<u32, [Secret; 2]>,
    },
    Done,
}

impl fmt::Debug for Client {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Client");
        debug.field("id", &self.id).field("round", &self.round).finish_non_exhaustive()
    }
}

fn refuse<R>(message: impl Into<String>) -> Result<R> {
    Err(Error::data(NAME, message))
}

impl Client {
    /// # Errors
    ///
    /// When the operating system has no random numbers.
    pub(crate) fn new(id: u32, round: u64) -> Result<Self> {
        let random = ChaCha20Rng::try_from_os_rng();
        let mut random = random.map_err(|error| {
            Error::argument(NAME, format!("the operating system gives no random seed: {error}"))
        })?;
        let (sealing, masking) = (keys::secret(&mut random), keys::secret(&mut random));
        Ok(Self { id, round, random, sealing, masking, stage: Stage::New })
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// The public keys.
    pub(crate) fn advert(&self) -> Advert {
        let (sealing, masking) = (keys::public(&self.sealing), keys::public(&self.masking));
        Advert { sealing, masking }
    }

    /// Divides the secrets among all clients with these keys, itself included.
    /// Returns what shows later that the seed is right, and the sealed shares
    /// for the others.
    ///
    /// # Errors
    ///
    /// When a minority could restore the secrets, or the keys are not those of
    /// different clients.
    pub(crate) fn share(
        &mut self,
        adverts: &[(u32, Advert)],
        threshold: usize,
    ) -> Result<(Secret, Letters)> {
        let Stage::New = self.stage else {
            return refuse("the shares of this round were sent already");
        };
        let clients = adverts.len();
        if threshold > clients || 2 * threshold <= clients || threshold < 2 {
            return refuse(format!(
                "expected a threshold of more than half of {clients} clients and at least 2, got \
                 {threshold}"
            ));
        }
        if clients > shamir::MOST {
            return refuse(format!("expected at most {} clients, got {clients}", shamir::MOST));
        }
        let ascending = adverts.is_sorted_by(|a, b| a.0 < b.0);
        let keys = adverts.iter().flat_map(|(_, advert)| [advert.sealing, advert.masking]);
        if !ascending || keys.collect::<BTreeSet<_>>().len() != 2 * clients {
            return refuse("two clients have the same index or the same key");
        }
        let all: BTreeMap<u32, Advert> = adverts.iter().copied().collect();
        if all.get(&self.id) != Some(&self.advert()) {
            return refuse("the own keys are not in the list");
        }
        let (seed, random) = (keys::seed(&mut self.random), &mut self.random);
        let key = shamir::split(&self.masking.to_bytes(), threshold, clients, random);
        let seeds = shamir::split(&seed, threshold, clients, random);
        let mut sealed = Vec::with_capacity(clients - 1);
        let mut own = [[0; 32]; 2];
        for ((id, advert), (key, seed)) in adverts.iter().zip(key.iter().zip(&seeds)) {
            if *id == self.id {
                own = [*key, *seed];
                continue;
            }
            let between = (self.round, self.id, *id);
            let agreed = keys::agreed(Purpose::Seal, &self.sealing, &advert.sealing, between)?;
            sealed.push((*id, keys::seal(&agreed, [key, seed])));
        }
        self.stage = Stage::Shared { adverts: all, threshold, seed, own };
        Ok((keys::commitment(&seed), sealed))
    }

    /// Hides the vector behind masks. `sealed` has the shares that the others
    /// sent to this client.
    ///
    /// # Errors
    ///
    /// When too few clients are left, or shares are not from those who are said
    /// to have sent them. The client must not go on then.
    pub(crate) fn mask(&mut self, sealed: &[(u32, Sealed)], values: &mut [u64]) -> Result<()> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let Stage::Shared { adverts, threshold, seed, own } = stage else {
            return refuse("the vector of this round was sent already, or the shares were not");
        };
        if sealed.len() + 1 < threshold {
            let left = sealed.len() + 1;
            return refuse(format!("expected {threshold} clients at least, got {left}"));
        }
        let mut shares = BTreeMap::from([(self.id, own)]);
        for (from, sealed) in sealed {
            let Some(advert) = adverts.get(from).filter(|_| !shares.contains_key(from)) else {
                return refuse(format!("client {from} is not in the list, or twice"));
            };
            let between = (self.round, *from, self.id);
            let agreed = keys::agreed(Purpose::Seal, &self.sealing, &advert.sealing, between)?;
            let Some(opened) = keys::open(&agreed, *sealed) else {
                return refuse(format!("the shares of client {from} cannot be decrypted"));
            };
            shares.insert(*from, opened);
            let pair = (self.round, self.id.min(*from), self.id.max(*from));
            let mask = keys::agreed(Purpose::Mask, &self.masking, &advert.masking, pair)?;
            keys::add_mask(values, mask, self.id > *from);
        }
        keys::add_mask(values, seed, false);
        self.stage = Stage::Masked { threshold, shares };
        Ok(())
    }

    /// Reveals a share of one secret of each client: of the seed of those whose
    /// vectors arrived, and of the key of the others. It does so once.
    ///
    /// # Errors
    ///
    /// When fewer vectors than the threshold arrived, or others than those of
    /// the clients of the round, in ascending order.
    pub(crate) fn unmask(&mut self, arrived: &[u32]) -> Result<Vec<(u32, Secret)>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let Stage::Masked { threshold, shares } = stage else {
            return refuse("no vector was sent in this round, or shares were revealed already");
        };
        let known = arrived.iter().all(|id| shares.contains_key(id));
        if arrived.len() < threshold || !known || !arrived.is_sorted_by(|a, b| a < b) {
            return refuse(format!(
                "expected at least {threshold} clients of the round, in ascending order, got \
                 {arrived:?}"
            ));
        }
        let reveal = |(id, [key, seed]): (u32, [Secret; 2])| {
            (id, if arrived.binary_search(&id).is_ok() { seed } else { key })
        };
        Ok(shares.into_iter().map(reveal).collect())
    }
}
