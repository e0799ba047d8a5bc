//! Optimizers, learning-rate schedules and gradient clipping.
//!
//! An [`Optimizer`] updates the parameters of a model from their gradients. Each
//! algorithm is a [`Rule`], the update of one parameter, written like the formulas
//! of its paper. [`Descent`] is the part that all algorithms have in common:
//! parameter groups, schedules, clipping, missing gradients, and saving and
//! restoring of state. [`SGD`], [`Adam`], [`Muon`] and the others are `Descent` with
//! one rule each; names, defaults and formulas are those of PyTorch. [`Split`]
//! combines two optimizers for different parts of a model. [`LBFGS`] has its own
//! step function. [`WeightAverage`] averages weights and works with any optimizer.
//!
//! ```
//! use dendra_autograd::{Param, Tape};
//! use dendra_optim::{Adam, CosineAnnealingLR, LinearLR, Optimizer, Schedule};
//! use dendra_tensor::{Ops, Tensor};
//!
//! let mut weight = Param::new(Tensor::from([[0.0, 0.0_f32]]));
//! let warm_up = LinearLR::new(20).start_factor(0.1);
//! let mut optimizer = Adam::new(0.05)
//!     .schedule(warm_up.then(20, CosineAnnealingLR::new(180)))
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

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod asgd;
mod average;
mod clip;
mod descent;
mod grad_scaler;
mod group;
mod lamb;
mod lbfgs;
mod lion;
mod muon;
mod nadam;
mod optimizer;
mod radam;
mod rmsprop;
mod rprop;
mod rule;
mod schedule;
mod sgd;
mod slots;
mod split;
mod step;

pub use adadelta::*;
pub use adafactor::*;
pub use adagrad::*;
pub use adam::*;
pub use adamax::*;
pub use asgd::*;
pub use average::*;
pub use clip::*;
pub use descent::*;
pub use grad_scaler::*;
pub use group::*;
pub use lamb::*;
pub use lbfgs::*;
pub use lion::*;
pub use muon::*;
pub use nadam::*;
pub use optimizer::*;
pub use radam::*;
pub use rmsprop::*;
pub use rprop::*;
pub use rule::*;
pub use schedule::*;
pub use sgd::*;
pub use split::*;

/// Compiles the updates and the state of each rule for `f32` once in this crate instead of in
/// each crate that uses them: crates share generic functions with `#[inline(never)]`.
#[doc(hidden)]
pub fn compile_here() -> Vec<*const ()> {
    macro_rules! updates {
        ($($rule:ty),*) => {
            vec![$(
                Descent::<$rule, f32>::update as *const (),
                <Descent<$rule, f32> as Optimizer<f32>>::load_state_dict as *const (),
                <Descent<$rule, f32> as Optimizer<f32>>::state_dict as *const (),
            )*]
        };
    }
    updates![
        AdadeltaRule,
        AdafactorRule,
        AdagradRule,
        AdamRule<false>,
        AdamRule<true>,
        AdamaxRule,
        ASGDRule,
        LambRule,
        LionRule,
        MuonRule,
        NAdamRule,
        RAdamRule,
        RMSpropRule,
        RpropRule,
        SGDRule
    ]
}
