//! Functions of one element: each a function beside its derivative.

use super::{Call, Cotangents, Op};
use crate::element::{Float, Number};
use crate::error::Result;
use crate::kernels::parallel::map_slices;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Applies `f` to every element.
fn forward<T: Float>(x: &Tensor<T>, f: impl Fn(T) -> T + Sync) -> Tensor<T> {
    x.map(f)
}

/// Multiplies the cotangent by the derivative, a function of input and output.
fn backward<T: Float>(
    call: Call<'_, T, ()>,
    derivative: impl Fn(T, T) -> T + Sync,
) -> Cotangents<T> {
    call.each(|_| {
        call.inputs[0].with_slice(|x| {
            call.output.with_slice(|y| {
                call.cotangent.with_slice(|g| {
                    Tensor::build(call.output.shape(), |out| {
                        map_slices(
                            [x, y, g],
                            out,
                            #[inline(always)]
                            |x, y, g| g * derivative(x, y),
                        );
                    })
                })
            })
        })
    })
}

/// Inputs between `low` and `high`, and an empty one.
fn sample_inputs<T: Float>(low: f64, high: f64) -> [Vec<Tensor<T>>; 2] {
    let mut rng = Rng::seed(1);
    [vec![Tensor::uniform([3, 7], low, high, &mut rng)], vec![Tensor::zeros([2, 0])]]
}

/// Defines operations: `Name { settings } in low..high: |x| value, |x, y| derivative;`
/// where the gradient is checked on `low..high`.
macro_rules! unary {
    ($(
        $(#[$attribute:meta])*
        $name:ident $({ $($setting:ident = $example:expr),* })? in $low:literal..$high:literal:
            |$x:ident| $value:expr,
            |$dx:pat_param, $dy:pat_param| $derivative:expr;
    )*) => {$(
        settings! { $(#[$attribute])* $name $({ $($setting),* })? }

        impl<T: Float> Op<T> for $name {
            type Saved = ();
            const NAME: &'static str = stringify!($name);

            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
                Ok(inputs[0].clone())
            }

            #[inline(never)]
            fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
                $($(let $setting = T::from_f64(self.$setting);)*)?
                (forward(inputs[0], #[inline(always)] |$x: T| $value), ())
            }

            #[inline(never)]
            fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
                $($(let $setting = T::from_f64(self.$setting);)* let _ = ($($setting,)*);)?
                backward(call, #[inline(always)] |$dx: T, $dy: T| $derivative)
            }

            fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
                let operation = $name $({ $($setting: $example),* })?;
                sample_inputs($low, $high).map(|inputs| (operation, inputs)).into()
            }
        }
    )*};
}

/// The struct of an operation, with or without settings.
macro_rules! settings {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
    };
    ($(#[$attribute:meta])* $name:ident { $($setting:ident),* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {$(
            /// See the operation's formula.
            pub $setting: f64,
        )*}
    };
}

/// A constant in the element type.
#[inline(always)]
fn c<T: Number>(value: f64) -> T {
    T::from_f64(value)
}

/// 1/√(2π), the density of the normal distribution at 0.
const NORMAL_DENSITY: f64 = 0.398_942_280_401_432_7;
/// √(2/π).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

