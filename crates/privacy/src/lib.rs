//! Differentially private training.
//!
//! What a network learns is a sum over samples. If each sample can change it
//! only a little, and noise hides such changes, then the trained network, and
//! everything that is done with it, tells almost nothing about any single
//! sample. *(ε, δ)-differential privacy* measures this: with and without a
//! sample, the probability of any outcome differs by a factor of at most e^ε,
//! except for a probability of δ.
//!
//! - [`Privacy`] makes the private gradients of a training loop: it draws the
//!   samples, clips the gradient of each ([`PrivateStep::add`]) and adds noise
//!   ([`PrivateStep::finish`]). Any optimizer takes the result.
//!   [`AdaptiveClipping`] chooses the norm.
//! - [`attack`] measures what a network gives away.
//! - The [`Ledger`] holds what was released. An [`Accountant`] makes a guarantee
//!   of it, finds the noise for a [`Budget`], and says how many steps are left.
//!   The results are those of Opacus and of Google's dp-accounting.
//!
//! ```
//! use dendra_privacy::{Accountant, Budget, Ledger, Mechanism};
//!
//! // 60 epochs of MNIST in 250 steps each.
//! let (rate, steps) = (1.0 / 250.0, 15_000);
//! let budget = Budget { epsilon: 2.51, delta: 1e-5 };
//! let noise_multiplier = Accountant::Renyi.noise_multiplier(budget, rate, steps)?;
//! assert!((noise_multiplier - 1.1).abs() < 0.01);
//!
//! let mut ledger = Ledger::new();
//! ledger.record(Mechanism { noise_multiplier, sample_rate: rate, steps })?;
//! assert!(Accountant::Renyi.epsilon(&ledger, 1e-5)? <= 2.51);
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod accountant;
mod adaptive;
pub mod attack;
#[cfg(feature = "federated")]
pub mod federated;
mod gaussian;
mod ledger;
mod noise;
mod privacy;
mod prv;
#[cfg(test)]
mod reference;
mod renyi;
#[cfg(feature = "secure-aggregation")]
mod secure;
mod special;
#[cfg(feature = "train")]
mod trainer;

pub use accountant::{Accountant, Budget};
pub use adaptive::AdaptiveClipping;
pub use ledger::{Ledger, Mechanism};
pub use privacy::{Plan, Privacy, PrivateStep};
pub use prv::Bounds;
pub use renyi::renyi_divergence;
