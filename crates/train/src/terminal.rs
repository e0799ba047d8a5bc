//! The width of the terminal, and texts that fit it.

use console::Term;

/// The width that is assumed without a terminal.
const COLUMNS: usize = 80;

/// The width of the terminal that standard output is connected to, in columns;
/// 80 when it is a file or another program.
pub fn terminal_width() -> usize {
    width_of(&Term::stdout())
}

pub(crate) fn width_of(term: &Term) -> usize {
    term.size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns).max(1))
}

/// Breaks a line of figures, which are separated by two spaces, into lines of
/// at most `width` columns. All lines but the first are indented, and a bar at
/// the end of a line is left out.
pub(crate) fn folded(line: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut gap = "";
    for part in line.split("  ") {
        if part == "|" {
            gap = "  |  ";
            continue;
        }
        match lines.last_mut() {
            Some(last) if columns(last) + columns(gap) + columns(part) <= width => {
                last.push_str(gap);
                last.push_str(part);
            }
            Some(_) => lines.push(format!("  {part}")),
            None => lines.push(part.to_owned()),
        }
        gap = "  ";
    }
    lines.join("\n")
}

/// The width of a text in columns. Every character that is printed here has a
/// width of one.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_figures_fits_the_width() {
        let line = "epoch 1  loss 0.1974  accuracy 94.27%  |  validation loss 0.0625  accuracy \
                    98.06%  |  2.62 s, 22923 samples/s";
        assert_eq!(folded(line, 120), line);
        assert_eq!(
            folded(line, 80),
            "epoch 1  loss 0.1974  accuracy 94.27%  |  validation loss 0.0625\n  accuracy 98.06%  \
             |  2.62 s, 22923 samples/s"
        );
        let narrow = folded(line, 40);
        assert!(narrow.lines().all(|line| columns(line) <= 40), "{narrow}");
        assert_eq!(narrow.lines().count(), 4, "{narrow}");
        assert!(!narrow.contains('|'), "{narrow}");
    }
}
