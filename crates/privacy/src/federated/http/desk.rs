//! [`Desk`]: keeps requests until the clients fetch them, and answers until the
//! federation takes them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dendra_tensor::{Error, Result};
use tokio::sync::watch;

use super::Refusal;
use crate::federated::Request;

/// What a client sent: an answer, or why it fails.
pub(super) type Answer = Result<Vec<u8>, String>;

#[derive(Debug, Default)]
struct State {
    /// The number of the exchange, from 1.
    exchange: u64,
    /// When it ends; `None` between two exchanges.
    until: Option<Instant>,
    longest: usize,
    requests: BTreeMap<usize, Arc<[u8]>>,
    answers: BTreeMap<usize, Answer>,
    finished: bool,
}

/// A request that waits for an answer.
pub(super) struct Waiting {
    pub(super) client: usize,
    pub(super) exchange: u64,
    pub(super) message: Arc<[u8]>,
}

#[derive(Debug)]
pub(super) struct Desk {
    clients: usize,
    state: Mutex<State>,
    /// Wakes the federation.
    answered: Condvar,
    /// Wakes the connections that wait for a request.
    pub(super) news: watch::Sender<()>,
}

impl Desk {
    pub(super) fn new(clients: usize) -> Self {
        let news = watch::Sender::new(());
        Self { clients, state: Mutex::default(), answered: Condvar::new(), news }
    }

    /// A panic elsewhere leaves the state as it was between two changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first request for one of these clients, if there is one.
    pub(super) fn waiting(&self, clients: Range<usize>) -> Result<Option<Waiting>, Refusal> {
        if clients.start >= self.clients || clients.is_empty() {
            return Err(Refusal::UnknownClient);
        }
        let state = self.state();
        if state.finished {
            return Err(Refusal::Finished);
        }
        let mut open = state.requests.range(clients);
        let open = open.find(|(client, _)| !state.answers.contains_key(client));
        let exchange = state.exchange;
        Ok(open.map(|(&client, message)| Waiting { client, exchange, message: message.clone() }))
    }

    /// The length of the longest right answer, and when it must have arrived.
    pub(super) fn expected(
        &self,
        client: usize,
        exchange: u64,
    ) -> Result<(usize, Instant), Refusal> {
        let state = self.state();
        let until = check(&state, self.clients, client, exchange)?;
        Ok((state.longest, until))
    }

    pub(super) fn answer(
        &self,
        client: usize,
        exchange: u64,
        answer: Answer,
    ) -> Result<(), Refusal> {
        let mut state = self.state();
        check(&state, self.clients, client, exchange)?;
        state.answers.insert(client, answer);
        self.answered.notify_all();
        Ok(())
    }

    /// Offers requests, and waits for the answers.
    pub(super) fn exchange(
        &self,
        requests: Vec<Request>,
        longest: usize,
        patience: Duration,
    ) -> Vec<Result<Vec<u8>>> {
        let clients: Vec<usize> = requests.iter().map(|(client, _)| *client).collect();
        let until = Instant::now() + patience;
        let mut state = self.state();
        *state = State {
            exchange: state.exchange + 1,
            until: Some(until),
            longest,
            requests: requests.into_iter().filter(|(client, _)| *client < self.clients).collect(),
            answers: BTreeMap::new(),
            finished: state.finished,
        };
        self.news.send_replace(());
        while state.answers.len() < state.requests.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.answered.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.until = None;
        state.requests.clear();
        let mut answers = std::mem::take(&mut state.answers);
        drop(state);
        let fail = |message: String| Err(Error::data("the client", message));
        let answer = |client: &usize| match answers.remove(client) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(reason)) => fail(format!("it failed: {reason}")),
            None => fail(format!("it did not answer within {:.1} s", patience.as_secs_f64())),
        };
        clients.iter().map(answer).collect()
    }

    /// Tells clients that ask for requests that there will be none.
    pub(super) fn finish(&self) {
        self.state().finished = true;
        self.news.send_replace(());
    }
}

/// When the exchange ends, if the client may answer now.
fn check(state: &State, clients: usize, client: usize, exchange: u64) -> Result<Instant, Refusal> {
    if client >= clients {
        return Err(Refusal::UnknownClient);
    }
    if state.finished {
        return Err(Refusal::Finished);
    }
    let until = state.until.filter(|_| exchange == state.exchange).ok_or(Refusal::TooLate)?;
    match () {
        () if !state.requests.contains_key(&client) => Err(Refusal::NotAsked),
        () if state.answers.contains_key(&client) => Err(Refusal::Answered),
        () if Instant::now() >= until => Err(Refusal::TooLate),
        () => Ok(until),
    }
}
