//! From the user's data to samples and the settings for them.

use std::path::Path;

use dendra_datasets::{Column, ImageFolder, Table, classes};
use dendra_tensor::{Error, Result};

use crate::Failure;
use crate::arguments::Train;
use crate::choose::Plan;
use crate::data::columns::{Use, rows_with, task};
use crate::data::texts::{MOST_WORDS, Texts, length};
use crate::data::{Kind, check_classes, in_file, pictures, table};
use crate::screen::Screen;
use crate::settings::{Augment, Inputs, Settings, Task};

/// The default fraction of the data for validation.
const VALIDATION: f64 = 0.2;

/// The number of columns that a message lists.
const COLUMNS_SHOWN: usize = 30;

/// The data of a run.
pub(super) enum Prepared {
    /// Rows that have a target.
    Table(Table),
    Pictures(ImageFolder),
    Texts(Texts),
}

impl Prepared {
    /// Reads the data and chooses the settings.
    pub(super) fn choose(
        arguments: &Train,
        path: &Path,
        kind: Kind,
        screen: &Screen,
    ) -> Result<(Self, Settings), Failure> {
        let unsuited = |option: &str, what: &str| {
            Err(Failure::Usage(format!("--{option} is for {what}, got {}", path.display())))
        };
        if kind != Kind::Table {
            for (given, option) in [
                (arguments.target.is_some(), "target"),
                (arguments.text.is_some(), "text"),
                (!arguments.ignore.is_empty(), "ignore"),
            ] {
                if given {
                    return unsuited(option, "tables");
                }
            }
            if arguments.task == Some(Task::Regression) {
                return unsuited("task regression", "tables");
            }
        }
        let validation = arguments.training.validation.unwrap_or(VALIDATION);
        let trained_on = |samples: usize| (samples as f64 * (1.0 - validation)).round() as usize;
        Ok(match kind {
            Kind::Table => Self::choose_table(arguments, path, validation, screen)?,
            Kind::Pictures => {
                let folder = ImageFolder::open(path)?;
                check_classes(&path.display().to_string(), folder.class_names())?;
                let (size, grey) = pictures::look(&folder)?;
                let (size, grey) = (arguments.size.unwrap_or(size), arguments.grey.unwrap_or(grey));
                let plan = Plan::for_pictures(trained_on(folder.files().len()), size);
                let augment = if grey { Augment::Shift } else { Augment::All };
                let inputs = Inputs::Pictures { size, grey, augment, skip_damaged: false };
                let settings = Settings::new(Task::Classification, None, inputs, validation, plan);
                (Self::Pictures(folder), settings)
            }
            Kind::Texts => {
                let texts = Texts::of_folder(path)?;
                check_classes(&path.display().to_string(), &texts.classes)?;
                let inputs = Inputs::Texts {
                    column: None,
                    format: None,
                    words: MOST_WORDS,
                    length: length(&texts.texts)?,
                };
                let plan = Plan::for_texts(trained_on(texts.texts.len()));
                let settings = Settings::new(Task::Classification, None, inputs, validation, plan);
                (Self::Texts(texts), settings)
            }
        })
    }

