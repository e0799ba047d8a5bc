//! The element of the left matrix of a product, as a kernel reads it.

use super::level::Level;
use super::packed::Panel;
use super::portable;

/// Bytes, or bytes widened to 16 bits for kernels that multiply those.
pub(super) trait Lane: Copy + Default + Send + Sync + 'static {
    fn of(x: u8) -> Self;

    /// Writes the sums of a tile row by row, [`Level::columns`] apart: the
    /// products of `rows` rows of `a`, which are `stride` apart, with a panel.
    ///
    /// `stride` is a multiple of [`Level::group`], and the panel has as many
    /// weights as `stride` × columns.
    ///
    /// # Panics
    ///
    /// When a slice is too short, or the level is not one for these lanes.
    fn tile(
        level: Level,
        a: &[Self],
        stride: usize,
        rows: usize,
        panel: Panel<'_>,
        sums: &mut [i32],
    );
}

/// What the kernels rely on, besides that the rest of a panel is made of pairs
/// within its stride.
fn check<L>(level: Level, a: &[L], stride: usize, rows: usize, panel: Panel<'_>, sums: &[i32]) {
    assert!(rows >= 1 && rows <= level.rows() && stride.is_multiple_of(level.group()));
    assert!(a.len() >= rows * stride && panel.weights.len() >= stride * level.columns());
    assert!(sums.len() >= rows * level.columns() && level.is_available());
}

impl Lane for i16 {
    #[inline(always)]
    fn of(x: u8) -> Self {
        i16::from(x)
    }

    fn tile(
        level: Level,
        a: &[Self],
        stride: usize,
        rows: usize,
        panel: Panel<'_>,
        sums: &mut [i32],
    ) {
        check(level, a, stride, rows, panel, sums);
        match level {
            // SAFETY: the CPU has the instructions, and the slices are as long
            // as the kernel reads and writes.
            #[cfg(target_arch = "aarch64")]
            Level::Neon => unsafe { super::neon::neon(a, stride, rows, panel.weights, sums) },
            Level::Portable => portable::tile(a, stride, rows, panel.weights, sums),
            _ => unreachable!("the level has lanes of 16 bits"),
        }
    }
}

impl Lane for u8 {
    #[inline(always)]
    fn of(x: u8) -> Self {
        x
    }

    fn tile(
        level: Level,
        a: &[Self],
        stride: usize,
        rows: usize,
        panel: Panel<'_>,
        sums: &mut [i32],
    ) {
        check(level, a, stride, rows, panel, sums);
        match level {
            // SAFETY: the CPU has the instructions, and the slices are as long
            // as the kernel reads and writes.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { super::x86::avx2(a, stride, rows, panel, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => unsafe { super::x86::vnni(a, stride, rows, panel.weights, sums) },
            _ => unreachable!("the level has lanes of 8 bits"),
        }
    }
}
