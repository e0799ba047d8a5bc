//! Sound preprocessing for Whisper.

use dendra_derive::Setters;
use dendra_tensor::{Error, Ops, Result, Tensor};

/// The logarithm of the power in mel bands, the input of Whisper's networks
/// (Radford et al., "Robust speech recognition via large-scale weak
/// supervision", 2022); transformers' `WhisperFeatureExtractor`.
///
/// Sound of 16,000 samples per second, padded or cut to `chunk_length` seconds,
/// becomes `[feature_size, 100 · chunk_length]`.
///
/// ```
/// use dendra_models::LogMel;
///
/// let silence = vec![0.0; 1600];
/// let features = LogMel::new(80).chunk_length(1).apply(&silence)?;
/// assert_eq!(*features.shape(), [80, 100]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Setters)]
pub struct LogMel {
    feature_size: usize,
    /// The length of the sound in seconds.
    #[set(default = 30)]
    chunk_length: usize,
}

const SAMPLING_RATE: usize = 16_000;
/// The number of samples in a window.
const N_FFT: usize = 400;
/// The distance between two windows in samples.
const HOP_LENGTH: usize = 160;
/// The number of frequencies of a window, from 0 to half of the sampling rate.
const BINS: usize = N_FFT / 2 + 1;

impl LogMel {
    /// Settings for this number of bands: 80, or 128 for Whisper large-v3.
    pub fn new(feature_size: usize) -> Self {
        Self::with_defaults(feature_size)
    }

    /// Computes the features of samples between −1 and 1.
    ///
    /// # Errors
    ///
    /// When there are no samples, a sample is not finite, or a setting is out
    /// of range.
    pub fn apply(&self, samples: &[f32]) -> Result<Tensor> {
        let context = "LogMel";
        if !(1..=512).contains(&self.feature_size) || !(1..=3600).contains(&self.chunk_length) {
            let message = format!(
                "expected a feature_size in 1 ..= 512 and a chunk_length in 1 ..= 3600, got {} \
                 and {}",
                self.feature_size, self.chunk_length
            );
            return Err(Error::argument(context, message));
        }
        if samples.is_empty() || !samples.iter().all(|sample| sample.is_finite()) {
            return Err(Error::data(
                context,
                "expected at least one sample and only finite samples",
            ));
        }
        let length = self.chunk_length * SAMPLING_RATE;
        let sample = |index: usize| samples.get(index).copied().unwrap_or(0.0);
        // The signal is mirrored at the start and the end by half a window.
        let half = N_FFT / 2;
        let mirrored = |index: usize| match index {
            index if index < half => half - index,
            index if index < half + length => index - half,
            index => 2 * (length - 1) - (index - half),
        };
        let frames = length / HOP_LENGTH;
        let window = |n: usize| {
            let turn = std::f64::consts::TAU * n as f64 / N_FFT as f64;
            0.5 - 0.5 * turn.cos()
        };
        let window: Vec<f64> = (0..N_FFT).map(window).collect();
        let windows = Tensor::<f64>::from_fn([frames, N_FFT], |index| {
            let (frame, n) = (index / N_FFT, index % N_FFT);
            window[n] * f64::from(sample(mirrored(frame * HOP_LENGTH + n)))
        });
        // In double precision, because the quietest band counts down to a
        // billionth of the loudest.
        let part = |wave: fn(f64) -> f64| {
            let table: Vec<f64> =
                (0..N_FFT).map(|n| wave(std::f64::consts::TAU * n as f64 / N_FFT as f64)).collect();
            let waves = Tensor::from_fn([N_FFT, BINS], |index| {
                table[index / BINS * (index % BINS) % N_FFT]
            });
            windows.matmul(&waves).map(|part| part.square())
        };
        let power = part(f64::cos)?.add(&part(f64::sin)?)?;
        let mel = power.matmul(&mel_filters(self.feature_size))?.transpose(0, 1)?;
        let logarithms = mel.map(|power| power.max(1e-10).log10());
        let loudest = logarithms.max()?.item()?;
        Ok(logarithms.map(|x| ((x.max(loudest - 8.0) + 4.0) / 4.0) as f32).contiguous())
    }
}

/// The weight of each frequency in each band, `[BINS, bands]`: triangles of
/// equal area, each overlapping half of its neighbours (Slaney, "Auditory
/// toolbox", 1998).
fn mel_filters(bands: usize) -> Tensor<f64> {
    // Linear up to 1000 Hz, logarithmic above.
    let step = 6.4_f64.ln() / 27.0;
    let mel = |hertz: f64| match hertz < 1000.0 {
        true => 3.0 * hertz / 200.0,
        false => 15.0 + (hertz / 1000.0).ln() / step,
    };
    let hertz = |mel: f64| match mel < 15.0 {
        true => 200.0 * mel / 3.0,
        false => 1000.0 * ((mel - 15.0) * step).exp(),
    };
    let half_rate = SAMPLING_RATE as f64 / 2.0;
    let corners: Vec<f64> = (0..bands + 2)
        .map(|index| hertz(mel(half_rate) * index as f64 / (bands + 1) as f64))
        .collect();
    Tensor::from_fn([BINS, bands], |index| {
        let (bin, band) = (index / bands, index % bands);
        let frequency = half_rate * bin as f64 / (BINS - 1) as f64;
        let [low, middle, high] = [corners[band], corners[band + 1], corners[band + 2]];
        let rising = (frequency - low) / (middle - low);
        let falling = (high - frequency) / (high - middle);
        rising.min(falling).max(0.0) * 2.0 / (high - low)
    })
}
