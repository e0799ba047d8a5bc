//! Convolution as a matrix product: what the taps see is copied into a matrix
//! with a row for each tap and a column for each window (Chellapilla et al.,
//! "High performance convolutional neural networks for document processing",
//! 2006), for some rows of one image or for several small images at a time.

use std::ops::Range;

use super::{Convolution, Place};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::gemm::Problem;
use crate::kernels::parallel::for_each_chunk;

/// Elements that the matrix should not exceed, so that it stays in a core's
/// own cache.
const MATRIX_LENGTH: usize = 1 << 18;
/// Fewest columns that let a matrix product run at full speed, if reading the
/// weight costs nothing.
const MIN_COLUMNS: usize = 128;
/// Fewest columns for a weight that lies in memory, which every product reads
/// again.
const MIN_COLUMNS_OF_MANY: usize = 512;
const MAX_COLUMNS: usize = 1024;
/// Fewest tasks that a batch is cut into, where it has as many images.
const MIN_TASKS: usize = 8;

/// Fewest windows that one matrix product should take.
fn fewest_columns(c: &Convolution) -> usize {
    if c.weight_length() > MATRIX_LENGTH { MIN_COLUMNS_OF_MANY } else { MIN_COLUMNS }
}

/// Windows that one matrix product takes.
fn columns(c: &Convolution) -> usize {
    (MATRIX_LENGTH / c.taps.max(1)).clamp(fewest_columns(c), MAX_COLUMNS)
}

/// Images that one matrix product takes, when these are small.
pub(super) fn images_per_task(c: &Convolution) -> usize {
    let positions = c.windows.positions();
    let fewest = fewest_columns(c).div_ceil(positions).min(c.images.max(1));
    // A single image that a tap sees as it lies need not be copied.
    let most = if c.pointwise { fewest } else { columns(c) / positions };
    (c.images / MIN_TASKS).clamp(fewest, most.max(fewest))
}

/// The part of a group's windows that one matrix product takes: all of one
/// image or several, or some rows of one.
struct Tile<'a> {
    c: &'a Convolution,
    images: Range<usize>,
    rows: Range<usize>,
    group: usize,
}

impl Convolution {
    /// The tiles of some images: those of one group after each other.
    fn tiles(&self, images: Range<usize>) -> impl Iterator<Item = Tile<'_>> {
        let [height, width] = self.windows.output();
        let rows = match images.len() {
            1 if !self.pointwise => (columns(self) / width).clamp(1, height),
            _ => height,
        };
        (0..self.groups).flat_map(move |group| {
            let images = images.clone();
            (0..height).step_by(rows).map(move |start| {
                let rows = start..height.min(start + rows);
                Tile { c: self, images: images.clone(), rows, group }
            })
        })
    }
}

impl Tile<'_> {
    /// Windows of one image.
    fn image_columns(&self) -> usize {
        self.rows.len() * self.c.windows.output()[1]
    }

    /// Windows of all images.
    fn columns(&self) -> usize {
        self.images.len() * self.image_columns()
    }

    /// Whether it is the first of its images and group.
    fn is_first(&self) -> bool {
        self.rows.start == 0
    }

    /// Whether it is the last of its images and group.
    fn is_last(&self) -> bool {
        self.rows.end == self.c.windows.output()[0]
    }

    /// The only image, if there is just one.
    fn single(&self) -> Option<Place> {
        (self.images.len() == 1).then_some(Place { image: self.images.start, group: self.group })
    }

    /// The only image, when a tap sees it as it lies in memory, so that it is
    /// its own matrix.
    fn in_place(&self) -> Option<Place> {
        self.single().filter(|_| self.c.pointwise)
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let group = self.group;
        self.images.clone().map(move |image| Place { image, group })
    }
}

/// The matrix of a tile, and the planes behind it; the tiles of one task share
/// the memory.
struct Unfolding<T: Float> {
    /// The planes of a group's channels, image after image.
    planes: Buffer<T>,
    /// What the taps see: taps × windows.
    matrix: Buffer<T>,
    starts: Vec<usize>,
}

