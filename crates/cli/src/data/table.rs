//! Reading tables, whose delimiter and decimal separator are detected.

use std::fs;
use std::path::Path;

use dendra_datasets::{Column, Csv, Table};
use dendra_tensor::{Error, Result};

use super::in_file;
use crate::arguments::TableFormat;
use crate::settings::Format;

/// The candidate delimiters, the most common first.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// Reads a table.
pub(crate) fn read(path: &Path, wanted: &TableFormat) -> Result<(Table, Format)> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    parse(&bytes, wanted).map_err(|error| in_file(path, error))
}

/// A table from the standard input.
pub(crate) fn parse_input(bytes: &[u8], wanted: &TableFormat) -> Result<Table> {
    let parsed = parse(bytes, wanted).map_err(|error| in_file("standard input".as_ref(), error));
    Ok(parsed?.0)
}

/// Reads a table in a known format.
pub(crate) fn read_as(path: &Path, format: Format) -> Result<Table> {
    let wanted = TableFormat {
        delimiter: Some(format.delimiter),
        decimal: Some(format.decimal),
        no_header: !format.header,
    };
    Ok(read(path, &wanted)?.0)
}

fn parse(bytes: &[u8], wanted: &TableFormat) -> Result<(Table, Format)> {
    let delimiter = wanted.delimiter.unwrap_or_else(|| delimiter(bytes));
    let csv = |decimal: char| {
        let format = Format { delimiter, decimal, header: !wanted.no_header };
        let csv = Csv::new().delimiter(delimiter as u8).decimal(decimal as u8);
        Ok((csv.header(format.header).parse(bytes)?, format))
    };
    match wanted.decimal {
        Some(decimal) => csv(decimal),
        None if delimiter == ',' => csv('.'),
        None => {
            // A comma between digits is a decimal separator if it makes more
            // columns numeric.
            let (point, comma) = (csv('.')?, csv(',')?);
            let more = numbers(&comma.0) > numbers(&point.0);
            Ok(if more { comma } else { point })
        }
    }
}

/// The number of numeric columns.
fn numbers(table: &Table) -> usize {
    let columns = table.names().iter().filter_map(|name| table.column(name).ok());
    columns.filter(|column| matches!(column, Column::Numbers(_))).count()
}

/// The most frequent delimiter in the first line that has text.
fn delimiter(bytes: &[u8]) -> char {
    let line = bytes.split(|&byte| byte == b'\n' || byte == b'\r');
    let line = line.into_iter().find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let mut counts = [0; DELIMITERS.len()];
    let mut quoted = false;
    for &byte in line {
        quoted ^= byte == b'"';
        let found = DELIMITERS.iter().position(|&delimiter| delimiter as u8 == byte);
        if let Some(index) = found.filter(|_| !quoted) {
            counts[index] += 1;
        }
    }
    let best = (0..counts.len()).rev().max_by_key(|&index| counts[index]).unwrap_or(0);
    DELIMITERS[best]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_a_table_is_found() {
        for (text, delimiter, decimal) in [
            ("a,b\n1.5,x\n", ',', '.'),
            ("a;b\n1,5;x\n", ';', ','),
            ("a;b\n1.5;x\n", ';', '.'),
            ("\n\"a,b,c\"\tb\n1,5\t2\n", '\t', ','),
            ("one\n1\n", ',', '.'),
        ] {
            let (_, format) = parse(text.as_bytes(), &TableFormat::default()).unwrap();
            assert_eq!((format.delimiter, format.decimal), (delimiter, decimal), "{text:?}");
        }
    }
}
