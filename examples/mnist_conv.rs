//! Reads handwritten digits with one convolution.

use dendra::prelude::*;

mod options;

fn main() -> Result<()> {
    let options =
        options::Options::read("Trains a network with one convolution on MNIST", "5", "0.001");
    // Pixels are bytes; a batch is scaled to [0, 1] when it is gathered.
    let mnist = options.mnist()?;

    let model = Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .flatten()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    println!("{}", model.summary());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = Fit::epochs(options.epochs).batch_size(options.batch_size).seed(options.seed);
    trainer.fit(&mnist.train, fit)?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}%", 100.0 * accuracy);
    Ok(())
}
