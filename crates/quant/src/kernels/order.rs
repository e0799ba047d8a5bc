//! The order of the axes of images.

use dendra_tensor::Element;
use dendra_tensor::kernels::parallel::for_each_chunk;

/// From `[N, C, P]` to `[N, P, C]`, where P are the pixels.
///
/// # Panics
///
/// When the slices have different lengths, or these do not fit the sizes.
pub fn to_channels_last<T: Element + Copy>(x: &[T], [channels, pixels]: [usize; 2], out: &mut [T]) {
    swap(x, [channels, pixels], out);
}

/// From `[N, P, C]` to `[N, C, P]`.
///
/// # Panics
///
/// As [`to_channels_last`].
pub fn to_channels_first<T: Element + Copy>(
    x: &[T],
    [channels, pixels]: [usize; 2],
    out: &mut [T],
) {
    swap(x, [pixels, channels], out);
}

/// Transposes matrices of `rows` × `columns`, in blocks that fit into the cache.
fn swap<T: Element + Copy>(x: &[T], [rows, columns]: [usize; 2], out: &mut [T]) {
    const BLOCK: usize = 32;
    assert!(x.len() == out.len(), "as many elements as before");
    if rows == 1 || columns == 1 {
        return out.copy_from_slice(x);
    }
    for_each_chunk(out, (rows * columns).max(1), 1, |index, out| {
        let x = &x[index * rows * columns..][..rows * columns];
        for first in (0..rows).step_by(BLOCK) {
            for from in (0..columns).step_by(BLOCK) {
                for column in from..columns.min(from + BLOCK) {
                    for row in first..rows.min(first + BLOCK) {
                        out[column * rows + row] = x[row * columns + column];
                    }
                }
            }
        }
    });
}
