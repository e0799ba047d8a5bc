//! Inputs and targets from the columns of a table. Statistics and categories
//! come only from the training part.

use std::collections::{BTreeSet, HashMap};

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::category::{Category, category, class_values, found, missing, unknown};
use super::{Column, Table, cells, finite};
use crate::preprocessing::{Prepare, Preprocessing};
use crate::tensors::TensorDataset;

/// What to do with missing values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Missing {
    /// They are an error that names the column and the row.
    #[default]
    Error,
    /// A number becomes the mean of the column in the training part; a text
    /// becomes a separate category.
    Mean,
    /// A number becomes the median of the column in the training part; a text
    /// becomes a separate category.
    Median,
    /// A number becomes this value; a text becomes a separate category.
    Constant(f64),
}

/// How numbers are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// To mean 0 and standard deviation 1 in the training part.
    #[default]
    Standard,
    /// To the range from 0 to 1 in the training part.
    MinMax,
}

/// The columns that become inputs, and how.
///
/// The statistics (means, deviations, categories) come from the table that is
/// passed to [`fit`](Self::fit), which should be the training part.
///
/// ```
/// use dendra_datasets::{Csv, Dataset, TableEncoding};
/// use dendra_tensor::Rng;
///
/// let text = b"age,city,pays\n31,Oslo,yes\n44,Bergen,no\n27,Oslo,yes\n50,Oslo,no\n";
/// let (train, test) = Csv::new().parse(text)?.split(0.75, &mut Rng::seed(1))?;
/// let encoder = TableEncoding::new().numbers(["age"]).categories(["city"]).fit(&train)?;
/// let train_set = encoder.classification(&train, "pays")?;
/// let test_set = encoder.classification(&test, "pays")?;
/// assert_eq!(train_set.input_shape(), test_set.input_shape());
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
pub struct TableEncoding {
    #[set(skip)]
    inputs: Vec<(String, Kind)>,
    /// What to do with missing values.
    #[set(default = Missing::Error)]
    missing: Missing,
    /// How numbers are scaled.
    #[set(default = Scaling::Standard)]
    scaling: Scaling,
    /// Whether categories that do not occur in the training part are allowed.
    /// If they are, one-hot inputs are all 0, and an ordinal is the number of
    /// known categories.
    #[set(default = false)]
    allow_unknown: bool,
}

/// What a column is converted to.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    OneHot,
    Ordinal,
}

impl TableEncoding {
    /// An encoding without inputs. Numbers will be standardised, and missing
    /// values will be errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one input for each of these columns of numbers.
    #[must_use]
    pub fn numbers<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Self {
        self.with(columns, Kind::Number)
    }

    /// Adds one-hot inputs for these columns: one input for each value of a
    /// column, 1 for the value of the row and 0 for the others.
    #[must_use]
    pub fn categories<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Self {
        self.with(columns, Kind::OneHot)
    }

    /// Adds one input for each of these columns: the index of the value among
    /// all values in order (numbers by size, texts alphabetically), for an
    /// embedding.
    #[must_use]
    pub fn ordinals<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Self {
        self.with(columns, Kind::Ordinal)
    }

