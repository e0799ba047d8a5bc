//! The kernel for products in plain Rust.

use super::level::Level;

const COLUMNS: usize = Level::Portable.columns();

/// See [`Lane::tile`](super::lane::Lane::tile).
pub(super) fn tile(a: &[i16], stride: usize, rows: usize, panel: &[i8], sums: &mut [i32]) {
    for (row, sums) in sums.chunks_mut(COLUMNS).take(rows).enumerate() {
        let mut totals = [0_i32; COLUMNS];
        let (weights, _) = panel.as_chunks::<COLUMNS>();
        for (&x, weights) in a[row * stride..][..stride].iter().zip(weights) {
            for column in 0..COLUMNS {
                totals[column] += i32::from(x) * i32::from(weights[column]);
            }
        }
        sums.copy_from_slice(&totals);
    }
}
