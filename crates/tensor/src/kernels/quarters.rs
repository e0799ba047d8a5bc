//! Maxima of adjacent 2×2 windows, the most common pooling, and their
//! gradients.

use crate::element::Float;

/// The number of windows in a row that are computed together.
pub(crate) const BLOCK: usize = 8;
/// The same for rows with fewer windows.
pub(crate) const HALF_BLOCK: usize = BLOCK / 2;

/// Calls `work(start, length)` for all blocks of a row. The last block overlaps
/// the one before it, so that all are full. A row that is shorter than half a
/// block is processed window by window. The compiler vectorises only constant
/// lengths.
#[inline(always)]
pub(crate) fn for_each_block(columns: usize, mut work: impl FnMut(usize, usize)) {
    if columns >= BLOCK {
        for start in (0..columns).step_by(BLOCK) {
            work(start.min(columns - BLOCK), BLOCK);
        }
    } else if columns >= HALF_BLOCK {
        for start in (0..columns).step_by(HALF_BLOCK) {
            work(start.min(columns - HALF_BLOCK), HALF_BLOCK);
        }
    } else {
        for start in 0..columns {
            work(start, 1);
        }
    }
}

/// The maximum, and its position in the block, for each 2×2 block of an image
/// of `width` columns.
#[inline(always)]
pub(crate) fn quarters_forward<T: Float>(
    image: &[T],
    width: usize,
    y: &mut [T],
    positions: &mut [u8],
) {
    let columns = width / 2;
    let rows = y.chunks_exact_mut(columns).zip(positions.chunks_exact_mut(columns));
    for ((y, positions), rows) in rows.zip(image.chunks_exact(2 * width)) {
        let (upper, lower) = rows.split_at(width);
        let rows = [&upper.as_chunks().0[..columns], &lower.as_chunks().0[..columns]];
        for_each_block(
            columns,
            #[inline(always)]
            |start, length| {
                let rows = rows.map(|row| &row[start..]);
                let (y, positions) = (&mut y[start..], &mut positions[start..]);
                match length {
                    BLOCK => quarters::<T, BLOCK>(rows, y, positions),
                    HALF_BLOCK => quarters::<T, HALF_BLOCK>(rows, y, positions),
                    _ => quarters::<T, 1>(rows, y, positions),
                }
            },
        );
    }
}

/// The maximum and its position for the first `N` blocks of two rows. It uses
/// arrays of constant length and a single loop over the blocks, so that it
/// vectorises.
#[inline(always)]
fn quarters<T: Float, const N: usize>(rows: [&[[T; 2]]; 2], y: &mut [T], positions: &mut [u8]) {
    let [upper, lower]: [&[[T; 2]; N]; 2] =
        rows.map(|row| row.first_chunk().expect("two elements for each window"));
    let y: &mut [T; N] = y.first_chunk_mut().expect("an element for each window");
    let positions: &mut [u8; N] = positions.first_chunk_mut().expect("a position for each window");
    for i in 0..N {
        let above = larger((upper[i][0], 0), (upper[i][1], 1));
        let below = larger((lower[i][0], 2), (lower[i][1], 3));
        let (max, position) = larger(above, below);
        y[i] = max;
        positions[i] = position as u8;
    }
}

/// The larger value with its position; the first of equal ones, the last of
/// several NaN.
#[inline(always)]
fn larger<T: Float>(first: (T, u32), second: (T, u32)) -> (T, u32) {
    let better = (second.0 > first.0) | second.0.is_nan();
    (if better { second.0 } else { first.0 }, if better { second.1 } else { first.1 })
}

/// The gradient of an image of `width` columns.
#[inline(always)]
pub(crate) fn quarters_backward<T: Float>(
    positions: &[u8],
    g: &[T],
    width: usize,
    gradient: &mut [T],
) {
    let columns = width / 2;
    let mut blocks = gradient.chunks_exact_mut(2 * width);
    let rows = g.chunks_exact(columns).zip(positions.chunks_exact(columns));
    for ((g, positions), rows) in rows.zip(&mut blocks) {
        let (upper, lower) = rows.split_at_mut(width);
        for (row, first) in [(upper, 0), (lower, 2)] {
            let (pairs, rest) = row.as_chunks_mut::<2>();
            for_each_block(
                columns,
                #[inline(always)]
                |start, length| {
                    let (pairs, g) = (&mut pairs[start..][..length], &g[start..][..length]);
                    let positions = &positions[start..][..length];
                    for ((pair, &g), &position) in pairs.iter_mut().zip(g).zip(positions) {
                        let left = if position == first { g } else { T::ZERO };
                        let right = if position == first + 1 { g } else { T::ZERO };
                        *pair = [left, right];
                    }
                },
            );
            rest.fill(T::ZERO);
        }
    }
    blocks.into_remainder().fill(T::ZERO);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd;
    use crate::random::Rng;

    /// Rows of any number of windows, compared with a plain search for the
    /// first of the largest elements or the last NaN. There are few distinct
    /// values, so that many are equal.
    #[test]
    fn blocks_match_a_plain_search() {
        let mut rng = Rng::seed(1);
        for width in 2..=40 {
            let (height, columns) = (5, width / 2);
            let mut value = || match rng.below(9) {
                8 => f32::NAN,
                number => number as f32 - 4.0,
            };
            let image: Vec<f32> = (0..height * width).map(|_| value()).collect();
            let windows = height / 2 * columns;
            let (mut y, mut positions) = (vec![0.0; windows], vec![9; windows]);
            simd::dispatch(|| quarters_forward(&image, width, &mut y, &mut positions));
            let g: Vec<f32> = (0..windows).map(|window| window as f32 + 1.0).collect();
            let mut gradient = vec![7.0; image.len()];
            simd::dispatch(|| quarters_backward(&positions, &g, width, &mut gradient));
            let mut expected = vec![0.0; image.len()];
            for window in 0..windows {
                let (row, column) = (window / columns, window % columns);
                let seen = [0, 1, width, width + 1].map(|tap| 2 * (row * width + column) + tap);
                let mut found = 0;
                for tap in 1..4 {
                    if image[seen[tap]].is_nan() || image[seen[tap]] > image[seen[found]] {
                        found = tap;
                    }
                }
                assert_eq!(usize::from(positions[window]), found, "width {width}, window {window}");
                assert_eq!(y[window].to_bits(), image[seen[found]].to_bits(), "width {width}");
                expected[seen[found]] = g[window];
            }
            assert_eq!(gradient, expected, "width {width}");
        }
    }
}
