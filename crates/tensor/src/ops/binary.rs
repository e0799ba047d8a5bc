//! Functions of two elements: each a function beside its two derivatives.

use super::broadcast::{sum_to, zip};
use super::div_rounded::floor_divided;
use super::unary::c;
use super::{Call, Cotangents, Op};
use crate::element::{Float, Number};
use crate::error::Result;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Shapes that meet in every way: equal, stretched on either side, empty.
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

/// Defines operations that run by [`zip`] unless something speaks for
/// [`call_zip`]: `Name in low..high: |a, b| value, gradient by a, gradient by b;`
/// where the gradient is checked on `low..high`.
macro_rules! binary {
    (with $zip:ident; $($rest:tt)*) => {
        binary! { @each $zip $($rest)* }
    };
    (@each $zip:ident $(
        $(#[$attribute:meta])*
        $name:ident in $low:literal..$high:literal:
            |$a:ident, $b:ident| $value:expr, $by_a:expr, $by_b:expr;
    )*) => {$(
        binary! {
            @one $zip
            $(#[$attribute])*
            $name in $low..$high: |$a, $b| $value, $by_a, $by_b;
        }
    )*};
    (@one $zip:ident
        $(#[$attribute:meta])*
        $name:ident in $low:literal..$high:literal:
            |$a:ident, $b:ident| $value:expr, $by_a:expr, $by_b:expr;
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl<T: Float> Op<T> for $name {
            type Saved = ();
            const NAME: &'static str = stringify!($name);

            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                inputs[0].broadcast(inputs[1], stringify!($name))
            }

            fn is_elementwise(&self) -> bool {
                true
            }

            #[inline(never)]
            fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
                let shape = inputs[0]
                    .shape()
                    .broadcast(inputs[1].shape(), stringify!($name))
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

/// As [`zip`], in the one loop of all functions that call the mathematical
/// library, for the reason that unary functions have one.
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

/// The share of the gradient that one side of a comparison of `a` and `b` gets:
/// all unless it loses, so that both sides do where either is NaN.
fn share<T: Number>(a: T, b: T, loses: bool) -> T {
    match (a == b, loses) {
        (true, _) => T::from_f64(0.5),
        (false, true) => T::ZERO,
        (false, false) => T::ONE,
    }
}

binary! {
    with zip;

    /// a + b
    Add in -2.0..2.0: |a, b| a + b, one, one;
    /// a − b
    Sub in -2.0..2.0: |a, b| a - b, one, minus_one;
    /// a · b
    Mul in -2.0..2.0: |a, b| a * b, times_b, times_a;
    /// a / b
    Div in 0.5..2.0: |a, b| a / b, of!(|_, b| T::ONE / b), of!(|a: T, b| -(a / b) / b);
    /// the larger of a and b
    Maximum in -2.0..2.0:
        |a, b| a.max_nan(b),
        of!(|a, b| share(a, b, a < b)),
        of!(|a, b| share(a, b, b < a));
    /// the smaller of a and b
    Minimum in -2.0..2.0:
        |a, b| a.min_nan(b),
        of!(|a, b| share(a, b, a > b)),
        of!(|a, b| share(a, b, b > a));
    /// a where a > 0, else b · a
    Prelu in -2.0..2.0:
        |a, b| if a > T::ZERO { a } else { b * a },
        of!(|a, b| if a > T::ZERO { T::ONE } else { b }),
        of!(|a, _| if a > T::ZERO { T::ZERO } else { a });
    /// a · ln(b), and 0 where a is 0
    Xlogy in 0.5..2.0:
        |a, b| if a == T::ZERO && !b.is_nan() { T::ZERO } else { a * b.ln() },
        of!(|a, b| if a == T::ZERO && b <= T::ZERO { T::ZERO } else { b.ln() }),
        of!(|a, b| if a == T::ZERO && b == T::ZERO { T::ZERO } else { a / b });
    /// ln(exp(a) + exp(b))
    LogAddExp in -2.0..2.0:
        |a, b| {
            let larger = a.max_nan(b);
            // Not the difference of infinities.
            let distance = if a == b { T::ZERO } else { (a - b).abs() };
            larger + (-distance).exp().ln_1p()
        },
        of!(|a, b| if a == b { c(0.5) } else { (a - b).sigmoid() }),
        of!(|a, b| if a == b { c(0.5) } else { (b - a).sigmoid() });
}

binary! {
    with call_zip;

    /// a to the power of b
    Pow in 0.5..2.0:
        |a, b| a.powf(b),
        of!(call_zip, |a, b| if b == T::ZERO { T::ZERO } else { b * a.powf(b - T::ONE) }),
        of!(call_zip, |a, b| {
            if a == T::ZERO && b >= T::ZERO { T::ZERO } else { a.powf(b) * a.ln() }
        });
    /// the angle of the point (b, a)
    Atan2 in 0.5..2.0:
        |a, b| a.atan2(b),
        of!(call_zip, |a, b| {
            let length = a.hypot(b);
            over_length(over_length(b, length), length)
        }),
        of!(call_zip, |a, b| {
            let length = a.hypot(b);
            over_length(over_length(-a, length), length)
        });
    /// √(a² + b²)
    Hypot in 0.5..2.0:
        |a, b| a.hypot(b),
        of!(call_zip, |a, b| over_length(a, a.hypot(b))),
        of!(call_zip, |a, b| over_length(b, a.hypot(b)));
    /// a − b · ⌊a / b⌋
    Remainder in 1.3..1.9:
        |a, b| {
            let rest = a.fmod(b);
            if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest + b } else { rest }
        },
        one,
        of!(call_zip, |a, b| -floor_divided(a, b));
    /// a − b · trunc(a / b)
    Fmod in 1.3..1.9: |a, b| a.fmod(b), one, of!(call_zip, |a, b| -(a / b).trunc());
}

/// `numerator / length`, and 0 at the origin, where the length is 0 and these
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
        assert_eq!(error.to_string(), "Add: shapes [2, 3] and [2] do not broadcast to one shape");
    }
}
