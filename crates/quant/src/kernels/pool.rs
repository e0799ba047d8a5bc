//! Maxima of windows.

use dendra_tensor::kernels::parallel::for_each_chunk;
use dendra_tensor::kernels::simd::dispatch;

use super::image::Image;

/// Computes the maxima of windows, `[N, H, W, C]`. What is around an image does
/// not count, so [`Image::padding`] is not used.
///
/// # Panics
///
/// When there are fewer images than in `out`.
pub fn max_pool(image: &Image<'_>, out: &mut [u8]) {
    let [height, width] = image.size;
    let [rows, columns] = image.output;
    let (channels, window) = (image.channels, &image.window);
    let taps = window.kernel[0] * window.kernel[1];
    for_each_chunk(out, columns * channels, taps.div_ceil(8), |index, out| {
        let top = window.start(0, index % rows);
        let first = index / rows * height;
        dispatch(
            #[inline(always)]
            || {
                for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                    let left = window.start(1, x);
                    out.fill(0);
                    for tap in 0..taps {
                        let y = top + (tap / window.kernel[1] * window.dilation[0]) as isize;
                        let x = left + (tap % window.kernel[1] * window.dilation[1]) as isize;
                        if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
                            continue;
                        }
                        let from = ((first + y as usize) * width + x as usize) * channels;
                        for (most, &x) in out.iter_mut().zip(&image.data[from..][..channels]) {
                            *most = if x > *most { x } else { *most };
                        }
                    }
                }
            },
        );
    });
}
