//! Functions of two elements: each is a function with its two derivatives.

use super::broadcast::{sum_to, zip};
use super::div_rounded::floor_divided;
use super::unary::{c, scalar, settings};
use super::{Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float, Number};
use crate::error::Result;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Shapes for all cases of broadcasting: equal, one side broadcast, empty.
fn sample_inputs<T: Float>(low: f64, high: f64) -> Vec<Vec<Tensor<T>>> {
    let mut rng = Rng::seed(2);
    let mut pair = |a: &[usize], b: &[usize]| {
        [a, b].map(|shape| Tensor::uniform(shape, low, high, &mut rng)).into()
    };
    vec![
        pair(&[3, 4], &[3, 4]),
        pair(&[2, 3, 4], &[4]),
        pair(&[3, 1], &[2, 1, 5]),
        pair(&[], &[3]),
        pair(&[2, 0], &[1, 1]),
    ]
}

/// Defines operations that run with [`zip`] or, if so marked, with
/// [`call_zip`]: `Name in low..high: |a, b| value, gradient by a, gradient by
/// b, |a, b, y, g| gradient by a, gradient by b;` where the gradient is checked
/// on `low..high`. The last two are the same gradients as operations on
/// [`Term`]s, of the operands, the output y and its gradient g; `?` may be
/// used.
macro_rules! binary {
    (with $zip:ident; $($rest:tt)*) => {
        binary! { @each $zip $($rest)* }
    };
    (@each $zip:ident $(
        $name:ident in $low:literal..$high:literal:
            |$a:ident, $b:ident| $value:expr, $by_a:expr, $by_b:expr,
            |$ta:ident, $tb:ident, $y:pat_param, $g:ident| $term_a:expr, $term_b:expr;
    )*) => {$(
        binary! {
            @one $zip
            $name in $low..$high: |$a, $b| $value, $by_a, $by_b,
                |$ta, $tb, $y, $g| $term_a, $term_b;
        }
    )*};
    (@one $zip:ident
        $name:ident in $low:literal..$high:literal:
            |$a:ident, $b:ident| $value:expr, $by_a:expr, $by_b:expr,
            |$ta:ident, $tb:ident, $y:pat_param, $g:ident| $term_a:expr, $term_b:expr;
    ) => {
        settings! { $name }

        impl<T: Float> Op<T> for $name {
            type Saved = ();
            const NAME: &'static str = snake_case!($name);

            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                inputs[0].broadcast(inputs[1], <Self as Op<T>>::NAME)
            }

            fn is_elementwise(&self) -> bool {
                true
            }

            #[inline(never)]
            fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
                let shape = inputs[0]
                    .shape()
                    .broadcast(inputs[1].shape(), <Self as Op<T>>::NAME)
                    .expect("the shape rule accepted the inputs");
                ($zip(inputs[0], inputs[1], &shape, #[inline(always)] |$a: T, $b: T| $value), ())
            }

            #[inline(never)]
            fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
                let [a, b] = [&call.inputs[0], &call.inputs[1]];
                let (shape, g) = (call.output.shape(), &call.cotangent);
                call.each(|index| {
                    let gradient =
                        if index == 0 { $by_a(a, b, g, shape) } else { $by_b(a, b, g, shape) };
                    sum_to(gradient, call.inputs[index].shape())
                })
            }

            fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
                let ($ta, $tb, $y) = (&call.inputs[0], &call.inputs[1], call.output);
                let $g = call.cotangent;
                call.each(|index| {
                    let _ = ($ta, $tb);
                    let gradient: Term<T> = if index == 0 { $term_a } else { $term_b };
                    gradient.sum_to(call.inputs[index].shape())
                })
            }

            fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
                sample_inputs($low, $high).into_iter().map(|inputs| ($name, inputs)).collect()
            }
        }
    };
}

/// The cotangent itself: the derivative is 1.
fn one<T: Float>(_: &Tensor<T>, _: &Tensor<T>, g: &Tensor<T>, _: &Shape) -> Tensor<T> {
    g.clone()
}

/// The derivative is −1.
fn minus_one<T: Float>(_: &Tensor<T>, _: &Tensor<T>, g: &Tensor<T>, _: &Shape) -> Tensor<T> {
    -g
}

/// The derivative is the other operand: `a` for the gradient by b.
fn times_a<T: Float>(a: &Tensor<T>, _: &Tensor<T>, g: &Tensor<T>, shape: &Shape) -> Tensor<T> {
    zip(
        a,
        g,
        shape,
        #[inline(always)]
        |a, g| a * g,
    )
}

/// The derivative is the other operand: `b` for the gradient by a.
fn times_b<T: Float>(_: &Tensor<T>, b: &Tensor<T>, g: &Tensor<T>, shape: &Shape) -> Tensor<T> {
    zip(
        b,
        g,
        shape,
        #[inline(always)]
        |b, g| b * g,
    )
}

