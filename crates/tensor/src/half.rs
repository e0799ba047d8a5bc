//! Floats of 16 bits, for storage: `f16` and `bf16`.
//!
//! Both are converted with rounding to the nearest value, of two equally near ones to the even
//! one. NaN stays NaN, and values beyond the largest one become infinite. Sums and products are
//! computed in `f32`.

use std::any::{Any, TypeId};
use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::element::{Element, Number};
use crate::kernels::half;
use crate::kernels::parallel::for_each_equal_chunk;
use crate::tensor::Tensor;

/// The two types of half precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfPrecision {
    /// [`f16`](struct@f16): 11 bits of precision, numbers up to 65,504.
    F16,
    /// [`bf16`]: 8 bits of precision, the range of `f32`.
    BF16,
}

impl HalfPrecision {
    /// The name of the element type, `"f16"` or `"bf16"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => f16::NAME,
            Self::BF16 => bf16::NAME,
        }
    }
}

impl fmt::Display for HalfPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A float of 16 bits: [`f16`](struct@f16) or [`bf16`].
///
/// A tensor of such floats has all functions of position ([`Tensor::permute`],
/// `narrow`, `cat`, …), comparisons, orders and conversions ([`Tensor::cast`]). The operators
/// `+ - * /` round each result, as PyTorch does. Sums, means and the other functions of
/// [`Ops`](crate::Ops) exist for `f32` and `f64` alone; products read halves and give `f32`
/// ([`Tensor::mixed_matmul`]).
pub trait Half: Number {
    /// The type as a value.
    const PRECISION: HalfPrecision;

    /// The nearest value.
    fn from_f32(x: f32) -> Self;

    /// The value, which `f32` holds exactly.
    fn to_f32(self) -> f32;

    /// The value of these bits.
    fn from_bits(bits: u16) -> Self;

    /// The bits of the value.
    fn to_bits(self) -> u16;

    /// Converts a slice with the vectors of the CPU. The bits are those of
    /// [`from_f32`](Self::from_f32).
    ///
    /// # Panics
    ///
    /// When the lengths differ.
    fn narrow(from: &[f32], to: &mut [Self]);

    /// Converts a slice with the vectors of the CPU.
    ///
    /// # Panics
    ///
    /// When the lengths differ.
    fn widen(from: &[Self], to: &mut [f32]);
}

macro_rules! halves {
    ($(
        $(#[doc = $doc:literal])*
        $type:ident $precision:ident
            from $from:ident, to $to:ident, narrow $narrow:ident, widen $widen:ident;
    )*) => {$(
        $(#[doc = $doc])*
        #[allow(non_camel_case_types, reason = "named like the primitive floats")]
        #[derive(Clone, Copy, Default)]
        #[repr(transparent)]
        pub struct $type(u16);

        impl $type {
            /// Positive infinity.
            pub const INFINITY: Self = Self(half::$from(f32::INFINITY));
            /// Negative infinity.
            pub const NEG_INFINITY: Self = Self(half::$from(f32::NEG_INFINITY));
            /// A quiet not-a-number.
            pub const NAN: Self = Self(half::$from(f32::NAN));

            /// The value of these bits.
            pub const fn from_bits(bits: u16) -> Self {
                Self(bits)
            }

            /// The bits of the value.
            pub const fn to_bits(self) -> u16 {
                self.0
            }

            /// The nearest value; of two equally near ones, the even one.
            #[inline(always)]
            pub const fn from_f32(x: f32) -> Self {
                Self(half::$from(x))
            }

            /// The value, which `f32` holds exactly.
            #[inline(always)]
            pub const fn to_f32(self) -> f32 {
                half::$to(self.0)
            }

            /// The value of little-endian bytes.
            pub const fn from_le_bytes(bytes: [u8; 2]) -> Self {
                Self(u16::from_le_bytes(bytes))
            }

            /// The bytes of the value, the lower one first.
            pub const fn to_le_bytes(self) -> [u8; 2] {
                self.0.to_le_bytes()
            }
        }

        impl Half for $type {
            const PRECISION: HalfPrecision = HalfPrecision::$precision;
            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                Self::from_f32(x)
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self.to_f32()
            }
            #[inline(always)]
            fn from_bits(bits: u16) -> Self {
                Self(bits)
            }
            #[inline(always)]
            fn to_bits(self) -> u16 {
                self.0
            }
            fn narrow(from: &[f32], to: &mut [Self]) {
                half::$narrow(from, bytemuck::cast_slice_mut(to));
            }
            fn widen(from: &[Self], to: &mut [f32]) {
                half::$widen(bytemuck::cast_slice(from), to);
            }
        }

        impl Number for $type {
            const ZERO: Self = Self(0);
            const ONE: Self = Self::from_f32(1.0);
            const LOWEST: Self = Self::NEG_INFINITY;
            const HIGHEST: Self = Self::INFINITY;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                Self::from_f32(rounded_to_odd(x))
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self.to_f32())
            }
        }

        impl PartialEq for $type {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                self.to_f32() == other.to_f32()
            }
        }

        impl PartialOrd for $type {
            #[inline(always)]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                self.to_f32().partial_cmp(&other.to_f32())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.to_f32(), f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.to_f32(), f)
            }
        }

        impl From<$type> for f32 {
            fn from(x: $type) -> Self {
                x.to_f32()
            }
        }

        impl From<$type> for f64 {
            fn from(x: $type) -> Self {
                x.to_f64()
            }
        }

        impl Neg for $type {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Self(self.0 ^ 0x8000)
            }
        }

        /// Added in `f32` and rounded once.
        impl Sum for $type {
            fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
                Self::from_f32(terms.map(Self::to_f32).sum())
            }
        }

        operators! { $type: Add add AddAssign add_assign +; Sub sub SubAssign sub_assign -;
            Mul mul MulAssign mul_assign *; Div div DivAssign div_assign /; }
    )*};
}

