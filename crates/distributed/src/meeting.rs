//! Where the shards of a batch wait for each other: at each layer whose
//! statistics are those of the whole batch.
//!
//! Each shard of a process runs on a thread of its own. The threads take turns,
//! so that a process still computes one shard at a time, with all its cores.
//! When each shard has reached the layer, the process exchanges the sums with
//! the others ([`Meeting::lead`]), and the shards go on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use dendra_tensor::{Error, Result};

use crate::bytes::{Reader, Writer};
use crate::group::Group;

/// What a shard brings to a layer, or the result for all shards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    /// The number of elements per channel, their means, and the sums of the
    /// squared distances from these.
    Moments { count: usize, means: Vec<f64>, squares: Vec<f64> },
    /// Numbers to add.
    Sums(Vec<f64>),
}

impl Values {
    /// The values of the elements of both; `None` if they are of different
    /// layers.
    fn with(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Sums(left), Self::Sums(right)) if left.len() == right.len() => {
                Some(Self::Sums(left.iter().zip(right).map(|(a, b)| a + b).collect()))
            }
            (
                Self::Moments { count: n, means: left, squares: left_squares },
                Self::Moments { count: m, means: right, squares: right_squares },
            ) if left.len() == right.len() => {
                if *n == 0 || *m == 0 {
                    return Some(if *n == 0 { other } else { self }.clone());
                }
                // Chan, Golub and LeVeque, "Updating formulae and a pairwise
                // algorithm for computing sample variances", 1979.
                let count = n.checked_add(*m)?;
                let share = *m as f64 / count as f64;
                let differences = || left.iter().zip(right).map(|(left, right)| right - left);
                let means = left.iter().zip(differences()).map(|(mean, d)| mean + d * share);
                let between = differences().map(|d| d * d * (*n as f64 * share));
                let squares = left_squares.iter().zip(right_squares).zip(between);
                Some(Self::Moments {
                    count,
                    means: means.collect(),
                    squares: squares.map(|((a, b), between)| a + b + between).collect(),
                })
            }
            _ => None,
        }
    }
}

/// What some shards do next.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    /// There are no shards with samples.
    Nothing,
    /// All wait at a layer with these values.
    Layer(Values),
    /// All are complete.
    Complete,
    /// One has failed; its report has the reason.
    Failed,
    /// They do not wait at the same layer.
    Apart,
}

const NOTHING: usize = 0;
const MOMENTS: usize = 1;
const SUMS: usize = 2;
const COMPLETE: usize = 3;
const FAILED: usize = 4;
const APART: usize = 5;

impl Next {
    /// What the shards of both do next.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, next) | (next, Self::Nothing) => next,
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            (Self::Complete, Self::Complete) => Self::Complete,
            (Self::Layer(left), Self::Layer(right)) => {
                left.with(&right).map_or(Self::Apart, Self::Layer)
            }
            _ => Self::Apart,
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Nothing => writer.number(NOTHING),
            Self::Layer(Values::Moments { count, means, squares }) => {
                writer.number(MOMENTS);
                writer.number(*count);
                writer.floats(means);
                writer.floats(squares);
            }
            Self::Layer(Values::Sums(sums)) => {
                writer.number(SUMS);
                writer.floats(sums);
            }
            Self::Complete => writer.number(COMPLETE),
            Self::Failed => writer.number(FAILED),
            Self::Apart => writer.number(APART),
        }
        writer.finish()
    }

    fn read(message: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(message);
        Ok(match reader.number()? {
            NOTHING => Self::Nothing,
            MOMENTS => {
                let count = reader.number()?;
                let (means, squares) = (reader.floats()?, reader.floats()?);
                if means.len() != squares.len() {
                    return Ok(Self::Apart);
                }
                Self::Layer(Values::Moments { count, means, squares })
            }
            SUMS => Self::Layer(Values::Sums(reader.floats()?)),
            COMPLETE => Self::Complete,
            FAILED => Self::Failed,
            _ => Self::Apart,
        })
    }
}

/// A shard of this process.
#[derive(Debug)]
enum Place {
    /// It has no samples.
    Empty,
    Computing,
    Waiting(Values),
    /// It has ended; whether it is complete.
    Ended(bool),
}

#[derive(Debug)]
struct State {
    places: Vec<Place>,
    /// Whether a shard has the turn.
    busy: bool,
    /// The number of layers at which all shards have met.
    layers: u64,
    /// The values of the last of them.
    values: Option<Arc<Values>>,
    /// Whether the shards are to end without further values.
    stopped: bool,
    /// The shards that got no values.
    waited_in_vain: Vec<bool>,
}

/// The shards of this process in one step.
#[derive(Debug)]
pub(crate) struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

