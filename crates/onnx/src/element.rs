//! The element types of ONNX, and the floats of 16 and fewer bits.

use dendra_tensor::Result;

use crate::wire::malformed;

macro_rules! elements {
    ($(
        $(#[$doc:meta])*
        $name:ident = $code:literal, $text:literal, $bits:literal, $kind:expr;
    )*) => {
        /// The element type of a tensor in a model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ElementType {$($(#[$doc])* $name = $code,)*}

        impl ElementType {
            /// The type of a code of `TensorProto.DataType`.
            pub(crate) fn from_code(code: i64) -> Result<Self> {
                match code {
                    $($code => Ok(Self::$name),)*
                    14 | 15 => malformed("complex numbers are not supported"),
                    _ => malformed(format!("element type {code} is unknown")),
                }
            }

            /// The name, such as `"float32"`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The number of bits of an element in a file; 0 for strings.
            pub(crate) fn bits(self) -> usize {
                match self { $(Self::$name => $bits,)* }
            }

            pub(crate) fn kind(self) -> Kind {
                match self { $(Self::$name => $kind,)* }
            }
        }
    };
}

/// How the elements of a type are stored and computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 32-bit floats, rounded to a narrower type if there is one.
    Single(Option<Narrow>),
    Double,
    /// 64-bit signed integers, wrapped to these bits, and whether they are
    /// signed.
    Whole(u32, bool),
    Unsigned64,
    Bool,
    Text,
}

/// A float with few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Narrow {
    exponent: i32,
    mantissa: i32,
    bias: i32,
    specials: Specials,
}

/// The codes that are not numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Specials {
    /// The largest exponent is for infinities and NaN.
    Ieee,
    /// Only the code of ones is NaN; no infinity.
    Nan,
    /// Only the code of negative zero is NaN; no infinity.
    NegativeZero,
    /// All codes are numbers.
    None,
    /// Powers of two without sign; 255 is NaN.
    Powers,
}

const fn narrow(exponent: i32, mantissa: i32, bias: i32, specials: Specials) -> Kind {
    Kind::Single(Some(Narrow { exponent, mantissa, bias, specials }))
}

elements! {
    /// 32-bit floats.
    F32 = 1, "float32", 32, Kind::Single(None);
    /// 8-bit unsigned integers.
    U8 = 2, "uint8", 8, Kind::Whole(8, false);
    /// 8-bit integers.
    I8 = 3, "int8", 8, Kind::Whole(8, true);
    /// 16-bit unsigned integers.
    U16 = 4, "uint16", 16, Kind::Whole(16, false);
    /// 16-bit integers.
    I16 = 5, "int16", 16, Kind::Whole(16, true);
    /// 32-bit integers.
    I32 = 6, "int32", 32, Kind::Whole(32, true);
    /// 64-bit integers.
    I64 = 7, "int64", 64, Kind::Whole(64, true);
    /// Strings.
    Text = 8, "string", 0, Kind::Text;
    /// Booleans.
    Bool = 9, "bool", 8, Kind::Bool;
    /// 16-bit floats (IEEE 754).
    F16 = 10, "float16", 16, narrow(5, 10, 15, Specials::Ieee);
    /// 64-bit floats.
    F64 = 11, "float64", 64, Kind::Double;
    /// 32-bit unsigned integers.
    U32 = 12, "uint32", 32, Kind::Whole(32, false);
    /// 64-bit unsigned integers.
    U64 = 13, "uint64", 64, Kind::Unsigned64;
    /// 16-bit floats with the exponent of 32-bit floats.
    BF16 = 16, "bfloat16", 16, narrow(8, 7, 127, Specials::Ieee);
    /// 8-bit floats with 4 bits of exponent.
    F8E4M3FN = 17, "float8e4m3fn", 8, narrow(4, 3, 7, Specials::Nan);
    /// 8-bit floats with 4 bits of exponent and one zero.
    F8E4M3FNUZ = 18, "float8e4m3fnuz", 8, narrow(4, 3, 8, Specials::NegativeZero);
    /// 8-bit floats with 5 bits of exponent.
    F8E5M2 = 19, "float8e5m2", 8, narrow(5, 2, 15, Specials::Ieee);
    /// 8-bit floats with 5 bits of exponent and one zero.
    F8E5M2FNUZ = 20, "float8e5m2fnuz", 8, narrow(5, 2, 16, Specials::NegativeZero);
    /// 4-bit unsigned integers.
    U4 = 21, "uint4", 4, Kind::Whole(4, false);
    /// 4-bit integers.
    I4 = 22, "int4", 4, Kind::Whole(4, true);
    /// 4-bit floats.
    F4E2M1 = 23, "float4e2m1", 4, narrow(2, 1, 1, Specials::None);
    /// 8-bit powers of two.
    F8E8M0 = 24, "float8e8m0", 8, narrow(8, 0, 127, Specials::Powers);
    /// 2-bit unsigned integers.
    U2 = 25, "uint2", 2, Kind::Whole(2, false);
    /// 2-bit integers.
    I2 = 26, "int2", 2, Kind::Whole(2, true);
}

