//! Windows that slide over an image: the geometry of convolution and pooling.
//!
//! An image is copied once into a *plane*, including padding, in which each tap
//! of the kernel finds its elements of an output row next to each other, for
//! any stride and dilation: rows, and columns, with the same residue modulo the
//! stride form a *phase* and are stored together. All work on planes then uses
//! contiguous slices, one for each tap and output row.

use std::ops::Range;

use smallvec::SmallVec;

use super::simd;
use crate::buffer::Buffer;
use crate::element::Element;
use crate::error::{Error, Result};

/// How windows slide, for rows and columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sliding {
    /// Taps of the window.
    pub(crate) kernel_size: [usize; 2],
    /// Elements from one window to the next.
    pub(crate) stride: [usize; 2],
    /// Elements added on both sides of the image.
    pub(crate) padding: [usize; 2],
    /// Elements from one tap to the next.
    pub(crate) dilation: [usize; 2],
    /// Whether a last window that extends beyond the padding counts.
    pub(crate) ceil_mode: bool,
}

/// Windows over rows or columns.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    /// The number of windows.
    output: usize,
    /// The number of taps after which the residues of `tap · dilation` repeat.
    period: usize,
}

impl Axis {
    /// The axis, or `None` when the windows do not fit.
    fn new(input: usize, sliding: &Sliding, axis: usize) -> Option<Self> {
        let [kernel, stride, padding, dilation] =
            [sliding.kernel_size, sliding.stride, sliding.padding, sliding.dilation]
                .map(|setting| setting[axis]);
        let padded = padding.checked_mul(2)?.checked_add(input)?;
        let span = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
        let beyond = if sliding.ceil_mode { stride - 1 } else { 0 };
        let mut output = padded.checked_add(beyond)?.checked_sub(span)? / stride + 1;
        // A window that would start in the padding at the far end does not
        // count (PyTorch's rule).
        if sliding.ceil_mode && (output - 1) * stride >= input + padding {
            output -= 1;
        }
        if output == 0 {
            return None;
        }
        let period = stride / greatest_common_divisor(stride, dilation);
        let axis = Self { input, kernel, stride, padding, dilation, output, period };
        axis.kernel.min(period).checked_mul(axis.phase_length())?;
        Some(axis)
    }

    /// The windows of the gradient of the input, one for each element. The taps
    /// of such a window use, in reverse order, the windows that use the
    /// element. `None` if the windows are not adjacent.
    fn backwards(&self) -> Option<Self> {
        let padding = (self.dilation * (self.kernel - 1)).checked_sub(self.padding)?;
        let backwards = Self { input: self.output, output: self.input, padding, ..*self };
        let span = self.output + self.dilation * (self.kernel - 1);
        let fits = self.stride == 1 && self.input + 2 * self.padding == span;
        fits.then_some(backwards)
    }

    /// Elements in one phase.
    fn phase_length(&self) -> usize {
        self.output + (self.kernel - 1) * self.dilation / self.stride
    }

    /// The number of phases that taps use.
    fn phases(&self) -> usize {
        self.kernel.min(self.period)
    }

    /// Elements in all phases.
    fn length(&self) -> usize {
        self.phases() * self.phase_length()
    }

    /// The offset of a tap's element for the first window; the elements for the
    /// next windows follow.
    fn start(&self, tap: usize) -> usize {
        (tap % self.period) * self.phase_length() + tap * self.dilation / self.stride
    }

    /// The range of a phase's elements that are in the image, and the
    /// coordinate in the image of the first.
    fn inside(&self, phase: usize) -> (Range<usize>, usize) {
        let residue = phase * self.dilation % self.stride;
        let before = |coordinate: usize| {
            (coordinate + self.padding).saturating_sub(residue).div_ceil(self.stride)
        };
        let end = before(self.input).min(self.phase_length());
        let first = before(0).min(end);
        (first..end, (first * self.stride + residue).saturating_sub(self.padding))
    }

    /// The result of [`inside`](Self::inside) for each phase.
    fn insides(&self) -> SmallVec<[(Range<usize>, usize); 4]> {
        (0..self.phases()).map(|phase| self.inside(phase)).collect()
    }

