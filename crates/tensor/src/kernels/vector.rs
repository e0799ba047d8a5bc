//! Vector registers, for kernels whose speed depends on the values that stay in
//! them.
//!
//! Most kernels are plain loops, which the compiler vectorises with
//! [`simd::dispatch`]. A kernel that keeps many sums in registers at once is
//! written for a [`Vector`] instead, and [`Float::vectorised`] runs it with the
//! widest one of the CPU. Products and sums are fused if the CPU supports it,
//! and the number of lanes differs, so the last bits of a result may depend on
//! the CPU; they never depend on the number of threads.

#[cfg(target_arch = "x86_64")]
use super::simd;
use crate::element::Float;

/// An array of `f` of each index, like [`std::array::from_fn`]. The standard
/// function must drop its values if `f` panics, and so compiles to many times
/// the code, in each of hundreds of kernels.
///
/// N is not 0.
#[inline(always)]
pub(crate) fn from_fn<const N: usize, E: Copy>(mut f: impl FnMut(usize) -> E) -> [E; N] {
    let mut elements = [f(0); N];
    let mut index = 1;
    while index < N {
        elements[index] = f(index);
        index += 1;
    }
    elements
}

/// A kernel for vectors of `T`.
///
/// Implement `run` as `#[inline(always)]`, and so all functions that it calls
/// in its loops, because it is compiled once for each instruction set.
pub trait Kernel<T> {
    /// The result of the kernel.
    type Output;

    /// Runs it with vectors `V`.
    fn run<V: Vector<T>>(self) -> Self::Output;
}

/// Several numbers that are processed at once.
///
/// Only [`Float::vectorised`] passes an implementation to a kernel, and only
/// one that the CPU supports.
pub trait Vector<T>: Copy {
    /// The number of numbers in the vector.
    const LANES: usize;

    /// The number of registers of a CPU with such vectors.
    const REGISTERS: usize;

    /// One number in every lane.
    fn splat(x: T) -> Self;

    /// The first numbers of a slice.
    ///
    /// # Panics
    ///
    /// When there are fewer numbers than lanes.
    fn load(from: &[T]) -> Self;

    /// The first numbers of a slice, which may have fewer than lanes; the other
    /// lanes are 0.
    fn load_part(from: &[T]) -> Self;

    /// Writes the numbers to the start of a slice.
    ///
    /// # Panics
    ///
    /// When the slice is shorter.
    fn store(self, to: &mut [T]);

    /// Writes as many numbers as fit into a slice, which may be shorter than
    /// the number of lanes.
    fn store_part(self, to: &mut [T]);

    /// `self + other`.
    fn plus(self, other: Self) -> Self;

    /// `self − other`.
    fn minus(self, other: Self) -> Self;

    /// `self · other`.
    fn times(self, other: Self) -> Self;

    /// `self + a · b`, rounded once if the CPU supports it.
    fn plus_product(self, a: Self, b: Self) -> Self;

    /// The sum of all lanes, in a fixed order.
    fn total(self) -> T;

    /// The lanes of both vectors interleaved, `self[0], other[0], self[1], …`,
    /// as the first and the second half.
    fn zip(self, other: Self) -> [Self; 2];
}

/// Lanes for any number type on any CPU, as arrays that the compiler may
/// vectorise.
#[derive(Clone, Copy)]
struct Portable<T>([T; 8]);

impl<T: Float> Vector<T> for Portable<T> {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    fn splat(x: T) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    fn load(from: &[T]) -> Self {
        Self(*from.first_chunk().expect("as many numbers as lanes"))
    }

    #[inline(always)]
    fn load_part(from: &[T]) -> Self {
        if from.len() >= 8 {
            return Self::load(from);
        }
        let mut lanes = [T::ZERO; 8];
        for (lane, &x) in lanes.iter_mut().zip(from) {
            *lane = x;
        }
        Self(lanes)
    }

    #[inline(always)]
    fn store(self, to: &mut [T]) {
        *to.first_chunk_mut().expect("as many elements as lanes") = self.0;
    }

