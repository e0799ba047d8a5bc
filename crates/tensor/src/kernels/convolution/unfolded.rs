//! Convolution as a matrix product: the input elements of the taps are copied
//! into a matrix with a row for each tap and a column for each window
//! (Chellapilla et al., "High performance convolutional neural networks for
//! document processing", 2006). A matrix is made for some rows of one image or
//! for several small images, and for some of the channels.

use std::ops::Range;

use super::{Convolution, Finish, ImageGroup};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::epilogue::Epilogue;
use crate::kernels::gemm::{Panels, Plus, Problem};
use crate::kernels::parallel::for_each_chunk;

/// The largest number of elements in the matrix, so that it stays in a core's
/// own cache.
const MATRIX_LENGTH: usize = 1 << 18;
/// The fewest taps in a matrix of the forward pass, if the matrix of all taps
/// would be too large.
const TAPS: usize = 256;
/// The same for gradients: all taps, because each part of the taps would read
/// or pack the cotangents again.
const TAPS_OF_GRADIENT: usize = usize::MAX;
/// The fewest columns with which a matrix product runs at full speed, if
/// reading the weight takes no time.
const MIN_COLUMNS: usize = 128;
/// The fewest columns for a large weight, which every product reads from
/// memory.
const MIN_COLUMNS_OF_MANY: usize = 512;
const MAX_COLUMNS: usize = 1024;
/// The fewest tasks into which a batch is split, if it has enough images.
const MIN_TASKS: usize = 8;

/// The fewest windows in a matrix product.
fn fewest_columns(c: &Convolution) -> usize {
    if c.weight_length() > MATRIX_LENGTH { MIN_COLUMNS_OF_MANY } else { MIN_COLUMNS }
}

/// The number of windows in a matrix product.
fn columns(c: &Convolution) -> usize {
    (MATRIX_LENGTH / c.taps.max(1)).clamp(fewest_columns(c), MAX_COLUMNS)
}

/// The number of images in a matrix product, for small images.
pub(super) fn images_per_task(c: &Convolution) -> usize {
    let positions = c.windows.positions();
    let fewest = fewest_columns(c).div_ceil(positions).min(c.images.max(1));
    // A single image with pointwise taps is used in place, without a copy.
    let most = if c.pointwise { fewest } else { columns(c) / positions };
    (c.images / MIN_TASKS).clamp(fewest, most.max(fewest))
}

/// The operand of one matrix product: some channels of a group, for all windows
/// of one or several images, or for some rows of windows of one image.
struct Tile<'a> {
    c: &'a Convolution,
    images: Range<usize>,
    group: usize,
    rows: Range<usize>,
    channels: Range<usize>,
    /// The index of the channels among all parts of them.
    part: usize,
}

/// The smallest number of parts of `0..length`, at least one, whose lengths are
/// at most `longest` and differ by at most one.
fn parts(length: usize, longest: usize) -> impl Iterator<Item = Range<usize>> {
    let count = length.div_ceil(longest.max(1)).max(1);
    (0..count).map(move |i| length * i / count..length * (i + 1) / count)
}

impl Convolution {
    /// The tiles of some images, ordered by group, and within a group by rows
    /// of windows. Each has at least this many taps, if they exist.
    fn tiles(&self, images: Range<usize>, taps: usize) -> impl Iterator<Item = Tile<'_>> {
        let [height, width] = self.windows.output();
        let rows = match images.len() {
            1 if !self.pointwise => (columns(self) / width).clamp(1, height),
            _ => height,
        };
        let channels = match self.pointwise && images.len() == 1 {
            true => self.in_channels,
            false => {
                taps.max(MATRIX_LENGTH / (images.len() * rows * width)) / self.kernel_taps().max(1)
            }
        };
        (0..self.groups).flat_map(move |group| {
            let images = images.clone();
            parts(height, rows).flat_map(move |rows| {
                let images = images.clone();
                parts(self.in_channels, channels).enumerate().map(move |(part, channels)| {
                    let (images, rows) = (images.clone(), rows.clone());
                    Tile { c: self, images, group, rows, channels, part }
                })
            })
        })
    }
}

