//! Convolutions of each channel with taps of its own.

use dendra_tensor::kernels::parallel::for_each_chunk;
use dendra_tensor::kernels::simd::dispatch;
use dendra_tensor::{Error, Result};

use super::finish::Finish;
use super::image::Image;

/// The taps of a convolution with one filter per channel, `[taps, C]`.
#[derive(Clone, Debug)]
pub struct DepthwiseWeights {
    taps: Vec<i16>,
    channels: usize,
    sums: Vec<i32>,
}

impl DepthwiseWeights {
    /// From the taps of one channel after those of the other.
    ///
    /// # Errors
    ///
    /// When the number of weights is no multiple of that of the channels.
    pub fn new(weights: &[i8], channels: usize) -> Result<Self> {
        if channels == 0 || !weights.len().is_multiple_of(channels) {
            let message = format!("{} weights are not those of {channels} channels", weights.len());
            return Err(Error::argument("DepthwiseWeights", message));
        }
        let count = weights.len() / channels;
        let mut taps = Vec::with_capacity(weights.len());
        for tap in 0..count {
            taps.extend((0..channels).map(|channel| i16::from(weights[channel * count + tap])));
        }
        let filters = weights.chunks(count.max(1));
        let sums = filters.map(|filter| filter.iter().map(|&weight| i32::from(weight)).sum());
        Ok(Self { taps, channels, sums: sums.collect() })
    }

    /// The sum of the weights of each channel.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }
}

/// Computes the convolution of images with one filter per channel. `out` is
/// `[N, H, W, C]`.
///
/// # Panics
///
/// When the numbers of channels or taps differ, or there are fewer images than
/// in `out`.
pub fn depthwise<F: Finish>(
    weights: &DepthwiseWeights,
    image: &Image<'_>,
    finish: &F,
    out: &mut [F::Element],
) {
    let channels = image.channels;
    assert!(channels == weights.channels && image.depth() == weights.taps.len());
    let [_, columns] = image.output;
    let line = columns * channels;
    let cost = weights.taps.len() / channels / 4 + 1;
    for_each_chunk(out, line, cost, |index, out| {
        let mut sums = vec![0; channels];
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            let row = index * columns + x;
            dispatch(
                #[inline(always)]
                || {
                    add_taps(weights, image, row, &mut sums);
                    finish.finish(row, 0, &sums, out);
                },
            );
        }
    });
}

#[inline(always)]
fn add_taps(weights: &DepthwiseWeights, image: &Image<'_>, row: usize, sums: &mut [i32]) {
    let [height, width] = image.size;
    let [rows, columns] = image.output;
    let channels = image.channels;
    let window = &image.window;
    let top = window.start(0, row / columns % rows);
    let left = window.start(1, row % columns);
    let first = row / (rows * columns) * height;
    sums.fill(0);
    for (tap, taps) in weights.taps.chunks_exact(channels).enumerate() {
        let y = top + (tap / window.kernel[1] * window.dilation[0]) as isize;
        let x = left + (tap % window.kernel[1] * window.dilation[1]) as isize;
        if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
            let padding = i32::from(image.padding);
            for (sum, &weight) in sums.iter_mut().zip(taps) {
                *sum += padding * i32::from(weight);
            }
            continue;
        }
        let from = ((first + y as usize) * width + x as usize) * channels;
        let pixel = &image.data[from..][..channels];
        for ((sum, &weight), &x) in sums.iter_mut().zip(taps).zip(pixel) {
            *sum += i32::from(x) * i32::from(weight);
        }
    }
}