impl Meeting {
    /// A meeting of shards; `has_samples` says which of them take part.
    pub(crate) fn new(has_samples: impl Iterator<Item = bool>) -> Self {
        let place = |has_samples| if has_samples { Place::Computing } else { Place::Empty };
        let places: Vec<Place> = has_samples.map(place).collect();
        let waited_in_vain = vec![false; places.len()];
        let (busy, stopped) = (false, false);
        let state = State { places, busy, layers: 0, values: None, stopped, waited_in_vain };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` returns a value.
    fn wait<R>(&self, mut ready: impl FnMut(&mut State) -> Option<R>) -> R {
        let mut state = self.state();
        loop {
            if let Some(value) = ready(&mut state) {
                return value;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the turn.
    fn begin(&self) {
        self.wait(|state| (!std::mem::replace(&mut state.busy, true)).then_some(()));
    }

    /// Waits at a layer until all shards of the batch have reached it, and
    /// returns the values of all. `None` if the step has ended instead.
    pub(crate) fn meet(&self, shard: usize, values: Values) -> Option<Arc<Values>> {
        let mut state = self.state();
        let layers = state.layers;
        state.places[shard] = Place::Waiting(values);
        state.busy = false;
        drop(state);
        self.changed.notify_all();
        let values = self.wait(|state| match state.stopped {
            true => Some(None),
            false => (state.layers > layers).then(|| state.values.clone()),
        });
        self.begin();
        if values.is_none() {
            self.state().waited_in_vain[shard] = true;
        }
        values
    }

    /// Computes a shard when it has the turn.
    pub(crate) fn attend<R>(&self, shard: usize, compute: impl FnOnce() -> Result<R>) -> Result<R> {
        /// Ends the turn also when a shard panics.
        struct End<'m>(&'m Meeting, usize, bool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.end(self.1, self.2);
            }
        }
        self.begin();
        let mut end = End(self, shard, false);
        let result = compute();
        end.2 = result.is_ok();
        result
    }

    /// Notes that a shard cannot be computed.
    pub(crate) fn fail(&self, shard: usize) {
        self.begin();
        self.end(shard, false);
    }

    fn end(&self, shard: usize, complete: bool) {
        let mut state = self.state();
        state.places[shard] = Place::Ended(complete);
        state.busy = false;
        drop(state);
        self.changed.notify_all();
    }

    /// Whether a shard has ended because another one failed.
    pub(crate) fn waited_in_vain(&self, shard: usize) -> bool {
        self.state().waited_in_vain[shard]
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// What the shards of this process do next, when none of them computes.
    fn next(&self) -> Next {
        self.wait(|state| {
            let computing = |place: &Place| matches!(place, Place::Computing);
            if state.places.iter().any(computing) {
                return None;
            }
            let next = |place: &mut Place| match place {
                Place::Empty | Place::Computing => Next::Nothing,
                Place::Waiting(values) => Next::Layer(values.clone()),
                Place::Ended(true) => Next::Complete,
                Place::Ended(false) => Next::Failed,
            };
            Some(tree(state.places.iter_mut().map(next).collect()))
        })
    }

    /// Brings the shards of all processes together at each layer, until all are
    /// complete or one has failed. All processes call it.
    ///
    /// # Errors
    ///
    /// When the shards do not reach the same layers, or a process does not
    /// answer.
    pub(crate) fn lead(&self, group: &Group<'_>) -> Result<()> {
        let both =
            |left: &[u8], right: &[u8]| Ok(Next::read(left)?.with(Next::read(right)?).write());
        loop {
            let next = group.combine(self.next().write(), &both);
            match next.and_then(|next| Next::read(&next)) {
                Ok(Next::Layer(values)) => {
                    let mut state = self.state();
                    for place in &mut state.places {
                        if matches!(place, Place::Waiting(_)) {
                            *place = Place::Computing;
                        }
                    }
                    state.layers += 1;
                    state.values = Some(Arc::new(values));
                    drop(state);
                    self.changed.notify_all();
                }
                Ok(Next::Complete | Next::Nothing) => return Ok(()),
                Ok(Next::Failed) => {
                    self.stop();
                    return Ok(());
                }
                Ok(Next::Apart) => {
                    self.stop();
                    let message = "the shards of a batch reached different layers of batch \
                                   normalisation; with statistics of the whole batch, the layers \
                                   must not depend on the data";
                    return Err(Error::argument("DataParallel", message));
                }
                Err(error) => {
                    self.stop();
                    return Err(error);
                }
            }
        }
    }
}

/// The combination of the shards of a process, whose number is a power of two.
fn tree(mut shards: Vec<Next>) -> Next {
    while shards.len() > 1 {
        let mut left = shards.into_iter();
        let mut pairs = Vec::new();
        while let (Some(a), Some(b)) = (left.next(), left.next()) {
            pairs.push(a.with(b));
        }
        shards = pairs;
    }
    shards.pop().unwrap_or(Next::Nothing)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::Threads;

    use super::*;

    fn moments(values: &[f64]) -> Values {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum();
        Values::Moments { count: values.len(), means: vec![mean], squares: vec![squares] }
    }

    #[test]
    fn moments_of_parts_are_those_of_the_whole() {
        let numbers = [3.0, -1.0, 4.0, 1.5, 9.25, 1e6, -7.0];
        let Values::Moments { count, means, squares } = moments(&numbers) else { panic!() };
        for at in 0..=numbers.len() {
            let (left, right) = numbers.split_at(at);
            let found = moments(left).with(&moments(right)).unwrap();
            let Values::Moments { count: n, means: m, squares: s } = found else { panic!() };
            assert_eq!(n, count);
            assert!((m[0] - means[0]).abs() < 1e-9, "{at}: {m:?} {means:?}");
            assert!((s[0] / squares[0] - 1.0).abs() < 1e-12, "{at}: {s:?} {squares:?}");
        }
        assert_eq!(moments(&[1.0]).with(&Values::Sums(vec![1.0])), None);
        assert_eq!(Values::Sums(vec![1.0]).with(&Values::Sums(vec![])), None);
    }

    #[test]
    fn messages_arrive_as_they_were() {
        let layer = Next::Layer(moments(&[1.0, 2.0]));
        let sums = Next::Layer(Values::Sums(vec![0.5]));
        for next in [Next::Nothing, layer, sums, Next::Complete, Next::Failed, Next::Apart] {
            assert_eq!(Next::read(&next.write()).unwrap(), next);
        }
        assert!(Next::read(&[1]).is_err());
    }

    /// Whether a process has led the meeting, and what its shards got.
    type Met = (Result<()>, Vec<Option<Vec<Option<Arc<Values>>>>>);

    /// The results of shards in worlds of this size, of two shards each. Shard
    /// `s` brings `bring(s)` to each of its layers.
    fn run(size: usize, bring: impl Fn(usize) -> Option<Vec<Values>> + Sync) -> Vec<Met> {
        let world = Threads::world(size).unwrap();
        let bring = &bring;
        let process = |own: &Threads| {
            let group = Group::new(own);
            let first = 2 * crate::Communicator::rank(own);
            let meeting = Meeting::new([first, first + 1].map(|s| bring(s).is_some()).into_iter());
            let meeting = &meeting;
            thread::scope(|scope| {
                let shards: Vec<_> = (0..2)
                    .map(|index| {
                        let values = bring(first + index)?;
                        Some(scope.spawn(move || {
                            let mut met = Vec::new();
                            let _ = meeting.attend(index, || {
                                met.extend(values.into_iter().map(|own| meeting.meet(index, own)));
                                let fails = first + index == 3;
                                if fails { Err(Error::data("shard", "fails")) } else { Ok(()) }
                            });
                            met
                        }))
                    })
                    .collect();
                let led = meeting.lead(&group);
                let met = shards.into_iter().map(|shard| Some(shard?.join().unwrap()));
                (led, met.collect())
            })
        };
        thread::scope(|scope| {
            let running: Vec<_> =
                world.iter().map(|own| scope.spawn(move || process(own))).collect();
            running.into_iter().map(|running| running.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_shards_get_the_values_of_all() {
        // Shard 2 of the four has no samples; shard 3 does not exist.
        let bring = |shard: usize| {
            let own = 10_f64.powi(shard as i32);
            let layers = vec![Values::Sums(vec![own]), Values::Sums(vec![2.0 * own, 1.0])];
            (shard < 2).then_some(layers)
        };
        for size in [1, 2, 4] {
            for (rank, (led, shards)) in run(size, bring).into_iter().enumerate() {
                led.unwrap();
                for met in shards.into_iter().flatten() {
                    let expected = [vec![11.0], vec![22.0, 2.0]].map(Values::Sums);
                    let met: Vec<Values> = met.into_iter().map(|v| (*v.unwrap()).clone()).collect();
                    assert_eq!(met, expected, "process {rank} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_shard_that_fails_or_goes_elsewhere_ends_the_wait_of_all() {
        // Shard 3 fails after its first layer.
        let fails = |shard: usize| {
            let layers = if shard == 3 { 1 } else { 2 };
            Some(vec![Values::Sums(vec![1.0]); layers])
        };
        for (led, shards) in run(2, fails) {
            led.unwrap();
            for met in shards.into_iter().flatten() {
                assert!(met[0].is_some() && met[1..].iter().all(Option::is_none), "{met:?}");
            }
        }
        // Shard 1 has one layer less.
        let apart =
            |shard: usize| Some(vec![Values::Sums(vec![1.0]); if shard == 1 { 1 } else { 2 }]);
        let found = run(1, apart);
        let error = found[0].0.as_ref().unwrap_err().to_string();
        assert!(error.contains("different layers"), "{error}");
    }
}
