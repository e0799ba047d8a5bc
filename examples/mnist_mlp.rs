//! Reads handwritten digits with a small fully connected network, the Keras way.

use dendra::prelude::*;

mod options;

fn main() -> Result<()> {
    let options = options::Options::read("Trains a 784-64-64-10 network on MNIST", "10", "0.001");
    let mnist = options.mnist()?;

    let model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(64)
        .relu()
        .dense(64)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    println!("{}", model.summary());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = Fit::epochs(options.epochs).batch_size(options.batch_size).seed(options.seed);
    trainer.fit(&mnist.train, fit.validate_on(&mnist.test))?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}%", 100.0 * accuracy);
    Ok(())
}
