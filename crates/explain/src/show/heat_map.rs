//! Heat maps of attributions for images.

use std::fmt::{self, Write};
use std::path::Path;

use dendra_nn::write_whole;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use super::{Colour, blended, hexadecimal, relative};
use crate::attribution::Attribution;

/// The attributions of an image: red where they increase the score of the
/// target, blue where they decrease it, relative to the largest absolute value.
///
/// The text form is for terminals with 24-bit colours.
///
/// ```
/// use dendra_explain::HeatMap;
/// use dendra_nn::tensor::Tensor;
///
/// let picture = Tensor::from([[0.0_f32, 1.0], [0.5, 0.0]]);
/// let map = HeatMap::new(&Tensor::from([[1.0_f32, -2.0], [0.0, 0.5]]))?.over(&picture)?;
/// assert!(map.to_svg().starts_with("<svg "));
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HeatMap {
    pub(super) rows: usize,
    pub(super) columns: usize,
    values: Vec<f64>,
    /// The brightness of the image, from 0 to 1.
    picture: Option<Vec<f64>>,
}

impl HeatMap {
    /// Makes a map from attributions `[height, width]` or
    /// `[channels, height, width]`; the channels are summed.
    ///
    /// # Errors
    ///
    /// When the shape is another one.
    pub fn new<T: Float>(attributions: &Tensor<T>) -> Result<Self> {
        let (values, [rows, columns]) = plane(attributions)?;
        Ok(Self { rows, columns, values: relative(values), picture: None })
    }

    /// Shows the image below the map in grey, `[height, width]` or
    /// `[channels, height, width]`. The values may have any range.
    ///
    /// # Errors
    ///
    /// When its size is not that of the map.
    pub fn over<T: Float>(mut self, picture: &Tensor<T>) -> Result<Self> {
        let (values, size) = plane(picture)?;
        if size != [self.rows, self.columns] {
            let (rows, columns) = (self.rows, self.columns);
            let message = format!("expected an image of {rows}×{columns}, got {}", picture.shape());
            return Err(Error::shape("HeatMap", message));
        }
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let range = if high > low { high - low } else { 1.0 };
        self.picture = Some(values.into_iter().map(|x| (x - low) / range).collect());
        Ok(self)
    }

    /// The colour of an element.
    pub(super) fn colour(&self, row: usize, column: usize) -> Colour {
        let index = row * self.columns + column;
        // The image is dark on light and faint, so that it does not hide the
        // colours.
        let brightness = self.picture.as_ref().map_or(0.0, |picture| picture[index]);
        let grey = (255.0 - 120.0 * brightness.clamp(0.0, 1.0)).round() as u8;
        blended(self.values[index], [grey; 3])
    }

    /// The map as SVG, with a square of 12 pixels for each element.
    pub fn to_svg(&self) -> String {
        const SIDE: usize = 12;
        let [width, height] = [self.columns, self.rows].map(|n| n * SIDE);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             shape-rendering=\"crispEdges\">\n"
        );
        for row in 0..self.rows {
            for column in 0..self.columns {
                let [x, y] = [column, row].map(|n| n * SIDE);
                let fill = hexadecimal(self.colour(row, column));
                // Writing to a string cannot fail.
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"{fill}\"/>"
                );
            }
        }
        svg + "</svg>\n"
    }

    /// Writes the map as SVG.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        let svg = self.to_svg();
        write_whole(path.as_ref(), |file| file.write_all(svg.as_bytes()))
    }

    /// Writes the map as PNG, with a square of 12 pixels for each element.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    #[cfg(feature = "png")]
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        Self::save_sheet_png(std::slice::from_ref(self), 1, path)
    }

    /// Writes several maps of one size as PNG, with this many in a row.
    ///
    /// # Errors
    ///
    /// When there is no map, they have different sizes, or the file cannot be
    /// written.
    #[cfg(feature = "png")]
    pub fn save_sheet_png(maps: &[Self], in_a_row: usize, path: impl AsRef<Path>) -> Result<()> {
        super::png::save(maps, in_a_row, path.as_ref())
    }
}

/// Prints two rows of elements in one line of text, as half blocks.
impl fmt::Display for HeatMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in (0..self.rows).step_by(2) {
            for column in 0..self.columns {
                let [red, green, blue] = self.colour(row, column);
                write!(f, "\x1b[38;2;{red};{green};{blue}m")?;
                if row + 1 < self.rows {
                    let [red, green, blue] = self.colour(row + 1, column);
                    write!(f, "\x1b[48;2;{red};{green};{blue}m")?;
                }
                f.write_str("▀\x1b[0m")?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// The elements of a plane, or the sum of several planes.
fn plane<T: Float>(x: &Tensor<T>) -> Result<(Vec<f64>, [usize; 2])> {
    let (plane, size) = match x.shape()[..] {
        [rows, columns] => (x.clone(), [rows, columns]),
        [_, rows, columns] => (x.sum_axes(&[0], false)?, [rows, columns]),
        _ => {
            let message =
                format!("expected [height, width] or [C, height, width], got {}", x.shape());
            return Err(Error::shape("HeatMap", message));
        }
    };
    Ok((plane.to_vec().into_iter().map(T::to_f64).collect(), size))
}

impl<T: Float> Attribution<T> {
    /// The heat map of one sample, from attributions `[N, C, height, width]` or
    /// `[N, height, width]`.
    ///
    /// # Errors
    ///
    /// When there is no such sample, or it is not an image.
    pub fn heat_map(&self, sample: usize) -> Result<HeatMap> {
        HeatMap::new(&self.values().narrow(0, sample, 1)?.squeeze(0)?)
    }

    /// Writes the heat maps of all samples as one PNG, up to eight in a row.
    ///
    /// # Errors
    ///
    /// When the attributions are not those of images, or the file cannot be
    /// written.
    #[cfg(feature = "png")]
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let count = self.values().shape().first().copied().unwrap_or(0);
        let maps = (0..count).map(|sample| self.heat_map(sample)).collect::<Result<Vec<_>>>()?;
        HeatMap::save_sheet_png(&maps, count.clamp(1, 8), path)
    }
}