    #[inline(always)]
    fn store_part(self, to: &mut [T]) {
        if to.len() >= 8 {
            return self.store(to);
        }
        for (to, lane) in to.iter_mut().zip(self.0) {
            *to = lane;
        }
    }

    #[inline(always)]
    fn plus(mut self, other: Self) -> Self {
        for i in 0..8 {
            self.0[i] += other.0[i];
        }
        self
    }

    #[inline(always)]
    fn minus(mut self, other: Self) -> Self {
        for i in 0..8 {
            self.0[i] -= other.0[i];
        }
        self
    }

    #[inline(always)]
    fn times(mut self, other: Self) -> Self {
        for i in 0..8 {
            self.0[i] *= other.0[i];
        }
        self
    }

    #[inline(always)]
    fn plus_product(mut self, a: Self, b: Self) -> Self {
        for i in 0..8 {
            self.0[i] += a.0[i] * b.0[i];
        }
        self
    }

    #[inline(always)]
    fn total(self) -> T {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    fn zip(self, other: Self) -> [Self; 2] {
        let lane = |i: usize| if i.is_multiple_of(2) { self.0[i / 2] } else { other.0[i / 2] };
        [Self(from_fn(lane)), Self(from_fn(|i| lane(8 + i)))]
    }
}

/// Runs a kernel of any number type.
#[inline]
pub(crate) fn portable<T: Float, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<Portable<T>>()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Vector};

    /// Runs a kernel compiled for AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) fn run_avx512<T, V: Vector<T>, K: Kernel<T>>(kernel: K) -> K::Output {
        kernel.run::<V>()
    }

    /// Runs a kernel compiled for AVX2 with fused multiplication and addition.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run_avx2<T, V: Vector<T>, K: Kernel<T>>(kernel: K) -> K::Output {
        kernel.run::<V>()
    }

    /// Defines vectors of one register.
    macro_rules! vectors {
        ($(
            $name:ident($register:ty) = $lanes:literal of $type:ty, $registers:literal registers:
            splat $splat:ident, load $load:ident, store $store:ident, add $add:ident,
            subtract $subtract:ident, multiply $multiply:ident, multiply_add $multiply_add:ident,
            part |$from:ident, $to:ident, $value:ident, $count:ident|
                load $load_part:expr, store $store_part:expr,
            total |$total:ident| $sum:expr,
            zip |$left:ident, $right:ident| $zip:expr;
        )*) => {$(
            #[derive(Clone, Copy)]
            pub(super) struct $name($register);

            // SAFETY of all blocks below: the type is only used by kernels that
            // run on a CPU with its instructions, and the lengths of the slices
            // are checked before.
            impl Vector<$type> for $name {
                const LANES: usize = $lanes;
                const REGISTERS: usize = $registers;

                #[inline(always)]
                fn splat(x: $type) -> Self {
                    // SAFETY: the CPU has the instruction, see above.
                    Self(unsafe { $splat(x) })
                }

                #[inline(always)]
                fn load(from: &[$type]) -> Self {
                    let from = &from[..$lanes];
                    // SAFETY: the CPU has the instruction, and the slice has as
                    // many numbers as it reads.
                    Self(unsafe { $load(from.as_ptr()) })
                }

                #[inline(always)]
                fn load_part(from: &[$type]) -> Self {
                    let ($from, $count) = (from.as_ptr(), from.len().min($lanes));
                    // SAFETY: the CPU has the instruction, and it reads only
                    // the first `count` numbers.
                    Self(unsafe { $load_part })
                }

                #[inline(always)]
                fn store(self, to: &mut [$type]) {
                    let to = &mut to[..$lanes];
                    // SAFETY: the CPU has the instruction, and the slice has as
                    // many numbers as it writes.
                    unsafe { $store(to.as_mut_ptr(), self.0) }
                }

                #[inline(always)]
                fn store_part(self, to: &mut [$type]) {
                    if to.len() >= $lanes {
                        return self.store(to);
                    }
                    let ($to, $count, $value) = (to.as_mut_ptr(), to.len(), self.0);
                    // SAFETY: the CPU has the instruction, and it writes only
                    // the first `count` numbers.
                    unsafe { $store_part }
                }

                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instruction, see above.
                    Self(unsafe { $add(self.0, other.0) })
                }

                #[inline(always)]
                fn minus(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instruction, see above.
                    Self(unsafe { $subtract(self.0, other.0) })
                }

                #[inline(always)]
                fn times(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instruction, see above.
                    Self(unsafe { $multiply(self.0, other.0) })
                }

                #[inline(always)]
                fn plus_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: the CPU has the instruction, see above.
                    Self(unsafe { $multiply_add(a.0, b.0, self.0) })
                }

                #[inline(always)]
                fn total(self) -> $type {
                    let $total = self.0;
                    // SAFETY: the CPU has the instructions, see above.
                    unsafe { $sum }
                }

                #[inline(always)]
                fn zip(self, other: Self) -> [Self; 2] {
                    let ($left, $right) = (self.0, other.0);
                    // SAFETY: the CPU has the instructions, see above.
                    unsafe { $zip.map(Self) }
                }
            }
        )*};
    }

    vectors! {
        Avx512F32(__m512) = 16 of f32, 32 registers:
        splat _mm512_set1_ps, load _mm512_loadu_ps, store _mm512_storeu_ps, add _mm512_add_ps,
        subtract _mm512_sub_ps, multiply _mm512_mul_ps, multiply_add _mm512_fmadd_ps,
        part |from, to, value, count|
            load _mm512_maskz_loadu_ps((1u32 << count).wrapping_sub(1) as u16, from),
            store _mm512_mask_storeu_ps(to, (1u32 << count).wrapping_sub(1) as u16, value),
        total |x| _mm512_reduce_add_ps(x),
        zip |left, right| {
            let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
            [first, second].map(|lanes| _mm512_permutex2var_ps(left, lanes, right))
        };

        Avx512F64(__m512d) = 8 of f64, 32 registers:
        splat _mm512_set1_pd, load _mm512_loadu_pd, store _mm512_storeu_pd, add _mm512_add_pd,
        subtract _mm512_sub_pd, multiply _mm512_mul_pd, multiply_add _mm512_fmadd_pd,
        part |from, to, value, count|
            load _mm512_maskz_loadu_pd((1u32 << count).wrapping_sub(1) as u8, from),
            store _mm512_mask_storeu_pd(to, (1u32 << count).wrapping_sub(1) as u8, value),
        total |x| _mm512_reduce_add_pd(x),
        zip |left, right| {
            let first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let second = _mm512_add_epi64(first, _mm512_set1_epi64(4));
            [first, second].map(|lanes| _mm512_permutex2var_pd(left, lanes, right))
        };

        Avx2F32(__m256) = 8 of f32, 16 registers:
        splat _mm256_set1_ps, load _mm256_loadu_ps, store _mm256_storeu_ps, add _mm256_add_ps,
        subtract _mm256_sub_ps, multiply _mm256_mul_ps, multiply_add _mm256_fmadd_ps,
        part |from, to, value, count|
            load _mm256_maskload_ps(from, first_of_8(count)),
            store store_first_of_8(to, count, value),
        total |x| {
            let halves = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
            _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
        },
        zip |left, right| {
            let (low, high) = (_mm256_unpacklo_ps(left, right), _mm256_unpackhi_ps(left, right));
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        };

        Avx2F64(__m256d) = 4 of f64, 16 registers:
        splat _mm256_set1_pd, load _mm256_loadu_pd, store _mm256_storeu_pd, add _mm256_add_pd,
        subtract _mm256_sub_pd, multiply _mm256_mul_pd, multiply_add _mm256_fmadd_pd,
        part |from, to, value, count|
            load _mm256_maskload_pd(from, first_of_4(count)),
            store _mm256_maskstore_pd(to, first_of_4(count), value),
        total |x| {
            let halves = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
            _mm_cvtsd_f64(_mm_add_sd(halves, _mm_unpackhi_pd(halves, halves)))
        },
        zip |left, right| {
            let (low, high) = (_mm256_unpacklo_pd(left, right), _mm256_unpackhi_pd(left, right));
            [_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high)]
        };
    }

    /// All bits in the first `count` lanes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn first_of_8(count: usize) -> __m256i {
        let numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), numbers)
    }

    /// Writes the first lanes, fewer than all. AMD's processors before Zen 4
    /// take tens of cycles for a masked store.
    ///
    /// # Safety
    ///
    /// `to` has memory for `count` numbers.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn store_first_of_8(mut to: *mut f32, count: usize, value: __m256) {
        let mut rest = _mm256_castps256_ps128(value);
        // SAFETY: the number of written numbers is that of the bits of the
        // count.
        unsafe {
            if count & 4 != 0 {
                _mm_storeu_ps(to, rest);
                to = to.add(4);
                rest = _mm256_extractf128_ps::<1>(value);
            }
            if count & 2 != 0 {
                to.cast::<f64>().write_unaligned(_mm_cvtsd_f64(_mm_castps_pd(rest)));
                to = to.add(2);
                rest = _mm_movehl_ps(rest, rest);
            }
            if count & 1 != 0 {
                to.write(_mm_cvtss_f32(rest));
            }
        }
    }

    /// All bits in the first `count` lanes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn first_of_4(count: usize) -> __m256i {
        let numbers = _mm256_setr_epi64x(0, 1, 2, 3);
        _mm256_cmpgt_epi64(_mm256_set1_epi64x(count as i64), numbers)
    }
}

