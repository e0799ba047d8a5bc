//! What layers on images share.

use std::fmt;

use dendra_tensor::ops::Op;
use dendra_tensor::{Error, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::sequential::MAX_SAMPLE;

/// A size along the rows and along the columns of an image, `[height, width]`.
///
/// Wherever one is asked for, a number stands for both: `3` for `[3, 3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pair(pub [usize; 2]);

impl From<usize> for Pair {
    fn from(both: usize) -> Self {
        Self([both, both])
    }
}

impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Self {
        Self(pair)
    }
}

impl From<(usize, usize)> for Pair {
    fn from((height, width): (usize, usize)) -> Self {
        Self([height, width])
    }
}

/// `3×3`.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.0;
        write!(f, "{height}×{width}")
    }
}

impl Pair {
    /// Writes a setting where it is not the default: `, stride 2`.
    pub(super) fn describe(
        self,
        name: &str,
        default: impl Into<Self>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        match self.0 {
            _ if self == default.into() => Ok(()),
            [height, width] if height == width => write!(f, ", {name} {height}"),
            _ => write!(f, ", {name} {self}"),
        }
    }

    /// Refuses 0.
    pub(super) fn at_least_one(self, kind: &str, name: &str) -> Result<()> {
        if self.0.contains(&0) {
            let message = format!("{name} must be at least 1, got {self}");
            return Err(Error::argument(kind, message));
        }
        Ok(())
    }
}

/// The extents of one image, `[C, H, W]`.
pub(super) fn image(kind: &str, input: &Shape) -> Result<[usize; 3]> {
    <[usize; 3]>::try_from(&input[..])
        .map_err(|_| Error::shape(kind, format!("expected [C, H, W], got {input}")))
}

/// What an operation makes of one image, given as `[C, H, W]`, by its shape
/// rule. The padding is part of the operation; it is here to be doubted.
pub(super) fn output_of(
    operation: &impl Op<f32>,
    [channels, height, width]: [usize; 3],
    weight: Option<&Shape>,
    Pair(padding): Pair,
) -> Result<Shape> {
    let padded = |extent: usize, padding: usize| padding.saturating_mul(2).saturating_add(extent);
    let plane = Shape::from([padded(height, padding[0]), padded(width, padding[1])]);
    if plane.checked_elements().is_none_or(|values| values > MAX_SAMPLE) {
        let message = format!("a padded image of {plane} has more than {MAX_SAMPLE} values");
        return Err(Error::shape("image", message));
    }
    let batch = Shape::from([1, channels, height, width]);
    let inputs: Vec<&Shape> = [&batch].into_iter().chain(weight).collect();
    Ok(operation.output_shape(&inputs)?[1..].into())
}
