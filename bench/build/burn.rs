//! Trains a small network on random images with Burn.

use burn::backend::{Autodiff, NdArray};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::record::{DefaultFileRecorder, FullPrecisionSettings};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor};
use clap::Parser;

/// The options of the program.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
}

#[derive(Module, Debug)]
struct Network<B: Backend> {
    convolution: Conv2d<B>,
    pooling: MaxPool2d,
    dense: Linear<B>,
}

impl<B: Backend> Network<B> {
    fn forward(&self, images: Tensor<B, 4>) -> Tensor<B, 2> {
        let features = self.pooling.forward(Relu::new().forward(self.convolution.forward(images)));
        self.dense.forward(features.flatten(1, 3))
    }
}

fn main() {
    type Training = Autodiff<NdArray<f32>>;
    let arguments = Arguments::parse();
    let device = Default::default();
    let mut network = Network::<Training> {
        convolution: Conv2dConfig::new([1, 8], [3, 3]).init(&device),
        pooling: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        dense: LinearConfig::new(8 * 13 * 13, 10).init(&device),
    };
    let mut optimizer = AdamConfig::new().init();
    let images = Tensor::random([32, 1, 28, 28], Distribution::Default, &device);
    let labels = Tensor::<Training, 1, Int>::zeros([32], &device);
    let criterion = CrossEntropyLossConfig::new().init(&device);
    for epoch in 0..arguments.epochs {
        let loss = criterion.forward(network.forward(images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(arguments.learning_rate, network, gradients);
        println!("epoch {epoch}: {}", loss.into_scalar());
    }
    let recorder = DefaultFileRecorder::<FullPrecisionSettings>::new();
    network.save_file("model", &recorder).expect("the model is written");
}
