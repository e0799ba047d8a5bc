//! Attacks that guess who was in the training data: what a network gives away,
//! seen from outside.
//!
//! An attack gives each sample a score, which is high if it believes the sample
//! to be a member of the training data. [`Roc`] tells how well the scores of
//! members and others can be told apart. Private training bounds every attack
//! ([`most_advantage`]). If an attack exceeds the bound, the training has a fault.
//!
//! ```
//! use dendra_privacy::attack::{Roc, confidences, most_advantage};
//! use dendra_tensor::Tensor;
//!
//! // Two members, of which the network is sure, and two others.
//! let logits = Tensor::from([[4.0_f32, 0.0], [0.0, 5.0], [1.0, 0.0], [1.0, 0.0]]);
//! let scores = confidences(&logits, &Tensor::from([0_i64, 1, 0, 1]))?;
//! let roc = Roc::new(&scores[..2], &scores[2..])?;
//! assert_eq!((roc.advantage(), roc.area()), (1.0, 1.0));
//! assert!(most_advantage(0.1, 1e-5) < 0.06);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

use dendra_tensor::{Error, Float, Result, Tensor};

/// The receiver operating characteristic of an attack: for each threshold of
/// its scores, how many of the others (false positives) and of the members
/// (true positives) are above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    points: Vec<(f64, f64)>,
}

impl Roc {
    /// The characteristic of these scores of members and of other samples.
    ///
    /// # Errors
    ///
    /// When there are no scores of either, or a score is not a number.
    pub fn new(members: &[f64], others: &[f64]) -> Result<Self> {
        let mut all: Vec<(f64, bool)> = members.iter().map(|&score| (score, true)).collect();
        all.extend(others.iter().map(|&score| (score, false)));
        if members.is_empty() || others.is_empty() || all.iter().any(|(score, _)| score.is_nan()) {
            let message = format!(
                "expected scores of members and others, none of them NaN, got {} and {}",
                members.len(),
                others.len()
            );
            return Err(Error::data("Roc::new", message));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut counts, mut points) = ([0_usize; 2], vec![(0.0, 0.0)]);
        for (index, (score, member)) in all.iter().enumerate() {
            counts[usize::from(*member)] += 1;
            // Equal scores have one threshold.
            if all.get(index + 1).is_none_or(|(next, _)| next != score) {
                let share = |count: usize, of: &[f64]| count as f64 / of.len() as f64;
                points.push((share(counts[0], others), share(counts[1], members)));
            }
        }
        Ok(Self { points })
    }

    /// The false and true positive rates, from (0, 0) to (1, 1).
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The area below the curve: 0.5 for guessing, 1 for certainty.
    pub fn area(&self) -> f64 {
        let strip = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0;
        self.points.windows(2).map(strip).sum()
    }

    /// By how much the true positive rate is above the false positive rate, at
    /// the best threshold (Yeom et al., 2018): 0 for guessing.
    pub fn advantage(&self) -> f64 {
        self.points.iter().map(|(wrong, right)| right - wrong).fold(0.0, f64::max)
    }

    /// The true positive rate while the false positive rate is at most this.
    pub fn true_positive_rate(&self, false_positive_rate: f64) -> f64 {
        let reached = self.points.iter().filter(|(wrong, _)| *wrong <= false_positive_rate);
        reached.map(|(_, right)| *right).fold(0.0, f64::max)
    }
}

/// The largest advantage that any attack can have on an (ε, δ)-differentially
/// private training (Humphries et al., 2023): (e^ε − 1 + 2δ) / (e^ε + 1).
pub fn most_advantage(epsilon: f64, delta: f64) -> f64 {
    let other = (-epsilon).exp();
    ((1.0 - other + 2.0 * delta * other) / (1.0 + other)).clamp(0.0, 1.0)
}

