//! Conversions beside the definitions of the types, and tensors of halves.

use super::*;
use crate::random::Rng;

/// The value of an `f16` by its definition.
fn defined_f16(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2.0_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1024.0 + fraction) * 2.0_f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// The value of a `bf16` by its definition.
fn defined_bf16(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x7f);
    let magnitude = match i32::from(bits >> 7 & 0xff) {
        0 => fraction * 2.0_f64.powi(-133),
        255 if fraction == 0.0 => f64::INFINITY,
        255 => f64::NAN,
        exponent => (128.0 + fraction) * 2.0_f64.powi(exponent - 134),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// Every value, and every point in the middle of two neighbours and next to it, in `f32` and `f64`.
fn every_value_and_every_tie<H: Half>(defined: fn(u16) -> f64) {
    for bits in 0..=u16::MAX {
        let half = H::from_bits(bits);
        let value = defined(bits);
        if value.is_nan() {
            assert!(half.to_f32().is_nan() && H::from_f32(half.to_f32()).to_f32().is_nan());
            continue;
        }
        assert_eq!(half.to_f64().to_bits(), value.to_bits(), "{bits:#06x}");
        assert_eq!(H::from_f32(half.to_f32()).to_bits(), bits);
        assert_eq!(H::from_f64(value).to_bits(), bits);
        let next = defined(bits.wrapping_add(1));
        if bits & 0x7fff == 0x7fff || !next.is_finite() || !value.is_finite() {
            continue;
        }
        let even = if bits & 1 == 0 { bits } else { bits + 1 };
        let middle = value + (next - value) / 2.0;
        assert_eq!(f64::from(middle as f32), middle, "f32 holds the middle");
        assert_eq!(H::from_f32(middle as f32).to_bits(), even, "{middle:e}");
        // So near to the middle that f32 would lose the difference.
        for (factor, expected) in [(1.0 - f64::EPSILON, bits), (1.0 + f64::EPSILON, bits + 1)] {
            assert_eq!(H::from_f64(middle * factor).to_bits(), expected, "{middle:e} · {factor}");
        }
    }
}

#[test]
fn every_half_is_converted_exactly_and_every_tie_to_the_even_one() {
    every_value_and_every_tie::<f16>(defined_f16);
    every_value_and_every_tie::<bf16>(defined_bf16);
}

#[test]
fn values_beyond_the_largest_one_are_infinite() {
    assert_eq!(f16::from_f32(65519.996).to_f32(), 65504.0);
    assert_eq!(f16::from_f32(65520.0), f16::INFINITY);
    assert_eq!(f16::from_f64(-1e300), f16::NEG_INFINITY);
    assert_eq!(bf16::from_f32(f32::MAX), bf16::INFINITY);
    assert_eq!(bf16::from_f64(1e39), bf16::INFINITY);
    assert_eq!(f16::from_f64(1e-300).to_bits(), 0);
    assert_eq!(bf16::from_f64(-1e-300).to_bits(), 0x8000);
}

#[test]
fn slices_are_converted_to_the_bits_of_single_values() {
    let mut rng = Rng::seed(1);
    // Random bits: all exponents, NaN with any payload.
    let floats: Vec<f32> =
        (0..100_003).map(|_| f32::from_bits(rng.next_u64() as u32)).chain([f32::NAN]).collect();
    fn check<H: Half>(floats: &[f32]) {
        let mut narrow = vec![H::ZERO; floats.len()];
        H::narrow(floats, &mut narrow);
        for (&x, half) in floats.iter().zip(&narrow) {
            assert_eq!(half.to_bits(), H::from_f32(x).to_bits(), "{:#010x}", x.to_bits());
        }
        let halves: Vec<H> = (0..=u16::MAX).map(H::from_bits).chain([H::ONE; 3]).collect();
        let mut wide = vec![0.0; halves.len()];
        H::widen(&halves, &mut wide);
        for (half, x) in halves.iter().zip(&wide) {
            assert_eq!(x.to_bits(), half.to_f32().to_bits(), "{:#06x}", half.to_bits());
        }
    }
    check::<f16>(&floats);
    check::<bf16>(&floats);
}

#[test]
fn tensors_are_cast_to_and_from_all_number_types() {
    let x = Tensor::from([[1.0_f32, -2.5, 3.0e5], [0.1, f32::NAN, 7.0]]);
    let half: Tensor<f16> = x.cast();
    assert_eq!(format!("{half:?}"), "Tensor<f16> [2, 3] [[1, -2.5, inf],\n [0.099975586, NaN, 7]]");
    let turned = x.transpose(0, 1).unwrap().cast::<bf16>();
    assert_eq!(turned.to_vec()[1].to_f32(), 0.100_097_656);
    assert_eq!(turned.cast::<f64>().to_vec()[0], 1.0);
    assert_eq!(half.cast::<bf16>().to_vec()[1], bf16::from_f32(-2.5));
    assert_eq!(half.cast::<i64>().to_vec(), [1, -2, i64::MAX, 0, 0, 7]);
    assert_eq!(Tensor::from([3_u8, 255]).cast::<bf16>().cast::<f32>().to_vec(), [3.0, 255.0]);
    assert_eq!(Tensor::from([true]).cast::<f16>(), Tensor::from([f16::ONE]));
    // f64 is rounded once: by way of f32, this would become 1.
    let above = 1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-40);
    assert_eq!(Tensor::from([above]).cast::<f16>().to_vec()[0].to_bits(), 0x3c01);
}

fn values(x: &Tensor<f16>) -> Vec<f32> {
    x.cast::<f32>().to_vec()
}

#[test]
fn tensors_of_halves_have_the_functions_of_position_and_order() {
    let x = Tensor::<f16>::arange(6).reshape([2, 3]).unwrap();
    let turned = x.transpose(0, 1).unwrap();
    assert_eq!(values(&turned), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(values(&x.narrow(1, 1, 2).unwrap()), [1.0, 2.0, 4.0, 5.0]);
    assert_eq!(values(&x.index_select(0, &[1]).unwrap()), [3.0, 4.0, 5.0]);
    let both = Tensor::cat(&[&x, &x], 0).unwrap();
    assert_eq!(*both.shape(), [4, 3]);
    assert_eq!(x.argmax(1).unwrap().to_vec(), [2, 2]);
    let sum = (&x + &x) * f16::from_f32(0.5);
    assert_eq!(sum, x);
    // 2048 + 1 is no f16: each result is rounded.
    let large = Tensor::from([f16::from_f32(2048.0)]);
    assert_eq!((&large + &Tensor::from([f16::ONE])).to_vec()[0].to_f32(), 2048.0);
    assert_eq!([f16::ONE; 4096].into_iter().sum::<f16>().to_f32(), 4096.0);
    assert!(Tensor::from([f16::NAN]) != Tensor::from([f16::NAN]));
    assert!(f16::from_f32(-0.0) == f16::ZERO && -f16::ONE < f16::ZERO);
}
