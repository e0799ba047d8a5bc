//! One training run on several processes or machines: data-parallel training with
//! the `Trainer`, over MPI.
//!
//! Every process runs the same program. [`DataParallel`] divides each batch into
//! shards, which the processes compute, and adds their gradients in a fixed tree.
//! All processes end with the same weights, and the weights do not depend on the
//! number of processes or threads.
//!
//! ```
//! use dendra_datasets::moons;
//! use dendra_distributed::{DataParallel, Threads, weights_hash};
//! use dendra_losses::CrossEntropy;
//! use dendra_nn::Sequential;
//! use dendra_optim::Adam;
//! use dendra_tensor::{Result, Rng};
//! use dendra_train::{Fit, Trainer};
//!
//! // With the feature `mpi`, a program that `mpirun` starts has `Mpi::init()?` here.
//! fn train(world: Threads) -> Result<String> {
//!     let data = moons(64, 0.1, 7)?;
//!     let model = Sequential::input([2]).dense(8).relu().dense(2).build(&mut Rng::seed(1))?;
//!     let mut trainer = Trainer::new(model, Adam::new(1e-2), CrossEntropy::new());
//!     let fit = Fit::epochs(2).batch_size(32).quiet();
//!     trainer.fit(&data, fit.gradients(DataParallel::new(&world).shards(4)))?;
//!     Ok(weights_hash(trainer.model()))
//! }
//!
//! let alone = train(Threads::alone())?;
//! std::thread::scope(|scope| {
//!     let world = Threads::world(2)?;
//!     let running: Vec<_> = world.into_iter().map(|own| scope.spawn(|| train(own))).collect();
//!     for process in running {
//!         assert_eq!(process.join().unwrap()?, alone);
//!     }
//!     Ok::<(), dendra_tensor::Error>(())
//! })?;
//! # Ok::<(), dendra_tensor::Error>(())
//! ```

mod batch_norm;
mod bytes;
mod communicator;
mod data_parallel;
mod floats;
mod group;
mod layout;
mod meeting;
#[cfg(feature = "mpi")]
mod mpi;
mod reduction;
mod report;
mod share;
mod state;
mod threads;

pub use communicator::Communicator;
pub use data_parallel::DataParallel;
pub use floats::Compression;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use state::weights_hash;
pub use threads::Threads;
