//! [`Network`]: a network that predicts.

use dendra_nn::{Module, Parameters, Sequential};
use dendra_tensor::{Error, Ops, Result, Shape, Tensor};
use wasm_bindgen::prelude::*;

use crate::thrown;

/// A network that was loaded or trained.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Network {
    pub(crate) model: Sequential,
}

#[wasm_bindgen]
impl Network {
    /// Loads a network from the bytes of a file that `Sequential::save` has
    /// written.
    ///
    /// # Errors
    ///
    /// When the file is damaged or contains no network.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: &[u8]) -> Result<Network, JsError> {
        Ok(Self { model: Sequential::from_bytes(bytes).map_err(thrown)? })
    }

    /// The shape of one input, without the batch axis.
    #[wasm_bindgen(getter, js_name = inputShape)]
    pub fn input_shape(&self) -> Vec<u32> {
        lengths(self.model.input_shape())
    }

    /// The shape of one output, without the batch axis.
    #[wasm_bindgen(getter, js_name = outputShape)]
    pub fn output_shape(&self) -> Vec<u32> {
        lengths(self.model.output_shape())
    }

    /// Whether inputs are the ids of words or other tokens.
    #[wasm_bindgen(getter, js_name = takesTokens)]
    pub fn takes_tokens(&self) -> bool {
        self.model.takes_tokens()
    }

    /// The number of trainable values.
    #[wasm_bindgen(getter, js_name = parameterCount)]
    pub fn parameter_count(&self) -> usize {
        self.model.parameter_count()
    }

    /// A table of the layers as text.
    pub fn summary(&self) -> String {
        self.model.summary().to_string()
    }

    /// The outputs for one or several samples, which are concatenated in
    /// `input`, each in row-major order.
    ///
    /// # Errors
    ///
    /// When the length of the input is not a multiple of a sample's, or the
    /// network expects token ids.
    pub fn predict(&self, input: &[f32]) -> Result<Vec<f32>, JsError> {
        Ok(self.run(input).map_err(thrown)?.to_vec())
    }

    /// Like [`predict`](Self::predict), with softmax over the last axis: the
    /// probabilities of the classes.
    ///
    /// # Errors
    ///
    /// The errors of [`predict`](Self::predict).
    pub fn probabilities(&self, input: &[f32]) -> Result<Vec<f32>, JsError> {
        let output = self.run(input).and_then(|output| output.softmax(-1));
        Ok(output.map_err(thrown)?.to_vec())
    }

    /// The outputs for the token ids of one or several samples.
    ///
    /// # Errors
    ///
    /// When the length of the input is not a multiple of a sample's, or an id
    /// is not in the embedding table.
    #[wasm_bindgen(js_name = predictTokens)]
    pub fn predict_tokens(&self, ids: &[i32]) -> Result<Vec<f32>, JsError> {
        Ok(self.run_tokens(ids).map_err(thrown)?.to_vec())
    }
}

impl Network {
    /// The output for some samples.
    ///
    /// # Errors
    ///
    /// The errors of [`predict`](Self::predict).
    pub fn run(&self, input: &[f32]) -> Result<Tensor> {
        let x = Tensor::from_vec(input.to_vec(), self.batch(input.len())?)?;
        Ok(self.model.forward(&x.into())?.into_value())
    }

    /// The output for the token ids of some samples.
    ///
    /// # Errors
    ///
    /// The errors of [`predict_tokens`](Self::predict_tokens).
    pub fn run_tokens(&self, ids: &[i32]) -> Result<Tensor> {
        let batch = self.batch(ids.len())?;
        let ids = Tensor::from_vec(ids.iter().map(|&id| i64::from(id)).collect(), batch)?;
        Ok(self.model.forward_tokens(&ids, None)?.into_value())
    }

    /// The shape of a batch with this number of elements.
    pub(crate) fn batch(&self, elements: usize) -> Result<Shape> {
        batch_of(self.model.input_shape(), elements)
    }
}

/// The shape of a batch of samples of this shape, with this number of elements.
pub(crate) fn batch_of(sample: &Shape, elements: usize) -> Result<Shape> {
    let each = sample.elements();
    if each == 0 || !elements.is_multiple_of(each) {
        let message =
            format!("expected {each} numbers for each sample of shape {sample}, got {elements}");
        return Err(Error::shape("Network", message));
    }
    Ok([elements / each].into_iter().chain(sample.iter().copied()).collect())
}

fn lengths(shape: &Shape) -> Vec<u32> {
    shape.iter().map(|&length| u32::try_from(length).unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;

    use super::*;

    #[test]
    fn a_file_in_memory_predicts_as_the_network() {
        let builder = Sequential::input([1, 4, 4]).conv2d(3, 3).relu().flatten().dense(2);
        let model = builder.build(&mut Rng::seed(1)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        let network = Network::new(&std::fs::read(path).unwrap()).ok().unwrap();
        let x = Tensor::normal([3, 1, 4, 4], 0.0, 1.0, &mut Rng::seed(2));
        let expected = model.forward(&x.clone().into()).unwrap().into_value();
        assert_eq!(network.run(&x.to_vec()).unwrap(), expected);
        assert_eq!((network.input_shape(), network.output_shape()), (vec![1, 4, 4], vec![2]));
        let error = network.run(&[0.0; 17]).unwrap_err().to_string();
        assert!(error.contains("expected 16 numbers for each sample of shape [1, 4, 4], got 17"));
    }
}