impl Tile<'_> {
    /// Windows in one image.
    fn image_columns(&self) -> usize {
        self.rows.len() * self.c.windows.output()[1]
    }

    /// Windows in all images.
    fn columns(&self) -> usize {
        self.images.len() * self.image_columns()
    }

    /// The taps of the tile's channels.
    fn taps(&self) -> Range<usize> {
        let taps = self.c.kernel_taps();
        self.channels.start * taps..self.channels.end * taps
    }

    /// Whether the tile has the first rows.
    fn is_first(&self) -> bool {
        self.rows.start == 0
    }

    /// Whether the tile has the last rows.
    fn is_last(&self) -> bool {
        self.rows.end == self.c.windows.output()[0]
    }

    /// The only image, if there is only one.
    fn single(&self) -> Option<ImageGroup> {
        (self.images.len() == 1)
            .then_some(ImageGroup { image: self.images.start, group: self.group })
    }

    /// The only image, if a tap uses it as it is stored, so that it is its own
    /// matrix.
    fn in_place(&self) -> Option<ImageGroup> {
        self.single().filter(|_| self.c.pointwise)
    }

    fn image_groups(&self) -> impl Iterator<Item = ImageGroup> + use<> {
        let group = self.group;
        self.images.clone().map(move |image| ImageGroup { image, group })
    }

    /// The ranges of the tile's channels, for each image, in inputs that begin
    /// with the image `first`.
    fn inputs(&self, first: usize) -> impl Iterator<Item = Range<usize>> {
        let (c, length) = (self.c, self.c.windows.image_length());
        self.channels.clone().flat_map(move |channel| {
            self.images.clone().map(move |image| {
                let begin =
                    (((image - first) * c.groups + self.group) * c.in_channels + channel) * length;
                begin..begin + length
            })
        })
    }

    /// The planes of the tile's channels among those of all channels.
    fn planes(&self) -> Range<usize> {
        let channel = self.images.len() * self.c.windows.plane_length();
        self.channels.start * channel..self.channels.end * channel
    }
}

/// The matrix of a tile, and the planes from which it is made. The tiles of one
/// task share this memory.
struct Unfolding<T: Float> {
    /// The planes of a group's channels, image after image.
    planes: Buffer<T>,
    /// The input elements of the taps: taps × windows.
    matrix: Buffer<T>,
    /// The offset of each tap in the plane of a channel.
    starts: Vec<usize>,
}

impl<T: Float> Unfolding<T> {
    /// Memory for every tile of some images.
    fn new(c: &Convolution, images: &Range<usize>, taps: usize) -> Self {
        let in_place = c.pointwise && images.len() == 1;
        let length = |length: usize| if in_place { 0 } else { length };
        let matrix = |tile: Tile<'_>| tile.taps().len() * tile.columns();
        Self {
            planes: Buffer::new(length(images.len() * c.planes_length())),
            matrix: Buffer::new(length(
                c.tiles(images.clone(), taps).map(matrix).max().unwrap_or(0),
            )),
            starts: c.windows.starts().collect(),
        }
    }

    /// Makes the matrix of a tile. Returns it with the distance between its
    /// rows.
    fn unfold<'a>(&'a mut self, tile: &Tile, x: &'a [T]) -> (&'a [T], usize) {
        let (c, plane) = (tile.c, tile.c.windows.plane_length());
        if let Some(image_group) = tile.in_place() {
            return (c.input(x, image_group), tile.columns());
        }
        let planes = &mut self.planes.as_mut_slice()[tile.planes()];
        if tile.is_first() {
            for (plane, input) in planes.chunks_exact_mut(plane).zip(tile.inputs(0)) {
                match c.pointwise {
                    true => copy_row(&x[input], plane),
                    false => c.windows.spread(&x[input], T::ZERO, plane),
                }
            }
        }
        if c.pointwise {
            // A tap uses the planes as they are stored.
            return (&self.planes.as_slice()[tile.planes()], tile.columns());
        }
        let (columns, [_, width]) = (tile.columns(), c.windows.output());
        let matrix = &mut self.matrix.as_mut_slice()[..tile.taps().len() * columns];
        let (planes, starts) = (&*planes, &self.starts);
        for_each_chunk(matrix, columns, 1, |tap, matrix| {
            let (channel, tap) = (tap / starts.len(), tap % starts.len());
            let mut rows = matrix.chunks_exact_mut(width);
            for image in 0..tile.images.len() {
                let start = (channel * tile.images.len() + image) * plane + starts[tap];
                for (row, out) in tile.rows.clone().zip(&mut rows) {
                    let start = start + row * c.windows.plane_row();
                    copy_row(&planes[start..][..width], out);
                }
            }
        });
        (self.matrix.as_slice(), columns)
    }

    /// Adds a tile's matrix to the planes from which it would be made and, when
    /// they are complete, copies them to the gradient.
    fn fold(&mut self, tile: &Tile, gradient: &mut [T]) {
        let (c, columns, [_, width]) = (tile.c, tile.columns(), tile.c.windows.output());
        let (matrix, starts) = (self.matrix.as_slice(), &self.starts);
        let (plane, images) = (c.windows.plane_length(), tile.images.len());
        if c.pointwise {
            let values = matrix.chunks_exact(plane);
            for (values, input) in values.zip(tile.inputs(tile.images.start)) {
                copy_row(values, &mut gradient[input]);
            }
            return;
        }
        let planes = &mut self.planes.as_mut_slice()[tile.planes()];
        for_each_chunk(planes, plane, starts.len(), |index, out| {
            if tile.is_first() {
                out.fill(T::ZERO);
            }
            let (channel, image) = (index / images, index % images);
            for (tap, start) in starts.iter().enumerate() {
                let from = (channel * starts.len() + tap) * columns + image * tile.image_columns();
                let values = matrix[from..].chunks_exact(width);
                for (row, values) in tile.rows.clone().zip(values) {
                    let out = &mut out[start + row * c.windows.plane_row()..][..width];
                    out.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
                }
            }
        });
        if tile.is_last() {
            for (plane, input) in planes.chunks_exact(plane).zip(tile.inputs(tile.images.start)) {
                c.windows.collect(plane, T::ZERO, &mut gradient[input]);
            }
        }
    }
}

