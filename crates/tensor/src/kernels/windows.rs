//! Windows that slide over an image: the geometry that convolution and pooling
//! share.
//!
//! An image is copied once into a *plane*, padding included, in which each tap
//! of the kernel finds its elements of one output row next to each other,
//! whatever the stride and the dilation: rows, and columns, with the same
//! residue modulo the stride form a *phase* and lie together. All work on
//! planes is then work on contiguous slices, one for each tap and output row.

use std::ops::Range;

use smallvec::SmallVec;

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
    /// Whether a last window that reaches beyond the padding counts.
    pub(crate) ceil_mode: bool,
}

/// Windows over rows or columns.
#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    /// The number of windows.
    output: usize,
    /// Taps after which the residues of `tap · dilation` repeat.
    period: usize,
}

impl Axis {
    /// The axis, or `None` when the windows do not fit.
    fn new(extent: usize, sliding: &Sliding, axis: usize) -> Option<Self> {
        let [kernel, stride, padding, dilation] =
            [sliding.kernel_size, sliding.stride, sliding.padding, sliding.dilation]
                .map(|setting| setting[axis]);
        let padded = padding.checked_mul(2)?.checked_add(extent)?;
        let span = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
        let beyond = if sliding.ceil_mode { stride - 1 } else { 0 };
        let mut output = padded.checked_add(beyond)?.checked_sub(span)? / stride + 1;
        // A window that would start in the padding on the far side does not
        // count (PyTorch's rule).
        if sliding.ceil_mode && (output - 1) * stride >= extent + padding {
            output -= 1;
        }
        if output == 0 {
            return None;
        }
        let period = stride / greatest_common_divisor(stride, dilation);
        let axis = Self { extent, kernel, stride, padding, dilation, output, period };
        axis.kernel.min(period).checked_mul(axis.phase_length())?;
        Some(axis)
    }

    /// The windows, one for each element, whose taps see in reverse order the
    /// windows that see the element; nothing where they do not follow each
    /// other element by element.
    fn backwards(&self) -> Option<Self> {
        let padding = (self.dilation * (self.kernel - 1)).checked_sub(self.padding)?;
        let backwards = Self { extent: self.output, output: self.extent, padding, ..*self };
        let span = self.output + self.dilation * (self.kernel - 1);
        let fits = self.stride == 1 && self.extent + 2 * self.padding == span;
        fits.then_some(backwards)
    }

    /// Elements of one phase.
    fn phase_length(&self) -> usize {
        self.output + (self.kernel - 1) * self.dilation / self.stride
    }

    /// Phases that taps visit.
    fn phases(&self) -> usize {
        self.kernel.min(self.period)
    }

    /// Elements of all phases.
    fn length(&self) -> usize {
        self.phases() * self.phase_length()
    }

    /// Where a tap finds its element of the first window; those of the next
    /// windows follow.
    fn start(&self, tap: usize) -> usize {
        (tap % self.period) * self.phase_length() + tap * self.dilation / self.stride
    }

    /// The places of a phase that lie in the image, and the coordinate in the
    /// image of the first.
    fn inside(&self, phase: usize) -> (Range<usize>, usize) {
        let residue = phase * self.dilation % self.stride;
        let before = |coordinate: usize| {
            (coordinate + self.padding).saturating_sub(residue).div_ceil(self.stride)
        };
        let end = before(self.extent).min(self.phase_length());
        let first = before(0).min(end);
        (first..end, (first * self.stride + residue).saturating_sub(self.padding))
    }

    /// [`inside`](Self::inside) of each phase.
    fn insides(&self) -> SmallVec<[(Range<usize>, usize); 4]> {
        (0..self.phases()).map(|phase| self.inside(phase)).collect()
    }

