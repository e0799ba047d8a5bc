//! A chart of lines and points.

use dendra_derive::Setters;
use dendra_tensor::{Error, Result};
use plotters::prelude::*;

use super::{Area, Drawn, GRID, INK, LINES, Svg, drawn, text_width};

/// The size of a chart, in pixels.
const SIZE: (u32, u32) = (640, 340);

/// The size of the text in a chart, in pixels.
const TEXT: i32 = 15;

/// A line with at most this many points shows each of them.
const DOTS: usize = 40;

/// A chart of lines and points, drawn as SVG in the style of the reports.
/// Points that are not finite are left out.
///
/// ```
/// use dendra_train::Chart;
///
/// let squares = (0..10).map(|x| (f64::from(x), f64::from(x * x)));
/// let svg = Chart::new("x", "y").line("squares", squares).to_svg()?;
/// assert!(svg.to_string().contains("squares"));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
#[must_use = "a chart is drawn by `to_svg`"]
pub struct Chart {
    /// The title; none by default.
    #[set(into)]
    title: Option<String>,
    x: String,
    y: String,
    /// Whether the vertical axis is logarithmic. If it is, values that are not
    /// above 0 are left out.
    #[set(default = false)]
    logarithmic: bool,
    /// Whether the vertical axis shows shares as percentages.
    #[set(default = false)]
    percent: bool,
    #[set(skip)]
    series: Vec<Series>,
    #[set(skip)]
    ranges: Option<[(f64, f64); 2]>,
}

/// The elements of a chart that are drawn in one colour.
#[derive(Clone, Debug)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Line,
    Points,
    /// A ring around a point of the previous series, with its name beside it.
    Mark,
    /// A thin line behind the others, without a name.
    Guide,
}

impl Chart {
    /// A chart with the names of its axes.
    pub fn new(x: impl Into<String>, y: impl Into<String>) -> Self {
        Self::with_defaults(x.into(), y.into())
    }

    /// The lowest and the highest value of each axis; by default those of the
    /// points.
    pub fn ranges(mut self, x: (f64, f64), y: (f64, f64)) -> Self {
        self.ranges = Some([x, y]);
        self
    }

