//! The forward–backward algorithm over all alignments of labels with the steps of
//! an output.

use dendra_tensor::ops::{Attribute, Attributes, Term};
use dendra_tensor::{Float, Ops, Result, Rng, Shape, Tensor};

use super::NAME;
use crate::samples::{SampleLoss, padded};

/// The logarithm of probability 0 in second derivatives. It is finite, because the
/// difference of two infinities is NaN.
const NEVER: f64 = -1e30;

/// The label sequences that are aligned with outputs `[n, steps, classes]`.
#[derive(Clone)]
pub(super) struct Alignments {
    pub(super) labels: Vec<Vec<usize>>,
    /// The number of valid steps of each output.
    pub(super) steps: Vec<usize>,
    pub(super) blank: usize,
    pub(super) classes: usize,
    pub(super) zero_infinity: bool,
}

/// Returns the logarithm of the sum of three numbers, given by their logarithms.
fn log_sum(logarithms: [f64; 3]) -> f64 {
    let max = logarithms.into_iter().fold(f64::NEG_INFINITY, Float::max_nan);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + logarithms.into_iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// The states of an alignment: every label with a blank before and after it.
struct States {
    class: Vec<usize>,
    /// Whether a state can follow the state two before it. A blank can be skipped,
    /// except between equal labels.
    skips: Vec<bool>,
}

impl States {
    fn new(labels: &[usize], blank: usize) -> Self {
        let mut class = vec![blank];
        class.extend(labels.iter().flat_map(|&label| [label, blank]));
        let skips = (0..class.len()).map(|s| s >= 2 && class[s] != class[s - 2]).collect();
        Self { class, skips }
    }

    fn len(&self) -> usize {
        self.class.len()
    }

    /// Returns the log-probabilities α: for each step (row) and state, that of all
    /// alignments up to this step that end in this state.
    fn forward(&self, steps: usize, emission: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let states = self.len();
        let mut alpha = vec![f64::NEG_INFINITY; steps * states];
        for (alpha, &class) in alpha.iter_mut().zip(&self.class).take(2) {
            *alpha = emission(0, class);
        }
        for step in 1..steps {
            let (before, now) = alpha[(step - 1) * states..].split_at_mut(states);
            for (s, alpha) in now[..states].iter_mut().enumerate() {
                let from = |back: usize, may: bool| match s.checked_sub(back) {
                    Some(s) if may => before[s],
                    _ => f64::NEG_INFINITY,
                };
                let arrived = log_sum([from(0, true), from(1, true), from(2, self.skips[s])]);
                *alpha = arrived + emission(step, self.class[s]);
            }
        }
        alpha
    }

    /// Returns the log-probability of all alignments from α of the last step.
    fn total(&self, last: &[f64]) -> f64 {
        let states = self.len();
        let before = if states > 1 { last[states - 2] } else { f64::NEG_INFINITY };
        log_sum([last[states - 1], before, f64::NEG_INFINITY])
    }

    /// Visits the steps in reverse order with the log-probabilities β: for each
    /// state, that of all continuations of an alignment after it.
    fn backward(
        &self,
        steps: usize,
        emission: impl Fn(usize, usize) -> f64,
        mut visit: impl FnMut(usize, &[f64]),
    ) {
        let states = self.len();
        let mut beta = vec![f64::NEG_INFINITY; states];
        beta[states.saturating_sub(2)..].fill(0.0);
        for step in (0..steps).rev() {
            visit(step, &beta);
            if step == 0 {
                break;
            }
            for (s, beta) in beta.iter_mut().enumerate() {
                *beta += emission(step, self.class[s]);
            }
            // In ascending order, since a state needs the old values of the states
            // after it.
            for s in 0..states {
                let to = |ahead: usize| match s + ahead {
                    t if t < states && (ahead < 2 || self.skips[t]) => beta[t],
                    _ => f64::NEG_INFINITY,
                };
                beta[s] = log_sum([to(0), to(1), to(2)]);
            }
        }
    }
}

impl<T: Float> SampleLoss<T> for Alignments {
    const NAME: &'static str = NAME;
    const COST: usize = 64;

    fn check(&self, _: &Shape) -> Result<()> {
        Ok(())
    }

    fn loss(&self, sample: usize, outputs: &[T], mut gradient: Option<&mut [T]>) -> T {
        let (classes, steps) = (self.classes, self.steps[sample]);
        let states = States::new(&self.labels[sample], self.blank);
        let emission = |step: usize, class: usize| outputs[step * classes + class].to_f64();
        if let Some(gradient) = gradient.as_deref_mut() {
            gradient.fill(T::ZERO);
        }
        if steps == 0 {
            let is_possible = self.labels[sample].is_empty() || self.zero_infinity;
            return if is_possible { T::ZERO } else { T::HIGHEST };
        }
        let alpha = states.forward(steps, emission);
        let total = states.total(&alpha[(steps - 1) * states.len()..]);
        if total == f64::NEG_INFINITY {
            if self.zero_infinity {
                return T::ZERO;
            }
            if let Some(gradient) = gradient {
                // The gradient of an infinite loss is NaN.
                gradient[..steps * classes].fill(T::NAN);
            }
            return T::HIGHEST;
        }
        if let Some(gradient) = gradient {
            let mut occupied = vec![0.0; classes];
            states.backward(steps, emission, |step, beta| {
                occupied.fill(0.0);
                let alpha = &alpha[step * states.len()..];
                for ((&class, alpha), beta) in states.class.iter().zip(alpha).zip(beta) {
                    occupied[class] += (alpha + beta - total).exp();
                }
                let row = &mut gradient[step * classes..][..classes];
                row.iter_mut().zip(&occupied).for_each(|(g, &p)| *g = T::from_f64(-p));
            });
        }
        T::from_f64(-total)
    }

    fn composed(&self, outputs: &Term<T>) -> Result<Term<T>> {
        let samples = self.labels.len();
        let Some(&steps) = self.steps.iter().max().filter(|&&steps| steps > 0) else {
            return Ok(Term::constant(Tensor::zeros([samples])));
        };
        let states: Vec<States> =
            self.labels.iter().map(|labels| States::new(labels, self.blank)).collect();
        let width = states.iter().map(States::len).max().expect("a sample has steps");
        // All samples are computed together. States are padded with blanks.
        let class = |i: usize| states[i / width].class.get(i % width).unwrap_or(&self.blank);
        let classes = Tensor::from_fn([samples, width], |i| *class(i) as i64);
        let skips = Tensor::from_fn([samples, width], |i| {
            states[i / width].skips.get(i % width).copied().unwrap_or(false)
        });
        let nothing = |width| Term::constant(Tensor::full([samples, width], T::from_f64(NEVER)));
        let emission = |step: usize| {
            let row = outputs.narrow(1, step, 1)?.squeeze(1)?.gather(1, &classes)?;
            Ok(row.clamp_min(NEVER))
        };
        let first = Tensor::from_fn([samples, width], |i| i % width < 2);
        let mut alpha = emission(0)?.where_mask(&first, &nothing(width))?;
        for step in 1..steps {
            let back = |by: usize| {
                let by = by.min(width);
                Term::cat(&[&nothing(by), &alpha.narrow(1, 0, width - by)?], 1)
            };
            let skipped = back(2)?.where_mask(&skips, &nothing(width))?;
            let arrived = Term::stack(&[&alpha, &back(1)?, &skipped], 2)?.logsumexp(2, false)?;
            let next = arrived + emission(step)?;
            let goes_on = Tensor::from_fn([samples, 1], |sample| step < self.steps[sample]);
            alpha = next.where_mask(&goes_on, &alpha)?;
        }
        // An alignment ends in the last state or, if there are labels, in the state
        // before it.
        let ends =
            Tensor::from_fn([samples, 2], |i| states[i / 2].len().saturating_sub(1 + i % 2) as i64);
        let alone = Tensor::from_fn([samples, 2], |i| i % 2 == 1 && states[i / 2].len() == 1);
        let last = nothing(2).where_mask(&alone, &alpha.gather(1, &ends)?)?;
        let total = last.logsumexp(1, false)?;
        let impossible = total.value().lt_scalar(T::from_f64(NEVER / 2.0)).to_vec();
        let left_out = Tensor::from_fn([samples], |n| impossible[n] || self.steps[n] == 0);
        let losses = -total.masked_fill(&left_out, 0.0)?;
        if self.zero_infinity || !impossible.contains(&true) {
            return Ok(losses);
        }
        // The gradient of an infinite loss is NaN.
        let elements = outputs.shape()[1] * self.classes;
        let slopes = Tensor::from_fn(outputs.shape(), |i| {
            let (sample, step) = (i / elements, i % elements / self.classes);
            let is_nan = impossible[sample] && step < self.steps[sample];
            if is_nan { T::NAN } else { T::ZERO }
        });
        Ok(losses + (outputs * Term::constant(slopes)).sum_axes(&[1, 2], false)?)
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("labels", Attribute::from(&padded(&self.labels))),
            ("input_lengths", self.steps.as_slice().into()),
            ("blank", self.blank.into()),
            ("zero_infinity", self.zero_infinity.into()),
        ]
    }

    fn examples() -> Vec<(Self, Tensor<T>)> {
        let mut rng = Rng::seed(33);
        let labels = vec![vec![1, 2], vec![3, 3], vec![], vec![2], vec![1, 2, 3]];
        let of = |labels: Vec<Vec<usize>>, steps: Vec<usize>, zero_infinity, blank| Self {
            labels,
            steps,
            blank,
            classes: 4,
            zero_infinity,
        };
        let mut outputs = |n: usize, steps: usize| {
            let logits = Tensor::<T>::normal([n, steps, 4], 0.0, 1.0, &mut rng);
            logits.log_softmax(-1).expect("the axis exists")
        };
        vec![
            (of(labels.clone(), vec![5, 4, 3, 1, 5], false, 0), outputs(5, 5)),
            // Some outputs have too few steps for their labels.
            (of(labels, vec![2, 2, 0, 3, 2], true, 0), outputs(5, 3)),
            (of(vec![vec![0, 1, 0]], vec![6], false, 3), outputs(1, 6)),
            (of(vec![], vec![], false, 0), outputs(0, 4)),
        ]
    }
}
