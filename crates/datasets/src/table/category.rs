//! Categories: values of a column.

use std::cmp::Ordering;
use std::fmt;

use dendra_tensor::{Error, Result};
use serde::{Deserialize, Serialize};

use super::encoding::Missing;
use super::{Column, Table, finite};

/// The value of a row as a category; `None` if it is missing.
pub(super) fn category(
    name: &str,
    column: &Column,
    row: usize,
    rule: Missing,
) -> Result<Option<Category>> {
    let value = match column {
        Column::Numbers(all) => Some(all[row]).filter(|x| !x.is_nan()).map(Category::number),
        Column::Texts(all) => all[row].as_deref().map(|text| Category::Text(text.to_owned())),
    };
    if value.is_none() && rule == Missing::Error {
        return Err(missing(name, row));
    }
    Ok(value)
}

/// A value of a column. Categories are ordered by value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Category {
    Number(f64),
    Text(String),
}

impl Category {
    pub(super) fn number(number: f64) -> Self {
        // −0 and 0 are the same category.
        Self::Number(number + 0.0)
    }

    /// The number of a text, for a column that elsewhere has numbers.
    pub(super) fn as_number(&self) -> Option<Self> {
        match self {
            Self::Number(_) => None,
            Self::Text(text) => finite(text).map(Self::number),
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Ord for Category {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Category {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Category {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Category {}

pub(super) fn missing(name: &str, row: usize) -> Error {
    let message = format!("row {row} has no value in column {name:?}");
    Error::data("TableEncoding", message)
}

pub(super) fn class_values(table: &Table, target: &str) -> Result<Vec<Category>> {
    let column = table.column(target)?;
    let value =
        |row| category(target, column, row, Missing::Error)?.ok_or_else(|| missing(target, row));
    (0..table.len()).map(value).collect()
}

/// The index of a value among the known values.
///
/// A column can have numbers in one table and texts in another, if one of its
/// fields is not a number. A text that is a number equals this number among
/// numbers. The text of a number is unknown, so the reverse is an error.
pub(super) fn found(
    name: &str,
    values: &[Option<Category>],
    value: &Option<Category>,
) -> Result<Option<usize>> {
    if let (Some(Category::Number(_)), Some(Some(Category::Text(_)))) = (value, values.last()) {
        let message = format!(
            "column {name:?} has numbers here and texts in the training part: read both with it \
             among `Csv::texts`"
        );
        return Err(Error::argument("Encoder", message));
    }
    let index_of = |value: &Option<Category>| values.binary_search(value).ok();
    Ok(index_of(value).or_else(|| index_of(&Some(value.as_ref()?.as_number()?))))
}

pub(super) fn unknown(name: &str, row: usize, value: Option<&Category>) -> Error {
    let value = match value {
        Some(value) => format!("{:?}", value.to_string()),
        None => "a missing value".to_owned(),
    };
    let message = format!(
        "row {row} has {value} in column {name:?}, which does not occur in the training part"
    );
    Error::data("Encoder", message)
}