    /// Adds a line through points, in the given order.
    pub fn line(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name.into(), points, Kind::Line)
    }

    /// Adds points without a line.
    pub fn points(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.with(name.into(), points, Kind::Points)
    }

    /// Adds a ring around a point of the previous series, with a text beside
    /// it.
    pub fn mark(self, text: impl Into<String>, point: (f64, f64)) -> Self {
        self.with(text.into(), [point], Kind::Mark)
    }

    /// Adds a thin line behind the others, for example the result of chance.
    pub fn guide(self, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.with(String::new(), points, Kind::Guide)
    }

    fn with(
        mut self,
        name: String,
        points: impl IntoIterator<Item = (f64, f64)>,
        kind: Kind,
    ) -> Self {
        self.series.push(Series { name, points: points.into_iter().collect(), kind });
        self
    }

    /// Draws the chart.
    ///
    /// # Errors
    ///
    /// When there is no point to draw.
    pub fn to_svg(&self) -> Result<Svg> {
        Self::beside(std::slice::from_ref(self))
    }

    /// Draws several charts in one picture, two in each row.
    ///
    /// # Errors
    ///
    /// When there is no chart, or one of them has no point to draw.
    pub fn beside(charts: &[Self]) -> Result<Svg> {
        let ready = charts.iter().map(Self::ready).collect::<Result<Vec<_>>>()?;
        let columns = ready.len().min(2);
        if columns == 0 {
            return Err(Error::argument("Chart", "there is no chart to draw"));
        }
        let rows = ready.len().div_ceil(columns);
        let size = (SIZE.0 * columns as u32, SIZE.1 * rows as u32);
        drawn(size, |area| {
            let areas = area.split_evenly((rows, columns));
            areas.iter().zip(&ready).try_for_each(|(area, chart)| chart.draw(area))
        })
    }

    /// The chart with only the points that can be drawn, in the scale of the
    /// axes.
    fn ready(&self) -> Result<Self> {
        let mut chart = self.clone();
        for series in &mut chart.series {
            if self.logarithmic {
                series.points.iter_mut().for_each(|(_, y)| *y = y.log10());
            }
            series.points.retain(|(x, y)| x.is_finite() && y.is_finite());
        }
        if chart.series.iter().all(|series| series.points.is_empty()) {
            return Err(Error::argument("Chart", format!("`{}` has no point to draw", self.y)));
        }
        Ok(chart)
    }

    /// The lowest and highest value of each axis, with a margin.
    fn bounds(&self) -> [(f64, f64); 2] {
        if let Some(ranges) = self.ranges {
            return ranges;
        }
        let all = || self.series.iter().flat_map(|series| &series.points);
        let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
            let low = all().map(values).fold(f64::INFINITY, f64::min);
            let high = all().map(values).fold(f64::NEG_INFINITY, f64::max);
            (low, high)
        };
        let (left, right) = range(&|point| point.0);
        let (low, high) = range(&|point| point.1);
        // A constant curve is drawn in the middle.
        let room = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
        let beside = if right > left { 0.0 } else { 0.5 };
        [(left - beside, right + beside), (low - room, high + room)]
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        let [(left, right), (low, high)] = self.bounds();
        let named = self.series.iter().filter(|series| {
            matches!(series.kind, Kind::Line | Kind::Points) && !series.points.is_empty()
        });
        let widest = named.map(|series| text_width(&series.name, TEXT)).max().unwrap_or(0);
        let font = || ("sans-serif", TEXT).into_font();
        if let Some(title) = &self.title {
            area.draw(&Text::new(title.as_str(), (14, 8), font().color(&INK)))?;
        }
        let mut chart = ChartBuilder::on(area)
            .margin_top(if self.title.is_some() { 36 } else { 14 })
            .margin_right(widest + 24)
            .margin_bottom(6)
            .margin_left(6)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(left..right, low..high)?;
        let whole =
            self.series.iter().flat_map(|series| &series.points).all(|(x, _)| x.fract() == 0.0);
        let span = right - left;
        let marks = if whole { span.min(8.0) as usize + 1 } else { 7 };
        let label = font().color(&INK);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(label.clone())
            .axis_desc_style(label)
            .x_labels(marks)
            .max_light_lines(1)
            .y_labels(6)
            .x_label_formatter(&|&x| match whole {
                true if x.fract() == 0.0 => format!("{x:.0}"),
                true => String::new(),
                false => number(x, false, span),
            })
            .y_label_formatter(&|&y| match self.logarithmic {
                true if y.fract() == 0.0 => format!("1e{y:.0}"),
                true => format!("{:.1e}", 10_f64.powf(y)),
                false => number(y, self.percent, high - low),
            })
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()?;
        let mut color = INK;
        let mut colors = LINES.iter().cycle();
        let mut ends = Vec::new();
        // The chart uses coordinates of the whole drawing, the area its own.
        let origin = area.get_base_pixel();
        let within = |(x, y): (i32, i32)| (x - origin.0, y - origin.1);
        for Series { name, points, kind } in &self.series {
            if matches!(kind, Kind::Line | Kind::Points) {
                color = *colors.next().unwrap_or(&INK);
                ends.extend(
                    points.last().map(|last| (name, color, within(chart.backend_coord(last)))),
                );
            }
            match kind {
                Kind::Guide => {
                    let line = LineSeries::new(points.iter().copied(), LINES[5].stroke_width(1));
                    chart.draw_series(line)?;
                }
                Kind::Line => {
                    let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
                    chart.draw_series(line)?;
                    if points.len() <= DOTS {
                        let dot = |&point| Circle::new(point, 3, color.filled());
                        chart.draw_series(points.iter().map(dot))?;
                    }
                }
                Kind::Points => {
                    let dot = |&point| Circle::new(point, 2, color.filled());
                    chart.draw_series(points.iter().map(dot))?;
                }
                Kind::Mark => {
                    for point in points {
                        chart.draw_series([Circle::new(*point, 7, color.stroke_width(2))])?;
                        let (x, y) = within(chart.backend_coord(point));
                        let width = text_width(name, TEXT);
                        // The text is on the side of the point that faces the
                        // middle of the chart.
                        let x =
                            if point.0 > 0.5 * (left + right) { x - width - 12 } else { x + 12 };
                        let y = if point.1 > 0.5 * (low + high) { y + 8 } else { y - 24 };
                        // The text stays readable where a line runs behind it.
                        let behind = [(x - 3, y - 1), (x + width + 3, y + TEXT + 3)];
                        area.draw(&Rectangle::new(behind, WHITE.mix(0.8).filled()))?;
                        area.draw(&Text::new(name.as_str(), (x, y), font().color(&color)))?;
                    }
                }
            }
        }
        // Names are at the ends of their lines, and are moved apart so that
        // they do not overlap.
        ends.sort_by_key(|(_, _, (_, y))| *y);
        let lowest = area.dim_in_pixel().1 as i32 - 66 - 18 * (ends.len() as i32 - 1).max(0);
        let mut lowest_free = 0;
        for (index, (name, color, (x, y))) in ends.into_iter().enumerate() {
            let y = (y - 8).min(lowest + 18 * index as i32).max(lowest_free);
            lowest_free = y + 18;
            area.draw(&Text::new(name.as_str(), (x + 10, y), font().color(&color)))?;
        }
        Ok(())
    }
}

