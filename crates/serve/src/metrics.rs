//! Counters and histograms in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

/// Upper bounds of times in seconds.
const SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Upper bounds of the numbers of samples.
const SAMPLES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A histogram whose sum is stored in millionths.
pub(crate) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    millionths: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, millionths: AtomicU64::new(0) }
    }

    fn add(&self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        self.counts[bucket.unwrap_or(self.bounds.len())].fetch_add(1, Ordering::Relaxed);
        self.millionths.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn sum(&self) -> f64 {
        self.millionths.load(Ordering::Relaxed) as f64 * 1e-6
    }

    fn write(&self, text: &mut String, name: &str, model: &str) {
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self.bounds.get(index).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(text, "{name}_bucket{{model={model},le=\"{bound}\"}} {total}");
        }
        let _ = writeln!(text, "{name}_sum{{model={model}}} {}", self.sum());
        let _ = writeln!(text, "{name}_count{{model={model}}} {total}");
    }
}

/// The metrics of a model.
pub(crate) struct ModelMetrics {
    succeeded: AtomicU64,
    /// Requests that were invalid.
    refused: AtomicU64,
    /// Requests that were rejected or not answered in time.
    rejected: AtomicU64,
    failed: AtomicU64,
    samples: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) failed_loads: AtomicU64,
    duration: Histogram,
    waiting: Histogram,
    computing: Histogram,
    batches: Histogram,
}

impl ModelMetrics {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            succeeded: zero(),
            refused: zero(),
            rejected: zero(),
            failed: zero(),
            samples: zero(),
            loads: zero(),
            failed_loads: zero(),
            duration: Histogram::new(&SECONDS),
            waiting: Histogram::new(&SECONDS),
            computing: Histogram::new(&SECONDS),
            batches: Histogram::new(&SAMPLES),
        }
    }

    /// Records that a batch of this many samples is computed.
    pub(crate) fn batch(&self, samples: usize) {
        self.batches.add(samples as f64);
        self.samples.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// Records that a request waited in the queue.
    pub(crate) fn waited(&self, time: Duration) {
        self.waiting.add(time.as_secs_f64());
    }

    /// Records that a batch was computed.
    pub(crate) fn computed(&self, time: Duration) {
        self.computing.add(time.as_secs_f64());
    }

    /// Records that a request was answered.
    pub(crate) fn answered(&self, status: StatusCode, time: Duration) {
        let counter = match status.as_u16() {
            200..300 => &self.succeeded,
            408 | 429 | 503 => &self.rejected,
            500.. => &self.failed,
            _ => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if status.is_success() {
            self.duration.add(time.as_secs_f64());
        }
    }

    /// The statistics in the format of Triton.
    pub(crate) fn statistics(&self) -> serde_json::Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = |histogram: &Histogram| {
            let nanoseconds = (histogram.sum() * 1e9) as u64;
            serde_json::json!({ "count": histogram.count(), "ns": nanoseconds })
        };
        serde_json::json!({
            "inference_count": get(&self.samples),
            "execution_count": self.batches.count(),
            "inference_stats": {
                "success": of(&self.duration),
                "fail": { "count": get(&self.failed) + get(&self.refused), "ns": 0 },
                "queue": of(&self.waiting),
                "compute_infer": of(&self.computing),
            },
        })
    }

    fn write(&self, text: &mut String, name: &str, queue: usize, ready: bool) {
        let model = label(name);
        let outcomes = [
            ("succeeded", &self.succeeded),
            ("refused", &self.refused),
            ("rejected", &self.rejected),
            ("failed", &self.failed),
        ];
        for (outcome, counter) in outcomes {
            let count = counter.load(Ordering::Relaxed);
            let labels = format!("model={model},outcome=\"{outcome}\"");
            let _ = writeln!(text, "dendra_requests_total{{{labels}}} {count}");
        }
        for (name, value) in [
            ("samples_total", self.samples.load(Ordering::Relaxed)),
            ("loads_total", self.loads.load(Ordering::Relaxed)),
            ("failed_loads_total", self.failed_loads.load(Ordering::Relaxed)),
            ("queue_length", queue as u64),
            ("ready", u64::from(ready)),
        ] {
            let _ = writeln!(text, "dendra_{name}{{model={model}}} {value}");
        }
        self.duration.write(text, "dendra_request_seconds", &model);
        self.waiting.write(text, "dendra_queue_seconds", &model);
        self.computing.write(text, "dendra_compute_seconds", &model);
        self.batches.write(text, "dendra_batch_samples", &model);
    }
}

