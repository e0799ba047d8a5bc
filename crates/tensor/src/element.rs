//! The element types of tensors: `Element` for storage, `Number` for
//! arithmetic, `Float` for everything that has a derivative.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{
    Add, AddAssign, BitAnd, BitOr, BitXor, Div, DivAssign, Mul, MulAssign, Neg, Not, Sub, SubAssign,
};

use crate::half::{bf16, f16};
use crate::kernels::gemm::Panels;
use crate::kernels::math;
use crate::kernels::vector::{self, Kernel};

/// A value that a [`Tensor`](crate::Tensor) can hold.
///
/// # Safety
///
/// When [`ANY_BITS`](Element::ANY_BITS) is true, every bit pattern must be a
/// valid value, because buffers are recycled between element types.
pub unsafe trait Element:
    bytemuck::Zeroable
    + bytemuck::NoUninit
    + Send
    + Sync
    + Default
    + PartialEq
    + Debug
    + Display
    + 'static
{
    /// Whether every bit pattern is a value of the type. Where it is not
    /// (`bool`), fresh buffers are zeroed.
    const ANY_BITS: bool;

    /// The type's name, such as `"f32"`.
    const NAME: &'static str;
}

/// An element with arithmetic.
pub trait Number:
    Element
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// The neutral element of addition.
    const ZERO: Self;
    /// The neutral element of multiplication.
    const ONE: Self;
    /// The smallest value (minus infinity for floats).
    const LOWEST: Self;
    /// The largest value (infinity for floats).
    const HIGHEST: Self;

    /// The nearest value to `x`; integers round towards zero and saturate.
    fn from_f64(x: f64) -> Self;

    /// The value as `f64`, rounded where it has more than 53 bits.
    fn to_f64(self) -> f64;
}

/// A number with elementary functions, for which gradients are defined.
///
/// `f32` and `f64` implement it, and other number types (dual numbers, for
/// example) can.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a floating-point number",
    note = "models, their inputs and the targets that are quantities have elements of type `f32` \
            or `f64`: `tensor.cast::<f32>()` converts integers; class labels stay integers"
)]
pub trait Float: Number + Neg<Output = Self> {
    /// A quiet not-a-number.
    const NAN: Self;
    /// The difference between 1 and the next larger number.
    const EPSILON: Self;
    /// The smallest positive number that is not subnormal.
    const MIN_POSITIVE: Self;

