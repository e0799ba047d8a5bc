//! Vectors of WebAssembly's `simd128`, which has no fused multiplication and
//! addition.

#![allow(unused_unsafe, reason = "only loads and stores are unsafe functions")]

use std::arch::wasm32::*;

use super::{Vector, from_fn, padded, store_lanes};

/// # Safety
///
/// 16 bytes can be read there.
#[inline(always)]
unsafe fn load<T>(from: *const T) -> v128 {
    // SAFETY: guaranteed by the caller.
    unsafe { v128_load(from.cast()) }
}

/// # Safety
///
/// 16 bytes can be written there.
#[inline(always)]
unsafe fn store<T>(to: *mut T, value: v128) {
    // SAFETY: guaranteed by the caller.
    unsafe { v128_store(to.cast(), value) }
}

vectors! {
    Simd128F32(v128) = 4 of f32, 16 registers:
    splat f32x4_splat, load load, store store, add f32x4_add,
    subtract f32x4_sub, multiply f32x4_mul,
    multiply_add |sum, a, b| f32x4_add(sum, f32x4_mul(a, b)),
    part |from, to, value, count|
        load match count {
            4 => load(from),
            _ => load(padded::<f32, 4>(from, count).as_ptr()),
        },
        store {
            let mut lanes = [0.0_f32; 4];
            store(lanes.as_mut_ptr(), value);
            store_lanes(lanes, to, count);
        },
    total |x| {
        let pairs = f32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
        f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<1>(pairs)
    },
    columns |from, step| {
        let [a, b, c, d] = from_fn(|i| load(from.add(i * step)));
        let low = |x, y| i32x4_shuffle::<0, 4, 1, 5>(x, y);
        let high = |x, y| i32x4_shuffle::<2, 6, 3, 7>(x, y);
        let (ac, bd) = ([low(a, c), high(a, c)], [low(b, d), high(b, d)]);
        [low(ac[0], bd[0]), high(ac[0], bd[0]), low(ac[1], bd[1]), high(ac[1], bd[1])]
    };

    Simd128F64(v128) = 2 of f64, 16 registers:
    splat f64x2_splat, load load, store store, add f64x2_add,
    subtract f64x2_sub, multiply f64x2_mul,
    multiply_add |sum, a, b| f64x2_add(sum, f64x2_mul(a, b)),
    part |from, to, value, count|
        load match count {
            2 => load(from),
            _ => load(padded::<f64, 2>(from, count).as_ptr()),
        },
        store {
            let mut lanes = [0.0_f64; 2];
            store(lanes.as_mut_ptr(), value);
            store_lanes(lanes, to, count);
        },
    total |x| f64x2_extract_lane::<0>(x) + f64x2_extract_lane::<1>(x),
    columns |from, step| {
        let (a, b) = (load(from), load(from.add(step)));
        [i64x2_shuffle::<0, 2>(a, b), i64x2_shuffle::<1, 3>(a, b)]
    };
}
