//! The instruction sets for which there are kernels.

use std::env;
use std::sync::OnceLock;

/// An instruction set with a kernel for products of bytes.
///
/// All give the same bits. The environment variable `DENDRA_SIMD` limits the
/// choice as it does for floats: `avx512` allows all, `avx2` all but VNNI, and
/// `portable` only [`Portable`](Self::Portable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Plain loops.
    Portable,
    /// 64-bit ARM.
    Neon,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 and its instructions for products of bytes.
    Vnni,
}

impl Level {
    const ALL: [Self; 4] = [Self::Portable, Self::Neon, Self::Avx2, Self::Vnni];

    /// The fastest one of this CPU that `DENDRA_SIMD` allows. It is determined
    /// once.
    pub fn fastest() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let limit = env::var("DENDRA_SIMD").unwrap_or_default();
            let mut from_fastest = Self::available().into_iter().rev();
            from_fastest.find(|level| level.is_within(limit.trim())).unwrap_or(Self::Portable)
        })
    }

    /// All that this CPU has.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.is_available()).collect()
    }

    fn is_within(self, limit: &str) -> bool {
        match limit {
            "portable" => self == Self::Portable,
            "avx2" => self != Self::Vnni,
            _ => true,
        }
    }

    /// Whether this CPU has the instructions.
    pub(super) fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Vnni => false,
        }
    }

    /// The most rows of a tile.
    pub(super) const fn rows(self) -> usize {
        match self {
            Self::Portable | Self::Neon => 4,
            Self::Avx2 => 6,
            Self::Vnni => 8,
        }
    }

    /// The columns of a tile, and so of a panel of weights.
    pub(super) const fn columns(self) -> usize {
        match self {
            Self::Vnni => 32,
            _ => 16,
        }
    }

    /// How many products one lane of an instruction adds, which lie side by side
    /// in a panel.
    pub(super) const fn group(self) -> usize {
        match self {
            Self::Portable => 1,
            Self::Neon => 2,
            Self::Avx2 | Self::Vnni => 4,
        }
    }
}

/// The most sums of a tile of any level.
pub(super) const MAX_TILE: usize = 8 * 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_limits_the_level() {
        let within = |limit| Level::ALL.map(|level| level.is_within(limit));
        assert_eq!(within("portable"), [true, false, false, false]);
        assert_eq!(within("avx2"), [true, true, true, false]);
        assert_eq!(within("avx512"), [true; 4]);
        assert!(Level::available().contains(&Level::fastest()));
        let tiles = Level::ALL.map(|level| level.rows() * level.columns());
        assert!(tiles.into_iter().all(|sums| sums <= MAX_TILE));
    }
}