impl<T: Float> Unfolding<T> {
    /// Memory for every tile of some images.
    fn new(c: &Convolution, images: &Range<usize>) -> Self {
        let in_place = c.pointwise && images.len() == 1;
        let columns = c.tiles(images.clone()).map(|tile| tile.columns()).max().unwrap_or(0);
        let length = |length: usize| if in_place { 0 } else { length };
        Self {
            planes: Buffer::new(length(images.len() * c.planes_length())),
            matrix: Buffer::new(length(c.taps * columns)),
            starts: c.starts().collect(),
        }
    }

    /// The matrix of a tile, and the elements between two of its rows.
    fn unfold<'a>(&'a mut self, tile: &Tile, x: &'a [T]) -> (&'a [T], usize) {
        let c = tile.c;
        if let Some(place) = tile.in_place() {
            return (c.input(x, place), tile.columns());
        }
        if tile.is_first() {
            let planes = self.planes.as_mut_slice().chunks_exact_mut(c.planes_length().max(1));
            for (planes, place) in planes.zip(tile.places()) {
                c.spread(c.input(x, place), planes);
            }
        }
        let (columns, [_, width]) = (tile.columns(), c.windows.output());
        let matrix = &mut self.matrix.as_mut_slice()[..c.taps * columns];
        let (planes, starts) = (self.planes.as_slice(), &self.starts);
        for_each_chunk(matrix, columns, 1, |tap, matrix| {
            let mut rows = matrix.chunks_exact_mut(width);
            for image in 0..tile.images.len() {
                let start = image * c.planes_length() + starts[tap];
                for (row, out) in tile.rows.clone().zip(&mut rows) {
                    let start = start + row * c.windows.plane_row();
                    out.copy_from_slice(&planes[start..][..width]);
                }
            }
        });
        (self.matrix.as_slice(), columns)
    }

    /// Adds a tile's matrix to the planes that it would be copied from.
    fn fold(&mut self, tile: &Tile) {
        let (c, columns, [_, width]) = (tile.c, tile.columns(), tile.c.windows.output());
        let kernel_taps = c.taps / c.in_channels.max(1);
        let (matrix, starts) = (self.matrix.as_slice(), &self.starts);
        let plane = c.windows.plane_length();
        for_each_chunk(self.planes.as_mut_slice(), plane, kernel_taps, |index, out| {
            if tile.is_first() {
                out.fill(T::ZERO);
            }
            let (image, channel) = (index / c.in_channels, index % c.in_channels);
            for tap in 0..kernel_taps {
                let start = (channel * kernel_taps + tap) * columns + image * tile.image_columns();
                let values = matrix[start..].chunks_exact(width);
                for (row, values) in tile.rows.clone().zip(values) {
                    let out = &mut out[starts[tap] + row * c.windows.plane_row()..][..width];
                    out.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
                }
            }
        });
    }
}

/// Memory for the outputs of several images as one matrix of channels ×
/// windows; a single image's lie in the output itself.
fn output_buffer<T: Float>(c: &Convolution, images: &Range<usize>) -> Buffer<T> {
    let length = if images.len() == 1 { 0 } else { images.len() * c.output_length() };
    Buffer::new(length)
}

/// The cotangents of a tile as a matrix of channels × windows, and the
/// elements between two of its rows.
fn cotangents<'a, T: Float>(
    tile: &Tile,
    g: &'a [T],
    buffer: &'a mut Buffer<T>,
) -> (&'a [T], usize) {
    let c = tile.c;
    if let Some(place) = tile.single() {
        let start = tile.rows.start * c.windows.output()[1];
        return (&c.output(g, place)[start..], c.windows.positions());
    }
    let (columns, positions) = (tile.columns(), c.windows.positions());
    for (channel, row) in buffer.as_mut_slice().chunks_exact_mut(columns).enumerate() {
        for (out, place) in row.chunks_exact_mut(positions).zip(tile.places()) {
            out.copy_from_slice(&c.output(g, place)[channel * positions..][..positions]);
        }
    }
    (buffer.as_slice(), columns)
}

