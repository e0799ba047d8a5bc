//! [`Threads`]: processes that are threads of one program.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dendra_tensor::{Error, Result};

use crate::communicator::{Communicator, TIME_LIMIT, because_of, ended, left, silent};

/// A [`Communicator`] whose processes are threads of one program: for tests, and
/// for a program that also runs alone.
///
/// ```
/// use dendra_distributed::{Communicator, Threads};
///
/// let mut world = Threads::world(2)?;
/// let (second, first) = (world.pop().unwrap(), world.pop().unwrap());
/// std::thread::scope(|scope| {
///     scope.spawn(move || second.send(0, b"hello".to_vec()));
///     assert_eq!(first.receive(1)?, b"hello");
///     Ok::<(), dendra_tensor::Error>(())
/// })?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub struct Threads {
    rank: usize,
    size: usize,
    time_limit: Duration,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The messages on their way, by sender and receiver.
    messages: HashMap<(usize, usize), VecDeque<Vec<u8>>>,
    /// The processes that are gone.
    left: Vec<usize>,
    /// The reason why the run was ended.
    failure: Option<String>,
}

impl Threads {
    /// The members of a world of this many processes; give one to each thread.
    ///
    /// # Errors
    ///
    /// When `size` is 0.
    pub fn world(size: usize) -> Result<Vec<Self>> {
        if size == 0 {
            return Err(Error::argument("Threads", "expected at least one process, got 0"));
        }
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let member =
            |rank| Self { rank, size, time_limit: TIME_LIMIT, shared: Arc::clone(&shared) };
        Ok((0..size).map(member).collect())
    }

    /// A world of one process.
    pub fn alone() -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        Self { rank: 0, size: 1, time_limit: TIME_LIMIT, shared }
    }

    /// How long [`receive`](Communicator::receive) waits; 10 seconds by default.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while the lock is held.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, reason: String) -> Error {
        let mut state = self.state();
        let reason = state.failure.get_or_insert(reason).clone();
        drop(state);
        self.shared.changed.notify_all();
        ended(reason)
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, to: usize, message: Vec<u8>) -> Result<()> {
        let mut state = self.state();
        if let Some(reason) = &state.failure {
            return Err(ended(reason.clone()));
        }
        state.messages.entry((self.rank, to)).or_default().push_back(message);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.time_limit;
        let mut state = self.state();
        loop {
            if let Some(reason) = &state.failure {
                return Err(ended(reason.clone()));
            }
            let message = state.messages.get_mut(&(from, self.rank)).and_then(VecDeque::pop_front);
            if let Some(message) = message {
                return Ok(message);
            }
            let gone = state.left.contains(&from);
            let waiting = deadline.saturating_duration_since(Instant::now());
            if gone || waiting.is_zero() {
                drop(state);
                let reason = if gone { left(from) } else { silent(from, self.time_limit) };
                return Err(self.fail(reason));
            }
            let woken = self.shared.changed.wait_timeout(state, waiting);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn abort(&self, reason: &str) {
        let _ = self.fail(because_of(self.rank, reason));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.state().left.push(self.rank);
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {}", self.rank, self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pair() -> (Threads, Threads) {
        let mut world = Threads::world(2).unwrap();
        let second = world.pop().unwrap();
        (world.pop().unwrap(), second)
    }

    #[test]
    fn messages_arrive_in_order() {
        let (first, second) = pair();
        for number in 0..5 {
            first.send(1, vec![number]).unwrap();
        }
        let received: Vec<u8> = (0..5).map(|_| second.receive(0).unwrap()[0]).collect();
        assert_eq!(received, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_process_that_left_or_is_silent_is_named_in_all() {
        let (first, second) = pair();
        second.send(0, vec![7]).unwrap();
        drop(second);
        assert_eq!(first.receive(1).unwrap(), [7], "what was sent before still arrives");
        let error = first.receive(1).unwrap_err().to_string();
        assert!(error.contains("process 1 left before the others"), "{error}");

        let (first, second) = pair();
        let first = first.time_limit(Duration::from_millis(20));
        let error = first.receive(1).unwrap_err().to_string();
        assert!(error.contains("process 1 has been silent"), "{error}");
        assert_eq!(second.receive(0).unwrap_err().to_string(), error);
    }

    #[test]
    fn an_abort_wakes_those_that_wait() {
        let (first, second) = pair();
        let waiting = thread::spawn(move || first.receive(1).unwrap_err().to_string());
        second.abort("the disk is full");
        assert!(waiting.join().unwrap().contains("process 1: the disk is full"));
        let error = second.send(0, Vec::new()).unwrap_err().to_string();
        assert!(error.contains("the disk is full"), "{error}");
        assert!(Threads::world(0).is_err());
    }
}
