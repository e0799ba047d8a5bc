//! Vector registers, for kernels whose speed depends on the values that stay in
//! them.
//!
//! Most kernels are plain loops, which the compiler vectorises with
//! [`simd::dispatch`]. A kernel that keeps many sums in registers at once is
//! written for a [`Vector`] instead, and [`Float::vectorised`] runs it with the
//! widest one of the CPU. Products and sums are fused if the CPU supports it,
//! and the number of lanes differs, so the last bits of a result may depend on
//! the CPU; they never depend on the number of threads.

#[allow(unused_imports, reason = "some CPUs have only the portable vectors")]
use super::simd;
use crate::element::Float;
use portable::Portable;

/// Defines vectors of one register by the functions of an instruction set.
macro_rules! vectors {
    ($(
        $name:ident($register:ty) = $lanes:literal of $type:ty, $registers:literal registers:
        splat $splat:ident, load $load:ident, store $store:ident, add $add:ident,
        subtract $subtract:ident, multiply $multiply:ident,
        multiply_add |$sum:ident, $a:ident, $b:ident| $multiply_add:expr,
        part |$from:ident, $to:ident, $value:ident, $count:ident|
            load $load_part:expr, store $store_part:expr,
        total |$total:ident| $total_of:expr,
        columns |$first:ident, $step:ident| $columns:expr;
    )*) => {$(
        #[derive(Clone, Copy)]
        pub(in crate::kernels) struct $name($register);

        // SAFETY of all blocks below: the type is only used by kernels that
        // run on a CPU with its instructions.
        impl Vector<$type> for $name {
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            type Square = [Self; $lanes];

            #[inline(always)]
            fn splat(x: $type) -> Self {
                // SAFETY: the CPU has the instruction, see above.
                Self(unsafe { $splat(x) })
            }

            /// # Safety
            ///
            /// That of the method of the trait.
            #[inline(always)]
            unsafe fn load_from(from: *const $type) -> Self {
                // SAFETY: the CPU has the instruction, and the caller
                // guarantees that the numbers can be read.
                Self(unsafe { $load(from) })
            }

            /// # Safety
            ///
            /// That of the method of the trait.
            #[inline(always)]
            unsafe fn load_first($from: *const $type, $count: usize) -> Self {
                // SAFETY: as above; only the first numbers are read.
                Self(unsafe { $load_part })
            }

            /// # Safety
            ///
            /// That of the method of the trait.
            #[inline(always)]
            unsafe fn store_to(self, to: *mut $type) {
                // SAFETY: the CPU has the instruction, and the caller
                // guarantees that the numbers can be written.
                unsafe { $store(to, self.0) }
            }

            /// # Safety
            ///
            /// That of the method of the trait.
            #[inline(always)]
            unsafe fn store_first(self, $to: *mut $type, $count: usize) {
                let $value = self.0;
                // SAFETY: as above; only the first numbers are written.
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
                let ($sum, $a, $b) = (self.0, a.0, b.0);
                // SAFETY: the CPU has the instruction, see above.
                Self(unsafe { $multiply_add })
            }

            #[inline(always)]
            fn total(self) -> $type {
                let $total = self.0;
                // SAFETY: the CPU has the instructions, see above.
                unsafe { $total_of }
            }

            /// # Safety
            ///
            /// That of the method of the trait.
            #[inline(always)]
            unsafe fn load_columns($first: *const $type, $step: usize) -> [Self; $lanes] {
                // SAFETY: the CPU has the instructions, and the caller guarantees that the rows
                // can be read.
                let columns = unsafe { $columns };
                from_fn(|i| Self(columns[i]))
            }
        }
    )*};
}

