//! Optimizers, learning-rate schedules and gradient clipping.
//!
//! An [`Optimizer`] changes the parameters of a model along their gradients.
//! Each algorithm is a [`Rule`]: the update of one parameter, which reads like
//! its paper. [`Descent`] is the loop that all of them share: parameter groups,
//! schedules, clipping, missing gradients, and state that is saved and
//! restored. [`Sgd`], [`Adam`], [`AdamW`], [`Adagrad`] and [`RmsProp`] are
//! `Descent` with one rule each; their settings have PyTorch's names, defaults
//! and formulas.
//!
//! ```
//! use dendra_autograd::{Param, Tape};
//! use dendra_optim::{Adam, CosineAnnealingLr, LinearLr, Optimizer, Schedule};
//! use dendra_tensor::{Ops, Tensor};
//!
//! let mut weight = Param::new(Tensor::from([[0.0, 0.0_f32]]));
//! let warm_up = LinearLr::new(20).start_factor(0.1);
//! let mut optimizer = Adam::new(0.05)
//!     .schedule(warm_up.then(20, CosineAnnealingLr::new(180)))
//!     .clip_norm(1.0)
//!     .group(|name| name.ends_with("bias"), |group| group.weight_decay(0.0));
//! for step in 0..200 {
//!     let tape = Tape::training(42, step);
//!     let x = tape.input(Tensor::from([[1.0, 2.0], [3.0, -1.0]]));
//!     let target = tape.input(Tensor::from([[4.0], [-2.0]]));
//!     let loss = x.linear(&weight.on(&x), None)?.sub(&target)?.square().mean();
//!     optimizer.step(&mut weight, &loss.backward()?)?;
//! }
//! let found = weight.value().to_vec();
//! assert!((found[0] - 0.0).abs() < 1e-2 && (found[1] - 2.0).abs() < 1e-2, "{found:?}");
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod adagrad;
mod adam;
mod clip;
mod descent;
mod group;
mod optimizer;
mod rmsprop;
mod rule;
mod schedule;
mod sgd;
mod slots;
mod step;

pub use adagrad::{Adagrad, AdagradRule};
pub use adam::{Adam, AdamRule, AdamW};
pub use clip::{Norm, gradient_norm};
pub use descent::Descent;
pub use group::Group;
pub use optimizer::Optimizer;
pub use rmsprop::{RmsProp, RmsPropRule};
pub use rule::{Now, Rule, elementwise};
pub use schedule::{
    Chain, CosineAnnealingLr, ExponentialLr, LinearLr, MultiStepLr, Schedule, Sequence, StepLr,
};
pub use sgd::{Sgd, SgdRule};
