//! Optimizers, schedules, losses and metrics by name: one row each.
//!
//! A row has the constructor and its arguments with their defaults, followed by
//! the methods that are settings. A setting whose type differs in Rust has the
//! function that converts it.

use dendra_losses::*;
use dendra_optim::*;
use dendra_train::*;

use crate::arguments::{Arguments, Refusal};
use crate::objective::{AnyLoss, AnyMetric};
use crate::optimizer::{AnyOptimizer, AnySchedule};

/// A row for Python: the name, the arguments with their defaults, and the names
/// of the settings.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [(&'static str, &'static str)],
    pub(crate) settings: &'static [&'static str],
}

/// Calls the method of a setting, if the setting is given.
macro_rules! set {
    ($value:ident, $given:ident, $setting:ident) => {
        if let Some(given) = $given.optional(stringify!($setting))? {
            $value = $value.$setting(given);
        }
    };
    ($value:ident, $given:ident, $setting:ident($($part:ident),+)) => {
        if let Some(($($part),+)) = $given.optional(stringify!($setting))? {
            $value = $value.$setting($($part),+);
        }
    };
    ($value:ident, $given:ident, $setting:ident: $read:ident) => {
        if let Some(given) = $given.optional(stringify!($setting))? {
            let given = $read(given)
                .map_err(|error| Refusal::value(&$given.context, stringify!($setting), error))?;
            $value = $value.$setting(given);
        }
    };
}

/// An argument of a constructor, or its default.
macro_rules! argument {
    ($given:ident, $argument:ident = $default:expr) => {
        $given.optional(stringify!($argument))?.unwrap_or($default)
    };
    ($given:ident, $argument:ident) => {
        $given.take(stringify!($argument))?
    };
}

