//! Classifies handwritten digits with one convolution.

use dendra::prelude::*;

mod options;
mod run;

/// The source of the digits, and the checkpoints of the run.
#[derive(clap::Args, Debug)]
struct More {
    #[command(flatten)]
    digits: options::Digits,
    #[command(flatten)]
    run: run::Run,
}

fn main() -> Result<()> {
    let options = options::Options::<More>::read(
        "Trains a network with one convolution on MNIST",
        "5",
        "0.001",
    );
    // Pixels are bytes; they are scaled to [0, 1] when a batch is gathered.
    let mnist = options.more.digits.load()?;

    let model = Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .flatten()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    println!("{:.1$}", model.summary(), dendra::train::terminal_width());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = options.more.run.keep(options.fit());
    trainer.fit(&mnist.train, fit).map_err(run::explained)?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}% ({})", 100.0 * accuracy, mnist.source);
    Ok(())
}
