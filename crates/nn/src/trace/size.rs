//! Numbers that can grow with the batch.

use std::fmt;

/// A fixed number, or a multiple of the number of samples N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A number that is the same for any batch.
    Fixed(i64),
    /// A number per sample.
    PerSample(i64),
}

impl Size {
    /// Returns the size that has these values for two batches. Returns `None` if it
    /// is neither constant nor proportional to the number of samples.
    pub(super) fn between([a, b]: [i64; 2], [samples_a, samples_b]: [usize; 2]) -> Option<Self> {
        let [n, m] = [samples_a, samples_b].map(|samples| samples as i64);
        if a == b {
            return Some(Self::Fixed(a));
        }
        (a % n == 0 && a / n * m == b).then(|| Self::PerSample(a / n))
    }

    /// Returns the number for this many samples.
    pub fn of(self, samples: usize) -> i64 {
        match self {
            Self::Fixed(number) => number,
            Self::PerSample(number) => number.saturating_mul(samples as i64),
        }
    }
}

/// Formats a size as `7`, `N` or `N·12`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(number) => number.fmt(f),
            Self::PerSample(1) => f.write_str("N"),
            Self::PerSample(number) => write!(f, "N·{number}"),
        }
    }
}

/// Formats a shape or another list of numbers, as `[N, 64]`.
pub(super) fn list(sizes: &[Size]) -> String {
    let sizes: Vec<String> = sizes.iter().map(Size::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_or_grow_in_proportion() {
        let between = |a, b| Size::between([a, b], [2, 3]);
        assert_eq!(between(5, 5), Some(Size::Fixed(5)));
        assert_eq!(between(2, 3), Some(Size::PerSample(1)));
        assert_eq!(between(-8, -12), Some(Size::PerSample(-4)));
        // N², N + 1 and 7 − N are neither constant nor proportional.
        assert_eq!([between(4, 9), between(3, 4), between(5, 4)], [None; 3]);
        let sizes = [Size::PerSample(1), Size::PerSample(6), Size::Fixed(4)];
        assert_eq!(list(&sizes), "[N, N·6, 4]");
        assert_eq!(sizes.map(|size| size.of(5)), [5, 30, 4]);
    }
}
