//! The network of the example `mnist_cnn` learns to read.

use dendra::datasets::MnistSource;
use dendra::prelude::*;

fn network() -> Sequential {
    Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(128)
        .relu()
        .dense(10)
        .build(&mut Rng::seed(42))
        .unwrap()
}

fn accuracy(train: &ImageDataset, test: &ImageDataset, epochs: u64) -> f64 {
    let mut trainer =
        Trainer::new(network(), Adam::new(1e-3), CrossEntropy::new()).metric(Accuracy::new());
    trainer.fit(train, Fit::epochs(epochs).batch_size(32).seed(42).quiet()).unwrap();
    trainer.evaluate(test).unwrap().metric("accuracy").unwrap()
}

#[test]
fn generated_digits() {
    let accuracy = accuracy(&digits(1_500, 1), &digits(500, 2), 3);
    assert!(accuracy >= 0.9, "{accuracy}");
}

/// Needs the real files, where `MNIST_DIR` says or by download.
#[test]
#[ignore = "trains for minutes"]
fn the_real_mnist() {
    let mnist = Mnist::load().unwrap();
    assert_ne!(mnist.source, MnistSource::Generated, "the real files were not found");
    let accuracy = accuracy(&mnist.train, &mnist.test, 10);
    assert!(accuracy >= 0.985, "{accuracy}");
}
