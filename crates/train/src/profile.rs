//! Where the time of a network goes, layer by layer.

use std::fmt;
use std::time::Instant;

use dendra_autograd::{Entry, Path, Tape};
use dendra_nn::{LayerOf, Module, Sequential};
use dendra_tensor::{Error, Ops, Result, Rng, Tensor};

use crate::table;

/// The time, memory and arithmetic of each layer of a network; prints as a
/// table. Made by [`Profile::of`].
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The layers in their order.
    pub layers: Vec<LayerProfile>,
    /// The samples of the batch.
    pub samples: usize,
    /// The fastest matrix product that was seen on this machine, in
    /// floating-point operations per second.
    pub peak: f64,
}

/// A layer of a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct LayerProfile {
    /// Its name or index.
    pub name: String,
    /// The layer and its sizes.
    pub layer: String,
    /// The least time for a forward pass, in seconds.
    pub forward: f64,
    /// The least time for the way back, in seconds.
    pub backward: f64,
    /// The memory of its output, in bytes.
    pub activations: usize,
    /// The floating-point operations of a forward pass: two for each
    /// multiplication by a weight and addition, and one for each element of
    /// the output of a layer without weights, which is a rough count for
    /// those.
    pub operations: f64,
    /// Those of the way back: as many for the gradient of the weights, and as
    /// many again for that of the input where it is needed.
    pub operations_back: f64,
}

impl LayerProfile {
    /// Which share of the peak its forward and backward pass reach together.
    pub fn share_of_peak(&self, peak: f64) -> f64 {
        (self.operations + self.operations_back) / (self.forward + self.backward) / peak
    }
}

impl Profile {
    /// Runs each layer of a network alone, in training mode, forward and
    /// backward on a batch of inputs, and takes the least time of `repeats`.
    /// Where the network runs some layers in one pass, it is faster than the
    /// sum.
    ///
    /// ```
    /// use dendra_nn::Sequential;
    /// use dendra_tensor::{Rng, Tensor};
    /// use dendra_train::Profile;
    ///
    /// let model = Sequential::input([64]).dense(32).relu().dense(10).build(&mut Rng::seed(1))?;
    /// let profile = Profile::of(&model, &Tensor::zeros([16, 64]), 3)?;
    /// println!("{profile}");
    /// assert_eq!(profile.layers[0].operations, 2.0 * 16.0 * 64.0 * 32.0);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the network does not take the inputs, or `repeats` is 0.
    pub fn of(model: &Sequential, inputs: &Tensor, repeats: usize) -> Result<Self> {
        if repeats == 0 {
            return Err(Error::argument("Profile::of", "repeats must be at least 1, got 0"));
        }
        let mut layers = Vec::new();
        let mut x = inputs.clone();
        for layer in model.layers() {
            let first = layers.is_empty();
            let (profile, output) = one(&layer, x, first, repeats)?;
            layers.push(profile);
            x = output;
        }
        let samples = inputs.shape().first().copied().unwrap_or(1);
        Ok(Self { layers, samples, peak: peak()? })
    }
}

/// Runs one layer alone; also gives its output.
fn one(
    layer: &LayerOf<'_>,
    input: Tensor,
    first: bool,
    repeats: usize,
) -> Result<(LayerProfile, Tensor)> {
    let trains = layer.module.parameter_count() > 0;
    let (mut forward, mut backward) = (f64::INFINITY, f64::INFINITY);
    let mut output = input.clone();
    for repeat in 0..repeats {
        let tape = Tape::training(0, repeat as u64);
        // The gradient of the data is not needed.
        let x = if first { tape.input(input.clone()) } else { tape.leaf(input.clone()) };
        let start = Instant::now();
        let y = layer.module.forward(&x)?;
        forward = forward.min(start.elapsed().as_secs_f64());
        output = y.value().clone();
        if first && !trains {
            backward = 0.0;
            continue;
        }
        let loss = y.sum();
        let start = Instant::now();
        let gradients = loss.backward()?;
        backward = backward.min(start.elapsed().as_secs_f64());
        drop(gradients);
    }
    let operations = operations(layer.module, &output);
    let ways_back = f64::from(u8::from(trains)) + f64::from(u8::from(!first));
    let profile = LayerProfile {
        name: layer.name.clone(),
        layer: layer.description.clone(),
        forward,
        backward,
        activations: output.len() * size_of::<f32>(),
        operations,
        operations_back: operations * ways_back,
    };
    Ok((profile, output))
}

