//! Reverse-mode automatic differentiation.
//!
//! A [`Tape`] records operations on its values. A [`Var`] is a value that can be
//! on a tape. A parameter joins the tape of the value with which it is combined.
//! For inference, call a model with plain values: nothing is recorded, and there
//! is no global mode. [`Var::backward`] traverses the tape once in reverse order
//! and returns [`Gradients`]. This crate does not depend on specific operations:
//! it works with any implementation of [`Op`](dendra_tensor::ops::Op).
//!
//! Without the feature `gradients` a tape records nothing but traces, and the
//! rules of the operations are not compiled: for programs that only predict.
//!
//! ```
//! use dendra_autograd::{Param, Tape};
//! use dendra_tensor::{Ops, Tensor};
//!
//! let weight = Param::new(Tensor::from([[2.0, -1.0_f32]]));
//! let tape = Tape::training(42, 0);
//! let x = tape.input(Tensor::from([[3.0, 5.0]]));
//! let loss = x.linear(&weight.on(&x), None)?.square().sum();
//! let gradients = loss.backward()?;
//! assert_eq!(loss.value().item()?, 1.0);
//! assert_eq!(gradients.get(&weight).unwrap().to_vec(), [6.0, 10.0]);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod autocast;
#[cfg(feature = "gradients")]
mod backward;
#[cfg(feature = "gradients")]
mod checkpoint;
mod function;
#[cfg(feature = "gradients")]
mod functional;
#[cfg(feature = "gradients")]
mod grad;
mod gradients;
#[cfg(feature = "gradients")]
mod higher_order;
#[cfg(feature = "gradients")]
mod hooks;
mod loading;
#[cfg(feature = "gradients")]
mod not_finite;
mod param;
mod parameters;
#[cfg(feature = "gradients")]
mod per_sample;
mod recording;
mod shared_batch_norm;
mod state;
mod tape;
mod var;

#[cfg(feature = "gradients")]
pub use checkpoint::checkpoint;
pub use dendra_tensor::AnyTensor;
pub use function::{Comparison, Function, Plain, integers};
#[cfg(feature = "gradients")]
pub use functional::{check_gradient, value_and_grad};
#[cfg(feature = "gradients")]
pub use grad::Wrt;
pub use gradients::{Gradients, Update};
#[cfg(feature = "gradients")]
pub use higher_order::{hessian, hvp, jacobian, jvp, vjp};
#[cfg(feature = "gradients")]
pub use hooks::{RuleCall, RuleGradients};
pub use loading::Differences;
pub use param::{Buffer, BufferId, Counter, Param, ParamId};
pub use parameters::{Entry, EntryMut, Parameters, Path};
#[cfg(feature = "gradients")]
pub use per_sample::SampleGradients;
pub use recording::{AsAny, Event, Inside, Recording, Scope};
pub use shared_batch_norm::{SharedBatchNorm, SharedNorm};
pub use state::StateDict;
pub use tape::Tape;
pub use var::Var;

/// Compiles the backward pass for `f32` once in this crate instead of in each crate that
/// trains: crates share generic functions with `#[inline(never)]`.
#[cfg(feature = "gradients")]
#[doc(hidden)]
pub fn compile_here() -> [*const (); 2] {
    [Var::<f32>::backward as *const (), Gradients::<f32>::scale as *const ()]
}
