//! The use of each column of a table.
//!
//! A numeric column is an input, except one that numbers the rows. A text
//! column is categorical if it has few distinct values, and is read as text if
//! its values have several words. Columns with the same value in all rows, and
//! columns with a different text in almost every row, are left out.

use std::collections::BTreeSet;

use dendra_datasets::{Column, Table, classes};
use dendra_tensor::{Error, Result};

use super::check_classes;
use crate::settings::Task;

/// The largest number of categories of a column.
const MOST_CATEGORIES: usize = 100;

/// The largest number of distinct integers of a target for which they are
/// classes by default.
const MOST_NUMBERED_CLASSES: usize = 20;

/// The smallest average number of words for which a column is read as text.
const WORDS_OF_A_TEXT: f64 = 3.0;

/// The columns of a table by their use.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Use {
    pub(crate) numbers: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// Text columns with their average number of words.
    pub(crate) texts: Vec<(String, f64)>,
    /// Columns that are left out, with the reason.
    pub(crate) left_out: Vec<(String, String)>,
}

impl Use {
    pub(crate) fn of(table: &Table, target: &str, ignored: &[String]) -> Result<Self> {
        for name in ignored {
            table.column(name)?;
        }
        let mut found = Self::default();
        for name in table.names() {
            if name == target || ignored.contains(name) {
                continue;
            }
            let left_out = match table.column(name)? {
                Column::Numbers(all) => match unused_numbers(all) {
                    None => {
                        found.numbers.push(name.clone());
                        continue;
                    }
                    Some(why) => why.to_owned(),
                },
                Column::Texts(all) => {
                    let known: Vec<&str> = all.iter().flatten().map(|text| &**text).collect();
                    let distinct = known.iter().collect::<BTreeSet<_>>().len();
                    let words = known.iter().map(|text| text.split_whitespace().count());
                    let words = words.sum::<usize>() as f64 / known.len().max(1) as f64;
                    let is_number = |text: &str| text.parse().is_ok_and(f64::is_finite);
                    let mixed = known.iter().filter(|text| is_number(text)).count();
                    if distinct == 1 && known.len() == all.len() {
                        "has one value".to_owned()
                    } else if distinct <= MOST_CATEGORIES && 2 * distinct <= known.len() {
                        found.categories.push(name.clone());
                        continue;
                    } else if words >= WORDS_OF_A_TEXT {
                        found.texts.push((name.clone(), words));
                        continue;
                    } else if 2 * mixed > known.len() {
                        let text = known.iter().find(|text| !is_number(text));
                        format!("has texts among its numbers, such as {:?}", text.unwrap_or(&""))
                    } else {
                        format!("has {distinct} different texts")
                    }
                }
            };
            found.left_out.push((name.clone(), left_out));
        }
        Ok(found)
    }

    /// The error when no column is left to predict from.
    pub(crate) fn nothing(&self) -> Error {
        let list: Vec<String> =
            self.left_out.iter().map(|(name, why)| format!("{name:?} {why}")).collect();
        let list = if list.is_empty() { String::new() } else { format!(": {}", list.join(", ")) };
        Error::data("the table", format!("there is no column to predict from{list}"))
    }
}

/// The reason why a numeric column is left out, if it is.
fn unused_numbers(all: &[f64]) -> Option<&'static str> {
    let known: Vec<f64> = all.iter().copied().filter(|number| !number.is_nan()).collect();
    let Some(&first) = known.first() else { return Some("has no values") };
    // A missing number becomes the median, which is the same one.
    if known.iter().all(|&number| number == first) {
        return Some("has one value");
    }
    let counts = known.len() >= 10 && known.windows(2).all(|pair| pair[1] == pair[0] + 1.0);
    counts.then_some("numbers the rows")
}

/// The rows that have a value in the target column.
pub(crate) fn rows_with(table: &Table, target: &str) -> Result<Vec<usize>> {
    let column = table.column(target)?;
    let has_value = |row: &usize| match column {
        Column::Numbers(all) => !all[*row].is_nan(),
        Column::Texts(all) => all[*row].is_some(),
    };
    let rows: Vec<usize> = (0..table.len()).filter(has_value).collect();
    if rows.is_empty() {
        let message = match table.len() {
            0 => "has no rows".to_owned(),
            _ => format!("has no value in the column {target:?}"),
        };
        return Err(Error::data("the table", message));
    }
    Ok(rows)
}

