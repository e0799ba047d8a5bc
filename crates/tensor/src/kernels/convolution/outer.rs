//! The gradient of the weight as a sum of outer products over the windows: the
//! input elements of some taps times the cotangents of some output channels.
//! The former are read from the planes in place, the latter from a copy in
//! which the channels of a window are interleaved.

use std::ops::Range;

use super::{Convolution, ImageGroup};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::transpose::Transpose;
use crate::kernels::vector::{Kernel, Vector, from_fn};
use crate::kernels::windows::Windows;

/// Output channels in a panel, whose cotangents are interleaved.
const PANEL: usize = 32;
/// The number of taps whose gradients a task sums. Tasks have fewer taps if
/// there are fewer images than threads.
const TASK_TAPS: usize = 72;
const FEW_TASK_TAPS: usize = 18;
/// The number of channels of a panel whose sums a task adds to the gradient.
const TASK_CHANNELS: usize = PANEL / 2;
/// The approximate number of windows that are summed before the next taps,
/// while their cotangents stay in the first-level cache.
const WINDOWS: usize = 256;
/// The largest number of elements in the planes and cotangents of some images
/// together.
const LENGTH: usize = 1 << 20;
/// The fewest taps and output channels for which copying the cotangents saves
/// time, and the fewest windows in an image for which loading and storing the
/// sums does.
const MIN_TAPS: usize = 64;
const MIN_CHANNELS: usize = 8;
const MIN_WINDOWS: usize = 128;

/// Whether this method is fast for the convolution.
pub(super) fn serves(c: &Convolution) -> bool {
    let enough = c.taps >= MIN_TAPS && c.windows.positions() >= MIN_WINDOWS;
    !c.pointwise && enough && c.out_channels >= MIN_CHANNELS
}

/// Adds the gradient of the weight over some images to `sum`.
pub(super) fn add_weight_gradient<T: Float>(
    c: &Convolution,
    x: &[T],
    g: &[T],
    images: Range<usize>,
    sum: &mut [T],
) {
    let starts = c.starts();
    let (positions, panels) = (c.windows.positions(), c.out_channels.div_ceil(PANEL));
    let [planes_length, cotangents_length] = [c.planes_length(), panels * positions * PANEL];
    let together = (LENGTH / (planes_length + cotangents_length)).clamp(1, images.len().max(1));
    let task_taps = if images.len() < c.images { TASK_TAPS } else { FEW_TASK_TAPS };
    let mut planes = Buffer::new(together * planes_length);
    let mut cotangents = Buffer::new(together * cotangents_length);
    let mut gradient = Buffer::new(panels * c.taps * PANEL);
    for (group, sum) in sum.chunks_exact_mut(c.weight_length()).enumerate() {
        gradient.as_mut_slice().fill(T::ZERO);
        for first in images.clone().step_by(together) {
            let count = together.min(images.end - first);
            let planes = &mut planes.as_mut_slice()[..count * planes_length];
            for (image, planes) in (first..).zip(planes.chunks_exact_mut(planes_length)) {
                c.spread(c.input(x, ImageGroup { image, group }), planes);
            }
            let cotangents = &mut cotangents.as_mut_slice()[..count * cotangents_length];
            for_each_chunk(cotangents, positions * PANEL, 2, |index, out| {
                let (image, panel) = (first + index / panels, index % panels);
                let g = &c.output(g, ImageGroup { image, group })[panel * PANEL * positions..];
                side_by_side(g, positions, out);
            });
            let (planes, cotangents) = (&*planes, &*cotangents);
            for (panel, gradient) in
                gradient.as_mut_slice().chunks_exact_mut(c.taps * PANEL).enumerate()
            {
                let cost = count * positions / 8 + 1;
                for_each_chunk(gradient, task_taps * PANEL, cost, |index, gradient| {
                    let images = planes.chunks_exact(planes_length);
                    let panels = cotangents[panel * positions * PANEL..].chunks(cotangents_length);
                    for (planes, cotangents) in images.zip(panels) {
                        T::vectorised(Products {
                            windows: &c.windows,
                            planes,
                            starts: &starts[index * task_taps..],
                            cotangents: &cotangents[..positions * PANEL],
                            channels: PANEL.min(c.out_channels - panel * PANEL),
                            gradient,
                        });
                    }
                });
            }
        }
        let gradient = gradient.as_slice();
        for_each_chunk(sum, TASK_CHANNELS * c.taps, 2, |index, sum| {
            let first = index * TASK_CHANNELS;
            let from = &gradient[first / PANEL * c.taps * PANEL + first % PANEL..];
            let mut columns = Buffer::new(sum.len());
            T::vectorised(Transpose {
                from,
                from_step: PANEL,
                size: [c.taps, sum.len() / c.taps],
                to: columns.as_mut_slice(),
                to_step: c.taps,
                width: c.taps,
            });
            for (sum, &gradient) in sum.iter_mut().zip(columns.as_slice()) {
                *sum += gradient;
            }
        });
    }
}

/// Copies the rows of at most one panel's channels to columns.
fn side_by_side<T: Float>(rows: &[T], length: usize, out: &mut [T]) {
    let size = [PANEL.min(rows.len() / length), length];
    let (from_step, to_step, width) = (length, PANEL, PANEL);
    T::vectorised(Transpose { from: rows, from_step, size, to: out, to_step, width });
}

