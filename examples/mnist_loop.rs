//! Classifies handwritten digits with a custom model and training loop, as in
//! PyTorch.

use dendra::prelude::*;
use dendra::train::{StopFlag, checked_backward};

mod options;

/// The file that is written when the training ends or is interrupted.
const MODEL: &str = "mnist_loop.safetensors";

#[derive(Parameters)]
struct Net {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Net {
    fn new(rng: &mut Rng) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(784, 64).init(rng)?,
            fc2: Linear::new(64, 64).init(rng)?,
            fc3: Linear::new(64, 10).init(rng)?,
        })
    }
}

impl Module for Net {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = x.flatten(1, -1)?;
        let x = self.fc1.forward(&x)?.relu();
        let x = self.fc2.forward(&x)?.relu();
        self.fc3.forward(&x)
    }
}

fn main() -> Result<()> {
    let options = options::Options::<options::Digits>::read(
        "Trains a 784-64-64-10 network on MNIST with a custom training loop",
        "10",
        "0.001",
    );
    dendra::nn::check_writable(MODEL)?;
    let mnist = options.more.load()?;
    let mut model = Net::new(&mut Rng::seed(options.seed))?;
    let mut optimizer = Adam::new(options.learning_rate);
    let loader = DataLoader::new(&mnist.train).batch_size(options.batch_size).shuffle(options.seed);

    let stop = StopFlag::on_ctrl_c()?;
    'training: for epoch in 0..options.epochs {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch) {
            let (x, y) = batch?;
            let tape = optimizer.tape(options.seed);
            let logits = model.forward(&tape.input(x))?;
            let loss = losses::cross_entropy(&logits, &y)?;
            let gradients = checked_backward(&loss, &model)?;
            optimizer.step(&mut model, &gradients)?;
            sum += gradients.loss();
            if stop.is_set() {
                println!("interrupted in epoch {}", epoch + 1);
                break 'training;
            }
        }
        println!("epoch {}  loss {:.4}", epoch + 1, sum / loader.len() as f32);
    }

    dendra::nn::save(&model, MODEL)?;
    println!("saved {MODEL}; dendra::nn::load(&mut model, {MODEL:?}) loads it");

    let mut accuracy = Accuracy::new();
    for batch in DataLoader::new(&mnist.test).batch_size(1000).epoch(0) {
        let (x, y) = batch?;
        accuracy.update(model.forward(&Var::new(x))?.value(), &y)?;
    }
    println!("test accuracy: {:.2}% ({})", 100.0 * accuracy.value(), mnist.source);
    Ok(())
}
