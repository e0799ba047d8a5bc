//! Classifies handwritten digits with a convolutional network, saves it, shows
//! some predictions, and writes a report for a browser.

use dendra::nn::check_writable;
use dendra::prelude::*;
use dendra::train::{Classification, Report};

mod options;
mod picture;
mod run;

/// The files that are written after training.
const MODEL: &str = "mnist_cnn.safetensors";
const REPORT: &str = "mnist_cnn.html";

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
        options::Options::<More>::read("Trains a convolutional network on MNIST", "10", "0.001");
    [MODEL, REPORT].iter().try_for_each(check_writable)?;
    let mnist = options.more.digits.load()?;

    let model = Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(128)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    println!("{:.1$}", model.summary(), dendra::train::terminal_width());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = options.more.run.keep(options.fit());
    let fit = fit.validate_on(&mnist.test);
    let history = trainer.fit(&mnist.train, fit).map_err(run::explained)?;
    trainer.model().save(MODEL)?;
    println!("saved {MODEL}");

    Report::new("Handwritten digits, classified by a convolutional network")
        .setting("optimizer", "Adam")
        .setting("learning rate", options.learning_rate)
        .setting("batch size", options.batch_size)
        .setting("seed", options.seed)
        .setting("training samples", mnist.train.len())
        .setting("test samples", mnist.test.len())
        .summary(&trainer.model().summary())
        .history(&history)
        .classification(Classification::of(&trainer, &mnist.test)?)
        .save(REPORT)?;
    println!("saved {REPORT}, a report to open in a browser\n");

    let (images, labels) = mnist.test.batch(&[0, 1, 2, 3])?;
    let probabilities = trainer.predict(&images)?.softmax(1)?;
    picture::show(&images, &probabilities, Some(&labels))?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}% ({})", 100.0 * accuracy, mnist.source);
    Ok(())
}
