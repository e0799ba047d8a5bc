//! Functions of one element: each is a function with its derivative.

use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LOG2_E, LOG10_E, PI};

use smallvec::smallvec;

use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Float, Number};
use crate::error::Result;
use crate::kernels::parallel::update_slice;
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Applies `f` to every element, in a separate loop that vectorises.
pub(super) fn forward<T: Float>(x: &Tensor<T>, f: impl Fn(T) -> T + Sync + Copy) -> Tensor<T> {
    x.map_copy(f)
}

/// Multiplies the cotangent by the derivative, a function of input and output,
/// in place and in a separate loop that vectorises.
pub(super) fn backward<T: Float>(
    call: Call<'_, T, ()>,
    derivative: impl Fn(T, T) -> T + Sync + Copy,
) -> Cotangents<T> {
    let mut gradient = call.cotangent;
    call.inputs[0].with_slice(|x| {
        call.output.with_slice(|y| {
            update_slice(
                gradient.make_mut(),
                [x, y],
                #[inline(always)]
                move |g, x, y| g * derivative(x, y),
            );
        });
    });
    smallvec![Some(gradient)]
}

/// Like [`forward`], with the one loop of all functions that call the
/// mathematical library. Those are called for one element at a time in any
/// case, and compiling a loop for each would take long.
pub(super) fn call_forward<T: Float>(x: &Tensor<T>, f: impl Fn(T) -> T + Sync) -> Tensor<T> {
    #[inline(never)]
    fn run<T: Float>(x: &Tensor<T>, f: &(dyn Fn(T) -> T + Sync)) -> Tensor<T> {
        forward(x, f)
    }
    run(x, &f)
}

/// Like [`backward`], with the loop that [`call_forward`] describes.
pub(super) fn call_backward<T: Float>(
    call: Call<'_, T, ()>,
    derivative: impl Fn(T, T) -> T + Sync,
) -> Cotangents<T> {
    #[inline(never)]
    fn run<T: Float>(
        call: Call<'_, T, ()>,
        derivative: &(dyn Fn(T, T) -> T + Sync),
    ) -> Cotangents<T> {
        backward(call, derivative)
    }
    run(call, &derivative)
}

/// True if all elements have the functions without branches of
/// [`Float::NEAR_ANGLE`]. NaN has.
fn all_near<T: Float>(x: &Tensor<T>) -> bool {
    T::NEAR_ANGLE > 0.0
        && x.with_slice(|x| {
            simd::dispatch(
                #[inline(always)]
                || !x.iter().fold(false, |far, x| far | (x.abs() > c(T::NEAR_ANGLE))),
            )
        })
}

/// Applies a trigonometric function, whose first value is computed without
/// branches and right for small angles, the second right for all. They are equal
/// where both are right, so that an element does not depend on its neighbours.
fn near_or_far<T: Float>(x: &Tensor<T>, f: impl Fn(T) -> [T; 2] + Sync + Copy) -> Tensor<T> {
    if all_near(x) {
        forward(
            x,
            #[inline(always)]
            move |x| f(x)[0],
        )
    } else {
        call_forward(x, move |x| f(x)[1])
    }
}

/// Like [`backward`], with a derivative as for [`near_or_far`].
fn backward_near_or_far<T: Float>(
    call: Call<'_, T, ()>,
    derivative: impl Fn(T, T) -> [T; 2] + Sync + Copy,
) -> Cotangents<T> {
    if all_near(&call.inputs[0]) {
        backward(
            call,
            #[inline(always)]
            move |x, y| derivative(x, y)[0],
        )
    } else {
        call_backward(call, move |x, y| derivative(x, y)[1])
    }
}

/// A number that needs no gradient.
pub(super) fn scalar<T: Float>(value: f64) -> Term<T> {
    Term::constant(Tensor::scalar(T::from_f64(value)))
}

/// `f` of every element, as a value that needs no gradient: a derivative that
/// is piecewise constant.
pub(super) fn constant<T: Float>(x: &Term<T>, f: impl Fn(T) -> T + Sync) -> Term<T> {
    Term::constant(call_forward(x.value(), f))
}

/// Where a condition on the elements is true.
pub(super) fn mask<T: Float>(x: &Term<T>, condition: impl Fn(T) -> bool + Sync) -> Tensor<bool> {
    #[inline(never)]
    fn run<T: Float>(x: &Tensor<T>, condition: &(dyn Fn(T) -> bool + Sync)) -> Tensor<bool> {
        x.map(condition)
    }
    run(x.value(), &condition)
}

