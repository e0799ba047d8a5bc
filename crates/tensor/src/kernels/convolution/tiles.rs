//! Weights, arranged for kernels that compute some output channels at a time.

use super::Convolution;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::transpose::Transpose;

/// Numbers that a task arranges.
const TASK: usize = 4 * 1024;

/// A weight as tiles of some output channels, whose numbers for a tap are next
/// to each other; those of channels that do not exist are 0.
pub(crate) struct Tiles<T: Float> {
    /// Output channels of a tile.
    channels: usize,
    /// Numbers of a tile.
    tile: usize,
    /// Tiles of a group.
    tiles: usize,
    /// Whether the taps of an input channel are in reverse order.
    reversed: bool,
    values: Buffer<T>,
}

/// A weight as it lies in memory: for each output and input channel its taps.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    pub(super) weight: &'a [T],
    /// Elements from one group, output channel and input channel to the next.
    pub(super) steps: [usize; 3],
    /// Whether its taps are those of a window in reverse order.
    pub(super) reversed: bool,
}

impl<T: Float> Tiles<T> {
    /// The tiles of so many channels of a weight.
    pub(super) fn new(c: &Convolution, channels: usize, source: Source<'_, T>) -> Self {
        let Source { weight, steps: [group_step, out_step, in_step], reversed } = source;
        let tiles = c.out_channels.div_ceil(channels);
        let (tile, taps) = (c.taps * channels, c.kernel_taps());
        let mut values = Buffer::new(c.groups * tiles * tile);
        // A task takes as many input channels of a tile as fit the first-level
        // cache.
        let together = (TASK / (taps * channels).max(1)).clamp(1, c.in_channels.max(1));
        let tasks = c.in_channels.div_ceil(together);
        let mut parts: Vec<_> = values
            .as_mut_slice()
            .chunks_exact_mut(tile.max(1))
            .flat_map(|tile| tile.chunks_mut(together * taps * channels))
            .collect();
        // The taps of input channels that follow each other are one row.
        let row = if in_step == taps { together * taps } else { taps };
        for_each_chunk(&mut parts, 1, TASK, |index, part| {
            let (tile, first_input) = (index / tasks, index % tasks * together);
            let (group, first) = (tile / tiles, tile % tiles * channels);
            let exist = channels.min(c.out_channels - first);
            let start = group * group_step + first * out_step + first_input * in_step;
            for (i, to) in part[0].chunks_mut(row * channels).enumerate() {
                T::vectorised(Transpose {
                    from: &weight[start + i * in_step..],
                    from_step: out_step,
                    size: [exist, to.len() / channels],
                    to,
                    to_step: channels,
                    width: channels,
                });
            }
        });
        Self { channels, tile, tiles, reversed, values }
    }

    /// Where the taps start that the rows of a tile are the weights of.
    pub(super) fn starts(&self, c: &Convolution) -> Vec<usize> {
        let mut starts: Vec<usize> = c.starts().collect();
        if self.reversed {
            starts.chunks_exact_mut(c.kernel_taps()).for_each(<[usize]>::reverse);
        }
        starts
    }

    /// Output channels of a tile.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// A tile: taps × channels.
    pub(super) fn of_tile(&self, group: usize, tile: usize) -> &[T] {
        &self.values.as_slice()[(group * self.tiles + tile) * self.tile..][..self.tile]
    }
}
