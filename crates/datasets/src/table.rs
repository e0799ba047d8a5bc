//! [`Table`]: CSV and other delimited files, with columns of numbers or texts;
//! [`TableEncoding`] converts them to inputs and targets.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord, Trim};
use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng};

use crate::fault::Fault;
use crate::text::decoded;

mod category;
mod columns;
mod encoding;
mod lines;
mod messages;

pub use columns::EncodedColumn;
pub use encoding::{Encoder, Missing, Scaling, TableEncoding, classes};

use lines::Lines;
use messages::{cells, no_column, unequal};

/// The marks for a missing value, unless [`Csv::missing`] sets others: those of
/// pandas, and `?`, which the UCI repository uses.
const MISSING: [&str; 20] = [
    "", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// The format of a delimited file.
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
#[derive(Clone, Debug, Setters)]
pub struct Csv {
    /// The separator of the fields: `b'\t'`, `b';'`, …
    #[set(default = b',')]
    delimiter: u8,
    /// The decimal separator. Numbers such as `1,5` need `b','`, and another
    /// delimiter or quotes.
    #[set(default = b'.')]
    decimal: u8,
    /// Whether the first line has the names of the columns. Otherwise they are
    /// named `0`, `1`, ….
    #[set(default = true)]
    header: bool,
    /// The first character of comment lines, which are ignored; none by
    /// default.
    #[set]
    comment: Option<u8>,
    #[set(skip, default = MISSING.map(str::to_owned).to_vec())]
    missing: Vec<String>,
    #[set(skip)]
    texts: Vec<String>,
    #[set(skip)]
    numbers: Vec<String>,
}

impl Csv {
    /// A comma-separated file whose first line has the names of the columns,
    /// with fields in `"` if they contain a comma. Missing values are empty,
    /// `?` or one of the words that pandas treats as missing: `NA`, `N/A`,
    /// `#N/A`, `NaN`, `NULL`, `None`, ….
    pub fn new() -> Self {
        Self::default()
    }

    /// The marks for a missing value, instead of the default ones. Include the
    /// empty text if empty fields are missing values.
    #[must_use]
    pub fn missing<S: Into<String>>(mut self, marks: impl IntoIterator<Item = S>) -> Self {
        self.missing = marks.into_iter().map(Into::into).collect();
        self
    }

    /// Columns that contain texts, even if all of them look like numbers, for
    /// example postal codes.
    #[must_use]
    pub fn texts<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.texts.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Columns that must contain numbers. Other text in them is an error; in
    /// other columns, it makes the whole column one of texts.
    #[must_use]
    pub fn numbers<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.numbers.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Reads a file in UTF-8, or UTF-16 with a byte-order mark.
    ///
    /// Any line ending is accepted. Empty lines are ignored, and so is a column
    /// without name and values, which results from delimiters at the end of
    /// each line.
    ///
    /// # Errors
    ///
    /// An error with the path and, if it concerns a line, its number: when the
    /// file cannot be read or has another encoding; when a line has more or
    /// fewer fields than the first; when two columns have the same name, or a
    /// named column does not exist; and when a column that must contain numbers
    /// contains something else. The error then shows its first such cells.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let read = || self.table(fs::read(path)?);
        read().map_err(|fault: Fault| fault.at(path))
    }

    /// Reads a table in memory.
    ///
    /// # Errors
    ///
    /// The errors of [`read`](Self::read), without a path.
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
        let mut reader = self.reader(text.as_bytes());
        let mut names: Option<Vec<String>> = None;
        let mut columns: Vec<Texts> = Vec::new();
        let mut record = StringRecord::new();
        let (mut rows, mut last) = (Vec::new(), None);
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
            let line = lines.at(record.position().map_or(0, |at| at.byte() as usize));
            last = Some(line);
            if record.len() == 1 && record[0].is_empty() && !lines.rest().starts_with(b"\"") {
                // A line of white space.
                continue;
            }
            if columns.is_empty() {
                if self.header {
                    // The header is checked before columns are allocated, of
                    // which there may be very many.
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
        if let Some(line) = last
            && self.is_open(lines.rest())?
        {
            return Err(format!("line {line}: a quote is not closed").into());
        }
        let names =
            names.unwrap_or_else(|| (0..columns.len()).map(|index| index.to_string()).collect());
        let named: Vec<(String, Texts)> = names
            .into_iter()
            .zip(columns)
            .filter(|(name, fields)| !(name.is_empty() && fields.text.is_empty()))
            .collect();
        if named.is_empty() {
            return Err("it is empty or has only empty lines".to_owned().into());
        }
        if named.iter().filter(|(name, _)| name.is_empty()).count() > 1 {
            return Err("two columns have no name".to_owned().into());
        }
        let is_there = |name: &String| named.iter().any(|(known, _)| known == name);
        if let Some(name) = self.texts.iter().chain(&self.numbers).find(|name| !is_there(name)) {
            let names: Vec<String> = named.into_iter().map(|(name, _)| name).collect();
            return Err(no_column(name, &names).into());
        }
        let mut table = Table { names: Vec::new(), columns: Vec::new(), rows: rows.len() };
        for (name, fields) in named {
            table.columns.push(self.column(&name, fields, &rows)?);
            table.names.push(name);
        }
        Ok(table)
    }

    fn reader<R: Read>(&self, text: R) -> Reader<R> {
        ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .comment(self.comment)
            .trim(Trim::All)
            .flexible(true)
            .from_reader(text)
    }

    /// Whether the last record of a text does not end, because one of its quotes
    /// is not closed: then it takes in whatever follows.
    fn is_open(&self, last: &[u8]) -> Result<bool, Fault> {
        let mut reader = self.reader(last.chain(&b"\n\"\""[..]));
        let mut record = StringRecord::new();
        let mut records = 0;
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
            records += 1;
        }
        Ok(records == 1)
    }

    /// A column of numbers if possible, otherwise of texts; `lines` are the
    /// lines of its fields.
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
                let message =
                    format!("column {name:?} must contain finite numbers, but has {cells}");
                return Err(message.into());
            }
        }
        let texts = fields.iter().map(|field| (!is_missing(field)).then(|| field.into()));
        Ok(Column::Texts(texts.collect()))
    }

    /// The finite number in a field.
    fn number(&self, field: &str) -> Option<f64> {
        match self.decimal {
            b'.' => finite(field),
            _ if field.contains('.') => None,
            mark => finite(&field.replacen(char::from(mark), ".", 1)),
        }
    }
}

