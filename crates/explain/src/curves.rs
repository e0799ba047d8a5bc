//! Deletion and insertion curves.

use dendra_nn::Module;
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::batch::{baseline_for, samples_of};
use crate::features::{Queue, Rows};
use crate::target::Target;

/// The score of one sample while its elements are replaced, starting with the
/// largest attributions (Petsiuk et al., 2018).
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The replaced shares of the elements, from 0 to 1.
    pub shares: Vec<f64>,
    /// The score for each share.
    pub scores: Vec<f64>,
}

impl Curve {
    /// The area under the curve, by the trapezoidal rule.
    pub fn area(&self) -> f64 {
        let pairs = self.shares.windows(2).zip(self.scores.windows(2));
        pairs.map(|(share, score)| (share[1] - share[0]) * (score[0] + score[1]) / 2.0).sum()
    }
}

/// The scores while the elements of each sample are replaced by those of a
/// baseline (zeros by default) in `steps` equal parts. With good attributions
/// the score falls early.
///
/// # Errors
///
/// When the attributions do not have the shape of the inputs, `steps` is 0, or
/// the model or target does not fit.
pub fn deletion<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    attributions: &Tensor<T>,
    target: impl Into<Target>,
    baseline: Option<&Tensor<T>>,
    steps: usize,
) -> Result<Vec<Curve>> {
    let baseline = baseline_for("deletion", baseline, x)?;
    curves("deletion", model, (x, &baseline), attributions, &target.into(), steps)
}

/// The scores while the elements of a baseline (zeros by default) are replaced
/// by those of each sample. With good attributions the score rises early.
///
/// # Errors
///
/// The errors of [`deletion`].
pub fn insertion<T: Float>(
    model: &dyn Module<T>,
    x: &Tensor<T>,
    attributions: &Tensor<T>,
    target: impl Into<Target>,
    baseline: Option<&Tensor<T>>,
    steps: usize,
) -> Result<Vec<Curve>> {
    let baseline = baseline_for("insertion", baseline, x)?;
    curves("insertion", model, (&baseline, x), attributions, &target.into(), steps)
}

fn curves<T: Float>(
    context: &str,
    model: &dyn Module<T>,
    (from, to): (&Tensor<T>, &Tensor<T>),
    attributions: &Tensor<T>,
    target: &Target,
    steps: usize,
) -> Result<Vec<Curve>> {
    let samples = samples_of(from)?;
    if attributions.shape() != from.shape() {
        let (expected, found) = (from.shape(), attributions.shape());
        let message = format!("expected attributions of shape {expected}, got {found}");
        return Err(Error::shape(context, message));
    }
    let classes = target.for_samples(samples)?;
    let [from, to, values] = [from, to, attributions].map(Rows::of);
    let width = attributions.shape()[1..].iter().product::<usize>();
    if steps == 0 || steps > width {
        let message = format!("expected 1 to {width} steps, one for each element, got {steps}");
        return Err(Error::argument(context, message));
    }
    let shape = &attributions.shape()[1..];
    let mut queue = Queue::new(model, shape);
    for (sample, &class) in classes.iter().enumerate() {
        let values: Vec<f64> = values.get(sample).iter().map(|x| x.to_f64()).collect();
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        let mut row = from.get(sample).to_vec();
        queue.push(row.clone(), class)?;
        for step in 0..steps {
            for &element in &order[step * width / steps..(step + 1) * width / steps] {
                row[element] = to.get(sample)[element];
            }
            queue.push(row.clone(), class)?;
        }
    }
    let shares: Vec<f64> = (0..=steps).map(|step| (step * width / steps) as f64).collect();
    let shares: Vec<f64> = shares.iter().map(|share| share / width as f64).collect();
    let curve = |scores: &[f64]| Curve { shares: shares.clone(), scores: scores.to_vec() };
    Ok(queue.finish()?.chunks_exact(steps + 1).map(curve).collect())
}
