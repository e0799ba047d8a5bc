//! State dicts: named tensors of any element type, out of a model and into it.

use std::collections::BTreeMap;
use std::fmt::Write;

use dendra_tensor::{AnyTensor, Element, Error, Float, Result, Shape, Tensor};

use crate::parameters::{Entry, EntryMut, Parameters, Path};

/// Named tensors: the state of a model or of an optimizer, as files hold it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    entries: BTreeMap<String, AnyTensor>,
}

impl StateDict {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a tensor in, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<AnyTensor>) {
        self.entries.insert(name.into(), value.into());
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&AnyTensor> {
        self.entries.get(name)
    }

    /// Takes out the tensor of this name, if there is one: the second copy of a
    /// tied weight, say, or the layers that another model does not have.
    pub fn remove(&mut self, name: &str) -> Option<AnyTensor> {
        self.entries.remove(name)
    }

    /// The tensor of this name, when it holds elements of this type.
    pub fn typed<T: Element>(&self, name: &str) -> Option<&Tensor<T>> {
        self.get(name)?.downcast()
    }

    /// Names and tensors, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AnyTensor)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes out the entries whose names begin with `prefix` and a dot, and
    /// gives them without it.
    #[must_use]
    pub fn split_off(&mut self, prefix: &str) -> Self {
        let inner = |name: &str| name.strip_prefix(prefix)?.strip_prefix('.').map(str::to_owned);
        let mut taken = Self::new();
        self.entries.retain(|name, value| match inner(name) {
            Some(name) => {
                taken.insert(name, value.clone());
                false
            }
            None => true,
        });
        taken
    }

    /// Puts all entries of another dict in, with `prefix` and a dot before
    /// their names.
    pub fn extend(&mut self, prefix: &str, other: &Self) {
        for (name, value) in other.iter() {
            self.insert(format!("{prefix}.{name}"), value.clone());
        }
    }
}

/// The tensor with floats of this type, rounded where they are more precise;
/// `None` when it holds no floats.
fn to_float<T: Float>(any: &AnyTensor) -> Option<Tensor<T>> {
    match any {
        AnyTensor::F32(tensor) => Some(float(tensor)),
        AnyTensor::F64(tensor) => Some(float(tensor)),
        _ => None,
    }
}

/// The same tensor where the types are the same, else a conversion.
fn float<T: Float, U: Float>(tensor: &Tensor<U>) -> Tensor<T> {
    let same: Option<&Tensor<T>> = (tensor as &dyn std::any::Any).downcast_ref();
    same.cloned().unwrap_or_else(|| tensor.cast())
}

/// All that is wrong with a state dict, gathered before anything is changed.
#[derive(Default, Debug)]
pub struct Differences {
    /// Names that are expected and not there.
    pub missing: Vec<String>,
    /// Names that are there and not expected.
    pub unexpected: Vec<String>,
    /// Names of tensors of another shape or element type, with both.
    pub mismatched: Vec<String>,
}

impl Differences {
    /// Notes whether the tensor `found` under a name is there and as expected.
    pub fn compare(&mut self, name: &str, found: Option<&AnyTensor>, element: &str, shape: &Shape) {
        match found {
            None => self.missing.push(name.to_owned()),
            Some(found) if found.element() != element || found.shape() != shape => {
                self.mismatched.push(format!(
                    "{name} (expected {element} {shape}, found {} {})",
                    found.element(),
                    found.shape()
                ));
            }
            Some(_) => {}
        }
    }

    /// As [`compare`](Self::compare) for floats, which may be of another float
    /// type as long as `T` can hold them.
    fn compare_floats<T: Float>(&mut self, name: &str, found: Option<&AnyTensor>, shape: &Shape) {
        let converted = found.filter(|found| found.shape() == shape).and_then(to_float);
        let Some(converted): Option<Tensor<T>> = converted else {
            return self.compare(name, found, T::NAME, shape);
        };
        if let Some(AnyTensor::F64(exact)) = found.filter(|_| !converted.is_finite())
            && exact.is_finite()
        {
            self.mismatched.push(format!("{name} (holds f64 values beyond those of {})", T::NAME));
        }
    }

    /// # Errors
    ///
    /// When there are differences; the error lists them all.
    pub fn into_result(self) -> Result<()> {
        let mut message = String::new();
        let kinds = [
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("mismatched", self.mismatched),
        ];
        for (kind, names) in kinds.into_iter().filter(|(_, names)| !names.is_empty()) {
            let separator = if message.is_empty() { "" } else { "; " };
            write!(message, "{separator}{kind}: {}", names.join(", "))
                .expect("writing to a string cannot fail");
        }
        if message.is_empty() { Ok(()) } else { Err(Error::state(message)) }
    }
}

/// The state of a model under its names, sharing the buffers.
pub(crate) fn state_dict<T: Float>(model: &(impl Parameters<T> + ?Sized)) -> StateDict {
    let mut state = StateDict::new();
    let any = |tensor| AnyTensor::upcast(tensor).expect("the library's float types are listed");
    model.visit(&mut Path::default(), &mut |path, entry| {
        let value = match entry {
            Entry::Param(param) => any(param.value()),
            Entry::Buffer(buffer) => any(buffer.value()),
            Entry::Counter(counter) => Tensor::scalar(counter.value()).into(),
        };
        state.insert(path.as_str(), value);
    });
    state
}

/// The name of an expected tensor that holds the same values, as PyTorch's state
/// dicts do for a weight that two layers share.
fn twin<'a>(
    state: &'a StateDict,
    expected: &std::collections::HashSet<String>,
    tensor: &AnyTensor,
) -> Option<&'a str> {
    let is_twin = |&(name, other): &(&str, &AnyTensor)| {
        expected.contains(name) && other.shape() == tensor.shape() && other == tensor
    };
    state.iter().find(is_twin).map(|(name, _)| name)
}

