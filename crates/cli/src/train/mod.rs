//! `dendra train`.

mod fit;
mod prepare;

use std::path::{Path, PathBuf};

use dendra_nn::check_writable;
use dendra_tensor::{Error, Result};
use serde_json::json;

use crate::arguments::{TableFormat, Train, Training};
use crate::data::{Kind, sha256};
use crate::screen::Screen;
use crate::settings::{Inputs, Settings};
use crate::{Failure, INTERRUPTED};
use fit::Outcome;
use prepare::Prepared;

/// The files that a run writes.
struct Files {
    model: PathBuf,
    report: PathBuf,
    settings: PathBuf,
}

impl Files {
    fn of(model: &Path) -> Result<Self> {
        let (report, settings) = (model.with_extension("html"), model.with_extension("json"));
        let files = Self { model: model.to_owned(), report, settings };
        let clash = [&files.report, &files.settings].contains(&&files.model);
        if clash || model.file_name().is_none() {
            let message = "expected a file for the model, such as model.safetensors";
            return Err(Error::file(model, message));
        }
        [&files.model, &files.report, &files.settings].into_iter().try_for_each(check_writable)?;
        Ok(files)
    }
}

pub(crate) fn run(arguments: &Train, screen: Screen) -> Result<(), Failure> {
    let known = arguments.settings.as_deref().map(Settings::read).transpose()?;
    let data = match (&arguments.data, &known) {
        (Some(data), _) => data.clone(),
        (None, Some(settings)) => settings.data.clone(),
        (None, None) => {
            return Err(Failure::Usage("expected the data: a CSV file or a folder".to_owned()));
        }
    };
    let output = arguments.output.clone();
    let output = output.or_else(|| known.as_ref().map(|settings| settings.output.clone()));
    let output = output.unwrap_or_else(|| PathBuf::from("model.safetensors"));
    let kind = Kind::of(&data)?;
    let files = Files::of(&output)?;
    let digits = sha256(&data)?;

    let (prepared, mut settings) = match known {
        Some(settings) => {
            if settings.data_sha256 != digits {
                screen.note(format_args!(
                    "{} has changed since the run of the settings, so the result will differ",
                    data.display()
                ));
            }
            let settings = overridden(settings, arguments)?;
            (Prepared::by(&settings, &data, kind, &screen)?, settings)
        }
        None => {
            let (prepared, settings) = Prepared::choose(arguments, &data, kind, &screen)?;
            let settings = overridden(settings, arguments)?;
            (prepared, settings)
        }
    };
    (settings.data, settings.data_sha256, settings.output) = (data, digits, output);
    finish(fit::fit(prepared, &settings, &screen)?, &settings, &files, &screen)
}

/// The settings, overridden by the command line.
fn overridden(mut settings: Settings, arguments: &Train) -> Result<Settings> {
    let Training {
        seed,
        validation,
        epochs,
        patience,
        batch_size,
        learning_rate,
        layers,
        balanced,
    } = &arguments.training;
    settings.seed = seed.unwrap_or(settings.seed);
    settings.validation = validation.unwrap_or(settings.validation);
    settings.balanced |= balanced;
    let plan = &mut settings.training;
    plan.epochs = epochs.unwrap_or(plan.epochs);
    plan.patience = patience.unwrap_or(plan.patience);
    plan.batch_size = batch_size.map_or(plan.batch_size, |size| size as usize);
    plan.learning_rate = learning_rate.unwrap_or(plan.learning_rate);
    if let Some(widths) = layers {
        plan.set_widths(widths)?;
    }
    let TableFormat { delimiter, decimal, no_header } = &arguments.table;
    match &mut settings.inputs {
        Inputs::Pictures { size, grey, augment, skip_damaged } => {
            *size = arguments.size.unwrap_or(*size);
            *grey = arguments.grey.unwrap_or(*grey);
            *augment = arguments.augment.unwrap_or(*augment);
            *skip_damaged |= arguments.skip_damaged;
        }
        Inputs::Texts { words, length, format, .. } => {
            *words = arguments.words.map_or(*words, |words| words as usize);
            *length = arguments.length.map_or(*length, |length| length as usize);
            if let Some(format) = format {
                format.delimiter = delimiter.unwrap_or(format.delimiter);
                format.decimal = decimal.unwrap_or(format.decimal);
                format.header &= !no_header;
            }
        }
        Inputs::Table { format, .. } => {
            format.delimiter = delimiter.unwrap_or(format.delimiter);
            format.decimal = decimal.unwrap_or(format.decimal);
            format.header &= !no_header;
        }
    }
    Ok(settings)
}

/// Writes the files, the model first, and prints the results.
fn finish(
    outcome: Outcome,
    settings: &Settings,
    files: &Files,
    screen: &Screen,
) -> Result<(), Failure> {
    outcome.model.write(&files.model)?;
    outcome.report.save(&files.report)?;
    settings.write(&files.settings)?;
    let shown = |path: &Path| path.display().to_string();
    let [model, report, file] = [shown(&files.model), shown(&files.report), shown(&files.settings)];
    screen.json(&json!({
        "model": model,
        "report": report,
        "settings": file,
        "task": settings.task,
        "target": settings.target,
        "classes": outcome.classes,
        "parameters": outcome.parameters,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "interrupted": outcome.interrupted,
        "seconds": outcome.seconds,
        "training_samples": outcome.samples[0],
        "validation_samples": outcome.samples[1],
        "validation": outcome.figures.iter().cloned().collect::<serde_json::Map<_, _>>(),
    }))?;
    screen.inform(format_args!("\n{}", outcome.table.trim_end()))?;
    let width = model.chars().count().max(report.chars().count());
    screen.inform(format_args!(
        "\nsaved {model:width$}  the model, of epoch {}",
        outcome.best_epoch
    ))?;
    screen.inform(format_args!("      {report:width$}  a report to open in a browser"))?;
    screen.inform(format_args!(
        "      {file:width$}  the settings: dendra train --settings repeats the run"
    ))?;
    if outcome.interrupted {
        let message = format!("stopped by Ctrl-C; {model} has the best epoch so far");
        return Err(Failure::Code(INTERRUPTED, message));
    }
    Ok(())
}
