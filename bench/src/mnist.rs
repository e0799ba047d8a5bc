//! The networks for MNIST that several groups measure.

use dendra::nn::SequentialBuilder;
use dendra::prelude::*;

/// A perceptron whose hidden layers have these widths.
pub(crate) fn perceptron(hidden: [usize; 2]) -> SequentialBuilder {
    let [first, second] = hidden;
    Sequential::input([1, 28, 28]).flatten().dense(first).relu().dense(second).relu().dense(10)
}

/// A convolution, pooling and two dense layers.
pub(crate) fn convolutions() -> SequentialBuilder {
    Sequential::input([1, 28, 28])
        .conv2d(32, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(128)
        .relu()
        .dense(10)
}
