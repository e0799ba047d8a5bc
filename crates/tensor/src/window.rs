//! Window functions for spectra.
//!
//! A symmetric window of N factors is a palindrome. A periodic window of N
//! factors is the symmetric one of N + 1 factors without the last, as spectra
//! need it.

use std::f64::consts::{PI, TAU};

use crate::element::Float;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Windows, as vectors of `length` factors.
impl<T: Float> Tensor<T> {
    /// `f` of the relative position in the window, which is 0 at the first
    /// factor and 1 at the last factor of the symmetric window.
    fn window(length: usize, periodic: bool, f: impl Fn(f64) -> f64) -> Self {
        let last = if periodic { length } else { length.saturating_sub(1) };
        Self::from_fn([length], |i| {
            T::from_f64(if length == 1 { 1.0 } else { f(i as f64 / last as f64) })
        })
    }

    /// Σ (−1)ᵏ·cₖ·cos(2πkx) at each relative position x from 0 to 1.
    fn cosine_sum(length: usize, periodic: bool, coefficients: &[f64]) -> Self {
        Self::window(length, periodic, |x| {
            let term = |(k, c): (usize, &f64)| {
                let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
                sign * c * (TAU * k as f64 * x).cos()
            };
            coefficients.iter().enumerate().map(term).sum()
        })
    }

    /// Hann's window, sin²(πx) for x from 0 to 1.
    pub fn hann_window(length: usize, periodic: bool) -> Self {
        Self::window(length, periodic, |x| (PI * x).sin().powi(2))
    }

    /// Hamming's window, 0.54 − 0.46·cos(2πx).
    pub fn hamming_window(length: usize, periodic: bool) -> Self {
        Self::cosine_sum(length, periodic, &[0.54, 0.46])
    }

    /// Blackman's window, 0.42 − 0.5·cos(2πx) + 0.08·cos(4πx).
    pub fn blackman_window(length: usize, periodic: bool) -> Self {
        Self::cosine_sum(length, periodic, &[0.42, 0.5, 0.08])
    }

    /// Nuttall's window of four cosines with the smallest side lobes (A.
    /// Nuttall, 1981).
    pub fn nuttall_window(length: usize, periodic: bool) -> Self {
        Self::cosine_sum(length, periodic, &[0.3635819, 0.4891775, 0.1365995, 0.0106411])
    }

    /// Bartlett's window, a triangle that is 0 at both ends.
    pub fn bartlett_window(length: usize, periodic: bool) -> Self {
        Self::window(length, periodic, |x| 1.0 - (2.0 * x - 1.0).abs())
    }

    /// Half a period of the sine, sampled between its zeros.
    pub fn cosine_window(length: usize, periodic: bool) -> Self {
        let whole = if periodic && length > 1 { length + 1 } else { length };
        Self::from_fn([length], |i| T::from_f64((PI * (i as f64 + 0.5) / whole as f64).sin()))
    }

    /// The Gaussian exp(−t² / 2 std²) at a distance of t samples from the
    /// middle.
    ///
    /// # Errors
    ///
    /// When `std` is not positive.
    pub fn gaussian_window(length: usize, periodic: bool, std: f64) -> Result<Self> {
        if std.is_nan() || std <= 0.0 {
            let message = format!("the standard deviation must be positive, got {std}");
            return Err(Error::argument("gaussian_window", message));
        }
        let last = if periodic { length } else { length.saturating_sub(1) } as f64;
        Ok(Self::window(length, periodic, |x| (-0.5 * ((x - 0.5) * last / std).powi(2)).exp()))
    }

    /// Kaiser's window, I₀(beta·√(1 − (2x − 1)²)) / I₀(beta), where I₀ is the
    /// modified Bessel function of order 0. PyTorch's default for `beta` is 12.
    ///
    /// # Errors
    ///
    /// When `beta` is beyond ±700, where I₀ leaves the range of `f64`.
    pub fn kaiser_window(length: usize, periodic: bool, beta: f64) -> Result<Self> {
        if beta.is_nan() || beta.abs() > 700.0 {
            let message = format!("beta must be within ±700, got {beta}");
            return Err(Error::argument("kaiser_window", message));
        }
        let whole = bessel_i0(beta);
        Ok(Self::window(length, periodic, |x| {
            bessel_i0(beta * (1.0 - (2.0 * x - 1.0).powi(2)).max(0.0).sqrt()) / whole
        }))
    }
}