    /// Elements of the padded image that windows use.
    fn padded(&self) -> usize {
        (self.output - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }

    /// The elements of the image, grouped by the taps that use them, in the
    /// order of the first element of each group: as many phases as the stride,
    /// or as elements.
    fn phases_of_gradient(&self) -> Phases {
        let Self { input, stride, padding, .. } = *self;
        // Element p and tap t belong to window i if p + padding − t·dilation is
        // i·stride. For the first element of a phase this is i = quotient −
        // distance.
        let taps = |first: usize| {
            let (quotient, residue) = ((first + padding) / stride, (first + padding) % stride);
            let distances = (0..self.kernel).map(|tap| (tap, tap * self.dilation));
            let same = distances.filter(move |(_, distance)| distance % stride == residue);
            same.map(move |(tap, distance)| (tap, quotient, distance / stride))
        };
        let firsts = 0..stride.min(input);
        let before =
            firsts.clone().flat_map(taps).map(|(_, i, distance)| distance.saturating_sub(i));
        let before = before.max().unwrap_or(0);
        let mut length = before + self.output;
        let phase = |first: usize| {
            let count = (input - first).div_ceil(stride);
            let taps = taps(first).map(|(tap, i, distance)| [tap, before + i - distance]);
            let taps: Vec<_> = taps.collect();
            let last = taps.iter().map(|[_, start]| start + count).max();
            length = length.max(last.unwrap_or(0)).max(count);
            Phase { first, count, taps }
        };
        let phases = firsts.map(phase).collect();
        Phases { stride, before, length, phases }
    }

    /// The taps of a window that are in the image or, with `padding`, in the
    /// padded image.
    fn taps_inside(&self, window: usize, padding: bool) -> Range<usize> {
        let start = window * self.stride;
        let (low, high) = if padding {
            (0, self.input + 2 * self.padding)
        } else {
            (self.padding, self.padding + self.input)
        };
        let before =
            |limit: usize| limit.saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        before(low)..before(high)
    }
}

/// Elements of an image, with the distance of the stride, that the same taps
/// use.
pub(crate) struct Phase {
    /// The first element.
    pub(crate) first: usize,
    /// The number of elements.
    pub(crate) count: usize,
    /// The taps, each with the offset in the padded cotangents for the first
    /// element; those for the next elements follow.
    pub(crate) taps: Vec<[usize; 2]>,
}

/// The rows or columns of an image, grouped by the taps that use them. The
/// gradient of an image is a convolution of the cotangents for each phase.
pub(crate) struct Phases {
    /// The distance between elements of a phase.
    pub(crate) stride: usize,
    /// The number of zeros before the cotangents.
    pub(crate) before: usize,
    /// The length of the padded cotangents.
    pub(crate) length: usize,
    /// The phases, in the order of the first element.
    pub(crate) phases: Vec<Phase>,
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Windows over an image of a certain size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    rows: Axis,
    columns: Axis,
}

impl Windows {
    /// Windows over an image of `input` rows and columns; `context` names the
    /// caller in errors.
    ///
    /// # Errors
    ///
    /// When a setting that must be positive is 0, or no window fits.
    pub(crate) fn new(context: &str, input: [usize; 2], sliding: &Sliding) -> Result<Self> {
        for (name, setting) in [
            ("kernel size", sliding.kernel_size),
            ("stride", sliding.stride),
            ("dilation", sliding.dilation),
        ] {
            if setting.contains(&0) {
                let message = format!("the {name} must be at least 1, got {setting:?}");
                return Err(Error::argument(context, message));
            }
        }
        let windows = Axis::new(input[0], sliding, 0).zip(Axis::new(input[1], sliding, 1));
        windows
            .filter(|(rows, columns)| {
                rows.length().checked_mul(columns.length()).is_some_and(Buffer::<f64>::fits)
                    && rows.input.checked_mul(columns.input).is_some()
            })
            .map(|(rows, columns)| Self { rows, columns })
            .ok_or_else(|| {
                let Sliding { kernel_size, padding, dilation, .. } = sliding;
                Error::shape(
                    context,
                    format!(
                        "a kernel of {kernel_size:?} with dilation {dilation:?} does not fit an \
                         image of {input:?} with padding {padding:?}"
                    ),
                )
            })
    }

    /// The same windows, for one tap, stride 1 and no padding, over the image
    /// as one long row.
    pub(crate) fn flat(&self) -> Self {
        let length = self.image_length();
        Self {
            rows: Axis { input: 1, output: 1, ..self.rows },
            columns: Axis { input: length, output: length, ..self.columns },
        }
    }