    fn with<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>, kind: Kind) -> Self {
        self.inputs.extend(columns.into_iter().map(|name| (name.into(), kind)));
        self
    }

    /// Computes the statistics of the encoding from the training part.
    ///
    /// # Errors
    ///
    /// When there are no inputs, the table has no rows, a column does not exist
    /// or must contain numbers but does not, or a missing value is an error.
    pub fn fit(self, train: &Table) -> Result<Encoder> {
        let context = "TableEncoding::fit";
        if self.inputs.is_empty() || train.is_empty() {
            let message = format!(
                "expected inputs and rows, got {} columns and {} rows",
                self.inputs.len(),
                train.len()
            );
            return Err(Error::argument(context, message));
        }
        let fit = |(name, kind): &(String, Kind)| {
            let column = train.column(name)?;
            let rule = match kind {
                Kind::Number => self.fit_numbers(name, numbers(name, column)?)?,
                Kind::OneHot | Kind::Ordinal => {
                    let mut values = BTreeSet::new();
                    for row in 0..train.len() {
                        values.insert(category(name, column, row, self.missing)?);
                    }
                    let values = values.into_iter().collect();
                    Rule::Categories { values, one_hot: matches!(kind, Kind::OneHot) }
                }
            };
            Ok((name.clone(), rule))
        };
        let rules = self.inputs.iter().map(fit).collect::<Result<Vec<_>>>()?;
        Ok(Encoder { missing: self.missing, allow_unknown: self.allow_unknown, rules })
    }

    fn fit_numbers(&self, name: &str, all: &[f64]) -> Result<Rule> {
        let mut known: Vec<f64> = all.iter().copied().filter(|number| !number.is_nan()).collect();
        known.sort_by(f64::total_cmp);
        let count = known.len();
        if count == 0 && !matches!(self.missing, Missing::Constant(_)) {
            let message = format!("column {name:?} has no values in the training part");
            return Err(Error::data("TableEncoding::fit", message));
        }
        let mean = |values: &[f64]| {
            // Each term is divided first, because the sum of the numbers may
            // overflow.
            values.iter().map(|x| x / values.len() as f64).sum::<f64>()
        };
        let fill = match self.missing {
            Missing::Error => None,
            Missing::Mean => Some(mean(&known)),
            Missing::Median => Some(0.5 * known[(count - 1) / 2] + 0.5 * known[count / 2]),
            Missing::Constant(value) => Some(value),
        };
        if let (None, Some(row)) = (fill, all.iter().position(|x| x.is_nan())) {
            return Err(missing(name, row));
        }
        let filled = all.iter().map(|&x| if x.is_nan() { fill.unwrap_or(x) } else { x });
        let filled: Vec<f64> = filled.collect();
        let low = filled.iter().copied().fold(f64::INFINITY, f64::min);
        let high = filled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (shift, scale) = match self.scaling {
            Scaling::None => (0.0, 1.0),
            // A constant column carries no information, and becomes 0. By rounding, its deviation
            // may be larger.
            _ if low == high => (low, 1.0),
            Scaling::Standard => {
                let mean = mean(&filled);
                let squares = filled.iter().map(|x| (x - mean).powi(2) / filled.len() as f64);
                (mean, squares.sum::<f64>().sqrt())
            }
            Scaling::MinMax => (low, high - low),
        };
        if !(shift.is_finite() && scale.is_finite()) {
            let message = format!("column {name:?} has numbers too large to be scaled");
            return Err(Error::data("TableEncoding::fit", message));
        }
        // A deviation can be too small for a number.
        let scale = if scale > 0.0 { scale } else { 1.0 };
        Ok(Rule::Number { fill, shift, scale })
    }
}

fn numbers<'a>(name: &str, column: &'a Column) -> Result<&'a [f64]> {
    match column {
        Column::Numbers(all) => Ok(all),
        Column::Texts(all) => {
            let others = all.iter().enumerate().filter_map(|(row, text)| {
                let text = text.as_deref().filter(|text| finite(text).is_none())?;
                Some((text, format!("row {row}")))
            });
            let cells = cells(others);
            let why = if cells.is_empty() { "as it was read with `Csv::texts`" } else { &cells };
            let message = format!("expected numbers in column {name:?}, got texts: {why}");
            Err(Error::argument("TableEncoding", message))
        }
    }
}

/// The error for a number that is infinite as an element of a tensor.
fn too_large(name: &str, row: usize, number: f64) -> Error {
    let message = format!("row {row} has {number:e} in column {name:?}, which is too large");
    Error::data("Encoder", message)
}

/// The statistics of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Rule {
    Number { fill: Option<f64>, shift: f64, scale: f64 },
    Categories { values: Vec<Option<Category>>, one_hot: bool },
}

/// Converts tables to inputs, with the statistics that [`TableEncoding::fit`]
/// computed.
///
/// A predictor stores it in the file of its model (see [`Preprocessing`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    pub(super) missing: Missing,
    allow_unknown: bool,
    pub(super) rules: Vec<(String, Rule)>,
}

impl Encoder {
    /// The name of each input: the name of a column, with the category for
    /// one-hot inputs.
    pub fn input_names(&self) -> Vec<String> {
        let names = |(name, rule): &(String, Rule)| match rule {
            Rule::Categories { values, one_hot: true } => values
                .iter()
                .map(|value| match value {
                    Some(value) => format!("{name}={value}"),
                    None => format!("{name}=missing"),
                })
                .collect(),
            _ => vec![name.clone()],
        };
        self.rules.iter().flat_map(names).collect()
    }

