//! Vectors of 64-bit ARM, every one of which has NEON.

#![allow(unused_unsafe, reason = "functions of NEON are safe where it is always available")]

use std::arch::aarch64::*;

use super::{Vector, from_fn, padded, store_lanes};

vectors! {
    NeonF32(float32x4_t) = 4 of f32, 32 registers:
    splat vdupq_n_f32, load vld1q_f32, store vst1q_f32, add vaddq_f32,
    subtract vsubq_f32, multiply vmulq_f32,
    multiply_add |sum, a, b| vfmaq_f32(sum, a, b),
    part |from, to, value, count|
        load match count {
            4 => vld1q_f32(from),
            _ => vld1q_f32(padded::<f32, 4>(from, count).as_ptr()),
        },
        store {
            let mut lanes = [0.0; 4];
            vst1q_f32(lanes.as_mut_ptr(), value);
            store_lanes(lanes, to, count);
        },
    total |x| {
        let pairs = vadd_f32(vget_low_f32(x), vget_high_f32(x));
        vpadds_f32(pairs)
    },
    columns |from, step| {
        let [a, b, c, d] = from_fn(|i| vld1q_f32(from.add(i * step)));
        let (ac, bd) = (
            [vzip1q_f32(a, c), vzip2q_f32(a, c)],
            [vzip1q_f32(b, d), vzip2q_f32(b, d)],
        );
        [
            vzip1q_f32(ac[0], bd[0]),
            vzip2q_f32(ac[0], bd[0]),
            vzip1q_f32(ac[1], bd[1]),
            vzip2q_f32(ac[1], bd[1]),
        ]
    };

    NeonF64(float64x2_t) = 2 of f64, 32 registers:
    splat vdupq_n_f64, load vld1q_f64, store vst1q_f64, add vaddq_f64,
    subtract vsubq_f64, multiply vmulq_f64,
    multiply_add |sum, a, b| vfmaq_f64(sum, a, b),
    part |from, to, value, count|
        load match count {
            2 => vld1q_f64(from),
            _ => vld1q_f64(padded::<f64, 2>(from, count).as_ptr()),
        },
        store {
            let mut lanes = [0.0; 2];
            vst1q_f64(lanes.as_mut_ptr(), value);
            store_lanes(lanes, to, count);
        },
    total |x| vpaddd_f64(x),
    columns |from, step| {
        let [a, b] = from_fn(|i| vld1q_f64(from.add(i * step)));
        [vzip1q_f64(a, b), vzip2q_f64(a, b)]
    };
}