/// A table, and the function that creates the object of a row:
///
/// ```text
/// NAME: FAMILY = CONSTRUCTOR [ARGUMENT = DEFAULT, …] { SETTING, … };
/// ```
macro_rules! table {
    (
        $(#[$doc:meta])*
        $table:ident, fn $make:ident() -> $result:ident;
        $(
            $row:ident: $family:ident = $new:path
                [$($argument:ident $(= $default:expr)?),*]
                { $($setting:ident $(($($part:ident),+))? $(: $read:ident)?),* };
        )*
    ) => {
        pub(crate) const $table: &[Row] = &[$(Row {
            name: stringify!($row),
            arguments: &[$((stringify!($argument), concat!($(stringify!($default))?))),*],
            settings: &[$(stringify!($setting)),*],
        }),*];

        $(#[$doc])*
        pub(crate) fn $make(mut given: Arguments) -> Result<$result, Refusal> {
            let made = match given.context.clone().as_str() {
                $(stringify!($row) => {
                    #[allow(unused_mut, reason = "some rows have no settings")]
                    let mut value = $new($(argument!(given, $argument $(= $default)?)),*);
                    $(set!(value, given, $setting $(($($part),+))? $(: $read)?);)*
                    $result::$family(value, &mut given)?
                })*
                name => return Err(Refusal::unknown(stringify!($make), name)),
            };
            given.finish()?;
            Ok(made)
        }
    };
}

fn reduction(name: String) -> Result<Reduction, String> {
    match name.as_str() {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        _ => Err(format!("expected \"mean\" or \"sum\", got {name:?}")),
    }
}

fn average(name: String) -> Result<Average, String> {
    match name.as_str() {
        "macro" => Ok(Average::Macro),
        "weighted" => Ok(Average::Weighted),
        "micro" => Ok(Average::Micro),
        _ => Err(format!("expected \"macro\", \"weighted\" or \"micro\", got {name:?}")),
    }
}

fn cycle(name: String) -> Result<CyclicMode, String> {
    match name.as_str() {
        "triangular" => Ok(CyclicMode::Triangular),
        "triangular2" => Ok(CyclicMode::Triangular2),
        _ => Err(format!("expected \"triangular\" or \"triangular2\", got {name:?}")),
    }
}

fn multi_step(milestones: Vec<u64>) -> MultiStepLR {
    MultiStepLR::new(milestones)
}

fn floats(numbers: Vec<f64>) -> Result<Vec<f64>, String> {
    Ok(numbers)
}

fn float(number: f64) -> Result<f64, String> {
    Ok(number)
}

table! {
    /// The optimizer of these settings.
    OPTIMIZERS, fn optimizer() -> AnyOptimizer;
    SGD: descent = SGD::<f32>::new [learning_rate = 0.001] { momentum, dampening, nesterov };
    Adam: descent = Adam::<f32>::new [learning_rate = 0.001] { betas(one, two), eps, amsgrad };
    AdamW: descent = AdamW::<f32>::new [learning_rate = 0.001] { betas(one, two), eps, amsgrad };
    NAdam: descent = NAdam::<f32>::new [learning_rate = 0.002]
        { betas(one, two), eps, momentum_decay, decoupled_weight_decay };
    RAdam: descent = RAdam::<f32>::new [learning_rate = 0.001]
        { betas(one, two), eps, decoupled_weight_decay };
    Adamax: descent = Adamax::<f32>::new [learning_rate = 0.002] { betas(one, two), eps };
    Lamb: descent = Lamb::<f32>::new [learning_rate = 0.001] { betas(one, two), eps };
    Lion: descent = Lion::<f32>::new [learning_rate = 0.0001] { betas(one, two) };
    RMSprop: descent = RMSprop::<f32>::new [learning_rate = 0.01]
        { alpha, eps, momentum, centered };
    Adagrad: descent = Adagrad::<f32>::new [learning_rate = 0.01]
        { lr_decay, initial_accumulator_value, eps };
    Adadelta: descent = Adadelta::<f32>::new [learning_rate = 1.0] { rho, eps };
    Adafactor: descent = Adafactor::<f32>::new [learning_rate = 0.01]
        { beta2_decay, clipping_threshold };
    ASGD: descent = ASGD::<f32>::new [learning_rate = 0.01] { lambd, alpha, t0 };
    Rprop: descent = Rprop::<f32>::new [learning_rate = 0.01]
        { etas(minus, plus), step_sizes(least, largest) };
}

table! {
    /// The schedule of these settings.
    SCHEDULES, fn schedule() -> AnySchedule;
    StepLR: schedule = StepLR::new [step_size] { gamma };
    MultiStepLR: schedule = multi_step [milestones] { gamma };
    ExponentialLR: schedule = ExponentialLR::new [gamma] {};
    LinearLR: schedule = LinearLR::new [total_iters = 5] { start_factor, end_factor };
    ConstantLR: schedule = ConstantLR::new [total_iters = 5] { factor };
    PolynomialLR: schedule = PolynomialLR::new [total_iters = 5] { power };
    CosineAnnealingLR: schedule = CosineAnnealingLR::new [t_max] { eta_min };
    CosineAnnealingWarmRestarts: schedule = CosineAnnealingWarmRestarts::new [t_0]
        { t_mult, eta_min };
    OneCycleLR: schedule = OneCycleLR::new [total_steps]
        { pct_start, div_factor, final_div_factor, three_phase, linear };
    CyclicLR: schedule = CyclicLR::new [max_lr] { step_size_up, step_size_down, mode: cycle };
    NoamLR: schedule = NoamLR::new [d_model, warmup_steps] {};
    ReduceLROnPlateau: plateau = ReduceLROnPlateau::new []
        { factor, patience, maximize, cooldown, min_lr, eps };
}

table! {
    /// The loss of these settings.
    LOSSES, fn loss() -> AnyLoss;
    CrossEntropy: either = CrossEntropy::new []
        { label_smoothing, class_weights: floats, ignore_index, class_axis, reduction: reduction };
    NLLLoss: labels = NLLLoss::new []
        { class_weights: floats, ignore_index, class_axis, reduction: reduction };
    FocalLoss: labels = FocalLoss::new []
        { gamma, class_weights: floats, ignore_index, class_axis, reduction: reduction };
    MultiMarginLoss: labels = MultiMarginLoss::new []
        { p, margin, class_weights: floats, reduction: reduction };
    MultiLabelMarginLoss: labels = MultiLabelMarginLoss::new [] { reduction: reduction };
    DiceLoss: either = DiceLoss::new [] { squared, smooth, reduction: reduction };
    MSELoss: floats = MSELoss::new [] { reduction: reduction };
    L1Loss: floats = L1Loss::new [] { reduction: reduction };
    HuberLoss: floats = HuberLoss::new [delta = 1.0] { reduction: reduction };
    SmoothL1Loss: floats = SmoothL1Loss::new [beta = 1.0] { reduction: reduction };
    BCELoss: floats = BCELoss::new [] { reduction: reduction };
    BCEWithLogitsLoss: floats = BCEWithLogitsLoss::new [] { reduction: reduction };
    SigmoidFocalLoss: floats = SigmoidFocalLoss::new []
        { alpha: float, gamma, reduction: reduction };
    MultiLabelSoftMarginLoss: floats = MultiLabelSoftMarginLoss::new [] { reduction: reduction };
    KLDivLoss: floats = KLDivLoss::new [] { log_target };
    PoissonNLLLoss: floats = PoissonNLLLoss::new [] { log_input, full, eps, reduction: reduction };
    HingeLoss: floats = HingeLoss::new [] { margin, squared, reduction: reduction };
    HingeEmbeddingLoss: floats = HingeEmbeddingLoss::new [] { margin, reduction: reduction };
    SoftMarginLoss: floats = SoftMarginLoss::new [] { reduction: reduction };
}

table! {
    /// The metric of these settings.
    METRICS, fn metric() -> AnyMetric;
    Accuracy: labels = Accuracy::new [] { ignore_index, class_axis };
    TopKAccuracy: labels = TopKAccuracy::new [k = 5] {};
    BalancedAccuracy: labels = BalancedAccuracy::new [] {};
    Precision: labels = Precision::new [] { average: average, ignore_index, class_axis };
    Recall: labels = Recall::new [] { average: average, ignore_index, class_axis };
    F1: labels = F1::new [] { average: average, ignore_index, class_axis };
    CohenKappa: labels = CohenKappa::new [] {};
    MatthewsCorrelation: labels = MatthewsCorrelation::new [] {};
    Perplexity: labels = Perplexity::new [] {};
    RocAuc: either = RocAuc::new [] {};
    AveragePrecision: either = AveragePrecision::new [] {};
    BinaryAccuracy: floats = BinaryAccuracy::at [threshold = 0.5] {};
    BinaryPrecision: floats = BinaryPrecision::at [threshold = 0.5] {};
    BinaryRecall: floats = BinaryRecall::at [threshold = 0.5] {};
    BinaryF1: floats = BinaryF1::at [threshold = 0.5] {};
    CategoricalAccuracy: floats = CategoricalAccuracy::new [] {};
    MeanAbsoluteError: floats = MeanAbsoluteError::new [] {};
    MeanSquaredError: floats = MeanSquaredError::new [] {};
    RootMeanSquaredError: floats = RootMeanSquaredError::new [] {};
    R2Score: floats = R2Score::new [] {};
}
