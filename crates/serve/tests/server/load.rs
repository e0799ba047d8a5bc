//! A server under full load: requests a second, times, memory. Run by hand:
//!
//! ```sh
//! cargo test --release -p dendra-serve --test server -- --ignored --nocapture load::
//! ```

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dendra_nn::Sequential;
use dendra_serve::Settings;
use dendra_tensor::Rng;

use crate::client::{SetOnDrop, ask_on, connect, infer_request, metric};
use crate::{normal, place, serve, settings};

/// The measurements of the clients of one run, in memory of constant size.
struct Seen {
    /// The number of responses by their time: each bucket ends 1 % above the
    /// previous one, the first at 10 µs.
    times: Vec<usize>,
    turned_away: usize,
    others: usize,
}

impl Seen {
    fn new() -> Self {
        Self { times: vec![0; 1500], turned_away: 0, others: 0 }
    }

    fn add(&mut self, time: Duration) {
        let bucket = (time.as_secs_f64() / 1e-5).max(1.0).ln() / 1.01_f64.ln();
        let last = self.times.len() - 1;
        self.times[(bucket as usize).min(last)] += 1;
    }

    /// A quantile of the response times in milliseconds.
    fn quantile(&self, part: f64) -> f64 {
        let rank = part * self.answers() as f64;
        let mut sum = 0;
        let bucket = self.times.iter().position(|count| {
            sum += count;
            sum as f64 >= rank
        });
        1e-2 * 1.01_f64.powi(bucket.unwrap_or(0) as i32 + 1)
    }

    fn answers(&self) -> usize {
        self.times.iter().sum()
    }
}

/// Sends requests from several threads for some seconds, each thread on one
/// open connection, and prints the measurements.
fn load(what: &str, at: SocketAddr, clients: usize, seconds: u64, request: &[u8]) {
    let (done, seen) = (AtomicBool::new(false), Mutex::new(Seen::new()));
    let memory = || metric(at, "process_resident_memory_bytes") / 1e6;
    let mut memories = Vec::new();
    let started = Instant::now();
    thread::scope(|scope| {
        let end = SetOnDrop(&done);
        for _ in 0..clients {
            scope.spawn(|| {
                let (mut stream, mut own) = (connect(at), Seen::new());
                while !done.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match ask_on(&mut stream, request).map(|reply| reply.status) {
                        Some(200) => own.add(begun.elapsed()),
                        Some(429) => {
                            own.turned_away += 1;
                            // Like a client that respects `Retry-After`, only
                            // sooner.
                            thread::sleep(Duration::from_millis(5));
                        }
                        _ => {
                            own.others += 1;
                            stream = connect(at);
                        }
                    }
                }
                let mut seen = seen.lock().unwrap();
                seen.times.iter_mut().zip(own.times).for_each(|(all, own)| *all += own);
                seen.turned_away += own.turned_away;
                seen.others += own.others;
            });
        }
        while started.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_secs(seconds) / 6);
            memories.push(format!("{:.0}", memory()));
        }
        drop(end);
    });
    let elapsed = started.elapsed().as_secs_f64();
    let seen = seen.into_inner().unwrap();
    println!(
        "{what}: {clients} clients, {:.0} responses/s, p50 {:.2} ms, p99 {:.2} ms, \
         slowest {:.0} ms; rejected {}, others {}; memory of server and clients in MB: {}",
        seen.answers() as f64 / elapsed,
        seen.quantile(0.5),
        seen.quantile(0.99),
        seen.quantile(1.0),
        seen.turned_away,
        seen.others,
        memories.join(", "),
    );
    assert_eq!(seen.others, 0);
}

fn digits(convolutions: bool) -> Sequential {
    let builder = Sequential::input([1, 28, 28]);
    let builder = match convolutions {
        true => {
            let block = builder.conv2d(16, 3).relu().max_pool2d(2).conv2d(32, 3).relu();
            block.max_pool2d(2).flatten()
        }
        false => builder.flatten().dense(128).relu(),
    };
    builder.dense(10).build(&mut Rng::seed(1)).unwrap()
}

#[test]
#[ignore = "takes minutes"]
fn a_minute_at_full_load() {
    let seconds = std::env::var("DENDRA_SECONDS").map_or(60, |text| text.parse().unwrap());
    let (folder, dense) = place("dense.safetensors");
    let convolutions = folder.path().join("convolutions.safetensors");
    digits(false).save(&dense).unwrap();
    digits(true).save(&convolutions).unwrap();
    let x = normal(&[1, 1, 28, 28], 1);
    for (name, file) in [("dense", &dense), ("convolutions", &convolutions)] {
        let request = infer_request(name, &x);
        let server = serve(settings(), &[file]);
        load(name, server.address(), 1, seconds / 6, &request);
        load(name, server.address(), 64, seconds, &request);
        drop(server);
        let server = serve(Settings { batch: 1, ..settings() }, &[file]);
        load(&format!("{name}, without batches"), server.address(), 64, seconds / 6, &request);
        drop(server);
        let server = serve(Settings { queue: 16, ..settings() }, &[file]);
        let what = format!("{name}, with room for 16 in the queue");
        load(&what, server.address(), 256, seconds / 2, &request);
    }
}
