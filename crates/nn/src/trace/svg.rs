//! A trace as a picture: a column of boxes, one per operation in the order of
//! computation, with frames around the parts of the model. Lines beside the column
//! connect values with operations further down.

use std::fmt::Write;
use std::path::Path;

use dendra_tensor::ops::Attribute;
use dendra_tensor::{Float, Result};

use super::{NodeKind, Setting, Trace, size};
use crate::file::write_whole;

// The colours are those of the plots in reports. The dark mode of a report
// replaces them.
const INK: &str = "#334155";
const FRAME: &str = "#E2E8F0";
const PAPER: &str = "#FFFFFE";
const ACCENT: &str = "#2563EB";
const BESIDE: &str = "#EA580C";

/// The width of a letter of the fixed-width font, in pixels.
const LETTER: f64 = 7.25;
/// The maximum number of letters in a line of a box.
const LETTERS: usize = 56;
const MARGIN: f64 = 14.0;
const BOX: f64 = 40.0;
/// The height of a box with one line.
const LOW: f64 = 26.0;
const GAP: f64 = 16.0;
/// The height of a frame's title.
const TITLE: f64 = 22.0;
/// The margin inside a frame, on each side and at the bottom.
const INSET: f64 = 10.0;
/// The distance between the arrows from box to box and the right edge of the
/// boxes. The arrows are on the right, so that they do not cross titles of frames.
const ARROW: f64 = 24.0;
/// The distance between two lines beside the boxes.
const LANE: f64 = 11.0;

/// A box of the picture.
struct Drawn {
    /// The index of the value; `None` for an output.
    node: Option<usize>,
    /// The values from which lines lead to this box.
    sources: Vec<usize>,
    part: Vec<String>,
    title: String,
    shape: String,
    details: String,
    top: f64,
    height: f64,
    /// Whether the box is an input or an output instead of an operation.
    is_value: bool,
}

impl Drawn {
    fn middle(&self) -> f64 {
        self.top + self.height / 2.0
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// A frame around a part.
struct Frame {
    path: Vec<String>,
    top: f64,
    bottom: f64,
}

impl<T: Float> Trace<T> {
    /// Returns a picture of the trace as SVG. Operations whose inputs are all
    /// parameters or constants are omitted.
    pub fn to_svg(&self) -> String {
        let mut boxes = self.boxes();
        let depth = boxes.iter().map(|drawn| drawn.part.len()).max().unwrap_or(0);
        let (frames, height) = arrange(&mut boxes);
        let letters = boxes.iter().map(|drawn| {
            let first = drawn.title.chars().count() + drawn.shape.chars().count() + 3;
            first.max(drawn.details.chars().count())
        });
        let width = letters.max().unwrap_or(0).clamp(24, LETTERS + 2) as f64 * LETTER + 20.0;
        let left = MARGIN + depth as f64 * INSET;
        let right = left + width;
        let mut svg = String::new();
        let mut body = String::new();
        for frame in &frames {
            self.frame(&mut body, frame, depth, left, width);
        }
        let lanes = lines(&mut body, &boxes, right - ARROW, right, right + depth as f64 * INSET);
        for drawn in &boxes {
            one_box(&mut body, drawn, left, width);
        }
        let total = right + depth as f64 * INSET + lanes as f64 * LANE + 2.0 * MARGIN;
        put(
            &mut svg,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total:.0}\" \
                 height=\"{height:.0}\" viewBox=\"0 0 {total:.0} {height:.0}\" \
                 font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" \
                 font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\" \
                 stroke=\"none\"/>\n{body}</svg>\n"
            ),
        );
        svg
    }

