//! The settings of a training run.

use std::fmt;
use std::path::PathBuf;

use dendra_datasets::{DataLoader, Dataset};
use dendra_optim::GradScaler;
use dendra_tensor::{Error, Float, HalfPrecision, Result, Tensor};

use crate::callback::Callback;
use crate::checkpoint::{Checkpoints, Keeper};
use crate::gradient_rule::GradientRule;
use crate::not_finite::NotFinite;
use crate::progress::Verbose;
use crate::shared::SharedRun;
use crate::step::Mixed;
use crate::stop::StopFlag;

/// A data set for a [`Trainer`](crate::Trainer), with batches of inputs `I` and
/// targets `Y`.
pub(crate) type Data<'a, I, Y> = &'a dyn Dataset<Input = I, Target = Y>;

/// The order of the samples in an epoch.
#[derive(Clone, Debug)]
pub(crate) enum Sampling {
    InOrder,
    Shuffled,
    Balanced,
    Weighted(Vec<f64>),
}

impl Sampling {
    /// The same order for a part of the data.
    pub(crate) fn of_part(&self, indices: &[usize]) -> Self {
        match self {
            Self::Weighted(weights) => {
                Self::Weighted(indices.iter().filter_map(|&i| weights.get(i).copied()).collect())
            }
            other => other.clone(),
        }
    }

    /// Sets this order on a loader.
    pub(crate) fn apply<'d, D: Dataset + ?Sized>(
        &self,
        loader: DataLoader<'d, D>,
        seed: u64,
    ) -> Result<DataLoader<'d, D>> {
        match self {
            Self::InOrder => Ok(loader.seed(seed)),
            Self::Shuffled => Ok(loader.shuffle(seed)),
            Self::Balanced => loader.balanced(seed),
            Self::Weighted(weights) => loader.weighted(weights, seed),
        }
    }
}

/// The order as checkpoints store it.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InOrder => f.write_str("in order"),
            Self::Shuffled => f.write_str("shuffled"),
            Self::Balanced => f.write_str("balanced"),
            Self::Weighted(weights) => {
                let bytes: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
                f.write_str("weighted ")?;
                hmac_sha256::Hash::hash(&bytes).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// The settings of a training run, made by [`Fit::epochs`] or [`Fit::steps`].
///
/// `Y` and `I` are the types of a batch's targets and inputs, and `T` is the
/// number type of the model; [`Trainer::fit`](crate::Trainer::fit) infers them.
///
/// Gradient clipping and learning-rate schedules, by step or by epoch, are
/// settings of the optimizer.
///
/// ```
/// use dendra_train::{EarlyStopping, Fit};
///
/// let fit: Fit = Fit::epochs(50)
///     .batch_size(64)
///     .accumulate(4)
///     .validation_split(0.2)
///     .class_weights([1.0, 1.0, 2.5])
///     .callback(EarlyStopping::new(3));
/// ```
#[must_use = "pass the settings to Trainer::fit"]
pub struct Fit<'a, Y = Tensor<i64>, I = Tensor, T: Float = f32> {
    pub(crate) plan: Plan<'a, T>,
    pub(crate) validation: Option<Data<'a, I, Y>>,
}

/// The settings of a [`Fit`] that do not depend on the types of the data.
pub(crate) struct Plan<'a, T: Float> {
    pub(crate) epochs: u64,
    pub(crate) max_steps: Option<u64>,
    pub(crate) batches_per_epoch: Option<usize>,
    pub(crate) batch_size: usize,
    pub(crate) accumulate: usize,
    pub(crate) seed: u64,
    pub(crate) sampling: Sampling,
    pub(crate) drop_last: bool,
    pub(crate) workers: Option<usize>,
    pub(crate) validation_split: Option<f64>,
    pub(crate) validate_every: u64,
    pub(crate) class_weights: Option<Vec<f64>>,
    pub(crate) mixed: Mixed,
    pub(crate) rule: Option<Box<dyn GradientRule<T> + 'a>>,
    pub(crate) not_finite: NotFinite,
    pub(crate) callbacks: Vec<Box<dyn Callback<T> + 'a>>,
    pub(crate) checkpoints: Option<Checkpoints>,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) resume_must_exist: bool,
    pub(crate) stop: StopFlag,
    pub(crate) ctrl_c: bool,
    pub(crate) verbose: Verbose,
}

