//! What errors about tables say.

use csv::StringRecord;

use super::finite;

/// The number of cells of a column that an error shows.
const CELLS_SHOWN: usize = 3;
const CHARACTERS_SHOWN: usize = 40;

/// The number of columns that an error lists.
const COLUMNS_SHOWN: usize = 10;

/// The length of names up to which a similar one is looked for.
const LONGEST_COMPARED: usize = 64;

/// The error for a column that does not exist: a similar name, if there is one, and
/// the existing columns.
pub(super) fn no_column(name: &str, names: &[String]) -> String {
    let shown = names.iter().take(COLUMNS_SHOWN).map(|name| format!("{name:?}"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(COLUMNS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let short = names.iter().filter(|known| known.len().max(name.len()) <= LONGEST_COMPARED);
    let similar = short.map(|known| (edits(name, known), known)).min();
    let hint = match similar {
        Some((edits, known)) if 3 * edits <= name.chars().count() => {
            format!(", but {known:?}")
        }
        _ => String::new(),
    };
    format!("there is no column {name:?}{hint}; the columns are {shown}{more}")
}

/// The number of letters to insert, delete or replace until two names are the
/// same, whatever their case.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let mut counts: Vec<usize> = (0..=b.chars().count()).collect();
    for (row, x) in a.chars().enumerate() {
        let mut diagonal = row;
        counts[0] = row + 1;
        for (column, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = counts[column + 1];
            counts[column + 1] = replaced.min(diagonal + 1).min(counts[column] + 1);
        }
    }
    counts[counts.len() - 1]
}

/// Lists the first cells, each with its position, and the number of the others.
pub(super) fn cells<'a>(cells: impl Iterator<Item = (&'a str, String)>) -> String {
    let (mut shown, mut more, mut commas) = (Vec::new(), 0, false);
    for (text, position) in cells {
        commas |= finite(&text.replacen(',', ".", 1)).is_some();
        if shown.len() < CELLS_SHOWN {
            let text: String = text.chars().take(CHARACTERS_SHOWN).collect();
            shown.push(format!("{text:?} in {position}"));
        } else {
            more += 1;
        }
    }
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let hint = if commas { "; `Csv::decimal` reads numbers with a decimal comma" } else { "" };
    shown.join(", ") + &more + hint
}

/// The error for a record with another number of fields than the first one.
pub(super) fn unequal(record: &StringRecord, expected: usize, line: usize) -> String {
    let found = record.len();
    let last = record.iter().next_back();
    let hint = if found == expected + 1 && last == Some("") {
        ": a delimiter ends the line"
    } else if record.iter().any(|field| field.contains('\n')) {
        ": a field in quotes spans several lines"
    } else {
        ""
    };
    format!("line {line}: expected {expected} fields, got {found}{hint}")
}
