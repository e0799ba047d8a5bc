//! Properties that every operation must have, checked on its samples.
//!
//! Functions without parameters for types are `#[inline]`, so that programs that check nothing do
//! not compile operations for `f64`.

mod second_order;

use std::fmt;

use super::{Attributes, Call, Cotangents, Op, Ops, Term};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// One operation with inputs, with the types erased.
pub struct Sample<T: Float = f64> {
    /// The operation's name.
    pub name: &'static str,
    /// The inputs.
    pub inputs: Vec<Tensor<T>>,
    pub(super) run: Box<Forward<T>>,
    apply: Box<Apply<T>>,
    /// [`Op::attributes`].
    pub attributes: Attributes,
    /// The size of its settings in bytes.
    #[cfg(test)]
    size: usize,
}

impl<T: Float> fmt::Debug for Sample<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Sample");
        debug.field("name", &self.name).field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

/// The operation as a function of terms.
type Apply<T> = dyn Fn(&[Term<T>]) -> Result<Term<T>>;

/// The shape rule and the forward pass.
type Forward<T> = dyn Fn(&[Tensor<T>]) -> Result<Run<T>>;

/// The gradients of the inputs that need one, from the gradient of the output.
type Vjp<T> = dyn Fn(Tensor<T>, &[bool]) -> Cotangents<T>;

/// The output of an operation, and a function that computes its gradients.
pub(super) struct Run<T: Float> {
    promised: Shape,
    pub(super) output: Tensor<T>,
    pub(super) vjp: Box<Vjp<T>>,
}

/// The samples of an operation.
pub fn samples<O: Op<T>, T: Float>() -> Vec<Sample<T>> {
    O::samples()
        .into_iter()
        .map(|(operation, inputs)| {
            let attributes = operation.attributes();
            let again = operation.clone();
            let apply = move |inputs: &[Term<T>]| {
                Term::try_apply(again.clone(), &inputs.iter().collect::<Vec<_>>())
            };
            let operation = std::sync::Arc::new(operation);
            let run = move |inputs: &[Tensor<T>]| {
                let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
                let promised = operation.output_shape(&shapes)?;
                let (output, saved) = operation.forward(&inputs.iter().collect::<Vec<_>>());
                let (kept, inputs) = (output.clone(), inputs.to_vec());
                let operation = operation.clone();
                let vjp = move |cotangent, needs: &[bool]| {
                    let saved = &saved;
                    operation.vjp(Call { inputs: &inputs, output: &kept, saved, needs, cotangent })
                };
                Ok(Run { promised, output, vjp: Box::new(vjp) })
            };
            Sample {
                name: O::NAME,
                inputs,
                run: Box::new(run),
                apply: Box::new(apply),
                attributes,
                #[cfg(test)]
                size: size_of::<O>(),
            }
        })
        .collect()
}

/// Checks all samples of an operation: the output has the promised shape; the
/// vector–Jacobian product agrees with central differences along random
/// directions, for contiguous and strided inputs and cotangents; and a gradient
/// that is not needed is not computed.
///
/// # Errors
///
/// When one of these does not hold; the error names the operation and the
/// figures.
pub fn check<O: Op<f64>>() -> Result<()> {
    samples::<O, f64>().iter().try_for_each(Sample::check)
}

/// Like [`check`], and also checks the gradients of the gradients; see
/// [`Sample::check_again`].
///
/// # Errors
///
/// When a gradient does not agree with the differences.
pub fn check_twice<O: Op<f64>>() -> Result<()> {
    samples::<O, f64>().iter().try_for_each(|sample| {
        sample.check()?;
        sample.check_again()
    })
}

impl Sample {
    /// Like [`check`], for one sample.
    ///
    /// # Errors
    ///
    /// When a property does not hold.
    #[inline]
    pub fn check(&self) -> Result<()> {
        let strided: Vec<Tensor<f64>> = self.inputs.iter().map(spread).collect();
        self.check_with(&self.inputs, false)?;
        self.check_with(&strided, true)
    }

