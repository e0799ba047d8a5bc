//! Fourier transforms, behind the feature `fft`: the trait [`Fourier`].

use super::fft::{Fft, Irfft, Rfft, complex_length};
use super::padding::PadMode;
use super::{Ops, Row, spectrogram};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

pub use super::spectrogram::StftOptions;

/// Whether a transform or its inverse is divided by the number N of elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FftNorm {
    /// The inverse is divided by N.
    #[default]
    Backward,
    /// Both are divided by √N, so that each keeps the sum of the squares.
    Ortho,
    /// The transform is divided by N.
    Forward,
}

impl FftNorm {
    /// The factor of a result.
    fn factor(self, length: usize, inverse: bool) -> f64 {
        match (self, inverse) {
            (FftNorm::Backward, false) | (FftNorm::Forward, true) => 1.0,
            (FftNorm::Ortho, _) => 1.0 / (length as f64).sqrt(),
            _ => 1.0 / length as f64,
        }
    }
}

family! {
    /// Fourier transforms, as methods of tensors and of the variables of
    /// automatic differentiation.
    ///
    /// A complex number is a last axis of length 2, real part first, as in
    /// PyTorch's `view_as_real`: a spectrum of N numbers has the shape `[…, N,
    /// 2]`. The axis to transform is counted without that last axis, as PyTorch
    /// counts it: −1 is the axis of length N here. The absolute values are
    /// [`norm_axes(2.0, &[-1], false)`](Ops::norm_axes).
    ///
    /// If a length `n` is given, the axis is cut to it or padded with zeros.
    /// `f32` and `f64` are transformed in their own precision.
    ///
    /// ```
    /// use dendra_tensor::{FftNorm, Fourier, Tensor};
    ///
    /// let x = Tensor::from([1.0, 2.0, 3.0, 4.0_f32]);
    /// let spectrum = x.rfft(None, -1, FftNorm::Backward)?;
    /// assert_eq!(spectrum, Tensor::from([[10.0, 0.0], [-2.0, 2.0], [-2.0, 0.0]]));
    /// assert_eq!(spectrum.irfft(Some(4), -1, FftNorm::Backward)?, x);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    trait Fourier = "Fourier";

    Rfft:
    /// The spectrum of real numbers along an axis: its first n/2 + 1 elements,
    /// since the others are the conjugates of these. `[…, n, …]` becomes `[…,
    /// n/2 + 1, …, 2]`.
    ///
    /// # Errors
    ///
    /// When the axis does not exist, or `n` or the length of the axis is 0.
    fn rfft(&self, n: Option<usize>, axis: isize, norm: FftNorm) -> Result<Self> {
        let axis = self.value().shape().axis("rfft", axis)?;
        let x = resized("rfft", self, axis, n)?;
        let n = x.value().shape()[axis];
        let spectrum = Self::try_apply(Rfft, &[&moved(&x, axis as isize, -1)?])?;
        scaled(moved(&spectrum, -2, axis as isize)?, norm.factor(n, false))
    }

    Irfft:
    /// The inverse of [`rfft`](Fourier::rfft): `n` real numbers, or without `n`
    /// 2 · (m − 1) numbers for a spectrum of m elements. Imaginary parts that
    /// the spectrum of real numbers cannot have are ignored.
    ///
    /// # Errors
    ///
    /// When the last axis does not have length 2, the axis does not exist, or
    /// the result would have no elements.
    fn irfft(&self, n: Option<usize>, axis: isize, norm: FftNorm) -> Result<Self> {
        let axis = complex_axis("irfft", self.value().shape(), axis)?;
        let length = n.unwrap_or(2 * self.value().shape()[axis].saturating_sub(1));
        let x = resized("irfft", self, axis, Some(length / 2 + 1))?;
        let x = moved(&x, axis as isize, -2)?;
        let y = Self::try_apply(Irfft { length }, &[&x])?;
        scaled(moved(&y, -1, axis as isize)?, norm.factor(length, true))
    }

    Fft:
    /// The spectrum of complex numbers along an axis.
    ///
    /// # Errors
    ///
    /// When the last axis does not have length 2, the axis does not exist, or
    /// `n` or the length of the axis is 0.
    fn fft(&self, n: Option<usize>, axis: isize, norm: FftNorm) -> Result<Self> {
        complex("fft", self, n, axis, norm, false)
    }

    =>

    /// The inverse of [`fft`](Fourier::fft).
    ///
    /// # Errors
    ///
    /// The errors of `fft`.
    fn ifft(&self, n: Option<usize>, axis: isize, norm: FftNorm) -> Result<Self> {
        complex("ifft", self, n, axis, norm, true)
    }

    /// [`rfft`](Fourier::rfft) along the second of two axes, then
    /// [`fft`](Fourier::fft) along the first; `s` are their lengths.
    ///
    /// # Errors
    ///
    /// The errors of `rfft` and `fft`, and when the axes are the same.
    fn rfft2(&self, s: Option<[usize; 2]>, axes: [isize; 2], norm: FftNorm) -> Result<Self> {
        let axes = pair("rfft2", self.value().shape(), axes)?;
        let [rows, columns] = lengths(s);
        self.rfft(columns, axes[1], norm)?.fft(rows, axes[0], norm)
    }

    /// The inverse of [`rfft2`](Fourier::rfft2).
    ///
    /// # Errors
    ///
    /// The errors of `ifft` and `irfft`, and when the axes are the same.
    fn irfft2(&self, s: Option<[usize; 2]>, axes: [isize; 2], norm: FftNorm) -> Result<Self> {
        let axes = complex_pair("irfft2", self.value().shape(), axes)?;
        let [rows, columns] = lengths(s);
        self.ifft(rows, axes[0], norm)?.irfft(columns, axes[1], norm)
    }

    /// [`fft`](Fourier::fft) along two axes; `s` are their lengths.
    ///
    /// # Errors
    ///
    /// The errors of `fft`, and when the axes are the same.
    fn fft2(&self, s: Option<[usize; 2]>, axes: [isize; 2], norm: FftNorm) -> Result<Self> {
        let axes = complex_pair("fft2", self.value().shape(), axes)?;
        let [rows, columns] = lengths(s);
        self.fft(columns, axes[1], norm)?.fft(rows, axes[0], norm)
    }

    /// The inverse of [`fft2`](Fourier::fft2).
    ///
    /// # Errors
    ///
    /// The errors of `ifft`, and when the axes are the same.
    fn ifft2(&self, s: Option<[usize; 2]>, axes: [isize; 2], norm: FftNorm) -> Result<Self> {
        let axes = complex_pair("ifft2", self.value().shape(), axes)?;
        let [rows, columns] = lengths(s);
        self.ifft(columns, axes[1], norm)?.ifft(rows, axes[0], norm)
    }

    /// The products of complex numbers, which broadcast. The product of two
    /// spectra is the spectrum of the circular convolution.
    ///
    /// # Errors
    ///
    /// When a last axis does not have length 2, or the shapes do not broadcast.
    fn complex_mul(&self, other: &Self) -> Result<Self> {
        complex_length("complex_mul", self.value().shape())?;
        complex_length("complex_mul", other.value().shape())?;
        let part = |x: &Self, index| x.narrow(-1, index, 1);
        let ([a, b], [c, d]) =
            ([part(self, 0)?, part(self, 1)?], [part(other, 0)?, part(other, 1)?]);
        let real = a.mul(&c)?.sub(&b.mul(&d)?)?;
        let imaginary = a.mul(&d)?.add(&b.mul(&c)?)?;
        Self::cat(&[&real, &imaginary], -1)
    }

    /// Rolls some axes by half their length, so that frequency 0 moves from the
    /// start of a spectrum to its middle. The axes are those of the tensor,
    /// including that of the complex numbers.
    ///
    /// # Errors
    ///
    /// When an axis does not exist.
    fn fftshift(&self, axes: &[isize]) -> Result<Self> {
        shifted("fftshift", self, axes, |size| size / 2)
    }

    /// The inverse of [`fftshift`](Fourier::fftshift).
    ///
    /// # Errors
    ///
    /// When an axis does not exist.
    fn ifftshift(&self, axes: &[isize]) -> Result<Self> {
        shifted("ifftshift", self, axes, |size| size.div_ceil(2))
    }

    /// The short-time Fourier transform of `[…, samples]`: the spectra of
    /// windows that slide along it, as `[…, n_fft/2 + 1, frames, 2]`. Without a
    /// window, all `win_length` factors are 1.
    ///
    /// # Errors
    ///
    /// When a setting is wrong, the input is shorter than a window or the
    /// padding, or the window has a wrong length.
    ///
    /// ```
    /// use dendra_tensor::{Fourier, StftOptions, Tensor};
    ///
    /// let signal = Tensor::<f32>::from_fn([400], |i| (i as f32 * 0.3).sin());
    /// let window = Tensor::hann_window(64, true);
    /// let spectra = signal.stft(Some(&window), StftOptions::new(64))?;
    /// assert_eq!(*spectra.shape(), [33, 26, 2]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    fn stft(&self, window: Option<&Self>, options: StftOptions) -> Result<Self> {
        spectrogram::stft(self, window, &options)
    }

    /// The inverse of [`stft`](Fourier::stft), with `length` samples if given
    /// (D. Griffin and J. Lim, 1984).
    ///
    /// # Errors
    ///
    /// When the spectra or the window do not fit the settings, or the windows
    /// do not cover a sample, so that its value is unknown.
    fn istft(
        &self,
        window: Option<&Self>,
        options: StftOptions,
        length: Option<usize>,
    ) -> Result<Self> {
        spectrogram::istft(self, window, &options, length)
    }
}

