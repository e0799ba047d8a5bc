//! A team of threads that share loops.
//!
//! A training step is some twenty loops of ten to a few hundred microseconds,
//! one after the other. Waking a sleeping thread costs as much as such a loop,
//! so helper threads spin for a while, waiting for the next loop, before they
//! sleep, as those of OpenMP do. Each thread has its own part of the indices,
//! the same in every loop, so that what a core computed in one loop may still
//! be in its cache in the next. A thread that has finished its part takes
//! indices from the others' parts.

use std::any::Any;
use std::hint;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::threads::num_threads;

/// How long a helper spins, waiting for the next loop, before it sleeps.
const PATIENCE: Duration = Duration::from_millis(1);

/// The helper threads of this process.
static TEAM: Team = Team::new();

/// Calls `work(index)` for every index below `count`, on several threads if
/// there are enough. The caller's thread takes part; it does all the work if
/// the helpers are busy with another loop.
pub(crate) fn for_each_index(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let threads = count.min(num_threads());
    if threads < 2 {
        (0..count).for_each(work);
    } else {
        TEAM.for_each_index(threads, count, work);
    }
}

/// Helpers, started when they are first needed. The thread that holds the lock
/// shares a loop with them.
struct Team {
    helpers: Mutex<Vec<Helper>>,
}

impl Team {
    const fn new() -> Self {
        Self { helpers: Mutex::new(Vec::new()) }
    }

    fn for_each_index(&self, threads: usize, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let mut helpers = match self.helpers.try_lock() {
            Ok(helpers) => helpers,
            // A loop that panicked left no inconsistent state: see `Shared`.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return (0..count).for_each(work),
        };
        while helpers.len() < threads - 1 {
            let Some(helper) = Helper::start(helpers.len() + 1) else { break };
            helpers.push(helper);
        }
        let helpers = &helpers[..helpers.len().min(threads - 1)];
        let members = helpers.len() + 1;
        let parts = (0..members).map(|member| Part {
            next: AtomicUsize::new(member * count / members),
            end: (member + 1) * count / members,
        });
        let parts: SmallVec<[Part; 4]> = parts.collect();
        let shared = Loop { work, parts: &parts, panic: Mutex::new(None) };
        {
            let _shared = Shared::with(helpers, &shared);
            shared.run(0);
        }
        if let Some(panic) = shared.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            panic::resume_unwind(panic);
        }
    }
}

/// A loop that is being processed.
struct Loop<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    /// The parts of the caller and of the helpers.
    parts: &'a [Part],
    /// The panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A thread's part of the indices, in a cache line of its own.
#[repr(align(64))]
struct Part {
    next: AtomicUsize,
    end: usize,
}

impl Loop<'_> {
    /// Processes a thread's own part, and then what is left of the others'
    /// parts.
    fn run(&self, member: usize) {
        let (before, from) = self.parts.split_at(member);
        for part in from.iter().chain(before) {
            loop {
                let index = part.next.fetch_add(1, Ordering::Relaxed);
                if index >= part.end {
                    break;
                }
                (self.work)(index);
            }
        }
    }
}

/// A loop that helpers may be processing; dropping this waits for them.
struct Shared<'a>(&'a [Helper]);