    /// Writes the picture to a file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path, |writer| writer.write_all(self.to_svg().as_bytes()))
    }

    fn boxes(&self) -> Vec<Drawn> {
        let mut boxes: Vec<Drawn> = Vec::new();
        // Whether a value depends on the inputs.
        let mut flows: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let is_input = matches!(node.kind, NodeKind::Input { .. });
            let is_shown = is_input || node.sources().any(|source| flows[source]);
            flows.push(is_shown);
            if !is_shown {
                continue;
            }
            let title = if is_input { self.value_name(index) } else { node.name().to_owned() };
            let part = node.part.split('.').filter(|part| !part.is_empty()).map(str::to_owned);
            let details = if is_input { String::new() } else { self.details(index, &flows) };
            boxes.push(Drawn {
                node: Some(index),
                sources: node.sources().filter(|&source| flows[source]).collect(),
                part: part.collect(),
                title,
                shape: node.shape_text(),
                height: if details.is_empty() { LOW } else { BOX },
                details,
                top: 0.0,
                is_value: is_input,
            });
        }
        for &output in &self.outputs {
            boxes.push(Drawn {
                node: None,
                sources: vec![output],
                part: Vec::new(),
                title: "output".to_owned(),
                shape: self.nodes[output].shape_text(),
                details: String::new(),
                top: 0.0,
                height: LOW,
                is_value: true,
            });
        }
        boxes
    }

    /// Returns the parameters, constants and settings of an operation in one line.
    fn details(&self, index: usize, flows: &[bool]) -> String {
        let node = &self.nodes[index];
        let mut details = Vec::new();
        for parent in node.parents.iter().filter(|&&parent| !flows[parent]) {
            let shape = size::list(&self.nodes[*parent].shape);
            let name = self.value_name(*parent);
            let own = name.strip_prefix(node.part.as_str()).and_then(|own| own.strip_prefix('.'));
            details.push(match &self.nodes[*parent].kind {
                NodeKind::Constant { .. } => name,
                NodeKind::Operation(_) | NodeKind::Function(_) => format!("parameters {shape}"),
                _ => format!("{} {shape}", own.unwrap_or(&name)),
            });
        }
        for (name, setting) in &node.settings {
            let value = match setting {
                Setting::Value(Attribute::None | Attribute::Bool(false)) | Setting::Node(_) => {
                    continue;
                }
                Setting::Value(value) => value.to_string(),
                Setting::Size(size) => size.to_string(),
                Setting::Sizes(sizes) => size::list(sizes),
            };
            details.push(format!("{name} {value}"));
        }
        shortened(&details.join(", "), LETTERS)
    }

    fn frame(&self, svg: &mut String, frame: &Frame, depth: usize, left: f64, width: f64) {
        let around = (depth + 1 - frame.path.len()) as f64 * INSET;
        let path = frame.path.join(".");
        let told = self.parts.iter().find(|part| part.path == path);
        let description = told.map_or("", |part| part.description.as_str());
        let name = frame.path.last().map_or("", String::as_str);
        let title = format!("{name}  {description}");
        let title = escape(&shortened(title.trim_end(), LETTERS));
        let (x, y) = (left - around, frame.top);
        let (wide, high) = (width + 2.0 * around, frame.bottom - frame.top);
        put(
            svg,
            format_args!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" rx=\"8\" \
                 fill=\"none\" stroke=\"{FRAME}\" stroke-width=\"1.5\"/>\n<text x=\"{:.1}\" \
                 y=\"{:.1}\" fill=\"{ACCENT}\" stroke=\"none\">{title}</text>\n",
                x + 8.0,
                y + 15.0
            ),
        );
    }
}

/// Arranges boxes and frames one below the other and returns the total height.
fn arrange(boxes: &mut [Drawn]) -> (Vec<Frame>, f64) {
    let mut frames: Vec<Frame> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut y = MARGIN;
    for (index, drawn) in boxes.iter_mut().enumerate() {
        let part = &drawn.part;
        let stays = |frame: &Frame| part.starts_with(&frame.path);
        while let Some(&last) = open.last()
            && !stays(&frames[last])
        {
            y += INSET;
            frames[last].bottom = y;
            open.pop();
        }
        if index > 0 {
            y += GAP;
        }
        for length in open.len() + 1..=part.len() {
            open.push(frames.len());
            frames.push(Frame { path: part[..length].to_vec(), top: y, bottom: y });
            y += TITLE;
        }
        drawn.top = y;
        y = drawn.bottom();
    }
    while let Some(last) = open.pop() {
        y += INSET;
        frames[last].bottom = y;
    }
    (frames, y + MARGIN)
}

