//! Generated images of handwritten digits.
//!
//! Each digit has the path of a pen in several styles ([`skeletons`]). A sample
//! draws one style, shifts its points, bends it smoothly (the elastic
//! distortion of P. Simard, D. Steinkraus and J. Platt: "Best practices for
//! convolutional neural networks applied to visual document analysis", ICDAR
//! 2003, applied to the path instead of the pixels), slants, rotates and
//! stretches it, and fits it into 20×20 pixels with its centre of mass in the
//! middle of the 28×28, as in MNIST. A round pen of varying width then draws it
//! with soft edges, and noise is added to the ink ([`pen`]).

mod pen;
mod skeletons;

use dendra_tensor::{Rng, Tensor};
use rayon::prelude::*;

use crate::images::ImageDataset;
use pen::Canvas;
use skeletons::{Point, STYLES};

/// The height and width of an image in pixels.
const SIZE: usize = 28;

/// Generates `n` images that resemble handwritten digits: 28×28 bytes, from 0
/// for paper to 255 for ink, with labels 0 to 9, which are equally likely.
///
/// Each image depends only on `seed` and its index, so a larger set starts with
/// the images of a smaller one.
///
/// ```
/// use dendra_datasets::{Dataset, digits};
///
/// let (images, labels) = digits(100, 42).batch(&[0, 1, 2])?;
/// assert_eq!(images.shape(), &[3, 1, 28, 28]);
/// assert_eq!(labels.shape(), &[3]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub fn digits(n: usize, seed: u64) -> ImageDataset {
    let seed = Rng::seed(seed);
    let label = |rng: &mut Rng| rng.below(STYLES.len());
    let images = Tensor::build([n, 1, SIZE, SIZE], |images: &mut [u8]| {
        images.par_chunks_exact_mut(SIZE * SIZE).enumerate().for_each(|(index, image)| {
            let mut rng = seed.fork(index as u64);
            let digit = label(&mut rng);
            draw(digit, &mut rng, image);
        });
    });
    let labels = (0..n as u64).map(|index| label(&mut seed.fork(index)) as i64).collect();
    Tensor::from_vec(labels, [n])
        .and_then(|labels| ImageDataset::new(images, labels, STYLES.len()))
        .expect("there is a label for each image, and each is a digit")
}

/// A normally distributed number with mean 0 and the given standard deviation,
/// limited to 2.5 standard deviations.
fn spread(rng: &mut Rng, std: f32) -> f32 {
    (rng.normal() as f32).clamp(-2.5, 2.5) * std
}

/// Draws one digit.
fn draw(digit: usize, rng: &mut Rng, image: &mut [u8]) {
    let styles = STYLES[digit];
    let style = styles[rng.below(styles.len())];
    let hand = Hand::new(rng);
    let mut strokes: Vec<Vec<Point>> = Vec::with_capacity(style.len());
    for stroke in style {
        let mut points: Vec<Point> = Vec::with_capacity(stroke.len());
        for (index, &(x, y)) in stroke.iter().enumerate() {
            match points.last() {
                // A corner stays a corner.
                Some(&last) if stroke[index - 1] == (x, y) => points.push(last),
                _ => points.push((x + spread(rng, 0.025), y + spread(rng, 0.025))),
            }
        }
        strokes.push(pen::curve(&points));
    }
    strokes.iter_mut().flatten().for_each(|point| *point = hand.shape(*point));

    let mut canvas = Canvas::new();
    canvas.write(&mut strokes, rng);
    canvas.print(image, rng);
}

/// How a digit is bent, stretched and slanted.
struct Hand {
    /// The matrix that stretches, slants and rotates.
    matrix: [f32; 4],
    /// Displacements at the knots of a grid over the digit.
    bends: [[Point; KNOTS]; KNOTS],
}

/// The number of knots of the grid along each axis, for a cubic spline with two
/// intervals.
const KNOTS: usize = 5;

impl Hand {
    fn new(rng: &mut Rng) -> Self {
        let width = 0.95 * libm::expf(spread(rng, 0.2));
        let lean = 0.15 + spread(rng, 0.2);
        let turn = spread(rng, 0.08);
        let (sin, cos) = (libm::sinf(turn), libm::cosf(turn));
        // Rotation · slant · stretch; a positive slant moves the top to the
        // right.
        let matrix = [cos * width, -cos * lean - sin, sin * width, cos - sin * lean];
        let bends = std::array::from_fn(|_| {
            std::array::from_fn(|_| (spread(rng, 0.07), spread(rng, 0.07)))
        });
        Self { matrix, bends }
    }

    fn shape(&self, (x, y): Point) -> Point {
        let (bend_x, bend_y) = self.bend(x, y);
        let (x, y) = (x + bend_x - 0.5, y + bend_y - 0.5);
        let [xx, xy, yx, yy] = self.matrix;
        (xx * x + xy * y, yx * x + yy * y)
    }

    /// The displacement at a point: a uniform cubic B-spline over the knots.
    fn bend(&self, x: f32, y: f32) -> Point {
        let (column, across) = weights(x);
        let (row, down) = weights(y);
        let mut sum = (0.0, 0.0);
        for (knots, down) in self.bends[row..].iter().zip(down) {
            for (&(dx, dy), across) in knots[column..].iter().zip(across) {
                sum.0 += dx * across * down;
                sum.1 += dy * across * down;
            }
        }
        sum
    }
}

/// The first of the four knots that influence a position, and their weights.
fn weights(position: f32) -> (usize, [f32; 4]) {
    let intervals = KNOTS - 3;
    let scaled = (position * intervals as f32).clamp(0.0, intervals as f32);
    let first = (scaled as usize).min(intervals - 1);
    let t = scaled - first as f32;
    let s = 1.0 - t;
    let weights = [
        s * s * s,
        3.0 * t * t * t - 6.0 * t * t + 4.0,
        3.0 * s * s * s - 6.0 * s * s + 4.0,
        t * t * t,
    ];
    (first, weights.map(|weight| weight / 6.0))
}