/// Copies a row in pieces of a fixed length, the last two of which may overlap.
/// For the short rows of small images, this is faster than a call of memcpy.
#[inline(always)]
pub(super) fn copy_row<T: Copy>(from: &[T], to: &mut [T]) {
    #[inline(always)]
    fn pieces<T: Copy, const N: usize>(from: &[T], to: &mut [T]) {
        let last = to.len() - N;
        for start in (0..last).step_by(N).chain([last]) {
            let piece: [T; N] = from[start..start + N].try_into().expect("N elements");
            to[start..start + N].copy_from_slice(&piece);
        }
    }
    match to.len() {
        0..4 => to.copy_from_slice(from),
        4..8 => pieces::<T, 4>(from, to),
        8..16 => pieces::<T, 8>(from, to),
        16..64 => pieces::<T, 16>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Memory for the outputs of several images as one matrix of channels ×
/// windows. A single image's outputs are written directly.
fn output_buffer<T: Float>(c: &Convolution, images: &Range<usize>) -> Buffer<T> {
    let length = if images.len() == 1 { 0 } else { images.len() * c.output_length() };
    Buffer::new(length)
}

/// The cotangents of a tile as a matrix of channels × windows, and the distance
/// between its rows.
fn cotangents<'a, T: Float>(
    tile: &Tile,
    g: &'a [T],
    buffer: &'a mut Buffer<T>,
) -> (&'a [T], usize) {
    let c = tile.c;
    if let Some(image_group) = tile.single() {
        let start = tile.rows.start * c.windows.output()[1];
        return (&c.output(g, image_group)[start..], c.windows.positions());
    }
    let (columns, positions) = (tile.columns(), c.windows.positions());
    for (channel, row) in buffer.as_mut_slice().chunks_exact_mut(columns).enumerate() {
        for (out, image_group) in row.chunks_exact_mut(positions).zip(tile.image_groups()) {
            out.copy_from_slice(&c.output(g, image_group)[channel * positions..][..positions]);
        }
    }
    (buffer.as_slice(), columns)
}

/// The largest number of windows for which packing the weight in advance is
/// faster than reading it in place and turning the output.
const PACKED_COLUMNS: usize = 512;

/// The weights of each part of the channels in the layout of the kernels, if
/// products with them are faster and tasks have one image.
pub(super) fn packed<T: Float>(c: &Convolution, weight: &[T]) -> Vec<Panels<T>> {
    let is_small = c.windows.positions() <= PACKED_COLUMNS.min(c.taps);
    if !is_small || c.groups != 1 || images_per_task(c) != 1 || c.images == 0 {
        return Vec::new();
    }
    let panels = |tile: Tile<'_>| {
        let (first, size) = (tile.taps().start, [tile.taps().len(), c.out_channels]);
        T::gemm_panels(size, (&weight[first..], [1, c.taps])).of_left()
    };
    c.tiles(0..1, TAPS).take_while(Tile::is_first).map(panels).collect()
}

