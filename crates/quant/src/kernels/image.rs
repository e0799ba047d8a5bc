//! The windows of images in the layout `[N, H, W, C]` as rows of a matrix.

use super::lane::Lane;

/// The geometry of a window that slides over images, for height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The taps.
    pub kernel: [usize; 2],
    /// The steps between windows.
    pub stride: [usize; 2],
    /// The padding at both ends.
    pub padding: [usize; 2],
    /// The steps between taps.
    pub dilation: [usize; 2],
}

impl Window {
    /// The numbers of windows over an image; `None` where none fits, or a setting
    /// is 0 or too large.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let taps = self.kernel[axis].checked_sub(1)?;
            let reach = taps.checked_mul(self.dilation[axis])?.checked_add(1)?;
            let padded = self.padding[axis].checked_mul(2)?.checked_add(size[axis])?;
            output[axis] =
                padded.checked_sub(reach)?.checked_div(self.stride[axis])?.checked_add(1)?;
        }
        (self.dilation[0] > 0 && self.dilation[1] > 0).then_some(output)
    }

    /// The taps of a window in the image: the position of the first tap along an
    /// axis, which may be outside.
    #[inline(always)]
    pub(super) fn start(&self, axis: usize, at: usize) -> isize {
        (at * self.stride[axis]) as isize - self.padding[axis] as isize
    }
}

/// Images whose windows are the rows of a matrix: a row has the channels of the
/// first tap, then those of the next one.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The bytes, `[N, H, W, C]`.
    pub data: &'a [u8],
    /// Height and width.
    pub size: [usize; 2],
    /// The channels of a pixel.
    pub channels: usize,
    /// The windows.
    pub window: Window,
    /// The numbers of windows: [`Window::output`].
    pub output: [usize; 2],
    /// The byte around the image.
    pub padding: u8,
}

impl Image<'_> {
    /// The bytes of a window.
    pub fn depth(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1] * self.channels
    }

    #[inline(always)]
    pub(super) fn fill<L: Lane>(&self, row: usize, out: &mut [L]) {
        let [height, width] = self.size;
        let [rows, columns] = self.output;
        let (y, x) = (row / columns % rows, row % columns);
        let image = row / (rows * columns) * height;
        let [_, taps] = self.window.kernel;
        let run = taps * self.channels;
        let (top, left) = (self.window.start(0, y), self.window.start(1, x));
        let padding = L::of(self.padding);
        for (tap, out) in out.chunks_exact_mut(run.max(1)).enumerate() {
            let y = top + (tap * self.window.dilation[0]) as isize;
            if y < 0 || y >= height as isize {
                out.fill(padding);
                continue;
            }
            let line =
                &self.data[(image + y as usize) * width * self.channels..][..width * self.channels];
            if self.window.dilation[1] == 1 {
                // The taps inside lie side by side.
                let first = (-left).clamp(0, taps as isize) as usize;
                let end = (width as isize - left).clamp(first as isize, taps as isize) as usize;
                let (before, out) = out.split_at_mut(first * self.channels);
                let (inside, after) = out.split_at_mut((end - first) * self.channels);
                before.fill(padding);
                after.fill(padding);
                if end > first {
                    let from = (left + first as isize) as usize * self.channels;
                    copy(&line[from..][..inside.len()], inside);
                }
                continue;
            }
            for (tap, out) in out.chunks_exact_mut(self.channels.max(1)).enumerate() {
                let x = left + (tap * self.window.dilation[1]) as isize;
                match x < 0 || x >= width as isize {
                    true => out.fill(padding),
                    false => copy(&line[x as usize * self.channels..][..self.channels], out),
                }
            }
        }
    }
}

/// Bytes as lanes.
#[inline(always)]
pub(super) fn copy<L: Lane>(from: &[u8], to: &mut [L]) {
    for (to, &x) in to.iter_mut().zip(from) {
        *to = L::of(x);
    }
}