    /// Euler's number to the power of `self`.
    fn exp(self) -> Self;
    /// `exp(self) - 1`, accurate near 0.
    fn exp_m1(self) -> Self;
    /// 2 to the power of `self`.
    fn exp2(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The logarithm to the base 2.
    fn log2(self) -> Self;
    /// The logarithm to the base 10.
    fn log10(self) -> Self;
    /// `ln(1 + self)`, accurate near 0.
    fn ln_1p(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `self` to the power of `exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// The sine of an angle in radians.
    fn sin(self) -> Self;
    /// The cosine of an angle in radians.
    fn cos(self) -> Self;
    /// The tangent of an angle in radians.
    fn tan(self) -> Self;
    /// `near_sin`, `near_cos` and `near_tan` have the values of `sin`, `cos` and
    /// `tan`, without branches, for angles up to this; for none by default.
    #[doc(hidden)]
    const NEAR_ANGLE: f64 = 0.0;
    #[doc(hidden)]
    #[must_use]
    fn near_sin(self) -> Self {
        self.sin()
    }
    #[doc(hidden)]
    #[must_use]
    fn near_cos(self) -> Self {
        self.cos()
    }
    #[doc(hidden)]
    #[must_use]
    fn near_tan(self) -> Self {
        self.tan()
    }
    /// The angle in radians whose sine is `self`.
    fn asin(self) -> Self;
    /// The angle in radians whose cosine is `self`.
    fn acos(self) -> Self;
    /// The angle in radians whose tangent is `self`.
    fn atan(self) -> Self;
    /// The angle in radians of the point (`x`, `self`), between −π and π.
    fn atan2(self, x: Self) -> Self;
    /// The length of the hypotenuse, √(self² + other²).
    fn hypot(self, other: Self) -> Self;
    /// The hyperbolic sine.
    fn sinh(self) -> Self;
    /// The hyperbolic cosine.
    fn cosh(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The inverse of the hyperbolic sine.
    fn asinh(self) -> Self;
    /// The inverse of the hyperbolic cosine.
    fn acosh(self) -> Self;
    /// The inverse of the hyperbolic tangent.
    fn atanh(self) -> Self;
    /// The logistic function `1 / (1 + exp(-self))`.
    fn sigmoid(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// `1 - erf(self)`, accurate where that is tiny.
    fn erfc(self) -> Self;
    /// The logarithm of the absolute value of the gamma function.
    fn lgamma(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The largest integer not above `self`.
    fn floor(self) -> Self;
    /// The smallest integer not below `self`.
    fn ceil(self) -> Self;
    /// The nearest integer; halves go to the even one.
    fn round(self) -> Self;
    /// The integer part: rounded towards 0.
    fn trunc(self) -> Self;
    /// The remainder of the division that rounds towards 0; it has the sign of
    /// `self`.
    fn fmod(self, divisor: Self) -> Self;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Whether the value is NaN.
    fn is_nan(self) -> bool;

    /// The larger value, or NaN when either is NaN (unlike `f32::max`).
    #[inline(always)]
    fn max_nan(self, other: Self) -> Self {
        if (self > other) | self.is_nan() { self } else { other }
    }

    /// The smaller value, or NaN when either is NaN (unlike `f32::min`).
    #[inline(always)]
    fn min_nan(self, other: Self) -> Self {
        if (self < other) | self.is_nan() { self } else { other }
    }

    /// `c = alpha · a · b + beta · c` for strided matrices; see
    /// [`kernels::gemm`](crate::kernels::gemm). The default is a plain loop;
    /// types with a fast kernel override it.
    fn gemm(problem: crate::kernels::gemm::Problem<'_, Self>) {
        crate::kernels::gemm::naive(problem);
    }

    /// Packs a right matrix `[k, n]`, given with its strides, for several
    /// products; see [`Panels`].
    fn gemm_panels(_: [usize; 2], _: (&[Self], [usize; 2])) -> Panels<Self> {
        Panels::none()
    }

    /// Like [`gemm`](Self::gemm) with B in panels.
    fn gemm_with_panels(problem: crate::kernels::gemm::Problem<'_, Self>, _: &Panels<Self>) {
        Self::gemm(problem);
    }

    /// Runs a kernel with the widest vectors of the CPU; see
    /// [`kernels::vector`](crate::kernels::vector). The default computes with
    /// arrays; types that have vector registers override it.
    fn vectorised<K: Kernel<Self>>(kernel: K) -> K::Output {
        vector::portable(kernel)
    }
}

/// A whole number or a boolean, which can be summed as `i64`.
pub trait Whole: Element {
    /// The value as `i64`, with 1 for true; `u64` and `usize` wrap around from
    /// 2⁶³ on.
    fn to_i64(self) -> i64;
}

/// An integer. Its functions wrap around when a result does not fit.
pub trait Integer:
    Number
    + Whole
    + Ord
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
{
    /// The sum.
    fn wrapping_add(self, other: Self) -> Self;
    /// The difference.
    fn wrapping_sub(self, other: Self) -> Self;
    /// The product.
    fn wrapping_mul(self, other: Self) -> Self;
    /// The quotient, rounded towards 0, by a divisor that is not 0.
    fn wrapping_div(self, divisor: Self) -> Self;
    /// The remainder of that division; it has the sign of `self`.
    fn wrapping_rem(self, divisor: Self) -> Self;
    /// The bits shifted to the left; 0 when `by` is negative or at least the
    /// number of bits.
    fn shift_left(self, by: Self) -> Self;
    /// The bits shifted to the right, filled with copies of the sign; only
    /// these when `by` is negative or at least the number of bits.
    fn shift_right(self, by: Self) -> Self;
}

macro_rules! elements {
    ($($type:ty: $any_bits:expr;)*) => {$(
        // SAFETY: `ANY_BITS` is true only for the primitive numbers, for which
        // every bit pattern is a value.
        unsafe impl Element for $type {
            const ANY_BITS: bool = $any_bits;
            const NAME: &'static str = stringify!($type);
        }
    )*};
}
elements! {
    f32: true; f64: true; f16: true; bf16: true;
    u8: true; u16: true; u32: true; u64: true; usize: true;
    i8: true; i16: true; i32: true; i64: true;
    bool: false;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$type>::MIN;
            const HIGHEST: Self = <$type>::MAX;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }

        impl Whole for $type {
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
        }

        impl Integer for $type {
            #[inline(always)]
            fn wrapping_add(self, other: Self) -> Self {
                <$type>::wrapping_add(self, other)
            }
            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                <$type>::wrapping_sub(self, other)
            }
            #[inline(always)]
            fn wrapping_mul(self, other: Self) -> Self {
                <$type>::wrapping_mul(self, other)
            }
            #[inline(always)]
            fn wrapping_div(self, divisor: Self) -> Self {
                <$type>::wrapping_div(self, divisor)
            }
            #[inline(always)]
            fn wrapping_rem(self, divisor: Self) -> Self {
                <$type>::wrapping_rem(self, divisor)
            }
            #[inline(always)]
            fn shift_left(self, by: Self) -> Self {
                u32::try_from(by).ok().and_then(|by| self.checked_shl(by)).unwrap_or(0)
            }
            #[inline(always)]
            fn shift_right(self, by: Self) -> Self {
                let signs = (self >> (<$type>::BITS - 1)) >> 1;
                u32::try_from(by).ok().and_then(|by| self.checked_shr(by)).unwrap_or(signs)
            }
        }
    )*};
}
integers! { u8 u16 u32 u64 usize i8 i16 i32 i64 }

impl Whole for bool {
    #[inline(always)]
    fn to_i64(self) -> i64 {
        i64::from(self)
    }
}

macro_rules! floats {
    ($(
        $type:ident:
            exp $exp:path, exp_m1 $exp_m1:path, ln $ln:path, ln_1p $ln_1p:path,
            exp2 $exp2:path, log2 $log2:path, log10 $log10:path, hypot $hypot:path,
            sin $sin:path, cos $cos:path, tan $tan:path,
            near $near:expr, $near_sin:path, $near_cos:path, $near_tan:path;
            atan2 $atan2:path, fmod $fmod:path,
            asin $asin:path, acos $acos:path, atan $atan:path, atanh $atanh:path,
            tanh $tanh:path, sigmoid $sigmoid:path, erf $erf:path, erfc $erfc:path,
            lgamma $lgamma:path, panels $panels:ident, with_panels $with_panels:ident;
    )*) => {$(
        impl Number for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $type::NEG_INFINITY;
            const HIGHEST: Self = $type::INFINITY;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }

        impl Float for $type {
            const NAN: Self = $type::NAN;
            const EPSILON: Self = $type::EPSILON;
            const MIN_POSITIVE: Self = $type::MIN_POSITIVE;
            #[inline(always)]
            fn exp(self) -> Self { $exp(self) }
            #[inline(always)]
            fn exp_m1(self) -> Self { $exp_m1(self) }
            #[inline(always)]
            fn ln(self) -> Self { $ln(self) }
            #[inline(always)]
            fn ln_1p(self) -> Self { $ln_1p(self) }
            #[inline(always)]
            fn exp2(self) -> Self { $exp2(self) }
            #[inline(always)]
            fn log2(self) -> Self { $log2(self) }
            #[inline(always)]
            fn log10(self) -> Self { $log10(self) }
            #[inline(always)]
            fn sqrt(self) -> Self { $type::sqrt(self) }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self { $type::powf(self, exponent) }
            #[inline(always)]
            fn sin(self) -> Self { $sin(self) }
            #[inline(always)]
            fn cos(self) -> Self { $cos(self) }
            #[inline(always)]
            fn tan(self) -> Self { $tan(self) }
            const NEAR_ANGLE: f64 = $near;
            #[inline(always)]
            fn near_sin(self) -> Self { $near_sin(self) }
            #[inline(always)]
            fn near_cos(self) -> Self { $near_cos(self) }
            #[inline(always)]
            fn near_tan(self) -> Self { $near_tan(self) }
            #[inline(always)]
            fn asin(self) -> Self { $asin(self) }
            #[inline(always)]
            fn acos(self) -> Self { $acos(self) }
            #[inline(always)]
            fn atan(self) -> Self { $atan(self) }
            #[inline(always)]
            fn atan2(self, x: Self) -> Self { $atan2(self, x) }
            #[inline(always)]
            fn hypot(self, other: Self) -> Self { $hypot(self, other) }
            #[inline(always)]
            fn sinh(self) -> Self { $type::sinh(self) }
            #[inline(always)]
            fn cosh(self) -> Self { $type::cosh(self) }
            #[inline(always)]
            fn tanh(self) -> Self { $tanh(self) }
            #[inline(always)]
            fn asinh(self) -> Self {
                if self.abs() < 1e9 || self.is_nan() {
                    return $type::asinh(self);
                }
                // The standard library doubles it, which overflows.
                (self.abs().ln() + std::$type::consts::LN_2).copysign(self)
            }
            #[inline(always)]
            fn acosh(self) -> Self {
                let large = self >= 1e9;
                if large { self.ln() + std::$type::consts::LN_2 } else { $type::acosh(self) }
            }
            #[inline(always)]
            fn atanh(self) -> Self { $atanh(self) }
            #[inline(always)]
            fn sigmoid(self) -> Self { $sigmoid(self) }
            #[inline(always)]
            fn erf(self) -> Self { $erf(self) }
            #[inline(always)]
            fn erfc(self) -> Self { $erfc(self) }
            #[inline(always)]
            fn lgamma(self) -> Self { $lgamma(self) }
            #[inline(always)]
            fn abs(self) -> Self { $type::abs(self) }
            #[inline(always)]
            fn floor(self) -> Self { $type::floor(self) }
            #[inline(always)]
            fn ceil(self) -> Self { $type::ceil(self) }
            #[inline(always)]
            fn round(self) -> Self { $type::round_ties_even(self) }
            #[inline(always)]
            fn trunc(self) -> Self { $type::trunc(self) }
            #[inline(always)]
            fn fmod(self, divisor: Self) -> Self { $fmod(self, divisor) }
            #[inline(always)]
            fn is_finite(self) -> bool { $type::is_finite(self) }
            #[inline(always)]
            fn is_nan(self) -> bool { $type::is_nan(self) }
            #[inline]
            fn gemm(problem: crate::kernels::gemm::Problem<'_, Self>) {
                crate::kernels::gemm::$type(problem);
            }
            #[inline]
            fn gemm_panels(size: [usize; 2], b: (&[$type], [usize; 2])) -> Panels<$type> {
                crate::kernels::gemm::$panels(size, b)
            }
            #[inline]
            fn gemm_with_panels(
                problem: crate::kernels::gemm::Problem<'_, Self>,
                panels: &Panels<$type>,
            ) {
                crate::kernels::gemm::$with_panels(problem, panels);
            }
            #[inline]
            fn vectorised<K: Kernel<Self>>(kernel: K) -> K::Output {
                vector::$type(kernel)
            }
        }
    )*};
}
floats! {
    f32:
        exp math::exp_f32, exp_m1 math::exp_m1_f32, ln math::ln_f32, ln_1p math::ln_1p_f32,
        exp2 math::exp2_f32, log2 math::log2_f32, log10 math::log10_f32, hypot math::hypot_f32,
        sin math::sin_f32, cos math::cos_f32, tan math::tan_f32,
        near math::NEAR_ANGLE as f64,
            math::near_sin_f32, math::near_cos_f32, math::near_tan_f32;
        atan2 math::atan2_f32, fmod math::fmod_f32,
        asin math::asin_f32, acos math::acos_f32, atan math::atan_f32, atanh math::atanh_f32,
        tanh math::tanh_f32, sigmoid math::sigmoid_f32, erf math::erf_f32, erfc math::erfc_f32,
        lgamma libm::lgammaf, panels f32_panels, with_panels f32_with_panels;
    f64:
        exp f64::exp, exp_m1 f64::exp_m1, ln f64::ln, ln_1p f64::ln_1p,
        exp2 f64::exp2, log2 f64::log2, log10 f64::log10, hypot f64::hypot,
        sin f64::sin, cos f64::cos, tan f64::tan,
        near 0.0, f64::sin, f64::cos, f64::tan;
        atan2 f64::atan2, fmod math::fmod_f64,
        asin f64::asin, acos f64::acos, atan f64::atan, atanh f64::atanh,
        tanh f64::tanh, sigmoid math::sigmoid_f64, erf libm::erf, erfc libm::erfc,
        lgamma libm::lgamma, panels f64_panels, with_panels f64_with_panels;
}
