//! What all processes do together: sums of vectors and collections of messages.
//!
//! Processes exchange messages in pairs whose ranks differ in one bit. In level
//! l, the lowest first, a process and its partner have the sums of 2ˡ
//! neighbouring processes each, so the sums are those of a binary tree over the
//! processes.

use std::mem;
use std::ops::{DerefMut, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dendra_tensor::{Error, Float, Result};

use crate::bytes::{Reader, Writer};
use crate::communicator::Communicator;
use crate::floats::Compression;

/// The processes of a run, whose number is a power of two.
#[derive(Debug)]
pub(crate) struct Group<'w> {
    world: &'w dyn Communicator,
    /// The number of exchanges so far. Both sides of an exchange compare it.
    exchanges: AtomicU64,
    /// The memory of the last message of a sum, for the next one: the system takes long to hand
    /// out new memory.
    spare: Mutex<Vec<u8>>,
}

/// A message of two.
type Both = dyn Fn(&[u8], &[u8]) -> Result<Vec<u8>>;

impl<'w> Group<'w> {
    pub(crate) fn new(world: &'w dyn Communicator) -> Self {
        Self { world, exchanges: AtomicU64::new(0), spare: Mutex::default() }
    }

    pub(crate) fn rank(&self) -> usize {
        self.world.rank()
    }

    pub(crate) fn size(&self) -> usize {
        self.world.size()
    }

    pub(crate) fn abort(&self, reason: &str) {
        self.world.abort(reason);
    }

    fn spare(&self) -> impl DerefMut<Target = Vec<u8>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partner in each level.
    fn partners(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (rank, levels) = (self.rank(), self.size().trailing_zeros());
        (0..levels).map(move |level| rank ^ (1 << level))
    }

    /// Sends a message to a process and returns the one of that process.
    fn exchange(&self, partner: usize, mut message: Vec<u8>) -> Result<Vec<u8>> {
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        message.extend(number);
        self.world.send(partner, message)?;
        let mut answer = self.world.receive(partner)?;
        let own = answer.len().checked_sub(number.len()).map(|at| answer.split_off(at));
        if own.as_deref() != Some(&number[..]) {
            let message = format!(
                "process {partner} is at another place of the run than process {}; all processes \
                 must run the same program, and callbacks must decide alike in all of them",
                self.rank()
            );
            self.abort(&message);
            return Err(Error::data("DataParallel", message));
        }
        Ok(answer)
    }

    /// The messages of all processes, by rank.
    pub(crate) fn all_gather(&self, message: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let mut known = vec![message];
        for partner in self.partners() {
            let mut writer = Writer::default();
            known.iter().for_each(|message| writer.bytes(message));
            let answer = self.exchange(partner, writer.finish())?;
            let mut reader = Reader::new(&answer);
            let mut others = Vec::with_capacity(known.len());
            for _ in 0..known.len() {
                others.push(reader.bytes()?.to_vec());
            }
            // Each has the messages of neighbouring ranks.
            match partner < self.rank() {
                true => known.splice(0..0, others).for_each(drop),
                false => known.extend(others),
            }
        }
        Ok(known)
    }

    /// Combines a message of each process in the order of the tree; each process
    /// has the result afterwards. `both` takes the message of the lower ranks
    /// first.
    pub(crate) fn combine(&self, mut own: Vec<u8>, both: &Both) -> Result<Vec<u8>> {
        for partner in self.partners() {
            let other = self.exchange(partner, own.clone())?;
            own = match partner < self.rank() {
                true => both(&other, &own)?,
                false => both(&own, &other)?,
            };
        }
        Ok(own)
    }

