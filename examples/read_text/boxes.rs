//! Converts a map of text probabilities to boxes around lines of text, as in
//! Liao et al., "Real-time scene text detection with differentiable
//! binarization" (2019), with the settings of RapidOCR.

/// x and y, from the left and from above.
pub(crate) type Point = [f32; 2];

/// The corners of a box in reading order: top left, top right, bottom right,
/// bottom left.
pub(crate) type Corners = [Point; 4];

/// The smallest probability of a text pixel.
const PIXEL: f32 = 0.3;
/// The smallest mean probability of a text box.
const BOX: f32 = 0.5;
/// The network detects the cores of lines; the boxes are wider by this factor
/// times their area divided by the length of their outline.
const UNCLIP: f32 = 1.6;
/// The least length of a side of a core.
const LEAST: f32 = 3.0;

/// The boxes of a map with rows of this width.
pub(crate) fn boxes(map: &[f32], width: usize) -> Vec<Corners> {
    let mut boxes = Vec::new();
    for component in components(&dilated(map, width), width) {
        let Some(rectangle) = Rectangle::around(&component) else { continue };
        if rectangle.shorter() < LEAST || rectangle.mean(map, width) < BOX {
            continue;
        }
        let [long, wide] = rectangle.size;
        let distance = UNCLIP * long * wide / (2.0 * (long + wide));
        // As in RapidOCR, the corners of a core are whole numbers.
        let corners = rectangle.corners().map(|corner| corner.map(f32::trunc));
        let Some(rectangle) = Rectangle::around(&corners) else { continue };
        let rectangle = rectangle.grown(distance);
        if rectangle.shorter() >= LEAST + 2.0 {
            boxes.push(rectangle.corners());
        }
    }
    boxes
}

/// The boxes in a picture that is larger than the map by these factors, sorted
/// from top to bottom, and from left to right in a row.
pub(crate) fn placed(boxes: &[Corners], scale: Point, size: [usize; 2]) -> Vec<Corners> {
    let place = |corners: &Corners| {
        corners.map(|point| {
            std::array::from_fn(|axis| {
                (point[axis] * scale[axis]).round().clamp(0.0, (size[axis] - 1) as f32)
            })
        })
    };
    let mut placed: Vec<Corners> = boxes.iter().map(place).collect();
    placed.retain(|corners| size_of_all(corners) > 3.0);
    placed.sort_by(|one, other| {
        one[0][1].total_cmp(&other[0][1]).then(one[0][0].total_cmp(&other[0][0]))
    });
    // Boxes whose tops differ by less than ten pixels are in one row.
    for last in 1..placed.len() {
        for index in (0..last).rev() {
            let (one, other) = (placed[index][0], placed[index + 1][0]);
            if (other[1] - one[1]).abs() >= 10.0 || other[0] >= one[0] {
                break;
            }
            placed.swap(index, index + 1);
        }
    }
    placed
}

/// The shorter side of a box.
fn size_of_all(corners: &Corners) -> f32 {
    let [width, height] = size(corners);
    width.min(height)
}

/// The width and the height of a box.
pub(crate) fn size(corners: &Corners) -> [f32; 2] {
    let length = |one: Point, other: Point| (one[0] - other[0]).hypot(one[1] - other[1]);
    [
        length(corners[0], corners[1]).max(length(corners[2], corners[3])),
        length(corners[0], corners[3]).max(length(corners[1], corners[2])),
    ]
}

/// The text pixels: pixels of high probability, and the next ones below and to
/// the right, which closes small gaps.
fn dilated(map: &[f32], width: usize) -> Vec<bool> {
    let mut mask = vec![false; map.len()];
    for (index, _) in map.iter().enumerate().filter(|(_, probability)| **probability > PIXEL) {
        let is_last = (index + 1) % width == 0;
        for next in [index, index + 1, index + width, index + width + 1] {
            if let Some(pixel) = mask.get_mut(next)
                && !(is_last && (next == index + 1 || next == index + width + 1))
            {
                *pixel = true;
            }
        }
    }
    mask
}

/// The pixels of each connected region, connected by edges or corners.
fn components(mask: &[bool], width: usize) -> Vec<Vec<Point>> {
    let mut left = mask.to_vec();
    let (mut found, mut open) = (Vec::new(), Vec::new());
    for start in 0..left.len() {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        open.push(start);
        let mut component = Vec::new();
        while let Some(index) = open.pop() {
            let (x, y) = (index % width, index / width);
            component.push([x as f32, y as f32]);
            for y in y.saturating_sub(1)..(y + 2).min(left.len() / width) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    if std::mem::take(&mut left[y * width + x]) {
                        open.push(y * width + x);
                    }
                }
            }
        }
        found.push(component);
    }
    found
}

