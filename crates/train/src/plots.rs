//! Learning curves and confusion matrices as SVG.

use std::fmt;
use std::path::Path;

use dendra_nn::write_whole;
use dendra_tensor::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::history::History;

/// The size of a picture, in pixels.
const SIZE: (u32, u32) = (640, 340);

/// Text.
const INK: RGBColor = RGBColor(0x33, 0x41, 0x55);
/// Lines behind a curve.
const GRID: RGBColor = RGBColor(0xE2, 0xE8, 0xF0);
const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFE);
const TRAINING: RGBColor = RGBColor(0x25, 0x63, 0xEB);
const VALIDATION: RGBColor = RGBColor(0xEA, 0x58, 0x0C);

/// The colours, and what takes their places on a dark page: a report puts
/// pictures on pages of both kinds.
#[cfg(feature = "report")]
pub(crate) const DARK: [(RGBColor, &str); 5] = [
    (INK, "#cbd5e1"),
    (GRID, "#334155"),
    (PAPER, "none"),
    (TRAINING, "#60a5fa"),
    (VALIDATION, "#fb923c"),
];

/// A picture of lines and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// Writes it to a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path, |writer| writer.write_all(self.0.as_bytes()))
    }
}

/// Its source.
impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A figure over the epochs, in training and in validation: `loss`, or a
/// metric's name.
///
/// # Errors
///
/// When no epoch has the figure.
pub fn learning_curve(history: &History, figure: &str) -> Result<Svg> {
    let finite = |name: &str| {
        let points = history.curve(name).into_iter().map(|(epoch, value)| (epoch as f64, value));
        points.filter(|(_, value)| value.is_finite()).collect::<Vec<_>>()
    };
    let series = [
        ("training", TRAINING, finite(figure)),
        ("validation", VALIDATION, finite(&format!("validation {figure}"))),
    ];
    let all: Vec<(f64, f64)> = series.iter().flat_map(|(_, _, points)| points.clone()).collect();
    if all.is_empty() {
        return Err(Error::argument("learning_curve", format!("no epoch has a figure `{figure}`")));
    }
    drawn(SIZE, |area| draw_curves(area, figure, &series, &all))
}

type Series<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);
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