/// Σ ((x/2)ᵏ / k!)², whose terms are all positive.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * f64::EPSILON / 8.0 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_1_SQRT_2;

    use super::*;

    /// Values of PyTorch 2.15 in double precision.
    #[test]
    fn windows_are_those_of_pytorch() {
        let expected: &[(Tensor<f64>, &[f64])] = &[
            (
                Tensor::hann_window(6, false),
                &[
                    0.0,
                    0.345491502812526,
                    0.904508497187474,
                    0.904508497187474,
                    0.345491502812526,
                    0.0,
                ],
            ),
            (
                Tensor::hamming_window(6, false),
                &[
                    0.08,
                    0.397852182587524,
                    0.912147817412476,
                    0.912147817412476,
                    0.397852182587524,
                    0.08,
                ],
            ),
            (
                Tensor::blackman_window(6, false),
                &[
                    0.0,
                    0.20077014326253,
                    0.849229856737469,
                    0.84922985673747,
                    0.200770143262531,
                    0.0,
                ],
            ),
            (Tensor::bartlett_window(6, false), &[0.0, 0.4, 0.8, 0.8, 0.4, 0.0]),
            (
                Tensor::kaiser_window(6, false, 12.0).unwrap(),
                &[
                    5.27734413200977e-05,
                    0.101719687709563,
                    0.792939834101461,
                    0.792939834101461,
                    0.101719687709563,
                    5.27734413200977e-05,
                ],
            ),
            (
                Tensor::nuttall_window(6, false),
                &[
                    0.000362800000000038,
                    0.110515253049872,
                    0.798258096950128,
                    0.798258096950128,
                    0.110515253049872,
                    0.000362800000000038,
                ],
            ),
            (
                Tensor::gaussian_window(6, false, 1.5).unwrap(),
                &[
                    0.249352208777296,
                    0.606530659712634,
                    0.945959468906766,
                    0.945959468906766,
                    0.606530659712634,
                    0.249352208777296,
                ],
            ),
            (
                Tensor::cosine_window(6, false),
                &[
                    0.258819045102521,
                    FRAC_1_SQRT_2,
                    0.965925826289068,
                    0.965925826289068,
                    FRAC_1_SQRT_2,
                    0.258819045102521,
                ],
            ),
            (
                Tensor::hann_window(7, true),
                &[
                    0.0,
                    0.188255099070633,
                    0.611260466978157,
                    0.95048443395121,
                    0.95048443395121,
                    0.611260466978157,
                    0.188255099070633,
                ],
            ),
            (
                Tensor::hamming_window(7, true),
                &[
                    0.08,
                    0.253194691144983,
                    0.642359629619905,
                    0.954445679235113,
                    0.954445679235113,
                    0.642359629619905,
                    0.253194691144983,
                ],
            ),
            (
                Tensor::blackman_window(7, true),
                &[
                    0.0,
                    0.0904534243541281,
                    0.459182957545964,
                    0.920363618099908,
                    0.920363618099908,
                    0.459182957545964,
                    0.0904534243541281,
                ],
            ),
            (
                Tensor::bartlett_window(7, true),
                &[
                    0.0,
                    0.285714285714286,
                    0.571428571428571,
                    0.857142857142857,
                    0.857142857142857,
                    0.571428571428572,
                    0.285714285714286,
                ],
            ),
            (
                Tensor::kaiser_window(7, true, 12.0).unwrap(),
                &[
                    5.27734413200977e-05,
                    0.0327682884417518,
                    0.330898636657074,
                    0.888867664046658,
                    0.888867664046658,
                    0.330898636657074,
                    0.0327682884417518,
                ],
            ),
            (
                Tensor::nuttall_window(7, true),
                &[
                    0.000362800000000038,
                    0.0377757689535203,
                    0.342727619968819,
                    0.89185186107766,
                    0.89185186107766,
                    0.34272761996882,
                    0.0377757689535203,
                ],
            ),
            (
                Tensor::gaussian_window(7, true, 1.5).unwrap(),
                &[
                    0.0657285286165305,
                    0.249352208777296,
                    0.606530659712634,
                    0.945959468906765,
                    0.945959468906766,
                    0.606530659712634,
                    0.249352208777296,
                ],
            ),
            (
                Tensor::cosine_window(7, true),
                &[
                    0.195090322016128,
                    0.555570233019602,
                    0.831469612302545,
                    0.98078528040323,
                    0.98078528040323,
                    0.831469612302545,
                    0.555570233019602,
                ],
            ),
        ];
        for (window, expected) in expected {
            for (found, expected) in window.to_vec().iter().zip(*expected) {
                assert!((found - expected).abs() < 1e-14, "{window:?}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn short_windows_and_absurd_settings() {
        for length in [0, 1] {
            for periodic in [false, true] {
                let all = [
                    Tensor::<f32>::hann_window(length, periodic),
                    Tensor::hamming_window(length, periodic),
                    Tensor::bartlett_window(length, periodic),
                    Tensor::gaussian_window(length, periodic, 2.0).unwrap(),
                    Tensor::cosine_window(length, periodic),
                    Tensor::kaiser_window(length, periodic, 12.0).unwrap(),
                ];
                assert!(all.iter().all(|window| *window == Tensor::ones([length])), "{all:?}");
            }
        }
        for beta in [f64::NAN, f64::INFINITY, 1e6] {
            assert!(Tensor::<f32>::kaiser_window(4, false, beta).is_err());
        }
        for std in [f64::NAN, 0.0, -1.0] {
            assert!(Tensor::<f32>::gaussian_window(4, false, std).is_err());
        }
    }
}
