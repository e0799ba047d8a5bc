//! The state of an optimizer for each parameter.

use std::collections::{BTreeMap, HashMap};

use dendra_autograd::{AnyTensor, Differences, Param, ParamId, Parameters, StateDict};
use dendra_tensor::{Element, Error, Float, Result, Shape, Tensor};
use smallvec::SmallVec;

use crate::group::Group;

/// The state of one parameter.
#[derive(Clone)]
pub(crate) struct Slot<T: Float> {
    /// The path of the parameter in the model.
    pub(crate) name: String,
    /// The identity of the parameter; `None` after loading, until the parameter is
    /// found by name.
    pub(crate) id: Option<ParamId>,
    pub(crate) group: Group,
    /// The shape of the parameter; a scalar shape until it is found.
    shape: Shape,
    /// The number of updates of the parameter.
    pub(crate) steps: u64,
    /// The state tensors of the rule; empty before the first update.
    pub(crate) state: SmallVec<[Tensor<T>; 3]>,
}

impl<T: Float> Slot<T> {
    /// Drops the state, as before the first update.
    pub(crate) fn forget(&mut self) {
        self.steps = 0;
        self.state.clear();
    }

    /// Returns the entries for a state dict.
    fn entries(&self, names: &[&str]) -> Vec<(String, AnyTensor)> {
        let steps = (key(&self.name, STEP), Tensor::scalar(self.steps as i64).into());
        let tensors = names.iter().zip(&self.state).map(|(entry, tensor)| {
            let any = AnyTensor::upcast(tensor).expect("the library's float types are listed");
            (key(&self.name, entry), any)
        });
        std::iter::once(steps).chain(tensors).collect()
    }
}

/// The name of the entry with the number of updates of a parameter.
const STEP: &str = "step";

/// Returns the name of an entry of a parameter in a state dict. If the model is a
/// single parameter, its path is empty.
fn key(name: &str, entry: &str) -> String {
    if name.is_empty() { entry.to_owned() } else { format!("{name}.{entry}") }
}

/// The slots of all parameters of a model, in the order of the model.
pub(crate) struct Slots<T: Float>(Vec<Slot<T>>);

