//! The columns that an [`Encoder`] takes.

use super::category::Category;
use super::encoding::{Encoder, Missing, Rule};

/// A column that an [`Encoder`] takes.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedColumn<'a> {
    /// The name of the column.
    pub name: &'a str,
    /// Whether its values are numbers instead of texts.
    pub numbers: bool,
    /// The values in the training part as text, if the column becomes
    /// categories.
    pub categories: Option<Vec<String>>,
    /// Whether a value may be missing.
    pub optional: bool,
}

impl Encoder {
    /// The columns that a table must have. It may have others.
    pub fn columns(&self) -> impl Iterator<Item = EncodedColumn<'_>> {
        self.rules.iter().map(|(name, rule)| {
            let numbers = match rule {
                Rule::Number { .. } => true,
                Rule::Categories { values, .. } => {
                    !values.iter().any(|value| matches!(value, Some(Category::Text(_))))
                }
            };
            let categories = match rule {
                Rule::Number { .. } => None,
                Rule::Categories { values, .. } => {
                    Some(values.iter().flatten().map(Category::to_string).collect())
                }
            };
            let optional = self.missing != Missing::Error;
            EncodedColumn { name, numbers, categories, optional }
        })
    }
}
