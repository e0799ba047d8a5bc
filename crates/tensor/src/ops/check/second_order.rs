//! Gradients of gradients compared with differences of gradients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Run, Sample, dot, spread};
use crate::error::{Error, Result};
use crate::ops::{Ops, Recorded, Recorder, Term, TermCotangents};
use crate::random::Rng;
use crate::tensor::Tensor;

impl Sample {
    /// Checks [`Op::vjp_terms`](crate::ops::Op::vjp_terms): its values are
    /// those of `vjp`, and its derivatives by inputs and cotangent agree with
    /// differences of `vjp` to 1e-8, for contiguous and strided inputs.
    ///
    /// # Errors
    ///
    /// When one of these does not hold, or the operation has no recorded
    /// gradient.
    #[inline]
    pub fn check_again(&self) -> Result<()> {
        let strided: Vec<Tensor<f64>> = self.inputs.iter().map(spread).collect();
        self.check_again_with(&self.inputs)?;
        self.check_again_with(&strided)
    }

    #[inline]
    fn check_again_with(&self, inputs: &[Tensor<f64>]) -> Result<()> {
        let mut rng = Rng::seed(12);
        let fail = |what: String| Err(Error::data(self.name, what));
        let mut normal =
            |like: &Tensor<f64>| Tensor::<f64>::normal(like.shape(), 0.0, 1.0, &mut rng);
        let Run { output, vjp, .. } = (self.run)(inputs)?;
        let cotangent = normal(&output);
        let needs = vec![true; inputs.len()];
        let gradients = vjp(cotangent.clone(), &needs);

        let tape = Arc::new(Tape::default());
        let leaves: Vec<Term<f64>> = inputs.iter().map(|input| tape.leaf(input)).collect();
        let result = (self.apply)(&leaves)?;
        let seed = tape.leaf(&cotangent);
        let nodes: Vec<usize> = leaves.iter().filter_map(Term::node).collect();
        let terms = tape.pull(&result, &seed, &nodes)?;

        // φ = Σ ⟨weight, gradient⟩, a function of inputs and cotangent.
        let mut weights = Vec::new();
        let mut phi = Term::constant(Tensor::scalar(0.0));
        for (index, (term, gradient)) in terms.iter().zip(&gradients).enumerate() {
            let (Some(term), Some(gradient)) = (term, gradient) else {
                return fail(format!("no gradient for input {index}"));
            };
            if term.shape() != gradient.shape() {
                let (found, expected) = (term.shape(), gradient.shape());
                return fail(format!("vjp_terms gives input {index} {found}, vjp {expected}"));
            }
            let differ = |(&a, &b): (&f64, &f64)| {
                let agrees = (a - b).abs() <= 1e-10 * (1.0 + a.abs().max(b.abs()));
                !agrees
            };
            let (found, expected) = (term.value().to_vec(), gradient.to_vec());
            if let Some((a, b)) = found.iter().zip(&expected).find(|&pair| differ(pair)) {
                return fail(format!("vjp_terms gives {a} where vjp gives {b} for input {index}"));
            }
            let weight = normal(gradient);
            phi = phi.add(&term.mul(&Term::constant(weight.clone()))?.sum())?;
            weights.push(weight);
        }
        let plain = |inputs: &[Tensor<f64>], cotangent: Tensor<f64>| -> Result<f64> {
            let gradients = ((self.run)(inputs)?.vjp)(cotangent, &needs);
            let pairs = gradients.iter().flatten().zip(&weights);
            Ok(pairs.map(|(gradient, weight)| dot(gradient, weight)).sum())
        };

        let one = Term::constant(Tensor::scalar(1.0));
        let all: Vec<usize> = nodes.iter().copied().chain(seed.node()).collect();
        let second = tape.pull(&phi, &one, &all)?;
        for (index, gradient) in second.iter().enumerate() {
            let x = inputs.get(index).unwrap_or(&cotangent);
            let direction = normal(x);
            let moved = |step: f64| -> Result<f64> {
                let (mut inputs, mut cotangent) = (inputs.to_vec(), cotangent.clone());
                let x = inputs.get_mut(index).unwrap_or(&mut cotangent);
                *x = &*x + &direction * step;
                plain(&inputs, cotangent)
            };
            // Differences of fourth order.
            let h = 1e-4;
            let near = moved(h)? - moved(-h)?;
            let far = moved(2.0 * h)? - moved(-2.0 * h)?;
            let expected = (8.0 * near - far) / (12.0 * h);
            let found = gradient.as_ref().map_or(0.0, |gradient| dot(gradient.value(), &direction));
            let size = plain(inputs, cotangent.clone())?.abs();
            let scale = 1.0 + expected.abs().max(found.abs()).max(size);
            let agrees = (expected - found).abs() <= 1e-8 * scale;
            if !agrees {
                let of = if index < inputs.len() {
                    format!("input {index}")
                } else {
                    "the cotangent".into()
                };
                return fail(format!(
                    "the derivative of the gradient by {of} is {found}, differences give {expected}"
                ));
            }
        }
        Ok(())
    }
}

