//! Drawing the path of a pen as pixels.

use std::f32::consts::TAU;

use dendra_tensor::Rng;

use super::skeletons::Point;
use super::{SIZE, spread};

/// The number of straight pieces between two points of a curve.
const PIECES: usize = 5;

/// The size that a digit is scaled to, in pixels.
const FIT: f32 = 20.0;

/// A smooth curve through `points` as short straight pieces: a uniform
/// Catmull-Rom spline, in which a repeated point makes a corner.
pub(super) fn curve(points: &[Point]) -> Vec<Point> {
    let at = |index: isize| points[index.clamp(0, points.len() as isize - 1) as usize];
    let mut line = Vec::with_capacity(points.len() * PIECES);
    line.extend(points.first());
    for index in 1..points.len() as isize {
        let [p, q, r, s] = [index - 2, index - 1, index, index + 1].map(at);
        if q == r {
            continue;
        }
        line.extend((1..=PIECES).map(|piece| {
            let t = piece as f32 / PIECES as f32;
            (spline([p.0, q.0, r.0, s.0], t), spline([p.1, q.1, r.1, s.1], t))
        }));
    }
    line
}

/// The Catmull-Rom spline between `q` (at 0) and `r` (at 1).
fn spline([p, q, r, s]: [f32; 4], t: f32) -> f32 {
    let cubic = 3.0 * (q - r) + s - p;
    let quadratic = 2.0 * p - 5.0 * q + 4.0 * r - s;
    q + 0.5 * t * (r - p + t * (quadratic + t * cubic))
}

/// An image that is being drawn: the share of each pixel that ink covers, from
/// 0 to 1.
pub(super) struct Canvas([f32; SIZE * SIZE]);

impl Canvas {
    pub(super) fn new() -> Self {
        Self([0.0; SIZE * SIZE])
    }

    /// Scales the strokes to the canvas and draws them with a round pen of
    /// random, varying width.
    pub(super) fn write(&mut self, strokes: &mut [Vec<Point>], rng: &mut Rng) {
        let radius = (1.3 * libm::expf(spread(rng, 0.26))).clamp(0.75, 2.1);
        fit(strokes, FIT * (1.0 + spread(rng, 0.05)) - 1.6 * radius, rng);
        for stroke in strokes {
            // The pressure varies along a stroke.
            let (waves, phase) = (rng.uniform() as f32 * 0.5, rng.uniform() as f32 * TAU);
            let swell = rng.uniform() as f32 * 0.3;
            let radius_at =
                |index: usize| radius * (1.0 + swell * libm::sinf(phase + waves * index as f32));
            for (index, piece) in stroke.windows(2).enumerate() {
                self.line(piece[0], radius_at(index), piece[1], radius_at(index + 1));
            }
        }
    }

    /// Draws a line whose radius changes linearly from one end to the other.
    fn line(&mut self, from: Point, from_radius: f32, to: Point, to_radius: f32) {
        let reach = from_radius.max(to_radius) + 0.5;
        let range = |a: f32, b: f32| {
            let low = (a.min(b) - reach).ceil().max(0.0) as usize;
            let high = (a.max(b) + reach).floor().min(SIZE as f32 - 1.0);
            low..(high + 1.0).max(0.0) as usize
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = (dx * dx + dy * dy).max(1e-9);
        for row in range(from.1, to.1) {
            for column in range(from.0, to.0) {
                let (x, y) = (column as f32 - from.0, row as f32 - from.1);
                let along = ((x * dx + y * dy) / length).clamp(0.0, 1.0);
                let (x, y) = (x - along * dx, y - along * dy);
                let radius = from_radius + along * (to_radius - from_radius);
                let covered = (radius + 0.5 - (x * x + y * y).sqrt()).clamp(0.0, 1.0);
                let pixel = &mut self.0[row * SIZE + column];
                *pixel = pixel.max(covered);
            }
        }
    }

    /// Converts coverage to bytes, with soft edges and slightly uneven ink.
    pub(super) fn print(&self, image: &mut [u8], rng: &mut Rng) {
        let ink = 255.0 - 40.0 * rng.uniform() as f32;
        let noise = 50.0 * rng.uniform() as f32;
        for (pixels, covered) in image.chunks_mut(4).zip(self.0.chunks(4)) {
            if covered.iter().all(|&covered| covered == 0.0) {
                pixels.fill(0);
                continue;
            }
            let bits = rng.next_u32().to_le_bytes();
            for ((pixel, &covered), bits) in pixels.iter_mut().zip(covered).zip(bits) {
                let grain = (f32::from(bits) / 255.0 - 0.5) * noise;
                let soft = covered * covered * (3.0 - 2.0 * covered);
                // A cast from float to integer saturates.
                *pixel = (soft * (ink + grain) * 1.08) as u8;
            }
        }
    }
}

/// Scales the strokes so that the larger of their height and width is `size`
/// pixels, and moves their centre of mass near the middle.
fn fit(strokes: &mut [Vec<Point>], size: f32, rng: &mut Rng) {
    let points = || strokes.iter().flatten();
    let span = |coordinate: fn(&Point) -> f32| {
        let (low, high) = points()
            .map(coordinate)
            .fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(x), high.max(x)));
        high - low
    };
    let scale = size / span(|point| point.0).max(span(|point| point.1));
    let mut mass = 0.0;
    let mut centre = (0.0, 0.0);
    for piece in strokes.iter().flat_map(|stroke| stroke.windows(2)) {
        let [(ax, ay), (bx, by)] = [piece[0], piece[1]];
        let length = ((bx - ax) * (bx - ax) + (by - ay) * (by - ay)).sqrt();
        mass += length;
        centre.0 += length * 0.5 * (ax + bx);
        centre.1 += length * 0.5 * (ay + by);
    }
    let middle = 0.5 * (SIZE as f32 - 1.0);
    let (x, y) = (middle + spread(rng, 0.6), middle + spread(rng, 0.6));
    for point in strokes.iter_mut().flatten() {
        *point = (x + scale * (point.0 - centre.0 / mass), y + scale * (point.1 - centre.1 / mass));
    }
}