impl<T: Float> Tensor<T> {
    /// The frequencies of the `n` elements of a spectrum, for samples at a
    /// distance of `spacing`: 0, 1, …, then the negative ones, divided by n ·
    /// spacing.
    pub fn fftfreq(n: usize, spacing: f64) -> Self {
        let positive = n.div_ceil(2);
        let frequency = |k: usize| if k < positive { k as f64 } else { k as f64 - n as f64 };
        Self::from_fn([n], |k| T::from_f64(frequency(k) / (n as f64 * spacing)))
    }

    /// The frequencies of the n/2 + 1 elements that [`rfft`](Fourier::rfft)
    /// returns for `n` samples at a distance of `spacing`.
    pub fn rfftfreq(n: usize, spacing: f64) -> Self {
        Self::from_fn([n / 2 + 1], |k| T::from_f64(k as f64 / (n as f64 * spacing)))
    }
}

fn complex<V: Ops>(
    context: &str,
    x: &V,
    n: Option<usize>,
    axis: isize,
    norm: FftNorm,
    inverse: bool,
) -> Result<V> {
    let axis = complex_axis(context, x.value().shape(), axis)?;
    let x = resized(context, x, axis, n)?;
    let n = x.value().shape()[axis];
    let y = V::try_apply(Fft { inverse }, &[&moved(&x, axis as isize, -2)?])?;
    scaled(moved(&y, -2, axis as isize)?, norm.factor(n, inverse))
}

