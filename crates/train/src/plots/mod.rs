//! Charts as SVG in one style: lines and points, learning curves, confusion
//! matrices.

mod chart;
mod confusion;
mod learning;

use std::fmt;
use std::path::Path;

use dendra_nn::write_whole;
use dendra_tensor::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

pub use chart::Chart;
pub use confusion::confusion_matrix;
pub use learning::learning_curve;

/// The colour of text.
const INK: RGBColor = RGBColor(0x33, 0x41, 0x55);
/// The colour of the lines behind a curve.
const GRID: RGBColor = RGBColor(0xE2, 0xE8, 0xF0);
const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFE);

/// The colours of lines, in order. The first two are those of training and
/// validation.
const LINES: [RGBColor; 6] = [
    RGBColor(0x25, 0x63, 0xEB),
    RGBColor(0xEA, 0x58, 0x0C),
    RGBColor(0x05, 0x96, 0x69),
    RGBColor(0x7C, 0x3A, 0xED),
    RGBColor(0xDB, 0x27, 0x77),
    RGBColor(0x64, 0x74, 0x8B),
];

/// Each colour with its replacement on a dark page. A report has pages of both
/// kinds.
#[cfg(feature = "report")]
pub(crate) const DARK: [(RGBColor, &str); 9] = [
    (INK, "#cbd5e1"),
    (GRID, "#334155"),
    (PAPER, "none"),
    (LINES[0], "#60a5fa"),
    (LINES[1], "#fb923c"),
    (LINES[2], "#34d399"),
    (LINES[3], "#a78bfa"),
    (LINES[4], "#f472b6"),
    (LINES[5], "#94a3b8"),
];

/// A picture of lines and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// Writes the drawing to a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path, |writer| writer.write_all(self.0.as_bytes()))
    }
}

/// Prints the SVG source.
impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn drawn(size: (u32, u32), draw: impl for<'a> FnOnce(&Area<'a>) -> Drawn<'a>) -> Result<Svg> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let outcome = area.fill(&PAPER).and_then(|()| draw(&area)).and_then(|()| area.present());
    outcome.map_err(|error| Error::argument("plot", error.to_string()))?;
    drop(area);
    Ok(Svg(text))
}

/// The approximate width of a character, as a share of the text size.
const CHARACTER: f64 = 0.46;

/// The approximate width of a text, in pixels.
fn text_width(text: &str, size: i32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * CHARACTER) as i32
}