/// The output of the images from `first` on.
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    first: usize,
    y: &mut [T],
) {
    let images = first..first + y.len() / (c.groups * c.output_length());
    let mut unfolding = Unfolding::new(c, &images);
    let mut buffer = output_buffer(c, &images);
    let positions = c.windows.positions();
    for tile in c.tiles(images) {
        let n = tile.columns();
        let (matrix, matrix_columns) = unfolding.unfold(&tile, x);
        let (out, columns) = match tile.single() {
            Some(_) => {
                let start = tile.rows.start * c.windows.output()[1];
                (&mut y[tile.group * c.output_length() + start..], positions)
            }
            None => (buffer.as_mut_slice(), n),
        };
        if let Some(bias) = bias {
            let bias = &bias[tile.group * c.out_channels..][..c.out_channels];
            for (row, &bias) in out.chunks_mut(columns).zip(bias) {
                row[..n].fill(bias);
            }
        }
        T::gemm(Problem {
            m: c.out_channels,
            k: c.taps,
            n,
            a: c.weight(weight, tile.group),
            a_strides: [c.taps, 1],
            b: matrix,
            b_strides: [matrix_columns, 1],
            c: out,
            columns,
            accumulate: bias.is_some(),
        });
        if tile.single().is_some() {
            continue;
        }
        for (channel, row) in buffer.as_slice().chunks_exact(n).enumerate() {
            for (image, values) in row.chunks_exact(positions).enumerate() {
                let start = (image * c.groups + tile.group) * c.output_length();
                y[start + channel * positions..][..positions].copy_from_slice(values);
            }
        }
    }
}

/// The gradient of the input of the images from `first` on.
pub(super) fn input_gradient<T: Float>(
    c: &Convolution,
    weight: &[T],
    g: &[T],
    first: usize,
    gradient: &mut [T],
) {
    let images = first..first + gradient.len() / (c.groups * c.input_length());
    let mut unfolding = Unfolding::new(c, &images);
    let mut buffer = output_buffer(c, &images);
    for tile in c.tiles(images) {
        let n = tile.columns();
        let (cotangents, columns) = cotangents(&tile, g, &mut buffer);
        let in_place = tile.in_place().is_some();
        let out = match in_place {
            true => &mut gradient[tile.group * c.input_length()..],
            false => unfolding.matrix.as_mut_slice(),
        };
        T::gemm(Problem {
            m: c.taps,
            k: c.out_channels,
            n,
            a: c.weight(weight, tile.group),
            a_strides: [1, c.taps],
            b: cotangents,
            b_strides: [columns, 1],
            c: out,
            columns: n,
            accumulate: false,
        });
        if in_place {
            continue;
        }
        unfolding.fold(&tile);
        if tile.is_last() {
            let planes = unfolding.planes.as_slice().chunks_exact(c.planes_length());
            for (image, planes) in planes.enumerate() {
                let start = (image * c.groups + tile.group) * c.input_length();
                c.collect(planes, &mut gradient[start..][..c.input_length()]);
            }
        }
    }
}

/// Adds the gradient of the weight over some images to `sum`.
pub(super) fn add_weight_gradient<T: Float>(
    c: &Convolution,
    x: &[T],
    g: &[T],
    images: Range<usize>,
    sum: &mut [T],
) {
    let step = images_per_task(c);
    for first in images.clone().step_by(step) {
        let images = first..images.end.min(first + step);
        let mut unfolding = Unfolding::new(c, &images);
        let mut buffer = output_buffer(c, &images);
        for tile in c.tiles(images) {
            let (matrix, matrix_columns) = unfolding.unfold(&tile, x);
            let (cotangents, columns) = cotangents(&tile, g, &mut buffer);
            T::gemm(Problem {
                m: c.out_channels,
                k: tile.columns(),
                n: c.taps,
                a: cotangents,
                a_strides: [columns, 1],
                b: matrix,
                b_strides: [1, matrix_columns],
                c: &mut sum[tile.group * c.weight_length()..][..c.weight_length()],
                columns: c.taps,
                accumulate: true,
            });
        }
    }
}
