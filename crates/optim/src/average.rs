//! Averages of the weights of a model during training.

use std::collections::BTreeMap;

use dendra_autograd::{AnyTensor, Differences, EntryMut, Parameters, Path, StateDict};
use dendra_tensor::{Float, Result, Shape, Tensor};

use crate::rule::require;
use crate::slots::count;

/// The average of the weights of a model during training. A model with averaged
/// weights often generalises better than one with the last weights.
/// [`ema`](Self::ema) is an exponential moving average, [`swa`](Self::swa) the mean
/// over all updates.
///
/// Call [`update`](Self::update) after each step or epoch. [`swap`](Self::swap)
/// exchanges the weights of the model with the average, to evaluate or save the
/// model; a second call restores the weights. Buffers are unchanged. The running
/// statistics of batch normalisation belong to the trained weights; recompute them
/// for the average with a pass in training mode.
///
/// Names, formulas and state are those of PyTorch's `AveragedModel`.
///
/// Sources: Polyak and Juditsky, "Acceleration of stochastic approximation by
/// averaging", 1992; Izmailov et al., "Averaging weights leads to wider optima
/// and better generalization", 2018.
///
/// ```
/// use dendra_autograd::Param;
/// use dendra_optim::WeightAverage;
/// use dendra_tensor::Tensor;
///
/// let mut average = WeightAverage::ema(0.75);
/// let mut model = Param::new(Tensor::from([0.0_f32]));
/// average.update(&model)?;
/// *model.value_mut() = Tensor::from([8.0]);
/// average.update(&model)?;
/// average.swap(&mut model)?;
/// assert_eq!(model.value().to_vec(), [2.0]);
/// average.swap(&mut model)?;
/// assert_eq!(model.value().to_vec(), [8.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightAverage<T: Float = f32> {
    /// The decay rate of the moving average; `None` for the mean.
    decay: Option<f64>,
    n_averaged: u64,
    /// The averages by name; empty before the first update.
    averages: BTreeMap<String, Tensor<T>>,
}

const NAME: &str = "WeightAverage";
const N_AVERAGED: &str = "n_averaged";
const MODULE: &str = "module";

impl<T: Float> WeightAverage<T> {
    /// Creates an exponential moving average: `a = decay · a + (1 − decay) · w`. It
    /// starts with the weights of the first update. PyTorch's default decay is 0.999.
    pub fn ema(decay: f64) -> Self {
        Self { decay: Some(decay), n_averaged: 0, averages: BTreeMap::new() }
    }

    /// Creates the mean of the weights of all updates (stochastic weight averaging).
    pub fn swa() -> Self {
        Self { decay: None, n_averaged: 0, averages: BTreeMap::new() }
    }

    /// Returns the number of updates.
    pub fn n_averaged(&self) -> u64 {
        self.n_averaged
    }

    /// Returns the average of the parameter with this name.
    pub fn get(&self, name: &str) -> Option<&Tensor<T>> {
        self.averages.get(name)
    }

    /// Adds the weights of the model to the average.
    ///
    /// # Errors
    ///
    /// Returns an error if the parameters differ from those of previous updates in
    /// name or shape, or if the decay is not between 0 and 1.
    pub fn update(&mut self, model: &dyn Parameters<T>) -> Result<()> {
        let parameters = model.named_parameters();
        if let Some(decay) = self.decay {
            require((0.0..=1.0).contains(&decay), NAME, "decay", "from 0 to 1", decay)?;
        }
        if self.n_averaged == 0 {
            let copies = parameters.into_iter();
            self.averages = copies.map(|(name, param)| (name, param.value().clone())).collect();
        } else {
            let shapes = parameters.iter().map(|(name, param)| (&**name, param.value().shape()));
            self.ensure_same(shapes)?;
            let share = match self.decay {
                Some(decay) => 1.0 - decay,
                None => 1.0 / (self.n_averaged + 1) as f64,
            };
            let share = T::from_f64(share);
            for (name, param) in parameters {
                if let Some(average) = self.averages.get_mut(&name) {
                    *average = &*average + (param.value() - &*average) * share;
                }
            }
        }
        self.n_averaged += 1;
        Ok(())
    }

