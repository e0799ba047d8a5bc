//! The line search for a step length that satisfies the strong Wolfe conditions: a
//! sufficient decrease of the loss and of its slope.

use dendra_tensor::{Float, Result};

use super::{dot, largest};

/// The minimum decrease of the loss, relative to the decrease predicted by the
/// slope.
const SUFFICIENT_FALL: f64 = 1e-4;
/// The maximum slope at the end, relative to that at the start.
const CURVATURE: f64 = 0.9;
const MAX_EVALUATIONS: usize = 25;

/// A loss and its gradient.
#[derive(Clone, Debug)]
pub(super) struct Point<T> {
    pub(super) loss: f64,
    pub(super) gradient: Vec<T>,
}

impl<T: Float> Point<T> {
    pub(super) fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.gradient.iter().all(|g| g.is_finite())
    }

    /// Returns the largest absolute value in the gradient.
    pub(super) fn largest(&self) -> f64 {
        largest(&self.gradient)
    }
}

/// The result of a search.
pub(super) struct Found<T> {
    pub(super) length: f64,
    pub(super) point: Point<T>,
    pub(super) evaluations: usize,
}

/// An evaluated step length.
#[derive(Clone)]
struct Trial<T> {
    length: f64,
    point: Point<T>,
    /// The derivative of the loss along the direction.
    slope: f64,
}

/// Returns the minimum of the cubic through two trials, clamped to the bounds. If the
/// cubic has no minimum, returns the middle of the bounds.
fn interpolate<T>(a: &Trial<T>, b: &Trial<T>, [low, high]: [f64; 2]) -> f64 {
    let (left, right) = if a.length <= b.length { (a, b) } else { (b, a) };
    let chord = (left.point.loss - right.point.loss) / (left.length - right.length);
    let d1 = left.slope + right.slope - 3.0 * chord;
    let square = d1 * d1 - left.slope * right.slope;
    let d2 = square.sqrt();
    let share = (right.slope + d2 - d1) / (right.slope - left.slope + 2.0 * d2);
    let minimum = right.length - (right.length - left.length) * share;
    if square >= 0.0 && minimum.is_finite() {
        minimum.max(low).min(high)
    } else {
        (low + high) / 2.0
    }
}

/// Performs the search, starting with `length` (algorithms 3.5 and 3.6 of Nocedal and
/// Wright).
pub(super) fn strong_wolfe<T: Float>(
    at: &mut impl FnMut(f64) -> Result<Point<T>>,
    start: &Point<T>,
    direction: &[T],
    length: f64,
    tolerance_change: f64,
) -> Result<Found<T>> {
    let mut evaluations = 0;
    let mut attempt = |length: f64| {
        evaluations += 1;
        let point = at(length)?;
        let slope = dot(&point.gradient, direction);
        Ok::<_, dendra_tensor::Error>(Trial { length, point, slope })
    };
    let slope = dot(&start.gradient, direction);
    let origin = Trial { length: 0.0, point: start.clone(), slope };
    let falls_too_little = |trial: &Trial<T>| {
        // A step to NaN or infinity is too long.
        let line = start.loss + SUFFICIENT_FALL * trial.length * slope;
        trial.point.loss > line || !trial.point.is_finite()
    };
    let is_flat = |trial: &Trial<T>| trial.slope.abs() <= -CURVATURE * slope;

    // Increases the length until there is a minimum between two trials.
    let (mut before, mut trial) = (origin.clone(), attempt(length)?);
    let mut searches = 0;
    let mut bracket = loop {
        if searches == MAX_EVALUATIONS {
            break [origin, trial];
        }
        let rises = searches > 1 && trial.point.loss >= before.point.loss;
        if falls_too_little(&trial) || rises {
            break [before, trial];
        }
        if is_flat(&trial) {
            return Ok(Found { length: trial.length, point: trial.point, evaluations });
        }
        if trial.slope >= 0.0 {
            break [before, trial];
        }
        let bounds = [trial.length + 0.01 * (trial.length - before.length), trial.length * 10.0];
        let next = attempt(interpolate(&before, &trial, bounds))?;
        before = std::mem::replace(&mut trial, next);
        searches += 1;
    };

    // Shrinks the interval around the minimum.
    let mut no_progress = false;
    let mut low = lower(&bracket);
    while searches < MAX_EVALUATIONS {
        let [from, to] = {
            let [a, b] = [bracket[0].length, bracket[1].length];
            [a.min(b), a.max(b)]
        };
        if (to - from) * largest(direction) < tolerance_change {
            break;
        }
        let mut length = interpolate(&bracket[0], &bracket[1], [from, to]);
        // Two lengths in a row next to a bound would converge slowly, so the second is
        // moved away from the bound.
        let margin = 0.1 * (to - from);
        if (to - length).min(length - from) < margin {
            if no_progress || length >= to || length <= from {
                let is_high = (length - to).abs() < (length - from).abs();
                length = if is_high { to - margin } else { from + margin };
                no_progress = false;
            } else {
                no_progress = true;
            }
        } else {
            no_progress = false;
        }
        let trial = attempt(length)?;
        searches += 1;
        if falls_too_little(&trial) || trial.point.loss >= bracket[low].point.loss {
            bracket[1 - low] = trial;
            low = lower(&bracket);
            continue;
        }
        let is_done = is_flat(&trial);
        if !is_done && trial.slope * (bracket[1 - low].length - bracket[low].length) >= 0.0 {
            bracket[1 - low] = bracket[low].clone();
        }
        bracket[low] = trial;
        if is_done {
            break;
        }
    }
    let [a, b] = bracket;
    let best = if low == 0 { a } else { b };
    Ok(Found { length: best.length, point: best.point, evaluations })
}

/// Returns the index of the trial with the lower loss, or 0 if they are equal. A loss
/// that is not finite counts as the higher one.
fn lower<T: Float>([a, b]: &[Trial<T>; 2]) -> usize {
    usize::from(!a.point.is_finite() || (b.point.is_finite() && b.point.loss < a.point.loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Performs a search along one axis.
    fn search(f: impl Fn(f64) -> (f64, f64), length: f64) -> Found<f64> {
        let point = |x: f64| {
            let (loss, slope) = f(x);
            Point { loss, gradient: vec![slope] }
        };
        let start = point(0.0);
        let found = strong_wolfe(&mut |x| Ok(point(x)), &start, &[1.0], length, 1e-9).unwrap();
        let slope = start.gradient[0];
        assert!(found.point.loss <= start.loss + SUFFICIENT_FALL * found.length * slope);
        assert!(found.point.gradient[0].abs() <= -CURVATURE * slope);
        found
    }

    #[test]
    fn the_conditions_hold_from_any_first_length() {
        for length in [1e-6, 1e-3, 0.1, 1.0, 50.0, 1e6] {
            search(|x| ((x - 3.0).powi(2), 2.0 * (x - 3.0)), length);
            search(|x| (0.5 * x - x.sin(), 0.5 - x.cos()), length.min(1.0));
            search(|x| ((x - 2.0).exp() - 3.0 * x, (x - 2.0).exp() - 3.0), length);
        }
    }

    #[test]
    fn the_end_of_what_is_defined_is_stepped_back_from() {
        // −ln(1 − x) − 4x is defined only for x < 1.
        let found = search(|x| (-(1.0 - x).ln() - 4.0 * x, 1.0 / (1.0 - x) - 4.0), 8.0);
        assert!(found.length < 1.0);
    }
}
