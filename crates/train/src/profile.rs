//! The time that each layer and each operation of a model takes.

use std::fmt;
use std::time::Instant;

use dendra_nn::{Executed, Model, NodeKind, Output, Trace};
use dendra_tensor::{Error, Float, Ops, Result, Rng, Tensor, Tensors};

use crate::table;

/// The time, memory and arithmetic of a model by layer and by operation; prints
/// as two tables. Made by [`Profile::of`].
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The layers, or other parts of the model, in order.
    pub layers: Vec<LayerProfile>,
    /// The kinds of operations, the slowest first.
    pub operations: Vec<OperationProfile>,
    /// The number of samples in the batch.
    pub samples: usize,
    /// The fastest matrix product measured on this machine, in floating-point
    /// operations per second.
    pub peak: f64,
}

/// A layer of a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct LayerProfile {
    /// Its path, such as `0` or `encoder.fc1`; empty for the model itself.
    pub name: String,
    /// The layer and its sizes, if the model provides them.
    pub layer: String,
    /// Its cost.
    pub cost: Cost,
}

/// All calls of an operation in a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct OperationProfile {
    /// The name of the operation, such as `conv2d`.
    pub name: String,
    /// How often it is called.
    pub calls: usize,
    /// The cost of all calls together.
    pub cost: Cost,
}

/// Time, memory and arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The shortest time of a forward pass, in seconds.
    pub forward: f64,
    /// The shortest time of a backward pass, in seconds.
    pub backward: f64,
    /// The memory of the outputs, in bytes; views need none.
    pub activations: usize,
    /// The floating-point operations of a forward pass: two for each
    /// multiplication whose product is added to a sum; for operations without
    /// such sums, one for each element of the output, which is a rough count.
    pub operations: f64,
    /// The floating-point operations of the backward pass: as many for the
    /// gradient of the weights, and as many again for that of the input if it
    /// is needed.
    pub operations_back: f64,
}

impl Cost {
    fn add(&mut self, other: &Self) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.activations += other.activations;
        self.operations += other.operations;
        self.operations_back += other.operations_back;
    }

    /// The share of the peak that forward and backward pass reach together.
    pub fn share_of_peak(&self, peak: f64) -> f64 {
        (self.operations + self.operations_back) / (self.forward + self.backward) / peak
    }
}

impl Profile {
    /// Traces a model, runs its operations one by one, forward and backward, on
    /// a batch of inputs whose axis 0 is that of the samples, and takes the
    /// shortest time of `repeats` for each. The model is in evaluation mode. A
    /// model that runs some operations in one pass is faster than the sum.
    ///
    /// ```
    /// use dendra_nn::Sequential;
    /// use dendra_tensor::{Rng, Tensor};
    /// use dendra_train::Profile;
    ///
    /// let model = Sequential::input([64]).dense(32).relu().dense(10).build(&mut Rng::seed(1))?;
    /// let profile = Profile::of(&model, &Tensor::<f32>::ones([16, 64]), 3)?;
    /// println!("{profile}");
    /// assert_eq!(profile.layers[0].cost.operations, 2.0 * 16.0 * 64.0 * 32.0);
    /// assert_eq!(profile.operations.iter().find(|row| row.name == "linear").unwrap().calls, 2);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the model does not take the inputs or cannot be traced, or
    /// `repeats` is 0.
    pub fn of<T: Float, I: Tensors, M: Model<I, T>>(
        model: &M,
        inputs: &I,
        repeats: usize,
    ) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        Self::of_trace(&Trace::of(model, inputs)?, inputs, repeats)
    }

    /// Like [`of`](Self::of), for a trace.
    ///
    /// # Errors
    ///
    /// When the trace does not take the inputs, or `repeats` is 0.
    pub fn of_trace<T: Float>(
        trace: &Trace<T>,
        inputs: &impl Tensors,
        repeats: usize,
    ) -> Result<Self> {
        if repeats == 0 {
            return Err(Error::argument("Profile::of", "repeats must be at least 1, got 0"));
        }
        let needs = needed(trace);
        let mut costs = vec![Cost::default(); trace.nodes().len()];
        for repeat in 0..repeats {
            trace.replay_watched(inputs, &mut |executed| {
                let cost = cost_of(trace, executed, &needs);
                let least = &mut costs[executed.index];
                if repeat == 0 {
                    *least = cost;
                }
                least.forward = least.forward.min(cost.forward);
                least.backward = least.backward.min(cost.backward);
                Ok(())
            })?;
        }
        let (mut layers, mut operations) = (Vec::new(), Vec::<OperationProfile>::new());
        for part in trace.parts() {
            let (name, layer) = (part.path.clone(), part.description.clone());
            layers.push(LayerProfile { name, layer, cost: Cost::default() });
        }
        for (node, cost) in trace.nodes().iter().zip(&costs) {
            if !node.is_computed() {
                continue;
            }
            if let Some(layer) = layers.iter_mut().find(|layer| layer.name == node.part) {
                layer.cost.add(cost);
            }
            let name = node.name().to_owned();
            match operations.iter_mut().find(|row| row.name == name) {
                Some(row) => {
                    row.calls += 1;
                    row.cost.add(cost);
                }
                None => operations.push(OperationProfile { name, calls: 1, cost: *cost }),
            }
        }
        let time = |row: &OperationProfile| row.cost.forward + row.cost.backward;
        operations.sort_by(|a, b| time(b).total_cmp(&time(a)));
        Ok(Self { layers, operations, samples: trace.samples_of(inputs)?, peak: peak()? })
    }
}