impl<Y, I, T: Float> fmt::Debug for Fit<'_, Y, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Fit");
        debug.field("epochs", &self.plan.epochs).field("max_steps", &self.plan.max_steps);
        debug.field("batch_size", &self.plan.batch_size).field("seed", &self.plan.seed);
        debug.finish_non_exhaustive()
    }
}

impl<'a, Y, I, T: Float> Fit<'a, Y, I, T> {
    /// Trains for this many epochs, on shuffled batches of 32.
    pub fn epochs(epochs: u64) -> Self {
        let plan = Plan {
            epochs,
            max_steps: None,
            batches_per_epoch: None,
            batch_size: 32,
            accumulate: 1,
            seed: 0,
            sampling: Sampling::Shuffled,
            drop_last: false,
            workers: None,
            validation_split: None,
            validate_every: 1,
            class_weights: None,
            mixed: Mixed::default(),
            rule: None,
            not_finite: NotFinite::Stop,
            callbacks: Vec::new(),
            checkpoints: None,
            resume: None,
            resume_must_exist: true,
            stop: StopFlag::new(),
            ctrl_c: false,
            verbose: Verbose::Bar,
        };
        Self { plan, validation: None }
    }

    /// Trains for this many steps, over as many epochs as that takes.
    pub fn steps(steps: u64) -> Self {
        Self::epochs(u64::MAX).max_steps(steps)
    }

