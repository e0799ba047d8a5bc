//! Selection of SIMD instruction sets at run time.
//!
//! Kernels are ordinary loops over slices. [`dispatch`] compiles its closure
//! once for each instruction set and calls the widest version that the CPU
//! supports, so that the compiler's vectoriser can use registers beyond the
//! baseline of the build. Multiplications and additions are never contracted,
//! so the result does not depend on the instruction set.
//!
//! Only code that is inlined into the closure is compiled for the wider
//! registers. Mark closures and functions in it `#[inline(always)]`, and write
//! `for` loops: an adapter such as `for_each` is a function of the standard
//! library, which the compiler may not inline, and a loop that is not inlined
//! uses the baseline.
//!
//! The environment variable `DENDRA_SIMD` limits the instruction set to one of
//! the target's (`avx512` or `avx2` on x86, `neon` on ARM, `simd128` on
//! WebAssembly) or to `portable`, the baseline of the build, so that one machine
//! can test and measure all of them.

use std::env;
use std::sync::OnceLock;

/// The environment variable that limits the instruction set, read at the start.
const VARIABLE: &str = "DENDRA_SIMD";

/// An instruction set for which kernels are compiled, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum InstructionSet {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128,
}

/// The instruction sets of the target, in ascending order.
const NAMES: &[(&str, InstructionSet)] = &[
    ("portable", InstructionSet::Portable),
    #[cfg(target_arch = "x86_64")]
    ("avx2", InstructionSet::Avx2),
    #[cfg(target_arch = "x86_64")]
    ("avx512", InstructionSet::Avx512),
    #[cfg(target_arch = "aarch64")]
    ("neon", InstructionSet::Neon),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    ("simd128", InstructionSet::Simd128),
];

/// The widest instruction set of the target.
const WIDEST: InstructionSet = NAMES[NAMES.len() - 1].1;

/// The widest instruction set that this CPU has and the variable allows. It is
/// determined once.
#[inline]
fn instruction_set() -> InstructionSet {
    // WebAssembly has no variables, and a module states what it needs.
    if cfg!(target_arch = "wasm32") {
        return WIDEST;
    }
    static FOUND: OnceLock<InstructionSet> = OnceLock::new();
    *FOUND.get_or_init(|| detected().min(limit()))
}

/// The instruction set of the CPU. Kernels for AVX-512 use the parts F, BW, DQ
/// and VL; those for AVX2 use FMA too. Every 64-bit ARM has NEON.
fn detected() -> InstructionSet {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match (avx2, avx512) {
            (true, true) => InstructionSet::Avx512,
            (true, false) => InstructionSet::Avx2,
            _ => InstructionSet::Portable,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    WIDEST
}

/// The limit from the environment variable.
fn limit() -> InstructionSet {
    let Ok(text) = env::var(VARIABLE) else { return WIDEST };
    parsed(&text).unwrap_or_else(|| {
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        eprintln!("{VARIABLE} is not used: expected one of {names:?}, got {text:?}");
        WIDEST
    })
}

fn parsed(text: &str) -> Option<InstructionSet> {
    NAMES.iter().find(|(name, _)| *name == text.trim()).map(|&(_, set)| set)
}

/// Runs `kernel` compiled for the widest instruction set of this CPU, or the
/// one that `DENDRA_SIMD` allows.
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

/// Prefetches the cache lines of a slice into the second-level cache.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in slice.chunks((64 / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch affects only the caches, and every x86-64 CPU
        // supports it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slice;
}

/// Prefetches a cache line, which need not exist, into the first-level cache.
#[inline(always)]
pub(crate) fn prefetch_line<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch affects only the caches, and every x86-64 CPU
        // supports it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Whether kernels for AVX-512 may run. AVX2 and FMA are then available, too.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512() -> bool {
    instruction_set() == InstructionSet::Avx512
}

/// Whether kernels for AVX2 with fused multiplication and addition may run.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx2() -> bool {
    instruction_set() >= InstructionSet::Avx2
}

/// Whether kernels for NEON may run.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) fn has_neon() -> bool {
    instruction_set() == InstructionSet::Neon
}

/// Whether kernels for WebAssembly's `simd128` may run.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
pub(crate) fn has_simd128() -> bool {
    instruction_set() == InstructionSet::Simd128
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_known_instruction_sets_are_taken() {
        assert_eq!(parsed(" portable "), Some(InstructionSet::Portable));
        assert_eq!(["PORTABLE", "sse", ""].map(parsed), [None; 3]);
    }

    /// The test that the next one runs with the variable set.
    #[test]
    fn no_more_than_the_variable_allows_is_used() {
        assert!(instruction_set() <= limit() && instruction_set() <= detected());
    }

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "emulators cannot start programs")]
    fn the_variable_is_read_when_the_program_starts() {
        for (name, _) in NAMES {
            let mut test = Command::new(env::current_exe().unwrap());
            test.args([
                "--exact",
                "kernels::simd::tests::no_more_than_the_variable_allows_is_used",
            ]);
            let output = test.env(VARIABLE, name).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
        }
    }
}
