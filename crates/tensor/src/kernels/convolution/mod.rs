//! Convolutions of images, by several methods.
//!
//! [`direct`] runs the kernel's taps over output rows, for kernels with few
//! taps, where a matrix product would spend its time on packing. [`broadcast`]
//! reads the input elements of the taps in place, for many output channels at a
//! time. [`unfolded`] copies these elements into a matrix and multiplies, for
//! few channels or windows. [`depthwise`] is for groups of one input channel.
//! For stride 1, the gradient of the input is a convolution of the cotangents
//! by [`broadcast`]. The gradient of the weight is computed by [`outer`] if
//! images have enough windows.
//!
//! All methods split the batch into parts that depend only on the sizes, and
//! add the parts of a weight gradient in order, so the result has the same bits
//! for any number of threads.

mod broadcast;
mod depthwise;
mod direct;
mod outer;
mod tiles;
mod unfolded;

use std::ops::Range;

use smallvec::SmallVec;

use self::tiles::{Source, Tiles};
use super::epilogue::Epilogue;
use super::gemm::Panels;
use super::parallel::{for_each_chunk, for_each_chunk_pair, rows_per_chunk};
use super::windows::{Sliding, Windows};
use crate::buffer::Buffer;
use crate::element::Float;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolution {
    pub(crate) images: usize,
    pub(crate) groups: usize,
    /// Input channels of a group.
    pub(crate) in_channels: usize,
    /// Output channels of a group.
    pub(crate) out_channels: usize,
    pub(crate) windows: Windows,
    /// The taps of all input channels of a group, which is the number of
    /// products in each element of the output.
    taps: usize,
    /// Whether a tap uses a whole image as it is stored.
    pointwise: bool,
}

/// The indices of an image and of a group of channels in a batch of images ×
/// groups × channels × elements.
#[derive(Clone, Copy)]
struct ImageGroup {
    image: usize,
    group: usize,
}

/// The method that computes an output.
#[derive(PartialEq)]
enum Method {
    Direct,
    Broadcast,
    Depthwise,
    Unfolded,
}

/// What becomes of sums of products.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a, T> {
    /// One value for each output channel, which is added.
    pub(crate) bias: Option<&'a [T]>,
    /// What follows; positions are those in the output.
    pub(crate) then: Epilogue<'a, T>,
}

/// What becomes of the output of some images, which is not kept: its arguments
/// are that output and these images' parts of two results.
pub(crate) type Through<'a, T, U> = dyn Fn(&mut [T], &mut [T], &mut [U]) + Sync + 'a;

impl<'a, T> Finish<'a, T> {
    /// Adds a bias, if there is one.
    pub(crate) fn with(bias: Option<&'a [T]>) -> Self {
        Self { bias, then: Epilogue::NONE }
    }
}

/// A weight in the form that a method needs.
enum Weight<'a, T: Float> {
    /// The original weight, and its panels if it was packed in advance.
    AsItIs(&'a [T], &'a [Panels<T>]),
    Tiles(Tiles<'a, T>),
    /// The original weight, and one with interleaved channels.
    SideBySide(&'a [T], Buffer<T>),
}

/// The largest number of elements in all parts of a weight gradient together,
/// and the largest number of parts.
const PARTS_LENGTH: usize = 1 << 20;
const MAX_PARTS: usize = 16;

/// The largest number of elements in a sum of parts that stays in the
/// first-level cache.
const SUM_LENGTH: usize = 1 << 11;

/// Adds the parts of a sum in order. Each part is as long as the result.
pub(crate) fn add_up<T: Float>(parts: &[T], sum: &mut [T]) {
    let length = sum.len();
    for_each_chunk(sum, SUM_LENGTH, parts.len() / length.max(1), |index, sum| {
        let mut parts = parts.chunks_exact(length).map(|part| &part[index * SUM_LENGTH..]);
        sum.copy_from_slice(&parts.next().expect("one part at least")[..sum.len()]);
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
        }
    });
}