    /// Exchanges the weights of the model with the average.
    ///
    /// # Errors
    ///
    /// Returns an error if the parameters of the model differ from those of the
    /// updates. The model is then unchanged.
    pub fn swap(&mut self, model: &mut dyn Parameters<T>) -> Result<()> {
        let parameters = model.named_parameters();
        self.ensure_same(parameters.iter().map(|(name, param)| (&**name, param.value().shape())))?;
        model.visit_mut(&mut Path::default(), &mut |path, entry| {
            if let EntryMut::Param(param) = entry
                && let Some(average) = self.averages.get_mut(path.as_str())
            {
                std::mem::swap(param.value_mut(), average);
            }
        });
        Ok(())
    }

    /// Returns all differences between the parameters and the averages.
    fn ensure_same<'a>(
        &self,
        parameters: impl Iterator<Item = (&'a str, &'a Shape)> + Clone,
    ) -> Result<()> {
        let mut differences = Differences::default();
        for (name, shape) in parameters.clone() {
            let found = self.get(name).and_then(AnyTensor::upcast);
            differences.compare(name, found.as_ref(), T::NAME, shape);
        }
        let known = |name: &str| parameters.clone().any(|(known, _)| known == name);
        let left = self.averages.keys().filter(|name| !known(name));
        differences.unexpected.extend(left.cloned());
        differences.into_result().map_err(|error| error.within(NAME))
    }

    /// Returns the state: `n_averaged`, and each average by name with the prefix
    /// `module.`.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        state.insert(N_AVERAGED, Tensor::scalar(self.n_averaged as i64));
        for (name, average) in &self.averages {
            let any = AnyTensor::upcast(average).expect("the library's float types are listed");
            state.insert(format!("{MODULE}.{name}"), any);
        }
        state
    }

    /// Loads a state.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not the state of a `WeightAverage` with this float
    /// type. The average is then unchanged.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut rest = state.clone();
        let averages = rest.split_off(MODULE);
        let mut differences = Differences::default();
        let n_averaged = count(N_AVERAGED, rest.get(N_AVERAGED), &mut differences);
        let others = rest.iter().map(|(name, _)| name).filter(|name| *name != N_AVERAGED);
        differences.unexpected.extend(others.map(str::to_owned));
        for (name, average) in averages.iter() {
            differences.compare(name, Some(average), T::NAME, average.shape());
        }
        differences.into_result().map_err(|error| error.within(NAME))?;
        let typed = averages.iter().filter_map(|(name, average)| {
            Some((name.to_owned(), average.downcast::<T>()?.clone()))
        });
        self.averages = typed.collect();
        self.n_averaged = n_averaged;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Param;

    use super::*;

    fn model(values: &[f32]) -> Vec<Param> {
        values.iter().map(|&value| Param::new(Tensor::from([value, -value]))).collect()
    }

    #[test]
    fn the_mean_counts_all_the_same_and_goes_on_from_its_state() {
        let mut average = WeightAverage::swa();
        average.update(&model(&[1.0, 10.0])).unwrap();
        average.update(&model(&[2.0, 20.0])).unwrap();
        let mut resumed = WeightAverage::swa();
        resumed.load_state_dict(&average.state_dict()).unwrap();
        resumed.update(&model(&[6.0, 60.0])).unwrap();
        assert_eq!(resumed.get("1").unwrap().to_vec(), [30.0, -30.0]);
        assert_eq!(resumed.n_averaged(), 3);
    }

    #[test]
    fn another_model_and_another_state_are_refused() {
        let mut average = WeightAverage::ema(0.9);
        average.update(&model(&[1.0, 2.0])).unwrap();
        let error = average.update(&model(&[1.0])).unwrap_err().to_string();
        assert!(error.contains("WeightAverage: unexpected: 1"), "{error}");
        let mut longer = model(&[1.0, 2.0, 3.0]);
        let error = average.swap(&mut longer).unwrap_err().to_string();
        assert!(error.contains("missing: 2"), "{error}");
        let mut state = average.state_dict();
        state.insert("module.0", Tensor::from([1.0_f64]));
        state.insert("decay", Tensor::from([1.0_f64]));
        let error = average.load_state_dict(&state).unwrap_err().to_string();
        assert!(error.contains("unexpected: decay") && error.contains("found f64"), "{error}");
        let mut growing = WeightAverage::ema(1.5);
        assert!(growing.update(&model(&[1.0])).unwrap_err().to_string().contains("decay must be"));
    }
}