/// The simplest tape: it stores everything and recomputes nothing.
#[derive(Default)]
struct Tape {
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
}

enum Node {
    Alias(usize),
    Call(Box<dyn Recorded<f64>>),
}

impl Tape {
    #[inline]
    fn nodes(&self) -> MutexGuard<'_, Vec<Option<Arc<Node>>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn push(&self, node: Option<Node>) -> usize {
        let mut nodes = self.nodes();
        nodes.push(node.map(Arc::new));
        nodes.len() - 1
    }

    #[inline]
    fn leaf(self: &Arc<Self>, value: &Tensor<f64>) -> Term<f64> {
        Term::recorded(value.clone(), Arc::<Self>::clone(self), self.push(None))
    }
}

impl Recorder<f64> for Tape {
    #[inline]
    fn record(&self, call: Box<dyn Recorded<f64>>) -> usize {
        self.push(Some(Node::Call(call)))
    }

    #[inline]
    fn alias(&self, node: usize) -> usize {
        self.push(Some(Node::Alias(node)))
    }

    #[inline]
    fn pull(
        &self,
        output: &Term<f64>,
        cotangent: &Term<f64>,
        wrt: &[usize],
    ) -> Result<Vec<Option<Term<f64>>>> {
        let (Some(recorder), Some(last)) = (output.recorder(), output.node()) else {
            return Ok(vec![None; wrt.len()]);
        };
        let mut sums: Vec<Option<Term<f64>>> = vec![None; last + 1];
        sums[last] = Some(cotangent.clone());
        let add = |sum: &mut Option<Term<f64>>, term: Term<f64>| {
            *sum = Some(match sum.take() {
                Some(sum) => sum + term,
                None => term,
            });
        };
        for index in (0..=last).rev() {
            let (Some(cotangent), Some(node)) = (sums[index].clone(), self.nodes()[index].clone())
            else {
                continue;
            };
            let term = |value: &Tensor<f64>, node: Option<usize>| match node {
                Some(node) => Term::recorded(value.clone(), Arc::clone(recorder), node),
                None => Term::constant(value.clone()),
            };
            let (parents, gradients) = match &*node {
                Node::Alias(of) => (&[Some(*of)][..], TermCotangents::from_iter([Some(cotangent)])),
                Node::Call(call) => {
                    let parents = call.parents();
                    let inputs = call.inputs().iter().zip(parents);
                    let inputs: Vec<_> = inputs.map(|(input, &node)| term(input, node)).collect();
                    let needs: Vec<bool> = parents.iter().map(Option::is_some).collect();
                    let output = term(call.output(), Some(index));
                    (parents, call.vjp_terms(&inputs, &output, &needs, &cotangent)?)
                }
            };
            for (parent, gradient) in parents.iter().zip(gradients) {
                if let (Some(parent), Some(gradient)) = (*parent, gradient) {
                    add(&mut sums[parent], gradient);
                }
            }
        }
        Ok(wrt.iter().map(|&node| sums.get(node).cloned().flatten()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;
    use crate::{
        AttentionMask, AttentionOptions, GridSampleOptions, GridSamplePadding, Pool2dOptions,
    };

    /// The first three derivatives of a function of one number.
    fn derivatives(function: fn(&Term<f64>) -> Result<Term<f64>>, x: f64) -> [f64; 3] {
        let tape = Arc::new(Tape::default());
        let x = tape.leaf(&Tensor::scalar(x));
        let one = Term::constant(Tensor::scalar(1.0));
        let mut y = function(&x).unwrap();
        [(); 3].map(|()| {
            let slope = tape.pull(&y, &one, &[x.node().unwrap()]).unwrap().remove(0);
            y = slope.unwrap_or_else(|| Term::constant(Tensor::scalar(0.0)));
            y.value().item().unwrap()
        })
    }

    fn number(value: f64) -> Term<f64> {
        Term::constant(Tensor::scalar(value))
    }

    /// Derivatives at kinks, and where a part of the formula is not finite.
    #[test]
    fn derivatives_at_special_places() {
        type Function = fn(&Term<f64>) -> Result<Term<f64>>;
        let near_two = PI.powi(2) / 6.0 - 1.0;
        let table: [(&str, Function, f64, [f64; 3]); 24] = [
            ("relu", |x| Ok(x.relu()), 0.0, [0.0; 3]),
            ("abs", |x| Ok(x.abs()), 0.0, [0.0; 3]),
            ("elu", |x| Ok(x.elu(1.0)), 1000.0, [1.0, 0.0, 0.0]),
            ("elu at the kink", |x| Ok(x.elu(1.0)), 0.0, [1.0; 3]),
            ("celu", |x| Ok(x.celu(0.5)), 1000.0, [1.0, 0.0, 0.0]),
            ("selu", |x| Ok(x.selu() * 0.5), 1000.0, [0.525_350_493_677_740_2, 0.0, 0.0]),
            ("gelu", |x| Ok(x.gelu()), 50.0, [1.0, 0.0, 0.0]),
            ("gelu_tanh", |x| Ok(x.gelu_tanh()), 1e150, [1.0, 0.0, 0.0]),
            ("erf", |x| Ok(x.erf()), 1e200, [0.0; 3]),
            ("asinh", |x| Ok(x.asinh()), 1e200, [1e-200, 0.0, 0.0]),
            ("sinc", |x| Ok(x.sinc()), 0.0, [0.0, -PI * PI / 3.0, 0.0]),
            ("powf(3)", |x| Ok(x.powf(3.0)), 0.0, [0.0, 0.0, 6.0]),
            ("powf(1)", |x| Ok(x.powf(1.0)), 0.0, [1.0, 0.0, 0.0]),
            ("powf(0)", |x| Ok(x.powf(0.0)), 0.0, [0.0; 3]),
            ("lgamma", |x| Ok(x.digamma()), 2.0, [near_two, -0.404_113_806_319, 0.493_939_402_267]),
            ("pow", |x| x.pow(&number(0.0)), 0.0, [0.0; 3]),
            ("xlogy", |x| x.xlogy(&number(0.0)), 0.0, [0.0; 3]),
            ("hypot", |x| x.hypot(&number(0.0)), 0.0, [0.0; 3]),
            ("atan2", |x| x.atan2(&number(0.0)), 0.0, [0.0; 3]),
            ("logaddexp", |x| x.logaddexp(&number(f64::INFINITY)), f64::INFINITY, [0.5, 0.0, 0.0]),
            ("norm", |x| x.norm(2.0), 0.0, [0.0; 3]),
            ("norm(1.5)", |x| x.norm(1.5), 0.0, [0.0; 3]),
            ("prod", |x| Ok(Term::stack(&[x, x, &number(0.0), x], 0)?.prod()), 2.0, [0.0; 3]),
            ("cumprod", |x| Ok(Term::stack(&[x; 3], 0)?.cumprod(0)?.sum()), 0.0, [1.0, 2.0, 6.0]),
        ];
        for (name, function, x, expected) in table {
            let found = derivatives(function, x);
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-11;
            assert!(found.iter().zip(&expected).all(near), "{name}: {found:?}, not {expected:?}");
        }
    }

    /// With equal maxima, at corners and borders, and where elements are
    /// dropped.
    #[test]
    fn recorded_gradients_at_ties_and_borders_are_the_plain_ones() {
        type Function = fn(&[Term<f64>]) -> Result<Term<f64>>;
        let nan = f64::NAN;
        let few = |shape: &[usize], values: &[f64]| {
            Tensor::from_fn(shape, |i| values[(i * i + i / 3) % values.len()])
        };
        let image = few(&[1, 2, 5, 5], &[0.0, 1.0, -1.0, 1.0, nan]);
        let zeros = few(&[1, 1, 5, 6], &[0.0, 0.0, -1.0, 1.0]);
        let edges = [-1.0, 1.0, 0.0, -0.5, 3.0, f64::INFINITY, 0.5, nan];
        let cases: [(&str, Function, Vec<Tensor<f64>>); 9] = [
            (
                "max_pool2d",
                |x| {
                    let new = Pool2dOptions::new([3, 3]);
                    x[0].max_pool2d(Pool2dOptions { stride: [2, 2], padding: [1, 1], ..new })
                },
                vec![image.clone()],
            ),
            (
                "max_pool2d of quarters",
                |x| x[0].max_pool2d(Pool2dOptions::new([2, 2])),
                vec![image.clone()],
            ),
            ("adaptive_max_pool2d", |x| x[0].adaptive_max_pool2d([3, 2]), vec![image]),
            (
                "conv2d_relu",
                |x| x[0].conv2d_relu(&x[1], None, Default::default(), false),
                vec![zeros.clone(), Tensor::ones([1, 1, 2, 2])],
            ),
            (
                "conv2d_relu with max_pool",
                |x| x[0].conv2d_relu(&x[1], None, Default::default(), true),
                vec![zeros, Tensor::ones([1, 1, 2, 2])],
            ),
            (
                "rnn",
                |x| x[0].rnn(&x[1], [&x[2], &x[3]], None, true, Default::default()),
                vec![
                    few(&[3, 1, 2], &[0.0, 1.0, -1.0]),
                    Tensor::zeros([1, 2]),
                    Tensor::ones([2, 2]),
                    Tensor::ones([2, 2]),
                ],
            ),
            (
                "grid_sample",
                |x| {
                    let padding = GridSamplePadding::Border;
                    let options = GridSampleOptions { padding, ..Default::default() };
                    x[0].grid_sample(&x[1], options)
                },
                vec![few(&[1, 2, 3, 4], &[1.0, 2.0, 4.0]), few(&[1, 4, 4, 2], &edges)],
            ),
            (
                "scaled_dot_product_attention",
                |x| {
                    let keep = Tensor::from([[true, false, true], [false; 3], [true; 3]]);
                    let mask = AttentionMask::Keep(keep);
                    let options = AttentionOptions { mask, ..Default::default() };
                    x[0].scaled_dot_product_attention(&x[1], &x[2], options)
                },
                vec![few(&[3, 2], &[0.5, 1.0, -2.0]); 3],
            ),
            (
                "cross_entropy",
                |x| x[0].cross_entropy(&Tensor::from([1, -100]), Default::default()),
                vec![Tensor::from([[1.0, 2.0], [nan, f64::INFINITY]])],
            ),
        ];
        for (name, function, inputs) in cases {
            let tape = Arc::new(Tape::default());
            let leaves: Vec<Term<f64>> = inputs.iter().map(|input| tape.leaf(input)).collect();
            let nodes: Vec<usize> = leaves.iter().filter_map(Term::node).collect();
            let y = function(&leaves).unwrap();
            let g = Tensor::from_fn(y.shape(), |i| 1.0 + i as f64);
            let last = tape.nodes()[y.node().unwrap()].clone();
            let Some(Node::Call(call)) = last.as_deref() else {
                panic!("{name} records no operation")
            };
            let expected = call.vjp(&vec![true; inputs.len()], g.clone());
            let found = tape.pull(&y, &Term::constant(g), &nodes).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                let found = found.as_ref().unwrap().value().to_vec();
                let expected = expected.as_ref().unwrap().to_vec();
                let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-13 || a.is_nan() && b.is_nan();
                let agree = found.iter().zip(&expected).all(near);
                assert!(agree, "{name}: {found:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn running_logarithms_of_infinities_have_shares() {
        for x in [0.0, 1e20, f64::NEG_INFINITY] {
            let tape = Arc::new(Tape::default());
            let x = tape.leaf(&Tensor::full([3], x));
            let sum = x.logcumsumexp(0).unwrap().sum();
            let gradient = tape.pull(&sum, &number(1.0), &[x.node().unwrap()]).unwrap().remove(0);
            let gradient = gradient.unwrap().value().to_vec();
            let thirds = [11.0 / 6.0, 5.0 / 6.0, 1.0 / 3.0];
            assert!(
                gradient.iter().zip(thirds).all(|(a, b)| (a - b).abs() < 1e-15),
                "{gradient:?}"
            );
        }
    }
}
