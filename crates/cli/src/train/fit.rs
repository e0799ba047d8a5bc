//! From samples to a trained model with its report.

use std::path::Path;
use std::time::Instant;

use dendra_autograd::{Parameters, Var};
use dendra_datasets::{
    Dataset, ImageFolder, Missing, Preprocessing, Table, TableEncoding, TensorDataset, TextEncoder,
    TransformDataset, Vocabulary, classes,
};
use dendra_losses::{CrossEntropy, Loss, MSELoss};
use dendra_nn::{Model, Sequential, StateFile};
use dendra_optim::{AdamW, ReduceLROnPlateau};
use dendra_tensor::{Element, Error, Result, Rng, Tensor};
use dendra_train::{
    Accuracy, BatchReport, Callback, Classification, EarlyStopping, Fit, History, Moment,
    Predictor, R2Score, Regression, Report, StopFlag, Trainer,
};
use serde_json::Value;

use super::prepare::Prepared;
use crate::choose::Takes;
use crate::data::pictures::{self, Changes};
use crate::data::{check_classes, in_file, split, texts::Texts};
use crate::model::{COLUMN, TARGET};
use crate::screen::Screen;
use crate::settings::{Inputs, Settings, Task};

/// The metrics of a run.
type Figures = Vec<(String, Value)>;

/// Names and values of a sample's inputs, for the report.
type Describe<'a> = &'a dyn Fn(&[f32]) -> Vec<(String, String)>;

/// A trained model with the data for its report.
pub(super) struct Outcome {
    pub(super) model: StateFile,
    pub(super) report: Report,
    /// The metrics on the validation data, for people.
    pub(super) table: String,
    pub(super) figures: Figures,
    pub(super) classes: Vec<String>,
    pub(super) parameters: usize,
    pub(super) epochs: usize,
    pub(super) best_epoch: u64,
    pub(super) interrupted: bool,
    pub(super) seconds: f64,
    /// The samples for training and for validation.
    pub(super) samples: [usize; 2],
}

/// Trains with the settings.
pub(super) fn fit(prepared: Prepared, settings: &Settings, screen: &Screen) -> Result<Outcome> {
    let run = Run { settings, screen, start: Instant::now() };
    match (prepared, &settings.inputs) {
        (Prepared::Table(rows), Inputs::Table { numbers, categories, .. }) => {
            run.table(&rows, numbers, categories)
        }
        (Prepared::Pictures(folder), Inputs::Pictures { .. }) => run.pictures(folder),
        (Prepared::Texts(texts), &Inputs::Texts { words, length, .. }) => {
            run.texts(&texts, words, length)
        }
        _ => Err(Error::argument("the settings", "are for another kind of data")),
    }
}

struct Run<'a> {
    settings: &'a Settings,
    screen: &'a Screen,
    start: Instant,
}

/// A finished training.
struct Trained {
    history: History,
    best_epoch: u64,
    interrupted: bool,
}

/// The parts of an outcome that depend on the preprocessing.
struct Parts {
    classes: Vec<String>,
    samples: [usize; 2],
}