/// The floating-point operations of a layer's forward pass.
fn operations(layer: &dyn Module, output: &Tensor) -> f64 {
    let (mut weights, mut rank) = (0, 0);
    layer.visit(&mut Path::default(), &mut |_, entry| {
        if let Entry::Param(param) = entry
            && param.value().rank() >= 2
        {
            weights += param.value().len();
            rank = rank.max(param.value().rank());
        }
    });
    if weights == 0 {
        return output.len() as f64;
    }
    // Each weight is used once for every place of the output: for every row
    // of a linear layer, for every pixel of a convolution.
    let shape = output.shape();
    let channels = if rank > 2 { shape.get(1) } else { shape.last() };
    2.0 * weights as f64 * output.len() as f64 / channels.copied().unwrap_or(1).max(1) as f64
}

/// The speed of a matrix product that keeps every core busy.
fn peak() -> Result<f64> {
    const SIZE: usize = 768;
    let rng = &mut Rng::seed(0);
    let [a, b] = [(); 2].map(|()| Tensor::<f32>::uniform([SIZE, SIZE], -1.0, 1.0, rng));
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let product = a.matmul(&b)?;
        least = least.min(start.elapsed().as_secs_f64());
        drop(product);
    }
    Ok(2.0 * (SIZE as f64).powi(3) / least)
}

/// A row for each layer, and one with the sums.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["layer", "forward ms", "backward ms", "activations", "MFLOP", "of peak"];
        let row = |name: String, layer: &LayerProfile| {
            vec![
                name,
                format!("{:.3}", 1e3 * layer.forward),
                format!("{:.3}", 1e3 * layer.backward),
                format!("{:.1} KiB", layer.activations as f64 / 1024.0),
                format!("{:.2}", 1e-6 * (layer.operations + layer.operations_back)),
                format!("{:.1}%", 100.0 * layer.share_of_peak(self.peak)),
            ]
        };
        let mut rows: Vec<Vec<String>> = self
            .layers
            .iter()
            .map(|layer| row(format!("{}  {}", layer.name, layer.layer), layer))
            .collect();
        let sum = |of: fn(&LayerProfile) -> f64| self.layers.iter().map(of).sum();
        let total = LayerProfile {
            name: String::new(),
            layer: String::new(),
            forward: sum(|layer| layer.forward),
            backward: sum(|layer| layer.backward),
            activations: self.layers.iter().map(|layer| layer.activations).sum(),
            operations: sum(|layer| layer.operations),
            operations_back: sum(|layer| layer.operations_back),
        };
        rows.push(row(format!("all, {} samples", self.samples), &total));
        table::write(f, &head.map(str::to_owned), &rows)?;
        write!(f, "peak: {:.1} GFLOP/s, the fastest matrix product seen", 1e-9 * self.peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_textbook() {
        let model = Sequential::input([3, 8, 8])
            .conv2d(4, 3)
            .relu()
            .flatten()
            .dense(5)
            .build(&mut Rng::seed(1))
            .unwrap();
        let profile = Profile::of(&model, &Tensor::ones([2, 3, 8, 8]), 2).unwrap();
        let operations: Vec<f64> = profile.layers.iter().map(|layer| layer.operations).collect();
        let of_conv = 2.0 * 2.0 * 36.0 * 4.0 * 3.0 * 9.0;
        assert_eq!(operations, [of_conv, 2.0 * 4.0 * 36.0, 288.0, 2.0 * 2.0 * 144.0 * 5.0]);
        // The first layer's input needs no gradient.
        assert_eq!(profile.layers[0].operations_back, of_conv);
        assert_eq!(profile.layers[3].operations_back, 2.0 * operations[3]);
        assert_eq!(profile.layers[0].activations, 2 * 4 * 36 * 4);
        assert!(profile.layers.iter().all(|layer| layer.forward > 0.0 && layer.backward >= 0.0));
        let table = profile.to_string();
        assert_eq!(table.lines().count(), 2 + 4 + 1 + 1, "{table}");
        assert!(Profile::of(&model, &Tensor::ones([2, 3, 8, 8]), 0).is_err());
        assert!(Profile::of(&model, &Tensor::ones([2, 3]), 1).is_err());
    }
}
