//! Everything one needs to define and train a network:
//! `use dendra::prelude::*;`.

#[cfg(not(feature = "nn"))]
pub use dendra_autograd::Parameters;
#[cfg(feature = "gradients")]
pub use dendra_autograd::value_and_grad;
pub use dendra_autograd::{Buffer, Counter, Gradients, Param, StateDict, Tape, Var};
#[cfg(feature = "tables")]
pub use dendra_datasets::Csv;
#[cfg(feature = "images")]
pub use dendra_datasets::ImageFolder;
#[cfg(feature = "datasets")]
pub use dendra_datasets::{
    DataLoader, Dataset, ImageDataset, Mnist, Normalization, SampleDataset, Samples, TensorDataset,
    TextDataset, TransformDataset, Vocabulary, blobs, digits, friedman, moons, spirals,
};
#[cfg(feature = "losses")]
pub use dendra_losses::{
    BCELoss, BCEWithLogitsLoss, CTCLoss, CTCTarget, CosineEmbeddingLoss, CrossEntropy, DiceLoss,
    FocalLoss, GaussianNLLLoss, HingeEmbeddingLoss, HingeLoss, HuberLoss, KLDivLoss, L1Loss, Loss,
    MSELoss, MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss,
    NLLLoss, PoissonNLLLoss, Reduction, SigmoidFocalLoss, SmoothL1Loss, SoftMarginLoss,
    TripletMarginLoss, l1_penalty, l2_penalty,
};
#[cfg(feature = "nn")]
pub use dendra_nn::{
    Init, Layer, Model, Module, Output, Parallel, Parameters, Residual, SavedLayer, Sequential,
    SequentialBuilder, initialise, layers::*, register_layer,
};
#[cfg(feature = "optim")]
pub use dendra_optim::{
    ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, ConstantLR, CosineAnnealingLR,
    CosineAnnealingWarmRestarts, CyclicLR, ExponentialLR, LBFGS, Lamb, LinearLR, Lion, MultiStepLR,
    Muon, NAdam, NoamLR, OneCycleLR, Optimizer, PolynomialLR, RAdam, RMSprop, ReduceLROnPlateau,
    Rprop, SGD, Schedule, Split, StepLR, WeightAverage,
};
#[cfg(feature = "linalg")]
pub use dendra_tensor::LinearAlgebra;
pub use dendra_tensor::{Error, Index, Ops, Result, Rng, Shape, Tensor};
#[cfg(feature = "fft")]
pub use dendra_tensor::{FftNorm, Fourier, StftOptions};
#[cfg(feature = "train")]
pub use dendra_train::{
    Accuracy, AveragePrecision, BalancedAccuracy, BatchReport, BinaryAccuracy, BinaryF1,
    BinaryPrecision, BinaryRecall, Callback, CategoricalAccuracy, Checkpoints, CohenKappa,
    ConfusionMatrix, EarlyStopping, EpochReport, Every, F1, Fit, History, MapMetric,
    MatthewsCorrelation, MeanAbsoluteError, MeanSquaredError, Metric, Moment, NotFinite,
    Perplexity, Precision, Predictor, Profile, R2Score, Recall, RocAuc, RootMeanSquaredError,
    TopKAccuracy, Trainer, Verbose,
};

#[cfg(feature = "losses")]
pub use crate::losses;