/// Any other derivative, a function of both operands.
macro_rules! of {
    ($derivative:expr) => {
        of!(zip, $derivative)
    };
    ($zip:ident, $derivative:expr) => {
        |a: &Tensor<T>, b: &Tensor<T>, g: &Tensor<T>, shape: &Shape| {
            let slope = $zip(
                a,
                b,
                shape,
                #[inline(always)]
                $derivative,
            );
            times_a(&slope, b, g, shape)
        }
    };
}

/// Like [`zip`], with the one loop of all functions that call the mathematical
/// library, for the same reason as
/// [`call_forward`](super::unary::call_forward).
fn call_zip<T: Float>(
    a: &Tensor<T>,
    b: &Tensor<T>,
    shape: &Shape,
    f: impl Fn(T, T) -> T + Sync,
) -> Tensor<T> {
    #[inline(never)]
    fn run<T: Float>(
        a: &Tensor<T>,
        b: &Tensor<T>,
        shape: &Shape,
        f: &(dyn Fn(T, T) -> T + Sync),
    ) -> Tensor<T> {
        zip(a, b, shape, f)
    }
    run(a, b, shape, &f)
}

/// A function of two operands, computed from values, as `f` of each pair.
fn paired<T: Float, C: Element>(
    a: &Term<T>,
    b: &Term<T>,
    f: &(dyn Fn(T, T) -> C + Sync),
) -> Tensor<C> {
    let shape = a.shape().broadcast(b.shape(), "binary").expect("checked by the shape rule");
    zip(a.value(), b.value(), &shape, f)
}

/// A derivative that is piecewise constant.
fn slope<T: Float>(a: &Term<T>, b: &Term<T>, f: impl Fn(T, T) -> T + Sync) -> Term<T> {
    Term::constant(paired(a, b, &f))
}

/// Where a condition on both operands is true.
fn mask<T: Float>(
    a: &Term<T>,
    b: &Term<T>,
    condition: impl Fn(T, T) -> bool + Sync,
) -> Tensor<bool> {
    paired(a, b, &condition)
}

/// The quotient; 0 without a gradient where the mask is true.
fn over<T: Float>(a: &Term<T>, b: &Term<T>, zero: &Tensor<bool>) -> Result<Term<T>> {
    a.div(&b.masked_fill(zero, 1.0)?)?.masked_fill(zero, 0.0)
}

fn both_zero<T: Float>(a: T, b: T) -> bool {
    a == T::ZERO && b == T::ZERO
}

/// Whether both are the same infinity, whose difference is not defined.
fn infinite_twice<T: Float>(a: T, b: T) -> bool {
    a == b && !a.is_finite()
}

/// The share of the gradient for one side of a comparison of `a` and `b`: all
/// unless it loses, so both sides get all of it if either is NaN.
fn share<T: Number>(a: T, b: T, loses: bool) -> T {
    match (a == b, loses) {
        (true, _) => T::from_f64(0.5),
        (false, true) => T::ZERO,
        (false, false) => T::ONE,
    }
}