/// The index of an axis that is counted without the axis of complex numbers.
fn complex_axis(context: &str, shape: &Shape, axis: isize) -> Result<usize> {
    complex_length(context, shape)?;
    Shape::from(&shape[..shape.len() - 1]).axis(context, axis)
}

/// Two axes counted from the front.
fn pair(context: &str, shape: &Shape, axes: [isize; 2]) -> Result<[isize; 2]> {
    shape.axes(context, &axes)?;
    Ok([shape.axis(context, axes[0])? as isize, shape.axis(context, axes[1])? as isize])
}

fn complex_pair(context: &str, shape: &Shape, axes: [isize; 2]) -> Result<[isize; 2]> {
    complex_length(context, shape)?;
    pair(context, &shape[..shape.len() - 1].into(), axes)
}

fn lengths(s: Option<[usize; 2]>) -> [Option<usize>; 2] {
    s.map_or([None; 2], |s| s.map(Some))
}

/// Cuts an axis to a length, or pads it with zeros.
fn resized<V: Ops>(context: &str, x: &V, axis: usize, n: Option<usize>) -> Result<V> {
    let shape = x.value().shape();
    let (length, n) = (shape[axis], n.unwrap_or(shape[axis]));
    if n == 0 {
        let message = format!("axis {axis} of {shape} would be transformed as one of 0 elements");
        return Err(Error::argument(context, message));
    }
    if n <= length {
        return if n == length { Ok(x.clone()) } else { x.narrow(axis as isize, 0, n) };
    }
    let mut padding = vec![[0, 0]; shape.len() - axis];
    padding[shape.len() - axis - 1][1] = isize::try_from(n - length).unwrap_or(isize::MAX);
    x.pad(&padding, PadMode::Constant(0.0)).map_err(|error| error.within(context))
}