/// How sure a network is of the right class of each sample: log(p / (1 − p)) for
/// its probability p, from logits `[N, classes]` and labels `[N]`. For a sample
/// and networks of one kind, it is about normally distributed, unlike the loss,
/// whose order it reverses.
///
/// # Errors
///
/// When the shapes differ from these, or a label is not below `classes`.
pub fn confidences<T: Float>(logits: &Tensor<T>, labels: &Tensor<i64>) -> Result<Vec<f64>> {
    const NAME: &str = "confidences";
    let [samples, classes] = logits.shape()[..] else {
        let message = format!("expected logits [N, classes], got {}", logits.shape());
        return Err(Error::shape(NAME, message));
    };
    if classes < 2 || labels.shape()[..] != [samples] {
        let message = format!(
            "expected labels [N] for logits [N, classes] of 2 or more classes, got {} and {}",
            labels.shape(),
            logits.shape()
        );
        return Err(Error::shape(NAME, message));
    }
    let values = logits.to_vec();
    let of = |(row, label): (&[T], i64)| {
        let right = usize::try_from(label).ok().filter(|&label| label < classes);
        let right = right.ok_or_else(|| {
            Error::data(NAME, format!("expected labels below {classes}, got {label}"))
        })?;
        let others = row.iter().enumerate().filter(|(class, _)| *class != right);
        let others: Vec<f64> = others.map(|(_, x)| x.to_f64()).collect();
        let highest = others.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = others.iter().map(|x| (x - highest).exp()).sum();
        Ok(row[right].to_f64() - highest - sum.ln())
    };
    values.chunks_exact(classes).zip(labels.to_vec()).map(of).collect()
}

/// A network that was trained like the attacked one: its confidence in each
/// sample, and whether the sample was in its training data.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// As [`confidences`] returns them.
    pub confidences: Vec<f64>,
    /// For each sample.
    pub member: Vec<bool>,
}

/// The scores of the likelihood-ratio attack (Carlini et al., "Membership
/// inference attacks from first principles", 2022): for each sample, how much
/// likelier the attacked network's confidence is among the shadows that were
/// trained on the sample than among the others. All samples share a variance,
/// as the paper advises for few shadows.
///
/// # Errors
///
/// When numbers of samples differ, a confidence is not finite, or a sample was
/// in the data of all shadows or of none.
pub fn likelihood_ratios(confidences: &[f64], shadows: &[Shadow]) -> Result<Vec<f64>> {
    let fail = |message: String| Err(Error::data("likelihood_ratios", message));
    let samples = confidences.len();
    for Shadow { confidences: own, member } in shadows {
        if own.len() != samples || member.len() != samples {
            return fail(format!(
                "expected {samples} samples in each shadow, got {} and {}",
                own.len(),
                member.len()
            ));
        }
    }
    let all = shadows.iter().flat_map(|shadow| &shadow.confidences).chain(confidences);
    if !all.copied().all(f64::is_finite) {
        return fail("a confidence is not finite".to_owned());
    }
    // The means without and with the sample, and the squared distances from them.
    let (mut means, mut squares, mut freedom) = (Vec::with_capacity(samples), [0.0; 2], [0.0; 2]);
    for sample in 0..samples {
        let mut mean = [0.0; 2];
        for inside in [false, true] {
            let of = shadows.iter().filter(|shadow| shadow.member[sample] == inside);
            let values: Vec<f64> = of.map(|shadow| shadow.confidences[sample]).collect();
            if values.is_empty() {
                let which = if inside { "no shadow" } else { "every shadow" };
                return fail(format!("{which} was trained on sample {sample}"));
            }
            let (side, count) = (usize::from(inside), values.len() as f64);
            mean[side] = values.iter().sum::<f64>() / count;
            squares[side] += values.iter().map(|x| (x - mean[side]).powi(2)).sum::<f64>();
            freedom[side] += count - 1.0;
        }
        means.push(mean);
    }
    // One shadow on each side has no variance. Any value gives the same order of scores.
    let variance = |side: usize| match squares[side] > 0.0 && freedom[side] > 0.0 {
        true => squares[side] / freedom[side],
        false => 1.0,
    };
    let variances = [variance(0), variance(1)];
    let ratio = |(x, mean): (&f64, &[f64; 2])| {
        let log = |side: usize| -> f64 {
            -0.5 * ((x - mean[side]).powi(2) / variances[side] + variances[side].ln())
        };
        log(1) - log(0)
    };
    Ok(confidences.iter().zip(&means).map(ratio).collect())
}

#[cfg(test)]
mod tests;