impl<'a> Shared<'a> {
    fn with(helpers: &'a [Helper], shared: &'a Loop<'a>) -> Self {
        for helper in helpers {
            helper.mailbox.post(ptr::from_ref(shared).cast_mut().cast());
            if helper.mailbox.asleep.load(Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
        Self(helpers)
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        for helper in self.0 {
            helper.mailbox.clear();
        }
    }
}

/// A helper thread.
struct Helper {
    mailbox: Arc<Mailbox>,
    thread: Thread,
}

impl Helper {
    /// Starts the helper with this index in the team, if the system allows it.
    fn start(member: usize) -> Option<Self> {
        let mailbox = Arc::new(Mailbox::default());
        // A helper without a core of its own would spin at the expense of
        // another thread.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let patience = if member < cores { PATIENCE } else { Duration::ZERO };
        let builder = thread::Builder::new().name(format!("dendra-{member}"));
        let thread = builder.spawn({
            let mailbox = Arc::clone(&mailbox);
            move || mailbox.serve(member, patience)
        });
        Some(Self { mailbox, thread: thread.ok()?.thread().clone() })
    }
}

/// The mailbox through which a helper gets its next loop.
#[derive(Default)]
#[repr(align(64))]
struct Mailbox {
    state: AtomicU8,
    /// The loop, unless the state is [`EMPTY`].
    posted: AtomicPtr<Loop<'static>>,
    asleep: AtomicBool,
}

/// There is no loop.
const EMPTY: u8 = 0;
/// There is a loop that the helper has not begun.
const POSTED: u8 = 1;
/// The helper is processing the loop.
const TAKEN: u8 = 2;

impl Mailbox {
    fn post(&self, shared: *mut Loop<'static>) {
        self.posted.store(shared, Ordering::Relaxed);
        // Either the helper sees the loop before it sleeps, or this thread sees
        // that the helper sleeps.
        self.state.store(POSTED, Ordering::SeqCst);
    }

    /// Takes the loop back: at once if the helper has not begun, otherwise when
    /// it has finished.
    fn clear(&self) {
        if self.change(POSTED, EMPTY) {
            return;
        }
        let mut looks = 0_u32;
        while self.state.load(Ordering::Acquire) != EMPTY {
            looks += 1;
            // The helper may have lost its core to another program.
            if looks.is_multiple_of(1024) { thread::yield_now() } else { hint::spin_loop() }
        }
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The main loop of a helper.
    fn serve(&self, member: usize, patience: Duration) {
        loop {
            self.wait(patience);
            if !self.change(POSTED, TAKEN) {
                continue;
            }
            // SAFETY: a loop that was taken stays in place until the mailbox is
            // empty again.
            let shared = unsafe { &*self.posted.load(Ordering::Relaxed) };
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| shared.run(member))) {
                let mut first = shared.panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(panic);
            }
            self.state.store(EMPTY, Ordering::Release);
        }
    }

    /// Waits until a loop is posted; spins at first.
    fn wait(&self, patience: Duration) {
        let posted = || self.state.load(Ordering::SeqCst) == POSTED;
        let begin = Instant::now();
        loop {
            for _ in 0..64 {
                if posted() {
                    return;
                }
                hint::spin_loop();
            }
            if begin.elapsed() >= patience {
                break;
            }
        }
        self.asleep.store(true, Ordering::SeqCst);
        while !posted() {
            thread::park();
        }
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_index_comes_once() {
        let team = Team::new();
        for threads in [2, 3, 7] {
            for count in [0, 1, 2, 5, 100] {
                let counts: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                team.for_each_index(threads, count, &|index| {
                    counts[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn loops_within_loops_and_beside_loops_end() {
        let (team, sum) = (Team::new(), AtomicUsize::new(0));
        let inner = |index| {
            sum.fetch_add(index, Ordering::Relaxed);
        };
        let outer = || {
            for _ in 0..50 {
                team.for_each_index(3, 4, &|_| team.for_each_index(3, 3, &inner));
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(outer);
            }
            outer();
        });
        assert_eq!(sum.into_inner(), 5 * 50 * 4 * 3);
    }

    #[test]
    fn helpers_wake_and_take_part() {
        let team = Team::new();
        for _ in 0..3 {
            let present = AtomicUsize::new(0);
            let threads = Mutex::new(HashSet::new());
            team.for_each_index(3, 3, &|_| {
                threads.lock().unwrap().insert(thread::current().id());
                present.fetch_add(1, Ordering::Relaxed);
                // No thread leaves before all have arrived, so each has one
                // index.
                let begin = Instant::now();
                while present.load(Ordering::Relaxed) < 3 && begin.elapsed().as_secs() < 10 {
                    thread::yield_now();
                }
            });
            assert_eq!(threads.into_inner().unwrap().len(), 3);
            // Long enough for all helpers to sleep.
            thread::sleep(10 * PATIENCE);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new();
        for bad in 0..8 {
            let panic = panic::catch_unwind(AssertUnwindSafe(|| {
                team.for_each_index(2, 8, &|index| assert_ne!(index, bad));
            }));
            assert!(panic.is_err());
        }
        let count = AtomicUsize::new(0);
        team.for_each_index(2, 8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }
}
