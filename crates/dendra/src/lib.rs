#![doc = include_str!("../../../README.md")]

pub use dendra_autograd as autograd;
#[cfg(feature = "datasets")]
pub use dendra_datasets as datasets;
#[cfg(feature = "deploy")]
pub use dendra_deploy as deploy;
#[cfg(feature = "distributed")]
pub use dendra_distributed as distributed;
#[cfg(feature = "explain")]
pub use dendra_explain as explain;
#[cfg(feature = "losses")]
pub use dendra_losses as losses;
#[cfg(feature = "models")]
pub use dendra_models as models;
#[cfg(feature = "nn")]
pub use dendra_nn as nn;
#[cfg(feature = "onnx")]
pub use dendra_onnx as onnx;
#[cfg(feature = "optim")]
pub use dendra_optim as optim;
#[cfg(feature = "privacy")]
pub use dendra_privacy as privacy;
#[cfg(feature = "quant")]
pub use dendra_quant as quant;
pub use dendra_tensor as tensor;
pub use dendra_tensor::{num_threads, set_num_threads};
#[cfg(feature = "train")]
pub use dendra_train as train;
#[cfg(feature = "weights")]
pub use dendra_weights as weights;

pub mod prelude;
pub use prelude::*;

/// The pages of the documentation, whose code is tested.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/guide.md")]
    struct Guide;

    #[doc = include_str!("../../../docs/from-keras.md")]
    struct FromKeras;

    #[doc = include_str!("../../../docs/from-pytorch.md")]
    struct FromPyTorch;

    #[cfg(feature = "models")]
    #[doc = include_str!("../../../docs/models.md")]
    struct Models;
    #[cfg(all(feature = "privacy", feature = "train", feature = "download"))]
    #[doc = include_str!("../../../docs/privacy.md")]
    struct Privacy;
    #[cfg(feature = "weights")]
    #[doc = include_str!("../../../docs/weights.md")]
    struct Weights;
    #[cfg(all(feature = "onnx", feature = "train"))]
    #[doc = include_str!("../../../docs/onnx.md")]
    struct Onnx;
}