    /// Taps of a window that lie in the image or, with `padding`, in the
    /// padded image.
    fn taps_inside(&self, window: usize, padding: bool) -> Range<usize> {
        let start = window * self.stride;
        let (low, high) = if padding {
            (0, self.extent + 2 * self.padding)
        } else {
            (self.padding, self.padding + self.extent)
        };
        let before =
            |limit: usize| limit.saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        before(low)..before(high)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Windows over an image of certain extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    rows: Axis,
    columns: Axis,
}

impl Windows {
    /// Windows over an image of `input` rows and columns; `place` names who
    /// asks.
    ///
    /// # Errors
    ///
    /// When a setting is 0 that must not be, or no window fits.
    pub(crate) fn new(place: &str, input: [usize; 2], sliding: &Sliding) -> Result<Self> {
        for (name, setting) in [
            ("kernel size", sliding.kernel_size),
            ("stride", sliding.stride),
            ("dilation", sliding.dilation),
        ] {
            if setting.contains(&0) {
                let message = format!("the {name} must be at least 1, got {setting:?}");
                return Err(Error::argument(place, message));
            }
        }
        let windows = Axis::new(input[0], sliding, 0).zip(Axis::new(input[1], sliding, 1));
        windows
            .filter(|(rows, columns)| {
                rows.length().checked_mul(columns.length()).is_some()
                    && rows.extent.checked_mul(columns.extent).is_some()
            })
            .map(|(rows, columns)| Self { rows, columns })
            .ok_or_else(|| {
                let Sliding { kernel_size, padding, dilation, .. } = sliding;
                Error::shape(
                    place,
                    format!(
                        "a kernel of {kernel_size:?} with dilation {dilation:?} does not fit an \
                         image of {input:?} with padding {padding:?}"
                    ),
                )
            })
    }

    /// The same windows of one tap, stride 1 and no padding over the image as
    /// one long row.
    pub(crate) fn flat(&self) -> Self {
        let length = self.image_length();
        Self {
            rows: Axis { extent: 1, output: 1, ..self.rows },
            columns: Axis { extent: length, output: length, ..self.columns },
        }
    }

    /// The windows over an image of the present windows, one for each element
    /// of the present image, whose taps see in reverse order the windows that
    /// see the element: with them a convolution of cotangents is the gradient
    /// of the input. Nothing where windows are further apart than elements.
    pub(crate) fn backwards(&self) -> Option<Self> {
        Some(Self { rows: self.rows.backwards()?, columns: self.columns.backwards()? })
    }

    /// Rows and columns of the image.
    pub(crate) fn input(&self) -> [usize; 2] {
        [self.rows.extent, self.columns.extent]
    }

    /// Rows and columns of windows.
    pub(crate) fn output(&self) -> [usize; 2] {
        [self.rows.output, self.columns.output]
    }

    /// Elements of an image.
    pub(crate) fn image_length(&self) -> usize {
        self.rows.extent * self.columns.extent
    }

    /// The number of windows.
    pub(crate) fn positions(&self) -> usize {
        self.rows.output * self.columns.output
    }

    /// Elements of a plane.
    pub(crate) fn plane_length(&self) -> usize {
        self.rows.length() * self.columns.length()
    }

    /// Elements of a plane from what a tap sees of one output row to what it
    /// sees of the next.
    pub(crate) fn plane_row(&self) -> usize {
        self.columns.length()
    }

    /// For each tap, in row-major order, where in the plane it finds its
    /// element of the first window.
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

    /// For each tap, what to add (wrapping) to [`image_start`] for the place in
    /// the image that it sees, if it sees one.
    ///
    /// [`image_start`]: Self::image_start
    pub(crate) fn image_offsets(&self) -> impl Iterator<Item = usize> + '_ {
        self.taps().map(|[row, column]| {
            let row = (row * self.rows.dilation).wrapping_sub(self.rows.padding);
            let column = (column * self.columns.dilation).wrapping_sub(self.columns.padding);
            row.wrapping_mul(self.columns.extent).wrapping_add(column)
        })
    }

    /// The place in the image where a window would start without padding.
    #[inline(always)]
    pub(crate) fn image_start(&self, [row, column]: [usize; 2]) -> usize {
        let row = (row * self.rows.stride).wrapping_mul(self.columns.extent);
        row.wrapping_add(column * self.columns.stride)
    }

    /// The taps, in row-major order, that see rows of the image, and not of the
    /// padding, from a row of windows.
    pub(crate) fn taps_of_row(&self, row: usize) -> Range<usize> {
        let Range { start, end } = self.rows.taps_inside(row, false);
        start * self.columns.kernel..end * self.columns.kernel
    }