macro_rules! runners {
    ($($type:ident, $each:ident: $avx512:ident $avx2:ident;)*) => {$(
        /// Runs a kernel with the widest vectors of this CPU.
        #[inline]
        pub(crate) fn $type<K: Kernel<$type>>(kernel: K) -> K::Output {
            #[cfg(target_arch = "x86_64")]
            {
                if simd::has_avx512() {
                    // SAFETY: the CPU has the features.
                    return unsafe { x86::run_avx512::<$type, x86::$avx512, K>(kernel) };
                }
                if simd::has_avx2() {
                    // SAFETY: the CPU has the features.
                    return unsafe { x86::run_avx2::<$type, x86::$avx2, K>(kernel) };
                }
            }
            portable(kernel)
        }

        /// Runs a kernel once with each kind of vectors that this CPU has.
        #[cfg(test)]
        pub(crate) fn $each<K: Kernel<$type> + Clone>(kernel: &K) -> Vec<K::Output> {
            let mut outputs = vec![portable(kernel.clone())];
            #[cfg(target_arch = "x86_64")]
            {
                if simd::has_avx2() {
                    // SAFETY: the CPU has the features.
                    let output = unsafe {
                        x86::run_avx2::<$type, x86::$avx2, K>(kernel.clone())
                    };
                    outputs.push(output);
                }
                if simd::has_avx512() {
                    // SAFETY: the CPU has the features.
                    let output = unsafe {
                        x86::run_avx512::<$type, x86::$avx512, K>(kernel.clone())
                    };
                    outputs.push(output);
                }
            }
            outputs
        }
    )*};
}
runners! { f32, f32_each: Avx512F32 Avx2F32; f64, f64_each: Avx512F64 Avx2F64; }

/// Asserts that each kind of vectors gives the same result as the portable
/// ones, within a tolerance.
#[cfg(test)]
pub(crate) fn assert_kinds_agree<K>(kernel: &K, tolerance: f32, case: &str)
where
    K: Kernel<f32, Output = Vec<f32>> + Clone,
{
    let kinds = f32_each(kernel);
    assert!(!kinds[0].is_empty(), "{case}");
    for kind in &kinds[1..] {
        assert_eq!(kind.len(), kinds[0].len(), "{case}");
        for (a, b) in kind.iter().zip(&kinds[0]) {
            assert!((a - b).abs() < tolerance, "{case}: {a}, {b}");
        }
    }
}

#[cfg(test)]
mod tests;