    /// The number of inputs for a row.
    pub fn width(&self) -> usize {
        let width = |rule: &Rule| match rule {
            Rule::Categories { values, one_hot: true } => values.len(),
            _ => 1,
        };
        self.rules.iter().map(|(_, rule)| width(rule)).sum()
    }

    /// The values from which a row of inputs was made: each column with its
    /// value, as a report shows them for a mistake.
    pub fn describe(&self, inputs: &[f32]) -> Vec<(String, String)> {
        let mut rest = inputs;
        let value = |(name, rule): &(String, Rule)| {
            let width = match rule {
                Rule::Categories { values, one_hot: true } => values.len(),
                _ => 1,
            };
            let (own, others) = rest.split_at_checked(width)?;
            rest = others;
            let value = match rule {
                Rule::Number { shift, scale, .. } => {
                    // With as many digits as the inputs have.
                    let number = f64::from(own[0]) * scale + shift;
                    format!("{}", (number * 1e4).round() / 1e4)
                }
                Rule::Categories { values, one_hot } => {
                    let index = match one_hot {
                        true => own.iter().position(|&x| x == 1.0),
                        false => Some(own[0] as usize),
                    };
                    match index.and_then(|index| values.get(index)) {
                        Some(Some(value)) => value.to_string(),
                        Some(None) => "missing".to_owned(),
                        None => "unknown".to_owned(),
                    }
                }
            };
            Some((name.clone(), value))
        };
        self.rules.iter().map_while(value).collect()
    }

    /// The number of categories of a column, which is the size of an embedding;
    /// `None` for columns of numbers and unknown columns.
    pub fn categories(&self, column: &str) -> Option<usize> {
        self.rules.iter().find_map(|(name, rule)| match rule {
            Rule::Categories { values, .. } if name == column => {
                Some(values.len() + usize::from(self.allow_unknown))
            }
            _ => None,
        })
    }

    /// Converts the rows of a table to inputs of shape `[rows, inputs]`.
    ///
    /// # Errors
    ///
    /// When a column does not exist, or must contain numbers but does not; when
    /// a missing value is an error; when a number is too large for a tensor;
    /// when a category is unknown and this is not allowed; or when a column of
    /// categories has numbers, but had texts in the training part, where `"07"`
    /// and `"7"` are different.
    pub fn inputs(&self, table: &Table) -> Result<Tensor> {
        let width = self.width();
        let mut inputs = vec![0.0; table.len() * width];
        let mut start = 0;
        for (name, rule) in &self.rules {
            let column = table.column(name)?;
            let rows = inputs.chunks_exact_mut(width.max(1)).enumerate();
            match rule {
                Rule::Number { fill, shift, scale } => {
                    let all = numbers(name, column)?;
                    for (row, out) in rows {
                        let number =
                            if all[row].is_nan() { fill.unwrap_or(f64::NAN) } else { all[row] };
                        if number.is_nan() {
                            return Err(missing(name, row));
                        }
                        out[start] = ((number - shift) / scale) as f32;
                        if out[start].is_infinite() {
                            return Err(too_large(name, row, number));
                        }
                    }
                    start += 1;
                }
                Rule::Categories { values, one_hot } => {
                    for (row, out) in rows {
                        let value = category(name, column, row, self.missing)?;
                        let index = match found(name, values, &value)? {
                            Some(index) => index,
                            None if self.allow_unknown => values.len(),
                            None => return Err(unknown(name, row, value.as_ref())),
                        };
                        match out[start..].get_mut(index).filter(|_| index < values.len()) {
                            Some(slot) if *one_hot => *slot = 1.0,
                            _ if *one_hot => {}
                            _ => out[start] = index as f32,
                        }
                    }
                    start += if *one_hot { values.len() } else { 1 };
                }
            }
        }
        Tensor::from_vec(inputs, [table.len(), width])
    }