/// Draws the lines between boxes and returns the number of lanes beside them.
fn lines(svg: &mut String, boxes: &[Drawn], down: f64, right: f64, beside: f64) -> usize {
    // The bottom end of the last line in each lane.
    let mut lanes: Vec<f64> = Vec::new();
    for (index, to) in boxes.iter().enumerate() {
        let mut sources = to.sources.clone();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            let Some(above) = boxes[..index].iter().position(|from| from.node == Some(source))
            else {
                continue;
            };
            let from = &boxes[above];
            if above + 1 == index {
                let (start, end) = (from.bottom(), to.top);
                arrow(svg, &format!("M {down:.1} {start:.1} V {end:.1}"), INK);
                head(svg, [down, end], false, INK);
                continue;
            }
            let (start, end) = (from.middle() + 6.0, to.middle() - 6.0);
            let lane = lanes.iter().position(|&lowest| lowest < start).unwrap_or(lanes.len());
            if lane == lanes.len() {
                lanes.push(end);
            }
            lanes[lane] = end;
            let x = beside + MARGIN + lane as f64 * LANE;
            arrow(
                svg,
                &format!(
                    "M {right:.1} {start:.1} H {:.1} Q {x:.1} {start:.1} {x:.1} {:.1} V {:.1} Q \
                     {x:.1} {end:.1} {:.1} {end:.1} H {right:.1}",
                    x - 5.0,
                    start + 5.0,
                    end - 5.0,
                    x - 5.0
                ),
                BESIDE,
            );
            head(svg, [right, end], true, BESIDE);
        }
    }
    lanes.len()
}

fn arrow(svg: &mut String, path: &str, color: &str) {
    put(svg, format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{color}\"/>\n"));
}

/// Draws the head of an arrow that points down or to the left.
fn head(svg: &mut String, [x, y]: [f64; 2], to_the_left: bool, color: &str) {
    let [a, b] = match to_the_left {
        true => [[x + 7.0, y - 3.5], [x + 7.0, y + 3.5]],
        false => [[x - 3.5, y - 7.0], [x + 3.5, y - 7.0]],
    };
    put(
        svg,
        format_args!(
            "<path d=\"M {x:.1} {y:.1} L {:.1} {:.1} L {:.1} {:.1} Z\" fill=\"{color}\" \
             stroke=\"none\"/>\n",
            a[0], a[1], b[0], b[1]
        ),
    );
}

fn one_box(svg: &mut String, drawn: &Drawn, left: f64, width: f64) {
    let (top, height) = (drawn.top, drawn.height);
    let radius = if drawn.is_value { height / 2.0 } else { 5.0 };
    let line = if drawn.details.is_empty() { drawn.middle() + 4.0 } else { top + 16.0 };
    let (title, shape) = (escape(&drawn.title), escape(&drawn.shape));
    put(
        svg,
        format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"{radius:.1}\" fill=\"{PAPER}\" stroke=\"{INK}\"/>\n<text x=\"{:.1}\" \
             y=\"{line:.1}\" font-weight=\"bold\" fill=\"{INK}\" stroke=\"none\">{title}</text>\n\
             <text x=\"{:.1}\" y=\"{line:.1}\" text-anchor=\"end\" fill=\"{INK}\" \
             stroke=\"none\">{shape}</text>\n",
            left + 10.0,
            left + width - 10.0
        ),
    );
    if !drawn.details.is_empty() {
        let details = escape(&drawn.details);
        put(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"{INK}\" stroke=\"none\" \
                 opacity=\"0.75\">{details}</text>\n",
                left + 10.0,
                top + 31.0
            ),
        );
    }
}

/// Appends text to a picture.
fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("writing to a string cannot fail");
}

/// Truncates a text to this number of letters.
fn shortened(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::Residual;
    use crate::sequential::Sequential;

    #[test]
    fn parts_are_framed_and_values_lead_to_where_they_are_used() {
        let builder = Sequential::input([6]).dense(4).named("a<b&c");
        let builder = builder.layer(Residual::new(|block| block.dense(4).relu().dense(4)));
        let model = builder.build(&mut Rng::seed(1)).unwrap();
        let trace = Trace::of(&model, &Tensor::<f32>::ones([1, 6])).unwrap();
        let svg = trace.to_svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        // Boxes of the input, five operations and the output. Frames of the first
        // layer, the block and its three layers.
        assert_eq!(svg.matches(&format!("fill=\"{PAPER}\" stroke=\"{INK}\"")).count(), 7);
        assert_eq!(svg.matches(&format!("stroke=\"{FRAME}\"")).count(), 5, "{svg}");
        // One line leads from the input of the block around it.
        assert_eq!(svg.matches(&format!("stroke=\"{BESIDE}\"")).count(), 1);
        assert!(svg.contains("a&lt;b&amp;c  Linear 6 → 4") && svg.contains("weight [4, 6]"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.svg");
        trace.save_svg(&path).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), svg);
    }
}
