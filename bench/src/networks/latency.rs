//! The time to transfer a cache line from one core to another.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

const ROUNDS: u32 = 200;
const BATCHES: usize = 200;

/// The seconds to transfer a cache line from one core to another: half the median of many round
/// trips between two threads. An interruption by another program affects only few of them.
pub(crate) fn measured() -> f64 {
    let turn = AtomicU32::new(0);
    // Waits until the counter is `count`, then adds one, which the other thread waits for.
    let answer = |count: u32| {
        while turn.load(Ordering::Acquire) != count {
            spin_loop();
        }
        turn.store(count + 1, Ordering::Release);
    };
    let rounds = ROUNDS * BATCHES as u32;
    let mut seconds = Vec::with_capacity(BATCHES);
    thread::scope(|scope| {
        scope.spawn(|| (0..rounds).for_each(|round| answer(2 * round + 1)));
        for batch in 0..BATCHES as u32 {
            let start = Instant::now();
            (batch * ROUNDS..(batch + 1) * ROUNDS).for_each(|round| answer(2 * round));
            seconds.push(start.elapsed().as_secs_f64() / f64::from(2 * ROUNDS));
        }
    });
    seconds.sort_by(f64::total_cmp);
    seconds[BATCHES / 2]
}
