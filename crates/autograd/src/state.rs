//! State dicts: named tensors of any element type, saved from and loaded into
//! models.

use std::collections::BTreeMap;

use dendra_tensor::{AnyTensor, Element, Error, Float, Number, Result, Tensor};

use crate::parameters::{Entry, Walk};

/// Named tensors: the state of a model or of an optimizer, as stored in files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    entries: BTreeMap<String, AnyTensor>,
}

impl StateDict {
    /// A dict without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts a tensor; one of the same name is replaced.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<AnyTensor>) {
        self.entries.insert(name.into(), value.into());
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&AnyTensor> {
        self.entries.get(name)
    }

    /// Removes and returns the tensor of this name, if there is one: for
    /// example the second copy of a tied weight, or a layer that another model
    /// does not have.
    pub fn remove(&mut self, name: &str) -> Option<AnyTensor> {
        self.entries.remove(name)
    }

    /// The tensor of this name, if its elements are of type `T`.
    pub fn typed<T: Element>(&self, name: &str) -> Option<&Tensor<T>> {
        self.get(name)?.downcast()
    }

    /// Names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AnyTensor)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes the entries whose names begin with `prefix` and a dot, and
    /// returns them without the prefix.
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

    /// The entries with their names replaced by those that `rename` returns;
    /// `None` drops an entry.
    ///
    /// ```
    /// use dendra_autograd::StateDict;
    /// use dendra_tensor::Tensor;
    ///
    /// let mut state = StateDict::new();
    /// state.insert("bn.gamma", Tensor::from([1.0_f32]));
    /// let state = state.renamed(&|name| Some(name.replace("gamma", "weight")))?;
    /// assert!(state.get("bn.weight").is_some());
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if two entries get the same name.
    pub fn renamed(self, rename: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (old, value) in self.entries {
            let Some(new) = rename(&old) else { continue };
            if entries.contains_key(&new) {
                let message = format!("two entries get the name {new}, one of them {old}");
                return Err(Error::argument("StateDict::renamed", message));
            }
            entries.insert(new, value);
        }
        Ok(Self { entries })
    }

    /// The same state with all floats converted to another type: with
    /// `cast_floats::<bf16>` it takes half of the memory and of the file.
    /// Integers, counters and booleans stay.
    ///
    /// ```
    /// use dendra_autograd::StateDict;
    /// use dendra_tensor::{Tensor, f16};
    ///
    /// let mut state = StateDict::new();
    /// state.insert("weight", Tensor::from([0.1_f32]));
    /// let half = state.cast_floats::<f16>()?;
    /// assert_eq!(half.typed::<f16>("weight").unwrap().to_vec()[0].to_f32(), 0.099975586);
    /// state.insert("weight", Tensor::from([1e6_f32]));
    /// assert!(state.cast_floats::<f16>().is_err());
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error that names the tensors with a finite value that is
    /// infinite in the other type.
    pub fn cast_floats<U: Number>(&self) -> Result<Self>
    where
        AnyTensor: From<Tensor<U>>,
    {
        /// The tensor in the other type, and whether a finite value became infinite.
        fn cast<A: Number, U: Number>(x: &Tensor<A>) -> (Tensor<U>, bool) {
            let (x, y) = (x.contiguous(), x.cast::<U>());
            let overflows = finite(&x).zip(finite(&y)).any(|(before, after)| before && !after);
            (y, overflows)
        }
        fn finite<A: Number>(x: &Tensor<A>) -> impl Iterator<Item = bool> {
            x.as_slice().unwrap_or_default().iter().map(|x| x.to_f64().is_finite())
        }
        let mut beyond = Vec::new();
        let mut result = Self::new();
        for (name, value) in self.iter() {
            let (converted, overflows) = match value {
                AnyTensor::F32(x) => cast(x),
                AnyTensor::F64(x) => cast(x),
                AnyTensor::F16(x) => cast(x),
                AnyTensor::BF16(x) => cast(x),
                other => {
                    result.insert(name, other.clone());
                    continue;
                }
            };
            if overflows {
                beyond.push(name);
            }
            result.insert(name, converted);
        }
        match beyond[..] {
            [] => Ok(result),
            _ => {
                let message = format!("values beyond those of {}: {}", U::NAME, beyond.join(", "));
                Err(Error::data("StateDict::cast_floats", message))
            }
        }
    }

    /// Inserts all entries of another dict, with `prefix` and a dot before
    /// their names.
    pub fn extend(&mut self, prefix: &str, other: &Self) {
        for (name, value) in other.iter() {
            self.insert(format!("{prefix}.{name}"), value.clone());
        }
    }
}

/// The tensor converted to this float type, rounded if necessary; `None` if its
/// elements are not floats.
pub(crate) fn to_float<T: Float>(any: &AnyTensor) -> Option<Tensor<T>> {
    match any {
        AnyTensor::F32(tensor) => Some(float(tensor)),
        AnyTensor::F64(tensor) => Some(float(tensor)),
        AnyTensor::F16(tensor) => Some(tensor.cast()),
        AnyTensor::BF16(tensor) => Some(tensor.cast()),
        _ => None,
    }
}

/// The same tensor if the types are equal, otherwise a conversion.
fn float<T: Float, U: Float>(tensor: &Tensor<U>) -> Tensor<T> {
    let same: Option<&Tensor<T>> = (tensor as &dyn std::any::Any).downcast_ref();
    same.cloned().unwrap_or_else(|| tensor.cast())
}

/// The state of a model by name, sharing the buffers.
#[inline(never)]
pub(crate) fn state_dict<T: Float>(model: &mut Walk<'_, T>) -> StateDict {
    let mut state = StateDict::new();
    let any = |tensor: &Tensor<T>| {
        AnyTensor::upcast(tensor).expect("the library's float types are listed")
    };
    model(&mut |path, entry| {
        let value = match entry {
            Entry::Param(param) => any(param.value()),
            Entry::Buffer(buffer) => any(buffer.value()),
            Entry::Counter(counter) => Tensor::scalar(counter.value()).into(),
        };
        state.insert(path.as_str(), value);
    });
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_get_other_names() {
        let mut state = StateDict::new();
        state.insert("0", Tensor::from([1.0_f32]));
        state.insert("1", Tensor::from([2.0_f32]));
        state.insert("step", Tensor::scalar(7_i64));
        let rename = |name: &str| (name != "step").then(|| format!("layer.{name}"));
        let renamed = state.clone().renamed(&rename).unwrap();
        let names: Vec<&str> = renamed.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["layer.0", "layer.1"]);
        let error = state.renamed(&|_| Some("same".to_owned())).unwrap_err().to_string();
        assert!(error.contains("two entries get the name same, one of them 1"), "{error}");
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
