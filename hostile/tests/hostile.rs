//! Every malformed file gives an error of the right kind, quickly, and within
//! the memory limit of its parser.
//!
//! This is a single test, alone in its process, because the allocator counts
//! the memory of all threads.

use std::panic::catch_unwind;
use std::thread;
use std::time::{Duration, Instant};

use dendra_hostile::{PARSERS, files};
use dendra_tensor::Error;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The longest time that a parser may take for a file.
const MOST_TIME: Duration = Duration::from_millis(100);

/// The memory that a parser may use for a file of any size: buffers and tables
/// of decoders.
const FIXED_MEMORY: usize = 4 << 20;

/// The longest error message in bytes: that of an array of 255 axes is the
/// longest.
const LONGEST_MESSAGE: usize = 4096;

/// The processor time of this thread, so that other programs on the machine do
/// not count; elapsed time where the system does not report it.
fn time_used(start: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

#[test]
fn every_hostile_file_is_refused_soon_and_in_bounds() {
    let files = files::all();
    assert!(files.len() >= 200, "only {} files", files.len());
    let mut problems = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    for parser in PARSERS {
        let own = files.iter().filter(|file| file.parsers.contains(&parser.name));
        let mut count = 0;
        for file in own {
            count += 1;
            let name = format!("{}: {}", parser.name, file.name);
            // A new thread has no recycled memory and its own clock.
            let outcome = thread::scope(|scope| {
                let work = || {
                    MEMORY.reset_peak_usage();
                    let (before, start) = (MEMORY.current_usage(), Instant::now());
                    let began = time_used(start);
                    let outcome = catch_unwind(|| (parser.parse)(&file.bytes));
                    (outcome, time_used(start) - began, MEMORY.peak_usage() - before)
                };
                scope.spawn(work).join().unwrap()
            });
            let (outcome, time, memory) = outcome;
            match outcome {
                Err(_) => problems.push(format!("{name}: panicked")),
                Ok(Ok(())) if file.refused => problems.push(format!("{name}: was accepted")),
                Ok(Err(Error::Io { .. })) => problems.push(format!("{name}: could not be read")),
                Ok(Err(error)) if error.to_string().len() > LONGEST_MESSAGE => {
                    problems
                        .push(format!("{name}: the message is {} bytes", error.to_string().len()));
                }
                Ok(_) => {}
            }
            if time > MOST_TIME {
                problems.push(format!("{name}: took {time:?}"));
            }
            let most = FIXED_MEMORY + parser.memory_per_byte * file.bytes.len();
            if memory > most {
                problems.push(format!("{name}: used {memory} bytes, at most {most} are allowed"));
            }
            if time > slowest.0 {
                slowest = (time, name);
            }
        }
        println!("{}: {count} files", parser.name);
        assert!(count > 0, "no file is for {}", parser.name);
    }
    println!("{} files, the slowest took {:?}: {}", files.len(), slowest.0, slowest.1);
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}
