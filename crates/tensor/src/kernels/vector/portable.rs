//! Lanes as an array, which the compiler may vectorise.

use super::{Vector, from_fn, padded, store_lanes};
use crate::element::Float;

/// Lanes for any number type on any CPU, as arrays that the compiler may
/// vectorise.
#[derive(Clone, Copy)]
pub(super) struct Portable<T>([T; 8]);

impl<T: Float> Vector<T> for Portable<T> {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type Square = [Self; 8];

    #[inline(always)]
    fn splat(x: T) -> Self {
        Self([x; 8])
    }

    /// # Safety
    ///
    /// That of the method of the trait.
    #[inline(always)]
    unsafe fn load_from(from: *const T) -> Self {
        // SAFETY: the caller guarantees that eight numbers can be read.
        Self(unsafe { from.cast::<[T; 8]>().read_unaligned() })
    }

    /// # Safety
    ///
    /// That of the method of the trait.
    #[inline(always)]
    unsafe fn load_first(from: *const T, count: usize) -> Self {
        // SAFETY: the caller guarantees that so many numbers can be read.
        unsafe {
            match count {
                8 => Self::load_from(from),
                _ => Self(padded(from, count)),
            }
        }
    }

    /// # Safety
    ///
    /// That of the method of the trait.
    #[inline(always)]
    unsafe fn store_to(self, to: *mut T) {
        // SAFETY: the caller guarantees that eight numbers can be written.
        unsafe { to.cast::<[T; 8]>().write_unaligned(self.0) }
    }

    /// # Safety
    ///
    /// That of the method of the trait.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut T, count: usize) {
        // SAFETY: the caller guarantees that so many numbers can be written.
        unsafe { store_lanes(self.0, to, count) }
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

    /// # Safety
    ///
    /// That of the method of the trait.
    #[inline(always)]
    unsafe fn load_columns(from: *const T, step: usize) -> [Self; 8] {
        // SAFETY: the caller guarantees that eight rows of eight numbers can be read.
        from_fn(|j| Self(from_fn(|i| unsafe { *from.add(i * step + j) })))
    }
}
