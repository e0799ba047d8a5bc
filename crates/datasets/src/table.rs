//! [`Table`]: CSV and other delimited files, their columns as numbers or
//! texts; [`TableEncoding`] makes inputs and targets of them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use dendra_tensor::{Error, Result, Rng};

use crate::fault::Fault;

mod encoding;

pub use encoding::{Encoder, Missing, Scaling, TableEncoding, classes};

/// What stands for a missing value unless [`Csv::missing`] says otherwise.
const MISSING: [&str; 9] = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "?"];

/// How a delimited file is to be read.
///
/// ```
/// use dendra_datasets::{Column, Csv};
///
/// let table = Csv::new().parse(b"age,city\n31,Oslo\n?,Bergen\n")?;
/// assert_eq!(table.len(), 2);
/// let Column::Numbers(ages) = table.column("age")? else { panic!("ages are numbers") };
/// assert!(ages[0] == 31.0 && ages[1].is_nan());
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    delimiter: u8,
    header: bool,
    comment: Option<u8>,
    missing: Vec<String>,
    texts: Vec<String>,
    numbers: Vec<String>,
}

impl Csv {
    /// Comma-separated, with a line of names first, fields in `"` where they
    /// hold a comma; missing is what is empty or one of `NA`, `N/A`, `NaN`,
    /// `NULL` and `?`.
    pub fn new() -> Self {
        Self {
            delimiter: b',',
            header: true,
            comment: None,
            missing: MISSING.map(str::to_owned).to_vec(),
            texts: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// What separates the fields: `b'\t'`, `b';'`, …
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Whether the first line names the columns, true unless set; they are
    /// called `0`, `1`, … otherwise.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// What begins a line that is left out, nothing unless set.
    #[must_use]
    pub fn comment(mut self, comment: u8) -> Self {
        self.comment = Some(comment);
        self
    }

    /// What stands for a missing value, instead of the defaults.
    #[must_use]
    pub fn missing<S: Into<String>>(mut self, marks: impl IntoIterator<Item = S>) -> Self {
        self.missing = marks.into_iter().map(Into::into).collect();
        self
    }

    /// Columns that hold texts, even if all of them look like numbers: post
    /// codes, say.
    #[must_use]
    pub fn texts<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.texts.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Columns that must hold numbers: anything else in them is an error,
    /// where a column otherwise becomes one of texts.
    #[must_use]
    pub fn numbers<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.numbers.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// An error with the path, and with the line where it is about one: when
    /// the file cannot be read, is not UTF-8, a line has more or fewer fields
    /// than the first, two columns have one name, a column that was named is
    /// not there, or one that must hold numbers holds something else.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let read = || self.table(BufReader::new(File::open(path)?));
        read().map_err(|fault| fault.at(path))
    }

    /// Reads a table that is in memory.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), without a path.
    pub fn parse(&self, bytes: &[u8]) -> Result<Table> {
        self.table(bytes).map_err(|fault| fault.in_memory("Csv::parse"))
    }

    fn table(&self, bytes: impl Read) -> Result<Table, Fault> {
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .comment(self.comment)
            .trim(Trim::All)
            .from_reader(bytes);
        let mut names: Option<Vec<String>> = None;
        let mut columns: Vec<Texts> = Vec::new();
        let mut record = StringRecord::new();
        let mut lines = Vec::new();
        while reader.read_record(&mut record).map_err(fault)? {
            if columns.is_empty() {
                columns = vec![Texts::default(); record.len()];
                if self.header {
                    names = Some(header(&record)?);
                    continue;
                }
            }
            lines.push(record.position().map_or(0, csv::Position::line));
            columns.iter_mut().zip(&record).for_each(|(column, field)| column.push(field));
        }
        if columns.is_empty() {
            return Err("it is empty: it holds not one line".to_owned().into());
        }
        let names =
            names.unwrap_or_else(|| (0..columns.len()).map(|index| index.to_string()).collect());
        if let Some(name) = self.texts.iter().chain(&self.numbers).find(|n| !names.contains(n)) {
            let message = format!("there is no column {name:?}, only {}", listed(&names));
            return Err(message.into());
        }
        let columns = names
            .iter()
            .zip(columns)
            .map(|(name, fields)| self.column(name, fields, &lines))
            .collect::<Result<_, Fault>>()?;
        Ok(Table { names, columns, rows: lines.len() })
    }

    /// A column as numbers if it can be.
    fn column(&self, name: &String, fields: Texts, lines: &[u64]) -> Result<Column, Fault> {
        let is_missing = |field: &str| self.missing.iter().any(|mark| mark == field);
        if !self.texts.contains(name) {
            let mut numbers = Vec::with_capacity(lines.len());
            let mut wrong = None;
            for (row, field) in fields.iter().enumerate() {
                match field.parse::<f64>() {
                    _ if is_missing(field) => numbers.push(f64::NAN),
                    Ok(number) if number.is_finite() => numbers.push(number),
                    _ => {
                        wrong = Some((row, field));
                        break;
                    }
                }
            }
            match wrong {
                None => return Ok(Column::Numbers(numbers)),
                Some((row, field)) if self.numbers.contains(name) => {
                    let field: String = field.chars().take(40).collect();
                    let message = format!(
                        "line {}: column {name:?} holds {field:?}, expected a finite number",
                        lines[row]
                    );
                    return Err(message.into());
                }
                Some(_) => {}
            }
        }
        let texts = fields.iter().map(|field| (!is_missing(field)).then(|| field.into()));
        Ok(Column::Texts(texts.collect()))
    }
}

impl Default for Csv {
    fn default() -> Self {
        Self::new()
    }
}

/// The names of the columns, each one's own.
fn header(record: &StringRecord) -> Result<Vec<String>, Fault> {
    let mut seen = HashSet::new();
    match record.iter().find(|name| !seen.insert(*name)) {
        None => Ok(record.iter().map(str::to_owned).collect()),
        Some(name) => Err(format!("two columns are called {name:?}").into()),
    }
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(10).map(|name| format!("{name:?}")).collect::<Vec<_>>();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

fn fault(error: csv::Error) -> Fault {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(0, csv::Position::line);
    let message = match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("line {}: expected {expected_len} fields, got {len}", line(pos))
        }
        ErrorKind::Utf8 { pos, err } => format!("line {}: it is not UTF-8: {err}", line(pos)),
        _ => match error.into_kind() {
            ErrorKind::Io(error) => return error.into(),
            kind => format!("it is damaged: {kind:?}"),
        },
    };
    message.into()
}

