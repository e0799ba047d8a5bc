//! [`Mpi`]: processes that `mpirun` started.
//!
//! A thread of its own makes all calls of MPI, so that the library needs no support
//! for threads, and heartbeats go on while the program computes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::datatype::Equivalence;
use ::mpi::point_to_point::{Destination, Source};
use ::mpi::request::{Request, StaticScope};
use ::mpi::topology::{Communicator as _, SimpleCommunicator};
use dendra_tensor::{Error, Result};

use crate::communicator::{Communicator, TIME_LIMIT, because_of, ended, left, silent};

/// The largest number of bytes that one call of MPI sends.
const PIECE: usize = 1 << 26;

/// How often a process tells its partners that it is alive.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The time between two polls of the network while the program computes and no
/// message is on its way.
const IDLE: Duration = Duration::from_millis(1);

/// How long a process stays after the run was ended, so that all processes report
/// the reason before `mpirun` ends them.
const GRACE: Duration = Duration::from_millis(1500);

// The tags of messages.
const LAST_PIECE: i32 = 0;
const PIECE_OF_MANY: i32 = 1;
const ALIVE: i32 = 2;
const ABORT: i32 = 3;
const LEAVE: i32 = 4;

/// The processes that `mpirun` started; a program that was started without it is
/// a world of one process.
///
/// A process that dies or is cut off is noticed by its missing heartbeats, and all
/// other processes return an error that names it.
pub struct Mpi {
    rank: usize,
    size: usize,
    inbox: Arc<Inbox>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has to do for the program.
enum Order {
    Send {
        to: usize,
        message: Vec<u8>,
    },
    /// Poll the network now: the program waits.
    Look,
    Abort(String),
    Leave,
}

/// What has arrived.
#[derive(Default)]
struct Inbox {
    state: Mutex<Arrived>,
    changed: Condvar,
    /// How many threads wait for a message.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Arrived {
    messages: HashMap<usize, VecDeque<Vec<u8>>>,
    left: Vec<usize>,
    failure: Option<String>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, Arrived> {
        // No code that can panic runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }
}

impl Mpi {
    /// Joins the other processes. A process that is silent for 10 seconds is
    /// considered dead.
    ///
    /// # Errors
    ///
    /// When MPI was initialised before in this process.
    pub fn init() -> Result<Self> {
        Self::with_time_limit(TIME_LIMIT)
    }

    /// As [`init`](Self::init) with another time after which a silent process is
    /// considered dead. It must be longer than a message of the run takes on the
    /// slowest link.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init), and when the time is less than a second.
    pub fn with_time_limit(limit: Duration) -> Result<Self> {
        if limit < 2 * HEARTBEAT {
            let message = format!("the time limit must be at least 1 s, got {limit:?}");
            return Err(Error::argument("Mpi", message));
        }
        let inbox = Arc::new(Inbox::default());
        let (orders, received) = channel();
        let (started, place) = channel();
        let thread = thread::Builder::new().name("mpi".to_owned()).spawn({
            let inbox = Arc::clone(&inbox);
            move || serve(limit, &inbox, &received, &started)
        });
        let thread = thread.map_err(|error| Error::argument("Mpi", error.to_string()))?;
        match place.recv() {
            Ok(Some((rank, size))) => Ok(Self { rank, size, inbox, orders, thread: Some(thread) }),
            _ => {
                let message = "MPI was initialised before in this process, or cannot be";
                Err(Error::argument("Mpi", message))
            }
        }
    }

