//! Where the time of a network goes, layer by layer.

use std::fmt;
use std::time::Instant;

use dendra_autograd::{Entry, Event, Path, Recording, Tape};
use dendra_datasets::Samples;
use dendra_nn::{LayerOf, Model, Module, Sequential};
use dendra_tensor::ops::Recorded;
use dendra_tensor::{Error, Float, Ops, Result, Rng, Shape, Tensor};

use crate::table;

/// The time, memory and arithmetic of each layer of a network, or of each
/// operation of any model; prints as a table. Made by [`Profile::of`] and
/// [`Profile::by_operation`].
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
        check("Profile::of", repeats)?;
        let mut layers = Vec::new();
        let mut x = inputs.clone();
        for layer in model.layers() {
            let first = layers.is_empty();
            let (profile, output) = one(&layer, x, first, repeats)?;
            layers.push(profile);
            x = output;
        }
        Ok(Self { layers, samples: inputs.count(), peak: peak()? })
    }

    /// Runs a model of any input once, in evaluation mode, and then each of its
    /// operations again, forward and backward, and takes the least time of
    /// `repeats`. An operation has the name of its part of the model, where
    /// that tells it, and of the parameters that go in.
    ///
    /// ```
    /// use dendra_autograd::{Tape, Var};
    /// use dendra_nn::{Embedding, Model, Parameters};
    /// use dendra_tensor::{Ops, Result, Rng, Tensor};
    /// use dendra_train::Profile;
    ///
    /// #[derive(Parameters)]
    /// #[parameters(crate = dendra_nn)]
    /// struct Words(Embedding);
    ///
    /// impl Model<Tensor<i64>> for Words {
    ///     type Output = Var;
    ///
    ///     fn run(&self, words: &Tensor<i64>, tape: &Tape) -> Result<Var> {
    ///         self.0.lookup(words, Some(tape))?.mean_axes(&[1], false)
    ///     }
    /// }
    ///
    /// let model = Words(Embedding::new(1000, 16).init(&mut Rng::seed(1))?);
    /// let profile = Profile::by_operation(&model, &Tensor::zeros([32, 20]), 3)?;
    /// println!("{profile}");
    /// assert_eq!((profile.samples, &*profile.layers[0].name), (32, "0.weight"));
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the model does not take the inputs, or `repeats` is 0.
    pub fn by_operation<M, I, T>(model: &M, inputs: &I, repeats: usize) -> Result<Self>
    where
        M: Model<I, T>,
        I: Samples,
        T: Float,
    {
        check("Profile::by_operation", repeats)?;
        let tape = Tape::tracing();
        model.run(inputs, &tape)?;
        let Some(recording) = tape.take_recording() else {
            return Err(Error::tape("the tape does not trace"));
        };
        // A value that came from outside is a parameter when it shows the same memory.
        let place = |value: &Tensor<T>| value.as_slice().map(<[T]>::as_ptr);
        let parameters = model.named_parameters().into_iter();
        let parameters: Vec<_> =
            parameters.map(|(name, param)| (place(param.value()), name)).collect();
        let name = |value: &Tensor<T>| {
            let found = parameters.iter().find(|(at, _)| at.is_some() && *at == place(value));
            found.map(|(_, name)| name.clone())
        };
        let layers = operations_of(&recording, &name, repeats)?;
        Ok(Self { layers, samples: inputs.count(), peak: peak()? })
    }
}

fn check(place: &str, repeats: usize) -> Result<()> {
    if repeats > 0 {
        return Ok(());
    }
    Err(Error::argument(place, "repeats must be at least 1, got 0"))
}

/// Runs every operation of a recording again; `name` tells the parameter that
/// a value is.
fn operations_of<T: Float>(
    recording: &Recording<T>,
    name: &dyn Fn(&Tensor<T>) -> Option<String>,
    repeats: usize,
) -> Result<Vec<LayerProfile>> {
    let mut layers = Vec::new();
    // The parameters that are values of the recording, and which values need a gradient.
    let mut names = Vec::with_capacity(recording.events.len());
    let mut needed = Vec::with_capacity(recording.events.len());
    for event in &recording.events {
        let (call, mut scope) = match event {
            Event::Call { call, scope } => (call, *scope),
            Event::Value(value) => {
                let name = name(value);
                needed.push(name.is_some());
                names.push(name);
                continue;
            }
            Event::Function { .. } => {
                needed.push(false);
                names.push(None);
                continue;
            }
        };
        let parents = || call.parents().iter().map(|parent| parent.unwrap_or(usize::MAX));
        let needs: Vec<bool> =
            parents().map(|parent| needed.get(parent).copied().unwrap_or(false)).collect();
        let own: Vec<&str> = parents().filter_map(|parent| names.get(parent)?.as_deref()).collect();
        let mut parts = own;
        if parts.is_empty() {
            while scope > 0 {
                parts.insert(0, &recording.scopes[scope].name);
                scope = recording.scopes[scope].parent;
            }
        }
        let weights = call
            .inputs()
            .iter()
            .zip(parents())
            .filter(|(_, parent)| names.get(*parent).is_some_and(Option::is_some));
        let weights: Vec<&Tensor<T>> = weights.map(|(value, _)| value).collect();
        let profile = one_call(&**call, &needs, &weights, repeats)?;
        layers.push(LayerProfile { name: parts.join(" "), ..profile });
        needed.push(needs.contains(&true));
        names.push(None);
    }
    Ok(layers)
}

/// Runs one operation again.
fn one_call<T: Float>(
    call: &dyn Recorded<T>,
    needs: &[bool],
    weights: &[&Tensor<T>],
    repeats: usize,
) -> Result<LayerProfile> {
    let inputs: Vec<&Tensor<T>> = call.inputs().iter().collect();
    let (mut forward, mut backward) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..repeats {
        let start = Instant::now();
        let again = call.replay(&inputs, call.parents().into())?;
        forward = forward.min(start.elapsed().as_secs_f64());
        let cotangent = Tensor::ones(call.output().shape());
        let start = Instant::now();
        let gradients = needs.contains(&true).then(|| again.vjp(needs, cotangent));
        backward = backward.min(start.elapsed().as_secs_f64());
        drop(gradients);
    }
    let (output, large) = (call.output(), weights.iter().filter(|weight| weight.rank() >= 2));
    let rank = large.clone().map(|weight| weight.rank()).max().unwrap_or(0);
    let count = large.map(|weight| weight.len()).sum();
    let operations = arithmetic(count, rank, output.shape());
    Ok(LayerProfile {
        name: String::new(),
        layer: call.name().to_owned(),
        forward,
        backward: if needs.contains(&true) { backward } else { 0.0 },
        activations: output.len() * size_of::<T>(),
        operations,
        operations_back: operations * needs.iter().filter(|&&need| need).count() as f64,
    })
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
    arithmetic(weights, rank, output.shape())
}

/// The floating-point operations that make an output of so many weights in
/// tensors of up to so many axes.
fn arithmetic(weights: usize, rank: usize, shape: &Shape) -> f64 {
    if weights == 0 {
        return shape.elements() as f64;
    }
    // Each weight is used once for every place of the output: for every row
    // of a linear layer, for every pixel of a convolution.
    let channels = if rank > 2 { shape.get(1) } else { shape.last() };
    2.0 * weights as f64 * shape.elements() as f64 / channels.copied().unwrap_or(1).max(1) as f64
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
