//! Federated learning: clients train on data that stays with them, and a server
//! combines the changes of their weights.
//!
//! A [`Federation`] holds the global model. In each [`round`](Federation::round),
//! some clients train a copy of it, for example by [`LocalTraining`], and the
//! mean of their changes is a step of the server's optimizer:
//!
//! | algorithm | server | clients |
//! |---|---|---|
//! | FedAvg (McMahan et al., 2017) | `SGD::new(1.0)` | [`LocalTraining`] |
//! | FedAvgM (Hsu et al., 2019) | `SGD::new(1.0).momentum(0.9)` | the same |
//! | FedAdam, FedYogi and others (Reddi et al., 2021) | `Adam`, … | the same |
//! | FedProx (Li et al., 2020) | `SGD::new(1.0)` | [`LocalTraining::proximal`] |
//!
//! With [`Federation::private`], the model reveals little about any single
//! client (McMahan et al., "Learning differentially private recurrent language
//! models", 2018): changes are clipped, and their sum gets noise.
//!
//! Clients can be other processes: [`Federation::round_over`] sends them requests
//! through a [`Transport`], and a [`Participant`] in each of them answers. The
//! feature `http` has a transport. The feature `secure-aggregation` hides the changes from the
//! server, which learns only their sum.

mod change;
mod federation;
mod fixed_point;
#[cfg(feature = "secure-aggregation")]
mod hidden;
#[cfg(feature = "http")]
pub mod http;
mod local;
mod message;
mod participant;
mod partition;
mod transport;

pub use federation::{Federation, Round, Task};
pub use fixed_point::FixedPoint;
#[cfg(feature = "secure-aggregation")]
pub use hidden::SecureAggregation;
pub use local::LocalTraining;
pub use participant::Participant;
pub use partition::{divide_by_label, divide_evenly};
pub use transport::{Request, Transport};
