//! A Gaussian blur, one axis after the other.

use super::crop::Border;

/// Blurs a plane of rows with a Gaussian of `sigma` pixels, cut off at three
/// `sigma`; the plane is mirrored at its borders.
pub(super) fn blur(plane: &mut [f32], [height, width]: [usize; 2], sigma: f64) {
    let weights = gaussian(sigma);
    let reach = weights.len() / 2;
    if reach == 0 || plane.is_empty() {
        return;
    }
    let source = |position: usize, length: usize| {
        let position = position as isize - reach as isize;
        Border::Reflect.source(position, length).expect("a mirrored plane has no outside")
    };
    let columns: Vec<usize> = (0..width + 2 * reach).map(|x| source(x, width)).collect();
    let mut wide = vec![0.0; width + 2 * reach];
    for row in plane.chunks_exact_mut(width) {
        wide.iter_mut().zip(&columns).for_each(|(slot, &x)| *slot = row[x]);
        weigh(row, weights.iter().enumerate().map(|(shift, &w)| (&wide[shift..], w)));
    }
    let before = plane.to_vec();
    for (y, row) in plane.chunks_exact_mut(width).enumerate() {
        let rows = weights
            .iter()
            .enumerate()
            .map(|(shift, &weight)| (&before[source(y + shift, height) * width..], weight));
        weigh(row, rows);
    }
}

/// Sets `out` to the weighted sum of rows, which are at least as long.
fn weigh<'a>(out: &mut [f32], rows: impl Iterator<Item = (&'a [f32], f32)>) {
    out.fill(0.0);
    for (row, weight) in rows {
        out.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
    }
}

/// The weights of a Gaussian at integer positions, normalised to the sum 1.
fn gaussian(sigma: f64) -> Vec<f32> {
    if sigma <= 0.0 {
        return vec![1.0];
    }
    let reach = (3.0 * sigma).ceil() as i32;
    let weight = |position: i32| libm::exp(-0.5 * (f64::from(position) / sigma).powi(2));
    let weights: Vec<f64> = (-reach..=reach).map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / total) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_gaussian_and_a_constant_stays() {
        let mut plane = vec![0.0; 31 * 31];
        plane[15 * 31 + 15] = 1.0;
        blur(&mut plane, [31, 31], 2.0);
        let total: f32 = plane.iter().sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");
        let ratio = plane[15 * 31 + 17] / plane[15 * 31 + 15];
        assert!((ratio - (-0.5f32).exp()).abs() < 1e-5, "{ratio}");
        assert_eq!(plane[15 * 31 + 12], plane[12 * 31 + 15]);
        for shape in [[3, 40], [40, 3], [1, 5], [1, 1]] {
            let mut plane = vec![0.5; shape[0] * shape[1]];
            blur(&mut plane, shape, 4.0);
            assert!(plane.iter().all(|value| (value - 0.5).abs() < 1e-6), "{shape:?}");
        }
        blur(&mut [], [0, 7], 4.0);
    }
}
