//! Group `classic` of the benchmarks: the networks of the example programs, trained through the
//! public API as the examples train them, without metrics and without validation.
//!
//! `classic list` prints the programs' names; `classic NAME` trains one and prints a line of JSON
//! with the seconds of its fastest epoch.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use dendra::prelude::*;

mod mnist;

const EPOCHS: u64 = 3;
const BATCH_SIZE: usize = 32;
const LEARNING_RATE: f64 = 1e-3;
const SEED: u64 = 42;

/// Trains a network for three epochs and prints the seconds of the fastest.
#[derive(Parser)]
struct Arguments {
    /// The program, or `list`.
    name: String,
    /// The folder of the MNIST files.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// A program returns the seconds of each epoch.
type Program = fn(Option<PathBuf>) -> Result<Vec<f64>>;

const PROGRAMS: [(&str, Program); 6] = [
    ("regression_head", regression_head),
    ("binary_classifier", binary_classifier),
    ("mnist_mlp", mnist_mlp),
    ("mnist_loop", mnist_loop),
    ("mnist_conv", mnist_conv),
    ("mnist_cnn", mnist_cnn),
];

fn main() -> ExitCode {
    let Arguments { name, data } = Arguments::parse();
    if name == "list" {
        PROGRAMS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let Some((_, program)) = PROGRAMS.iter().find(|(known, _)| *known == name) else {
        eprintln!("error: unknown program {name:?}; `list` prints the known ones");
        return ExitCode::FAILURE;
    };
    match program(data) {
        Ok(epochs) => {
            let seconds = epochs.into_iter().fold(f64::INFINITY, f64::min);
            println!("{{\"case\": \"{name}\", \"seconds\": {seconds}}}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn regression_head(_: Option<PathBuf>) -> Result<Vec<f64>> {
    let data = friedman(1_000, SEED);
    let model = Sequential::input([5])
        .dense(10)
        .relu()
        .dense(10)
        .relu()
        .dense(1)
        .sigmoid()
        .build(&mut Rng::seed(SEED))?;
    fit(model, MSELoss::new(), &data)
}

fn binary_classifier(_: Option<PathBuf>) -> Result<Vec<f64>> {
    let data = moons(3_000, 0.1, SEED)?;
    let model = Sequential::input([2])
        .dense(10)
        .relu()
        .dense(10)
        .relu()
        .dense(2)
        .build(&mut Rng::seed(SEED))?;
    fit(model, CrossEntropy::new(), &data)
}

fn mnist_mlp(folder: Option<PathBuf>) -> Result<Vec<f64>> {
    let model = mnist::perceptron([64, 64]).build(&mut Rng::seed(SEED))?;
    fit(model, CrossEntropy::new(), &digits(folder)?)
}

fn mnist_conv(folder: Option<PathBuf>) -> Result<Vec<f64>> {
    let model = Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .flatten()
        .dense(10)
        .build(&mut Rng::seed(SEED))?;
    fit(model, CrossEntropy::new(), &digits(folder)?)
}

fn mnist_cnn(folder: Option<PathBuf>) -> Result<Vec<f64>> {
    let model = mnist::convolutions().build(&mut Rng::seed(SEED))?;
    fit(model, CrossEntropy::new(), &digits(folder)?)
}

/// Trains with `Trainer`, as in Keras.
fn fit<D, Y: Send>(model: Sequential, loss: impl Loss<Y>, data: &D) -> Result<Vec<f64>>
where
    D: Dataset<Input = Tensor, Target = Y>,
{
    let mut trainer = Trainer::new(model, Adam::new(LEARNING_RATE), loss);
    let history = trainer.fit(data, Fit::epochs(EPOCHS).batch_size(BATCH_SIZE).quiet())?;
    Ok(history.epochs.iter().map(|epoch| epoch.seconds).collect())
}

/// The network of `mnist_mlp` as a struct.
#[derive(Parameters)]
struct Net {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Module for Net {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.fc1.forward(&x.flatten(1, -1)?)?.relu();
        let x = self.fc2.forward(&x)?.relu();
        self.fc3.forward(&x)
    }
}

/// Trains with an explicit loop, as in PyTorch.
fn mnist_loop(folder: Option<PathBuf>) -> Result<Vec<f64>> {
    let data = digits(folder)?;
    let rng = &mut Rng::seed(SEED);
    let mut model = Net {
        fc1: Linear::new(784, 64).init(rng)?,
        fc2: Linear::new(64, 64).init(rng)?,
        fc3: Linear::new(64, 10).init(rng)?,
    };
    let mut optimizer = Adam::new(LEARNING_RATE);
    let loader = DataLoader::new(&data).batch_size(BATCH_SIZE).shuffle(SEED);
    let mut epochs = Vec::new();
    for epoch in 0..EPOCHS {
        let start = Instant::now();
        for batch in loader.epoch(epoch) {
            let (x, y) = batch?;
            let tape = optimizer.tape(SEED);
            let logits = model.forward(&tape.input(x))?;
            let gradients = losses::cross_entropy(&logits, &y)?.backward()?;
            optimizer.step(&mut model, &gradients)?;
        }
        epochs.push(start.elapsed().as_secs_f64());
    }
    Ok(epochs)
}

/// The training images of MNIST, from the folder, or found as in the examples.
fn digits(folder: Option<PathBuf>) -> Result<ImageDataset> {
    Ok(Mnist::options().dir(folder).quiet(true).load()?.train)
}