macro_rules! operators {
    ($type:ident: $($trait:ident $name:ident $assign:ident $assign_name:ident $symbol:tt;)*) => {$(
        impl $trait for $type {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Self::from_f32(self.to_f32() $symbol other.to_f32())
            }
        }

        impl $assign for $type {
            #[inline(always)]
            fn $assign_name(&mut self, other: Self) {
                *self = *self $symbol other;
            }
        }
    )*};
}

halves! {
    /// The half precision of IEEE 754: 1 sign bit, 5 exponent bits, 10 fraction bits. The largest
    /// number is 65,504, the smallest one above 0 is 2⁻²⁴.
    f16 F16 from f16_from_f32, to f16_to_f32, narrow narrow_f16, widen widen_f16;
    /// The upper half of an `f32`: 1 sign bit, 8 exponent bits, 7 fraction bits.
    bf16 BF16 from bf16_from_f32, to bf16_to_f32, narrow narrow_bf16, widen widen_bf16;
}

/// The `f32` next to `x` whose rounding to half precision is that of `x` itself: `x` if `f32` holds
/// it, and otherwise the odd one of its neighbours (Boldo and Melquiond, "Emulation of FMA and
/// correctly rounded sums", 2008).
#[inline(always)]
fn rounded_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let bits = nearest.to_bits();
    if back == x || x.is_nan() || bits & 1 == 1 {
        return nearest;
    }
    f32::from_bits(if back.abs() > x.abs() { bits - 1 } else { bits + 1 })
}

/// The conversion of a tensor between `f32` and a half type by vectors; `None` for other types.
pub(crate) fn converted<T: Element, U: Element>(x: &Tensor<T>) -> Option<Tensor<U>> {
    fn run<A: Element, B: Element, U: Element>(
        x: &dyn Any,
        convert: fn(&[A], &mut [B]),
    ) -> Option<Tensor<U>> {
        let x: &Tensor<A> = x.downcast_ref()?;
        if TypeId::of::<B>() != TypeId::of::<U>() {
            return None;
        }
        let converted = Tensor::<B>::build(x.shape().clone(), |out| {
            x.with_slice(|x| {
                for_each_equal_chunk(out, |first, out| convert(&x[first..][..out.len()], out));
            });
        });
        (&converted as &dyn Any).downcast_ref().cloned()
    }
    run(x, f16::narrow)
        .or_else(|| run(x, bf16::narrow))
        .or_else(|| run(x, f16::widen))
        .or_else(|| run(x, bf16::widen))
}

#[cfg(test)]
mod tests;
