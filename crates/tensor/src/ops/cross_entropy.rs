//! Cross-entropy of logits with class labels: softmax, logarithm and negative
//! log-likelihood in one operation.

use smallvec::SmallVec;

use super::reduce::fold;
use super::{Attribute, Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How the losses of a batch are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean; NaN for no losses.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Not combined: one loss for each element.
    None,
}

/// The settings of [`cross_entropy`](crate::Ops::cross_entropy), with
/// PyTorch's names and defaults.
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions<T: Float = f32> {
    /// A factor for each class, of shape `[C]`.
    pub weight: Option<Tensor<T>>,
    /// The label of elements that are ignored.
    pub ignore_index: i64,
    /// The part of the target, from 0 to 1, that is distributed over all
    /// classes (Szegedy et al., "Rethinking the Inception architecture", 2016).
    pub label_smoothing: f64,
    /// How the losses are combined.
    pub reduction: Reduction,
}

impl Reduction {
    /// PyTorch's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::None => "none",
        }
    }
}

impl<T: Float> Default for CrossEntropyOptions<T> {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

/// For logits x of shape `[N, C, …]` and labels t of shape `[N, …]`, with p the
/// softmax of x over the classes, the loss of each element
///
/// −(1 − ε) · w\[t\] · ln p\[t\] − ε / C · Σ w\[c\] · ln p\[c\]
///
/// with class weights w and label smoothing ε; 0 where the label is ignored.
/// The mean is their sum divided by the sum of w\[t\] over all labels that are
/// not ignored.
#[derive(Clone, Debug)]
pub struct CrossEntropy<T: Float> {
    /// The labels.
    pub target: Tensor<i64>,
    /// The settings.
    pub options: CrossEntropyOptions<T>,
}

/// The values of the forward pass that the gradient needs.
#[derive(Debug)]
pub struct Softmax<T: Float> {
    /// A row of probabilities for each label.
    probabilities: Tensor<T>,
    /// The divisor of the sum of all losses.
    divisor: T,
}

/// The cost of an element of a row in elementary steps, mostly its exponential.
const COST: usize = 8;

/// The logits with the axis of the classes moved to the end, in row-major
/// order.
fn rows<T: Float>(x: &Tensor<T>) -> Tensor<T> {
    let mut order: SmallVec<[usize; 4]> = (0..x.rank()).collect();
    order[1..].rotate_left(1);
    x.permuted(&order).contiguous()
}

/// The inverse of [`rows`].
fn unrows<T: Float>(rows: &Tensor<T>) -> Tensor<T> {
    let mut order: SmallVec<[usize; 4]> = (0..rows.rank()).collect();
    order[1..].rotate_right(1);
    rows.permuted(&order)
}

fn refuse<X>(message: String) -> Result<X> {
    Err(Error::shape("cross_entropy", message))
}

/// The factors in the loss of a row.
struct Factors<T> {
    weight: Option<Vec<T>>,
    /// The factor of the label's class: 1 − ε.
    own: T,
    /// The factor of every class: ε / C.
    each: T,
    /// The sum of all class weights.
    weights: T,
}

impl<T: Float> Factors<T> {
    fn new(options: &CrossEntropyOptions<T>, classes: usize) -> Self {
        let smoothing = options.label_smoothing;
        let weight = options.weight.as_ref().map(Tensor::to_vec);
        Self {
            own: T::from_f64(1.0 - smoothing),
            each: T::from_f64(smoothing / classes as f64),
            weights: match &weight {
                Some(weight) => weight.iter().copied().sum(),
                None => T::from_f64(classes as f64),
            },
            weight,
        }
    }

    #[inline(always)]
    fn weight(&self, class: usize) -> T {
        self.weight.as_ref().map_or(T::ONE, |weight| weight[class])
    }

    /// The factor, in the loss of a row, of a term that all ln p\[c\] share.
    #[inline(always)]
    fn shared(&self, class: usize) -> T {
        self.own * self.weight(class) + self.each * self.weights
    }