unary! {
    /// max(x, 0)
    Relu in -2.0..2.0:
        |x| x.max_nan(T::ZERO),
        |_, y| if y > T::ZERO { T::ONE } else { T::ZERO };
    /// x where x > 0, else negative_slope · x
    LeakyRelu { negative_slope = 0.1 } in -2.0..2.0:
        |x| if x > T::ZERO { x } else { negative_slope * x },
        |x, _| if x > T::ZERO { T::ONE } else { negative_slope };
    /// x where x > 0, else alpha · (exp(x) − 1)
    Elu { alpha = 1.3 } in -2.0..2.0:
        |x| if x > T::ZERO { x } else { alpha * x.exp_m1() },
        |x, y| if x > T::ZERO { T::ONE } else { y + alpha };
    /// x · Φ(x)
    Gelu in -2.0..2.0:
        |x| x * c::<T>(0.5) * (T::ONE + (x * c(std::f64::consts::FRAC_1_SQRT_2)).erf()),
        |x, _| {
            c::<T>(0.5) * (T::ONE + (x * c(std::f64::consts::FRAC_1_SQRT_2)).erf())
                + x * c(NORMAL_DENSITY) * (x * x * c(-0.5)).exp()
        };
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
    GeluTanh in -2.0..2.0:
        |x| {
            let inner = c::<T>(GELU_SCALE) * (x + c::<T>(GELU_CUBIC) * x * x * x);
            c::<T>(0.5) * x * (T::ONE + inner.tanh())
        },
        |x, _| {
            let t = (c::<T>(GELU_SCALE) * (x + c::<T>(GELU_CUBIC) * x * x * x)).tanh();
            let slope = c::<T>(GELU_SCALE) * (T::ONE + c::<T>(3.0 * GELU_CUBIC) * x * x);
            c::<T>(0.5) * (T::ONE + t) + c::<T>(0.5) * x * (T::ONE - t * t) * slope
        };
    /// x · σ(x)
    Silu in -2.0..2.0:
        |x| x * x.sigmoid(),
        |x, y| { let s = x.sigmoid(); s + y * (T::ONE - s) };
    /// ln(1 + exp(x))
    Softplus in -2.0..2.0:
        |x| x.max_nan(T::ZERO) + (-x.abs()).exp().ln_1p(),
        |x, _| x.sigmoid();
    /// 1 / (1 + exp(−x))
    Sigmoid in -2.0..2.0: |x| x.sigmoid(), |_, y| y * (T::ONE - y);
    /// ln σ(x)
    LogSigmoid in -2.0..2.0:
        |x| x.min_nan(T::ZERO) - (-x.abs()).exp().ln_1p(),
        |x, _| (-x).sigmoid();
    /// tanh(x)
    Tanh in -2.0..2.0: |x| x.tanh(), |_, y| T::ONE - y * y;
    /// exp(x)
    Exp in -2.0..2.0: |x| x.exp(), |_, y| y;
    /// exp(x) − 1
    ExpM1 in -2.0..2.0: |x| x.exp_m1(), |_, y| y + T::ONE;
    /// ln(x)
    Ln in 0.1..2.0: |x| x.ln(), |x, _| T::ONE / x;
    /// ln(1 + x)
    Ln1p in -0.5..2.0: |x| x.ln_1p(), |x, _| T::ONE / (T::ONE + x);
    /// √x
    Sqrt in 0.1..2.0: |x| x.sqrt(), |_, y| c::<T>(0.5) / y;
    /// 1/√x
    Rsqrt in 0.1..2.0: |x| T::ONE / x.sqrt(), |x, y| c::<T>(-0.5) * y / x;
    /// x²
    Square in -2.0..2.0: |x| x * x, |x, _| x + x;
    /// 1/x
    Reciprocal in 0.2..2.0: |x| T::ONE / x, |_, y| -(y * y);
    /// |x|
    Abs in -2.0..2.0:
        |x| x.abs(),
        |x, _| if x > T::ZERO { T::ONE } else if x < T::ZERO { -T::ONE } else { T::ZERO };
    /// −x
    Negate in -2.0..2.0: |x| -x, |_, _| -T::ONE;
    /// sin(x)
    Sin in -2.0..2.0: |x| x.sin(), |x, _| x.cos();
    /// cos(x)
    Cos in -2.0..2.0: |x| x.cos(), |x, _| -x.sin();
    /// tan(x)
    Tan in -1.0..1.0: |x| x.tan(), |_, y| T::ONE + y * y;
    /// 2/√π ∫₀ˣ exp(−t²) dt
    Erf in -2.0..2.0:
        |x| x.erf(),
        |x, _| c::<T>(std::f64::consts::FRAC_2_SQRT_PI) * (-(x * x)).exp();
    /// x^exponent
    Powf { exponent = 2.5 } in 0.2..2.0:
        |x| x.powf(exponent),
        |x, _| if exponent == T::ZERO { T::ZERO } else { exponent * x.powf(exponent - T::ONE) };
    /// x limited to low ..= high
    Clamp { low = -0.8, high = 0.9 } in -2.0..2.0:
        |x| x.max_nan(low).min_nan(high),
        |x, _| if x > low && x < high { T::ONE } else { T::ZERO };
    /// factor · x
    MulScalar { factor = -1.7 } in -2.0..2.0: |x| x * factor, |_, _| factor;
    /// x + term
    AddScalar { term = 0.3 } in -2.0..2.0: |x| x + term, |_, _| T::ONE;
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    /// What each function must give for zeros, infinities and NaN.
    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        type Function = fn(&Tensor<f32>) -> Tensor<f32>;
        let table: [(&str, Function, [f32; 5]); 14] = [
            // at                              −∞    −0.0   0.0   ∞    NaN
            ("relu", Tensor::relu, [0.0, 0.0, 0.0, inf, nan]),
            ("sigmoid", Tensor::sigmoid, [0.0, 0.5, 0.5, 1.0, nan]),
            ("tanh", Tensor::tanh, [-1.0, -0.0, 0.0, 1.0, nan]),
            ("exp", Tensor::exp, [0.0, 1.0, 1.0, inf, nan]),
            ("ln", Tensor::ln, [nan, -inf, -inf, inf, nan]),
            ("ln_1p", Tensor::ln_1p, [nan, -0.0, 0.0, inf, nan]),
            ("sqrt", Tensor::sqrt, [nan, -0.0, 0.0, inf, nan]),
            ("rsqrt", Tensor::rsqrt, [nan, -inf, inf, 0.0, nan]),
            ("reciprocal", Tensor::reciprocal, [-0.0, -inf, inf, 0.0, nan]),
            ("abs", Tensor::abs, [inf, 0.0, 0.0, inf, nan]),
            ("square", Tensor::square, [inf, 0.0, 0.0, inf, nan]),
            ("softplus", Tensor::softplus, [0.0, 2f32.ln(), 2f32.ln(), inf, nan]),
            ("log_sigmoid", Tensor::log_sigmoid, [-inf, -2f32.ln(), -2f32.ln(), 0.0, nan]),
            ("erf", Tensor::erf, [-1.0, -0.0, 0.0, 1.0, nan]),
        ];
        let x = Tensor::from([-inf, -0.0, 0.0, inf, nan]);
        for (name, function, expected) in table {
            for (found, expected) in function(&x).to_vec().into_iter().zip(expected) {
                let same = (found.is_nan() && expected.is_nan())
                    || (found == expected
                        && (found != 0.0
                            || !name.contains("tan")
                            || found.is_sign_negative() == expected.is_sign_negative()))
                    || (found - expected).abs() < 1e-6;
                assert!(same, "{name}: expected {expected}, found {found}");
            }
        }
    }

    #[test]
    fn clamp_keeps_nan() {
        let y = Tensor::from([f64::NAN, -3.0, 3.0]).clamp(-1.0, 1.0).to_vec();
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [-1.0, 1.0]);
    }
}