/// Texts one after the other, which take little more memory than the file.
#[derive(Clone, Debug, Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, field: &str) {
        self.text.push_str(field);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Finite numbers; NaN where one is missing.
    Numbers(Vec<f64>),
    /// Texts; `None` where one is missing.
    Texts(Vec<Option<Box<str>>>),
}

impl Column {
    fn rows(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(all) => Self::Numbers(rows.iter().map(|&row| all[row]).collect()),
            Self::Texts(all) => Self::Texts(rows.iter().map(|&row| all[row].clone()).collect()),
        }
    }

    /// How many values are missing.
    pub fn missing(&self) -> usize {
        match self {
            Self::Numbers(all) => all.iter().filter(|number| number.is_nan()).count(),
            Self::Texts(all) => all.iter().filter(|text| text.is_none()).count(),
        }
    }
}

/// Rows of values under named columns; made by [`Csv::read`].
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A column by its name.
    ///
    /// # Errors
    ///
    /// When there is no such column; the error names those there are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        let found = self.names.iter().position(|known| known == name);
        found.map(|index| &self.columns[index]).ok_or_else(|| {
            let message = format!("there is no column {name:?}, only {}", listed(&self.names));
            Error::argument("Table::column", message)
        })
    }

    /// The rows with these indices, in this order.
    ///
    /// # Errors
    ///
    /// When an index is not below [`len`](Self::len).
    pub fn rows(&self, rows: &[usize]) -> Result<Self> {
        crate::dataset::check_indices("Table::rows", rows, self.rows)?;
        let columns = self.columns.iter().map(|column| column.rows(rows)).collect();
        Ok(Self { names: self.names.clone(), columns, rows: rows.len() })
    }

    /// Deals the rows at random into two tables, the first holding `fraction`
    /// of them: a training and a test part, before anything is fitted.
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1.
    pub fn split(&self, fraction: f64, rng: &mut Rng) -> Result<(Self, Self)> {
        crate::dataset::check_fraction("Table::split", fraction)?;
        let mut first = rng.permutation(self.rows);
        let second = first.split_off((self.rows as f64 * fraction).round() as usize);
        Ok((self.rows(&first)?, self.rows(&second)?))
    }
}
