//! Weights in the layout of kernels that compute several output channels at a
//! time.

use std::ops::Range;

use super::Convolution;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::simd;
use crate::kernels::transpose::Transpose;

/// The approximate number of taps that are arranged at a time.
const TAPS: usize = 256;

/// A weight as tiles of some output channels. The weights of a tile's channels
/// for the same tap are adjacent; those of missing channels are 0.
///
/// The whole weight is arranged in advance if it is constant or several tasks
/// read it. A single task arranges one block at a time, which then stays in the
/// first-level cache.
pub(crate) struct Tiles<'a, T: Float> {
    source: Source<'a, T>,
    /// Output channels in a group.
    out_channels: usize,
    /// Output channels in a tile.
    channels: usize,
    /// Taps of all input channels in a group, and of one channel.
    taps: [usize; 2],
    bands: Vec<Band>,
    arranged: Option<Buffer<T>>,
}

/// Rows of windows with the same taps in the image. Their other taps are in the
/// padding and add nothing.
pub(super) struct Band {
    pub(super) rows: Vec<usize>,
    /// The taps in a block, in the order of its weights: the offset of each in
    /// the planes, relative to the first of the block, and the offset of its
    /// weights.
    pub(super) taps: Vec<[usize; 2]>,
}

/// A weight in its original layout: for each output and input channel, its
/// taps.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    pub(super) weight: &'a [T],
    /// The distance in elements between groups, between output channels and
    /// between input channels.
    pub(super) steps: [usize; 3],
    /// Whether the taps are in reverse order of those in a window.
    pub(super) reversed: bool,
}

impl<'a, T: Float> Tiles<'a, T> {
    /// The tiles of a weight, with this many channels; `arranged` is the result
    /// of [`whole`](Self::whole), if there is one.
    pub(super) fn new(
        c: &Convolution,
        channels: usize,
        source: Source<'a, T>,
        arranged: Option<Buffer<T>>,
    ) -> Self {
        let (out_channels, taps) = (c.out_channels, [c.taps, c.kernel_taps()]);
        let mut tiles = Self { source, out_channels, channels, taps, bands: Vec::new(), arranged };
        tiles.bands = tiles.bands_of(c);
        if c.images_per_task() < c.images {
            tiles.arranged = Some(tiles.whole(c.groups));
        }
        tiles
    }

    /// The arranged weight of all groups.
    pub(super) fn whole(&self, groups: usize) -> Buffer<T> {
        if let Some(arranged) = &self.arranged {
            return arranged.clone();
        }
        let (each, tile) = (self.each(), self.taps[0] * self.channels);
        let mut arranged = Buffer::new(groups * each * tile);
        let mut parts: Vec<_> = arranged
            .as_mut_slice()
            .chunks_exact_mut(tile)
            .enumerate()
            .flat_map(|(i, tile)| {
                let blocks = self.blocks().zip(tile.chunks_mut(self.block_taps() * self.channels));
                blocks.map(move |(taps, block)| ([i / each, i % each], taps, block))
            })
            .collect();
        for_each_chunk(&mut parts, 1, TAPS * self.channels, |_, part| {
            let (tile, taps, block) = &mut part[0];
            self.arrange(*tile, taps.clone(), block);
        });
        drop(parts);
        arranged
    }

    /// Tiles in a group.
    fn each(&self) -> usize {
        self.out_channels.div_ceil(self.channels)
    }

    /// Taps in a block, which has whole input channels.
    fn block_taps(&self) -> usize {
        let [_, kernel] = self.taps;
        (TAPS / kernel.max(1)).max(1) * kernel
    }

