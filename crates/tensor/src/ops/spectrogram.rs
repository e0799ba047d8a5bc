//! The short-time Fourier transform and its inverse, composed of windows, their
//! spectra and their sums.

use super::Ops;
use super::fft::complex_length;
use super::fourier::{FftNorm, Fourier};
use super::padding::PadMode;
use super::unfold::UnfoldOptions;
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The windows of a short-time Fourier transform, in samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StftOptions {
    /// The length of each transform.
    pub n_fft: usize,
    /// The distance between two windows.
    pub hop_length: usize,
    /// The length of the window, which is centred in `n_fft` samples.
    pub win_length: usize,
    /// Whether the signal is padded on both sides by half of `n_fft`, so that
    /// the first window is centred at the first sample.
    pub center: bool,
    /// The values of that padding.
    pub pad_mode: PadMode,
    /// Whether the spectra are divided by the root of `n_fft`.
    pub normalized: bool,
    /// Whether the spectra have only n_fft/2 + 1 elements, which suffice for
    /// real numbers.
    pub onesided: bool,
}

impl StftOptions {
    /// PyTorch's defaults: windows of `n_fft` samples that overlap by three
    /// quarters, centred, with reflected padding.
    pub fn new(n_fft: usize) -> Self {
        Self {
            n_fft,
            hop_length: n_fft / 4,
            win_length: n_fft,
            center: true,
            pad_mode: PadMode::Reflect,
            normalized: false,
            onesided: true,
        }
    }

    fn check(&self, context: &str) -> Result<()> {
        let Self { n_fft, hop_length, win_length, .. } = *self;
        if hop_length == 0 || win_length == 0 || win_length > n_fft {
            let message = format!(
                "expected a hop_length of at least 1 and a win_length from 1 to n_fft = {n_fft}, \
                 got {hop_length} and {win_length}"
            );
            return Err(Error::argument(context, message));
        }
        Ok(())
    }

    fn norm(&self) -> FftNorm {
        if self.normalized { FftNorm::Ortho } else { FftNorm::Backward }
    }

    /// The factors for all `n_fft` samples.
    fn window<V: Ops>(&self, context: &str, window: Option<&V>) -> Result<V> {
        let ones = || V::constant(Tensor::ones([self.win_length]));
        let window = window.cloned().unwrap_or_else(ones);
        if *window.value().shape() != [self.win_length] {
            let (shape, expected) = (window.value().shape(), self.win_length);
            let message = format!("expected a window of {expected} factors, got shape {shape}");
            return Err(Error::shape(context, message));
        }
        let (rest, before) = (self.n_fft - self.win_length, (self.n_fft - self.win_length) / 2);
        match rest {
            0 => Ok(window),
            _ => window.pad(&[[before as isize, (rest - before) as isize]], PadMode::Constant(0.0)),
        }
    }
}

/// See [`Fourier::stft`].
pub(super) fn stft<V: Ops>(x: &V, window: Option<&V>, options: &StftOptions) -> Result<V> {
    options.check("stft")?;
    let window = options.window("stft", window)?;
    let half = (options.n_fft / 2) as isize;
    let padded = match options.center {
        true => x.pad(&[[half, half]], options.pad_mode).map_err(|error| error.within("stft"))?,
        false => x.clone(),
    };
    let shape = padded.value().shape();
    let samples = shape[shape.axis("stft", -1)?];
    if samples < options.n_fft {
        let message = format!("expected at least n_fft = {} samples, got {samples}", options.n_fft);
        return Err(Error::shape("stft", message));
    }
    let frames = padded.unfold_axis(-1, options.n_fft, options.hop_length)?.mul(&window)?;
    let spectra = match options.onesided {
        true => frames.rfft(None, -1, options.norm())?,
        false => {
            let zeros = V::constant(Tensor::zeros(frames.value().shape()));
            V::stack(&[&frames, &zeros], -1)?.fft(None, -1, options.norm())?
        }
    };
    spectra.transpose(-3, -2)
}

/// A sample is unknown if the windows that cover it sum up to less than this.
const LEAST_ENVELOPE: f64 = 1e-11;

