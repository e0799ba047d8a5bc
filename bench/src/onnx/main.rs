//! The time of a run of an ONNX model, as `peers.py` measures ONNX Runtime and `tract`.
//!
//! ```text
//! cargo build --release -p dendra-bench --features onnx --bin onnx
//! python bench/src/onnx/peers.py target/release/onnx
//! ```
//!
//! `onnx MODEL FOLDER` runs a model on the inputs in `FOLDER/input_0.pb`, `input_1.pb`, … and
//! prints a line of JSON with the milliseconds of a run: the median, and the processor time. With
//! `--operators` it prints the time of each kind of operator instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use dendra::onnx::{Model, Value};
use dendra::prelude::*;

const WARM_UP: Duration = Duration::from_millis(300);
const LEAST_RUNS: usize = 5;

/// Measures the runs of an ONNX model.
#[derive(Parser)]
struct Arguments {
    model: PathBuf,
    /// The folder of the inputs.
    folder: PathBuf,
    /// How long runs are measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Print the time of each kind of operator.
    #[arg(long)]
    operators: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = Model::load(&arguments.model)?;
    let inputs = inputs(&model, &arguments.folder)?;
    let run = || {
        let given = inputs.iter().map(|(name, value)| (name.as_str(), value.clone()));
        model.run(given).map(|_| ())
    };
    repeat(WARM_UP, &run)?;
    if arguments.operators {
        return operators(&model, &inputs, arguments.seconds);
    }
    let before = processor_time();
    let mut times = repeat(Duration::from_secs_f64(arguments.seconds), &run)?;
    let processor = (processor_time() - before) / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{{\"wall\": {:.5}, \"processor\": {:.5}}}", median * 1e3, processor * 1e3);
    Ok(())
}

/// The inputs of a model by their names.
fn inputs(model: &Model, folder: &Path) -> Result<Vec<(String, Value)>> {
    let read = |(index, name): (usize, &str)| {
        let path = folder.join(format!("input_{index}.pb"));
        let bytes = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        Ok((name.to_owned(), Value::from_tensor_proto(&bytes)?))
    };
    model.inputs().map(|input| input.name.as_str()).enumerate().map(read).collect()
}

/// The seconds of each run, for at least some time.
fn repeat(time: Duration, run: &dyn Fn() -> Result<()>) -> Result<Vec<f64>> {
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < LEAST_RUNS || begin.elapsed() < time {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Prints the mean time of a run in each kind of operator.
fn operators(model: &Model, inputs: &[(String, Value)], seconds: f64) -> Result<()> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    let (mut runs, begin) = (0, Instant::now());
    while begin.elapsed().as_secs_f64() < seconds {
        let given = inputs.iter().map(|(name, value)| (name.as_str(), value.clone()));
        model.run_watched(given, &mut |operator, _, seconds| {
            let sum = sums.entry(operator.to_owned()).or_default();
            *sum = (sum.0 + seconds, sum.1 + 1);
        })?;
        runs += 1;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0));
    for (operator, (seconds, count)) in sums {
        println!("{operator:24} {:9.4} ms {:5} times", seconds * 1e3 / runs as f64, count / runs);
    }
    Ok(())
}

/// The processor time in seconds of this process, user and system.
fn processor_time() -> f64 {
    let Ok(text) = fs::read_to_string("/proc/self/stat") else { return f64::NAN };
    // After the name, which is in brackets, come the state and 10 numbers before the times.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