/// `f` of x where the mask is true, otherwise a number. For the other elements
/// `f` gets 0, so that an overflow there does not make the gradient NaN.
pub(super) fn where_true<T: Float>(
    mask: &Tensor<bool>,
    x: &Term<T>,
    f: impl FnOnce(Term<T>) -> Term<T>,
    other: f64,
) -> Result<Term<T>> {
    f(x.where_mask(mask, &scalar(0.0))?).where_mask(mask, &scalar(other))
}

/// The gradient of a piecewise constant function: 0 everywhere, as in PyTorch.
pub(super) fn flat<T: Float>(call: Call<'_, T, ()>, _: impl Fn(T, T) -> T + Sync) -> Cotangents<T> {
    call.each(|_| Tensor::zeros(call.output.shape()))
}

/// Inputs between `low` and `high`, and an empty one.
pub(super) fn sample_inputs<T: Float>(low: f64, high: f64) -> [Vec<Tensor<T>>; 2] {
    let mut rng = Rng::seed(1);
    [vec![Tensor::uniform([3, 7], low, high, &mut rng)], vec![Tensor::zeros([2, 0])]]
}

/// Defines operations that run with [`forward`] and [`backward`] or other given
/// functions of this file: `Name { settings } in low..high: |x| value, |x, y|
/// derivative, |x, y| term;` where the gradient is checked on `low..high`. The
/// last function is the derivative as operations on [`Term`]s: x and y are
/// terms, the settings are `f64`, and `?` may be used.
macro_rules! unary {
    (with $forward:ident, $backward:ident; $($rest:tt)*) => {
        unary! { @each ($forward $backward) $($rest)* }
    };
    (@each $functions:tt $(
        $(#[$attribute:meta])*
        $name:ident $({ $($setting:ident = $example:expr),* })? in $low:literal..$high:literal:
            |$x:ident| $value:expr,
            |$dx:pat_param, $dy:pat_param| $derivative:expr,
            |$tx:pat_param, $ty:pat_param| $term:expr;
    )*) => {$(
        unary! {
            @one $functions
            $(#[$attribute])*
            $name $({ $($setting = $example),* })? in $low..$high:
                |$x| $value,
                |$dx, $dy| $derivative,
                |$tx, $ty| $term;
        }
    )*};
    (@one ($forward:ident $backward:ident)
        $(#[$attribute:meta])*
        $name:ident $({ $($setting:ident = $example:expr),* })? in $low:literal..$high:literal:
            |$x:ident| $value:expr,
            |$dx:pat_param, $dy:pat_param| $derivative:expr,
            |$tx:pat_param, $ty:pat_param| $term:expr;
    ) => {
        settings! { $(#[$attribute])* $name $({ $($setting),* })? }

        impl<T: Float> Op<T> for $name {
            type Saved = ();
            const NAME: &'static str = snake_case!($name);

            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                Ok(inputs[0].clone())
            }

            fn is_elementwise(&self) -> bool {
                true
            }

            #[inline(never)]
            fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
                $($(let $setting = T::from_f64(self.$setting);)*)?
                ($forward(inputs[0], #[inline(always)] move |$x: T| $value), ())
            }

            #[inline(never)]
            fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
                $($(let $setting = T::from_f64(self.$setting);)* let _ = ($($setting,)*);)?
                $backward(call, #[inline(always)] move |$dx: T, $dy: T| $derivative)
            }

            fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
                $($(let $setting = self.$setting;)* let _ = ($($setting,)*);)?
                let ($tx, $ty) = (&call.inputs[0], call.output);
                let derivative: Term<T> = $term;
                Ok(smallvec::smallvec![Some(call.cotangent.mul(&derivative)?)])
            }

            fn attributes(&self) -> Attributes {
                vec![$($((stringify!($setting), self.$setting.into())),*)?]
            }

            fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
                let operation = $name $({ $($setting: $example),* })?;
                sample_inputs($low, $high).map(|inputs| (operation, inputs)).into()
            }
        }
    };
}

/// The struct of an operation, with or without settings and its own
/// documentation.
macro_rules! settings {
    ($name:ident $($settings:tt)?) => {
        settings! {
            /// An element-wise function; its method of [`Ops`] says which.
            $name $($settings)?
        }
    };
    ($(#[$attribute:meta])+ $name:ident) => {
        $(#[$attribute])+
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
    };
    ($(#[$attribute:meta])+ $name:ident { $($setting:ident),* }) => {
        $(#[$attribute])+
        #[derive(Clone, Copy, Debug)]
        pub struct $name {$(
            /// See the method's formula.
            pub $setting: f64,
        )*}
    };
}

pub(super) use {settings, unary};

/// A constant in the element type.
#[inline(always)]
pub(super) fn c<T: Number>(value: f64) -> T {
    T::from_f64(value)
}

unary! {
    with forward, backward;

    Tanh in -2.0..2.0: |x| x.tanh(), |_, y| T::ONE - y * y, |_, y| -y.square() + 1.0;
    Exp in -2.0..2.0: |x| x.exp(), |_, y| y, |_, y| y.clone();
    ExpM1 in -2.0..2.0: |x| x.exp_m1(), |_, y| y + T::ONE, |_, y| y + 1.0;
    Ln in 0.1..2.0: |x| x.ln(), |x, _| T::ONE / x, |x, _| x.reciprocal();
    Ln1p in -0.5..2.0: |x| x.ln_1p(), |x, _| T::ONE / (T::ONE + x), |x, _| (x + 1.0).reciprocal();
    /// [`logit`](Ops::logit) of x limited to low ..= high, which are infinite without
    /// `epsilon`
    Logit { low = 0.05, high = 0.95 } in 0.1..0.9:
        |x| {
            let z = if x < low { low } else if x > high { high } else { x };
            (z / (T::ONE - z)).ln()
        },
        |x, _| {
            if x < low || x > high {
                T::ZERO
            } else if x < T::ZERO || x > T::ONE {
                c(f64::NAN)
            } else {
                T::ONE / (x * (T::ONE - x))
            }
        },
        |x, _| {
            let outside = mask(x, |x| x < c(low) || x > c(high));
            let nowhere = mask(x, |x| x < T::ZERO || x > T::ONE);
            let z = x.masked_fill(&outside, 0.5)?;
            let slope = (&z * (-&z + 1.0)).reciprocal();
            slope.masked_fill(&nowhere, f64::NAN)?.masked_fill(&outside, 0.0)?
        };
    Exp2 in -2.0..2.0: |x| x.exp2(), |_, y| y * c(LN_2), |_, y| y * LN_2;
    Log2 in 0.1..2.0:
        |x| x.log2(),
        |x, _| c::<T>(LOG2_E) / x,
        |x, _| x.reciprocal() * LOG2_E;
    Log10 in 0.1..2.0:
        |x| x.log10(),
        |x, _| c::<T>(LOG10_E) / x,
        |x, _| x.reciprocal() * LOG10_E;
    Sqrt in 0.1..2.0: |x| x.sqrt(), |_, y| c::<T>(0.5) / y, |_, y| y.reciprocal() * 0.5;
    Rsqrt in 0.1..2.0: |x| T::ONE / x.sqrt(), |x, y| c::<T>(-0.5) * y / x, |x, y| y / x * -0.5;
    Square in -2.0..2.0: |x| x * x, |x, _| x + x, |x, _| x * 2.0;
    Reciprocal in 0.2..2.0: |x| T::ONE / x, |_, y| -(y * y), |_, y| -y.square();
    Abs in -2.0..2.0:
        |x| x.abs(),
        |x, _| if x > T::ZERO { T::ONE } else if x < T::ZERO { -T::ONE } else { T::ZERO },
        |x, _| Term::constant(x.value().sign());
    Negate in -2.0..2.0: |x| -x, |_, _| -T::ONE, |_, _| scalar(-1.0);
    Asin in -0.9..0.9:
        |x| x.asin(),
        |x, _| T::ONE / ((T::ONE - x) * (T::ONE + x)).sqrt(),
        |x, _| ((-x + 1.0) * (x + 1.0)).rsqrt();
    Acos in -0.9..0.9:
        |x| x.acos(),
        |x, _| -T::ONE / ((T::ONE - x) * (T::ONE + x)).sqrt(),
        |x, _| -((-x + 1.0) * (x + 1.0)).rsqrt();
    Atan in -2.0..2.0:
        |x| x.atan(),
        |x, _| T::ONE / (x * x + T::ONE),
        |x, _| (x.square() + 1.0).reciprocal();
    Atanh in -0.9..0.9:
        |x| x.atanh(),
        |x, _| T::ONE / ((T::ONE - x) * (T::ONE + x)),
        |x, _| ((-x + 1.0) * (x + 1.0)).reciprocal();
    /// 2/√π ∫₀ˣ exp(−t²) dt
    Erf in -2.0..2.0:
        |x| x.erf(),
        |x, _| c::<T>(FRAC_2_SQRT_PI) * (-(x * x)).exp(),
        |x, _| (-x.square()).exp() * FRAC_2_SQRT_PI;
    Erfc in -2.0..2.0:
        |x| x.erfc(),
        |x, _| c::<T>(-FRAC_2_SQRT_PI) * (-(x * x)).exp(),
        |x, _| (-x.square()).exp() * -FRAC_2_SQRT_PI;
    Sinc in 0.1..2.0:
        |x| if x == T::ZERO { T::ONE } else { turned(x).near_sin() / (x * c(PI)) },
        |x, y| if x == T::ZERO { T::ZERO } else { (turned(x).near_cos() - y) / x },
        |x, y| {
            let zero = x.value().eq_scalar(T::ZERO);
            let turns = constant(x, |x| { let turns = (x * c(0.5)).round(); turns + turns });
            let quotient = (((x - &turns) * PI).cos() - y) / x.masked_fill(&zero, 1.0)?;
            // The first term of the series, which has the right slope at 0.
            (x * (-PI * PI / 3.0)).where_mask(&zero, &quotient)?
        };
    Powf { exponent = 2.5 } in 0.2..2.0:
        |x| x.powf(exponent),
        |x, _| if exponent == T::ZERO { T::ZERO } else { exponent * x.powf(exponent - T::ONE) },
        |x, _| match exponent {
            0.0 => scalar(0.0),
            _ => Term::apply(Powf { exponent: exponent - 1.0 }, &[x]) * exponent,
        };
    Clamp { low = -0.8, high = 0.9 } in -2.0..2.0:
        |x| x.max_nan(low).min_nan(high),
        |x, _| {
            let above = x > low || low == T::LOWEST;
            if above && (x < high || high == T::HIGHEST) { T::ONE } else { T::ZERO }
        },
        |x, _| {
            let (low, high): (T, T) = (c(low), c(high));
            constant(x, |x| {
                let above = x > low || low == T::LOWEST;
                if above && (x < high || high == T::HIGHEST) { T::ONE } else { T::ZERO }
            })
        };
    MulScalar { factor = -1.7 } in -2.0..2.0: |x| x * factor, |_, _| factor, |_, _| scalar(factor);
    AddScalar { term = 0.3 } in -2.0..2.0: |x| x + term, |_, _| T::ONE, |_, _| scalar(1.0);
}

unary! {
    with near_or_far, backward_near_or_far;

    Sin in -2.0..2.0:
        |x| [x.near_sin(), x.sin()],
        |x, _| [x.near_cos(), x.cos()],
        |x, _| x.cos();
    Cos in -2.0..2.0:
        |x| [x.near_cos(), x.cos()],
        |x, _| [-x.near_sin(), -x.sin()],
        |x, _| -x.sin();
}

unary! {
    with near_or_far, backward;

    Tan in -1.0..1.0:
        |x| [x.near_tan(), x.tan()],
        |_, y| T::ONE + y * y,
        |_, y| y.square() + 1.0;
}

unary! {
    with call_forward, call_backward;

    Sinh in -2.0..2.0: |x| x.sinh(), |x, _| x.cosh(), |x, _| x.cosh();
    Cosh in -2.0..2.0: |x| x.cosh(), |x, _| x.sinh(), |x, _| x.sinh();
    Asinh in -2.0..2.0:
        |x| x.asinh(),
        |x, _| T::ONE / x.hypot(T::ONE),
        |x, _| x.hypot(&scalar(1.0))?.reciprocal();
    Acosh in 1.2..3.0:
        |x| x.acosh(),
        |x, _| T::ONE / ((x - T::ONE).sqrt() * (x + T::ONE).sqrt()),
        |x, _| ((x - 1.0).sqrt() * (x + 1.0).sqrt()).reciprocal();
}

/// π·x after whole turns are removed from x, without rounding.
#[inline(always)]
fn turned<T: Float>(x: T) -> T {
    let turns = (x * c(0.5)).round();
    (x - (turns + turns)) * c(PI)
}

unary! {
    with forward, flat;

    Sign in 0.1..2.0:
        |x| if x > T::ZERO { T::ONE } else if x < T::ZERO { -T::ONE } else { T::ZERO },
        |_, _| T::ZERO,
        |_, _| scalar(0.0);
    Floor in 0.1..0.9: |x| x.floor(), |_, _| T::ZERO, |_, _| scalar(0.0);
    Ceil in 0.1..0.9: |x| x.ceil(), |_, _| T::ZERO, |_, _| scalar(0.0);
    Round in 0.6..1.4: |x| x.round(), |_, _| T::ZERO, |_, _| scalar(0.0);
    Trunc in -0.9..0.9: |x| x.trunc(), |_, _| T::ZERO, |_, _| scalar(0.0);
}

unary! {
    with forward, backward;

    Frac in -0.9..0.9: |x| x - x.trunc(), |_, _| T::ONE, |_, _| scalar(1.0);
    NanToNum { nan = 0.5, infinity = 9.0, negative_infinity = -9.0 } in -2.0..2.0:
        |x| {
            if x.is_nan() {
                nan
            } else if x.is_finite() {
                x
            } else if x > T::ZERO {
                infinity
            } else {
                negative_infinity
            }
        },
        |x, _| if x.is_finite() { T::ONE } else { T::ZERO },
        |x, _| constant(x, |x| if x.is_finite() { T::ONE } else { T::ZERO });
}

#[cfg(test)]
mod tests;
