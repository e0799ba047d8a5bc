//! Loss functions.
//!
//! A loss is a struct with settings. Its method `compute` takes a
//! [`Var`](dendra_autograd::Var) in training and a plain
//! [`Tensor`](dendra_tensor::Tensor) elsewhere. Functions such as
//! [`cross_entropy`] call it with the default settings. A trainer uses the trait
//! [`Loss`], which also returns the divisor of a mean. Closures that take one or
//! several outputs implement this trait too. Names, defaults and formulas are
//! those of PyTorch.
//!
//! If a loss broadcasts in PyTorch, the output or the target can be broadcast to
//! the shape of the other, as in [`mse_loss`]. It is an error if both would have
//! to be broadcast, for example `[n, 1]` and `[n]` to `[n, n]`, because this is
//! usually a mistake; PyTorch only warns. [`l1_penalty`] and [`l2_penalty`] are
//! penalties on the weights of a model, to be added to a loss. Constructors and
//! settings never fail: `compute` returns an error for an invalid setting.
//!
//! ```
//! use dendra_autograd::Tape;
//! use dendra_losses::{self as losses, CrossEntropy};
//! use dendra_tensor::Tensor;
//!
//! let logits = Tensor::from([[2.0, 0.5, -1.0], [0.0, 3.0, 0.5_f32]]);
//! let labels = Tensor::from([0, 2_i64]);
//! let loss = losses::cross_entropy(&logits, &labels)?;
//! assert!((loss.item()? - 1.4326).abs() < 1e-4);
//!
//! let tape = Tape::training(42, 0);
//! let smoothed = CrossEntropy::new().label_smoothing(0.1);
//! let gradients = smoothed.compute(&tape.leaf(logits), &labels)?.backward()?;
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod binary;
mod classes;
mod cross_entropy;
mod ctc;
mod dice;
mod divergence;
mod focal;
mod hinge;
mod likelihood;
mod loss;
mod multi_label;
mod nll;
mod pairs;
mod penalty;
mod pointwise;
mod regression;
mod samples;

pub use binary::*;
pub use cross_entropy::*;
pub use ctc::*;
pub use dendra_tensor::Reduction;
pub use dice::*;
pub use divergence::*;
pub use focal::*;
pub use hinge::*;
pub use likelihood::*;
pub use loss::*;
pub use multi_label::*;
pub use nll::*;
pub use pairs::*;
pub use penalty::*;
pub use regression::*;
