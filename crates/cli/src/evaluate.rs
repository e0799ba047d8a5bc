//! `dendra evaluate`.

use std::collections::BTreeMap;
use std::path::Path;

use dendra_autograd::Var;
use dendra_datasets::{AnyPreprocessing, Column, Dataset, ImageFolder, Table, TensorDataset};
use dendra_losses::{CrossEntropy, MSELoss};
use dendra_nn::{Model, Sequential, StateFile};
use dendra_optim::SGD;
use dendra_quant::Quantised;
use dendra_tensor::{AnyTensor, Element, Error, Result, Tensor};
use dendra_train::{Classification, Regression, Report, Trainer};
use serde_json::{Map, Value, json};

use crate::arguments::Evaluate;
use crate::data::columns::rows_with;
use crate::data::texts::Texts;
use crate::data::{Kind, in_file, pictures, table, unsuitable};
use crate::model::{COLUMN, TARGET};
use crate::screen::Screen;
use crate::{Failure, REQUIRED};

/// Metrics for which lower is better.
const LOW: [&str; 3] = ["loss", "mean_absolute_error", "root_mean_squared_error"];

/// The results of a model.
struct Reached {
    table: String,
    figures: Vec<(&'static str, f64)>,
    report: Report,
}

pub(crate) fn run(arguments: &Evaluate, screen: Screen) -> Result<(), Failure> {
    let reached = reached(arguments, &screen)?;
    let Reached { table, figures, report } = reached;
    if let Some((name, _)) =
        arguments.require.iter().find(|(name, _)| !figures.iter().any(|(known, _)| known == name))
    {
        let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
        return Err(Failure::Usage(format!(
            "--require {name}: expected one of the metrics {}",
            names.join(", ")
        )));
    }
    if let Some(path) = &arguments.report {
        report.save(path)?;
    }
    screen.result(table.trim_end())?;
    let map: Map<String, Value> =
        figures.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
    screen.json(&json!({
        "model": arguments.model.display().to_string(),
        "data": arguments.data.display().to_string(),
        "figures": map,
    }))?;
    let mut missed = Vec::new();
    for (name, wanted) in &arguments.require {
        let Some(&(_, value)) = figures.iter().find(|(known, _)| known == name) else { continue };
        let (good, most) = match LOW.contains(&name.as_str()) {
            true => (value <= *wanted, "at most"),
            false => (value >= *wanted, "at least"),
        };
        if !good {
            missed.push(format!("{name} is {value:.4}, expected {most} {wanted}"));
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Failure::Code(REQUIRED, missed.join("; "))) }
}

fn reached(arguments: &Evaluate, screen: &Screen) -> Result<Reached, Failure> {
    let Evaluate { model: path, data, .. } = arguments;
    let file = StateFile::read(path)?;
    let metadata = file.metadata.clone();
    let wrong = |error: Error| Error::file(path, error.to_string());
    let preprocessing = AnyPreprocessing::from_metadata(&metadata).map_err(wrong)?;
    let classes = dendra_datasets::classes_from_metadata(&metadata).map_err(wrong)?;
    let name = data.file_name().unwrap_or(data.as_os_str()).to_string_lossy().into_owned();
    let report = Report::new(format!("{} on {name}", path.display()));
    let source = Source { preprocessing, classes, metadata, arguments, screen };
    if Quantised::is_in(&source.metadata) {
        return source.evaluated(Quantised::from_file(file, path)?, report);
    }
    let model = Sequential::from_file(file, path)?;
    let report = report.summary(&model.summary());
    source.evaluated(model, report)
}

/// What a model is evaluated on.
struct Source<'a> {
    preprocessing: AnyPreprocessing,
    classes: Vec<String>,
    metadata: BTreeMap<String, String>,
    arguments: &'a Evaluate,
    screen: &'a Screen,
}