/// The names of the columns. Several may be empty.
fn header(record: &StringRecord) -> Result<Vec<String>, Fault> {
    let mut seen = HashSet::new();
    match record.iter().find(|name| !name.is_empty() && !seen.insert(*name)) {
        None => Ok(record.iter().map(str::to_owned).collect()),
        Some(name) => Err(format!("two columns have the name {name:?}").into()),
    }
}

/// The value of a text if it is a finite number.
fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Concatenated texts, which need little more memory than the file.
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
    /// Finite numbers; NaN for missing values.
    Numbers(Vec<f64>),
    /// Texts; `None` for missing values.
    Texts(Vec<Option<Box<str>>>),
}

impl Column {
    /// The number of rows.
    fn len(&self) -> usize {
        match self {
            Self::Numbers(all) => all.len(),
            Self::Texts(all) => all.len(),
        }
    }

    fn rows(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(all) => Self::Numbers(rows.iter().map(|&row| all[row]).collect()),
            Self::Texts(all) => Self::Texts(rows.iter().map(|&row| all[row].clone()).collect()),
        }
    }

    /// The number of missing values.
    pub fn missing(&self) -> usize {
        match self {
            Self::Numbers(all) => all.iter().filter(|number| number.is_nan()).count(),
            Self::Texts(all) => all.iter().filter(|text| text.is_none()).count(),
        }
    }
}

/// Rows of values in named columns; read by [`Csv::read`].
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    /// A table of these columns.
    ///
    /// ```
    /// use dendra_datasets::{Column, Table};
    ///
    /// let city = Column::Texts(vec![Some("Oslo".into()), None]);
    /// let table = Table::new([("age", Column::Numbers(vec![31.0, 27.0])), ("city", city)])?;
    /// assert_eq!(table.len(), 2);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no column, two have one name, they have different numbers
    /// of rows, or a number is infinite.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Column)>) -> Result<Self> {
        let (names, columns): (Vec<String>, Vec<Column>) =
            columns.into_iter().map(|(name, column)| (name.into(), column)).unzip();
        Self::checked(names, columns)
    }

    fn checked(names: Vec<String>, columns: Vec<Column>) -> Result<Self> {
        let wrong = |message: String| Err(Error::argument("Table::new", message));
        let Some(rows) = columns.first().map(Column::len) else {
            return wrong("expected columns, got none".to_owned());
        };
        let mut seen = HashSet::new();
        for (name, column) in names.iter().zip(&columns) {
            if !seen.insert(name) {
                return wrong(format!("two columns have the name {name:?}"));
            }
            if column.len() != rows {
                let found = column.len();
                return wrong(format!("column {name:?} has {found} rows, the first has {rows}"));
            }
            if let Column::Numbers(all) = column
                && let Some(row) = all.iter().position(|number| number.is_infinite())
            {
                return wrong(format!("column {name:?} has an infinite number in row {row}"));
            }
        }
        Ok(Self { names, columns, rows })
    }

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

    /// The column with a name.
    ///
    /// # Errors
    ///
    /// When there is no such column; the error lists the existing ones.
    pub fn column(&self, name: &str) -> Result<&Column> {
        let found = self.names.iter().position(|known| known == name);
        found
            .map(|index| &self.columns[index])
            .ok_or_else(|| Error::argument("Table::column", no_column(name, &self.names)))
    }

    /// The texts of a column.
    ///
    /// # Errors
    ///
    /// When there is no such column, it contains numbers, or a value is
    /// missing.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let wrong = |message: String| Err(Error::data("Table::texts", message));
        let Column::Texts(all) = self.column(name)? else {
            return wrong(format!(
                "expected texts in column {name:?}, got numbers: read it with `Csv::texts`"
            ));
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

    /// Splits the rows at random into two tables, for example for training and
    /// testing, before any encoding is fitted. The first has `fraction` of the
    /// rows.
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1, or a part would be empty.
    pub fn split(&self, fraction: f64, rng: &mut Rng) -> Result<(Self, Self)> {
        let count = crate::dataset::share("Table::split", fraction, self.rows, "rows")?;
        let mut first = rng.permutation(self.rows);
        let second = first.split_off(count);
        Ok((self.rows(&first)?, self.rows(&second)?))
    }
}
