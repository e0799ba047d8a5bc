//! SIMD chosen at run time.
//!
//! Kernels are ordinary loops over slices. [`dispatch`] compiles the closure
//! it is given once per instruction set and calls the widest that the CPU
//! has, so that the compiler's vectoriser can use registers which the build's
//! baseline does not have. Multiplications and additions are never contracted,
//! so the result does not depend on the instruction set.
//!
//! Only what is inlined into the closure is compiled for the wider registers.
//! Mark closures and functions in it `#[inline(always)]`, and write `for` loops:
//! an adapter such as `for_each` is a function of the standard library, which
//! the compiler inlines or not, and a loop left outside has the baseline's.

/// Runs `kernel` compiled for the widest instruction set of this CPU.
#[inline]
pub fn dispatch<R>(kernel: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<R>(kernel: impl FnOnce() -> R) -> R {
            kernel()
        }

        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(kernel: impl FnOnce() -> R) -> R {
            kernel()
        }

        if has_avx512() {
            // SAFETY: the features were just detected.
            return unsafe { avx512(kernel) };
        }
        if has_avx2() {
            // SAFETY: the features were just detected.
            return unsafe { avx2(kernel) };
        }
    }
    kernel()
}

/// Asks for the cache lines of a slice, to have them in the second-level cache
/// when they are read.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in slice.chunks((64 / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: it has no effect but on the caches, and every x86-64 CPU has
        // it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slice;
}

/// Whether the CPU has the parts of AVX-512 that kernels are compiled for;
/// AVX2 and FMA come with them.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && has_avx2()
}

/// Whether the CPU has AVX2 and fused multiplication and addition.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}
