//! Tables of text.

use std::fmt;

/// Writes a table whose first column is aligned left and all others right.
pub(crate) fn write(
    f: &mut fmt::Formatter<'_>,
    head: &[String],
    rows: &[Vec<String>],
) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            line += &match column {
                0 => format!("{cell:width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        writeln!(f, "{}", line.trim_end())
    };
    line(f, head)?;
    let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    writeln!(f, "{}", "-".repeat(total))?;
    rows.iter().try_for_each(|row| line(f, row))
}