    /// The first tap of a window that sees the image.
    pub(crate) fn first_tap(&self, window: [usize; 2]) -> Option<usize> {
        let (rows, columns) =
            (self.taps_of_row(window[0]), self.columns.taps_inside(window[1], false));
        (!rows.is_empty() && !columns.is_empty()).then_some(rows.start + columns.start)
    }

    /// How many taps of a window see the image or, with `padding`, the padded
    /// image.
    pub(crate) fn taps_inside(&self, window: [usize; 2], padding: bool) -> usize {
        let [rows, columns] = [(self.rows, window[0]), (self.columns, window[1])]
            .map(|(axis, window)| axis.taps_inside(window, padding).len());
        rows * columns
    }

    /// Lays images out as planes, with `fill` for the padding.
    pub(crate) fn spread<T: Element>(&self, images: &[T], fill: T, planes: &mut [T]) {
        let (width, stride) = (self.columns.extent, self.columns.stride);
        let (phase_length, phases) = (self.columns.phase_length(), self.columns.insides());
        let count = planes.len() / self.plane_length().max(1);
        let mut rows = planes.chunks_exact_mut(self.plane_row());
        self.for_each_row(count, |source| {
            let Some(row) = rows.next() else { return };
            let Some(source) = source else { return row.fill(fill) };
            let source = &images[source * width..][..width];
            for (row, (inside, first)) in row.chunks_exact_mut(phase_length).zip(&phases) {
                row[..inside.start].fill(fill);
                row[inside.end..].fill(fill);
                let row = &mut row[inside.clone()];
                match stride {
                    _ if row.is_empty() => {}
                    1 => row.copy_from_slice(&source[*first..][..row.len()]),
                    2 => copy_every_second(&source[*first..], row),
                    _ => {
                        let source = source[*first..].iter().step_by(stride);
                        row.iter_mut().zip(source).for_each(|(to, &from)| *to = from);
                    }
                }
            }
        });
    }

    /// Lays a plane out as an image, with `fill` where no window looks; the
    /// padding is left out.
    pub(crate) fn collect<T: Element>(&self, plane: &[T], fill: T, image: &mut [T]) {
        let (width, stride) = (self.columns.extent, self.columns.stride);
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

    /// Calls `visit` for each row of so many planes, with the row of the images
    /// that it holds.
    #[inline(always)]
    fn for_each_row(&self, planes: usize, mut visit: impl FnMut(Option<usize>)) {
        let (axis, places, phases) = (self.rows, self.rows.phase_length(), self.rows.insides());
        for plane in 0..planes {
            for (inside, first) in &phases {
                let first = plane * axis.extent + first;
                for place in 0..places {
                    let holds = inside.contains(&place);
                    visit(holds.then(|| first + (place - inside.start) * axis.stride));
                }
            }
        }
    }
}

/// Copies the first of every two elements, in a way that vectorises.
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
mod tests {
    use super::*;

