//! Group `networks` of the benchmarks: steps of whole networks, on a batch that is already in
//! memory.
//!
//! `networks list` prints the names of the cases. `networks CASE` runs one and prints a line of
//! JSON with the seconds of its fastest step and the largest resident memory of the process in
//! bytes. `networks latency` prints the seconds to transfer a cache line from one core to another.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use dendra::prelude::*;

mod latency;
mod models;

/// The shortest time for which steps are measured.
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_millis(1500);
const LEAST_STEPS: usize = 5;
const SEED: u64 = 42;

/// Runs steps of a network and prints the seconds of the fastest.
#[derive(Parser)]
struct Arguments {
    /// The case, `list` or `latency`.
    name: String,
}

/// One step, which returns the loss or, for inference, a number of the output.
type Step = Box<dyn FnMut() -> Result<f32>>;

/// A case: its name, whether it trains, and the function that prepares its step.
struct Case {
    name: &'static str,
    trains: bool,
    prepare: fn(&mut Rng) -> Result<Step>,
}

const CASES: [Case; 8] = [
    Case { name: "mobilenet_v2/8x3x96x96", trains: true, prepare: mobilenet_v2 },
    Case { name: "lstm/32x64", trains: true, prepare: lstm },
    Case { name: "gpt_6x384/8x256", trains: true, prepare: |rng| gpt(6, 6, 384, [8, 256], rng) },
    Case { name: "resnet18/32x3x32x32", trains: true, prepare: resnet18 },
    Case {
        name: "resnet18_inference/32x3x32x32",
        trains: false,
        prepare: |rng| resnet18_inference(32, rng),
    },
    Case {
        name: "resnet18_inference/1x3x32x32",
        trains: false,
        prepare: |rng| resnet18_inference(1, rng),
    },
    Case { name: "gpt_4x128/12x64", trains: true, prepare: |rng| gpt(4, 4, 128, [12, 64], rng) },
    Case { name: "perceptron/256x64", trains: true, prepare: perceptron },
];

fn main() -> ExitCode {
    let Arguments { name } = Arguments::parse();
    match name.as_str() {
        "list" => CASES.iter().for_each(|case| println!("{}", case.name)),
        "latency" => println!("{{\"case\": \"latency\", \"seconds\": {}}}", latency::measured()),
        _ => {
            let Some(case) = CASES.iter().find(|case| case.name == name) else {
                eprintln!("error: unknown case {name:?}; `list` prints the known ones");
                return ExitCode::FAILURE;
            };
            match fastest(case) {
                Ok(seconds) => {
                    let memory = peak_memory().map_or("null".to_owned(), |m| m.to_string());
                    println!(
                        "{{\"case\": \"{name}\", \"seconds\": {seconds}, \"memory\": {memory}}}"
                    );
                }
                Err(message) => {
                    eprintln!("error: {name}: {message}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

/// The seconds of the fastest step. The results of the steps must be finite, and the loss of a
/// network that trains must fall.
fn fastest(case: &Case) -> std::result::Result<f64, String> {
    let words = |error: Error| error.to_string();
    let mut step = (case.prepare)(&mut Rng::seed(SEED)).map_err(words)?;
    let first = step().map_err(words)?;
    let (mut last, mut seconds) = (first, f64::INFINITY);
    let (start, mut steps) = (Instant::now(), 0);
    while steps < LEAST_STEPS || start.elapsed() < WARM_UP + MEASURED {
        let began = Instant::now();
        last = step().map_err(words)?;
        if !last.is_finite() {
            return Err(format!("a step gave {last}"));
        }
        if start.elapsed() > WARM_UP || steps > 0 {
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        steps += 1;
    }
    match case.trains && last >= first {
        true => Err(format!("the loss went from {first} to {last}")),
        false => Ok(seconds),
    }
}

/// The largest resident memory of this process in bytes, if the system reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// A step of training on one batch.
fn training<I: 'static, M: Model<I, Output = Var> + 'static>(
    mut model: M,
    mut optimizer: impl Optimizer + 'static,
    inputs: I,
    loss: impl Fn(&Var) -> Result<Var> + 'static,
) -> Step {
    Box::new(move || {
        let tape = optimizer.tape(SEED);
        let loss = loss(&model.run(&inputs, &tape)?)?;
        let gradients = loss.backward()?;
        optimizer.step(&mut model, &gradients)?;
        loss.value().item()
    })
}

fn images(batch: usize, size: usize, rng: &mut Rng) -> Tensor {
    Tensor::normal([batch, 3, size, size], 0.0, 1.0, rng)
}

fn integers(shape: &[usize], below: i64, rng: &mut Rng) -> Tensor<i64> {
    Tensor::from_fn(shape, |_| i64::from(rng.next_u32()) % below)
}

fn mobilenet_v2(rng: &mut Rng) -> Result<Step> {
    let model = models::mobilenet_v2([3, 96, 96], 10).build(rng)?;
    let (x, y) = (images(8, 96, rng), integers(&[8], 10, rng));
    let optimizer = SGD::new(0.01).momentum(0.9);
    Ok(training(model, optimizer, x, move |logits| losses::cross_entropy(logits, &y)))
}

fn resnet18(rng: &mut Rng) -> Result<Step> {
    let model = models::resnet18([3, 32, 32], 10).build(rng)?;
    let (x, y) = (images(32, 32, rng), integers(&[32], 10, rng));
    let optimizer = SGD::new(0.01).momentum(0.9);
    Ok(training(model, optimizer, x, move |logits| losses::cross_entropy(logits, &y)))
}

fn resnet18_inference(batch: usize, rng: &mut Rng) -> Result<Step> {
    let model = models::resnet18([3, 32, 32], 10).build(rng)?;
    let x = images(batch, 32, rng);
    Ok(Box::new(move || model.run(&x, &Tape::inference())?.into_value().sum().item()))
}

fn lstm(rng: &mut Rng) -> Result<Step> {
    let model = models::Reader::new(models::WORDS, 256, 2, rng)?;
    let words = integers(&[32, 64], models::WORDS as i64, rng);
    let next = integers(&[32, 64], models::WORDS as i64, rng);
    let loss = CrossEntropy::new().class_axis(-1);
    Ok(training(model, Adam::new(1e-3), words, move |logits| loss.compute(logits, &next)))
}

fn gpt(
    layers: usize,
    heads: usize,
    width: usize,
    shape: [usize; 2],
    rng: &mut Rng,
) -> Result<Step> {
    let model = models::Gpt::new(layers, heads, width, shape[1], rng)?;
    let words = integers(&shape, models::WORDS as i64, rng);
    let next = integers(&shape, models::WORDS as i64, rng);
    let loss = CrossEntropy::new().class_axis(-1);
    let optimizer = AdamW::new(3e-4).weight_decay(0.1);
    Ok(training(model, optimizer, words, move |logits| loss.compute(logits, &next)))
}

fn perceptron(rng: &mut Rng) -> Result<Step> {
    let model = models::perceptron(64, 256).build(rng)?;
    let x: Tensor = Tensor::normal([256, 64], 0.0, 1.0, rng);
    let y: Tensor = Tensor::normal([256, 1], 0.0, 1.0, rng);
    Ok(training(model, Adam::new(1e-3), x, move |outputs| losses::mse_loss(outputs, &y)))
}
