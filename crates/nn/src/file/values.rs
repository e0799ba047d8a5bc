//! Conversion of tensors to and from little-endian bytes.

use std::io::{self, Write};

use dendra_autograd::AnyTensor;
use dendra_tensor::{Element, Shape, Tensor, bf16, f16};
use safetensors::Dtype;

/// Implements the conversions for the element types that files and tensors have
/// in common.
macro_rules! stored {
    ($($variant:ident $dtype:ident $type:ty;)*) => {
        /// Returns the element type of a tensor in files.
        pub(super) fn dtype(tensor: &AnyTensor) -> Dtype {
            match tensor {
                $(AnyTensor::$variant(_) => Dtype::$dtype,)*
                AnyTensor::Bool(_) => Dtype::BOOL,
            }
        }

        /// Writes the values in row-major order.
        pub(super) fn write(tensor: &AnyTensor, writer: &mut dyn Write) -> io::Result<()> {
            match tensor {
                $(AnyTensor::$variant(tensor) => write_as(tensor, writer, <$type>::to_le_bytes),)*
                AnyTensor::Bool(tensor) => write_as(tensor, writer, |x| [u8::from(x)]),
            }
        }

        /// Creates a tensor from bytes, or returns an error message if the number
        /// of bytes, the type or a value is invalid.
        pub(super) fn from_bytes(
            dtype: Dtype,
            shape: Shape,
            bytes: &[u8],
        ) -> Result<AnyTensor, String> {
            Ok(match dtype {
                $(Dtype::$dtype => {
                    AnyTensor::$variant(read_as(shape, bytes, <$type>::from_le_bytes)?)
                })*
                Dtype::BOOL => {
                    if let Some(byte) = bytes.iter().find(|&&byte| byte > 1) {
                        return Err(format!("expected 0 or 1 for a boolean, got {byte}"));
                    }
                    AnyTensor::Bool(read_as(shape, bytes, |[byte]| byte == 1)?)
                }
                Dtype::F8_E4M3 => AnyTensor::F32(read_as(shape, bytes, from_e4m3)?),
                Dtype::F8_E5M2 => AnyTensor::F32(read_as(shape, bytes, from_e5m2)?),
                other => {
                    return Err(format!(
                        "elements of type {other} are not supported; convert them to F32 \
                         before saving"
                    ));
                }
            })
        }
    };
}

stored! {
    F32 F32 f32; F64 F64 f64; F16 F16 f16; BF16 BF16 bf16;
    U8 U8 u8; U16 U16 u16; U32 U32 u32; U64 U64 u64;
    I8 I8 i8; I16 I16 i16; I32 I32 i32; I64 I64 i64;
}

fn write_as<T: Element, const N: usize>(
    tensor: &Tensor<T>,
    writer: &mut dyn Write,
    to_bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let tensor = tensor.contiguous();
    let values = tensor.as_slice().expect("made contiguous");
    let mut bytes = Vec::new();
    for values in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|&value| to_bytes(value)));
        writer.write_all(&bytes)?;
    }
    Ok(())
}

fn read_as<T: Element, const N: usize>(
    shape: Shape,
    bytes: &[u8],
    from_bytes: impl Fn([u8; N]) -> T,
) -> Result<Tensor<T>, String> {
    let values = bytes.as_chunks::<N>().0.iter().map(|&bytes| from_bytes(bytes)).collect();
    Tensor::from_vec(values, shape).map_err(|error| error.to_string())
}

/// Converts PyTorch's `float8_e4m3fn`: 1 sign bit, 4 exponent bits, 3 fraction
/// bits, no infinity (Micikevicius et al., "FP8 formats for deep learning", 2022).
fn from_e4m3([bits]: [u8; 1]) -> f32 {
    let fraction = f32::from(bits & 7);
    let magnitude = match i32::from(bits >> 3 & 0xf) {
        0 => fraction * 2.0_f32.powi(-9),
        15 if bits & 7 == 7 => f32::NAN,
        exponent => (8.0 + fraction) * 2.0_f32.powi(exponent - 10),
    };
    if bits >> 7 == 0 { magnitude } else { -magnitude }
}

/// Converts PyTorch's `float8_e5m2`, the upper half of a half-precision float.
fn from_e5m2([bits]: [u8; 1]) -> f32 {
    f16::from_le_bytes([0, bits]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_comes_back() {
        let tensors: [AnyTensor; 13] = [
            Tensor::from([f16::from_f32(1.5), f16::INFINITY]).into(),
            Tensor::from([[bf16::from_f32(-0.1)], [bf16::from_f32(3e38)]]).into(),
            Tensor::from([1.5_f32, -0.0, f32::MIN_POSITIVE, f32::INFINITY]).into(),
            Tensor::from([[1.5_f64], [f64::MAX]]).into(),
            Tensor::from([0_u8, 255]).into(),
            Tensor::from([0_u16, 65535]).into(),
            Tensor::from([u32::MAX]).into(),
            Tensor::from([u64::MAX]).into(),
            Tensor::from([i8::MIN]).into(),
            Tensor::from([i16::MIN]).into(),
            Tensor::from([i32::MIN]).into(),
            Tensor::scalar(i64::MIN).into(),
            Tensor::from([true, false, true]).into(),
        ];
        for tensor in tensors {
            let mut bytes = Vec::new();
            write(&tensor, &mut bytes).unwrap();
            let back = from_bytes(dtype(&tensor), tensor.shape().clone(), &bytes);
            assert_eq!(back, Ok(tensor));
        }
    }

    #[test]
    fn strided_tensors_are_written_in_row_major_order() {
        let tensor = Tensor::from([[1_u8, 2, 3], [4, 5, 6]]).transpose(0, 1).unwrap();
        let mut bytes = Vec::new();
        write(&tensor.into(), &mut bytes).unwrap();
        assert_eq!(bytes, [1, 4, 2, 5, 3, 6]);
    }

    /// Expected values from PyTorch 2.15:
    /// `torch.tensor([bits], dtype=torch.uint8).view(dtype).float()`.
    #[test]
    fn eight_bits_are_read_exactly() {
        let cases: [(u8, f32, f32); 8] = [
            (0x00, 0.0, 0.0),
            (0x01, 0.001953125, 1.525_878_9e-5),
            (0x07, 0.013671875, 0.000_106_811_52),
            (0x38, 1.0, 0.5),
            (0x3c, 1.5, 1.0),
            (0xbd, -1.625, -1.25),
            (0x7b, 352.0, 57344.0),
            (0x7c, 384.0, f32::INFINITY),
        ];
        for (bits, e4m3, e5m2) in cases {
            assert_eq!([from_e4m3([bits]), from_e5m2([bits])], [e4m3, e5m2], "{bits:#04x}");
        }
        assert!(from_e4m3([0x7f]).is_nan() && from_e4m3([0xff]).is_nan());
        assert!(from_e5m2([0x7d]).is_nan() && from_e4m3([0x80]).is_sign_negative());
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let error = from_bytes(Dtype::BOOL, Shape::from([2]), &[1, 7]).unwrap_err();
        assert_eq!(error, "expected 0 or 1 for a boolean, got 7");
        let error = from_bytes(Dtype::F8_E8M0, Shape::from([1]), &[1]).unwrap_err();
        assert!(error.starts_with("elements of type F8_E8M0 are not supported"), "{error}");
    }
}