    /// The loss of a row of values that stand for ln p.
    #[inline(always)]
    fn loss(&self, logarithms: &[T], class: usize) -> T {
        let own = -self.own * self.weight(class) * logarithms[class];
        if self.each == T::ZERO {
            return own;
        }
        let all = logarithms.iter().enumerate().map(|(c, &logarithm)| self.weight(c) * logarithm);
        own - self.each * all.sum()
    }
}

impl<T: Float> CrossEntropy<T> {
    /// The class of a label; `None` when it is ignored.
    #[inline(always)]
    fn class(&self, label: i64) -> Option<usize> {
        (label != self.options.ignore_index).then_some(label as usize)
    }
}

/// Checks that every label is a class index or the label to ignore.
///
/// # Errors
///
/// When a label is neither; the error names it and its index.
pub fn check_labels(
    context: &str,
    labels: &Tensor<i64>,
    classes: usize,
    ignore_index: i64,
) -> Result<()> {
    let fits = |label: i64| label == ignore_index || (0..classes as i64).contains(&label);
    labels.with_slice(|values| {
        let Some(index) = values.iter().position(|&label| !fits(label)) else {
            return Ok(());
        };
        let (label, mut rest) = (values[index], index);
        let mut at: Vec<usize> = Vec::new();
        for &length in labels.shape().iter().rev() {
            at.insert(0, rest % length);
            rest /= length;
        }
        let message = format!("expected labels in 0..{classes}, got {label} at {at:?}");
        Err(Error::data(context, message))
    })
}

impl<T: Float> Op<T> for CrossEntropy<T> {
    type Saved = Softmax<T>;
    const NAME: &'static str = "cross_entropy";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, target) = (inputs[0], self.target.shape());
        if x.len() < 2 || x[1] == 0 {
            return refuse(format!("expected logits of shape [N, C, …], got {x}"));
        }
        let expected = x.reduced(&[1], false);
        if *target != expected {
            let message = format!("logits of {x} need labels of shape {expected}, got {target}");
            return refuse(message);
        }
        let classes = x[1];
        if let Some(weight) = &self.options.weight
            && *weight.shape() != [classes]
        {
            let shape = weight.shape();
            return refuse(format!("expected class weights of shape [{classes}], got {shape}"));
        }
        let smoothing = self.options.label_smoothing;
        if !(0.0..=1.0).contains(&smoothing) {
            let message = format!("the label smoothing must be from 0 to 1, got {smoothing}");
            return Err(Error::argument("cross_entropy", message));
        }
        check_labels("cross_entropy", &self.target, classes, self.options.ignore_index)?;
        match self.options.reduction {
            Reduction::None => Ok(expected),
            Reduction::Mean | Reduction::Sum => Ok(Shape::scalar()),
        }
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Softmax<T>) {
        let x = rows(inputs[0]);
        let classes = inputs[0].shape()[1];
        let factors = Factors::new(&self.options, classes);
        let labels = self.target.contiguous();
        let labels = labels.as_slice().expect("made contiguous");
        let count = rows_per_chunk(classes * COST);
        let (probabilities, losses) = x.with_slice(|values| {
            Tensor::<T>::build_pair(x.shape(), self.target.shape(), |p, losses| {
                let (p, losses) = ((p, count * classes), (losses, count));
                for_each_chunk_pair(p, losses, COST, |index, p, losses| {
                    let x = &values[index * count * classes..][..p.len()];
                    let labels = &labels[index * count..][..losses.len()];
                    simd::dispatch(
                        #[inline(always)]
                        || self.rows_forward(&factors, x, labels, p, losses),
                    );
                });
            })
        });
        let divisor = match self.options.reduction {
            Reduction::Mean => {
                let counted = labels.iter().filter_map(|&label| self.class(label));
                T::from_f64(counted.map(|class| factors.weight(class).to_f64()).sum())
            }
            Reduction::Sum | Reduction::None => T::ONE,
        };
        let loss = match self.options.reduction {
            Reduction::None => losses,
            Reduction::Mean | Reduction::Sum => {
                let axes: SmallVec<[usize; 4]> = (0..losses.rank()).collect();
                fold(&losses, &axes, T::ZERO, |a, b| a + b).map(|sum| sum / divisor)
            }
        };
        (loss, Softmax { probabilities, divisor })
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Softmax<T>>) -> Cotangents<T> {
        let Softmax { probabilities, divisor } = call.saved;
        // The gradient of a mean of nothing, or with a sum of weights of 0, is
        // 0.
        let divisor = if *divisor == T::ZERO { T::HIGHEST } else { *divisor };
        let classes = call.inputs[0].shape()[1];
        let factors = Factors::new(&self.options, classes);
        let labels = self.target.contiguous();
        let labels = labels.as_slice().expect("made contiguous");
        let count = rows_per_chunk(classes);
        call.each(|_| {
            let gradient = call.cotangent.with_slice(|g| {
                probabilities.with_slice(|p| {
                    Tensor::build(probabilities.shape(), |out| {
                        for_each_chunk(out, count * classes, 1, |index, out| {
                            let first = index * count;
                            for (i, out) in out.chunks_exact_mut(classes).enumerate() {
                                let row = first + i;
                                let Some(class) = self.class(labels[row]) else {
                                    out.fill(T::ZERO);
                                    continue;
                                };
                                let g = if g.len() == 1 { g[0] } else { g[row] } / divisor;
                                let shared = g * factors.shared(class);
                                let p = &p[row * classes..][..classes];
                                out.iter_mut().zip(p).for_each(|(out, &p)| *out = shared * p);
                                if factors.each != T::ZERO {
                                    for (c, out) in out.iter_mut().enumerate() {
                                        *out -= g * factors.each * factors.weight(c);
                                    }
                                }
                                out[class] -= g * factors.own * factors.weight(class);
                            }
                        });
                    })
                })
            });
            unrows(&gradient)
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Softmax<T>>) -> Result<TermCotangents<T>> {
        // g / divisor · (shared · p − target), 0 where the label is ignored.
        let x = &call.inputs[0];
        let classes = x.shape()[1];
        let factors = Factors::new(&self.options, classes);
        let of_class = |f: &(dyn Fn(usize) -> T + Sync)| {
            self.target.map(|label| self.class(label).map_or(T::ZERO, f)).unsqueeze(1)
        };
        let shared = of_class(&|class| factors.shared(class))?;
        let own = of_class(&|class| factors.own * factors.weight(class))?;
        let labels = self.target.map(|label| self.class(label).unwrap_or(0) as i64);
        let mut target = Tensor::zeros(x.shape()).scatter(1, &labels.unsqueeze(1)?, &own)?;
        if factors.each != T::ZERO {
            let mut column = vec![1; x.shape().len() - 1];
            column[0] = classes;
            target += &Tensor::from_fn(column, |class| factors.each * factors.weight(class));
        }
        let mut slope = x.softmax(1)? * Term::constant(shared) - Term::constant(target);
        let ignored = self.target.eq_scalar(self.options.ignore_index);
        if ignored.any() {
            slope = slope.masked_fill(&ignored.unsqueeze(1)?, 0.0)?;
        }
        let mut g = call.cotangent.clone();
        if self.options.reduction == Reduction::None {
            g = g.unsqueeze(1)?;
        }
        let divisor = call.saved.divisor.to_f64();
        // The gradient of a mean of nothing, or with a sum of weights of 0, is
        // 0.
        let factor = if divisor == 0.0 { 0.0 } else { 1.0 / divisor };
        call.each(|_| Ok(&slope * g.mul_scalar(factor)))
    }

    fn attributes(&self) -> Attributes {
        let CrossEntropyOptions { weight, ignore_index, label_smoothing, reduction } =
            &self.options;
        vec![
            ("target", (&self.target).into()),
            ("weight", weight.as_ref().map(Attribute::values).into()),
            ("ignore_index", (*ignore_index).into()),
            ("label_smoothing", (*label_smoothing).into()),
            ("reduction", reduction.name().into()),
        ]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(16);
        let weight = Tensor::uniform([4], 0.5, 2.0, &mut rng);
        let plain = CrossEntropyOptions::default();
        let all = CrossEntropyOptions {
            weight: Some(weight.clone()),
            ignore_index: 2,
            label_smoothing: 0.2,
            reduction: Reduction::None,
        };
        let weighted = CrossEntropyOptions { weight: Some(weight), ..plain.clone() };
        let smooth = CrossEntropyOptions { label_smoothing: 0.3, ..plain.clone() };
        let sum = CrossEntropyOptions { reduction: Reduction::Sum, ..plain.clone() };
        let mut case = |shape: &[usize], options: &CrossEntropyOptions<T>| {
            let x = Tensor::normal(shape, 0.0, 2.0, &mut rng);
            let labels = x.shape().reduced(&[1], false);
            let target = Tensor::from_fn(labels, |_| rng.below(shape[1]) as i64);
            (CrossEntropy { target, options: options.clone() }, vec![x])
        };
        vec![
            case(&[5, 4], &plain),
            case(&[5, 4], &all),
            case(&[2, 4, 3], &weighted),
            case(&[2, 4, 3, 2], &all),
            case(&[3, 4], &smooth),
            case(&[3, 1], &sum),
            case(&[0, 4], &sum),
        ]
    }
}

impl<T: Float> CrossEntropy<T> {
    /// Probabilities and losses of some rows.
    #[inline(always)]
    fn rows_forward(
        &self,
        factors: &Factors<T>,
        x: &[T],
        labels: &[i64],
        p: &mut [T],
        losses: &mut [T],
    ) {
        let classes = p.len() / losses.len();
        for (x, p) in x.chunks_exact(classes).zip(p.chunks_exact_mut(classes)) {
            let mut max = T::LOWEST;
            for &x in x {
                max = max.max_nan(x);
            }
            for (p, &x) in p.iter_mut().zip(x) {
                *p = x - max;
            }
        }
        // ln p = x − max − ln Σ exp(x − max); the last term is subtracted
        // below.
        for ((loss, p), &label) in losses.iter_mut().zip(p.chunks_exact(classes)).zip(labels) {
            *loss = self.class(label).map_or(T::ZERO, |class| factors.loss(p, class));
        }
        // One loop over all rows, so that short rows are vectorised too.
        for p in p.iter_mut() {
            *p = p.exp();
        }
        for ((loss, p), &label) in losses.iter_mut().zip(p.chunks_exact_mut(classes)).zip(labels) {
            let sum: T = p.iter().copied().sum();
            for p in p.iter_mut() {
                *p /= sum;
            }
            if let Some(class) = self.class(label) {
                *loss += factors.shared(class) * sum.ln();
            }
        }
    }
}

#[cfg(test)]
mod tests;
