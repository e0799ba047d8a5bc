//! Initial values that are not independent samples of a plain distribution. A
//! weight of any rank is treated as a matrix `[out, in · …]`, a vector as one
//! column.

use dendra_tensor::{Float, Number, Rng, Shape, Tensor};

/// Returns the numbers of rows and columns of a shape as a matrix.
fn matrix(shape: &Shape) -> [usize; 2] {
    match shape.split_first() {
        Some((&rows, rest)) => [rows, rest.iter().product()],
        None => [1, 1],
    }
}

/// Draws values of a normal distribution restricted to a range.
pub(super) fn truncated_normal<T: Float>(
    shape: Shape,
    mean: f64,
    std: f64,
    [low, high]: [f64; 2],
    rng: &mut Rng,
) -> Tensor<T> {
    let below = |x: f64| 0.5 * (1.0 + Float::erf((x - mean) / (std * std::f64::consts::SQRT_2)));
    let (from, to) = (below(low), below(high));
    let is_likely = to - from > 0.1;
    Tensor::from_fn(shape, |_| {
        let value = if is_likely {
            loop {
                let value = mean + std * rng.normal();
                if (low..=high).contains(&value) {
                    break value;
                }
            }
        } else {
            // Rejection sampling would take too long in the tails. Inverts the
            // cumulative distribution function by bisection instead.
            let share = from + (to - from) * rng.uniform();
            let (mut left, mut right) = (low, high);
            for _ in 0..60 {
                let middle = 0.5 * (left + right);
                if below(middle) < share {
                    left = middle;
                } else {
                    right = middle;
                }
            }
            0.5 * (left + right)
        };
        T::from_f64(value)
    })
}

/// Draws a random matrix with orthogonal columns, or orthogonal rows if there
/// are fewer rows than columns.
pub(super) fn orthogonal<T: Float>(shape: Shape, gain: f64, rng: &mut Rng) -> Tensor<T> {
    let [rows, columns] = matrix(&shape);
    let (long, few) = (rows.max(columns), rows.min(columns));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(few);
    while vectors.len() < few {
        let mut vector: Vec<f64> = (0..long).map(|_| rng.normal()).collect();
        // Gram–Schmidt; the second pass removes the rounding errors of the first.
        for _ in 0..2 {
            for other in &vectors {
                let share = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= share * y);
            }
        }
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vectors.push(vector);
    }
    let is_wide = rows < columns;
    Tensor::from_fn(shape, |i| {
        let (row, column) = (i / columns, i % columns);
        T::from_f64(gain * if is_wide { vectors[row][column] } else { vectors[column][row] })
    })
}

/// Returns the inner product. The compiler vectorises the eight partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Returns the identity matrix.
pub(super) fn eye<T: Float>(shape: Shape) -> Tensor<T> {
    let [_, columns] = matrix(&shape);
    Tensor::from_fn(shape, |i| one_where(i / columns == i % columns))
}

/// Returns the kernels of an identity convolution; see [`Init::Dirac`](super::Init::Dirac).
pub(super) fn dirac<T: Float>(shape: Shape, groups: usize) -> Tensor<T> {
    let [outputs, _] = matrix(&shape);
    let inputs = shape.get(1).copied().unwrap_or(1);
    let kernel = shape.get(2..).unwrap_or(&[]);
    let taps: usize = kernel.iter().product();
    let middle = kernel.iter().fold(0, |index, &size| index * size + size / 2);
    let in_group = (outputs / groups.max(1)).max(1);
    Tensor::from_fn(shape.clone(), |i| {
        let (output, input, tap) = (i / taps / inputs, i / taps % inputs, i % taps);
        one_where(output % in_group == input && tap == middle)
    })
}

fn one_where<T: Number>(condition: bool) -> T {
    if condition { T::ONE } else { T::ZERO }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Ops;

    use super::*;

    #[test]
    fn rows_or_columns_are_orthogonal() {
        for shape in [vec![5, 5], vec![3, 7], vec![20, 4], vec![4, 3, 2, 2], vec![6]] {
            let weight: Tensor<f64> = orthogonal(shape.clone().into(), 2.0, &mut Rng::seed(4));
            let [rows, columns] = matrix(weight.shape());
            let wide = weight.reshape([rows, columns]).unwrap();
            let wide = if rows > columns { wide.transpose(0, 1).unwrap() } else { wide };
            let gram = wide.matmul(&wide.transpose(0, 1).unwrap()).unwrap();
            let expected = Tensor::eye(rows.min(columns)).mul_scalar(4.0);
            let error = gram.sub(&expected).unwrap().abs().to_vec();
            assert!(error.iter().all(|&x| x < 1e-12), "{shape:?}: {error:?}");
        }
        let empty: Tensor<f64> = orthogonal([3, 0].into(), 1.0, &mut Rng::seed(4));
        assert!(empty.is_empty());
    }

    #[test]
    fn a_dirac_kernel_passes_images_on() {
        let x = Tensor::<f32>::normal([2, 4, 5, 5], 0.0, 1.0, &mut Rng::seed(5));
        let weight = dirac([4, 4, 3, 3].into(), 1);
        let options = dendra_tensor::Conv2dOptions { padding: [1, 1], ..Default::default() };
        assert_eq!(x.conv2d(&weight, None, options).unwrap(), x);
        // Two groups of two output channels, with two input channels each.
        let grouped: Tensor<f32> = dirac([4, 2, 1].into(), 2);
        assert_eq!(grouped.to_vec(), [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        let wide: Tensor<f32> = dirac([3, 1, 3].into(), 1);
        assert_eq!(wide.to_vec(), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_identity_is_one_where_both_places_are_the_same() {
        assert_eq!(eye::<f32>([2, 3].into()).to_vec(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert!(eye::<f32>([0, 3].into()).is_empty() && eye::<f32>([3, 0].into()).is_empty());
    }

    #[test]
    fn truncated_values_lie_between_the_ends_and_keep_their_distribution() {
        let draw = |low, high| {
            truncated_normal::<f64>([20_000].into(), 1.0, 2.0, [low, high], &mut Rng::seed(6))
                .to_vec()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let inside = draw(-3.0, 5.0);
        assert!(inside.iter().all(|x| (-3.0..=5.0).contains(x)));
        assert!((mean(&inside) - 1.0).abs() < 0.05);
        let variance = inside.iter().map(|x| (x - 1.0).powi(2)).sum::<f64>() / 20_000.0;
        // The truncated variance is 1 − 2·2·φ(2) / (2·Φ(2) − 1) of the full one.
        assert!((variance / 4.0 - 0.7737).abs() < 0.02, "{variance}");
        // In the tail at 4σ the density falls roughly exponentially, by a factor of
        // e⁴ per σ.
        let tail = draw(9.0, 100.0);
        assert!(tail.iter().all(|x| (9.0..=100.0).contains(x)));
        assert!((mean(&tail) - 9.0 - 0.4516).abs() < 0.03, "{}", mean(&tail));
        // Invalid bounds do not cause an endless loop.
        assert!(draw(5.0, -5.0).len() == 20_000 && draw(f64::NAN, 1.0).len() == 20_000);
    }
}