/// Loads a state dict that must match the model name by name.
pub(crate) fn load_state_dict<T: Float>(
    model: &mut (impl Parameters<T> + ?Sized),
    state: &StateDict,
) -> Result<()> {
    let mut differences = Differences::default();
    let mut names = std::collections::HashSet::new();
    model.visit(&mut Path::default(), &mut |path, entry| {
        let name = path.as_str();
        names.insert(name.to_owned());
        let found = state.get(name);
        match entry {
            Entry::Param(param) => {
                differences.compare_floats::<T>(name, found, param.value().shape());
            }
            Entry::Buffer(buffer) => {
                differences.compare_floats::<T>(name, found, buffer.value().shape());
            }
            // State dicts from before PyTorch 0.4.1 have no counters.
            Entry::Counter(_) if found.is_none() => {}
            Entry::Counter(_) => {
                differences.compare(name, found, i64::NAME, &Shape::scalar());
            }
        }
    });
    for (name, tensor) in state.iter().filter(|(name, _)| !names.contains(*name)) {
        differences.unexpected.push(match twin(state, &names, tensor) {
            Some(twin) => format!(
                "{name} (with the values of {twin}; if it is the same weight, take it out with \
                 StateDict::remove)"
            ),
            None => name.to_owned(),
        });
    }
    differences.into_result()?;

    model.visit_mut(&mut Path::default(), &mut |path, entry| {
        const COMPARED: &str = "every entry was compared before";
        let found = state.get(path.as_str());
        let floats = || found.and_then(to_float).expect(COMPARED);
        match entry {
            EntryMut::Param(param) => *param.value_mut() = floats(),
            EntryMut::Buffer(buffer) => *buffer.value_mut() = floats(),
            EntryMut::Counter(counter) => {
                if let Some(value) = found.and_then(AnyTensor::downcast::<i64>) {
                    *counter.value_mut() = value.item().expect(COMPARED);
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Param;

    fn model() -> Vec<Param> {
        vec![Param::new(Tensor::zeros([2])), Param::new(Tensor::zeros([3]))]
    }

    #[test]
    fn a_state_goes_out_and_in() {
        let mut trained = model();
        *trained[1].value_mut() = Tensor::from([1.0, 2.0, 3.0]);
        let mut fresh = model();
        fresh.load_state_dict(&trained.state_dict()).unwrap();
        assert_eq!(fresh[1].value().to_vec(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn every_difference_is_reported_at_once_and_nothing_is_changed() {
        let mut state = StateDict::new();
        state.insert("1", Tensor::from([1_i64, 2, 3]));
        state.insert("2", Tensor::from([1.0_f32]));
        let mut fresh = model();
        let error = fresh.load_state_dict(&state).unwrap_err();
        assert_eq!(
            error.to_string(),
            "state dict does not match: missing: 0; unexpected: 2; mismatched: 1 (expected f32 \
             [3], found i64 [3])"
        );
        state.insert("0", Tensor::from([5.0_f32, 5.0]));
        assert!(fresh.load_state_dict(&state).is_err());
        assert_eq!(fresh[0].value().to_vec(), [0.0, 0.0]);
    }

    #[test]
    fn floats_of_another_type_are_converted_where_they_can_be() {
        let mut state = StateDict::new();
        state.insert("0", Tensor::from([0.1_f64, f64::INFINITY]));
        state.insert("1", Tensor::from([1.0_f32, 2.0, 3.0]));
        let mut fresh = model();
        fresh.load_state_dict(&state).unwrap();
        assert_eq!(fresh[0].value().to_vec(), [0.1, f32::INFINITY]);
        let mut double =
            vec![Param::new(Tensor::<f64>::zeros([2])), Param::new(Tensor::zeros([3]))];
        double.load_state_dict(&state).unwrap();
        assert_eq!(double[1].value().to_vec(), [1.0, 2.0, 3.0]);
        state.insert("0", Tensor::from([0.1, 1e300_f64]));
        let error = fresh.load_state_dict(&state).unwrap_err().to_string();
        assert_eq!(
            error,
            "state dict does not match: mismatched: 0 (holds f64 values beyond those of f32)"
        );
        assert_eq!(fresh[0].value().to_vec(), [0.1, f32::INFINITY]);
    }

    #[test]
    fn a_tied_weight_that_is_there_twice_is_told() {
        let mut state = model().state_dict();
        state.insert("head", Tensor::from([7.0_f32]));
        state.insert("tied", state.get("0").unwrap().clone());
        let error = model().load_state_dict(&state).unwrap_err().to_string();
        assert_eq!(
            error,
            "state dict does not match: unexpected: head, tied (with the values of 0; if it is \
             the same weight, take it out with StateDict::remove)"
        );
        assert!(state.remove("tied").is_some() && state.remove("head").is_some());
        model().load_state_dict(&state).unwrap();
    }

    #[test]
    fn a_counter_may_be_missing() {
        let mut counter = crate::param::Counter::new(3);
        Parameters::<f32>::load_state_dict(&mut counter, &StateDict::new()).unwrap();
        assert_eq!(counter.value(), 3);
    }

    #[test]
    fn prefixes_nest_and_come_apart_again() {
        let mut inner = StateDict::new();
        inner.insert("a", Tensor::from([1_i64]));
        let mut state = StateDict::new();
        state.insert("modelling", Tensor::scalar(true));
        state.extend("model", &inner);
        assert_eq!(state.typed::<i64>("model.a").unwrap().to_vec(), [1]);
        assert_eq!(state.split_off("model"), inner);
        assert_eq!(state.len(), 1);
    }
}