/// The sum for some taps and the channels of a panel over one image.
struct Products<'a, T> {
    windows: &'a Windows,
    planes: &'a [T],
    /// The offsets of the taps, followed by those of other taps.
    starts: &'a [usize],
    cotangents: &'a [T],
    /// The number of channels in the panel.
    channels: usize,
    /// The gradient, taps × channels of the panel, to which the sums are added.
    gradient: &'a mut [T],
}

impl<T: Float> Kernel<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T>>(mut self) {
        if V::REGISTERS >= 32 {
            self.bands::<V, 9>();
        } else {
            self.bands::<V, 5>();
        }
    }
}

impl<T: Float> Products<'_, T> {
    /// Sums all taps, for some rows of windows at a time.
    #[inline(always)]
    fn bands<V: Vector<T>, const M: usize>(&mut self) {
        let [height, width] = self.windows.output();
        let band = (WINDOWS / width).clamp(1, height);
        for first in (0..height).step_by(band) {
            let rows = first..height.min(first + band);
            for (block, gradient) in self.gradient.chunks_mut(M * PANEL).enumerate() {
                // The results for missing taps are not used.
                let last = gradient.len() / PANEL - 1;
                let starts: [usize; M] = from_fn(|i| self.starts[block * M + i.min(last)]);
                let mut column = 0;
                while column < self.channels {
                    let at = (&rows, width, self.windows.plane_row(), column);
                    if self.channels - column > V::LANES {
                        products::<T, V, M, 2>(self.planes, &starts, self.cotangents, at, gradient);
                        column += 2 * V::LANES;
                    } else {
                        products::<T, V, M, 1>(self.planes, &starts, self.cotangents, at, gradient);
                        column += V::LANES;
                    }
                }
            }
        }
    }
}

/// The sum over some rows of windows for `M` taps and `W` vectors of channels.
#[inline(always)]
fn products<T: Float, V: Vector<T>, const M: usize, const W: usize>(
    planes: &[T],
    starts: &[usize; M],
    cotangents: &[T],
    (rows, width, plane_row, column): (&Range<usize>, usize, usize, usize),
    gradient: &mut [T],
) {
    let mut sums = [[V::splat(T::ZERO); W]; M];
    for row in rows.clone() {
        let taps: [&[T]; M] = from_fn(|i| &planes[starts[i] + row * plane_row..][..width]);
        let g = &cotangents[row * width * PANEL..][..width * PANEL];
        for (window, g) in g.chunks_exact(PANEL).enumerate() {
            let g: [V; W] = from_fn(|i| V::load(&g[column + i * V::LANES..]));
            for tap in 0..M {
                let x = V::splat(taps[tap][window]);
                for i in 0..W {
                    sums[tap][i] = sums[tap][i].plus_product(x, g[i]);
                }
            }
        }
    }
    for (tap, sums) in sums.into_iter().enumerate() {
        if let Some(gradient) = gradient.get_mut(tap * PANEL..(tap + 1) * PANEL) {
            for i in 0..W {
                let sum = &mut gradient[column + i * V::LANES..][..V::LANES];
                V::load(sum).plus(sums[i]).store(sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::assert_kinds_agree;
    use crate::kernels::windows::Sliding;
    use crate::random::Rng;

    /// The sums for a panel.
    #[derive(Clone)]
    struct Panel<'a> {
        c: &'a Convolution,
        planes: &'a [f32],
        starts: &'a [usize],
        cotangents: &'a [f32],
        channels: usize,
    }

    impl Kernel<f32> for Panel<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector<f32>>(self) -> Vec<f32> {
            let Self { c, planes, starts, cotangents, channels } = self;
            let mut gradient = vec![1.0; c.taps * PANEL];
            let windows = &c.windows;
            let gradient_of = &mut gradient[..];
            Products { windows, planes, starts, cotangents, channels, gradient: gradient_of }
                .run::<V>();
            // The values after the channels are unspecified.
            gradient.chunks_exact(PANEL).flat_map(|tap| tap[..channels].to_vec()).collect()
        }
    }

    /// Every instruction set compared with the portable arrays. The tests of
    /// the operation compare the widest one with a plain loop.
    #[test]
    fn all_instruction_sets_agree() {
        let mut rng = Rng::seed(1);
        for (channels, stride) in [(32, 1), (17, 2), (16, 1), (9, 2), (5, 1)] {
            let sliding = Sliding {
                kernel_size: [3, 2],
                stride: [1, stride],
                padding: [1, 1],
                dilation: [1, 1],
                ceil_mode: false,
            };
            let windows = Windows::new("test", [7, 90], &sliding).unwrap();
            let c = Convolution::new(1, 1, [4, channels], windows, &sliding);
            let mut random = |length| (0..length).map(|_| rng.normal() as f32).collect::<Vec<_>>();
            let mut planes = vec![0.0; c.planes_length()];
            c.spread(&random(c.input_length()), &mut planes);
            let mut cotangents = vec![f32::NAN; windows.positions() * PANEL];
            side_by_side(&random(c.output_length()), windows.positions(), &mut cotangents);
            let starts = c.starts();
            let (planes, starts, cotangents) = (&planes[..], &starts[..], &cotangents[..]);
            let panel = Panel { c: &c, planes, starts, cotangents, channels };
            assert_kinds_agree(&panel, 1e-3, &format!("{channels} channels"));
        }
    }
}