    #[inline]
    fn check_with(&self, inputs: &[Tensor<f64>], strided: bool) -> Result<()> {
        let mut rng = Rng::seed(11);
        let fail = |what: String| Err(Error::data(self.name, what));
        let Run { promised, output, vjp } = (self.run)(inputs)?;
        if promised != *output.shape() {
            return fail(format!("promised shape {promised}, gave {}", output.shape()));
        }
        let cotangent = Tensor::<f64>::normal(output.shape(), 0.0, 1.0, &mut rng);
        let cotangent = if strided { spread(&cotangent) } else { cotangent };
        let needs = vec![true; inputs.len()];
        let gradients = vjp(cotangent.clone(), &needs);
        for (index, input) in inputs.iter().enumerate() {
            let Some(gradient) = &gradients[index] else {
                return fail(format!("no gradient for input {index}"));
            };
            if gradient.shape() != input.shape() {
                return fail(format!(
                    "the gradient of input {index} has shape {}, the input {}",
                    gradient.shape(),
                    input.shape()
                ));
            }
            for _ in 0..3 {
                let direction = Tensor::<f64>::normal(input.shape(), 0.0, 1.0, &mut rng);
                let step = 1e-6;
                let moved = |sign: f64| {
                    let mut inputs = inputs.to_vec();
                    inputs[index] = &inputs[index] + &(&direction * (sign * step));
                    Ok::<_, Error>(dot(&(self.run)(&inputs)?.output, &cotangent))
                };
                let expected = (moved(1.0)? - moved(-1.0)?) / (2.0 * step);
                let found = dot(gradient, &direction);
                let scale = 1.0 + expected.abs().max(found.abs());
                let agrees = (expected - found).abs() <= 1e-6 * scale;
                if !agrees {
                    return fail(format!(
                        "the derivative by input {index} of shape {} is {found}, differences give \
                         {expected} (strided: {strided})",
                        input.shape()
                    ));
                }
            }
            let mut only = vec![false; inputs.len()];
            only[index] = true;
            let alone = vjp(cotangent.clone(), &only);
            if alone.iter().enumerate().any(|(i, g)| g.is_some() != (i == index)) {
                return fail(format!("asked for the gradient of input {index} alone"));
            }
            if alone[index].as_ref() != Some(gradient) {
                return fail(format!(
                    "the gradient of input {index} depends on which others are needed"
                ));
            }
        }
        Ok(())
    }
}

/// The same values with gaps between them in memory.
#[inline]
fn spread(x: &Tensor<f64>) -> Tensor<f64> {
    let mut wide: Vec<usize> = x.shape().to_vec();
    wide.push(2);
    let gaps = x.unsqueeze(-1).and_then(|x| x.broadcast_to(wide));
    let gaps = gaps.map(|gaps| gaps.contiguous().slice(-1, 0, None, 2));
    gaps.and_then(|gaps| gaps?.squeeze(-1)).expect("the new axis can be removed")
}

/// The inner product.
#[inline]
fn dot(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    a.to_vec().iter().zip(&b.to_vec()).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::super::{TermCall, TermCotangents};
    use super::*;

    #[test]
    fn every_operation_has_the_right_gradient_and_an_empty_sample() {
        for row in super::super::table() {
            let samples = (row.samples)();
            for sample in &samples {
                sample.check().unwrap_or_else(|error| panic!("{}: {error}", row.name));
            }
            let has_empty = samples.iter().any(|sample| {
                sample.inputs.iter().any(Tensor::is_empty)
                    || (sample.run)(&sample.inputs).unwrap().output.is_empty()
            });
            assert!(has_empty, "{} has no empty sample", row.name);
        }
    }

    #[test]
    fn every_gradient_has_a_gradient() {
        let mut faults = Vec::new();
        for row in super::super::table() {
            let checks = (row.samples)().iter().try_for_each(Sample::check_again);
            faults.extend(checks.err().map(|error| format!("{}: {error}", row.name)));
        }
        assert!(faults.is_empty(), "{} rows:\n{}", faults.len(), faults.join("\n"));
    }

    #[test]
    fn settings_are_named() {
        let mut faults = Vec::new();
        for row in super::super::table() {
            let nameless = (row.samples)()
                .iter()
                .any(|sample| sample.size > 0 && sample.attributes.is_empty());
            faults.extend(nameless.then_some(row.name));
        }
        assert!(faults.is_empty(), "without attributes: {faults:?}");
    }

    #[test]
    fn a_wrong_gradient_is_found() {
        #[derive(Clone)]
        struct Wrong;
        impl Op<f64> for Wrong {
            type Saved = ();
            const NAME: &'static str = "wrong";
            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                Ok(inputs[0].clone())
            }
            fn forward(&self, inputs: &[&Tensor<f64>]) -> (Tensor<f64>, ()) {
                (inputs[0].map(|x| x * x), ())
            }
            fn vjp(&self, call: Call<'_, f64, ()>) -> Cotangents<f64> {
                call.each(|_| &call.inputs[0] * &call.cotangent)
            }
            fn vjp_terms(&self, call: TermCall<'_, f64, ()>) -> Result<TermCotangents<f64>> {
                call.each(|_| Ok(&call.inputs[0] * call.cotangent * 2.0))
            }
            fn samples() -> Vec<(Self, Vec<Tensor<f64>>)> {
                vec![(Wrong, vec![Tensor::from([1.0, 2.0])])]
            }
        }
        assert!(check::<Wrong>().unwrap_err().to_string().contains("differences give"));
        let again = samples::<Wrong, f64>()[0].check_again().unwrap_err().to_string();
        assert!(again.contains("where vjp gives"), "{again}");
    }
}
