//! Raw data and answers as JSON.

use dendra_tensor::{Error, Result};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::answer::Answer;
use crate::network::Network;
use crate::value::Value;

const PLACE: &str = "the JSON";

/// The largest depth of nested lists of numbers.
const MOST_AXES: usize = 16;

/// The number of characters of a value that an error shows.
#[cfg(feature = "tables")]
const MOST_SHOWN: usize = 40;

/// Samples as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Samples {
    Rows(Vec<Json>),
    Texts(Vec<String>),
}

impl Network {
    /// Prepares the inputs from samples as JSON:
    ///
    /// - `{"rows": [{"age": 31, "city": "Oslo"}, …]}`: the values of columns,
    ///   `null` if missing, for a network with a preprocessing of tables;
    /// - `{"rows": [[0.5, 1, …], …]}`: the numbers of each sample, possibly in
    ///   nested lists, for a network without preprocessing;
    /// - `{"texts": ["a good day", …]}`: for a network with a preprocessing of
    ///   texts.
    ///
    /// # Errors
    ///
    /// When the JSON is invalid, or the network does not accept such samples.
    pub fn prepare_json(&self, json: &[u8]) -> Result<Value> {
        let samples = serde_json::from_slice(json).map_err(|error| {
            wrong(format!("{error}; expected {{\"rows\": […]}} or {{\"texts\": […]}}"))
        })?;
        match samples {
            Samples::Texts(texts) => self.prepare_texts(&texts),
            Samples::Rows(rows)
                if self.preprocessing().kind() == Some("table")
                    || rows.iter().any(Json::is_object) =>
            {
                self.prepare_objects(rows)
            }
            Samples::Rows(rows) => self.prepare_lists(&rows),
        }
    }

    /// The answer for each sample of [`prepare_json`](Self::prepare_json).
    ///
    /// # Errors
    ///
    /// The errors of [`prepare_json`](Self::prepare_json) and
    /// [`predict`](Self::predict).
    pub fn predict_json(&self, json: &[u8]) -> Result<Vec<Answer>> {
        self.predict(self.prepare_json(json)?)
    }

    fn prepare_lists(&self, rows: &[Json]) -> Result<Value> {
        if let Some(kind) = self.preprocessing().kind() {
            return Err(wrong(format!(
                "the network has a preprocessing of kind `{kind}`, which takes no lists of numbers"
            )));
        }
        let mut numbers = Vec::new();
        let mut each = None;
        for (index, row) in rows.iter().enumerate() {
            let before = numbers.len();
            flatten(row, &mut numbers, 0)
                .map_err(|message| wrong(format!("row {index}: {message}")))?;
            let found = numbers.len() - before;
            let expected = *each.get_or_insert(found);
            if found != expected {
                let message = format!(
                    "expected {expected} numbers in row {index} as in the first, got {found}"
                );
                return Err(wrong(message));
            }
        }
        let value = self.prepare_numbers(&numbers)?;
        match value.shape().first() {
            Some(&samples) if samples != rows.len() => {
                let input = &self.inputs()[0];
                let found = each.unwrap_or(0);
                Err(wrong(format!(
                    "expected rows for an input {input}, got {found} numbers in a row"
                )))
            }
            _ => Ok(value),
        }
    }

    #[cfg(not(feature = "tables"))]
    fn prepare_objects(&self, _: Vec<Json>) -> Result<Value> {
        Err(wrong("this program was built without the feature `tables`".to_owned()))
    }

    #[cfg(feature = "tables")]
    fn prepare_objects(&self, rows: Vec<Json>) -> Result<Value> {
        use dendra_datasets::{AnyPreprocessing, Table};

        let AnyPreprocessing::Table(encoder) = self.preprocessing() else {
            let kind = self.preprocessing().kind().unwrap_or("none");
            return Err(wrong(format!(
                "rows of named values need a preprocessing of kind `table`, that of the network is \
                 {kind}"
            )));
        };
        let objects = rows.into_iter().enumerate().map(|(index, row)| match row {
            Json::Object(object) => Ok(object),
            other => {
                let found = shown(&other);
                Err(wrong(format!("row {index}: expected values by column name, got {found}")))
            }
        });
        let objects: Vec<serde_json::Map<String, Json>> = objects.collect::<Result<_>>()?;
        let columns = encoder.columns().map(|column| {
            let name = column.name;
            let values = objects.iter().enumerate().map(|(row, object)| {
                let missing = || wrong(format!("the value {name:?} of row {row} is missing"));
                object.get(name).ok_or_else(missing)
            });
            let values = values.collect::<Result<Vec<&Json>>>()?;
            let column = match column.numbers {
                true => numbers(name, &values)?,
                false => texts(name, &values)?,
            };
            Ok((name, column))
        });
        let table = Table::new(columns.collect::<Result<Vec<_>>>()?)?;
        self.prepare_table(&table)
    }
}

fn wrong(message: String) -> Error {
    Error::data(PLACE, message)
}

/// The beginning of a value.
#[cfg(feature = "tables")]
fn shown(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Appends the numbers of nested lists.
fn flatten(json: &Json, numbers: &mut Vec<f64>, depth: usize) -> std::result::Result<(), String> {
    match json {
        Json::Number(number) => {
            numbers.push(number.as_f64().ok_or("a number is too large")?);
            Ok(())
        }
        Json::Bool(value) => {
            numbers.push(f64::from(u8::from(*value)));
            Ok(())
        }
        Json::Array(_) if depth == MOST_AXES => {
            Err(format!("expected at most {MOST_AXES} nested lists"))
        }
        Json::Array(items) => items.iter().try_for_each(|item| flatten(item, numbers, depth + 1)),
        _ => Err("expected a list of numbers".to_owned()),
    }
}

/// A column of numbers. Texts with a number are converted.
#[cfg(feature = "tables")]
fn numbers(name: &str, values: &[&Json]) -> Result<dendra_datasets::Column> {
    let number = |(row, value): (usize, &&Json)| {
        let found = match value {
            Json::Null => Some(f64::NAN),
            Json::Number(number) => number.as_f64(),
            Json::Bool(value) => Some(f64::from(u8::from(*value))),
            Json::String(text) => text.trim().parse().ok().filter(|x: &f64| x.is_finite()),
            _ => None,
        };
        found.ok_or_else(|| {
            let found = shown(value);
            wrong(format!("row {row}: expected a number for {name:?}, got {found}"))
        })
    };
    let numbers = values.iter().enumerate().map(number).collect::<Result<_>>()?;
    Ok(dendra_datasets::Column::Numbers(numbers))
}

/// A column of texts.
#[cfg(feature = "tables")]
fn texts(name: &str, values: &[&Json]) -> Result<dendra_datasets::Column> {
    let text = |(row, value): (usize, &&Json)| match value {
        Json::Null => Ok(None),
        Json::String(text) => Ok(Some(text.as_str().into())),
        Json::Number(_) | Json::Bool(_) => Ok(Some(value.to_string().into())),
        _ => {
            let found = shown(value);
            Err(wrong(format!("row {row}: expected a text for {name:?}, got {found}")))
        }
    };
    let texts = values.iter().enumerate().map(text).collect::<Result<_>>()?;
    Ok(dendra_datasets::Column::Texts(texts))
}