/// Moves an axis, if it is not yet in its position.
fn moved<V: Ops>(x: &V, from: isize, to: isize) -> Result<V> {
    let shape = x.value().shape();
    match shape.axis("movedim", from)? == shape.axis("movedim", to)? {
        true => Ok(x.clone()),
        false => x.movedim(from, to),
    }
}

fn scaled<V: Ops>(x: V, factor: f64) -> Result<V> {
    Ok(if factor == 1.0 { x } else { x.mul_scalar(factor) })
}

fn shifted<V: Ops>(
    context: &str,
    x: &V,
    axes: &[isize],
    shift: impl Fn(usize) -> usize,
) -> Result<V> {
    let shape = x.value().shape();
    let axes = shape.axes(context, axes)?;
    axes.iter().try_fold(x.clone(), |x, &axis| x.roll(shift(shape[axis]) as isize, axis as isize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_and_shifts() {
        assert_eq!(Tensor::<f64>::fftfreq(4, 0.5).to_vec(), [0.0, 0.5, -1.0, -0.5]);
        assert_eq!(Tensor::<f64>::fftfreq(5, 0.2).to_vec(), [0.0, 1.0, 2.0, -2.0, -1.0]);
        assert_eq!(Tensor::<f64>::rfftfreq(5, 0.1).to_vec(), [0.0, 2.0, 4.0]);
        assert!(Tensor::<f32>::fftfreq(0, 1.0).is_empty());
        for n in [4, 5] {
            let x = Tensor::<f64>::fftfreq(n, 1.0 / n as f64);
            let sorted = x.fftshift(&[0]).unwrap();
            assert_eq!(sorted.to_vec()[0], -((n / 2) as f64));
            assert_eq!(sorted.ifftshift(&[0]).unwrap(), x);
        }
        assert!(Tensor::<f64>::zeros([2]).fftshift(&[1]).is_err());
    }

    #[test]
    fn spectra_multiply_as_sequences_convolve() {
        let (a, b) = (Tensor::from([1.0, 2.0, 3.0_f64]), Tensor::from([4.0, 5.0]));
        let spectrum = |x: &Tensor<f64>| x.rfft(Some(4), 0, FftNorm::Backward).unwrap();
        let product = spectrum(&a).complex_mul(&spectrum(&b)).unwrap();
        let found = product.irfft(Some(4), 0, FftNorm::Backward).unwrap().to_vec();
        for (found, expected) in found.iter().zip([4.0, 13.0, 22.0, 15.0]) {
            assert!((found - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn inputs_without_a_spectrum_are_refused() {
        let norm = FftNorm::Backward;
        let x = Tensor::<f32>::zeros([3, 2]);
        assert!(x.rfft(Some(0), 0, norm).is_err() && x.rfft(None, 2, norm).is_err());
        assert!(x.rfft(Some(usize::MAX), 0, norm).is_err());
        assert!(x.irfft(Some(0), 0, norm).is_err() && x.irfft(None, 1, norm).is_err());
        assert!(Tensor::<f32>::zeros([1, 2]).irfft(None, 0, norm).is_err());
        assert!(Tensor::<f32>::zeros([2, 3]).fft(None, 0, norm).is_err());
        assert!(Tensor::<f32>::scalar(0.0).rfft(None, 0, norm).is_err());
        assert!(x.rfft2(None, [0, -2], norm).is_err() && x.fft2(None, [0, 1], norm).is_err());
        assert!(Tensor::<f32>::zeros([2, 0]).rfft(None, 1, norm).is_err());
    }
}