    /// All windows of small images, for every mix of settings.
    fn for_each_geometry(mut check: impl FnMut([usize; 2], Sliding, Windows)) {
        let mut count = 0;
        for input in [[0, 3], [1, 1], [5, 4], [7, 9]] {
            for kernel_size in [[1, 1], [2, 3], [3, 2], [4, 4]] {
                for stride in [[1, 1], [2, 3], [3, 2], [4, 6]] {
                    for padding in [[0, 0], [1, 2], [3, 0]] {
                        for dilation in [[1, 1], [2, 3], [4, 2]] {
                            for ceil_mode in [false, true] {
                                let sliding =
                                    Sliding { kernel_size, stride, padding, dilation, ceil_mode };
                                if let Ok(windows) = Windows::new("test", input, &sliding) {
                                    check(input, sliding, windows);
                                    count += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(count > 500, "{count} geometries fit");
    }

    /// The coordinate by the definition, or `None` in the padding.
    fn coordinate(
        s: &Sliding,
        axis: usize,
        extent: usize,
        window: usize,
        tap: usize,
    ) -> Option<usize> {
        let place = (window * s.stride[axis] + tap * s.dilation[axis]) as isize;
        let place = place - s.padding[axis] as isize;
        (0..extent as isize).contains(&place).then_some(place as usize)
    }

    #[test]
    fn every_tap_of_every_window_sees_its_element() {
        for_each_geometry(|input, sliding, windows| {
            let image: Vec<i32> = (0..windows.image_length() as i32).collect();
            let mut plane = vec![-7; windows.plane_length()];
            windows.spread(&image, -1, &mut plane);
            let mut seen = vec![-1; image.len()];
            for y in 0..windows.output()[0] {
                for x in 0..windows.output()[1] {
                    let mut inside = 0;
                    let mut first = None;
                    for (tap, start) in windows.starts().enumerate() {
                        let [row, column] =
                            [tap / sliding.kernel_size[1], tap % sliding.kernel_size[1]];
                        let row = coordinate(&sliding, 0, input[0], y, row);
                        let column = coordinate(&sliding, 1, input[1], x, column);
                        assert_eq!(windows.taps_of_row(y).contains(&tap), row.is_some());
                        let place = row.zip(column).map(|(row, column)| row * input[1] + column);
                        let expected = place.map_or(-1, |place| image[place]);
                        let found = plane[start + y * windows.plane_row() + x];
                        assert_eq!(found, expected, "{sliding:?} {input:?} at {y}, {x}, tap {tap}");
                        if let Some(place) = place {
                            let offset = windows.image_offsets().nth(tap).unwrap();
                            let start = windows.image_start([y, x]);
                            assert_eq!(start.wrapping_add(offset), place);
                            seen[place] = image[place];
                            inside += 1;
                            first = first.or(Some(tap));
                        }
                    }
                    assert_eq!(windows.taps_inside([y, x], false), inside);
                    assert_eq!(windows.first_tap([y, x]), first, "{sliding:?} {input:?}");
                }
            }
            let mut back = vec![-7; image.len()];
            windows.collect(&plane, -1, &mut back);
            assert!(back.iter().zip(&seen).all(|(&back, &seen)| seen == -1 || back == seen));
            assert!(back.iter().zip(&image).all(|(&back, &image)| back == -1 || back == image));
        });
    }

    #[test]
    fn the_number_of_windows_is_pytorchs() {
        let output = |input, kernel, stride, padding, ceil_mode| {
            let sliding = Sliding {
                kernel_size: [kernel; 2],
                stride: [stride; 2],
                padding: [padding; 2],
                dilation: [1, 1],
                ceil_mode,
            };
            Windows::new("test", [input; 2], &sliding).unwrap().output()[0]
        };
        assert_eq!(output(28, 3, 1, 0, false), 26);
        assert_eq!(output(28, 3, 1, 1, false), 28);
        assert_eq!(output(7, 2, 2, 0, false), 3);
        assert_eq!(output(7, 2, 2, 0, true), 4);
        assert_eq!(output(4, 2, 2, 1, true), 3);
        // The window that would start in the far padding is left out.
        assert_eq!(output(5, 2, 3, 1, true), 2);
        assert_eq!(output(2, 1, 3, 0, true), 1);
        assert_eq!(output(2, 3, 2, 0, true), 1);
    }

    #[test]
    fn settings_that_fit_no_window_are_refused() {
        let base = Sliding {
            kernel_size: [3, 3],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            ceil_mode: false,
        };
        let refuse =
            |sliding: Sliding| Windows::new("here", [4, 2], &sliding).unwrap_err().to_string();
        assert_eq!(
            refuse(base),
            "here: a kernel of [3, 3] with dilation [1, 1] does not fit an image of [4, 2] with \
             padding [0, 0]"
        );
        assert_eq!(
            refuse(Sliding { stride: [1, 0], ..base }),
            "here: the stride must be at least 1, got [1, 0]"
        );
        refuse(Sliding { dilation: [0, 1], ..base });
        refuse(Sliding { kernel_size: [0, 0], ..base });
        refuse(Sliding { padding: [usize::MAX, 1], ..base });
        refuse(Sliding { dilation: [usize::MAX, 1], padding: [1, 1], ..base });
        refuse(Sliding { padding: [usize::MAX / 4, usize::MAX / 4], ..base });
    }
}