impl<T: Float> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Float> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot<T>> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot<T>> {
        self.0.iter_mut()
    }

    /// Returns whether these are the slots of the given parameters, in this order.
    pub(crate) fn fit(&self, parameters: &[&Param<T>]) -> bool {
        self.0.len() == parameters.len()
            && self.0.iter().zip(parameters).all(|(slot, param)| {
                slot.id == Some(param.id()) && slot.shape == *param.value().shape()
            })
    }

    /// Returns the slots of the parameters of a model. Existing slots are found by
    /// identity, or by name after loading; the others are new.
    pub(crate) fn bound_to(
        &self,
        model: &dyn Parameters<T>,
        context: &str,
        state_names: &[&str],
        state_shape: impl Fn(&str, &Shape) -> Shape,
        group_of: impl Fn(&str) -> Group,
    ) -> Result<Self> {
        let parameters = model.named_parameters();
        if self.0.iter().any(|slot| slot.id.is_none()) {
            self.compare(&parameters, state_names, state_shape)
                .map_err(|error| error.within(context))?;
        } else {
            self.ensure_same_model(&parameters, context, state_names.len())?;
        }
        let by_id: HashMap<ParamId, &Slot<T>> =
            self.0.iter().filter_map(|slot| Some((slot.id?, slot))).collect();
        let by_name: HashMap<&str, &Slot<T>> = self
            .0
            .iter()
            .filter(|slot| slot.id.is_none())
            .map(|slot| (&*slot.name, slot))
            .collect();
        let bound = parameters.into_iter().map(|(name, param)| {
            let known = by_id.get(&param.id()).or_else(|| by_name.get(&*name));
            let (steps, state) =
                known.map_or_else(Default::default, |slot| (slot.steps, slot.state.clone()));
            let shape = param.value().shape().clone();
            Slot { group: group_of(&name), name, id: Some(param.id()), shape, steps, state }
        });
        Ok(Self(bound.collect()))
    }

    /// Compares the loaded state with the parameters, name by name.
    fn compare(
        &self,
        parameters: &[(String, &Param<T>)],
        state_names: &[&str],
        state_shape: impl Fn(&str, &Shape) -> Shape,
    ) -> Result<()> {
        let mut loaded: BTreeMap<&str, &Slot<T>> =
            self.0.iter().map(|slot| (&*slot.name, slot)).collect();
        let mut differences = Differences::default();
        for (name, param) in parameters {
            match loaded.remove(&**name) {
                None => differences.missing.push(key(name, STEP)),
                Some(slot) => {
                    let entries = slot.entries(state_names);
                    for ((key, tensor), name) in entries.iter().skip(1).zip(state_names) {
                        let expected = state_shape(name, param.value().shape());
                        differences.compare(key, Some(tensor), T::NAME, &expected);
                    }
                }
            }
        }
        let left = loaded.values().flat_map(|slot| slot.entries(state_names));
        differences.unexpected.extend(left.map(|(key, _)| key));
        differences.into_result()
    }

    /// Checks that each slot with state belongs to a parameter of unchanged shape.
    fn ensure_same_model(
        &self,
        parameters: &[(String, &Param<T>)],
        context: &str,
        tensors: usize,
    ) -> Result<()> {
        let present: HashMap<ParamId, &Param<T>> =
            parameters.iter().map(|(_, param)| (param.id(), *param)).collect();
        let mut absent = Vec::new();
        for slot in self.0.iter().filter(|slot| slot.steps > 0) {
            let param = slot.id.and_then(|id| present.get(&id));
            let Some(param) = param else {
                absent.push(&*slot.name);
                continue;
            };
            let shape = param.value().shape();
            if slot.shape != *shape {
                let before = &slot.shape;
                let message = format!("its shape changed from {before} to {shape} between steps");
                return Err(Error::shape(context, format!("{}: {message}", slot.name)));
            }
            if slot.state.len() != tensors {
                return Err(Error::argument(
                    context,
                    "a setting that determines the state tensors was changed after the first step",
                ));
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        Err(Error::argument(
            context,
            format!(
                "the optimizer has state of parameters that are not in this model: {}. Use a \
                 separate optimizer for each model; for a copy of a model, load the state_dict of \
                 its optimizer into a new one",
                absent.join(", ")
            ),
        ))
    }

    /// Returns the state of all parameters by name.
    pub(crate) fn state_dict(&self, state_names: &[&str]) -> StateDict {
        let mut state = StateDict::new();
        for (key, value) in self.0.iter().flat_map(|slot| slot.entries(state_names)) {
            state.insert(key, value);
        }
        state
    }

    /// Returns the slots of a state dict, which are not yet bound to parameters.
    /// Errors are added to `differences`.
    pub(crate) fn from_state<'a>(
        entries: impl Iterator<Item = (&'a str, &'a AnyTensor)>,
        state_names: &[&str],
        differences: &mut Differences,
    ) -> Self {
        let mut parameters: BTreeMap<&str, BTreeMap<&str, &AnyTensor>> = BTreeMap::new();
        for (key, value) in entries {
            let (name, entry) = key.rsplit_once('.').unwrap_or(("", key));
            parameters.entry(name).or_default().insert(entry, value);
        }
        let slots = parameters.into_iter().map(|(name, mut entries)| {
            let steps = count(&key(name, STEP), entries.remove(STEP), differences);
            let mut state = SmallVec::new();
            for entry in state_names.iter().filter(|_| steps > 0) {
                let found = entries.remove(entry);
                // Shapes are compared later, when the parameters are known.
                let shape = found.map_or_else(Shape::scalar, |found| found.shape().clone());
                differences.compare(&key(name, entry), found, T::NAME, &shape);
                state.extend(found.and_then(|found| found.downcast::<T>()).cloned());
            }
            differences.unexpected.extend(entries.keys().map(|entry| key(name, entry)));
            let (name, shape, group) = (name.to_owned(), Shape::scalar(), Group::default());
            Slot { name, id: None, group, shape, steps, state }
        });
        Self(slots.collect())
    }
}

/// Returns the count with this name in a state dict.
pub(crate) fn count(name: &str, value: Option<&AnyTensor>, differences: &mut Differences) -> u64 {
    differences.compare(name, value, i64::NAME, &Shape::scalar());
    let value = value.and_then(|value| value.downcast::<i64>()?.item().ok()).unwrap_or(0);
    u64::try_from(value).unwrap_or_else(|_| {
        differences.mismatched.push(format!("{name} (expected a count, found {value})"));
        0
    })
}