impl Convolution {
    /// The convolution of `images` images with a kernel that slides over
    /// `windows`, for the channels of one group.
    pub(crate) fn new(
        images: usize,
        groups: usize,
        [in_channels, out_channels]: [usize; 2],
        windows: Windows,
        sliding: &Sliding,
    ) -> Self {
        let pointwise =
            sliding.kernel_size == [1, 1] && sliding.stride == [1, 1] && sliding.padding == [0, 0];
        let [height, width] = sliding.kernel_size;
        let taps = in_channels * height * width;
        // With a single tap, an image can be treated as one long row.
        let windows = if pointwise { windows.flat() } else { windows };
        Self { images, groups, in_channels, out_channels, windows, taps, pointwise }
    }

    /// Elements in the input channels of one image's group.
    fn input_length(&self) -> usize {
        self.in_channels * self.windows.image_length()
    }

    /// Elements in the output channels of one image's group.
    fn output_length(&self) -> usize {
        self.out_channels * self.windows.positions()
    }

    /// Elements in the planes of one image's group.
    fn planes_length(&self) -> usize {
        self.in_channels * self.windows.plane_length()
    }

    /// Elements in one group's weight.
    fn weight_length(&self) -> usize {
        self.out_channels * self.taps
    }

    /// The elementary steps for an element of the output; a step has several
    /// multiplications and additions.
    pub(crate) fn cost(&self) -> usize {
        self.taps / 4 + 1
    }