/// A label value in quotes.
fn label(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The metrics of the server.
pub(crate) struct Metrics {
    pub(crate) connections: AtomicU64,
    /// The number of responses by status.
    responses: Vec<AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let responses = (0..600).map(|_| AtomicU64::new(0)).collect();
        Self { connections: AtomicU64::new(0), responses }
    }

    pub(crate) fn responded(&self, status: StatusCode) {
        if let Some(counter) = self.responses.get(usize::from(status.as_u16())) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All metrics as text: those of the server and of each model, given its
    /// name, the length of its queue and whether it is ready.
    pub(crate) fn text(&self, models: &[(&str, &ModelMetrics, usize, bool)]) -> String {
        let mut text = String::new();
        for (name, kind, help) in FAMILIES {
            let _ = writeln!(text, "# HELP dendra_{name} {help}\n# TYPE dendra_{name} {kind}");
        }
        let connections = self.connections.load(Ordering::Relaxed);
        let _ = writeln!(text, "dendra_connections {connections}");
        for (status, counter) in self.responses.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                let _ = writeln!(text, "dendra_responses_total{{status=\"{status}\"}} {count}");
            }
        }
        for (name, metrics, queue, ready) in models {
            metrics.write(&mut text, name, *queue, *ready);
        }
        if let Some(bytes) = resident_memory() {
            let _ = writeln!(text, "# TYPE process_resident_memory_bytes gauge");
            let _ = writeln!(text, "process_resident_memory_bytes {bytes}");
        }
        text
    }
}

const FAMILIES: [(&str, &str, &str); 12] = [
    ("connections", "gauge", "Open connections."),
    ("responses_total", "counter", "Responses by status."),
    ("requests_total", "counter", "Requests for a model by outcome."),
    ("samples_total", "counter", "Computed samples."),
    ("loads_total", "counter", "Number of times the model's file was loaded."),
    ("failed_loads_total", "counter", "Number of times the model's file failed to load."),
    ("queue_length", "gauge", "Waiting requests."),
    ("ready", "gauge", "Whether the model is ready."),
    ("request_seconds", "histogram", "Time from the head of a request to its response."),
    ("queue_seconds", "histogram", "Time of a request in the queue."),
    ("compute_seconds", "histogram", "Time to compute a batch."),
    ("batch_samples", "histogram", "Samples in a batch."),
];

/// The resident memory of this process, if `/proc` provides it.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_family_and_cumulative_buckets() {
        let model = ModelMetrics::new();
        model.batch(3);
        model.answered(StatusCode::OK, Duration::from_millis(2));
        model.answered(StatusCode::TOO_MANY_REQUESTS, Duration::ZERO);
        let metrics = Metrics::new();
        metrics.responded(StatusCode::OK);
        let text = metrics.text(&[("a\"b", &model, 7, true)]);
        for (name, _, _) in FAMILIES {
            assert!(text.contains(&format!("\ndendra_{name}")), "{name} is missing in {text}");
        }
        for line in [
            "dendra_responses_total{status=\"200\"} 1",
            "dendra_requests_total{model=\"a\\\"b\",outcome=\"succeeded\"} 1",
            "dendra_requests_total{model=\"a\\\"b\",outcome=\"rejected\"} 1",
            "dendra_queue_length{model=\"a\\\"b\"} 7",
            "dendra_batch_samples_bucket{model=\"a\\\"b\",le=\"2\"} 0",
            "dendra_batch_samples_bucket{model=\"a\\\"b\",le=\"4\"} 1",
            "dendra_batch_samples_bucket{model=\"a\\\"b\",le=\"+Inf\"} 1",
            "dendra_batch_samples_sum{model=\"a\\\"b\"} 3",
            "dendra_request_seconds_sum{model=\"a\\\"b\"} 0.002",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
    }
}