    /// The windows over an image of the present windows, one for each element
    /// of the present image. Their taps use, in reverse order, the windows that
    /// use the element: with them, a convolution of the cotangents is the
    /// gradient of the input. `None` if no such windows exist, as for a stride
    /// above 1.
    pub(crate) fn backwards(&self) -> Option<Self> {
        Some(Self { rows: self.rows.backwards()?, columns: self.columns.backwards()? })
    }

    /// The phases of rows and columns of the image.
    pub(crate) fn phases(&self) -> [Phases; 2] {
        [self.rows.phases_of_gradient(), self.columns.phases_of_gradient()]
    }

    /// The numbers of rows and columns of the padded image that windows use.
    pub(crate) fn padded(&self) -> [usize; 2] {
        [self.rows.padded(), self.columns.padded()]
    }

    /// The numbers of rows above the image and of columns left of it.
    pub(crate) fn paddings(&self) -> [usize; 2] {
        [self.rows.padding, self.columns.padding]
    }

    /// Elements from one window to the next.
    pub(crate) fn strides(&self) -> [usize; 2] {
        [self.rows.stride, self.columns.stride]
    }

    /// The distance of each tap from the first, in rows and in columns.
    pub(crate) fn tap_distances(&self) -> [Vec<usize>; 2] {
        [self.rows, self.columns]
            .map(|axis| (0..axis.kernel).map(|tap| tap * axis.dilation).collect())
    }

    /// Rows and columns of the image.
    pub(crate) fn input(&self) -> [usize; 2] {
        [self.rows.input, self.columns.input]
    }

    /// Rows and columns of windows.
    pub(crate) fn output(&self) -> [usize; 2] {
        [self.rows.output, self.columns.output]
    }

    /// Elements of an image.
    pub(crate) fn image_length(&self) -> usize {
        self.rows.input * self.columns.input
    }

    /// The number of windows.
    pub(crate) fn positions(&self) -> usize {
        self.rows.output * self.columns.output
    }

    /// Elements of a plane.
    pub(crate) fn plane_length(&self) -> usize {
        self.rows.length() * self.columns.length()
    }

    /// The distance in a plane between the elements of a tap for one output row
    /// and for the next.
    pub(crate) fn plane_row(&self) -> usize {
        self.columns.length()
    }

