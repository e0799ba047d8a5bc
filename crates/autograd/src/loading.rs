//! Loading state dicts into models, and reporting all differences.

use std::collections::HashSet;
use std::fmt::Write;

use dendra_tensor::{AnyTensor, Element as _, Error, Float, Result, Shape, Tensor};

use crate::parameters::{EntryMut, WalkMut};
use crate::state::{StateDict, to_float};

/// All differences between a state dict and a model, collected before anything
/// is changed.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
#[must_use = "the differences list what was not loaded"]
pub struct Differences {
    /// Names that the model has and the state dict does not.
    pub missing: Vec<String>,
    /// Names that the state dict has and the model does not.
    pub unexpected: Vec<String>,
    /// Names of tensors with another shape or element type, with both.
    pub mismatched: Vec<String>,
}

impl Differences {
    /// Records a difference unless the tensor `found` exists and is as
    /// expected.
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

    /// Like [`compare`](Self::compare) for floats, which may have another float
    /// type whose values `T` can represent.
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
    /// Returns an error that lists all differences, if there are any.
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

/// The name of another tensor that fits and holds the same values. PyTorch's
/// state dicts contain one for a weight that two layers share.
fn twin<'a>(state: &'a StateDict, fit: &HashSet<String>, tensor: &AnyTensor) -> Option<&'a str> {
    let is_twin = |&(name, other): &(&str, &AnyTensor)| {
        fit.contains(name) && other.shape() == tensor.shape() && other == tensor
    };
    state.iter().find(is_twin).map(|(name, _)| name)
}

/// The differences between a state dict and a model, and the names of the
/// entries that fit.
#[inline(never)]
fn compare<T: Float>(
    model: &mut WalkMut<'_, T>,
    state: &StateDict,
) -> (Differences, HashSet<String>) {
    let mut differences = Differences::default();
    let (mut names, mut fit) = (HashSet::new(), HashSet::new());
    model(&mut |path, entry| {
        let name = path.as_str();
        names.insert(name.to_owned());
        let found = state.get(name);
        let before = differences.missing.len() + differences.mismatched.len();
        match entry {
            EntryMut::Param(param) => {
                differences.compare_floats::<T>(name, found, param.value().shape());
            }
            EntryMut::Buffer(buffer) => {
                differences.compare_floats::<T>(name, found, buffer.value().shape());
            }
            // State dicts of PyTorch before 0.4.1 have no counters.
            EntryMut::Counter(_) if found.is_none() => return,
            EntryMut::Counter(_) => {
                differences.compare(name, found, i64::NAME, &Shape::scalar());
            }
        }
        if differences.missing.len() + differences.mismatched.len() == before {
            fit.insert(name.to_owned());
        }
    });
    let unexpected = state.iter().map(|(name, _)| name).filter(|&name| !names.contains(name));
    differences.unexpected = unexpected.map(str::to_owned).collect();
    (differences, fit)
}

/// Loads the entries of these names, which fit.
#[inline(never)]
fn take<T: Float>(model: &mut WalkMut<'_, T>, state: &StateDict, names: &HashSet<String>) {
    model(&mut |path, entry| {
        const COMPARED: &str = "every entry was compared before";
        let Some(found) = state.get(path.as_str()).filter(|_| names.contains(path.as_str())) else {
            return;
        };
        let floats = || to_float(found).expect(COMPARED);
        match entry {
            EntryMut::Param(param) => *param.value_mut() = floats(),
            EntryMut::Buffer(buffer) => *buffer.value_mut() = floats(),
            EntryMut::Counter(counter) => {
                if let Some(value) = found.downcast::<i64>() {
                    *counter.value_mut() = value.item().expect(COMPARED);
                }
            }
        }
    });
}

/// Loads a state dict that must match the model name by name.
#[inline(never)]
pub(crate) fn load_state_dict<T: Float>(
    model: &mut WalkMut<'_, T>,
    state: &StateDict,
) -> Result<()> {
    let (mut differences, fit) = compare(model, state);
    for name in &mut differences.unexpected {
        if let Some(twin) = state.get(name).and_then(|tensor| twin(state, &fit, tensor)) {
            *name += &format!(
                " (equal to {twin}; if it is a copy of a shared weight, remove it with \
                 StateDict::remove)"
            );
        }
    }
    differences.into_result()?;
    take(model, state, &fit);
    Ok(())
}

/// Loads the entries that fit, and returns the differences.
#[inline(never)]
pub(crate) fn load_matching<T: Float>(
    model: &mut WalkMut<'_, T>,
    state: &StateDict,
) -> Result<Differences> {
    let (differences, fit) = compare(model, state);
    if fit.is_empty() && !state.is_empty() {
        return match differences.into_result() {
            Ok(()) => Ok(Differences::default()),
            Err(error) => Err(error.within("nothing in the state dict matches the model")),
        };
    }
    take(model, state, &fit);
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Param;
    use crate::parameters::Parameters;

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
            "state dict does not match: unexpected: head, tied (equal to 0; if it is a copy \
             of a shared weight, remove it with StateDict::remove)"
        );
        assert!(state.remove("tied").is_some() && state.remove("head").is_some());
        model().load_state_dict(&state).unwrap();
    }

    #[test]
    fn what_fits_is_loaded_and_the_rest_is_told() {
        let mut state = StateDict::new();
        state.insert("0", Tensor::from([5.0_f32, 6.0]));
        state.insert("1", Tensor::from([1.0_f32]));
        state.insert("2", Tensor::from([1.0_f32]));
        let mut fresh = model();
        let skipped = fresh.load_matching(&state).unwrap();
        assert_eq!(fresh[0].value().to_vec(), [5.0, 6.0]);
        assert_eq!(fresh[1].value().to_vec(), [0.0; 3]);
        let mismatched = ["1 (expected f32 [3], found f32 [1])".to_owned()];
        assert_eq!((skipped.missing.len(), &skipped.unexpected[..]), (0, &["2".to_owned()][..]));
        assert_eq!(skipped.mismatched, mismatched);
        let mut other = StateDict::new();
        other.extend("module", &state);
        let error = fresh.load_matching(&other).unwrap_err().to_string();
        assert!(error.contains("nothing in the state dict matches"), "{error}");
        assert!(error.contains("missing: 0, 1; unexpected: module.0"), "{error}");
        assert_eq!(fresh.load_matching(&other.split_off("module")).unwrap(), skipped);
    }

    #[test]
    fn a_counter_may_be_missing() {
        let mut counter = crate::param::Counter::new(3);
        Parameters::<f32>::load_state_dict(&mut counter, &StateDict::new()).unwrap();
        assert_eq!(counter.value(), 3);
    }
}