    /// Gives an order to the thread, which ends only with this value.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, to: usize, message: Vec<u8>) -> Result<()> {
        if let Some(reason) = self.inbox.failure() {
            return Err(ended(reason));
        }
        self.order(Order::Send { to, message });
        Ok(())
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>> {
        self.inbox.waiting.fetch_add(1, Ordering::SeqCst);
        self.order(Order::Look);
        let mut state = self.inbox.state();
        let result = loop {
            if let Some(message) = state.messages.get_mut(&from).and_then(VecDeque::pop_front) {
                break Ok(message);
            }
            if let Some(reason) = &state.failure {
                break Err(ended(reason.clone()));
            }
            if state.left.contains(&from) {
                drop(state);
                self.order(Order::Abort(left(from)));
                break Err(ended(left(from)));
            }
            state = self.inbox.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        self.inbox.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn abort(&self, reason: &str) {
        self.order(Order::Abort(because_of(self.rank, reason)));
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        self.order(Order::Leave);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {}", self.rank, self.size)
    }
}

/// The work of the thread.
fn serve(
    limit: Duration,
    inbox: &Inbox,
    orders: &Receiver<Order>,
    started: &Sender<Option<(usize, usize)>>,
) {
    let Some((universe, _)) = ::mpi::initialize_with_threading(Threading::Funneled) else {
        let _ = started.send(None);
        return;
    };
    let mut network = Network::new(universe.world(), limit, inbox);
    let _ = started.send(Some((network.rank, network.size)));
    let mut leaving = false;
    let mut last_look = Instant::now();
    loop {
        let order = match network.is_busy(last_look) {
            true => orders.try_recv().ok(),
            false => match orders.recv_timeout(IDLE) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Order::Leave),
            },
        };
        let is_idle = order.is_none();
        match order {
            Some(Order::Send { to, message }) => network.send_pieces(to, message),
            Some(Order::Look) => last_look = Instant::now(),
            Some(Order::Abort(reason)) => network.fail(&reason, true),
            Some(Order::Leave) if !leaving => {
                leaving = true;
                network.tell_all(LEAVE, "");
            }
            Some(Order::Leave) | None => {}
        }
        let moved = network.look();
        if inbox.failure().is_some() {
            network.linger();
            // A process is dead or cut off, so messages to it are never
            // complete, and the end of MPI, which waits for all processes, would
            // never come.
            mem::forget(mem::take(&mut network.outgoing));
            mem::forget(universe);
            return;
        }
        if leaving && network.outgoing.is_empty() {
            return;
        }
        if is_idle && !moved {
            thread::yield_now();
        }
    }
}

/// The state of the thread.
struct Network<'i> {
    world: SimpleCommunicator,
    rank: usize,
    size: usize,
    limit: Duration,
    inbox: &'i Inbox,
    outgoing: Vec<Outgoing>,
    spare: Spare,
    /// The pieces of a message that is not complete, by process.
    pieces: HashMap<usize, Vec<u8>>,
    /// The processes with which this one exchanges messages, with the last time
    /// at which it heard of each.
    partners: HashMap<usize, Instant>,
    last_heartbeat: Instant,
}

/// A message on its way.
struct Outgoing {
    request: Request<'static, [u8], StaticScope>,
    /// The memory that the request reads.
    message: ManuallyDrop<Vec<u8>>,
}

/// The memory of messages that were sent, for messages that arrive: the system takes long to hand
/// out new memory.
#[derive(Default)]
struct Spare(Vec<Vec<u8>>);

impl Spare {
    const COUNT: usize = 4;

    /// Shorter messages have memory of their own.
    const SHORTEST: usize = 1 << 16;

    fn keep(&mut self, message: Vec<u8>) {
        if message.capacity() >= Self::SHORTEST && self.0.len() < Self::COUNT {
            self.0.push(message);
        }
    }

    /// Memory for a message of this length.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let fits = |spare: &Vec<u8>| spare.capacity() >= length;
        let mut bytes = match self.0.iter().position(fits) {
            Some(index) if length >= Self::SHORTEST => self.0.swap_remove(index),
            _ => Vec::with_capacity(length),
        };
        bytes.resize(length, 0);
        bytes
    }
}

impl<'i> Network<'i> {
    fn new(world: SimpleCommunicator, limit: Duration, inbox: &'i Inbox) -> Self {
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let now = Instant::now();
        let bits = (0..usize::BITS).map(|bit| rank ^ (1 << bit)).filter(|&other| other < size);
        Self {
            world,
            rank,
            size,
            limit,
            inbox,
            outgoing: Vec::new(),
            spare: Spare::default(),
            pieces: HashMap::new(),
            partners: bits.map(|other| (other, now)).collect(),
            last_heartbeat: now,
        }
    }

    /// Whether the thread polls the network without a pause: when the program
    /// waits or a message is on its way. After two seconds it polls less often.
    fn is_busy(&self, last_look: Instant) -> bool {
        let waits = self.inbox.waiting.load(Ordering::SeqCst) > 0;
        (waits || !self.outgoing.is_empty()) && last_look.elapsed() < Duration::from_secs(2)
    }

