//! Windows of images as columns, and images as sums of such columns (im2col and
//! col2im).

use super::{Attributes, Call, Cotangents, Op, Ops, TermCall, TermCotangents};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::windows::{Sliding, Windows};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Size, stride and padding of the windows, in elements along `[height,
/// width]`.
///
/// ```
/// use dendra_tensor::UnfoldOptions;
///
/// let patches = UnfoldOptions { stride: [4, 4], ..UnfoldOptions::new([4, 4]) };
/// assert_eq!(patches.padding, [0, 0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfoldOptions {
    /// The number of elements of a window.
    pub kernel_size: [usize; 2],
    /// The distance between two windows.
    pub stride: [usize; 2],
    /// Zeros added on both sides of the image.
    pub padding: [usize; 2],
    /// The distance between two elements of a window.
    pub dilation: [usize; 2],
}

impl UnfoldOptions {
    /// A window at every position, without padding.
    pub fn new(kernel_size: [usize; 2]) -> Self {
        Self { kernel_size, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    fn windows(&self, context: &str, image: [usize; 2]) -> Result<Windows> {
        let Self { kernel_size, stride, padding, dilation } = *self;
        let sliding = Sliding { kernel_size, stride, padding, dilation, ceil_mode: false };
        Windows::new(context, image, &sliding)
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("kernel_size", self.kernel_size.into()),
            ("stride", self.stride.into()),
            ("padding", self.padding.into()),
            ("dilation", self.dilation.into()),
        ]
    }

    fn taps(&self) -> Option<usize> {
        self.kernel_size[0].checked_mul(self.kernel_size[1])
    }
}

/// Each window of images as a column.
#[derive(Clone, Copy, Debug)]
pub struct Unfold {
    /// Size, stride and padding of the windows.
    pub options: UnfoldOptions,
}

/// Adds up columns to images, at the positions of their windows.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    /// Rows and columns of the images.
    pub output_size: [usize; 2],
    /// Size, stride and padding of the windows.
    pub options: UnfoldOptions,
}

/// Calls `work(from, to)` for every tap and row of windows, with the offset in
/// the plane and the offset in the columns of a channel.
fn for_each_row(windows: &Windows, mut work: impl FnMut(usize, usize)) {
    let [rows, columns] = windows.output();
    for (tap, start) in windows.starts().enumerate() {
        for row in 0..rows {
            work(start + row * windows.plane_row(), (tap * rows + row) * columns);
        }
    }
}

/// The columns of images with these windows.
fn unfolded<T: Float>(x: &Tensor<T>, windows: &Windows, taps: usize) -> Tensor<T> {
    let &[images, channels, ..] = &x.shape()[..] else { unreachable!("images have four axes") };
    let (columns, image) = (windows.output()[1], windows.image_length());
    let shape = [images, channels * taps, windows.positions()];
    x.with_slice(|x| {
        Tensor::build(shape, |out| {
            for_each_chunk(out, taps * windows.positions(), 1, |index, out| {
                let mut plane = Buffer::new(windows.plane_length());
                let plane = plane.as_mut_slice();
                windows.spread(&x[index * image..][..image], T::ZERO, plane);
                for_each_row(windows, |from, to| {
                    out[to..][..columns].copy_from_slice(&plane[from..][..columns]);
                });
            });
        })
    })
}

/// Images of this shape, as the sums of their columns.
fn folded<T: Float>(x: &Tensor<T>, windows: &Windows, taps: usize, shape: Shape) -> Tensor<T> {
    let (columns, block) = (windows.output()[1], taps * windows.positions());
    x.with_slice(|x| {
        Tensor::build(shape, |out| {
            if out.is_empty() {
                return;
            }
            let image = windows.image_length();
            for_each_chunk(out, image, block.div_ceil(image), |index, out| {
                let x = &x[index * block..][..block];
                let mut plane = Buffer::new(windows.plane_length());
                let plane = plane.as_mut_slice();
                plane.fill(T::ZERO);
                for_each_row(windows, |to, from| {
                    let sums = &mut plane[to..][..columns];
                    for (sum, &x) in sums.iter_mut().zip(&x[from..]) {
                        *sum += x;
                    }
                });
                windows.collect(plane, T::ZERO, out);
            });
        })
    })
}

impl Unfold {
    fn plan(&self, shape: &Shape) -> Result<(Windows, usize, Shape)> {
        let &[images, channels, height, width] = &shape[..] else {
            let message = format!("expected an input of shape [N, C, height, width], got {shape}");
            return Err(Error::shape("unfold", message));
        };
        let windows = self.options.windows("unfold", [height, width])?;
        let taps = self.options.taps();
        let columns = taps.and_then(|taps| {
            let shape = Shape::from([images, channels.checked_mul(taps)?, windows.positions()]);
            shape.checked_elements()?;
            Some((windows, taps, shape))
        });
        columns.ok_or_else(|| {
            let message = format!("the number of columns of {shape} overflows");
            Error::shape("unfold", message)
        })
    }
}

