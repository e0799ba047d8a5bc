//! Line charts as SVG files.

use dendra::prelude::*;
use plotters::prelude::*;

/// One chart of a picture.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Names, and points from left to right.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// What the axes show.
pub(crate) struct Axes {
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Whether the upward axis counts powers of ten.
    pub(crate) logarithmic: bool,
}

/// Draws panels of one scale, two beside each other, into an SVG file.
pub(crate) fn draw(path: &str, axes: &Axes, panels: &[Panel]) -> Result<()> {
    try_draw(path, axes, panels).map_err(|error| Error::file(path, error.to_string()))
}

fn try_draw(
    path: &str,
    axes: &Axes,
    panels: &[Panel],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let scaled = |y: f64| if axes.logarithmic { y.max(1e-300).log10() } else { y };
    let [mut left, mut right, mut bottom, mut top] =
        [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
    for (x, y) in panels.iter().flat_map(|panel| &panel.lines).flat_map(|(_, points)| points) {
        (left, right) = (left.min(*x), right.max(*x));
        (bottom, top) = (bottom.min(scaled(*y)), top.max(scaled(*y)));
    }
    let margin = 0.05 * (top - bottom);

    let columns = panels.len().min(2);
    let rows = panels.len().div_ceil(columns);
    let width = if columns == 1 { 800 } else { 480 };
    let size = (width * columns as u32, 340 * rows as u32);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((rows, columns)).iter().zip(panels) {
        let mut chart = ChartBuilder::on(area)
            .caption(&panel.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(58)
            .build_cartesian_2d(left..right, bottom - margin..top + margin)?;
        chart
            .configure_mesh()
            .x_desc(axes.x)
            .y_desc(axes.y)
            .light_line_style(BLACK.mix(0.04))
            .bold_line_style(BLACK.mix(0.12))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| match axes.logarithmic {
                true => format!("1e{y:.0}"),
                false => format!("{y:.1}"),
            })
            .draw()?;
        for (index, (name, points)) in panel.lines.iter().enumerate() {
            let style = Palette99::pick(index).stroke_width(2);
            let points = points.iter().map(|&(x, y)| (x, scaled(y)));
            chart
                .draw_series(LineSeries::new(points, style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        // In the right corner that the lines do not end in.
        let mut ends = panel.lines.iter().filter_map(|(_, points)| points.last());
        let corner = match ends.any(|&(_, y)| 2.0 * scaled(y) > bottom + top) {
            true => SeriesLabelPosition::LowerRight,
            false => SeriesLabelPosition::UpperRight,
        };
        chart
            .configure_series_labels()
            .position(corner)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.25))
            .draw()?;
    }
    root.present()?;
    Ok(())
}
