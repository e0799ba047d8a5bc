//! A value of a column as a category.

use std::cmp::Ordering;
use std::fmt;

use dendra_tensor::{Error, Result};
use serde::{Deserialize, Serialize};

use super::encoding::Missing;
use super::{Column, Table, finite};

/// The value of a row as a category; `None` is that of missing values.
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

/// A value of a column, in the order of the values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Category {
    Number(f64),
    Text(String),
}

impl Category {
    pub(super) fn number(number: f64) -> Self {
        // Zero is one category, whatever its sign.
        Self::Number(number + 0.0)
    }

    /// The category of a text in a column that elsewhere holds numbers.
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

/// Which of the values that were learnt a value is.
///
/// A column can hold numbers in one table and texts in another, where one of
/// its fields is no number. A text that is a number is that number among
/// numbers; which text a number was is not known.
pub(super) fn found(
    name: &str,
    values: &[Option<Category>],
    value: &Option<Category>,
) -> Result<Option<usize>> {
    if let (Some(Category::Number(_)), Some(Some(Category::Text(_)))) = (value, values.last()) {
        let message = format!(
            "column {name:?} holds numbers here and texts in the training part: read both with it \
             among `Csv::texts`"
        );
        return Err(Error::argument("Encoder", message));
    }
    let place = |value: &Option<Category>| values.binary_search(value).ok();
    Ok(place(value).or_else(|| place(&Some(value.as_ref()?.as_number()?))))
}

pub(super) fn unknown(name: &str, row: usize, value: Option<&Category>) -> Error {
    let value = match value {
        Some(value) => format!("{:?}", value.to_string()),
        None => "a missing value".to_owned(),
    };
    let message =
        format!("row {row} has {value} in column {name:?}, which the training part has not");
    Error::data("Encoder", message)
}