/// Computes the output of the images from `first` on; `panels` are the result
/// of [`packed`].
pub(super) fn forward<T: Float>(
    c: &Convolution,
    x: &[T],
    (weight, panels): (&[T], &[Panels<T>]),
    finish: Finish<'_, T>,
    first: usize,
    y: &mut [T],
) {
    let images = first..first + y.len() / (c.groups * c.output_length());
    let mut unfolding = Unfolding::new(c, &images, TAPS);
    let mut buffer = output_buffer(c, &images);
    let positions = c.windows.positions();
    for tile in c.tiles(images, TAPS) {
        let n = tile.columns();
        let (matrix, matrix_columns) = unfolding.unfold(&tile, x);
        let is_last = tile.channels.end == c.in_channels;
        let (out, columns, then) = match tile.single() {
            Some(_) => {
                let start =
                    tile.group * c.output_length() + tile.rows.start * c.windows.output()[1];
                let then = if is_last { finish.then.from(start) } else { Epilogue::NONE };
                (&mut y[start..], positions, then)
            }
            None => (buffer.as_mut_slice(), n, Epilogue::NONE),
        };
        let problem = Problem {
            m: c.out_channels,
            k: tile.taps().len(),
            n,
            a: &c.weight(weight, tile.group)[tile.taps().start..],
            a_strides: [c.taps, 1],
            b: matrix,
            b_strides: [matrix_columns, 1],
            c: out,
            columns,
            plus: match finish.bias {
                _ if tile.channels.start > 0 => Plus::C,
                Some(bias) => Plus::Column(&bias[tile.group * c.out_channels..][..c.out_channels]),
                None => Plus::Nothing,
            },
            then,
        };
        match panels.get(tile.part) {
            Some(panels) => T::gemm_with_panels(problem, panels),
            None => T::gemm(problem),
        }
        if tile.single().is_some() || !is_last {
            continue;
        }
        for (channel, row) in buffer.as_slice().chunks_exact(n).enumerate() {
            for (image, values) in row.chunks_exact(positions).enumerate() {
                let start =
                    (image * c.groups + tile.group) * c.output_length() + channel * positions;
                let y = &mut y[start..][..positions];
                y.copy_from_slice(values);
                finish.then.apply(start, y);
            }
        }
    }
}

/// Computes the gradient of the input of the images from `first` on.
pub(super) fn input_gradient<T: Float>(
    c: &Convolution,
    weight: &[T],
    g: &[T],
    first: usize,
    gradient: &mut [T],
) {
    let images = first..first + gradient.len() / (c.groups * c.input_length());
    let mut unfolding = Unfolding::new(c, &images, TAPS_OF_GRADIENT);
    let mut buffer = output_buffer(c, &images);
    for tile in c.tiles(images, TAPS_OF_GRADIENT) {
        let n = tile.columns();
        let (cotangents, columns) = cotangents(&tile, g, &mut buffer);
        let in_place = tile.in_place().is_some();
        let out = match in_place {
            true => &mut gradient[tile.group * c.input_length()..],
            false => unfolding.matrix.as_mut_slice(),
        };
        T::gemm(Problem {
            m: tile.taps().len(),
            k: c.out_channels,
            n,
            a: &c.weight(weight, tile.group)[tile.taps().start..],
            a_strides: [1, c.taps],
            b: cotangents,
            b_strides: [columns, 1],
            c: out,
            columns: n,
            plus: Plus::Nothing,
            then: Epilogue::NONE,
        });
        if !in_place {
            unfolding.fold(&tile, gradient);
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
        let mut unfolding = Unfolding::new(c, &images, TAPS_OF_GRADIENT);
        let mut buffer = output_buffer(c, &images);
        for tile in c.tiles(images, TAPS_OF_GRADIENT) {
            let (matrix, matrix_columns) = unfolding.unfold(&tile, x);
            let (cotangents, columns) = cotangents(&tile, g, &mut buffer);
            T::gemm(Problem {
                m: c.out_channels,
                k: tile.columns(),
                n: tile.taps().len(),
                a: cotangents,
                a_strides: [columns, 1],
                b: matrix,
                b_strides: [1, matrix_columns],
                c: &mut sum[tile.group * c.weight_length() + tile.taps().start..],
                columns: c.taps,
                plus: Plus::C,
                then: Epilogue::NONE,
            });
        }
    }
}
