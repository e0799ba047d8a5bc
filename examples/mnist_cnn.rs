//! Reads handwritten digits with a convolutional network, saves it, and shows what
//! it reads.

use dendra::prelude::*;

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
    trainer.fit(&mnist.train, fit.validate_on(&mnist.test))?;
    trainer.model().save("mnist_cnn.safetensors")?;
    println!("saved mnist_cnn.safetensors\n");

    let (images, labels) = mnist.test.batch(&[0, 1, 2, 3])?;
    let probabilities = trainer.predict(&images)?.softmax(1)?;
    picture::show(&images, &probabilities, Some(&labels))?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}%", 100.0 * accuracy);
    Ok(())
}
