//! [`Table`]: CSV and other delimited files, their columns as numbers or
//! texts; [`TableEncoding`] makes inputs and targets of them.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use dendra_tensor::{Error, Result, Rng};

use crate::fault::Fault;
use crate::text::decoded;

mod category;
mod encoding;
mod lines;

pub use encoding::{Encoder, Missing, Scaling, TableEncoding, classes};

use lines::Lines;

/// What stands for a missing value unless [`Csv::missing`] says otherwise: what
/// pandas takes for one, and `?`, which the UCI repository writes.
const MISSING: [&str; 20] = [
    "", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// How many of a column's cells an error shows, and how many of a cell's
/// characters.
const CELLS_SHOWN: usize = 3;
const CHARACTERS_SHOWN: usize = 40;

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
    decimal: u8,
    header: bool,
    comment: Option<u8>,
    missing: Vec<String>,
    texts: Vec<String>,
    numbers: Vec<String>,
}

impl Csv {
    /// Comma-separated, with a line of names first, fields in `"` where they
    /// hold a comma; missing is what is empty, `?` or one of the words that
    /// pandas takes for missing: `NA`, `N/A`, `#N/A`, `NaN`, `NULL`, `None`, ….
    pub fn new() -> Self {
        Self {
            delimiter: b',',
            decimal: b'.',
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

    /// What begins the decimals of a number, `b'.'` unless set: `b','` for
    /// numbers such as `1,5`, which need another delimiter or quotes.
    #[must_use]
    pub fn decimal(mut self, decimal: u8) -> Self {
        self.decimal = decimal;
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

    /// What stands for a missing value, instead of the defaults: give the empty
    /// text, too, where empty fields are missing.
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

    /// Reads a file: UTF-8, or UTF-16 that begins with a byte-order mark.
    ///
    /// Lines may end in any way. Empty lines are left out, and so is a column
    /// without name and values, which delimiters at the ends of all lines make.
    ///
    /// # Errors
    ///
    /// An error with the path, and with the line where it is about one: when
    /// the file cannot be read or is in another encoding, a line has more or
    /// fewer fields than the first, two columns have one name, a column that
    /// was named is not there, or one that must hold numbers holds something
    /// else: the error shows the first of its cells.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let read = || self.table(fs::read(path)?);
        read().map_err(|fault: Fault| fault.at(path))
    }

    /// Reads a table that is in memory.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), without a path.
    pub fn parse(&self, bytes: &[u8]) -> Result<Table> {
        self.table(bytes.to_vec()).map_err(|fault| fault.in_memory("Csv::parse"))
    }

    fn table(&self, bytes: Vec<u8>) -> Result<Table, Fault> {
        if self.decimal == self.delimiter {
            let delimiter = char::from(self.delimiter);
            let message = format!("{delimiter:?} cannot both separate fields and begin decimals");
            return Err(message.into());
        }
        let text = decoded(bytes)?;
        let mut lines = Lines::new(text.as_bytes(), self.comment);
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .comment(self.comment)
            .trim(Trim::All)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut names: Option<Vec<String>> = None;
        let mut columns: Vec<Texts> = Vec::new();
        let mut record = StringRecord::new();
        let mut rows = Vec::new();
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
            let line = lines.at(record.position().map_or(0, |at| at.byte() as usize));
            if record.len() == 1 && record[0].is_empty() && !lines.rest().starts_with(b"\"") {
                // A line of blanks.
                continue;
            }
            if columns.is_empty() {
                if self.header {
                    // Before there are columns, of which there may be very many.
                    names = Some(header(&record)?);
                    columns = vec![Texts::default(); record.len()];
                    continue;
                }
                columns = vec![Texts::default(); record.len()];
            }
            if record.len() != columns.len() {
                return Err(unequal(&record, columns.len(), line).into());
            }
            rows.push(line);
            columns.iter_mut().zip(&record).for_each(|(column, field)| column.push(field));
        }
        let names =
            names.unwrap_or_else(|| (0..columns.len()).map(|index| index.to_string()).collect());
        let named: Vec<(String, Texts)> = names
            .into_iter()
            .zip(columns)
            .filter(|(name, fields)| !(name.is_empty() && fields.text.is_empty()))
            .collect();
        if named.is_empty() {
            return Err("it is empty: it holds not one line with something in it"
                .to_owned()
                .into());
        }
        if named.iter().filter(|(name, _)| name.is_empty()).count() > 1 {
            return Err("two columns have no name".to_owned().into());
        }
        let is_there = |name: &String| named.iter().any(|(known, _)| known == name);
        if let Some(name) = self.texts.iter().chain(&self.numbers).find(|name| !is_there(name)) {
            let names: Vec<String> = named.into_iter().map(|(name, _)| name).collect();
            return Err(format!("there is no column {name:?}, only {}", listed(&names)).into());
        }
        let mut table = Table { names: Vec::new(), columns: Vec::new(), rows: rows.len() };
        for (name, fields) in named {
            table.columns.push(self.column(&name, fields, &rows)?);
            table.names.push(name);
        }
        Ok(table)
    }

    /// A column as numbers if it can be; `lines` are those of its fields.
    fn column(&self, name: &String, fields: Texts, lines: &[usize]) -> Result<Column, Fault> {
        let is_missing = |field: &str| self.missing.iter().any(|mark| mark == field);
        if !self.texts.contains(name) {
            let number =
                |field| if is_missing(field) { Some(f64::NAN) } else { self.number(field) };
            let numbers: Option<Vec<f64>> = fields.iter().map(number).collect();
            if let Some(numbers) = numbers {
                return Ok(Column::Numbers(numbers));
            }
            if self.numbers.contains(name) {
                let wrong = fields.iter().zip(lines).filter(|(field, _)| number(field).is_none());
                let cells = cells(wrong.map(|(field, line)| (field, format!("line {line}"))));
                let message = format!("column {name:?} must hold finite numbers and has {cells}");
                return Err(message.into());
            }
        }
        let texts = fields.iter().map(|field| (!is_missing(field)).then(|| field.into()));
        Ok(Column::Texts(texts.collect()))
    }

    /// The finite number that a field holds.
    fn number(&self, field: &str) -> Option<f64> {
        match self.decimal {
            b'.' => finite(field),
            _ if field.contains('.') => None,
            mark => finite(&field.replacen(char::from(mark), ".", 1)),
        }
    }
}

/// The names of the columns, of which several may be empty.
fn header(record: &StringRecord) -> Result<Vec<String>, Fault> {
    let mut seen = HashSet::new();
    match record.iter().find(|name| !name.is_empty() && !seen.insert(*name)) {
        None => Ok(record.iter().map(str::to_owned).collect()),
        Some(name) => Err(format!("two columns are called {name:?}").into()),
    }
}

/// The finite number that a text is.
fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The first of some cells, each with where it is, and how many more there are.
fn cells<'a>(cells: impl Iterator<Item = (&'a str, String)>) -> String {
    let (mut shown, mut more, mut commas) = (Vec::new(), 0, false);
    for (text, place) in cells {
        commas |= finite(&text.replacen(',', ".", 1)).is_some();
        if shown.len() < CELLS_SHOWN {
            let text: String = text.chars().take(CHARACTERS_SHOWN).collect();
            shown.push(format!("{text:?} in {place}"));
        } else {
            more += 1;
        }
    }
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let hint = if commas { "; `Csv::decimal` reads numbers with a decimal comma" } else { "" };
    shown.join(", ") + &more + hint
}

