//! Maxima of 2×2 windows side by side, the pooling that nearly every network
//! uses, and their gradients.

use crate::element::Float;

/// Windows of a row that are computed together.
pub(crate) const BLOCK: usize = 8;

/// Calls `work(start, length)` for all blocks of a row. The last one overlaps
/// the one before it, so that all are full; a row that is shorter than a block
/// is done window by window. Known lengths are what the compiler vectorises.
#[inline(always)]
pub(crate) fn for_each_block(columns: usize, mut work: impl FnMut(usize, usize)) {
    if columns < BLOCK {
        for start in 0..columns {
            work(start, 1);
        }
    } else {
        for start in (0..columns).step_by(BLOCK) {
            work(start.min(columns - BLOCK), BLOCK);
        }
    }
}

/// The maximum and its place for each 2×2 block of an image of `width`
/// columns.
#[inline(always)]
pub(crate) fn quarters_forward<T: Float>(
    image: &[T],
    width: usize,
    y: &mut [T],
    places: &mut [u8],
) {
    let columns = width / 2;
    let rows = y.chunks_exact_mut(columns).zip(places.chunks_exact_mut(columns));
    for ((y, places), rows) in rows.zip(image.chunks_exact(2 * width)) {
        let (upper, lower) = rows.split_at(width);
        let rows = [&upper.as_chunks().0[..columns], &lower.as_chunks().0[..columns]];
        for_each_block(
            columns,
            #[inline(always)]
            |start, length| {
                let rows = rows.map(|row| &row[start..]);
                let (y, places) = (&mut y[start..], &mut places[start..]);
                match length {
                    BLOCK => quarters::<T, BLOCK>(rows, y, places),
                    _ => quarters::<T, 1>(rows, y, places),
                }
            },
        );
    }
}

/// The maximum and its place for the first `N` blocks of two rows.
#[inline(always)]
fn quarters<T: Float, const N: usize>(rows: [&[[T; 2]]; 2], y: &mut [T], places: &mut [u8]) {
    let rows: [&[[T; 2]; N]; 2] =
        rows.map(|row| row.first_chunk().expect("two elements for each window"));
    // Steps of their own for reading pairs apart, comparing, and narrowing the
    // places: each of them vectorises.
    let mut values = [[T::ZERO; N]; 4];
    for i in 0..N {
        values[0][i] = rows[0][i][0];
        values[1][i] = rows[0][i][1];
        values[2][i] = rows[1][i][0];
        values[3][i] = rows[1][i][1];
    }
    let (mut max, mut found) = (values[0], [0_u32; N]);
    for (place, values) in (0..).zip(&values).skip(1) {
        for i in 0..N {
            let value = values[i];
            let better = (value > max[i]) | value.is_nan();
            max[i] = if better { value } else { max[i] };
            found[i] = if better { place } else { found[i] };
        }
    }
    y[..N].copy_from_slice(&max);
    for (place, &found) in places[..N].iter_mut().zip(&found) {
        *place = found as u8;
    }
}

/// The gradient of an image of `width` columns.
#[inline(always)]
pub(crate) fn quarters_backward<T: Float>(
    places: &[u8],
    g: &[T],
    width: usize,
    gradient: &mut [T],
) {
    let columns = width / 2;
    let mut blocks = gradient.chunks_exact_mut(2 * width);
    let rows = g.chunks_exact(columns).zip(places.chunks_exact(columns));
    for ((g, places), rows) in rows.zip(&mut blocks) {
        let (upper, lower) = rows.split_at_mut(width);
        for (row, first) in [(upper, 0), (lower, 2)] {
            let (pairs, rest) = row.as_chunks_mut::<2>();
            for_each_block(
                columns,
                #[inline(always)]
                |start, length| {
                    let (pairs, g) = (&mut pairs[start..][..length], &g[start..][..length]);
                    let places = &places[start..][..length];
                    for ((pair, &g), &place) in pairs.iter_mut().zip(g).zip(places) {
                        let left = if place == first { g } else { T::ZERO };
                        let right = if place == first + 1 { g } else { T::ZERO };
                        *pair = [left, right];
                    }
                },
            );
            rest.fill(T::ZERO);
        }
    }
    blocks.into_remainder().fill(T::ZERO);
}