    fn send_pieces(&mut self, to: usize, mut message: Vec<u8>) {
        while message.len() > PIECE {
            let rest = message.split_off(PIECE);
            self.send(to, message, PIECE_OF_MANY);
            message = rest;
        }
        self.send(to, message, LAST_PIECE);
    }

    fn send(&mut self, to: usize, message: Vec<u8>, tag: i32) {
        let message = ManuallyDrop::new(message);
        // SAFETY: the memory stays as it is until the request is complete; only
        // then `look` takes the message, and otherwise it is never freed.
        let bytes: &'static [u8] =
            unsafe { slice::from_raw_parts(message.as_ptr(), message.len()) };
        let process = self.world.process_at_rank(to as i32);
        let request = process.immediate_send_with_tag(StaticScope, bytes, tag);
        self.outgoing.push(Outgoing { request, message });
    }

    /// Sends a short message to all other processes.
    fn tell_all(&mut self, tag: i32, text: &str) {
        let rank = self.rank;
        for other in (0..self.size).filter(|&other| other != rank) {
            self.send(other, text.as_bytes().to_vec(), tag);
        }
    }

    /// Takes what has arrived, notes what has been sent, and sends and checks
    /// heartbeats. Returns whether something happened.
    fn look(&mut self) -> bool {
        let mut moved = false;
        while let Some((probed, status)) = self.world.any_process().immediate_matched_probe() {
            let length = status.count(u8::equivalent_datatype());
            let mut bytes = self.spare.take(length as usize);
            probed.matched_receive_into(&mut bytes[..]);
            self.arrived(status.source_rank() as usize, status.tag(), bytes);
            moved = true;
        }
        for Outgoing { request, message } in mem::take(&mut self.outgoing) {
            match request.test() {
                Ok(_) => {
                    self.spare.keep(ManuallyDrop::into_inner(message));
                    moved = true;
                }
                Err(request) => self.outgoing.push(Outgoing { request, message }),
            }
        }
        self.heartbeats();
        moved
    }

    fn arrived(&mut self, from: usize, tag: i32, bytes: Vec<u8>) {
        if let Some(heard) = self.partners.get_mut(&from) {
            *heard = Instant::now();
        }
        match tag {
            PIECE_OF_MANY => self.pieces.entry(from).or_default().extend(bytes),
            LAST_PIECE => {
                let message = match self.pieces.remove(&from) {
                    Some(mut pieces) => {
                        pieces.extend(bytes);
                        pieces
                    }
                    None => bytes,
                };
                self.inbox.state().messages.entry(from).or_default().push_back(message);
                self.inbox.changed.notify_all();
            }
            ABORT => self.fail(&String::from_utf8_lossy(&bytes), false),
            LEAVE => {
                self.partners.remove(&from);
                self.inbox.state().left.push(from);
                self.inbox.changed.notify_all();
            }
            _ => {}
        }
    }

    fn heartbeats(&mut self) {
        if self.last_heartbeat.elapsed() < HEARTBEAT {
            return;
        }
        // When this thread itself was held up, the others get another chance.
        let was_held_up = self.last_heartbeat.elapsed() > 4 * HEARTBEAT;
        self.last_heartbeat = Instant::now();
        let partners: Vec<(usize, Instant)> =
            self.partners.iter().map(|(&other, &heard)| (other, heard)).collect();
        for (other, heard) in partners {
            if was_held_up {
                self.partners.insert(other, Instant::now());
            } else if heard.elapsed() > self.limit {
                return self.fail(&silent(other, self.limit), true);
            }
            self.send(other, Vec::new(), ALIVE);
        }
    }

    /// Ends the run, in the other processes too if `tell`.
    fn fail(&mut self, reason: &str, tell: bool) {
        let mut state = self.inbox.state();
        if state.failure.is_some() {
            return;
        }
        state.failure = Some(reason.to_owned());
        drop(state);
        self.inbox.changed.notify_all();
        if tell {
            self.tell_all(ABORT, reason);
        }
    }

    /// Lets the reason of the end reach the other processes.
    fn linger(&mut self) {
        let start = Instant::now();
        while start.elapsed() < GRACE {
            self.look();
            thread::sleep(Duration::from_millis(5));
        }
    }
}