    /// For each tap, in row-major order, the offset in the plane of its element
    /// for the first window.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        self.taps().map(|[row, column]| {
            self.rows.start(row) * self.plane_row() + self.columns.start(column)
        })
    }

    /// The coordinates of all taps in the window, in row-major order.
    fn taps(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        (0..self.rows.kernel)
            .flat_map(|row| (0..self.columns.kernel).map(move |column| [row, column]))
    }

    /// For each tap, the number to add (wrapping) to [`image_start`] for the
    /// index in the image of its element, if that is in the image.
    ///
    /// [`image_start`]: Self::image_start
    pub(crate) fn image_offsets(&self) -> impl Iterator<Item = usize> + '_ {
        self.taps().map(|[row, column]| {
            let row = (row * self.rows.dilation).wrapping_sub(self.rows.padding);
            let column = (column * self.columns.dilation).wrapping_sub(self.columns.padding);
            row.wrapping_mul(self.columns.input).wrapping_add(column)
        })
    }

    /// The index in the image at which a window starts, as if there were no
    /// padding.
    #[inline(always)]
    pub(crate) fn image_start(&self, [row, column]: [usize; 2]) -> usize {
        let row = (row * self.rows.stride).wrapping_mul(self.columns.input);
        row.wrapping_add(column * self.columns.stride)
    }

    /// The taps, in row-major order, that are in rows of the image, not of the
    /// padding, for a row of windows.
    pub(crate) fn taps_of_row(&self, row: usize) -> Range<usize> {
        let Range { start, end } = self.rows.taps_inside(row, false);
        start * self.columns.kernel..end * self.columns.kernel
    }

    /// The first tap of a window that is in the image.
    pub(crate) fn first_tap(&self, window: [usize; 2]) -> Option<usize> {
        let (rows, columns) =
            (self.taps_of_row(window[0]), self.columns.taps_inside(window[1], false));
        (!rows.is_empty() && !columns.is_empty()).then_some(rows.start + columns.start)
    }

    /// The number of taps of a window in the image or, with `padding`, in the
    /// padded image.
    pub(crate) fn taps_inside(&self, window: [usize; 2], padding: bool) -> usize {
        let [rows, columns] = [(self.rows, window[0]), (self.columns, window[1])]
            .map(|(axis, window)| axis.taps_inside(window, padding).len());
        rows * columns
    }

    /// Copies images to planes, with `fill` for the padding.
    pub(crate) fn spread<T: Element>(&self, images: &[T], fill: T, planes: &mut [T]) {
        simd::dispatch(
            #[inline(always)]
            || self.spread_rows(images, fill, planes),
        );
    }

    /// [`spread`](Self::spread), compiled for an instruction set.
    #[inline(always)]
    fn spread_rows<T: Element>(&self, images: &[T], fill: T, planes: &mut [T]) {
        let (width, stride) = (self.columns.input, self.columns.stride);
        let (phase_length, phases) = (self.columns.phase_length(), self.columns.insides());
        let count = planes.len() / self.plane_length().max(1);
        let mut at = 0;
        self.for_each_row(count, |source| {
            let end = at + self.plane_row();
            let Some(source) = source else {
                planes[at..end].fill(fill);
                at = end;
                return;
            };
            let source = &images[source * width..];
            for (inside, first) in &phases {
                let phase = &mut planes[at..];
                phase[..inside.start].fill(fill);
                match stride {
                    _ if inside.is_empty() => {}
                    1 => copy_loosely(&source[*first..], &mut phase[inside.start..], inside.len()),
                    2 => copy_every_second(&source[*first..width], &mut phase[inside.clone()]),
                    _ => {
                        let source = source[*first..width].iter().step_by(stride);
                        let phase = phase[inside.clone()].iter_mut();
                        phase.zip(source).for_each(|(to, &from)| *to = from);
                    }
                }
                phase[inside.end..phase_length].fill(fill);
                at += phase_length;
            }
        });
    }

    /// Copies a plane to an image, with `fill` for elements that no window
    /// uses; the padding is left out.
    pub(crate) fn collect<T: Element>(&self, plane: &[T], fill: T, image: &mut [T]) {
        let (width, stride) = (self.columns.input, self.columns.stride);
        let (phase_length, phases) = (self.columns.phase_length(), self.columns.insides());
        image.fill(fill);
        let mut rows = plane.chunks_exact(self.plane_row());
        self.for_each_row(1, |target| {
            let (Some(row), Some(target)) = (rows.next(), target) else { return };
            let target = &mut image[target * width..][..width];
            for (row, (inside, first)) in row.chunks_exact(phase_length).zip(&phases) {
                let row = &row[inside.clone()];
                match stride {
                    _ if row.is_empty() => {}
                    1 => target[*first..][..row.len()].copy_from_slice(row),
                    _ => {
                        let target = target[*first..].iter_mut().step_by(stride);
                        target.zip(row).for_each(|(to, &from)| *to = from);
                    }
                }
            }
        });
    }

    /// Calls `visit` for each row of this many planes, with the row of the
    /// images that it contains, if any.
    #[inline(always)]
    fn for_each_row(&self, planes: usize, mut visit: impl FnMut(Option<usize>)) {
        let (axis, length, phases) = (self.rows, self.rows.phase_length(), self.rows.insides());
        for plane in 0..planes {
            for (inside, first) in &phases {
                let first = plane * axis.input + first;
                for index in 0..length {
                    let holds = inside.contains(&index);
                    visit(holds.then(|| first + (index - inside.start) * axis.stride));
                }
            }
        }
    }
}

/// Copies `count` elements, and possibly a few more that follow. Rows are
/// short, and a constant number is copied without a function call.
#[inline(always)]
fn copy_loosely<T: Copy>(from: &[T], to: &mut [T], count: usize) {
    for at in (0..count).step_by(16) {
        match (from[at..].first_chunk::<16>(), to[at..].first_chunk_mut()) {
            (Some(from), Some(to)) => *to = *from,
            _ => return to[at..count].copy_from_slice(&from[at..count]),
        }
    }
}

/// Copies the first of every two elements, in a way that vectorises.
#[inline(always)]
fn copy_every_second<T: Copy>(from: &[T], to: &mut [T]) {
    let (pairs, rest) = from.as_chunks::<2>();
    for (to, pair) in to.iter_mut().zip(pairs) {
        *to = pair[0];
    }
    if let (Some(to), Some(&last)) = (to.get_mut(pairs.len()), rest.first()) {
        *to = last;
    }
}

#[cfg(test)]
mod tests;
