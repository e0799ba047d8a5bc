//! Classifies handwritten digits with a small fully connected network, as in
//! Keras.

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
    let options =
        options::Options::<More>::read("Trains a 784-64-64-10 network on MNIST", "10", "0.001");
    let mnist = options.more.digits.load()?;

    let model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(64)
        .relu()
        .dense(64)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    println!("{:.1$}", model.summary(), dendra::train::terminal_width());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = options.more.run.keep(options.fit());
    trainer.fit(&mnist.train, fit.validate_on(&mnist.test)).map_err(run::explained)?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}% ({})", 100.0 * accuracy, mnist.source);
    Ok(())
}
