//! How activations and gradients are distributed, layer by layer.

use std::fmt;

use dendra_autograd::{Gradients, Parameters, Tape, Var};
use dendra_nn::{Sequential, Trace};
use dendra_tensor::{Float, Result, Tensor, Tensors};

use crate::table;

/// How the values of a tensor are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation: the square root of the mean squared deviation.
    pub std: f64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
    /// The share of values that are exactly 0, as those of dead units.
    pub zeros: f64,
    /// The square root of the sum of the squares.
    pub norm: f64,
}

impl Spread {
    /// The distribution of the values of a tensor; NaN when it is empty.
    pub fn of<T: Float>(values: &Tensor<T>) -> Self {
        let values = values.to_vec();
        let count = values.len() as f64;
        let each = || values.iter().map(|value| value.to_f64());
        let mean = each().sum::<f64>() / count;
        Self {
            mean,
            std: (each().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt(),
            min: each().fold(f64::NAN, f64::min),
            max: each().fold(f64::NAN, f64::max),
            zeros: each().filter(|value| *value == 0.0).count() as f64 / count,
            norm: each().map(|value| value * value).sum::<f64>().sqrt(),
        }
    }
}

/// Several named distributions; prints as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The names and the distributions.
    pub rows: Vec<(String, Spread)>,
}

impl Statistics {
    /// The distribution of the output of every layer of a network for a batch
    /// of inputs, in training mode with random numbers of the seed 0.
    ///
    /// ```
    /// use dendra_nn::Sequential;
    /// use dendra_tensor::{Rng, Tensor};
    /// use dendra_train::Statistics;
    ///
    /// let rng = &mut Rng::seed(1);
    /// let model = Sequential::input([16]).dense(64).relu().dense(64).sigmoid().build(rng)?;
    /// let inputs = Tensor::normal([32, 16], 0.0, 1.0, rng);
    /// let activations = Statistics::of_activations(&model, &inputs)?;
    /// println!("{activations}");
    /// let (name, relu) = &activations.rows[1];
    /// assert!(name == "1  ReLU" && relu.min == 0.0 && (0.3..0.7).contains(&relu.zeros));
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the network does not take the inputs.
    pub fn of_activations(model: &Sequential, inputs: &Tensor) -> Result<Self> {
        let mut x: Var = Tape::training(0, 0).input(inputs.clone());
        let mut rows = Vec::new();
        for layer in model.layers() {
            x = layer.module.forward(&x)?;
            let name = format!("{}  {}", layer.name, layer.description);
            rows.push((name, Spread::of(x.value())));
        }
        Ok(Self { rows })
    }

    /// The distribution of the output of every operation of a model for a batch
    /// of inputs, in evaluation mode, from a trace; views are left out.
    ///
    /// ```
    /// use dendra_nn::{Sequential, Trace};
    /// use dendra_tensor::{Rng, Tensor};
    /// use dendra_train::Statistics;
    ///
    /// let rng = &mut Rng::seed(1);
    /// let model = Sequential::input([16]).dense(64).relu().build(rng)?;
    /// let inputs = Tensor::<f32>::normal([32, 16], 0.0, 1.0, rng);
    /// let values = Statistics::of_trace(&Trace::of(&model, &inputs)?, &inputs)?;
    /// let (name, relu) = &values.rows[1];
    /// assert!(name == "1  %1 relu" && relu.min == 0.0);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the trace does not take the inputs.
    pub fn of_trace<T: Float>(trace: &Trace<T>, inputs: &impl Tensors) -> Result<Self> {
        let mut rows = Vec::new();
        trace.replay_watched(inputs, &mut |executed| {
            let Some(call) = executed.call else { return Ok(()) };
            let output = call.output();
            if !call.inputs().iter().any(|input| output.shares_memory_with(input)) {
                let node = &trace.nodes()[executed.index];
                let value = trace.value_name(executed.index);
                let name = format!("{}  {value} {}", node.part, node.name());
                rows.push((name, Spread::of(output)));
            }
            Ok(())
        })?;
        Ok(Self { rows })
    }

    /// The distribution of the gradient of every parameter of a model that has
    /// one.
    pub fn of_gradients<T: Float>(model: &dyn Parameters<T>, gradients: &Gradients<T>) -> Self {
        let parameters = model.named_parameters().into_iter();
        let rows =
            parameters.filter_map(|(name, param)| Some((name, Spread::of(gradients.get(param)?))));
        Self { rows: rows.collect() }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "mean", "std", "min", "max", "zeros", "norm"].map(str::to_owned);
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|(name, spread)| {
                let Spread { mean, std, min, max, zeros, norm } = spread;
                let numbers = [mean, std, min, max].map(|number| format!("{number:.3e}"));
                let last = [format!("{:.1}%", 100.0 * zeros), format!("{norm:.3e}")];
                std::iter::once(name.clone()).chain(numbers).chain(last).collect()
            })
            .collect();
        table::write(f, &head, &rows)
    }
}

#[cfg(test)]
mod tests {
    use dendra_nn::Module;
    use dendra_tensor::{Ops, Rng};

    use super::*;

    #[test]
    fn a_spread_is_that_of_the_textbook() {
        let spread = Spread::of(&Tensor::from([0.0, 2.0, 4.0, 6.0_f32]));
        assert_eq!((spread.mean, spread.min, spread.max), (3.0, 0.0, 6.0));
        assert_eq!((spread.std, spread.zeros), (5_f64.sqrt(), 0.25));
        assert_eq!(spread.norm, 56_f64.sqrt());
        assert!(Spread::of(&Tensor::<f32>::zeros([0])).mean.is_nan());
    }

    #[test]
    fn gradients_stand_under_their_names() {
        let model = Sequential::input([2]).dense(3).relu().dense(1).build(&mut Rng::seed(1));
        let model = model.unwrap();
        let x = Tape::training(0, 0).input(Tensor::ones([4, 2]));
        let gradients = model.forward(&x).unwrap().sum().backward().unwrap();
        let statistics = Statistics::of_gradients(&model, &gradients);
        let names: Vec<&str> = statistics.rows.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["0.weight", "0.bias", "2.weight", "2.bias"]);
        // Each of the four samples adds 1.
        assert_eq!(statistics.rows[3].1.mean, 4.0);
        assert_eq!(statistics.to_string().lines().count(), 6);
    }
}
