//! Fourier transforms and windows. A complex number is a last axis of length 2.

use dendra_autograd::Var;
use dendra_tensor::{FftNorm, Float, Fourier, Ops, Result, StftOptions, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Argument, pad_mode};
use crate::call::{Call, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = transforms();
    rows.extend(of_several_axes());
    rows.extend(windows());
    rows
}

/// Real numbers as complex ones.
fn complex<T: Float>(x: &Var<T>) -> Result<Var<T>> {
    let imaginary = Var::constant(Tensor::zeros(x.value().shape()));
    Var::stack(&[x, &imaginary], -1)
}

fn transforms<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "fft.fft" (
            input: Var<T>, n: Option<usize> = None, dim: isize = -1,
            norm: FftNorm = FftNorm::Backward,
        ) => complex(&input)?.fft(n, dim, norm);
        "fft.ifft" (
            input: Var<T>, n: Option<usize> = None, dim: isize = -1,
            norm: FftNorm = FftNorm::Backward,
        ) => complex(&input)?.ifft(n, dim, norm);
        "fft.rfft" (
            input: Var<T>, n: Option<usize> = None, dim: isize = -1,
            norm: FftNorm = FftNorm::Backward,
        ) => input.rfft(n, dim, norm);
        "fft.irfft" (
            input: Var<T>, n: Option<usize> = None, dim: isize = -1,
            norm: FftNorm = FftNorm::Backward,
        ) => complex(&input)?.irfft(n, dim, norm);
        "fft.fft2" (
            input: Var<T>, s: Option<[usize; 2]> = None, dim: [isize; 2] = [-2, -1],
            norm: FftNorm = FftNorm::Backward,
        ) => complex(&input)?.fft2(s, dim, norm);
        "fft.ifft2" (
            input: Var<T>, s: Option<[usize; 2]> = None, dim: [isize; 2] = [-2, -1],
            norm: FftNorm = FftNorm::Backward,
        ) => complex(&input)?.ifft2(s, dim, norm);
        "fft.rfft2" (
            input: Var<T>, s: Option<[usize; 2]> = None, dim: [isize; 2] = [-2, -1],
            norm: FftNorm = FftNorm::Backward,
        ) => input.rfft2(s, dim, norm);
        "fft.irfft2" (
            input: Var<T>, s: Option<[usize; 2]> = None, dim: [isize; 2] = [-2, -1],
            norm: FftNorm = FftNorm::Backward,
        ) => complex(&input)?.irfft2(s, dim, norm);
        "fft.fftshift" (input: Var<T>, dim: Option<Vec<isize>> = None) => {
            input.fftshift(&dim.unwrap_or((0..input.value().rank() as isize).collect()))
        };
        "fft.ifftshift" (input: Var<T>, dim: Option<Vec<isize>> = None) => {
            input.ifftshift(&dim.unwrap_or((0..input.value().rank() as isize).collect()))
        };
        "stft" (
            input: Var<T>, n_fft: usize, hop_length: Option<usize> = None,
            win_length: Option<usize> = None, window: Option<Var<T>> = None, center: bool = true,
            pad_mode: String = "reflect".into(), normalized: bool = false, onesided: bool = true,
            return_complex: bool = true,
        ) => {
            let _ = return_complex;
            let options = StftOptions {
                hop_length: hop_length.unwrap_or(n_fft / 4),
                win_length: win_length.unwrap_or(n_fft),
                center,
                pad_mode: self::pad_mode(&pad_mode, 0.0),
                normalized,
                onesided,
                ..StftOptions::new(n_fft)
            };
            input.stft(window.as_ref(), options)
        };
    }
}