    /// Stops after this many steps, even in the middle of an epoch.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.plan.max_steps = Some(steps);
        self
    }

    /// Ends each epoch after this many batches when the data has more.
    pub fn batches_per_epoch(mut self, batches: usize) -> Self {
        self.plan.batches_per_epoch = Some(batches);
        self
    }

    /// The number of samples in a batch. The last batch of an epoch has the
    /// rest.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.plan.batch_size = batch_size;
        self
    }

    /// Whether to leave out the last batch when it is not full, which helps
    /// models with batch norm; false by default.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.plan.drop_last = drop_last;
        self
    }

    /// The number of batches whose gradients make one step; 1 by default. The
    /// step is that of a single large batch, but needs only the memory of a
    /// small one: each batch is weighted by the divisor of its loss (see
    /// [`Loss::divisor`](dendra_losses::Loss::divisor)). The last step of an
    /// epoch uses the batches that are left.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.plan.accumulate = batches;
        self
    }

    /// The seed of everything random in training: the order of the samples and
    /// dropout. The same seed gives bit-identical weights.
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// Whether to shuffle the samples in every epoch; true by default.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.plan.sampling = if shuffle { Sampling::Shuffled } else { Sampling::InOrder };
        self
    }

    /// Draws the samples with replacement, so that every class is drawn equally
    /// often, whatever its share of the data; see
    /// [`DataLoader::balanced`](dendra_datasets::DataLoader::balanced).
    pub fn balanced(mut self) -> Self {
        self.plan.sampling = Sampling::Balanced;
        self
    }

    /// Draws the samples with replacement, in proportion to their weights, one
    /// weight for each sample of the training data; see
    /// [`DataLoader::weighted`](dendra_datasets::DataLoader::weighted). To
    /// weight the loss instead, see [`class_weights`](Self::class_weights).
    pub fn weighted(mut self, weights: impl Into<Vec<f64>>) -> Self {
        self.plan.sampling = Sampling::Weighted(weights.into());
        self
    }

    /// The number of background threads that gather batches ahead; with 0, a
    /// batch is gathered when the training needs it. By default, the first
    /// batches are timed, and threads are used when gathering takes long. The
    /// number affects only the speed, never the result.
    pub fn workers(mut self, workers: usize) -> Self {
        self.plan.workers = Some(workers);
        self
    }

    /// Evaluates the model on this data after every epoch.
    pub fn validate_on(mut self, data: &'a impl Dataset<Input = I, Target = Y>) -> Self {
        self.validation = Some(data);
        self
    }

    /// Splits off this share of the training data, drawn at random with the
    /// seed, for validation.
    pub fn validation_split(mut self, share: f64) -> Self {
        self.plan.validation_split = Some(share);
        self
    }

    /// Evaluates only after every `epochs` epochs, and after the last one.
    pub fn validate_every(mut self, epochs: u64) -> Self {
        self.plan.validate_every = epochs;
        self
    }

    /// The weight of each class in the training loss, which must be a loss of
    /// class labels. The validation loss is not weighted.
    pub fn class_weights(mut self, weights: impl Into<Vec<f64>>) -> Self {
        self.plan.class_weights = Some(weights.into());
        self
    }

    /// Rounds the operands of products to half precision while training, as
    /// [`Tape::autocast`](dendra_autograd::Tape::autocast) describes: mixed
    /// precision. Parameters stay as they are, and evaluation does not round.
    /// With [`HalfPrecision::F16`], the loss is scaled by
    /// [`grad_scaler`](Self::grad_scaler).
    pub fn autocast(mut self, precision: HalfPrecision) -> Self {
        self.plan.mixed.precision = Some(precision);
        if precision == HalfPrecision::F16 {
            self.plan.mixed.scaler.get_or_insert_default();
        }
        self
    }

    /// Scales the loss. A step whose gradients are not finite at a scale above 1
    /// is skipped, with an incident in the history. At a scale of 1, it is an
    /// error, as without a scaler. The scale is in the checkpoints.
    pub fn grad_scaler(mut self, scaler: GradScaler) -> Self {
        self.plan.mixed.scaler = Some(scaler);
        self
    }

    /// Makes the gradients by a rule that chooses the samples of each step, such
    /// as that of private training. An epoch has as many steps as the data has
    /// batches. The loss must be able to give a value for each sample, see
    /// [`Loss::unreduced`](dendra_losses::Loss::unreduced). Pass `&mut rule` to
    /// use it after the training.
    ///
    /// Training by several processes is a rule too; it keeps the samples of the
    /// loader and takes any loss.
    pub fn gradients(mut self, rule: impl GradientRule<T> + 'a) -> Self {
        self.plan.rule = Some(Box::new(rule));
        self
    }

    /// What to do with a step whose loss or gradient is not finite; the
    /// training stops by default.
    pub fn not_finite(mut self, policy: NotFinite) -> Self {
        self.plan.not_finite = policy;
        self
    }

    /// Adds a callback. Callbacks are called in the order in which they were
    /// added. Pass `&mut callback` to use it after the training.
    pub fn callback(mut self, callback: impl Callback<T> + 'a) -> Self {
        self.plan.callbacks.push(Box::new(callback));
        self
    }

    /// Writes checkpoints.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.plan.checkpoints = Some(checkpoints);
        self
    }

    /// Resumes from a checkpoint, or from the last one in a folder, and trains
    /// until the original run would have ended. Data, model, optimizer and
    /// settings must be the same as in the interrupted run. The final weights
    /// are then bit for bit those of an uninterrupted run. A run that a
    /// callback ended is complete.
    ///
    /// For the interrupted epoch, the history has the loss over all batches,
    /// and the metrics over the batches after the checkpoint.
    pub fn resume(mut self, path: impl Into<PathBuf>) -> Self {
        self.plan.resume = Some(path.into());
        self.plan.resume_must_exist = true;
        self
    }

    /// Like [`resume`](Self::resume) if the checkpoint exists; otherwise starts
    /// a new run. This suits a program that is restarted until the run is
    /// complete.
    pub fn resume_if_present(mut self, path: impl Into<PathBuf>) -> Self {
        self.plan.resume = Some(path.into());
        self.plan.resume_must_exist = false;
        self
    }

    /// When this flag is set, for example by another thread, `fit` completes
    /// the step, writes a checkpoint and returns [`Error::Interrupted`].
    pub fn stop_when(mut self, flag: &StopFlag) -> Self {
        self.plan.stop = flag.clone();
        self
    }

    /// Does the same when the user presses Ctrl-C. A second Ctrl-C ends the
    /// program at once.
    #[cfg(feature = "interrupt")]
    pub fn stop_on_ctrl_c(mut self) -> Self {
        self.plan.ctrl_c = true;
        self
    }

    /// Serves a page that shows the curves during the training, on this port of
    /// the loopback address, so only for browsers on this machine. The address
    /// is printed; with port 0, a free port is chosen. The result of the
    /// training does not depend on it.
    ///
    /// # Errors
    ///
    /// `fit` fails before it trains if the port is taken.
    #[cfg(feature = "live")]
    pub fn live(self, port: u16) -> Self {
        self.callback(crate::live::LivePage::new(port))
    }

    /// How much to print.
    pub fn verbose(mut self, verbose: Verbose) -> Self {
        self.plan.verbose = verbose;
        self
    }

    /// Prints nothing.
    pub fn quiet(self) -> Self {
        self.verbose(Verbose::Silent)
    }
}

