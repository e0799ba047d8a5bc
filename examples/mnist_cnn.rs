//! Reads handwritten digits with a convolutional network, saves it, shows what it
//! reads, and writes a report to look at in a browser.

use dendra::prelude::*;
use dendra::train::{Classification, Report};

mod options;
mod picture;

fn main() -> Result<()> {
    let options = options::Options::read("Trains a convolutional network on MNIST", "10", "0.001");
    let mnist = options.mnist()?;

    let model = Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(128)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    println!("{}", model.summary());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = Fit::epochs(options.epochs).batch_size(options.batch_size).seed(options.seed);
    let history = trainer.fit(&mnist.train, fit.validate_on(&mnist.test))?;
    trainer.model().save("mnist_cnn.safetensors")?;
    println!("saved mnist_cnn.safetensors");

    Report::new("Handwritten digits, read by a convolutional network")
        .setting("optimizer", "Adam")
        .setting("learning rate", options.learning_rate)
        .setting("batch size", options.batch_size)
        .setting("seed", options.seed)
        .setting("training samples", mnist.train.len())
        .setting("test samples", mnist.test.len())
        .summary(&trainer.model().summary())
        .history(&history)
        .classification(Classification::of(&trainer, &mnist.test)?)
        .save("mnist_cnn.html")?;
    println!("saved mnist_cnn.html, a report to open in a browser\n");

    let (images, labels) = mnist.test.batch(&[0, 1, 2, 3])?;
    let probabilities = trainer.predict(&images)?.softmax(1)?;
    picture::show(&images, &probabilities, Some(&labels))?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}%", 100.0 * accuracy);
    Ok(())
}
