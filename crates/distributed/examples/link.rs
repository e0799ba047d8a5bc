//! Measures the link between two processes that `mpirun` started: how long a
//! short message takes, and how many bytes go each way in a second when both
//! send at the same time, as in a sum of gradients.
//!
//! ```text
//! mpirun -n 2 target/release/examples/link
//! ```

use std::time::Instant;

use dendra_distributed::{Communicator, Mpi};
use dendra_tensor::{Error, Result};

/// The bytes of a long message, as many as those of a group of gradients.
const LONG: usize = 1 << 20;

fn main() -> Result<()> {
    let world = Mpi::init()?;
    if world.size() != 2 {
        let message = format!("expected two processes, got {}", world.size());
        return Err(Error::argument("link", message));
    }
    let short = median(&world, 8, 2000)?;
    let long = median(&world, LONG, 100)?;
    if world.rank() == 0 {
        println!("latency {short:e}");
        println!("bandwidth {:e}", LONG as f64 / (long - short).max(f64::EPSILON));
    }
    Ok(())
}

/// The median of the seconds in which both processes send each other a message
/// of this length and have received the other's.
fn median(world: &Mpi, length: usize, rounds: usize) -> Result<f64> {
    let partner = 1 - world.rank();
    let message = vec![0; length];
    let mut seconds = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let message = message.clone();
        let start = Instant::now();
        world.send(partner, message)?;
        world.receive(partner)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[rounds / 2])
}
