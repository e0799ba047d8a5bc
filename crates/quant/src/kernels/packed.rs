//! Weights in the order in which a kernel reads them, and products with them.

use dendra_tensor::kernels::parallel::{for_each_chunk, map};
use dendra_tensor::kernels::simd::dispatch;
use dendra_tensor::{Error, Result};

use super::finish::Finish;
use super::image::{Image, copy};
use super::lane::Lane;
use super::level::{Level, MAX_TILE};
use super::span::{Rest, best_span, split};

/// The most products in a sum: more could exceed 32 bits.
pub const MAX_DEPTH: usize = 1 << 16;

/// The bytes of the left matrix that a thread has in its cache at once.
const BLOCK: usize = 128 * 1024;
/// The most rows of a block.
const BLOCK_ROWS: usize = 48;
/// Up to so many rows, the columns are split over threads.
const FEW_ROWS: usize = 24;
/// The panels that a thread takes at once where the rows are few.
const PANELS: usize = 4;

/// A matrix of weights for products: `columns` filters of `depth` weights.
///
/// Panels of some columns lie one after the other, each with the weights of
/// as many rows of a column side by side as an instruction adds; both are padded with 0.
#[derive(Clone, Debug)]
pub struct Packed {
    level: Level,
    columns: usize,
    depth: usize,
    /// The depth with its padding.
    stride: usize,
    panels: Vec<i8>,
    /// The groups whose products are summed in 16 bits.
    span: usize,
    /// The weights that are not in the panels, of one panel after the other.
    rest: Vec<Rest>,
    /// The first rest of each panel, and the number of all.
    rests: Vec<usize>,
    sums: Vec<i32>,
}

/// The weights of some columns.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) weights: &'a [i8],
    pub(super) rest: &'a [Rest],
    /// The groups whose products are summed in 16 bits.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for AVX2 alone"))]
    pub(super) span: usize,
}

impl Packed {
    /// Packs weights for the fastest kernel of this CPU. `weights` has the
    /// weights of one column after those of the other.
    ///
    /// # Errors
    ///
    /// When there are not `columns` × `depth` weights, or `depth` exceeds
    /// [`MAX_DEPTH`].
    pub fn new(weights: &[i8], columns: usize, depth: usize) -> Result<Self> {
        Self::for_level(Level::fastest(), weights, columns, depth)
    }

    /// As [`new`](Self::new), for a kernel that this CPU has.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or when the CPU lacks the instructions.
    pub fn for_level(level: Level, weights: &[i8], columns: usize, depth: usize) -> Result<Self> {
        let refuse = |message| Err(Error::argument("Packed", message));
        if depth > MAX_DEPTH || columns.checked_mul(depth) != Some(weights.len()) {
            return refuse(format!(
                "expected {columns} columns of {depth} weights, at most {MAX_DEPTH} each, got {}",
                weights.len()
            ));
        }
        if !level.is_available() {
            return refuse(format!("this CPU has no instructions for {level:?}"));
        }
        let (width, group) = (level.columns(), level.group());
        let stride = depth.next_multiple_of(group);
        let mut panels = vec![0; columns.div_ceil(width) * width * stride];
        for column in 0..columns {
            let panel = &mut panels[column / width * width * stride..][..width * stride];
            let filter = &weights[column * depth..][..depth];
            for (index, from) in filter.chunks(group).enumerate() {
                let to = &mut panel[(index * width + column % width) * group..];
                to[..from.len()].copy_from_slice(from);
            }
        }
        let (mut rest, mut rests) = (Vec::new(), vec![0]);
        let bytes = (width * stride).max(1);
        let span = if level == Level::Avx2 { best_span(&panels, bytes) } else { 1 };
        for panel in panels.chunks_mut(bytes) {
            if level == Level::Avx2 {
                split(panel, span, &mut rest);
            }
            rests.push(rest.len());
        }
        let sum = |column: usize| {
            weights[column * depth..][..depth].iter().map(|&weight| i32::from(weight)).sum()
        };
        let sums = (0..columns).map(sum).collect();
        Ok(Self { level, columns, depth, stride, panels, span, rest, rests, sums })
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of weights of a column.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The sum of the weights of each column. Times the zero point of the inputs
    /// it is what a product has too much.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        let bytes = self.level.columns() * self.stride;
        let weights = &self.panels[index * bytes..][..bytes];
        // Without depth there are no panels.
        let rest = match self.rests.get(index..index + 2) {
            Some(&[from, to]) => &self.rest[from..to],
            _ => &[],
        };
        Panel { weights, rest, span: self.span }
    }
}