impl<T: Float> Plan<'_, T> {
    /// The run as several processes share it, if they do.
    pub(crate) fn shared(&mut self) -> Option<&mut dyn SharedRun<T>> {
        self.rule.as_mut()?.shared()
    }

    /// The order of the samples as checkpoints store it.
    pub(crate) fn order_of_samples(&mut self) -> String {
        let division = self.shared().map(|shared| shared.division());
        match (division, &self.rule) {
            (Some(division), _) => format!("{}, {division}", self.sampling),
            (None, Some(rule)) => format!("chosen by {}", rule.name()),
            (None, None) => self.sampling.to_string(),
        }
    }

    /// What writes the checkpoints, if there are any.
    pub(crate) fn keeper(&mut self) -> Result<Option<Keeper>> {
        let writes = self.shared().is_none_or(|shared| shared.leads());
        let Some(checkpoints) = self.checkpoints.take() else { return Ok(None) };
        match writes {
            true => Keeper::open(checkpoints).map(Some),
            false => Ok(Some(Keeper::of_another_process(checkpoints))),
        }
    }

    /// The result of writing files, on which all processes of the run agree.
    pub(crate) fn agree(&mut self, written: Result<()>) -> Result<()> {
        match self.shared() {
            Some(shared) => shared.agree(written),
            None => written,
        }
    }

    /// Checks the settings.
    pub(crate) fn check(&mut self, validates: bool) -> Result<()> {
        let positive = [
            ("accumulate", self.accumulate as u64),
            ("validate_every", self.validate_every),
            ("batches_per_epoch", self.batches_per_epoch.unwrap_or(1) as u64),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::argument("Fit", format!("{name} must be at least 1, got 0")));
        }
        if self.epochs == u64::MAX && self.max_steps.is_none() {
            return Err(Error::argument(
                "Fit",
                "expected a number of epochs or steps, got neither",
            ));
        }
        if validates && self.validation_split.is_some() {
            let message = "expected validation data or a share to split off, got both";
            return Err(Error::argument("Fit", message));
        }
        if let Some(share) = self.validation_split
            && !(share > 0.0 && share < 1.0)
        {
            let message = format!("validation_split must lie between 0 and 1, got {share}");
            return Err(Error::argument("Fit", message));
        }
        if let Some(scaler) = &self.mixed.scaler {
            scaler.check()?;
        }
        let is_mixed = self.mixed.precision.is_some() || self.mixed.scaler.is_some();
        if let Some(rule) = self.rule.as_ref().filter(|_| is_mixed) {
            let message = format!(
                "autocast and grad_scaler cannot be set together with the gradients of {}, which \
                 are computed in full precision",
                rule.name()
            );
            return Err(Error::argument("Fit", message));
        }
        let is_shared = self.shared().is_some();
        if let Some(rule) = &self.rule {
            let clash = match self.sampling {
                _ if is_shared && self.accumulate == 1 => None,
                Sampling::Balanced => Some("balanced"),
                Sampling::Weighted(_) => Some("weighted"),
                _ if self.accumulate > 1 => Some("accumulate"),
                _ if self.not_finite != NotFinite::Stop => Some("not_finite"),
                _ => None,
            };
            if let Some(setting) = clash {
                let reason = match is_shared {
                    true => "divides batches itself",
                    false => "chooses the samples of a step itself",
                };
                let message = format!(
                    "{setting} cannot be set together with the gradients of {}, which {reason}",
                    rule.name()
                );
                return Err(Error::argument("Fit", message));
            }
        }
        self.checkpoints.as_ref().map_or(Ok(()), Checkpoints::check)
    }
}
