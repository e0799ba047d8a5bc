//! Types and checks that the layers on sequences, images and volumes share.

use std::fmt;

use dendra_tensor::{Error, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::settings::MAX_SAMPLE;

/// A size along each of `D` axes: `[length]` of a sequence, `[height, width]`
/// of an image, `[depth, height, width]` of a volume.
///
/// A function that takes sizes also takes one number for all axes: `3` for `[3,
/// 3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct Sizes<const D: usize>(pub [usize; D]);

/// The [`Sizes`] of an image, `[height, width]`.
pub type Pair = Sizes<2>;

impl<const D: usize> From<usize> for Sizes<D> {
    fn from(all: usize) -> Self {
        Self([all; D])
    }
}

impl<const D: usize> From<[usize; D]> for Sizes<D> {
    fn from(sizes: [usize; D]) -> Self {
        Self(sizes)
    }
}

impl From<(usize, usize)> for Sizes<2> {
    fn from((height, width): (usize, usize)) -> Self {
        Self([height, width])
    }
}

impl From<(usize, usize, usize)> for Sizes<3> {
    fn from((depth, height, width): (usize, usize, usize)) -> Self {
        Self([depth, height, width])
    }
}

impl<const D: usize> From<Sizes<D>> for Vec<usize> {
    fn from(Sizes(sizes): Sizes<D>) -> Self {
        sizes.into()
    }
}

impl<const D: usize> TryFrom<Vec<usize>> for Sizes<D> {
    type Error = String;

    fn try_from(sizes: Vec<usize>) -> std::result::Result<Self, String> {
        let refuse = |sizes| format!("expected {D} sizes, got {sizes:?}");
        sizes.try_into().map(Self).map_err(refuse)
    }
}

/// `3×3`.
impl<const D: usize> fmt::Display for Sizes<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|size| size.to_string()).join("×"))
    }
}

impl<const D: usize> Sizes<D> {
    /// Writes a setting where it is not the default: `, stride 2`.
    pub(super) fn describe(
        self,
        name: &str,
        default: impl Into<Self>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        match self.0.first() {
            _ if self == default.into() => Ok(()),
            Some(&all) if self == all.into() => write!(f, ", {name} {all}"),
            _ => write!(f, ", {name} {self}"),
        }
    }

    /// Returns an error if a size is 0.
    pub(super) fn at_least_one(self, kind: &str, name: &str) -> Result<()> {
        if self.0.contains(&0) {
            let message = format!("{name} must be at least 1, got {self}");
            return Err(Error::argument(kind, message));
        }
        Ok(())
    }
}

/// The axes after the channels, as error messages name them.
pub(super) fn axes<const D: usize>() -> &'static str {
    ["L", "H, W", "D, H, W"][D.clamp(1, 3) - 1]
}

/// Whether a shape is a batch `[N, C, …]` or a sample `[C, …]` with this many
/// channels and `D` axes after them.
pub(super) fn has_channels<const D: usize>(shape: &Shape, channels: usize) -> bool {
    let rank = shape.len();
    (rank == D + 1 || rank == D + 2) && shape[rank - D - 1] == channels
}

/// Returns an error unless a sample is `[C, …]` with `D` axes after the
/// channels.
pub(super) fn check_sample<const D: usize>(kind: &str, input: &Shape) -> Result<()> {
    if input.len() == D + 1 {
        return Ok(());
    }
    Err(Error::shape(kind, format!("expected [C, {}], got {input}", axes::<D>())))
}

/// Returns an error if a padded input would not fit into memory.
pub(super) fn check_padded<const D: usize>(
    kind: &str,
    sizes: &[usize],
    Sizes(padding): Sizes<D>,
) -> Result<()> {
    let padded = |(size, padding): (&usize, usize)| padding.saturating_mul(2).saturating_add(*size);
    let padded: Shape = sizes.iter().zip(padding).map(padded).collect();
    if padded.checked_elements().is_none_or(|values| values > MAX_SAMPLE) {
        let message = format!("a padded input of {padded} has more than {MAX_SAMPLE} values");
        return Err(Error::shape(kind, message));
    }
    Ok(())
}

/// The output shape of one sample, `[C, …]`, from a shape rule for batches. The
/// rule includes the padding, so the padded size is checked first.
pub(super) fn output_of<const D: usize>(
    kind: &str,
    input: &Shape,
    padding: Sizes<D>,
    rule: impl FnOnce(&Shape) -> Result<Shape>,
) -> Result<Shape> {
    check_sample::<D>(kind, input)?;
    check_padded(kind, &input[1..], padding)?;
    let batch: Shape = [1].into_iter().chain(input.iter().copied()).collect();
    Ok(rule(&batch)?[1..].into())
}