#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) mod simd128;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

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

    /// As many vectors as lanes.
    type Square: AsRef<[Self]>;

    /// One number in every lane.
    fn splat(x: T) -> Self;

    /// The numbers at an address.
    ///
    /// # Safety
    ///
    /// As many numbers as lanes can be read there.
    unsafe fn load_from(from: *const T) -> Self;

    /// The first `count` numbers at an address, at most as many as lanes; the
    /// other lanes are 0.
    ///
    /// # Safety
    ///
    /// So many numbers can be read there.
    unsafe fn load_first(from: *const T, count: usize) -> Self;

    /// Writes the numbers to an address.
    ///
    /// # Safety
    ///
    /// As many numbers as lanes can be written there.
    unsafe fn store_to(self, to: *mut T);

    /// Writes the first `count` numbers, fewer than lanes, to an address.
    ///
    /// # Safety
    ///
    /// So many numbers can be written there.
    unsafe fn store_first(self, to: *mut T, count: usize);

    /// The first numbers of a slice.
    ///
    /// # Panics
    ///
    /// When there are fewer numbers than lanes.
    #[inline(always)]
    fn load(from: &[T]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: the slice has as many numbers as lanes.
        unsafe { Self::load_from(from.as_ptr()) }
    }

    /// The first numbers of a slice, which may have fewer than lanes; the other
    /// lanes are 0.
    #[inline(always)]
    fn load_part(from: &[T]) -> Self {
        // SAFETY: the slice has so many numbers.
        unsafe { Self::load_first(from.as_ptr(), from.len().min(Self::LANES)) }
    }

    /// Writes the numbers to the start of a slice.
    ///
    /// # Panics
    ///
    /// When the slice is shorter.
    #[inline(always)]
    fn store(self, to: &mut [T]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: the slice has as many elements as lanes.
        unsafe { self.store_to(to.as_mut_ptr()) }
    }

    /// Writes as many numbers as fit into a slice, which may be shorter than
    /// the number of lanes.
    #[inline(always)]
    fn store_part(self, to: &mut [T]) {
        if to.len() >= Self::LANES {
            return self.store(to);
        }
        // SAFETY: the slice has so many elements.
        unsafe { self.store_first(to.as_mut_ptr(), to.len()) }
    }

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

    /// The columns of a square of as many rows as lanes, `step` elements apart.
    ///
    /// # Safety
    ///
    /// As many numbers as lanes can be read in each row.
    unsafe fn load_columns(from: *const T, step: usize) -> Self::Square;
}

/// The first numbers at an address, followed by zeros.
///
/// # Safety
///
/// `count` numbers, at most N, can be read there.
#[inline(always)]
unsafe fn padded<T: Float, const N: usize>(from: *const T, count: usize) -> [T; N] {
    let mut lanes = [T::ZERO; N];
    for (lane, value) in lanes.iter_mut().enumerate().take(count) {
        // SAFETY: guaranteed by the caller.
        *value = unsafe { *from.add(lane) };
    }
    lanes
}

/// Writes the first numbers of an array to an address.
///
/// # Safety
///
/// `count` numbers, at most N, can be written there.
#[inline(always)]
unsafe fn store_lanes<T: Float, const N: usize>(lanes: [T; N], to: *mut T, count: usize) {
    for (lane, value) in lanes.into_iter().enumerate().take(count) {
        // SAFETY: guaranteed by the caller.
        unsafe { *to.add(lane) = value };
    }
}

/// Runs a kernel of any number type.
#[inline]
pub(crate) fn portable<T: Float, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<Portable<T>>()
}
macro_rules! runners {
    ($($type:ident, $each:ident: $avx512:ident $avx2:ident $neon:ident $simd128:ident;)*) => {$(
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
            #[cfg(target_arch = "aarch64")]
            if simd::has_neon() {
                return kernel.run::<neon::$neon>();
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            if simd::has_simd128() {
                return kernel.run::<simd128::$simd128>();
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
            #[cfg(target_arch = "aarch64")]
            if simd::has_neon() {
                outputs.push(kernel.clone().run::<neon::$neon>());
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            if simd::has_simd128() {
                outputs.push(kernel.clone().run::<simd128::$simd128>());
            }
            outputs
        }
    )*};
}
runners! {
    f32, f32_each: Avx512F32 Avx2F32 NeonF32 Simd128F32;
    f64, f64_each: Avx512F64 Avx2F64 NeonF64 Simd128F64;
}

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
