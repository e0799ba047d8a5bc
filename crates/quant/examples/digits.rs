//! What eight bits cost and save for networks of handwritten digits.
//!
//! ```text
//! cargo run --release -p dendra-quant --example digits FOLDER [epochs]
//! ```
//!
//! `FOLDER` has the four files of MNIST.

use std::fs;
use std::time::Instant;

use dendra_datasets::{Dataset, ImageDataset, Mnist};
use dendra_losses::CrossEntropy;
use dendra_nn::autograd::Var;
use dendra_nn::{Module, Sequential};
use dendra_optim::Adam;
use dendra_quant::{Quantizer, Scheme};
use dendra_tensor::{Error, Result, Rng, Tensor};
use dendra_train::{Fit, Trainer};

const BATCH: usize = 250;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = || Error::argument("digits", "expected the folder of MNIST's files");
    let mnist = Mnist::from_dir(arguments.get(1).ok_or_else(usage)?)?;
    let epochs = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(3);
    let input = || Sequential::input([1, 28, 28]);
    let perceptron = input().flatten().dense(64).relu().dense(64).relu().dense(10);
    let convolutions = input().conv2d(32, 3).relu().max_pool2d(2).flatten().dense(128).relu();
    for (name, network) in [("mnist_mlp", perceptron), ("mnist_cnn", convolutions.dense(10))] {
        let model = network.build(&mut Rng::seed(42))?;
        let mut trainer = Trainer::new(model, Adam::new(0.001), CrossEntropy::new());
        trainer.fit(&mnist.train, Fit::epochs(epochs).quiet())?;
        compare(name, trainer.model(), &mnist.train, &mnist.test)?;
    }
    Ok(())
}

/// Prints accuracy, size and speed of a network and its quantised forms.
fn compare(
    name: &str,
    model: &Sequential,
    train: &ImageDataset,
    test: &ImageDataset,
) -> Result<()> {
    let first: Vec<usize> = (0..BATCH).collect();
    let mut quantizer = Quantizer::of(model, &train.batch(&first)?.0)?;
    for batch in 0..8 {
        let indices: Vec<usize> = (batch * BATCH..(batch + 1) * BATCH).collect();
        quantizer.observe(&train.batch(&indices)?.0)?;
    }
    let floats = |x: &Tensor| Ok(model.forward(&Var::new(x.clone()))?.into_value());
    let path = std::env::temp_dir().join(format!("{name}-{}.safetensors", std::process::id()));
    model.save(&path)?;
    let before = fs::metadata(&path).map_err(|error| Error::io(&path, error))?.len();
    let (right, seconds) = measured(&floats, test)?;
    println!("{name:12} {:18} {:.2} %, {before:8} bytes, {seconds:.3} s", "floats", right);
    for scheme in [Scheme::Static, Scheme::Dynamic, Scheme::WeightsIn8Bits, Scheme::WeightsIn4Bits]
    {
        let network = quantizer.finish(scheme)?;
        network.save(&path)?;
        let bytes = fs::metadata(&path).map_err(|error| Error::io(&path, error))?.len();
        let (right, _) = measured(&|x: &Tensor| network.predict(x), test)?;
        // In turn with the floats, since nothing else may be quiet.
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            times[0].push(measured(&floats, test)?.1);
            times[1].push(measured(&|x: &Tensor| network.predict(x), test)?.1);
        }
        let [slow, fast] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[2]
        });
        let scheme = format!("{scheme:?}");
        let times = slow / fast;
        println!(
            "{name:12} {scheme:18} {right:.2} %, {bytes:8} bytes, {fast:.3} s, {times:.2} times"
        );
    }
    fs::remove_file(&path).map_err(|error| Error::io(&path, error))
}

/// The percentage of right answers, and the seconds of all predictions.
fn measured(
    predict: &dyn Fn(&Tensor) -> Result<Tensor>,
    test: &ImageDataset,
) -> Result<(f64, f64)> {
    let (mut right, mut seconds) = (0, 0.0);
    for first in (0..test.len()).step_by(BATCH) {
        let indices: Vec<usize> = (first..test.len().min(first + BATCH)).collect();
        let (x, labels) = test.batch(&indices)?;
        let begin = Instant::now();
        let outputs = predict(&x)?;
        seconds += begin.elapsed().as_secs_f64();
        for (row, &label) in outputs.to_vec().chunks(10).zip(&labels.to_vec()) {
            let best = (0..10).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            right += usize::from(best as i64 == label);
        }
    }
    Ok((100.0 * right as f64 / test.len() as f64, seconds))
}