/// For each value, whether training needs its gradient.
fn needed<T: Float>(trace: &Trace<T>) -> Vec<bool> {
    let mut needs: Vec<bool> = Vec::with_capacity(trace.nodes().len());
    for node in trace.nodes() {
        needs.push(match &node.kind {
            NodeKind::Parameter { trainable, .. } => *trainable,
            NodeKind::Operation(_) => node.parents.iter().any(|&parent| needs[parent]),
            _ => false,
        });
    }
    needs
}

/// The cost of one call, together with its gradient.
fn cost_of<T: Float>(trace: &Trace<T>, executed: &Executed<'_, T>, needs: &[bool]) -> Cost {
    let forward = executed.seconds;
    let Some(call) = executed.call else { return Cost { forward, ..Cost::default() } };
    let node = &trace.nodes()[executed.index];
    let needs: Vec<bool> = node.parents.iter().map(|&parent| needs[parent]).collect();
    let output = call.output();
    let mut backward = 0.0;
    if needs.contains(&true) {
        let cotangent = Tensor::ones(output.shape());
        let start = Instant::now();
        let gradients = call.vjp(&needs, cotangent);
        backward = start.elapsed().as_secs_f64();
        drop(gradients);
    }
    let is_view = call.inputs().iter().any(|input| output.shares_memory_with(input));
    let multiply_adds = call.multiply_adds();
    let needed = |inputs: usize| needs.iter().take(inputs).filter(|&&needed| needed).count();
    let (operations, ways_back) = match multiply_adds {
        0 if is_view => (0.0, 0),
        0 => (output.len() as f64, needed(needs.len()).min(1)),
        // The factors are the first two inputs; a third is a bias, whose
        // gradient is a sum.
        products => (2.0 * products as f64, needed(2)),
    };
    Cost {
        forward,
        backward,
        activations: if is_view { 0 } else { output.len() * size_of::<T>() },
        operations,
        operations_back: operations * ways_back as f64,
    }
}

/// The speed of a matrix product that uses all cores.
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

/// The cells of a cost in a table.
fn cells(name: String, cost: &Cost, peak: f64) -> Vec<String> {
    vec![
        name,
        format!("{:.3}", 1e3 * cost.forward),
        format!("{:.3}", 1e3 * cost.backward),
        format!("{:.1} KiB", cost.activations as f64 / 1024.0),
        format!("{:.2}", 1e-6 * (cost.operations + cost.operations_back)),
        format!("{:.1}%", 100.0 * cost.share_of_peak(peak)),
    ]
}

/// One row for each layer and one with the sums, then one row for each
/// operation.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = |first: &str| {
            [first, "forward ms", "backward ms", "activations", "MFLOP", "of peak"]
                .map(str::to_owned)
        };
        let mut total = Cost::default();
        let mut rows = Vec::new();
        for LayerProfile { name, layer, cost } in &self.layers {
            total.add(cost);
            let name = format!("{name}  {layer}").trim_end().to_owned();
            rows.push(cells(name, cost, self.peak));
        }
        rows.push(cells(format!("all, {} samples", self.samples), &total, self.peak));
        table::write(f, &head("layer"), &rows)?;
        writeln!(f)?;
        let rows: Vec<Vec<String>> = self
            .operations
            .iter()
            .map(|row| cells(format!("{} × {}", row.calls, row.name), &row.cost, self.peak))
            .collect();
        table::write(f, &head("operation"), &rows)?;
        write!(f, "peak: {:.1} GFLOP/s, the fastest matrix product measured", 1e-9 * self.peak)
    }
}

#[cfg(test)]
mod tests {
    use dendra_nn::Sequential;

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
        let profile = Profile::of(&model, &Tensor::<f32>::ones([2, 3, 8, 8]), 2).unwrap();
        let costs: Vec<Cost> = profile.layers.iter().map(|layer| layer.cost).collect();
        let operations: Vec<f64> = costs.iter().map(|cost| cost.operations).collect();
        let of_conv = 2.0 * 2.0 * 36.0 * 4.0 * 3.0 * 9.0;
        // Flattening is a view.
        assert_eq!(operations, [of_conv, 2.0 * 4.0 * 36.0, 0.0, 2.0 * 2.0 * 144.0 * 5.0]);
        // The first layer's input needs no gradient.
        assert_eq!(costs[0].operations_back, of_conv);
        assert_eq!(costs[3].operations_back, 2.0 * operations[3]);
        assert_eq!(costs[0].activations, 2 * 4 * 36 * 4);
        assert!(costs.iter().all(|cost| cost.forward > 0.0 && cost.backward >= 0.0));
        let mut names: Vec<&str> = profile.operations.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["conv2d", "linear", "relu", "reshape"]);
        assert_eq!(profile.samples, 2);
        let table = profile.to_string();
        assert_eq!(table.lines().count(), 2 + 4 + 1 + 1 + 2 + 4 + 1, "{table}");
        assert!(Profile::of(&model, &Tensor::<f32>::ones([2, 3, 8, 8]), 0).is_err());
        assert!(Profile::of(&model, &Tensor::<f32>::ones([2, 3]), 1).is_err());
    }
}
