//! What half precision costs and saves: files, products, training.
//!
//! ```text
//! cargo run --release -p dendra-quant --example half digits FOLDER f32|f16|bf16 [epochs]
//! cargo run --release -p dendra-quant --example half memory f32|f16|bf16
//! cargo run --release -p dendra-quant --example half products
//! ```
//!
//! `digits` trains networks of MNIST, whose four files are in `FOLDER`, with autocast to this type,
//! and saves them in all three. `memory` trains a deep perceptron and prints the largest memory of
//! the process. `products` compares products with weights in `bf16` and `f16` with those in `f32`.

use std::fs;
use std::time::Instant;

use dendra_datasets::{Dataset, ImageDataset, Mnist};
use dendra_losses::{CrossEntropy, Loss};
use dendra_nn::autograd::{Parameters, StateDict, Tape, Var};
use dendra_nn::{Module, Sequential, StateFile};
use dendra_optim::{Adam, Optimizer};
use dendra_tensor::{Error, HalfPrecision, Ops, Result, Rng, Tensor, bf16, f16, set_num_threads};
use dendra_train::{Fit, Trainer};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match arguments[..] {
        ["digits", folder, precision] => digits(folder, precision, "3"),
        ["digits", folder, precision, epochs] => digits(folder, precision, epochs),
        ["memory", precision] => memory(precision),
        ["products"] => products(),
        _ => Err(Error::argument("half", "expected digits, memory or products")),
    }
}

fn precision(name: &str) -> Result<Option<HalfPrecision>> {
    match name {
        "f32" => Ok(None),
        "f16" => Ok(Some(HalfPrecision::F16)),
        "bf16" => Ok(Some(HalfPrecision::BF16)),
        _ => Err(Error::argument("half", "expected f32, f16 or bf16")),
    }
}

fn digits(folder: &str, name: &str, epochs: &str) -> Result<()> {
    let mnist = Mnist::from_dir(folder)?;
    let epochs = epochs.parse().map_err(|_| Error::argument("half", "expected epochs"))?;
    let input = || Sequential::input([1, 28, 28]);
    let perceptron = input().flatten().dense(64).relu().dense(64).relu().dense(10);
    let convolutions = input().conv2d(32, 3).relu().max_pool2d(2).flatten().dense(128).relu();
    for (network, plan) in [("mnist_mlp", perceptron), ("mnist_cnn", convolutions.dense(10))] {
        let model = plan.build(&mut Rng::seed(42))?;
        let mut trainer = Trainer::new(model, Adam::new(0.001), CrossEntropy::new());
        let mut fit = Fit::epochs(epochs).quiet();
        if let Some(precision) = precision(name)? {
            fit = fit.autocast(precision);
        }
        let begin = Instant::now();
        let history = trainer.fit(&mnist.train, fit)?;
        let seconds = begin.elapsed().as_secs_f64();
        let skipped = history.incidents.len();
        println!("{network} trained in {name}: {seconds:.1} s, {skipped} steps skipped");
        let model = trainer.into_model();
        let file = model.to_file()?;
        saved(&model, &mnist.test, "f32", &file, file.state.clone())?;
        saved(&model, &mnist.test, "f16", &file, file.state.cast_floats::<f16>()?)?;
        saved(&model, &mnist.test, "bf16", &file, file.state.cast_floats::<bf16>()?)?;
    }
    Ok(())
}

/// Writes a state, reads it again, and prints the size of the file and the accuracy.
fn saved(
    model: &Sequential,
    test: &ImageDataset,
    name: &str,
    file: &StateFile,
    state: StateDict,
) -> Result<()> {
    let path = std::env::temp_dir().join(format!("half-{}.safetensors", std::process::id()));
    StateFile { state, metadata: file.metadata.clone() }.write(&path)?;
    let bytes = fs::metadata(&path).map_err(|error| Error::io(&path, error))?.len();
    let again = Sequential::load(&path)?;
    fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
    let (mut right, mut changed) = (0, 0);
    for first in (0..test.len()).step_by(250) {
        let indices: Vec<usize> = (first..test.len().min(first + 250)).collect();
        let (x, labels) = test.batch(&indices)?;
        let answers = |model: &Sequential| {
            model.forward(&Var::new(x.clone()))?.value().argmax(1).map(|best| best.to_vec())
        };
        let (found, exact) = (answers(&again)?, answers(model)?);
        right += found.iter().zip(labels.to_vec()).filter(|(a, b)| **a == *b).count();
        changed += found.iter().zip(&exact).filter(|(a, b)| a != b).count();
    }
    let right = 100.0 * right as f64 / test.len() as f64;
    println!("  saved in {name:4} {bytes:8} bytes, {right:.2} %, {changed} answers changed");
    Ok(())
}

fn memory(name: &str) -> Result<()> {
    const WIDTH: usize = 1024;
    const SAMPLES: usize = 4096;
    const STEPS: u64 = 1;
    let mut plan = Sequential::input([WIDTH]);
    for _ in 0..8 {
        plan = plan.dense(WIDTH).relu();
    }
    let mut model: Sequential = plan.dense(10).build(&mut Rng::seed(1))?;
    let x = Tensor::normal([SAMPLES, WIDTH], 0.0, 1.0, &mut Rng::seed(2));
    let labels = Tensor::from_fn([SAMPLES], |index| (index % 10) as i64);
    let mut optimizer = Adam::new(1e-4);
    let begin = Instant::now();
    for step in 0..STEPS {
        let tape = Tape::training(0, step);
        let tape = match precision(name)? {
            Some(precision) => tape.autocast(precision),
            None => tape,
        };
        let loss = CrossEntropy::new().forward(&model.forward(&tape.input(x.clone()))?, &labels)?;
        optimizer.step(&mut model, &loss.backward()?)?;
    }
    let seconds = begin.elapsed().as_secs_f64() / STEPS as f64;
    let parameters = model.named_parameters().iter().map(|(_, p)| p.value().len()).sum::<usize>();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    println!("{name}: {parameters} parameters, peak {}, {seconds:.2} s a step", peak.trim());
    Ok(())
}

fn products() -> Result<()> {
    const ROUNDS: usize = 5;
    set_num_threads(1)?;
    println!("x·Wᵀ, W of 2048 × 2048, one thread; milliseconds, medians of {ROUNDS}");
    let weight: Tensor = Tensor::normal([2048, 2048], 0.0, 1.0, &mut Rng::seed(1));
    let (half, brain) = (weight.cast::<f16>(), weight.cast::<bf16>());
    for rows in [1, 4, 16, 64, 256] {
        let x = Tensor::normal([rows, 2048], 0.0, 1.0, &mut Rng::seed(2));
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let runs: [&dyn Fn() -> Result<Tensor>; 3] =
                [&|| x.linear(&weight, None), &|| x.mixed_linear(&half, None), &|| {
                    x.mixed_linear(&brain, None)
                }];
            for (run, times) in runs.iter().zip(&mut times) {
                let begin = seconds();
                run()?;
                times.push(seconds() - begin);
            }
        }
        let [single, half, brain] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            1e3 * times[ROUNDS / 2]
        });
        println!("{rows:4} rows: f32 {single:8.2}, f16 {half:8.2}, bf16 {brain:8.2}");
    }
    Ok(())
}

/// The processor time of this thread, which other programs disturb little.
fn seconds() -> f64 {
    let on_cpu = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = on_cpu.split(' ').next().and_then(|text| text.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) * 1e-9
}