    /// A data set of the rows of a table, with the numbers of a column as
    /// targets of shape `[rows, 1]`.
    ///
    /// # Errors
    ///
    /// The errors of [`inputs`](Self::inputs), and when the column does not
    /// contain numbers, or a value is missing or too large.
    pub fn regression(&self, table: &Table, target: &str) -> Result<TensorDataset<f32>> {
        let targets = numbers(target, table.column(target)?)?;
        if let Some(row) = targets.iter().position(|number| number.is_nan()) {
            return Err(missing(target, row));
        }
        if let Some(row) = targets.iter().position(|&number| (number as f32).is_infinite()) {
            return Err(too_large(target, row, targets[row]));
        }
        let targets = targets.iter().map(|&number| number as f32).collect();
        TensorDataset::new(self.inputs(table)?, Tensor::from_vec(targets, [table.len(), 1])?)
    }

    /// A data set of the rows of a table, with the values of a column as
    /// classes. The labels follow the order of the values in this table.
    ///
    /// The labels of training and test part agree if all classes occur in both;
    /// otherwise, use [`classification_as`](Self::classification_as) with the
    /// classes of the training part.
    ///
    /// # Errors
    ///
    /// The errors of [`inputs`](Self::inputs), and when a class is missing.
    pub fn classification(&self, table: &Table, target: &str) -> Result<TensorDataset<i64>> {
        self.classification_as(table, target, &classes(table, target)?)
    }

    /// Like [`classification`](Self::classification), with the given classes,
    /// for example the [`classes`] of the training part.
    ///
    /// # Errors
    ///
    /// The errors of [`inputs`](Self::inputs), and when a row has another
    /// class.
    pub fn classification_as(
        &self,
        table: &Table,
        target: &str,
        classes: &[String],
    ) -> Result<TensorDataset<i64>> {
        let labels = table.labels(target, classes)?;
        TensorDataset::classification(self.inputs(table)?, labels, classes.len())
    }
}

impl Preprocessing for Encoder {
    type Input = Tensor;

    const KIND: &'static str = "table";

    fn input_shape(&self) -> Shape {
        Shape::from([self.width()])
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::data("Encoder", message));
        for (name, rule) in &self.rules {
            match rule {
                Rule::Number { fill, shift, scale } => {
                    let finite = shift.is_finite() && fill.is_none_or(f64::is_finite);
                    if !(finite && scale.is_finite() && *scale > 0.0) {
                        return wrong(format!("column {name:?} is scaled by {scale} from {shift}"));
                    }
                }
                Rule::Categories { values, .. } => {
                    if values.is_empty() || !values.is_sorted_by(|a, b| a < b) {
                        return wrong(format!(
                            "the categories of column {name:?} are not in order"
                        ));
                    }
                }
            }
        }
        if self.rules.is_empty() { wrong("it has no inputs".to_owned()) } else { Ok(()) }
    }
}

impl Prepare<Table> for Encoder {
    fn prepare(&self, rows: &Table) -> Result<Tensor> {
        self.inputs(rows)
    }
}

impl Table {
    /// The values of a column as labels of shape `[rows]`: the index of each
    /// value among `classes`.
    ///
    /// # Errors
    ///
    /// When there is no such column, or a row has no value or another one.
    pub fn labels(&self, column: &str, classes: &[String]) -> Result<Tensor<i64>> {
        let numbers: HashMap<&str, i64> = classes.iter().map(String::as_str).zip(0..).collect();
        let number = |value: &Category| numbers.get(value.to_string().as_str()).copied();
        let labels = class_values(self, column)?
            .into_iter()
            .enumerate()
            .map(|(row, value)| {
                let label = number(&value).or_else(|| value.as_number().and_then(|v| number(&v)));
                label.ok_or_else(|| unknown(column, row, Some(&value)))
            })
            .collect::<Result<Vec<_>>>()?;
        Tensor::from_vec(labels, [self.len()])
    }
}

/// The distinct values of a column in ascending order (numbers by size, texts
/// alphabetically), which are the classes of a target.
///
/// # Errors
///
/// When there is no such column or a value is missing.
pub fn classes(table: &Table, target: &str) -> Result<Vec<String>> {
    let values: BTreeSet<Category> = class_values(table, target)?.into_iter().collect();
    Ok(values.iter().map(Category::to_string).collect())
}
