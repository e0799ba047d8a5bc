//! Pictures, and their resized parts.

use dendra::prelude::*;

use super::boxes::{Corners, Point, size};

/// A picture of three colours.
pub(crate) struct Picture {
    /// Red, green and blue, each row by row.
    pub(crate) planes: Vec<u8>,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Picture {
    /// The part between four corners, in its own size.
    pub(crate) fn cut(&self, corners: &Corners) -> Self {
        let [width, height] = size(corners).map(|side| side.max(1.0) as usize);
        let mut planes = vec![0; 3 * height * width];
        for y in 0..height {
            for x in 0..width {
                let (along, down) = (x as f32 / width as f32, y as f32 / height as f32);
                let from = mix(corners[0], corners[1], along);
                let to = mix(corners[3], corners[2], along);
                let colour = self.cubic(mix(from, to, down));
                for (plane, value) in colour.into_iter().enumerate() {
                    planes[(plane * height + y) * width + x] = value.round() as u8;
                }
            }
        }
        Self { planes, height, width }
    }

    /// The colour at a point, by cubic interpolation of the 16 pixels around it; a pixel
    /// is at whole numbers.
    fn cubic(&self, [x, y]: Point) -> [f32; 3] {
        // Weights of the four pixels along an axis, with the slope −0.75 of OpenCV.
        let weights = |part: f32| {
            let near = |t: f32| (1.25 * t - 2.25) * t * t + 1.0;
            let far = |t: f32| ((-0.75 * t + 3.75) * t - 6.0) * t + 3.0;
            [far(1.0 + part), near(part), near(1.0 - part), far(2.0 - part)]
        };
        let place = |first: f32, offset: usize, length: usize| {
            (first + offset as f32 - 1.0).clamp(0.0, (length - 1) as f32) as usize
        };
        let (left, top) = (x.floor(), y.floor());
        let (across, down) = (weights(x - left), weights(y - top));
        let area = self.height * self.width;
        std::array::from_fn(|plane| {
            let mut sum = 0.0;
            for (row, down) in down.into_iter().enumerate() {
                let start = plane * area + place(top, row, self.height) * self.width;
                for (column, across) in across.into_iter().enumerate() {
                    let pixel = self.planes[start + place(left, column, self.width)];
                    sum += down * across * f32::from(pixel);
                }
            }
            sum.clamp(0.0, 255.0)
        })
    }

    /// The picture in another size, as an input `[1, 3, height, padded]` of PP-OCR: blue,
    /// green and red from −1 to 1, and 0 to the right of `width`.
    pub(crate) fn input(&self, [height, width]: [usize; 2], padded: usize) -> Tensor {
        let area = height * padded;
        let mut values = vec![0.0; 3 * area];
        for y in 0..height {
            for x in 0..width {
                let along = (x as f32 + 0.5) / width as f32 * self.width as f32;
                let down = (y as f32 + 0.5) / height as f32 * self.height as f32;
                let [red, green, blue] = self.at([along, down]);
                for (plane, value) in [blue, green, red].into_iter().enumerate() {
                    values[plane * area + y * padded + x] = value / 127.5 - 1.0;
                }
            }
        }
        Tensor::from_fn([1, 3, height, padded], |index| values[index])
    }

    /// The colour at a point, interpolated between the pixels around it;
    /// outside of the picture the colour of its border.
    fn at(&self, [x, y]: Point) -> [f32; 3] {
        let place = |position: f32, length: usize| {
            let position = (position - 0.5).clamp(0.0, (length - 1) as f32);
            let first = position as usize;
            (first, (first + 1).min(length - 1), position - first as f32)
        };
        let (left, right, along) = place(x, self.width);
        let (top, bottom, down) = place(y, self.height);
        let area = self.height * self.width;
        std::array::from_fn(|plane| {
            let pixel =
                |y: usize, x: usize| f32::from(self.planes[plane * area + y * self.width + x]);
            let row = |y| pixel(y, left) * (1.0 - along) + pixel(y, right) * along;
            row(top) * (1.0 - down) + row(bottom) * down
        })
    }

    /// Draws a red line around a box.
    pub(crate) fn outline(&mut self, corners: &Corners) {
        let area = self.height * self.width;
        for side in 0..4 {
            let (from, to) = (corners[side], corners[(side + 1) % 4]);
            let steps = (to[0] - from[0]).abs().max((to[1] - from[1]).abs()).ceil().max(1.0);
            for step in 0..=steps as usize {
                let [x, y] = mix(from, to, step as f32 / steps);
                for (x, y) in [(x, y), (x + 1.0, y), (x, y + 1.0)] {
                    let x = (x.max(0.0) as usize).min(self.width - 1);
                    let y = (y.max(0.0) as usize).min(self.height - 1);
                    for (plane, value) in [230, 30, 30].into_iter().enumerate() {
                        self.planes[plane * area + y * self.width + x] = value;
                    }
                }
            }
        }
    }
}

fn mix(one: Point, other: Point, part: f32) -> Point {
    [one[0] + (other[0] - one[0]) * part, one[1] + (other[1] - one[1]) * part]
}