/// A rectangle in any direction.
struct Rectangle {
    centre: Point,
    /// The direction of its first side, of length 1.
    direction: Point,
    size: [f32; 2],
}

impl Rectangle {
    /// The smallest rectangle around points; one of its sides is on their
    /// convex hull.
    fn around(points: &[Point]) -> Option<Self> {
        let hull = hull(points);
        let mut smallest: Option<(f32, Self)> = None;
        for (index, &from) in hull.iter().enumerate() {
            let to = hull[(index + 1) % hull.len()];
            let length = (to[0] - from[0]).hypot(to[1] - from[1]);
            if length == 0.0 {
                continue;
            }
            let direction = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
            let span = |direction: Point| {
                let along = hull.iter().map(|point| dot(*point, direction));
                along.fold([f32::INFINITY, f32::NEG_INFINITY], |[least, most], next| {
                    [least.min(next), most.max(next)]
                })
            };
            let normal = [-direction[1], direction[0]];
            let [along, across] = [span(direction), span(normal)];
            let size = [along[1] - along[0], across[1] - across[0]];
            let area = size[0] * size[1];
            if smallest.as_ref().is_none_or(|(least, _)| area < *least) {
                let [along, across] = [along, across].map(|[least, most]| (least + most) / 2.0);
                let centre =
                    std::array::from_fn(|axis| along * direction[axis] + across * normal[axis]);
                smallest = Some((area, Self { centre, direction, size }));
            }
        }
        smallest.map(|(_, rectangle)| rectangle)
    }

    fn shorter(&self) -> f32 {
        self.size[0].min(self.size[1])
    }

    fn grown(self, distance: f32) -> Self {
        Self { size: self.size.map(|side| side + 2.0 * distance), ..self }
    }

    /// The mean of the map's pixels within.
    fn mean(&self, map: &[f32], width: usize) -> f32 {
        let corners = self.corners();
        let range = |axis: usize, length: usize| {
            let along = corners.map(|corner| corner[axis]);
            let least = along.iter().copied().fold(f32::INFINITY, f32::min).floor().max(0.0);
            let most = along.iter().copied().fold(0.0, f32::max).ceil() as usize;
            least as usize..(most + 1).min(length)
        };
        let normal = [-self.direction[1], self.direction[0]];
        let (mut sum, mut count) = (0.0, 0);
        for y in range(1, map.len() / width) {
            for x in range(0, width) {
                let away = [x as f32 - self.centre[0], y as f32 - self.centre[1]];
                let is_within =
                    |direction: Point, side: f32| dot(away, direction).abs() <= side / 2.0 + 0.01;
                if is_within(self.direction, self.size[0]) && is_within(normal, self.size[1]) {
                    sum += map[y * width + x];
                    count += 1;
                }
            }
        }
        if count == 0 { 0.0 } else { sum / count as f32 }
    }

    /// The corners in reading order, if the text is rotated by at most 45
    /// degrees.
    fn corners(&self) -> Corners {
        let [long, wide] = self.size.map(|side| side / 2.0);
        let normal = [-self.direction[1], self.direction[0]];
        let mut corners = [[-long, -wide], [long, -wide], [long, wide], [-long, wide]].map(|at| {
            std::array::from_fn(|axis| {
                self.centre[axis] + at[0] * self.direction[axis] + at[1] * normal[axis]
            })
        });
        corners.sort_by(|one: &Point, other| one[0].total_cmp(&other[0]));
        let [mut left, mut right] = [[corners[0], corners[1]], [corners[2], corners[3]]];
        for side in [&mut left, &mut right] {
            side.sort_by(|one, other| one[1].total_cmp(&other[1]));
        }
        [left[0], right[0], right[1], left[1]]
    }
}

fn dot(one: Point, other: Point) -> f32 {
    one[0] * other[0] + one[1] * other[1]
}

/// The corners of the convex hull of points, in order (Andrew's monotone chain).
fn hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|one, other| one[0].total_cmp(&other[0]).then(one[1].total_cmp(&other[1])));
    sorted.dedup();
    let mut hull: Vec<Point> = Vec::new();
    let mut half = |points: &mut dyn Iterator<Item = &Point>| {
        let start = hull.len();
        for point in points {
            while let [.., before, last] = hull[start..] {
                let one = [last[0] - before[0], last[1] - before[1]];
                let next = [point[0] - before[0], point[1] - before[1]];
                if one[0] * next[1] - one[1] * next[0] > 0.0 {
                    break;
                }
                hull.pop();
            }
            hull.push(*point);
        }
        // The other half begins with it.
        hull.pop();
    };
    half(&mut sorted.iter());
    half(&mut sorted.iter().rev());
    hull
}