impl Source<'_> {
    fn evaluated<M>(&self, model: M, report: Report) -> Result<Reached, Failure>
    where
        M: Model<Tensor, Output = Var> + Model<Tensor<i64>, Output = Var>,
    {
        let Self { preprocessing, classes, metadata, arguments, screen } = self;
        let Evaluate { model: path, data, .. } = arguments;
        let kind = Kind::of(data)?;
        let target = arguments.target.as_ref().or_else(|| metadata.get(TARGET));
        let rows = || -> Result<(Table, &String), Failure> {
            let Some(target) = target else {
                let message = "expected --target COLUMN, the column with the true values";
                return Err(Failure::Usage(message.to_owned()));
            };
            let (all, _) = table::read(data, &arguments.table)?;
            let rows = rows_with(&all, target).map_err(|error| in_file(data, error))?;
            if rows.len() < all.len() {
                let (all, without) = (all.len(), all.len() - rows.len());
                screen.note(format_args!(
                    "{without} of {all} rows have no {target:?} and are left out"
                ));
            }
            Ok((all.rows(&rows)?, target))
        };
        let (inputs, labels): (AnyTensor, _) = match (preprocessing, kind) {
            (AnyPreprocessing::Table(encoder), Kind::Table) => {
                let (rows, target) = rows()?;
                let inputs = encoder.inputs(&rows).map_err(|error| in_file(data, error))?;
                if classes.is_empty() {
                    let targets = numbers(&rows, target, data)?;
                    return Ok(regress(model, TensorDataset::new(inputs, targets)?, report)?);
                }
                let labels = labels(&rows, target, classes, data)?;
                (inputs.into(), labels)
            }
            (AnyPreprocessing::Text(encoder), Kind::Table) => {
                let (rows, target) = rows()?;
                let column = arguments.text.as_ref().or_else(|| metadata.get(COLUMN));
                let Some(column) = column else {
                    let message = "expected --text COLUMN, the column with the texts";
                    return Err(Failure::Usage(message.to_owned()));
                };
                let texts =
                    Texts::of_column(&rows, column).map_err(|error| in_file(data, error))?;
                (encoder.inputs(&texts)?.into(), labels(&rows, target, classes, data)?)
            }
            (AnyPreprocessing::Text(encoder), Kind::Texts) => {
                let texts = Texts::of_folder(data)?;
                let labels = translated(&texts.labels, &texts.classes, classes, data)?;
                (encoder.inputs(&texts.texts)?.into(), labels)
            }
            (AnyPreprocessing::Image(encoder), Kind::Pictures) => {
                let folder = ImageFolder::open(data)?;
                let labels = folder.labels().unwrap_or_default();
                let labels = translated(&labels, folder.class_names(), classes, data)?;
                let inputs = pictures::inputs(&folder, encoder)?;
                (inputs.into(), labels)
            }
            _ => return Err(unsuitable(path, preprocessing, data).into()),
        };
        classify(model, inputs, labels, classes, preprocessing, report)
            .map_err(|error| in_file(data, error).into())
    }
}

fn labels(rows: &Table, target: &str, classes: &[String], data: &Path) -> Result<Tensor<i64>> {
    rows.labels(target, classes).map_err(|error| in_file(data, error))
}

fn numbers(rows: &Table, target: &str, data: &Path) -> Result<Tensor> {
    match rows.column(target)? {
        Column::Numbers(all) => {
            Tensor::from_vec(all.iter().map(|&y| y as f32).collect(), [rows.len(), 1])
        }
        Column::Texts(_) => {
            let message = format!(
                "expected numbers in the column {target:?}, which the model predicts, got texts"
            );
            Err(Error::file(data, message))
        }
    }
}

/// Maps the labels of folders to those of the model.
fn translated(
    labels: &[i64],
    folders: &[String],
    classes: &[String],
    data: &Path,
) -> Result<Tensor<i64>> {
    let known = folders.iter().map(|folder| {
        classes.iter().position(|class| class == folder).ok_or_else(|| {
            let message = format!("the model has no class {folder:?}, only {}", classes.join(", "));
            Error::file(data, message)
        })
    });
    let known = known.collect::<Result<Vec<_>>>()?;
    let labels = labels.iter().map(|&label| known[label as usize] as i64).collect::<Vec<_>>();
    Tensor::from_vec(labels.clone(), [labels.len()])
}

fn classify<M>(
    model: M,
    inputs: AnyTensor,
    labels: Tensor<i64>,
    classes: &[String],
    preprocessing: &AnyPreprocessing,
    report: Report,
) -> Result<Reached>
where
    M: Model<Tensor, Output = Var> + Model<Tensor<i64>, Output = Var>,
{
    fn of<X: Element, M: Model<Tensor<X>, Output = Var>>(
        model: M,
        inputs: Tensor<X>,
        labels: Tensor<i64>,
        classes: usize,
    ) -> Result<Classification> {
        let data = TensorDataset::classification(inputs, labels, classes)?;
        // Nothing is trained, so the optimizer and the loss are not used.
        let trainer = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
        Classification::of(&trainer, &data)
    }
    let found = match inputs {
        AnyTensor::F32(inputs) => of(model, inputs, labels, classes.len()),
        AnyTensor::I64(inputs) => of(model, inputs, labels, classes.len()),
        _ => Err(Error::argument("dendra evaluate", "expected inputs of f32 or i64")),
    }?;
    let mut found = found.class_names(classes);
    if let AnyPreprocessing::Table(encoder) = preprocessing {
        found = found.features(|row| encoder.describe(row));
    }
    let figures = vec![("accuracy", found.accuracy()), ("loss", found.loss)];
    let table = found.to_string();
    let report = report.class_names(classes).classification(found);
    Ok(Reached { table, figures, report })
}

fn regress<M>(model: M, data: TensorDataset<f32>, report: Report) -> Result<Reached>
where
    M: Model<Tensor, Output = Var>,
{
    let trainer = Trainer::new(model, SGD::new(0.1), MSELoss::new());
    let found = Regression::of(&trainer, &data)?;
    let figures = vec![
        ("mean_absolute_error", found.mean_absolute_error()),
        ("root_mean_squared_error", found.root_mean_squared_error()),
        ("r2", found.r2()),
    ];
    Ok(Reached { table: found.to_string(), figures, report: report.regression(found) })
}