/// See [`Fourier::istft`].
pub(super) fn istft<V: Ops>(
    spectra: &V,
    window: Option<&V>,
    options: &StftOptions,
    length: Option<usize>,
) -> Result<V> {
    let context = "istft";
    options.check(context)?;
    let window = options.window(context, window)?;
    let (n_fft, hop) = (options.n_fft, options.hop_length);
    let shape = spectra.value().shape().clone();
    complex_length(context, &shape)?;
    let bins = if options.onesided { n_fft / 2 + 1 } else { n_fft };
    let (batch, frames) = match &shape[..] {
        [batch @ .., rows, frames, _] if *rows == bins && *frames > 0 => (batch, *frames),
        _ => {
            let message = format!("expected spectra […, {bins}, frames, 2], got shape {shape}");
            return Err(Error::shape(context, message));
        }
    };
    let total = (frames - 1).checked_mul(hop).and_then(|sum| sum.checked_add(n_fft));
    let total = total.ok_or_else(|| Error::argument(context, "the signal is too long to count"))?;

    let spectra = spectra.transpose(-3, -2)?;
    // Half of the spectrum determines a real signal.
    let half = spectra.narrow(-2, 0, n_fft / 2 + 1)?;
    let pieces = half.irfft(Some(n_fft), -1, options.norm())?;
    let pieces = pieces.mul(&window)?.reshape([batch.iter().product(), frames, n_fft])?;
    // Adds up the pieces where they overlap.
    let fold = UnfoldOptions { stride: [1, hop], ..UnfoldOptions::new([1, n_fft]) };
    let added = |pieces: &V| -> Result<V> {
        pieces.transpose(1, 2)?.fold([1, total], fold)?.flatten(1, -1)
    };
    let squares = window.square().broadcast_to([1, frames, n_fft])?;

    let start = if options.center { n_fft / 2 } else { 0 };
    let end = match length {
        Some(length) => start.saturating_add(length).min(total),
        None => (total - start).max(start),
    };
    let cut = |x: V| x.narrow(1, start, end - start);
    let (signal, envelope) = (cut(added(&pieces)?)?, cut(added(&squares)?)?);
    let least = <V::Element as Number>::from_f64(LEAST_ENVELOPE);
    let values = envelope.value().to_vec();
    if let Some(sample) = values.iter().position(|&sum| sum < least || sum.is_nan()) {
        let message = format!(
            "sample {sample} is in no window: the squares of the windows sum to {}",
            values[sample]
        );
        return Err(Error::argument(context, message));
    }
    let signal = signal.div(&envelope)?;
    // After the last window the samples are 0.
    let silence = length.map_or(0, |length| length - (end - start)) as isize;
    let signal = match silence {
        0 => signal,
        _ => signal.pad(&[[0, silence]], PadMode::Constant(0.0)).map_err(|e| e.within(context))?,
    };
    let samples = signal.value().shape()[1];
    signal.reshape(batch.iter().copied().chain([samples]).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn round_trip(options: StftOptions, window: Option<&Tensor<f64>>, samples: usize) {
        let x = Tensor::<f64>::normal([2, samples], 0.0, 1.0, &mut Rng::seed(4));
        let spectra = x.stft(window, options).unwrap();
        let back = spectra.istft(window, options, Some(samples)).unwrap();
        assert_eq!(back.shape(), x.shape());
        let difference = (&back - &x).abs().max().unwrap().item().unwrap();
        assert!(difference < 1e-12, "{options:?}: {difference}");
    }

    #[test]
    fn the_inverse_gives_the_signal_back() {
        let hann = Tensor::hann_window(16, true);
        round_trip(StftOptions::new(16), Some(&hann), 96);
        round_trip(StftOptions { normalized: true, ..StftOptions::new(16) }, Some(&hann), 96);
        round_trip(StftOptions { onesided: false, ..StftOptions::new(15) }, None, 60);
        let short = Tensor::hamming_window(10, true);
        let options = StftOptions { win_length: 10, hop_length: 3, ..StftOptions::new(16) };
        round_trip(options, Some(&short), 90);
        round_trip(StftOptions { center: false, ..StftOptions::new(16) }, None, 64);
    }

    #[test]
    fn samples_that_no_window_has_are_refused() {
        let options = StftOptions { center: false, ..StftOptions::new(16) };
        let hann = Tensor::hann_window(16, true);
        let spectra = Tensor::<f64>::ones([64]).stft(Some(&hann), options).unwrap();
        let error = spectra.istft(Some(&hann), options, None).unwrap_err().to_string();
        assert!(error.contains("istft: sample 0 is in no window"), "{error}");
        let longer = Tensor::<f64>::ones([64]).stft(None, options).unwrap();
        let longer = longer.istft(None, options, Some(70)).unwrap().to_vec();
        assert!(longer[..64].iter().all(|x| (x - 1.0).abs() < 1e-12) && longer[64..] == [0.0; 6]);
    }

    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let x = Tensor::<f32>::ones([40]);
        let refused = |options: StftOptions| assert!(x.stft(None, options).is_err(), "{options:?}");
        refused(StftOptions { hop_length: 0, ..StftOptions::new(16) });
        refused(StftOptions { win_length: 17, ..StftOptions::new(16) });
        refused(StftOptions { center: false, ..StftOptions::new(41) });
        refused(StftOptions::new(90));
        refused(StftOptions::new(0));
        let window = Tensor::ones([8]);
        assert!(x.stft(Some(&window), StftOptions::new(16)).is_err());
        assert!(x.istft(None, StftOptions::new(16), None).is_err());
        let spectra = Tensor::<f32>::zeros([9, 0, 2]);
        assert!(spectra.istft(None, StftOptions::new(16), None).is_err());
    }
}