/// A number at an axis, with as few digits as distinguish the marks.
fn number(value: f64, is_share: bool, span: f64) -> String {
    let (value, span) = if is_share { (100.0 * value, 100.0 * span) } else { (value, span) };
    let digits = (1.0 - span.max(1e-12).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}{}", if is_share { "%" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_short_numbers() {
        assert_eq!(number(0.25, false, 0.5), "0.25");
        assert_eq!(number(1234.0, false, 2000.0), "1234");
        assert_eq!(number(0.975, true, 0.05), "97.5%");
    }

    #[test]
    fn ticks_leave_room_for_each_other() {
        for epochs in [1, 2, 7, 35, 400] {
            let curve = (1..=epochs).map(|epoch| (f64::from(epoch), 1.0 / f64::from(epoch)));
            let svg = Chart::new("epoch", "loss").line("training", curve).to_svg().unwrap();
            let svg = svg.to_string();
            let ticks = svg.matches("text-anchor=\"middle\"").count();
            assert!(ticks <= 12, "{epochs} epochs have {ticks} ticks");
        }
        let huge = Chart::new("x", "y").line("a", [(0.0, 0.0), (1e38, 1e38)]);
        assert!(huge.to_svg().unwrap().to_string().matches("text-anchor=\"middle\"").count() > 2);
    }

    #[test]
    fn names_stand_in_the_chart_of_their_lines() {
        let chart = || Chart::new("x", "y").line("name", [(0.0, 1.0), (1.0, 2.0)]);
        let svg = Chart::beside(&[chart(), chart(), chart()]).unwrap().to_string();
        let before = svg.split("\nname\n").take(3);
        let places = before.map(|text| {
            let number = |key: &str| {
                let start = text.rfind(key).unwrap() + key.len();
                text[start..].split('"').next().unwrap().parse::<i32>().unwrap()
            };
            (number(" x=\""), number(" y=\""))
        });
        let places: Vec<(i32, i32)> = places.collect();
        let (x, y) = places[0];
        assert_eq!(places, [(x, y), (x + 640, y), (x, y + 340)], "{svg}");
    }

    #[test]
    fn only_what_can_be_drawn_is() {
        let chart = Chart::new("x", "y").line("a", [(0.0, f64::NAN), (1.0, 2.0), (2.0, 0.0)]);
        assert!(!chart.to_svg().unwrap().to_string().contains("NaN"));
        assert!(!chart.clone().logarithmic(true).to_svg().unwrap().to_string().contains("inf"));
        let nothing = Chart::new("x", "y").line("a", [(0.0, f64::NAN)]);
        assert!(nothing.to_svg().unwrap_err().to_string().contains("`y` has no point"));
        assert!(Chart::beside(&[]).is_err());
    }
}
