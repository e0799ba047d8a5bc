//! [`Communicator`]: what distributed training needs of a network.

use std::fmt;
use std::time::Duration;

use dendra_tensor::{Error, Result};

/// How long a process may be silent before the others end the run.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The processes of a run as one of them sees them: it can send bytes to any
/// other process and receive bytes from it. Everything else is built on this.
///
/// All methods may be called by several threads.
pub trait Communicator: Send + Sync + fmt::Debug {
    /// The number of this process, counted from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// Sends a message to another process, without waiting until it arrives.
    /// The messages from one process to another arrive in order.
    ///
    /// # Errors
    ///
    /// When the run was ended by [`abort`](Self::abort) in any process, or a
    /// process is dead.
    fn send(&self, to: usize, message: Vec<u8>) -> Result<()>;

    /// Waits for the next message of another process.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); also when the other process has left, or gives
    /// no sign of life within the time limit. The error names the process.
    fn receive(&self, from: usize) -> Result<Vec<u8>>;

    /// Ends the communication of all processes: every call, also one that
    /// waits in another process, returns an error with this reason.
    fn abort(&self, reason: &str);
}

/// The error of a run that ended because of a process.
pub(crate) fn ended(reason: impl Into<String>) -> Error {
    Error::interrupted(format!("the distributed run has ended: {}", reason.into()))
}

/// The reason when a process ends the run for all.
pub(crate) fn because_of(rank: usize, reason: &str) -> String {
    format!("process {rank}: {reason}")
}

/// The reason when a process left before the others.
pub(crate) fn left(rank: usize) -> String {
    format!("process {rank} left before the others; its own output has the reason")
}

/// The reason when a process gives no sign of life.
pub(crate) fn silent(rank: usize, limit: Duration) -> String {
    format!("process {rank} has been silent for {:.1} s: it is dead or unreachable", seconds(limit))
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
