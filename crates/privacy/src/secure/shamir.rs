//! Shamir's secret sharing: a secret is the value at 0 of a random polynomial,
//! and a share its value elsewhere. As many shares as the polynomial has
//! coefficients restore it; fewer tell nothing.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;

use super::Secret;
use super::field::{inverse, multiply};

/// The most holders of shares, one for each point other than 0.
pub(super) const MOST: usize = u16::MAX as usize;

/// The shares of the holders, whose points are 1, 2, … ([`MOST`] at most).
/// `threshold` of them (at least 1) restore the secret.
pub(super) fn split(
    secret: &Secret,
    threshold: usize,
    holders: usize,
    random: &mut ChaCha20Rng,
) -> Vec<Secret> {
    // From the highest coefficient to the secret.
    let mut coefficients = vec![[0; 32]; threshold - 1];
    coefficients.iter_mut().for_each(|coefficient| random.fill_bytes(coefficient));
    coefficients.push(*secret);
    let share = |holder: usize| {
        let mut value = [0; 32];
        for coefficient in &coefficients {
            value = scaled(&value, (holder + 1) as u16, coefficient);
        }
        value
    };
    (0..holders).map(share).collect()
}

/// The secret, from as many shares as the threshold, each with its holder's
/// point; all points differ and none is 0.
pub(super) fn join(shares: &[(u16, Secret)]) -> Secret {
    let mut secret = [0; 32];
    for (point, share) in shares {
        // The polynomial that is 1 here and 0 at the other points, at 0.
        let (mut above, mut below) = (1, 1);
        for (other, _) in shares.iter().filter(|(other, _)| other != point) {
            above = multiply(above, *other);
            below = multiply(below, other ^ point);
        }
        secret = scaled(share, multiply(above, inverse(below)), &secret);
    }
    secret
}

/// a·factor + b, for each of the 16 elements.
fn scaled(a: &Secret, factor: u16, b: &Secret) -> Secret {
    let mut result = [0; 32];
    for (index, out) in result.chunks_exact_mut(2).enumerate() {
        let element = |of: &Secret| u16::from_le_bytes([of[2 * index], of[2 * index + 1]]);
        let value = multiply(element(a), factor) ^ element(b);
        out.copy_from_slice(&value.to_le_bytes());
    }
    result
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn random() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    #[test]
    fn any_shares_of_the_threshold_restore_the_secret() {
        let secret: Secret = std::array::from_fn(|i| 200 - i as u8);
        for (threshold, holders) in [(1, 1), (1, 3), (2, 2), (3, 5), (7, 10)] {
            let shares = split(&secret, threshold, holders, &mut random());
            let held: Vec<(u16, Secret)> =
                shares.iter().enumerate().map(|(i, share)| (i as u16 + 1, *share)).collect();
            for start in 0..=holders - threshold {
                assert_eq!(join(&held[start..start + threshold]), secret);
            }
            let mut last = held[holders - threshold..].to_vec();
            last.reverse();
            assert_eq!(join(&last), secret);
        }
        // The last point, whose holders nobody counts by hand.
        let shares = split(&secret, 2, MOST, &mut random());
        assert_eq!(join(&[(u16::MAX, shares[MOST - 1]), (1, shares[0])]), secret);
    }

    /// One share too few fits to any secret: with another secret and the same
    /// share, there is a polynomial too.
    #[test]
    fn fewer_shares_tell_nothing() {
        let (one, other) = ([7; 32], [9; 32]);
        let share = split(&one, 2, 2, &mut random())[0];
        // The point 2 of the line through (0, other) and (1, share).
        let slope = scaled(&share, 1, &other);
        let forged = scaled(&slope, 2, &other);
        assert_eq!(join(&[(1, share), (2, forged)]), other);
        let too_few = split(&one, 3, 3, &mut random());
        assert_ne!(join(&[(1, too_few[0]), (2, too_few[1])]), one);
    }
}
