//! Sums over channels, and sums of values times a factor for each channel. The
//! gradients of normalisations, and the gradients of these, consist of such
//! sums. Each operation reads its inputs once.
//!
//! Values have the shape `[images, channels, elements]`, factors `[1, channels,
//! 1]`.

use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::channels::Channels;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Σ a·b over each channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelProducts;

/// Σ x·s + t with up to two values x; the inputs are t, x, s, x, s.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelCombination;

/// The sum over each channel.
pub(super) fn sums<T: Float>(x: &Term<T>) -> Result<Term<T>> {
    // In two steps, each over adjacent axes, which needs no copy.
    x.sum_axes(&[2], true)?.sum_axes(&[0], true)
}

/// Σ a·b over each channel.
pub(super) fn products<T: Float>(a: &Term<T>, b: &Term<T>) -> Result<Term<T>> {
    Term::try_apply(ChannelProducts, &[a, b])
}

/// Σ x·s + t; without t it is 0.
pub(super) fn combination<T: Float>(
    parts: &[[&Term<T>; 2]],
    shift: Option<&Term<T>>,
) -> Result<Term<T>> {
    let zeros = || Term::constant(Tensor::zeros(parts[0][1].shape()));
    let shift = shift.cloned().unwrap_or_else(zeros);
    let inputs: Vec<&Term<T>> = [&shift].into_iter().chain(parts.concat()).collect();
    Term::try_apply(ChannelCombination, &inputs)
}

/// The shape of the factors for values of a shape.
fn factors(values: &Shape) -> Result<Shape> {
    match values[..] {
        [_, channels, _] => Ok([1, channels, 1].into()),
        _ => Err(Error::shape(
            "channels",
            format!("expected [images, channels, elements], got {values}"),
        )),
    }
}

fn ensure_shape(expected: &Shape, found: &Shape) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::shape("channels", format!("expected {expected}, got {found}")))
}

/// Σ a and Σ a·b of each channel.
fn both_sums<T: Float>(a: &Tensor<T>, b: &Tensor<T>) -> Vec<[T; 2]> {
    let zeros = vec![T::ZERO; a.shape()[1]];
    a.with_slice(|a_values| {
        b.with_slice(|b| Channels::of(a.shape()).sums([a_values, b], [&zeros, &zeros]))
    })
}

/// x·s.
fn scaled<T: Float>(x: &Tensor<T>, factors: &Tensor<T>) -> Tensor<T> {
    let factors = factors.to_vec();
    x.with_slice(|values| {
        Tensor::build(x.shape(), |out| {
            Channels::of(x.shape()).map([values], [&factors], out, |[x], [s]| x * s);
        })
    })
}

impl<T: Float> Op<T> for ChannelProducts {
    type Saved = ();
    const NAME: &'static str = "channel_products";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        ensure_shape(inputs[0], inputs[1])?;
        factors(inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let sums = both_sums(inputs[0], inputs[1]);
        (Tensor::from_fn([1, sums.len(), 1], |channel| sums[channel][1]), ())
    }

    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|index| scaled(&call.inputs[1 - index], &call.cotangent))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|index| combination(&[[&call.inputs[1 - index], call.cotangent]], None))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(30);
        let mut pair = |shape: [usize; 3]| {
            (Self, [(); 2].map(|()| Tensor::normal(shape, 0.0, 1.0, &mut rng)).into())
        };
        vec![pair([2, 3, 5]), pair([4, 3, 1]), pair([0, 3, 2])]
    }
}

impl<T: Float> Op<T> for ChannelCombination {
    type Saved = ();
    const NAME: &'static str = "channel_combination";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let values = inputs[1];
        let of_channels = factors(values)?;
        ensure_shape(&of_channels, inputs[0])?;
        for part in inputs[1..].chunks(2) {
            ensure_shape(values, part[0])?;
            ensure_shape(&of_channels, part[1])?;
        }
        Ok(values.clone())
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = inputs[1].shape();
        let channels = Channels::of(shape);
        let (shift, first) = (inputs[0].to_vec(), inputs[2].to_vec());
        let y = inputs[1].with_slice(|x| match inputs.get(3) {
            None => Tensor::build(shape, |out| {
                channels.map([x], [&first, &shift], out, |[x], [s, t]| x * s + t);
            }),
            Some(other) => other.with_slice(|other| {
                let second = inputs[4].to_vec();
                Tensor::build(shape, |out| {
                    let factors = [&first[..], &second, &shift];
                    channels.map([x, other], factors, out, |[x, z], [s, r, t]| x * s + (z * r + t));
                })
            }),
        });
        (y, ())
    }

    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let g = &call.cotangent;
        call.each(|index| {
            if index % 2 == 1 {
                return scaled(g, &call.inputs[index + 1]);
            }
            // The sum of g alone is computed with either product.
            let x = &call.inputs[index.max(2) - 1];
            let sums = both_sums(g, x);
            let which = usize::from(index > 0);
            Tensor::from_fn(call.inputs[index].shape(), |channel| sums[channel][which])
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let g = call.cotangent;
        call.each(|index| match index {
            0 => sums(g),
            _ if index % 2 == 1 => combination(&[[g, &call.inputs[index + 1]]], None),
            _ => products(g, &call.inputs[index - 1]),
        })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(31);
        let mut case = |shape: [usize; 3], parts: usize| {
            let factors = [1, shape[1], 1];
            let shapes = [factors].into_iter().chain([[shape, factors]; 2].concat());
            let inputs = shapes.take(1 + 2 * parts);
            (Self, inputs.map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng)).collect())
        };
        vec![case([2, 3, 5], 1), case([2, 3, 5], 2), case([4, 3, 1], 2), case([0, 3, 2], 2)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::check_twice;

    #[test]
    fn gradients_agree_with_differences() {
        check_twice::<ChannelProducts>().unwrap();
        check_twice::<ChannelCombination>().unwrap();
    }
}