    /// Adds the values of all processes in the order of the tree; each process
    /// has the sums afterwards.
    ///
    /// In each level, two partners halve the part for which they have sums: each
    /// sends one half and adds the other. Then each has the total of one part,
    /// and the parts go back the same way. A process sends and receives twice
    /// the values, whatever the number of processes (Rabenseifner, "Optimization
    /// of collective reduction operations", 2004).
    pub(crate) fn all_reduce<T: Float>(
        &self,
        values: &mut [T],
        compression: Compression,
    ) -> Result<()> {
        let mut part = 0..values.len();
        let mut given: Vec<Range<usize>> = Vec::new();
        // The memory of each answer is that of the next message.
        let mut bytes = mem::take(&mut *self.spare());
        let exchange = |partner, values: &[T], bytes: &mut Vec<u8>| {
            bytes.clear();
            compression.append(values, bytes);
            *bytes = self.exchange(partner, mem::take(bytes))?;
            Ok::<_, Error>(())
        };
        for partner in self.partners() {
            let middle = part.start + part.len() / 2;
            let (kept, sent) = match self.rank() < partner {
                true => (part.start..middle, middle..part.end),
                false => (middle..part.end, part.start..middle),
            };
            exchange(partner, &values[sent.clone()], &mut bytes)?;
            compression.add(&mut values[kept.clone()], &bytes)?;
            given.push(sent);
            part = kept;
        }
        for (partner, other) in self.partners().rev().zip(given.into_iter().rev()) {
            exchange(partner, &values[part.clone()], &mut bytes)?;
            compression.read(&mut values[other.clone()], &bytes)?;
            part = part.start.min(other.start)..part.end.max(other.end);
        }
        *self.spare() = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::Threads;

    use super::*;

    /// The results of `work` in worlds of this many processes.
    fn in_all<R: Send>(size: usize, work: impl Fn(&Group<'_>) -> R + Sync) -> Vec<R> {
        let world = Threads::world(size).unwrap();
        thread::scope(|scope| {
            let work = &work;
            let running: Vec<_> =
                world.iter().map(|own| scope.spawn(move || work(&Group::new(own)))).collect();
            running.into_iter().map(|running| running.join().unwrap()).collect()
        })
    }

    /// A number whose sums depend on the order of the additions.
    fn value(index: usize, process: usize) -> f32 {
        let seed = (index * 31 + process * 17) % 23;
        (seed as f32 - 11.3) * 10_f32.powi((seed % 7) as i32 - 3)
    }

    fn tree(values: &[f32]) -> f32 {
        match values {
            [value] => *value,
            _ => {
                let (left, right) = values.split_at(values.len() / 2);
                tree(left) + tree(right)
            }
        }
    }

    #[test]
    fn sums_are_those_of_the_tree() {
        for size in [1, 2, 4, 8] {
            for length in [0, 1, 2, 7, 64] {
                let sums = in_all(size, |group| {
                    let own = group.rank();
                    let mut values: Vec<f32> = (0..length).map(|i| value(i, own)).collect();
                    group.all_reduce(&mut values, Compression::None).unwrap();
                    values
                });
                for (rank, sums) in sums.into_iter().enumerate() {
                    for (index, sum) in sums.into_iter().enumerate() {
                        let of_all: Vec<f32> = (0..size).map(|p| value(index, p)).collect();
                        assert_eq!(sum.to_bits(), tree(&of_all).to_bits(), "{rank} of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn messages_are_collected_by_rank() {
        let expected: Vec<Vec<u8>> = (0..8).map(|rank| vec![rank as u8; rank]).collect();
        let found = in_all(8, |group| group.all_gather(vec![group.rank() as u8; group.rank()]));
        for found in found {
            assert_eq!(found.unwrap(), expected);
        }
    }

    #[test]
    fn messages_are_combined_in_the_order_of_the_ranks() {
        let both = |a: &[u8], b: &[u8]| Ok([b"(", a, b, b")"].concat());
        for found in in_all(4, |group| group.combine(vec![b'0' + group.rank() as u8], &both)) {
            assert_eq!(found.unwrap(), b"((01)(23))");
        }
    }

    #[test]
    fn processes_at_different_places_are_told() {
        let errors = in_all(2, |group| {
            if group.rank() == 1 {
                group.exchanges.store(7, Ordering::Relaxed);
            }
            group.all_gather(Vec::new()).unwrap_err().to_string()
        });
        assert!(errors.iter().any(|error| error.contains("at another place")), "{errors:?}");
    }
}