    fn choose_table(
        arguments: &Train,
        path: &Path,
        validation: f64,
        screen: &Screen,
    ) -> Result<(Self, Settings), Failure> {
        let in_file = |error: Error| in_file(path, error);
        let (all, format) = table::read(path, &arguments.table)?;
        let Some(target) = &arguments.target else {
            let names = all.names().iter().take(COLUMNS_SHOWN).map(|name| format!("{name:?}"));
            let names = names.collect::<Vec<_>>().join(", ");
            let more = match all.names().len().saturating_sub(COLUMNS_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            return Err(Failure::Usage(format!(
                "expected --target COLUMN; the columns of {} are {names}{more}",
                path.display()
            )));
        };
        let rows = with_target(&all, target, path, screen)?;
        let task = task(&rows, target, arguments.task).map_err(in_file)?;
        if task == Task::Classification
            && arguments.task.is_none()
            && matches!(rows.column(target), Ok(Column::Numbers(_)))
        {
            screen.note(format_args!(
                "the few whole numbers of {target:?} are taken as classes (--task regression \
                 predicts a number)"
            ));
        }
        let trained_on = (rows.len() as f64 * (1.0 - validation)).round() as usize;
        let found = Use::of(&rows, target, &arguments.ignore).map_err(in_file)?;
        let column = match &arguments.text {
            Some(column) => Some(column.clone()),
            None if found.numbers.is_empty() && found.categories.is_empty() => {
                let longest = found.texts.iter().max_by(|a, b| a.1.total_cmp(&b.1));
                Some(longest.ok_or_else(|| in_file(found.nothing()))?.0.clone())
            }
            None => None,
        };
        let target = Some(target.clone());
        if let Some(column) = column {
            if task == Task::Regression {
                let message = format!(
                    "texts (the column {column:?}) can be classified, and the target has numbers; \
                     if they are classes, use --task classification"
                );
                return Err(Error::file(path, message).into());
            }
            let texts = of_rows(&rows, &column, target.as_deref().unwrap_or_default());
            let texts = texts.map_err(in_file)?;
            let length = length(&texts.texts)?;
            let inputs = Inputs::Texts {
                column: Some(column),
                format: Some(format),
                words: MOST_WORDS,
                length,
            };
            let plan = Plan::for_texts(trained_on);
            return Ok((Self::Texts(texts), Settings::new(task, target, inputs, validation, plan)));
        }
        for (name, why) in &found.left_out {
            screen.note(format_args!("the column {name:?} is left out: it {why}"));
        }
        for (name, _) in &found.texts {
            screen.note(format_args!(
                "the column {name:?} is left out: it has texts (--text {name} reads them instead)"
            ));
        }
        let Use { numbers, categories, .. } = found;
        let inputs = Inputs::Table { format, numbers, categories };
        let plan = Plan::for_table(trained_on);
        Ok((Self::Table(rows), Settings::new(task, target, inputs, validation, plan)))
    }

    /// Reads data for given settings.
    pub(super) fn by(
        settings: &Settings,
        path: &Path,
        kind: Kind,
        screen: &Screen,
    ) -> Result<Self> {
        let target = settings.target.as_deref().unwrap_or_default();
        match (&settings.inputs, kind) {
            (Inputs::Table { format, .. }, Kind::Table) => {
                let rows = with_target(&table::read_as(path, *format)?, target, path, screen)?;
                task(&rows, target, Some(settings.task)).map_err(|error| in_file(path, error))?;
                Ok(Self::Table(rows))
            }
            (Inputs::Texts { column: Some(column), format: Some(format), .. }, Kind::Table) => {
                let rows = with_target(&table::read_as(path, *format)?, target, path, screen)?;
                Ok(Self::Texts(of_rows(&rows, column, target)?))
            }
            (Inputs::Texts { column: None, .. }, Kind::Texts) => {
                Ok(Self::Texts(Texts::of_folder(path)?))
            }
            (Inputs::Pictures { .. }, Kind::Pictures) => {
                Ok(Self::Pictures(ImageFolder::open(path)?))
            }
            _ => Err(Error::file(path, "the settings are for another kind of data")),
        }
    }
}

/// The rows that have a target.
fn with_target(all: &Table, target: &str, path: &Path, screen: &Screen) -> Result<Table> {
    let rows = rows_with(all, target).map_err(|error| in_file(path, error))?;
    let without = all.len() - rows.len();
    if without > 0 {
        screen.note(format_args!(
            "{without} of {} rows have no {target:?} and are left out",
            all.len()
        ));
    }
    all.rows(&rows)
}

fn of_rows(rows: &Table, column: &str, target: &str) -> Result<Texts> {
    let classes = classes(rows, target)?;
    let labels = rows.labels(target, &classes)?.to_vec();
    Ok(Texts { texts: Texts::of_column(rows, column)?, labels, classes })
}
