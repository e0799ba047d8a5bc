//! Keys of two clients, masks and sealed shares.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use dendra_tensor::{Error, Result};
use hmac_sha256::{HMAC, Hash};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{NAME, Sealed, Secret};

/// The bytes of two shares and a tag.
pub(super) const SEALED: usize = 2 * 32 + TAG;
const TAG: usize = 16;

/// The public keys of a client in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advert {
    /// For the shares that are sent to it.
    pub(crate) sealing: [u8; 32],
    /// For the masks.
    pub(crate) masking: [u8; 32],
}

/// What a key of two clients is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Mask,
    /// Shares that the first client sends to the second.
    Seal,
}

pub(super) fn secret(random: &mut ChaCha20Rng) -> StaticSecret {
    StaticSecret::from(seed(random))
}

pub(super) fn seed(random: &mut ChaCha20Rng) -> Secret {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    bytes
}

pub(super) fn public(secret: &StaticSecret) -> [u8; 32] {
    PublicKey::from(secret).to_bytes()
}

/// What shows later that a seed is the one that was divided.
pub(super) fn commitment(seed: &Secret) -> [u8; 32] {
    Hash::hash(seed)
}

/// The key of two clients for one purpose in one round. Both compute the same:
/// one from its secret and the other's public key, the other the other way round.
///
/// # Errors
///
/// When the public key belongs to no secret, so that everybody knows the result.
pub(super) fn agreed(
    purpose: Purpose,
    own: &StaticSecret,
    other: &[u8; 32],
    (round, from, to): (u64, u32, u32),
) -> Result<Secret> {
    let shared = own.diffie_hellman(&PublicKey::from(*other));
    if !shared.was_contributory() {
        return Err(Error::data(NAME, "a public key is of low order"));
    }
    let purpose: &[u8] = match purpose {
        Purpose::Mask => b"dendra secure aggregation 1: mask",
        Purpose::Seal => b"dendra secure aggregation 1: seal",
    };
    let mut hash = HMAC::new(shared.as_bytes());
    hash.update(purpose);
    hash.update(round.to_le_bytes());
    hash.update(from.to_le_bytes());
    hash.update(to.to_le_bytes());
    Ok(hash.finalize())
}

/// Adds a mask to a vector, or removes it: the key stream of ChaCha20.
pub(super) fn add_mask(values: &mut [u64], key: Secret, negative: bool) {
    let mut stream = ChaCha20Rng::from_seed(key);
    for value in values {
        let mask = stream.next_u64();
        *value = match negative {
            true => value.wrapping_sub(mask),
            false => value.wrapping_add(mask),
        };
    }
}

/// The two shares, encrypted. A key seals only once.
pub(super) fn seal(key: &Secret, shares: [&Secret; 2]) -> Sealed {
    let mut sealed = [0; SEALED];
    let (text, tag) = sealed.split_at_mut(SEALED - TAG);
    text[..32].copy_from_slice(shares[0]);
    text[32..].copy_from_slice(shares[1]);
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    let made = cipher.encrypt_inout_detached(&Nonce::default(), &[], text.into());
    tag.copy_from_slice(&made.expect("64 bytes are not too many"));
    sealed
}

/// The two shares, unless they were sealed by another key or changed.
pub(super) fn open(key: &Secret, mut sealed: Sealed) -> Option<[Secret; 2]> {
    let (text, tag) = sealed.split_at_mut(SEALED - TAG);
    let tag = Tag::from(<[u8; TAG]>::try_from(&*tag).ok()?);
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    cipher.decrypt_inout_detached(&Nonce::default(), &[], (&mut *text).into(), &tag).ok()?;
    Some([text[..32].try_into().ok()?, text[32..].try_into().ok()?])
}