impl Fold {
    fn plan(&self, shape: &Shape) -> Result<(Windows, usize, Shape)> {
        let windows = self.options.windows("fold", self.output_size)?;
        if let (&[images, rows, positions], Some(taps)) = (&shape[..], self.options.taps())
            && positions == windows.positions()
            && rows % taps == 0
        {
            let [height, width] = self.output_size;
            let output = Shape::from([images, rows / taps, height, width]);
            if output.checked_elements().is_some() {
                return Ok((windows, taps, output));
            }
        }
        let ([rows, columns], [height, width]) = (windows.output(), self.output_size);
        Err(Error::shape(
            "fold",
            format!(
                "expected an input of shape [N, C·{}·{}, {rows}·{columns}] for images of \
                 {height} × {width}, got {shape}",
                self.options.kernel_size[0], self.options.kernel_size[1]
            ),
        ))
    }
}

const CHECKED: &str = "the shape rule accepted the input";

impl<T: Float> Op<T> for Unfold {
    type Saved = ();
    const NAME: &'static str = "unfold";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.plan(inputs[0])?.2)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (windows, taps, _) = self.plan(inputs[0].shape()).expect(CHECKED);
        (unfolded(inputs[0], &windows, taps), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let (windows, taps, _) = self.plan(shape).expect(CHECKED);
        call.each(|_| folded(&call.cotangent, &windows, taps, shape.clone()))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        call.each(|_| call.cotangent.fold([shape[2], shape[3]], self.options))
    }

    fn attributes(&self) -> Attributes {
        self.options.attributes()
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(15);
        let mut case = |shape: &[usize], options| {
            (Self { options }, vec![Tensor::normal(shape, 0.0, 1.0, &mut rng)])
        };
        vec![
            case(&[2, 3, 4, 5], UnfoldOptions::new([2, 3])),
            case(&[1, 2, 5, 4], EVERYTHING),
            case(&[0, 2, 4, 4], UnfoldOptions::new([2, 2])),
        ]
    }
}

impl<T: Float> Op<T> for Fold {
    type Saved = ();
    const NAME: &'static str = "fold";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(self.plan(inputs[0])?.2)
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (windows, taps, shape) = self.plan(inputs[0].shape()).expect(CHECKED);
        (folded(inputs[0], &windows, taps, shape), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let (windows, taps, _) = self.plan(call.inputs[0].shape()).expect(CHECKED);
        call.each(|_| unfolded(&call.cotangent, &windows, taps))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|_| call.cotangent.unfold(self.options))
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = vec![("output_size", self.output_size.into())];
        attributes.extend(self.options.attributes());
        attributes
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(16);
        let mut case = |shape: &[usize], output_size, options| {
            let columns = Tensor::normal(shape, 0.0, 1.0, &mut rng);
            (Self { output_size, options }, vec![columns])
        };
        vec![
            case(&[2, 12, 6], [3, 4], UnfoldOptions::new([2, 2])),
            case(&[1, 12, 8], [5, 4], EVERYTHING),
            case(&[0, 4, 9], [4, 4], UnfoldOptions::new([2, 2])),
        ]
    }
}

/// Options in which every setting differs from its default.
const EVERYTHING: UnfoldOptions =
    UnfoldOptions { kernel_size: [2, 3], stride: [2, 1], padding: [1, 1], dilation: [3, 1] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_a_product_with_the_columns() {
        let mut rng = Rng::seed(1);
        let x = Tensor::<f64>::normal([2, 3, 6, 5], 0.0, 1.0, &mut rng);
        let weight = Tensor::<f64>::normal([4, 3, 2, 3], 0.0, 1.0, &mut rng);
        let columns = x.unfold(EVERYTHING).unwrap();
        let product = weight.reshape([4, 18]).unwrap().matmul(&columns).unwrap();
        let options = crate::Conv2dOptions {
            stride: EVERYTHING.stride,
            padding: EVERYTHING.padding,
            dilation: EVERYTHING.dilation,
            groups: 1,
        };
        let expected = x.conv2d(&weight, None, options).unwrap();
        let product = product.reshape(expected.shape()).unwrap();
        let difference = &product.view() - &expected.view();
        assert!(difference.iter().all(|d| d.abs() < 1e-12));
    }

    #[test]
    fn patches_that_do_not_overlap_fold_back() {
        let x = Tensor::<f32>::arange(48).reshape([1, 2, 4, 6]).unwrap();
        let patches = UnfoldOptions { stride: [2, 3], ..UnfoldOptions::new([2, 3]) };
        assert_eq!(x.unfold(patches).unwrap().fold([4, 6], patches).unwrap(), x);
        let error = x.unfold(patches).unwrap().fold([4, 9], patches).unwrap_err();
        assert_eq!(
            error.to_string(),
            "fold: expected an input of shape [N, C·2·3, 2·3] for images of 4 × 9, got [1, 12, 4]"
        );
        assert!(x.unfold(UnfoldOptions::new([5, 5])).is_err());
        let one = x.select(0, 0).unwrap();
        let expected = x.unfold(patches).unwrap().select(0, 0).unwrap();
        assert_eq!(one.unfold(patches).unwrap(), expected);
        assert!(one.select(0, 0).unwrap().unfold(patches).is_err());
    }
}
