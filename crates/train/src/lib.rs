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

mod callback;
mod checkpoint;
mod early_stopping;
mod fit;
mod history;
mod metrics;
mod monitor;
mod not_finite;
mod progress;
mod run;
mod step;
mod stop;
mod trainer;

pub use callback::{BatchReport, Callback, Moment};
pub use checkpoint::{Checkpoint, Checkpoints, Every, Position, Settings};
pub use early_stopping::EarlyStopping;
pub use fit::Fit;
pub use history::{EpochReport, Evaluation, History};
pub use metrics::{
    Accuracy, Average, AveragePrecision, BalancedAccuracy, BinaryAccuracy, BinaryF1,
    BinaryPrecision, BinaryRecall, CohenKappa, ConfusionMatrix, F1, MatthewsCorrelation,
    MeanAbsoluteError, MeanSquaredError, Metric, Perplexity, Precision, R2Score, Recall, RocAuc,
    RootMeanSquaredError, TopKAccuracy,
};
pub use monitor::Goal;
pub use not_finite::NotFinite;
pub use progress::Verbose;
pub use stop::StopFlag;
pub use trainer::Trainer;
