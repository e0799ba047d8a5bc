//! A drawing of a confusion matrix.

use dendra_tensor::{Error, Result};
use plotters::prelude::*;

use super::{CHARACTER, GRID, INK, LINES, Svg, drawn, text_width};

/// The size of the text.
const TEXT: i32 = 15;

/// The widest name of a class, in pixels.
const LONGEST: i32 = 160;

/// A drawing of a confusion matrix: `counts[truth][prediction]`, with a name
/// for each class.
///
/// # Errors
///
/// When the matrix is empty or not square, or the number of names differs.
pub fn confusion_matrix(counts: &[Vec<u64>], names: &[String]) -> Result<Svg> {
    let classes = counts.len();
    let square = counts.iter().all(|row| row.len() == classes);
    if classes == 0 || !square || names.len() != classes {
        let message =
            format!("expected a square matrix with a name for each of its {classes} rows");
        return Err(Error::shape("confusion_matrix", message));
    }
    let cell = (560 / classes as i32).clamp(14, 56);
    let longest = names.iter().map(|name| text_width(name, TEXT)).max().unwrap_or(0);
    // Names that are wider than a cell are written vertically above it.
    let upright = longest > cell - 4;
    let left = 56 + longest.min(LONGEST) + 12;
    let top = if upright { 36 + longest.min(LONGEST) } else { 58 };
    let side = cell * classes as i32;
    let size = ((left + side + 20) as u32, (top + side + 20) as u32);
    drawn(size, |area| {
        let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
        let names: Vec<String> = names.iter().map(|name| shortened(name)).collect();
        let small = (cell / 3).clamp(8, 15);
        area.draw(&Text::new("predicted", (left + side / 2 - 30, 8), font(TEXT)))?;
        area.draw(&Text::new("truth", (8, top + side / 2 - 8), font(TEXT)))?;
        for (truth, row) in counts.iter().enumerate() {
            let total = row.iter().sum::<u64>().max(1);
            let y = top + cell * truth as i32;
            let name = names[truth].as_str();
            area.draw(&Text::new(name, (54, y + cell / 2 - 7), font(TEXT)))?;
            let x = left + cell * truth as i32 + cell / 2;
            if upright {
                let turned = ("sans-serif", TEXT).into_font().transform(FontTransform::Rotate270);
                area.draw(&Text::new(name, (x - 7, top - 6), turned.color(&INK)))?;
            } else {
                let x = x - text_width(name, TEXT) / 2;
                area.draw(&Text::new(name, (x, 34), font(TEXT)))?;
            }
            for (predicted, &count) in row.iter().enumerate() {
                let color = LINES[usize::from(truth != predicted)];
                // The square root makes small counts visible.
                let share = (count as f64 / total as f64).sqrt();
                let x = left + cell * predicted as i32;
                let corners = [(x, y), (x + cell - 2, y + cell - 2)];
                area.draw(&Rectangle::new(corners, GRID.mix(0.5).filled()))?;
                area.draw(&Rectangle::new(corners, color.mix(0.85 * share).filled()))?;
                if count > 0 && cell >= 22 {
                    let text = count.to_string();
                    let width = small * text.len() as i32 / 2;
                    let origin = (x + (cell - width) / 2, y + (cell - small) / 2);
                    area.draw(&Text::new(text, origin, font(small)))?;
                }
            }
        }
        Ok(())
    })
}

/// A name, shortened to the largest width.
fn shortened(name: &str) -> String {
    let most = (f64::from(LONGEST) / f64::from(TEXT) / CHARACTER) as usize;
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_shows_its_counts() {
        let names = ["cat".to_owned(), "dog".to_owned()];
        let svg = confusion_matrix(&[vec![31, 4], vec![5, 60]], &names).unwrap().to_string();
        for part in ["31", "60", "cat", "dog", "predicted", "truth"] {
            assert!(svg.contains(part), "{part}");
        }
        // Long names are vertical above the columns.
        let long = ["a very long name".to_owned(), "b".to_owned()];
        let svg = confusion_matrix(&[vec![1, 0], vec![0, 1]], &long).unwrap().to_string();
        assert!(svg.contains("rotate(270"), "{svg}");
        assert!(confusion_matrix(&[], &[]).is_err());
        assert!(confusion_matrix(&[vec![1], vec![2]], &names).is_err());
        assert!(confusion_matrix(&[vec![1]], &names).is_err());
    }
}
