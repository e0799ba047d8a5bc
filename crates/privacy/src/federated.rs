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

mod federation;
mod local;
mod partition;

pub use federation::{Federation, Round, Task};
pub use local::LocalTraining;
pub use partition::{divide_by_label, divide_evenly};
