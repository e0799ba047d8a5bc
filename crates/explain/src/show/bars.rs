//! Bar charts for the columns of a table.

use std::fmt::{self, Write};
use std::path::Path;

use dendra_nn::write_whole;
use dendra_tensor::{Error, Float, Result, Tensor};

use super::{AGAINST, FOR, escaped, hexadecimal, relative};

/// The attributions of named features as bars: to the right if they increase
/// the score of the target, to the left if they decrease it. The text form is
/// for terminals.
///
/// ```
/// use dendra_explain::Bars;
/// use dendra_nn::tensor::Tensor;
///
/// let bars = Bars::new(&["length", "width"], &Tensor::from([1.5_f32, -0.75]))?;
/// let expected = "\
/// length                     │████████████████████ +1.500
///  width           ██████████│                     -0.750
/// ";
/// assert_eq!(bars.to_string(), expected);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bars {
    rows: Vec<(String, f64)>,
}

impl Bars {
    /// Makes bars from attributions `[features]`.
    ///
    /// # Errors
    ///
    /// When the numbers of attributions and names differ.
    pub fn new<T: Float>(names: &[impl AsRef<str>], attributions: &Tensor<T>) -> Result<Self> {
        if attributions.shape()[..] != [names.len()] {
            let (expected, found) = (names.len(), attributions.shape());
            let message = format!("expected attributions of {expected} features, got {found}");
            return Err(Error::shape("Bars", message));
        }
        let values = attributions.to_vec().into_iter().map(T::to_f64);
        let names = names.iter().map(|name| name.as_ref().to_owned());
        Ok(Self { rows: names.zip(values).collect() })
    }

    /// Sorts the features by the absolute values of their attributions, the
    /// largest first.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.rows.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
        self
    }

    /// The bars as SVG.
    pub fn to_svg(&self) -> String {
        const ROW: usize = 24;
        const MIDDLE: f64 = 330.0;
        const LONGEST: f64 = 150.0;
        let height = self.rows.len() * ROW + 8;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"560\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"560\" \
             height=\"{height}\" fill=\"#fffffe\"/>\n"
        );
        for (index, ((name, value), share)) in self.rows.iter().zip(self.shares()).enumerate() {
            let (top, name) = (index * ROW + 6, escaped(name));
            let width = share.abs() * LONGEST;
            let left = if share < 0.0 { MIDDLE - width } else { MIDDLE };
            let fill = hexadecimal(if share < 0.0 { AGAINST } else { FOR });
            let baseline = top + 14;
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<text x=\"170\" y=\"{baseline}\" text-anchor=\"end\" fill=\"#334155\">{name}\
                 </text>\n<rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"18\" \
                 fill=\"{fill}\"/>\n<text x=\"550\" y=\"{baseline}\" text-anchor=\"end\" \
                 fill=\"#334155\">{value:+.3}</text>"
            );
        }
        svg + "</svg>\n"
    }

    /// Writes the bars as SVG.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        let svg = self.to_svg();
        write_whole(path.as_ref(), |file| file.write_all(svg.as_bytes()))
    }

    /// The values divided by the largest absolute value.
    fn shares(&self) -> Vec<f64> {
        relative(self.rows.iter().map(|(_, value)| *value))
    }
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 20;
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for ((name, value), share) in self.rows.iter().zip(self.shares()) {
            let bar = "█".repeat((share.abs() * LONGEST as f64).round() as usize);
            let (left, right) = if share < 0.0 { (bar.as_str(), "") } else { ("", bar.as_str()) };
            writeln!(f, "{name:>width$} {left:>LONGEST$}│{right:<LONGEST$} {value:+.3}")?;
        }
        Ok(())
    }
}
