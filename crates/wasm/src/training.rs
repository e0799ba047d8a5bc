//! [`Builder`] and [`Trainer`]: networks that are built and trained in the
//! browser.

use dendra_autograd::Tape;
use dendra_losses::{CrossEntropy, Loss, MSELoss};
use dendra_nn::{Module, Sequential, SequentialBuilder};
use dendra_optim::{Adam, Optimizer};
use dendra_tensor::{Error, Result, Rng, Tensor};
use wasm_bindgen::prelude::*;

use crate::network::{Network, batch_of};
use crate::thrown;

/// Builds a network: layers are added one after the other.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Builder {
    /// `None` only while a layer is added.
    layers: Option<SequentialBuilder>,
}

#[wasm_bindgen]
impl Builder {
    /// Starts a network for inputs of this shape, without the batch axis.
    #[wasm_bindgen(constructor)]
    pub fn new(input: &[u32]) -> Builder {
        let shape: Vec<usize> = input.iter().map(|&length| length as usize).collect();
        Self { layers: Some(Sequential::input(shape)) }
    }

    /// Adds a fully connected layer.
    pub fn dense(self, features: usize) -> Builder {
        self.with(|layers| layers.dense(features))
    }

    /// Adds a convolution with square kernels.
    pub fn conv2d(self, channels: usize, kernel_size: usize) -> Builder {
        self.with(|layers| layers.conv2d(channels, kernel_size))
    }

    /// Adds max pooling with square windows.
    #[wasm_bindgen(js_name = maxPool2d)]
    pub fn max_pool2d(self, kernel_size: usize) -> Builder {
        self.with(|layers| layers.max_pool2d(kernel_size))
    }

    /// Adds batch normalisation of the channels of images.
    #[wasm_bindgen(js_name = batchNorm2d)]
    pub fn batch_norm2d(self) -> Builder {
        self.with(SequentialBuilder::batch_norm2d)
    }

    /// Adds a layer that flattens all axes except the batch axis.
    pub fn flatten(self) -> Builder {
        self.with(SequentialBuilder::flatten)
    }

    /// Adds ReLU, max(x, 0).
    pub fn relu(self) -> Builder {
        self.with(SequentialBuilder::relu)
    }

    /// Adds the hyperbolic tangent.
    pub fn tanh(self) -> Builder {
        self.with(SequentialBuilder::tanh)
    }

    /// Adds dropout.
    pub fn dropout(self, probability: f64) -> Builder {
        self.with(|layers| layers.dropout(probability))
    }

    /// Builds the network with random weights, which depend only on the seed.
    ///
    /// # Errors
    ///
    /// When the layers do not fit each other.
    pub fn build(self, seed: u32) -> Result<Network, JsError> {
        let none = || Error::argument("Builder", "there are no layers");
        let layers = self.layers.ok_or_else(none).map_err(thrown)?;
        let model = layers.build(&mut Rng::seed(u64::from(seed))).map_err(thrown)?;
        Ok(Network { model })
    }

    fn with(mut self, add: impl FnOnce(SequentialBuilder) -> SequentialBuilder) -> Builder {
        self.layers = self.layers.take().map(add);
        self
    }
}

/// Trains a network with Adam, one batch at a time.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    optimizer: Adam,
    classes: bool,
    seed: u64,
    steps: u64,
}

#[wasm_bindgen]
impl Trainer {
    /// Creates a trainer, which takes over the network. If `classes` is true,
    /// the targets are class indices and the loss is cross-entropy; otherwise
    /// the targets have the shape of the outputs and the loss is the mean
    /// squared error.
    #[wasm_bindgen(constructor)]
    pub fn new(network: Network, classes: bool, learning_rate: f64, seed: u32) -> Trainer {
        let optimizer = Adam::new(learning_rate);
        Self { network, optimizer, classes, seed: u64::from(seed), steps: 0 }
    }

    /// Trains one step on a batch and returns the loss before the step.
    ///
    /// # Errors
    ///
    /// When input and target do not fit the network or each other, and when the
    /// loss is no longer finite.
    pub fn step(&mut self, input: &[f32], target: &[f32]) -> Result<f32, JsError> {
        self.train(input, target).map_err(thrown)
    }

    /// The number of steps so far.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> f64 {
        self.steps as f64
    }

    /// The outputs of the network with its present weights; see
    /// `Network.predict`.
    ///
    /// # Errors
    ///
    /// The errors of `Network.predict`.
    pub fn predict(&self, input: &[f32]) -> Result<Vec<f32>, JsError> {
        self.network.predict(input)
    }

    /// The probabilities of the classes with the present weights; see
    /// `Network.probabilities`.
    ///
    /// # Errors
    ///
    /// The errors of `Network.predict`.
    pub fn probabilities(&self, input: &[f32]) -> Result<Vec<f32>, JsError> {
        self.network.probabilities(input)
    }
}

impl Trainer {
    /// Like [`step`](Self::step).
    ///
    /// # Errors
    ///
    /// The errors of [`step`](Self::step).
    pub fn train(&mut self, input: &[f32], target: &[f32]) -> Result<f32> {
        let model = &mut self.network.model;
        let shape = batch_of(model.input_shape(), input.len())?;
        let samples = shape[0];
        let x = Tensor::from_vec(input.to_vec(), shape)?;
        let y = model.forward(&Tape::training(self.seed, self.steps).input(x))?;
        let loss = if self.classes {
            let labels = target.iter().map(|&label| label as i64).collect();
            CrossEntropy::new().forward(&y, &Tensor::from_vec(labels, [samples])?)?
        } else {
            let target = Tensor::from_vec(target.to_vec(), y.shape().clone())?;
            MSELoss::new().forward(&y, &target)?
        };
        let value = loss.value().item()?;
        if !value.is_finite() {
            return Err(Error::not_finite("Trainer.step", format!("the loss is {value}")));
        }
        let gradients = loss.backward()?;
        self.optimizer.step(model, &gradients)?;
        self.steps += 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_learnt() {
        let network = Builder::new(&[1]).dense(1).build(3).ok().unwrap();
        let mut trainer = Trainer::new(network, false, 0.05, 7);
        let x: Vec<f32> = (0..16).map(|index| index as f32 / 8.0 - 1.0).collect();
        let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 1.0).collect();
        let first = trainer.train(&x, &y).unwrap();
        let last = (0..400).map(|_| trainer.train(&x, &y).unwrap()).last().unwrap();
        assert!(first > 1.0 && last < 1e-3, "{first} {last}");
        assert_eq!(trainer.steps(), 401.0);
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let network = Builder::new(&[2]).dense(3).build(0).ok().unwrap();
        let mut trainer = Trainer::new(network, true, 0.01, 0);
        assert!(trainer.train(&[0.0; 4], &[0.0, 2.0]).is_ok());
        assert!(trainer.train(&[0.0; 4], &[0.0]).is_err());
        assert!(trainer.train(&[0.0; 4], &[0.0, 3.0]).is_err());
        assert!(trainer.train(&[0.0; 3], &[0.0, 1.0]).is_err());
        assert_eq!(trainer.steps(), 1.0);
    }
}
