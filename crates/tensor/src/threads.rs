//! The number of threads that share the work.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// The environment variable that sets the number of threads at program start.
const VARIABLE: &str = "DENDRA_NUM_THREADS";

/// An upper bound: more than the cores of common machines, and few enough to
/// start.
const MOST: usize = 1024;

/// The argument of the last [`set_num_threads`]; 0 before any call.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that share the work of large operations. It is set by
/// [`set_num_threads`] or the environment variable `DENDRA_NUM_THREADS`.
/// Otherwise it is one per core; with the feature `rayon` it is that crate's
/// number: one per core, `RAYON_NUM_THREADS`, or the threads of the pool from
/// which this is called. Results do not depend on it, to the last bit.
pub fn num_threads() -> usize {
    match CHOSEN.load(Ordering::Relaxed) {
        0 => from_environment().unwrap_or_else(usual),
        chosen => chosen,
    }
}

/// Sets the number of threads that share the work, for the whole process. Use 1
/// for a service that answers many requests at once, each on a thread of its
/// own.
///
/// ```
/// dendra_tensor::set_num_threads(2)?;
/// assert_eq!(dendra_tensor::num_threads(), 2);
/// assert!(dendra_tensor::set_num_threads(0).is_err());
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// When the number is 0 or above 1024.
pub fn set_num_threads(threads: usize) -> Result<()> {
    if (1..=MOST).contains(&threads) {
        CHOSEN.store(threads, Ordering::Relaxed);
        return Ok(());
    }
    let message = format!("expected a number of threads from 1 to {MOST}, got {threads}");
    Err(Error::argument("set_num_threads", message))
}

#[cfg(feature = "rayon")]
fn usual() -> usize {
    rayon::current_num_threads()
}

/// One thread per core.
#[cfg(not(feature = "rayon"))]
fn usual() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from).min(MOST))
}

/// The value of the environment variable, read once.
fn from_environment() -> Option<usize> {
    static NUMBER: OnceLock<Option<usize>> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let text = env::var(VARIABLE).ok()?;
        let number = parsed(&text);
        if number.is_none() {
            eprintln!("{VARIABLE} is not used: expected a number from 1 to {MOST}, got {text:?}");
        }
        number
    })
}

fn parsed(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|number| (1..=MOST).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_threads_are_taken() {
        assert_eq!([" 4 ", "1", "1024"].map(parsed), [4, 1, 1024].map(Some));
        assert_eq!(["0", "1025", "-1", "all", ""].map(parsed), [None; 5]);
        assert!(num_threads() > 0);
        let error = set_num_threads(MOST + 1).unwrap_err().to_string();
        assert!(error.contains("from 1 to 1024, got 1025"), "{error}");
    }
}