fn draw_curves<'a>(
    area: &Area<'a>,
    figure: &str,
    series: &[Series<'_>],
    all: &[(f64, f64)],
) -> Drawn<'a> {
    let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
        let low = all.iter().map(values).fold(f64::INFINITY, f64::min);
        let high = all.iter().map(values).fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    let (first, last) = range(&|point| point.0);
    let (low, high) = range(&|point| point.1);
    // A flat curve lies in the middle.
    let room = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
    let beside = if last > first { 0.0 } else { 0.5 };
    let is_share = figure.ends_with("accuracy");

    let mut chart = ChartBuilder::on(area)
        .margin_top(14)
        .margin_right(92)
        .margin_bottom(6)
        .margin_left(6)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(first - beside..last + beside, low - room..high + room)?;
    let label = ("sans-serif", 15).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(label.clone())
        .axis_desc_style(label)
        .x_labels((last - first) as usize + 1)
        .max_light_lines(1)
        .y_labels(6)
        .x_label_formatter(&|epoch| {
            if epoch.fract() == 0.0 { format!("{epoch:.0}") } else { String::new() }
        })
        .y_label_formatter(&|value| number(*value, is_share, high - low))
        .x_desc("epoch")
        .y_desc(figure)
        .draw()?;
    for (_, color, points) in series {
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        if points.len() <= 40 {
            let dots = points.iter().map(|&point| Circle::new(point, 3, color.filled()));
            chart.draw_series(dots)?;
        }
    }
    // Names stand at the ends of their curves, and not on each other.
    let ends = series.iter().filter_map(|(name, color, points)| {
        let place = chart.backend_coord(points.last()?);
        Some((*name, *color, place))
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort_by_key(|(_, _, (_, y))| *y);
    let mut lowest_free = 0;
    for (name, color, (x, y)) in ends {
        let y = (y - 8).max(lowest_free);
        lowest_free = y + 18;
        area.draw(&Text::new(name, (x + 10, y), ("sans-serif", 15).into_font().color(&color)))?;
    }
    Ok(())
}

/// A number at an axis: as few digits as tell the marks apart.
fn number(value: f64, is_share: bool, span: f64) -> String {
    let (value, span) = if is_share { (100.0 * value, 100.0 * span) } else { (value, span) };
    let digits = (1.0 - span.max(1e-12).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}{}", if is_share { "%" } else { "" })
}

/// A confusion matrix: `counts[truth][prediction]`, with a name for every
/// class.
///
/// # Errors
///
/// When the matrix is empty or not square, or the names are not as many.
pub fn confusion_matrix(counts: &[Vec<u64>], names: &[String]) -> Result<Svg> {
    let classes = counts.len();
    let square = counts.iter().all(|row| row.len() == classes);
    if classes == 0 || !square || names.len() != classes {
        let message =
            format!("expected a square matrix with a name for each of its {classes} rows");
        return Err(Error::shape("confusion_matrix", message));
    }
    let cell = (560 / classes as i32).clamp(14, 56);
    let (left, top) = (96, 58);
    let side = cell * classes as i32;
    let size = ((left + side + 20) as u32, (top + side + 20) as u32);
    drawn(size, |area| {
        let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
        let small = (cell / 3).clamp(8, 15);
        area.draw(&Text::new("predicted", (left + side / 2 - 30, 8), font(15)))?;
        area.draw(&Text::new("truth", (8, top + side / 2 - 8), font(15)))?;
        for (truth, row) in counts.iter().enumerate() {
            let total = row.iter().sum::<u64>().max(1);
            let y = top + cell * truth as i32;
            area.draw(&Text::new(names[truth].as_str(), (54, y + cell / 2 - 7), font(15)))?;
            let x = left + cell * truth as i32;
            area.draw(&Text::new(names[truth].as_str(), (x + cell / 2 - 4, 34), font(15)))?;
            for (predicted, &count) in row.iter().enumerate() {
                let color = if truth == predicted { TRAINING } else { VALIDATION };
                // A root, since mistakes are few and should be seen.
                let share = (count as f64 / total as f64).sqrt();
                let x = left + cell * predicted as i32;
                let place = [(x, y), (x + cell - 2, y + cell - 2)];
                area.draw(&Rectangle::new(place, GRID.mix(0.5).filled()))?;
                area.draw(&Rectangle::new(place, color.mix(0.85 * share).filled()))?;
                if count > 0 && cell >= 22 {
                    let text = count.to_string();
                    let width = small * text.len() as i32 / 2;
                    let place = (x + (cell - width) / 2, y + (cell - small) / 2);
                    area.draw(&Text::new(text, place, font(small)))?;
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EpochReport, Evaluation};

    fn history() -> History {
        let epochs = (1..=5).map(|number| {
            let loss = if number == 3 { f64::NAN } else { 1.0 / number as f64 };
            let training = Evaluation { loss, metrics: vec![("accuracy".into(), 0.9)] };
            EpochReport {
                number,
                validation: (number > 2).then(|| training.clone()),
                training,
                seconds: 1.0,
                samples_per_second: 1.0,
                learning_rate: 1e-3,
            }
        });
        History { epochs: epochs.collect(), ..History::default() }
    }

    #[test]
    fn curves_are_drawn_and_values_that_are_not_finite_left_out() {
        for figure in ["loss", "accuracy"] {
            let svg = learning_curve(&history(), figure).unwrap().to_string();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            for part in ["training", "validation", "epoch", figure, "#2563EB", "#EA580C"] {
                assert!(svg.contains(part), "{part}");
            }
            assert!(!svg.contains("NaN"));
        }
        let one = History { epochs: history().epochs[..1].to_vec(), ..History::default() };
        learning_curve(&one, "loss").unwrap();
        let error = learning_curve(&history(), "f1").unwrap_err().to_string();
        assert!(error.contains("`f1`"), "{error}");
    }

    #[test]
    fn a_matrix_shows_its_counts() {
        let names = ["cat".to_owned(), "dog".to_owned()];
        let svg = confusion_matrix(&[vec![31, 4], vec![5, 60]], &names).unwrap().to_string();
        for part in ["31", "60", "cat", "dog", "predicted", "truth"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(confusion_matrix(&[], &[]).is_err());
        assert!(confusion_matrix(&[vec![1], vec![2]], &names).is_err());
        assert!(confusion_matrix(&[vec![1]], &names).is_err());
    }

    #[test]
    fn axes_have_short_numbers() {
        assert_eq!(number(0.25, false, 0.5), "0.25");
        assert_eq!(number(1234.0, false, 2000.0), "1234");
        assert_eq!(number(0.975, true, 0.05), "97.5%");
    }
}