    fn input<'a, T>(&self, x: &'a [T], ImageGroup { image, group }: ImageGroup) -> &'a [T] {
        &x[(image * self.groups + group) * self.input_length()..][..self.input_length()]
    }

    fn output<'a, T>(&self, y: &'a [T], ImageGroup { image, group }: ImageGroup) -> &'a [T] {
        &y[(image * self.groups + group) * self.output_length()..][..self.output_length()]
    }

    fn weight<'a, T>(&self, weight: &'a [T], group: usize) -> &'a [T] {
        &weight[group * self.weight_length()..][..self.weight_length()]
    }

    /// The offset of each tap in the planes of a group's channels.
    fn starts(&self) -> Vec<usize> {
        let plane = self.windows.plane_length();
        let of_channel: SmallVec<[usize; 32]> = self.windows.starts().collect();
        let channels = 0..self.in_channels;
        channels
            .flat_map(|channel| of_channel.iter().map(move |start| channel * plane + start))
            .collect()
    }

    /// Copies the channels of an image's group to planes.
    fn spread<T: Float>(&self, x: &[T], planes: &mut [T]) {
        let (image, plane) = (self.windows.image_length(), self.windows.plane_length());
        let together = rows_per_chunk(plane);
        for_each_chunk(planes, together * plane, 1, |chunk, planes| {
            let images = &x[chunk * together * image..][..planes.len() / plane * image];
            self.windows.spread(images, T::ZERO, planes);
        });
    }

    /// Copies planes to the channels of an image's group.
    fn collect<T: Float>(&self, planes: &[T], x: &mut [T]) {
        let image = self.windows.image_length();
        for (channel, plane) in planes.chunks_exact(self.windows.plane_length()).enumerate() {
            self.windows.collect(plane, T::ZERO, &mut x[channel * image..][..image]);
        }
    }

    fn method(&self) -> Method {
        if depthwise::serves(self) {
            Method::Depthwise
        } else if direct::serves_output(self) {
            Method::Direct
        } else if broadcast::serves(self) {
            Method::Broadcast
        } else {
            Method::Unfolded
        }
    }

    /// The number of images in a task.
    fn images_per_task(&self) -> usize {
        match self.method() {
            Method::Depthwise | Method::Direct => 1,
            Method::Broadcast => broadcast::images_per_task(self),
            Method::Unfolded => unfolded::images_per_task(self),
        }
    }

    /// A weight in the form for [`forward_task`](Self::forward_task).
    fn arranged<'a, T: Float>(&self, weight: &'a [T], panels: &'a [Panels<T>]) -> Weight<'a, T> {
        let packed = panels.first().and_then(Panels::buffer);
        let table = match self.method() {
            Method::Depthwise => packed.cloned().or_else(|| depthwise::arranged(self, weight)),
            _ => None,
        };
        if let Some(table) = table {
            return Weight::SideBySide(weight, table);
        }
        self.tiles_of(self.source(weight), packed)
            .map_or(Weight::AsItIs(weight, panels), Weight::Tiles)
    }

    /// The weight of a forward pass.
    fn source<'a, T>(&self, weight: &'a [T]) -> Source<'a, T> {
        let steps = [self.weight_length(), self.taps, self.kernel_taps()];
        Source { weight, steps, reversed: false }
    }

    /// A weight in the layout of the kernels, for many convolutions of this size.
    /// Empty if the method does not use it or is faster without.
    pub(crate) fn packed<T: Float>(&self, weight: &[T]) -> Vec<Panels<T>> {
        let buffer = match self.method() {
            Method::Unfolded => return unfolded::packed(self, weight),
            Method::Depthwise => depthwise::arranged(self, weight),
            Method::Broadcast => {
                let tiles = self.tiles_of(self.source(weight), None);
                tiles.map(|tiles| tiles.whole(self.groups))
            }
            Method::Direct => None,
        };
        buffer.map(Panels::arranged).into_iter().collect()
    }

    /// A weight in tiles, which may be packed in advance, if the method uses
    /// tiles.
    fn tiles_of<'a, T: Float>(
        &self,
        source: Source<'a, T>,
        packed: Option<&Buffer<T>>,
    ) -> Option<Tiles<'a, T>> {
        let channels = || T::vectorised(broadcast::TileChannels(self));
        (self.method() == Method::Broadcast)
            .then(|| Tiles::new(self, channels(), source, packed.cloned()))
    }

    /// The convolution of cotangents that gives the gradient of the input, if
    /// it is fast.
    fn backwards(&self) -> Option<Self> {
        let backwards = Self {
            in_channels: self.out_channels,
            out_channels: self.in_channels,
            windows: self.windows.backwards()?,
            taps: self.out_channels * self.kernel_taps(),
            ..*self
        };
        let fast = !direct::serves(self) && backwards.method() == Method::Broadcast;
        fast.then_some(backwards)
    }

    /// Taps of one channel.
    fn kernel_taps(&self) -> usize {
        self.taps / self.in_channels.max(1)
    }

    /// The same convolution for a part of the images.
    pub(crate) fn of_images(&self, images: usize) -> Self {
        Self { images, ..*self }
    }

    /// Computes the output of the convolution; `panels` are the result of
    /// [`packed`](Self::packed), or empty.
    pub(crate) fn forward<T: Float>(
        &self,
        x: &[T],
        (weight, panels): (&[T], &[Panels<T>]),
        finish: Finish<'_, T>,
        y: &mut [T],
    ) {
        self.forward_arranged(x, &self.arranged(weight, panels), finish, y);
    }

    /// Computes the output for some images at a time and calls `then` with it
    /// and these images' parts of `y` and `other`, while it is in the cache. The
    /// whole output is never stored.
    pub(crate) fn forward_through<T: Float, U: Send>(
        &self,
        [x, weight]: [&[T]; 2],
        bias: Option<&[T]>,
        (y, other): (&mut [T], &mut [U]),
        then: &Through<'_, T, U>,
    ) {
        let (weight, images) = (self.arranged(weight, &[]), self.images_per_task());
        let parts = [y.len(), other.len()].map(|length| length / self.images.max(1));
        let image = self.groups * self.output_length();
        let cost = self.cost() * image / parts[0].max(1);
        let (y, other) = ((y, images * parts[0]), (other, images * parts[1]));
        for_each_chunk_pair(y, other, cost, |index, y, other| {
            let mut output = Buffer::new(y.len() / parts[0] * image);
            let output = output.as_mut_slice();
            self.forward_task(x, &weight, Finish::with(bias), index * images, output);
            then(output, y, other);
        });
    }

    fn forward_arranged<T: Float>(
        &self,
        x: &[T],
        weight: &Weight<'_, T>,
        finish: Finish<'_, T>,
        y: &mut [T],
    ) {
        let images = self.images_per_task();
        let task = images * self.groups * self.output_length();
        for_each_chunk(y, task, self.cost(), |index, y| {
            let finish = Finish { then: finish.then.from(index * task), ..finish };
            self.forward_task(x, weight, finish, index * images, y);
        });
    }

    /// Computes the output of the images of one task, from `first` on.
    fn forward_task<T: Float>(
        &self,
        x: &[T],
        weight: &Weight<'_, T>,
        finish: Finish<'_, T>,
        first: usize,
        y: &mut [T],
    ) {
        match *weight {
            Weight::Tiles(ref tiles) => broadcast::forward(self, x, tiles, finish, first, y),
            Weight::SideBySide(weight, ref table) => {
                let weight = (weight, Some(table.as_slice()));
                depthwise::forward(self, x, weight, finish, first, y);
            }
            Weight::AsItIs(weight, panels) => match self.method() {
                Method::Depthwise => depthwise::forward(self, x, (weight, None), finish, first, y),
                Method::Direct => direct::forward(self, x, weight, finish, first, y),
                _ => unfolded::forward(self, x, (weight, panels), finish, first, y),
            },
        }
    }

    /// Computes the gradient of the input from the cotangent `g` of the output.
    pub(crate) fn input_gradient<T: Float>(&self, weight: &[T], g: &[T], gradient: &mut [T]) {
        if self.method() == Method::Depthwise {
            return depthwise::input_gradient(self, weight, g, gradient);
        }
        if let Some(backwards) = self.backwards() {
            let steps = [self.weight_length(), self.kernel_taps(), self.taps];
            let weight = backwards.tiles_of(Source { weight, steps, reversed: true }, None);
            let weight = Weight::Tiles(weight.expect("a method with tiles"));
            return backwards.forward_arranged(g, &weight, Finish::with(None), gradient);
        }
        let images = self.images_per_gradient();
        let task = images * self.groups * self.input_length();
        let cost = self.cost() * self.out_channels / self.in_channels.max(1);
        for_each_chunk(gradient, task, cost, |index, gradient| {
            if direct::serves(self) {
                direct::input_gradient(self, weight, g, index, gradient);
            } else {
                unfolded::input_gradient(self, weight, g, index * images, gradient);
            }
        });
    }

    /// Computes the gradient of the weight from the cotangent `g` of the
    /// output.
    pub(crate) fn weight_gradient<T: Float>(&self, x: &[T], g: &[T], gradient: &mut [T]) {
        let length = gradient.len();
        if length == 0 {
            return;
        }
        let images = self.images_per_part();
        let part = |index: usize, sum: &mut [T]| {
            let images = index * images..self.images.min((index + 1) * images);
            self.weight_gradient_part(x, g, images, sum);
        };
        if images >= self.images {
            return part(0, gradient);
        }
        let mut sums = Buffer::new(self.images.div_ceil(images) * length);
        let cost = images.saturating_mul(self.windows.positions()) / 4 + 1;
        for_each_chunk(sums.as_mut_slice(), length, cost, part);
        add_up(sums.as_slice(), gradient);
    }

    /// The number of images whose gradients a task computes at a time.
    fn images_per_gradient(&self) -> usize {
        if depthwise::serves(self) || direct::serves(self) {
            1
        } else {
            unfolded::images_per_task(self)
        }
    }

    /// The number of images whose weight gradients are summed by one task.
    /// There are at most `MAX_PARTS` of these sums, and their total memory is
    /// bounded.
    pub(crate) fn images_per_part(&self) -> usize {
        let length = (self.groups * self.weight_length()).max(1);
        let together = if outer::serves(self) { 1 } else { self.images_per_gradient() };
        let tasks = self.images.div_ceil(together).max(1);
        let parts = (PARTS_LENGTH / length).clamp(1, MAX_PARTS).min(tasks);
        tasks.div_ceil(parts) * together
    }

    /// Computes the gradient of the weight over some images.
    pub(crate) fn weight_gradient_part<T: Float>(
        &self,
        x: &[T],
        g: &[T],
        images: Range<usize>,
        gradient: &mut [T],
    ) {
        if gradient.is_empty() {
            return;
        }
        gradient.fill(T::ZERO);
        if depthwise::serves(self) {
            depthwise::add_weight_gradient(self, x, g, images, gradient);
        } else if direct::serves(self) {
            direct::add_weight_gradient(self, x, g, images, gradient);
        } else if outer::serves(self) {
            outer::add_weight_gradient(self, x, g, images, gradient);
        } else {
            unfolded::add_weight_gradient(self, x, g, images, gradient);
        }
    }

    /// All groups of some images.
    fn image_groups(&self, images: Range<usize>) -> impl Iterator<Item = ImageGroup> + use<> {
        let groups = self.groups;
        images.flat_map(move |image| (0..groups).map(move |group| ImageGroup { image, group }))
    }
}