impl ElementType {
    pub(crate) fn is_float(self) -> bool {
        matches!(self.kind(), Kind::Single(_) | Kind::Double)
    }

    pub(crate) fn narrow(self) -> Option<Narrow> {
        match self.kind() {
            Kind::Single(narrow) => narrow,
            _ => None,
        }
    }

    /// The smallest and the largest integer of the type; those of 64 signed bits
    /// for other types.
    pub(crate) fn range(self) -> (i64, i64) {
        match self.kind() {
            Kind::Whole(bits, true) => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
            Kind::Whole(bits, false) => (0, (1 << bits) - 1),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The integer with the same low bits that fits the type.
    pub(crate) fn wrap(self, value: i64) -> i64 {
        match self.kind() {
            Kind::Whole(bits, true) => value << (64 - bits) >> (64 - bits),
            Kind::Whole(bits, false) => value & ((1 << bits) - 1),
            _ => value,
        }
    }
}

impl Narrow {
    /// The largest finite number.
    pub(crate) fn largest(self) -> f64 {
        let Self { exponent, mantissa, bias, specials } = self;
        let top = (1 << exponent) - 1 - bias;
        let ones = 2.0 - f64::powi(2.0, -mantissa);
        match specials {
            Specials::Ieee => ones * f64::powi(2.0, top - 1),
            Specials::Nan => (ones - f64::powi(2.0, -mantissa)) * f64::powi(2.0, top),
            Specials::NegativeZero | Specials::None => ones * f64::powi(2.0, top),
            Specials::Powers => f64::powi(2.0, top - 1),
        }
    }

    /// The nearest number of this type, halves to the even one. A number that is
    /// too large becomes the largest one if `saturate`, else an infinity or NaN.
    pub(crate) fn round(self, x: f64, saturate: bool) -> f64 {
        let largest = self.largest();
        if self.specials == Specials::Powers {
            return self.round_power(x);
        }
        if x.is_nan() {
            // A type without NaN stores it as zero.
            return if self.specials == Specials::None { -0.0 } else { x };
        }
        let smallest_exponent = 1 - self.bias;
        let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        let quantum = f64::powi(2.0, exponent.max(smallest_exponent).min(1000) - self.mantissa);
        let rounded = if x.is_finite() { (x / quantum).round_ties_even() * quantum } else { x };
        if rounded.abs() > largest {
            return match self.specials {
                Specials::None => largest.copysign(x),
                _ if saturate => largest.copysign(x),
                Specials::Ieee => f64::INFINITY.copysign(x),
                _ => f64::NAN,
            };
        }
        if self.specials == Specials::NegativeZero { rounded + 0.0 } else { rounded }
    }

    fn round_power(self, x: f64) -> f64 {
        let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        if x.is_nan() || x.is_infinite() {
            return f64::NAN;
        }
        // Halfway numbers and above go to the larger power.
        let up = i32::from(x.to_bits() & (1 << 51) != 0);
        f64::powi(2.0, (exponent + up).clamp(-127, 127))
    }

    /// Converts a code to a number.
    pub(crate) fn decode(self, code: u32) -> f64 {
        let Self { exponent, mantissa, bias, specials } = self;
        if specials == Specials::Powers {
            return if code == 255 { f64::NAN } else { f64::powi(2.0, code as i32 - bias) };
        }
        let ones = (1 << exponent) - 1;
        let negative = code >> (exponent + mantissa) & 1 == 1;
        let field = (code >> mantissa) as i32 & ones;
        let fraction = code & ((1 << mantissa) - 1);
        let special = match specials {
            Specials::Ieee if field == ones && fraction == 0 => Some(f64::INFINITY),
            Specials::Ieee if field == ones => Some(f64::NAN),
            Specials::Nan if field == ones && fraction + 1 == 1 << mantissa => Some(f64::NAN),
            Specials::NegativeZero if negative && field == 0 && fraction == 0 => Some(f64::NAN),
            _ => None,
        };
        let implied = if field == 0 { 0.0 } else { 1.0 };
        let magnitude = special.unwrap_or_else(|| {
            let fraction = f64::from(fraction) * f64::powi(2.0, -mantissa);
            (implied + fraction) * f64::powi(2.0, field.max(1) - bias)
        });
        if negative { -magnitude } else { magnitude }
    }

    /// Converts a number of this type to its code.
    pub(crate) fn encode(self, x: f64) -> u32 {
        let Self { exponent, mantissa, bias, specials } = self;
        let sign = u32::from(x.is_sign_negative()) << (exponent + mantissa);
        let ones = ((1_u32 << exponent) - 1) << mantissa;
        if specials == Specials::Powers {
            let field = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023 + bias;
            return if x.is_nan() { 255 } else { field.clamp(0, 254) as u32 };
        }
        if x.is_nan() {
            return match specials {
                Specials::Ieee => sign | ones | 1 << (mantissa - 1),
                Specials::NegativeZero => 1 << (exponent + mantissa),
                _ => sign | ones | ((1 << mantissa) - 1),
            };
        }
        if x.is_infinite() {
            return sign | ones;
        }
        let power = (((x.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(1 - bias);
        let steps = (x.abs() / f64::powi(2.0, power - mantissa)) as u32;
        let field = if steps >> mantissa == 0 { 0 } else { (power + bias) as u32 };
        sign | field << mantissa | steps & ((1 << mantissa) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers() {
        let of = |element: ElementType| element.narrow().unwrap();
        let largest = |element| of(element).largest();
        assert_eq!(largest(ElementType::F16), 65504.0);
        assert_eq!(largest(ElementType::F8E4M3FN), 448.0);
        assert_eq!(largest(ElementType::F8E4M3FNUZ), 240.0);
        assert_eq!(largest(ElementType::F8E5M2), 57344.0);
        assert_eq!(largest(ElementType::F8E5M2FNUZ), 57344.0);
        assert_eq!(largest(ElementType::F4E2M1), 6.0);
        assert_eq!(of(ElementType::F16).decode(0x3c00), 1.0);
        assert_eq!(of(ElementType::F16).round(65520.0, false), f64::INFINITY);
        assert_eq!(of(ElementType::F16).round(1e-9, false), 0.0);
        assert!(of(ElementType::F8E4M3FN).round(1000.0, false).is_nan());
    }

    #[test]
    fn every_code_is_its_numbers_code() {
        use ElementType::*;
        for element in [F16, BF16, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F4E2M1, F8E8M0] {
            let narrow = element.narrow().unwrap();
            for code in 0..1_u32 << element.bits() {
                let number = narrow.decode(code);
                if !number.is_nan() {
                    assert_eq!(narrow.encode(number), code, "{element:?} {number}");
                    let same = number.is_infinite() || narrow.round(number, true) == number;
                    assert!(same, "{element:?} {code} {number}");
                }
            }
        }
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(ElementType::I8.wrap(130), -126);
        assert_eq!(ElementType::U4.wrap(-1), 15);
        assert_eq!(ElementType::I64.wrap(i64::MIN), i64::MIN);
        assert_eq!(ElementType::I2.range(), (-2, 1));
    }
}