binary! {
    with zip;

    Add in -2.0..2.0: |a, b| a + b, one, one, |a, b, _, g| g.clone(), g.clone();
    Sub in -2.0..2.0: |a, b| a - b, one, minus_one, |a, b, _, g| g.clone(), -g;
    Mul in -2.0..2.0: |a, b| a * b, times_b, times_a, |a, b, _, g| g * b, g * a;
    Div in 0.5..2.0:
        |a, b| a / b,
        of!(|_, b| T::ONE / b),
        of!(|a: T, b| -(a / b) / b),
        |a, b, y, g| g / b, -g * (y / b);
    Maximum in -2.0..2.0:
        |a, b| a.max_nan(b),
        of!(|a, b| share(a, b, a < b)),
        of!(|a, b| share(a, b, b < a)),
        |a, b, _, g|
            g * slope(a, b, |a, b| share(a, b, a < b)),
            g * slope(a, b, |a, b| share(a, b, b < a));
    Minimum in -2.0..2.0:
        |a, b| a.min_nan(b),
        of!(|a, b| share(a, b, a > b)),
        of!(|a, b| share(a, b, b > a)),
        |a, b, _, g|
            g * slope(a, b, |a, b| share(a, b, a > b)),
            g * slope(a, b, |a, b| share(a, b, b > a));
    Prelu in -2.0..2.0:
        |a, b| if a > T::ZERO { a } else { b * a },
        of!(|a, b| if a > T::ZERO { T::ONE } else { b }),
        of!(|a, _| if a > T::ZERO { T::ZERO } else { a }),
        |a, b, _, g|
            g * scalar(1.0).where_mask(&a.value().gt_scalar(T::ZERO), b)?,
            g * a.masked_fill(&a.value().gt_scalar(T::ZERO), 0.0)?;
    Xlogy in 0.5..2.0:
        |a, b| if a == T::ZERO && !b.is_nan() { T::ZERO } else { a * b.ln() },
        of!(|a, b| if a == T::ZERO && b <= T::ZERO { T::ZERO } else { b.ln() }),
        of!(|a, b| if a == T::ZERO && b == T::ZERO { T::ZERO } else { a / b }),
        |a, b, _, g|
            g * b.masked_fill(&mask(a, b, |a, b| a == T::ZERO && b <= T::ZERO), 1.0)?.ln(),
            g * over(a, b, &mask(a, b, |a, b| a == T::ZERO && b == T::ZERO))?;
    LogAddExp in -2.0..2.0:
        |a, b| {
            let larger = a.max_nan(b);
            // The difference of equal infinities would be NaN.
            let distance = if a == b { T::ZERO } else { (a - b).abs() };
            larger + (-distance).exp().ln_1p()
        },
        of!(|a, b| if a == b { c(0.5) } else { (a - b).sigmoid() }),
        of!(|a, b| if a == b { c(0.5) } else { (b - a).sigmoid() }),
        |a, b, _, g|
            g * (a - b).masked_fill(&mask(a, b, infinite_twice), 0.0)?.sigmoid(),
            g * (b - a).masked_fill(&mask(a, b, infinite_twice), 0.0)?.sigmoid();
    Hypot in 0.5..2.0:
        |a, b| a.hypot(b),
        of!(|a, b| over_length(a, a.hypot(b))),
        of!(|a, b| over_length(b, a.hypot(b))),
        |a, b, y, g|
            g * over(a, y, &mask(a, b, both_zero))?,
            g * over(b, y, &mask(a, b, both_zero))?;
    Atan2 in 0.5..2.0:
        |a, b| a.atan2(b),
        of!(call_zip, |a, b| {
            let length = a.hypot(b);
            over_length(over_length(b, length), length)
        }),
        of!(call_zip, |a, b| {
            let length = a.hypot(b);
            over_length(over_length(-a, length), length)
        }),
        |a, b, _, g|
            {
                let (length, origin) = (a.hypot(b)?, mask(a, b, both_zero));
                g * over(&over(b, &length, &origin)?, &length, &origin)?
            },
            {
                let (length, origin) = (a.hypot(b)?, mask(a, b, both_zero));
                -g * over(&over(a, &length, &origin)?, &length, &origin)?
            };
}

binary! {
    with call_zip;

    Pow in 0.5..2.0:
        |a, b| a.powf(b),
        of!(call_zip, |a, b| if b == T::ZERO { T::ZERO } else { b * a.powf(b - T::ONE) }),
        of!(call_zip, |a, b| {
            if a == T::ZERO && b >= T::ZERO { T::ZERO } else { a.powf(b) * a.ln() }
        }),
        |a, b, y, g|
            {
                // Where 0 would be multiplied by an infinity.
                let no_slope = mask(a, b, |a, b| b == T::ZERO && !(T::ONE / a).is_finite());
                g * (b * a.masked_fill(&no_slope, 1.0)?.pow(&(b - 1.0))?)
            },
            {
                let no_slope = mask(a, b, |a, b| a == T::ZERO && b >= T::ZERO);
                g * (y * a.masked_fill(&no_slope, 1.0)?.ln())
            };
    Remainder in 1.3..1.9:
        |a, b| {
            let rest = a.fmod(b);
            if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest + b } else { rest }
        },
        one,
        of!(call_zip, |a, b| -floor_divided(a, b)),
        |a, b, _, g| g.clone(), g * slope(a, b, |a, b| -floor_divided(a, b));
    Fmod in 1.3..1.9:
        |a, b| a.fmod(b),
        one,
        of!(call_zip, |a, b| -(a / b).trunc()),
        |a, b, _, g| g.clone(), g * slope(a, b, |a, b| -(a / b).trunc());
}

/// `numerator / length`; 0 at the origin, where the length is 0 and these
/// functions have a kink.
fn over_length<T: Float>(numerator: T, length: T) -> T {
    if length == T::ZERO { T::ZERO } else { numerator / length }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    #[test]
    fn a_nan_on_either_side_wins_and_ties_share() {
        let nan = f64::NAN;
        let (a, b) = (Tensor::from([nan, 1.0, 2.0]), Tensor::from([1.0, nan, 2.0]));
        for found in [a.maximum(&b).unwrap(), a.minimum(&b).unwrap()] {
            let found = found.to_vec();
            assert!(found[0].is_nan() && found[1].is_nan() && found[2] == 2.0);
        }
        assert_eq!(share(2.0, 2.0, false), 0.5);
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_named() {
        let error = Tensor::<f32>::zeros([2, 3]).add(&Tensor::zeros([2])).unwrap_err();
        assert_eq!(error.to_string(), "add: shapes [2, 3] and [2] do not broadcast to one shape");
    }
}