    /// The taps of each block, few enough that their weights stay in the
    /// first-level cache while they are used.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<T> {
        let ([taps, _], together) = (self.taps, self.block_taps());
        (0..taps).step_by(together).map(move |first| first..taps.min(first + together))
    }

    /// Memory for the result of [`block`](Self::block).
    pub(super) fn room(&self) -> Buffer<T> {
        Buffer::new(if self.arranged.is_some() { 0 } else { self.block_taps() * self.channels })
    }

    /// A group's tile for one of the [`blocks`](Self::blocks), as taps ×
    /// channels.
    pub(super) fn block<'b>(
        &'b self,
        [group, tile]: [usize; 2],
        taps: Range<usize>,
        room: &'b mut [T],
    ) -> &'b [T] {
        let length = taps.len() * self.channels;
        if let Some(arranged) = &self.arranged {
            let tile = (group * self.each() + tile) * self.taps[0];
            return &arranged.as_slice()[(tile + taps.start) * self.channels..][..length];
        }
        // The next block is prefetched from memory while this one is in use.
        let next = taps.end..self.taps[0].min(taps.end + self.block_taps());
        let row = self.row(&next);
        for start in self.matrices([group, tile], next) {
            for channel in 0..self.channels_of(tile) {
                let start = start + channel * self.source.steps[1];
                simd::prefetch(&self.source.weight[start..start + row]);
            }
        }
        let room = &mut room[..length];
        self.arrange([group, tile], taps, room);
        room
    }

    /// Arranges a block.
    fn arrange(&self, tile: [usize; 2], taps: Range<usize>, to: &mut [T]) {
        let row = self.row(&taps);
        let each = to.chunks_mut((row * self.channels).max(1));
        for (start, to) in self.matrices(tile, taps).zip(each) {
            T::vectorised(Transpose {
                from: &self.source.weight[start..],
                from_step: self.source.steps[1],
                size: [self.channels_of(tile[1]), row],
                to,
                to_step: self.channels,
                width: self.channels,
            });
        }
    }

    /// The number of output channels in a tile, which is smaller for the last
    /// one.
    fn channels_of(&self, tile: usize) -> usize {
        self.channels.min(self.out_channels - tile * self.channels)
    }

    /// The number of taps in a block that are contiguous: all of them, if those
    /// of its input channels are.
    fn row(&self, taps: &Range<usize>) -> usize {
        let [_, kernel] = self.taps;
        if self.source.steps[2] == kernel { taps.len() } else { kernel }
    }

    /// The offsets of the matrices that make up the weights of a block, each
    /// with a tile's channels × contiguous taps.
    fn matrices(
        &self,
        [group, tile]: [usize; 2],
        taps: Range<usize>,
    ) -> impl Iterator<Item = usize> + use<T> {
        let ([_, kernel], row) = (self.taps, self.row(&taps));
        let [group_step, out_step, in_step] = self.source.steps;
        let start = group * group_step + tile * self.channels * out_step;
        taps.step_by(row.max(1)).map(move |tap| start + tap / kernel * in_step)
    }

    /// The bands, covering all rows of windows, for the taps of a block.
    fn bands_of(&self, c: &Convolution) -> Vec<Band> {
        let [all, kernel] = self.taps;
        let mut starts: Vec<usize> = c.windows.starts().collect();
        let mut bands: Vec<(Range<usize>, Vec<usize>)> = Vec::new();
        for row in 0..c.windows.output()[0] {
            let inside = c.windows.taps_of_row(row);
            match bands.iter_mut().find(|(taps, _)| *taps == inside) {
                Some((_, rows)) => rows.push(row),
                None => bands.push((inside, vec![row])),
            }
        }
        if self.source.reversed {
            starts.reverse();
            bands.iter_mut().for_each(|(taps, _)| *taps = kernel - taps.end..kernel - taps.start);
        }
        let plane = c.windows.plane_length();
        let channels = self.block_taps().min(all) / kernel;
        let band = |(inside, rows): (Range<usize>, Vec<usize>)| {
            let mut taps = Vec::with_capacity(channels * inside.len());
            for channel in 0..channels {
                taps.extend(inside.clone().map(|tap| {
                    [channel * plane + starts[tap], (channel * kernel + tap) * self.channels]
                }));
            }
            Band { rows, taps }
        };
        bands.into_iter().map(band).collect()
    }

    /// The bands, which together cover all rows of windows.
    pub(super) fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Output channels in a tile.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }
}
