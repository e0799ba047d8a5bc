//! Training the way of Keras: a [`Trainer`] puts model, optimizer and loss
//! together and offers `fit`, `evaluate` and `predict`.
//!
//! ```
//! use dendra_datasets::{Dataset, moons};
//! use dendra_losses::CrossEntropy;
//! use dendra_nn::Sequential;
//! use dendra_optim::Adam;
//! use dendra_tensor::Rng;
//! use dendra_train::{Accuracy, Fit, Trainer};
//!
//! let data = moons(500, 0.1, 7)?;
//! let (train, test) = data.split(0.8, &mut Rng::seed(1))?;
//! let model = Sequential::input([2]).dense(16).relu().dense(2).build(&mut Rng::seed(42))?;
//! let mut trainer =
//!     Trainer::new(model, Adam::new(1e-2), CrossEntropy::new()).metric(Accuracy::new());
//! trainer.fit(&train, Fit::epochs(20).validate_on(&test))?;
//! assert!(trainer.evaluate(&test)?.metric("accuracy")? > 0.9);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod batches;
mod callback;
mod checkpoint;
mod early_stopping;
mod finder;
mod fit;
mod folds;
mod gradient_rule;
mod history;
#[cfg(feature = "live")]
mod live;
mod metrics;
mod monitor;
mod not_finite;
#[cfg(any(feature = "report", feature = "tensorboard"))]
mod picture;
#[cfg(feature = "plots")]
mod plots;
mod predictor;
mod profile;
mod progress;
mod record;
#[cfg(feature = "report")]
mod report;
mod run;
pub mod search;
mod shared;
mod stage;
mod statistics;
mod step;
mod stop;
mod table;
#[cfg(feature = "tensorboard")]
mod tensorboard;
mod terminal;
mod trainer;
mod trial;

pub use callback::{AnyModel, BatchReport, Callback, Moment};
pub use checkpoint::{Checkpoint, Checkpoints, Every, Position, RunSettings};
pub use early_stopping::EarlyStopping;
pub use finder::{LearningRateCurve, LearningRates};
pub use fit::Fit;
pub use folds::{CrossValidation, KFold};
pub use gradient_rule::GradientRule;
pub use history::{EpochReport, Evaluation, History};
pub use metrics::*;
pub use monitor::Goal;
pub use not_finite::NotFinite;
#[cfg(feature = "plots")]
pub use plots::{Chart, Svg, confusion_matrix, learning_curve};
pub use predictor::Predictor;
pub use profile::{Cost, LayerProfile, OperationProfile, Profile};
pub use progress::Verbose;
pub use record::{RecordedRun, RunComparison, RunFolder, compare_runs};
#[cfg(feature = "report")]
pub use report::{ClassFigures, Classification, Mistake, Regression, Report};
#[doc(hidden)]
pub use run::compile_here;
pub use search::Search;
pub use shared::{Figures, GradientSeen, Shard, SharedBatch, SharedRun, SharedStep};
pub use statistics::{Spread, Statistics};
pub use step::checked_backward;
pub use stop::StopFlag;
#[cfg(feature = "tensorboard")]
pub use tensorboard::{EventWriter, TensorBoard};
pub use terminal::terminal_width;
pub use trainer::Trainer;
pub use trial::Overfit;
