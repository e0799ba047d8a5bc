//! Quadrature rules, which approximate an integral from 0 to 1 by a sum.

/// A quadrature rule for the path from baseline to input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quadrature {
    /// Gauss–Legendre, exact for polynomials of degree up to 2·steps − 1.
    #[default]
    GaussLegendre,
    /// The left end of each interval.
    RiemannLeft,
    /// The right end of each interval.
    RiemannRight,
    /// The middle of each interval.
    RiemannMiddle,
    /// The trapezoidal rule: both ends of each interval, with half the weight.
    RiemannTrapezoid,
}

impl Quadrature {
    /// The weights and the points, in ascending order.
    pub(crate) fn points(self, steps: usize) -> Vec<(f64, f64)> {
        let (n, width) = (steps as f64, 1.0 / steps as f64);
        let equal = |shift: f64| (0..steps).map(|i| (width, (i as f64 + shift) / n)).collect();
        match self {
            Self::GaussLegendre => gauss_legendre(steps),
            Self::RiemannLeft => equal(0.0),
            Self::RiemannMiddle => equal(0.5),
            Self::RiemannRight => equal(1.0),
            Self::RiemannTrapezoid => {
                let last = steps - 1;
                let point = |i: usize| match i {
                    _ if last == 0 => (width, 0.0),
                    _ if i == 0 || i == last => (width / 2.0, (i / last) as f64),
                    _ => (width, i as f64 / last as f64),
                };
                (0..steps).map(point).collect()
            }
        }
    }
}

/// The roots of the Legendre polynomial of degree `n`, computed by Newton's
/// iteration and mapped from [−1, 1] to [0, 1].
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let point = |i: usize| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut before, mut p) = (1.0, x);
            for k in 2..=n {
                let k = k as f64;
                (before, p) = (p, ((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k);
            }
            slope = n as f64 * (x * p - before) / (x * x - 1.0);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        (1.0 / ((1.0 - x * x) * slope * slope), (1.0 + x) / 2.0)
    };
    // The iteration finds the roots from the largest to the smallest.
    (0..n).rev().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauss_and_legendre_integrate_polynomials() {
        for n in [1, 2, 5, 50, 51] {
            let points = Quadrature::GaussLegendre.points(n);
            assert!(points.is_sorted_by(|a, b| a.1 < b.1));
            for degree in 0..(2 * n).min(20) as i32 {
                let sum: f64 = points.iter().map(|(weight, x)| weight * x.powi(degree)).sum();
                let expected = 1.0 / f64::from(degree + 1);
                assert!((sum - expected).abs() < 1e-13, "{n} points, degree {degree}: {sum}");
            }
        }
    }

    #[test]
    fn the_weights_of_rectangles_and_trapezoids_are_those_of_captum() {
        assert_eq!(Quadrature::RiemannRight.points(2), [(0.5, 0.5), (0.5, 1.0)]);
        assert_eq!(Quadrature::RiemannLeft.points(2), [(0.5, 0.0), (0.5, 0.5)]);
        assert_eq!(Quadrature::RiemannMiddle.points(2), [(0.5, 0.25), (0.5, 0.75)]);
        let third = 1.0 / 3.0;
        let expected = [(third / 2.0, 0.0), (third, 0.5), (third / 2.0, 1.0)];
        assert_eq!(Quadrature::RiemannTrapezoid.points(3), expected);
    }
}