/// The left matrix of a product.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Rows one after the other.
    Rows(&'a [u8]),
    /// The windows of images.
    Windows(Image<'a>),
}

impl Source<'_> {
    #[inline(always)]
    fn fill<L: Lane>(&self, row: usize, out: &mut [L]) {
        match self {
            Self::Rows(data) => copy(&data[row * out.len()..][..out.len()], out),
            Self::Windows(image) => image.fill(row, out),
        }
    }
}

/// Computes the product of some bytes and weights. `out` is a matrix of
/// [`Packed::columns`] columns, whose number of rows is that of the left matrix.
///
/// # Panics
///
/// When the left matrix is too short, or its rows have another length than
/// [`Packed::depth`].
pub fn product<F: Finish>(
    packed: &Packed,
    source: &Source<'_>,
    finish: &F,
    out: &mut [F::Element],
) {
    if let Source::Windows(image) = source {
        assert!(image.depth() == packed.depth, "the windows fit the weights");
    }
    if out.is_empty() {
        return;
    }
    match packed.level {
        Level::Avx2 | Level::Vnni => with_lanes::<u8, F>(packed, source, finish, out),
        _ => with_lanes::<i16, F>(packed, source, finish, out),
    }
}

fn with_lanes<L: Lane, F: Finish>(
    packed: &Packed,
    source: &Source<'_>,
    finish: &F,
    out: &mut [F::Element],
) {
    let columns = packed.columns;
    let rows = out.len() / columns;
    let panels = columns.div_ceil(packed.level.columns());
    let cost = packed.depth.div_ceil(16) + 1;
    if rows > FEW_ROWS || panels <= PANELS {
        let fitting = BLOCK / (packed.stride * size_of::<L>()).max(1);
        let tile = packed.level.rows();
        let block = (fitting.min(BLOCK_ROWS) / tile).max(1) * tile;
        for_each_chunk(out, block * columns, cost, |index, out| {
            let first = index * block;
            let rows = filled::<L>(packed, source, first, out.len() / columns);
            for panel in 0..panels {
                let column = panel * packed.level.columns();
                of_panel(packed, &rows, panel, first, finish, &mut out[column..], columns);
            }
        });
        return;
    }
    let left = filled::<L>(packed, source, 0, rows);
    let width = PANELS * packed.level.columns();
    let parts = map(columns.div_ceil(width), rows * width * cost, |part| {
        let first = part * width;
        let width = width.min(columns - first);
        let mut out = vec![F::Element::default(); rows * width];
        for (index, panel) in (part * PANELS..panels.min((part + 1) * PANELS)).enumerate() {
            let column = index * packed.level.columns();
            of_panel(packed, &left, panel, 0, finish, &mut out[column..], width);
        }
        out
    });
    for (part, values) in parts.iter().enumerate() {
        let count = values.len() / rows;
        for (row, values) in values.chunks_exact(count).enumerate() {
            out[row * columns + part * width..][..count].copy_from_slice(values);
        }
    }
}

/// Rows of the left matrix as lanes, each padded to the stride of the weights.
fn filled<L: Lane>(packed: &Packed, source: &Source<'_>, first: usize, count: usize) -> Vec<L> {
    let mut lanes = vec![L::default(); count * packed.stride];
    if packed.depth > 0 {
        dispatch(
            #[inline(always)]
            || {
                for (row, lanes) in lanes.chunks_exact_mut(packed.stride).enumerate() {
                    source.fill(first + row, &mut lanes[..packed.depth]);
                }
            },
        );
    }
    lanes
}

/// The product of some rows with a panel. `out` starts at the first column of
/// the panel, and its rows are `columns` apart.
fn of_panel<L: Lane, F: Finish>(
    packed: &Packed,
    left: &[L],
    panel: usize,
    first: usize,
    finish: &F,
    out: &mut [F::Element],
    columns: usize,
) {
    let (level, stride) = (packed.level, packed.stride);
    let column = panel * level.columns();
    let width = level.columns().min(packed.columns - column);
    let rows = (out.len() + columns - width) / columns;
    let mut sums = [0; MAX_TILE];
    dispatch(
        #[inline(always)]
        || {
            for row in (0..rows).step_by(level.rows()) {
                let count = level.rows().min(rows - row);
                let left = &left[row * stride..];
                L::tile(level, left, stride, count, packed.panel(panel), &mut sums);
                for (index, sums) in sums.chunks_exact(level.columns()).take(count).enumerate() {
                    let out = &mut out[(row + index) * columns..][..width];
                    finish.finish(first + row + index, column, &sums[..width], out);
                }
            }
        },
    );
}