impl Run<'_> {
    /// The random numbers for one purpose.
    fn rng(&self, purpose: u64) -> Rng {
        Rng::seed(self.settings.seed).fork(purpose)
    }

    fn split(&self, samples: usize, labels: Option<(&[i64], usize)>) -> Result<[Vec<usize>; 2]> {
        split(samples, labels, self.settings.validation, &mut self.rng(0))
    }

    fn build(&self, takes: &Takes, outputs: usize) -> Result<Sequential> {
        let model = self.settings.training.network.build(takes, outputs, &mut self.rng(1))?;
        self.screen.inform(format_args!("\n{}", model.summary()))?;
        Ok(model)
    }

    fn inform(&self, what: &str, samples: [usize; 2], classes: &[String]) -> Result<()> {
        let data = self.settings.data_name();
        let all = samples[0] + samples[1];
        self.screen.inform(format_args!("{data}: {all} {what}"))?;
        let target = match (&self.settings.target, self.settings.task) {
            (Some(target), Task::Regression) => format!("the target {target:?} is a number"),
            (Some(target), _) => format!("{target:?} has {}", listed(classes)),
            (None, _) => listed(classes),
        };
        self.screen.inform(target)?;
        let [train, rest] = samples;
        self.screen.inform(format_args!("{train} are for training, {rest} for validation"))
    }

    fn table(&self, rows: &Table, numbers: &[String], categories: &[String]) -> Result<Outcome> {
        let target = self.settings.target.as_deref().unwrap_or_default();
        let names = match self.settings.task {
            Task::Classification => classes(rows, target)?,
            Task::Regression => Vec::new(),
        };
        let labels = match self.settings.task {
            Task::Classification => Some(rows.labels(target, &names)?.to_vec()),
            Task::Regression => None,
        };
        let labels = labels.as_deref().map(|labels| (labels, names.len()));
        let [train, rest] = self.split(rows.len(), labels)?;
        let samples = [train.len(), rest.len()];
        let in_file = |error| in_file(&self.settings.data, error);
        let known = rows.rows(&train)?;
        let is_empty = |name: &&String| match known.column(name) {
            Ok(column) => column.missing() == known.len(),
            Err(_) => false,
        };
        let (empty, numbers): (Vec<&String>, Vec<&String>) = numbers.iter().partition(is_empty);
        for name in empty {
            self.screen.note(format_args!(
                "the column {name:?} is left out: it has values only in the validation data"
            ));
        }
        let inputs = numbers.len() + categories.len();
        let encoding = TableEncoding::new().numbers(numbers).categories(categories);
        let encoding = encoding.missing(Missing::Median).allow_unknown(true);
        let encoder = encoding.fit(&known).map_err(in_file)?;
        self.inform(&format!("rows, {inputs} columns to predict from"), samples, &names)?;
        let takes = Takes::Numbers(vec![encoder.width()]);
        let parts = Parts { classes: names, samples };
        match self.settings.task {
            Task::Classification => {
                let classes = parts.classes.len();
                let all = encoder.classification_as(rows, target, &parts.classes);
                let all = all.map_err(in_file)?;
                let part = |indices: &[usize]| {
                    let (x, y) = all.batch(indices)?;
                    TensorDataset::classification(x, y, classes)
                };
                let (train, rest) = (part(&train)?, part(&rest)?);
                let model = self.build(&takes, classes)?;
                let describe = |row: &[f32]| encoder.describe(row);
                self.classify(model, &train, &rest, encoder.clone(), parts, Some(&describe))
            }
            Task::Regression => {
                let all = encoder.regression(rows, target).map_err(in_file)?;
                let part = |indices: &[usize]| {
                    let (x, y) = all.batch(indices)?;
                    TensorDataset::new(x, y)
                };
                let (train, rest) = (part(&train)?, part(&rest)?);
                let model = self.build(&takes, 1)?;
                self.regress(model, &train, &rest, encoder, parts)
            }
        }
    }

    fn pictures(&self, folder: ImageFolder) -> Result<Outcome> {
        let Inputs::Pictures { size, grey, augment, skip_damaged } = self.settings.inputs else {
            return Err(Error::argument("the settings", "are not for pictures"));
        };
        let folder = folder.size(size[0], size[1]).grey(grey);
        let names = folder.class_names().to_vec();
        check_classes("the folder", &names)?;
        let (all, damaged) =
            pictures::read(&folder, Path::new(&self.settings.data_name()), skip_damaged)?;
        if damaged > 0 {
            self.screen.note(format_args!("{damaged} pictures cannot be read and are left out"));
        }
        let labels = all.targets().to_vec();
        let [train, rest] = self.split(all.len(), Some((&labels, names.len())))?;
        let samples = [train.len(), rest.len()];
        let encoder =
            folder.encoder(pictures::normalization(&all.inputs().index_select(0, &train)?)?)?;
        let colour = if grey { "grey" } else { "colour" };
        let what = format!("pictures of {}×{} pixels, in {colour}", size[0], size[1]);
        self.inform(&what, samples, &names)?;
        let (train, rest) = (all.subset(train)?, all.subset(rest)?);
        let changes = (Changes::new(augment, size), encoder.clone());
        let train = TransformDataset::new(train, changes)?;
        let rest = TransformDataset::new(rest, encoder.clone())?;
        let takes = Takes::Numbers(encoder.input_shape().to_vec());
        let model = self.build(&takes, names.len())?;
        self.classify(model, &train, &rest, encoder, Parts { classes: names, samples }, None)
    }

    fn texts(&self, texts: &Texts, words: usize, length: usize) -> Result<Outcome> {
        let Texts { texts, labels, classes } = texts;
        let [train, rest] = self.split(texts.len(), Some((labels, classes.len())))?;
        let samples = [train.len(), rest.len()];
        let part = |indices: &[usize]| -> Vec<&str> {
            indices.iter().map(|&index| texts[index].as_str()).collect()
        };
        let vocabulary = Vocabulary::words(part(&train), words);
        let encoder = TextEncoder::new(vocabulary, length)?;
        let symbols = encoder.vocabulary().len();
        let what = format!("texts, of which {length} words are read, {symbols} different ones");
        self.inform(&what, samples, classes)?;
        let data = |indices: &[usize]| {
            let labels: Vec<i64> = indices.iter().map(|&index| labels[index]).collect();
            let labels = Tensor::from_vec(labels, [indices.len()])?;
            TensorDataset::classification(encoder.inputs(&part(indices))?, labels, classes.len())
        };
        let (train, rest) = (data(&train)?, data(&rest)?);
        let model = self.build(&Takes::Tokens { length, symbols }, classes.len())?;
        let parts = Parts { classes: classes.clone(), samples };
        self.classify(model, &train, &rest, encoder, parts, None)
    }

    fn classify<X, P>(
        &self,
        model: Sequential,
        train: &impl Dataset<Input = Tensor<X>, Target = Tensor<i64>>,
        rest: &impl Dataset<Input = Tensor<X>, Target = Tensor<i64>>,
        preprocessing: P,
        parts: Parts,
        describe: Option<Describe<'_>>,
    ) -> Result<Outcome>
    where
        X: Element,
        P: Preprocessing,
        Sequential: Model<Tensor<X>, Output = Var>,
    {
        let mut trainer =
            Trainer::new(model, self.optimizer(), CrossEntropy::new()).metric(Accuracy::new());
        let trained = self.train(&mut trainer, train, rest)?;
        let mut found = Classification::of(&trainer, rest)?.class_names(&parts.classes);
        if let Some(describe) = describe {
            found = found.features(describe);
        }
        let figures = vec![
            ("accuracy".to_owned(), found.accuracy().into()),
            ("loss".to_owned(), found.loss.into()),
        ];
        let table = found.to_string();
        let report = self.report(&trained, trainer.model()).classification(found);
        let report = report.class_names(&parts.classes);
        let predictor = Predictor::new(trainer.into_model(), preprocessing);
        self.outcome(predictor.classes(&parts.classes), trained, report, table, figures, parts)
    }

    fn regress<P: Preprocessing>(
        &self,
        model: Sequential,
        train: &TensorDataset<f32>,
        rest: &TensorDataset<f32>,
        preprocessing: P,
        parts: Parts,
    ) -> Result<Outcome> {
        // The network learns standardised targets. Its last layer then gets
        // their scale, so that the saved network predicts in the original unit.
        let targets = train.targets().to_vec();
        let count = targets.len() as f64;
        let mean = targets.iter().map(|&y| f64::from(y)).sum::<f64>() / count;
        let squares = targets.iter().map(|&y| (f64::from(y) - mean).powi(2)).sum::<f64>();
        let scale = (squares / count).sqrt();
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let scaled = |data: &TensorDataset<f32>| {
            let targets = data.targets().map(|y| ((f64::from(y) - mean) / scale) as f32);
            TensorDataset::new(data.inputs().clone(), targets)
        };
        let mut trainer =
            Trainer::new(model, self.optimizer(), MSELoss::new()).metric(R2Score::new());
        let trained = self.train(&mut trainer, &scaled(train)?, &scaled(rest)?)?;
        rescale(trainer.model_mut(), mean, scale)?;
        let found = Regression::of(&trainer, rest)?;
        let figures = vec![
            ("mean_absolute_error".to_owned(), found.mean_absolute_error().into()),
            ("root_mean_squared_error".to_owned(), found.root_mean_squared_error().into()),
            ("r2".to_owned(), found.r2().into()),
        ];
        let table = found.to_string();
        let report = self.report(&trained, trainer.model()).regression(found);
        let predictor = Predictor::new(trainer.into_model(), preprocessing);
        self.outcome(predictor, trained, report, table, figures, parts)
    }

    fn optimizer(&self) -> AdamW {
        let plan = &self.settings.training;
        let plateau = ReduceLROnPlateau::new().factor(0.5).patience(plan.patience / 2);
        AdamW::new(plan.learning_rate).weight_decay(plan.weight_decay).reduce_on_plateau(plateau)
    }

    fn train<X, Y, L>(
        &self,
        trainer: &mut Trainer<Sequential, AdamW, L, Tensor<Y>, Tensor<X>>,
        train: &impl Dataset<Input = Tensor<X>, Target = Tensor<Y>>,
        rest: &impl Dataset<Input = Tensor<X>, Target = Tensor<Y>>,
    ) -> Result<Trained>
    where
        X: Element,
        Y: Element,
        L: Loss<Tensor<Y>, f32, Var>,
        Sequential: Model<Tensor<X>, Output = Var>,
    {
        let plan = &self.settings.training;
        let flag = StopFlag::on_ctrl_c()?;
        let mut stopping = EarlyStopping::new(plan.patience);
        let fit = Fit::epochs(plan.epochs)
            .batch_size(plan.batch_size)
            .seed(self.settings.seed)
            .validate_on(rest)
            .callback(&mut stopping)
            .callback(Interruption(flag.clone()))
            .callback(self.screen.progress(plan.epochs, train.len().div_ceil(plan.batch_size)))
            .quiet();
        let fit = if self.settings.balanced { fit.balanced() } else { fit };
        let history = trainer.fit(train, fit)?;
        if let Some(reason) = &history.stopped {
            self.screen.inform(format_args!("stopped: {reason}"))?;
        }
        let last = history.epochs.len() as u64;
        let best_epoch = stopping.best().map_or(last, |(_, epoch)| epoch);
        Ok(Trained { history, best_epoch, interrupted: flag.is_set() })
    }

    fn report(&self, trained: &Trained, model: &Sequential) -> Report {
        let Settings { target, seed, validation, training, .. } = self.settings;
        let title = match target {
            Some(target) => format!("{target} of {}", self.settings.data_name()),
            None => self.settings.data_name(),
        };
        Report::new(title)
            .setting("data", self.settings.data.display())
            .setting("seed", seed)
            .setting("validation fraction", validation)
            .setting("batch size", training.batch_size)
            .setting("largest number of epochs", training.epochs)
            .setting("patience", training.patience)
            .setting("optimizer", format_args!("AdamW, learning rate {}", training.learning_rate))
            .setting("saved epoch", trained.best_epoch)
            .summary(&model.summary())
            .history(&trained.history)
    }

    fn outcome<P: Preprocessing>(
        &self,
        predictor: Predictor<P>,
        trained: Trained,
        report: Report,
        table: String,
        figures: Figures,
        parts: Parts,
    ) -> Result<Outcome> {
        let mut model = predictor.model().to_file()?;
        model.metadata.extend(predictor.metadata());
        if let Some(target) = &self.settings.target {
            model.metadata.insert(TARGET.to_owned(), target.clone());
        }
        if let Inputs::Texts { column: Some(column), .. } = &self.settings.inputs {
            model.metadata.insert(COLUMN.to_owned(), column.clone());
        }
        let Parts { classes, samples } = parts;
        Ok(Outcome {
            parameters: predictor.parameter_count(),
            model,
            report,
            table,
            figures,
            classes,
            epochs: trained.history.epochs.len(),
            best_epoch: trained.best_epoch,
            interrupted: trained.interrupted,
            seconds: self.start.elapsed().as_secs_f64(),
            samples,
        })
    }
}

/// Makes the last layer predict `mean + scale·y` instead of `y`.
fn rescale(model: &mut Sequential, mean: f64, scale: f64) -> Result<()> {
    let mut state = model.state_dict();
    for (name, shift) in [("output.weight", 0.0), ("output.bias", mean)] {
        let Some(values) = state.typed::<f32>(name) else {
            return Err(Error::state(format!("the tensor {name} is missing")));
        };
        let scaled = values.map(|x| (f64::from(x) * scale + shift) as f32);
        state.insert(name, scaled);
    }
    model.load_state_dict(&state)
}

/// Lists the first classes.
fn listed(classes: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = classes.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if classes.len() > SHOWN { ", …" } else { "" };
    format!("{} classes: {shown}{more}", classes.len())
}

/// Ends training after the step in which Ctrl-C is pressed, and restores the
/// best weights like [`EarlyStopping`].
struct Interruption(StopFlag);

impl Callback for Interruption {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if self.0.is_set() {
            now.stop("Ctrl-C");
        }
        Ok(())
    }
}