/// Axes with the lengths to which they are cut or padded.
fn axes(
    rank: usize,
    s: Option<Vec<usize>>,
    dim: Option<Vec<isize>>,
) -> Result<Vec<(isize, Option<usize>)>, Stop> {
    let count = s.as_ref().map_or(rank, Vec::len);
    let dim = dim.unwrap_or(((rank - count) as isize..rank as isize).collect());
    let dim = dim.into_iter().map(|axis| if axis < 0 { axis + rank as isize } else { axis });
    let dim: Vec<isize> = dim.collect();
    let sizes = s.map_or(vec![None; dim.len()], |s| s.into_iter().map(Some).collect());
    match sizes.len() == dim.len() {
        true => Ok(dim.into_iter().zip(sizes).collect()),
        false => Err(Stop::inexpressible("another number of lengths than of axes")),
    }
}

fn of_several_axes<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "fft.fftn" (
            input: Var<T>, s: Option<Vec<usize>> = None, dim: Option<Vec<isize>> = None,
            norm: FftNorm = FftNorm::Backward,
        ) => {
            let mut axes = axes(input.value().rank(), s, dim)?.into_iter();
            axes.try_fold(complex(&input)?, |x, (axis, n)| x.fft(n, axis, norm))
        };
        "fft.ifftn" (
            input: Var<T>, s: Option<Vec<usize>> = None, dim: Option<Vec<isize>> = None,
            norm: FftNorm = FftNorm::Backward,
        ) => {
            let mut axes = axes(input.value().rank(), s, dim)?.into_iter();
            axes.try_fold(complex(&input)?, |x, (axis, n)| x.ifft(n, axis, norm))
        };
        "fft.rfftn" (
            input: Var<T>, s: Option<Vec<usize>> = None, dim: Option<Vec<isize>> = None,
            norm: FftNorm = FftNorm::Backward,
        ) => {
            let mut axes = axes(input.value().rank(), s, dim)?.into_iter().rev();
            let (last, n) = axes.next().ok_or(Stop::inexpressible("no axis"))?;
            axes.try_fold(input.rfft(n, last, norm)?, |x, (axis, n)| x.fft(n, axis, norm))
        };
        "fft.irfftn" (
            input: Var<T>, s: Option<Vec<usize>> = None, dim: Option<Vec<isize>> = None,
            norm: FftNorm = FftNorm::Backward,
        ) => {
            let mut axes = axes(input.value().rank(), s, dim)?;
            let (last, n) = axes.pop().ok_or(Stop::inexpressible("no axis"))?;
            let mut others = axes.into_iter();
            let x = others.try_fold(complex(&input)?, |x, (axis, n)| x.ifft(n, axis, norm))?;
            x.irfft(n, last, norm)
        };
    }
}

#[expect(non_snake_case, reason = "the names of PyTorch's arguments")]
fn windows<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "signal.windows.bartlett" (M: usize, sym: bool = true) => {
            Tensor::<T>::bartlett_window(M, !sym)
        };
        "signal.windows.blackman" (M: usize, sym: bool = true) => {
            Tensor::<T>::blackman_window(M, !sym)
        };
        "signal.windows.cosine" (M: usize, sym: bool = true) => {
            Tensor::<T>::cosine_window(M, !sym)
        };
        "signal.windows.gaussian" (M: usize, std: f64 = 1.0, sym: bool = true) => {
            Tensor::<T>::gaussian_window(M, !sym, std)
        };
        "signal.windows.hamming" (M: usize, sym: bool = true) => {
            Tensor::<T>::hamming_window(M, !sym)
        };
        "signal.windows.hann" (M: usize, sym: bool = true) => Tensor::<T>::hann_window(M, !sym);
        "signal.windows.kaiser" (M: usize, beta: f64 = 12.0, sym: bool = true) => {
            Tensor::<T>::kaiser_window(M, !sym, beta)
        };
        "signal.windows.nuttall" (M: usize, sym: bool = true) => {
            Tensor::<T>::nuttall_window(M, !sym)
        };
    }
}

impl<T: Float> Argument<T> for FftNorm {
    const KIND: &str = "a normalisation";

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        match value.as_str() {
            Some("ortho") => Some(Self::Ortho),
            Some("forward") => Some(Self::Forward),
            Some("backward") => Some(Self::Backward),
            None if value.is_null() => Some(Self::Backward),
            _ => None,
        }
    }
}