/// What is wrong with a record that has not the number of fields of the first.
fn unequal(record: &StringRecord, expected: usize, line: usize) -> String {
    let found = record.len();
    let last = record.iter().next_back();
    let hint = if found == expected + 1 && last == Some("") {
        ": a delimiter ends the line"
    } else if record.iter().any(|field| field.contains('\n')) {
        ": a field in quotes goes on over several lines"
    } else {
        ""
    };
    format!("line {line}: expected {expected} fields, got {found}{hint}")
}

impl Default for Csv {
    fn default() -> Self {
        Self::new()
    }
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(10).map(|name| format!("{name:?}")).collect::<Vec<_>>();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
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

    /// The texts of a column.
    ///
    /// # Errors
    ///
    /// When there is no such column, it holds numbers, or one is missing.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let wrong = |message: String| Err(Error::data("Table::texts", message));
        let Column::Texts(all) = self.column(name)? else {
            return wrong(format!("column {name:?} holds numbers: read it with `Csv::texts`"));
        };
        match all.iter().position(Option::is_none) {
            Some(row) => wrong(format!("row {row} has no value in column {name:?}")),
            None => Ok(all.iter().flatten().map(|text| &**text).collect()),
        }
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
    /// When `fraction` is not between 0 and 1, or leaves one part without rows.
    pub fn split(&self, fraction: f64, rng: &mut Rng) -> Result<(Self, Self)> {
        let count = crate::dataset::share("Table::split", fraction, self.rows, "rows")?;
        let mut first = rng.permutation(self.rows);
        let second = first.split_off(count);
        Ok((self.rows(&first)?, self.rows(&second)?))
    }
}