/// Whether the values of a target are classes or numbers. Rows without a value
/// must have been removed.
pub(crate) fn task(table: &Table, target: &str, wanted: Option<Task>) -> Result<Task> {
    let context = format!("the column {target:?}");
    let column = table.column(target)?;
    let task = match (column, wanted) {
        (Column::Texts(_), Some(Task::Regression)) => {
            let message = "has texts, expected numbers for a regression";
            return Err(Error::data(context, message));
        }
        (_, Some(task)) => task,
        (Column::Texts(_), None) => Task::Classification,
        (Column::Numbers(all), None) => {
            let whole = all.iter().all(|number| number.fract() == 0.0);
            let distinct: BTreeSet<u64> = all.iter().map(|number| number.to_bits()).collect();
            match whole && distinct.len() <= MOST_NUMBERED_CLASSES.min(all.len() / 2) {
                true => Task::Classification,
                false => Task::Regression,
            }
        }
    };
    match (task, column) {
        (Task::Classification, _) => {
            let classes = classes(table, target)?;
            check_classes(&context, &classes)?;
            if 2 * classes.len() > table.len() {
                let message = format!(
                    "has {} different values in {} rows: it cannot be a class",
                    classes.len(),
                    table.len()
                );
                return Err(Error::data(context, message));
            }
        }
        (Task::Regression, Column::Numbers(all)) if all.iter().all(|&x| x == all[0]) => {
            return Err(Error::data(
                context,
                format!("is {} in all rows: nothing to learn", all[0]),
            ));
        }
        (Task::Regression, _) => {}
    }
    Ok(task)
}

#[cfg(test)]
mod tests {
    use dendra_datasets::Csv;

    use super::*;

    fn table(columns: &[(&str, &dyn Fn(usize) -> String)]) -> Table {
        let mut text = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
        for row in 0..40 {
            text += "\n";
            text += &columns.iter().map(|(_, cell)| cell(row)).collect::<Vec<_>>().join(",");
        }
        Csv::new().parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn columns_are_used_by_their_values() {
        let table = table(&[
            ("id", &|row| (row + 1).to_string()),
            ("x", &|row| (row % 7).to_string()),
            ("same", &|_| "5".to_owned()),
            ("once", &|row| if row == 9 { "5".to_owned() } else { String::new() }),
            ("colour", &|row| ["red", "blue"][row % 2].to_owned()),
            ("name", &|row| format!("N{row}")),
            ("note", &|row| format!("this is note {row}")),
            ("mixed", &|row| if row == 3 { "3 kg".to_owned() } else { row.to_string() }),
            ("endless", &|row| if row == 3 { "inf".to_owned() } else { row.to_string() }),
            ("y", &|row| (row % 3).to_string()),
        ]);
        let found = Use::of(&table, "y", &[]).unwrap();
        assert_eq!(found.numbers, ["x"]);
        assert_eq!(found.categories, ["colour"]);
        assert_eq!(found.texts, [("note".to_owned(), 4.0)]);
        let why: Vec<String> =
            found.left_out.iter().map(|(name, why)| format!("{name} {why}")).collect();
        assert_eq!(
            why,
            [
                "id numbers the rows",
                "same has one value",
                "once has one value",
                "name has 40 different texts",
                "mixed has texts among its numbers, such as \"3 kg\"",
                "endless has texts among its numbers, such as \"inf\"",
            ]
        );
        let error = Use::of(&table, "y", &["z".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no column \"z\"; the columns are \"id\", \"x\""), "{error}");
    }

    #[test]
    fn the_target_decides_the_task() {
        let table = table(&[
            ("class", &|row| ["a", "b"][row % 2].to_owned()),
            ("grade", &|row| (row % 3).to_string()),
            ("price", &|row| format!("{}.5", row)),
            ("count", &|row| (row * row).to_string()),
            ("one", &|_| "a".to_owned()),
            ("name", &|row| format!("N{row}")),
        ]);
        let task = |target: &str, wanted| task(&table, target, wanted);
        assert_eq!(task("class", None).unwrap(), Task::Classification);
        assert_eq!(task("grade", None).unwrap(), Task::Classification);
        assert_eq!(task("grade", Some(Task::Regression)).unwrap(), Task::Regression);
        assert_eq!(task("price", None).unwrap(), Task::Regression);
        assert_eq!(task("count", None).unwrap(), Task::Regression);
        for (target, wanted, expected) in [
            ("one", None, "one class only, \"a\""),
            ("name", None, "40 different values in 40 rows"),
            ("class", Some(Task::Regression), "has texts"),
        ] {
            let error = task(target, wanted).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
