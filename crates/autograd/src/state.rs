//! State dicts: named tensors of any element type, out of a model and into it.

use std::collections::BTreeMap;

use dendra_tensor::{Element, Error, Float, Memory, Result, Shape, Tensor};

use crate::parameters::{Entry, Parameters, Path};

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

    /// The entries under the names that `rename` gives for theirs; `None` leaves
    /// an entry out.
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
    /// When two entries get the same name.
    pub fn renamed(self, rename: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (old, value) in self.entries {
            let Some(new) = rename(&old) else { continue };
            if entries.contains_key(&new) {
                let message = format!("{old} gets the name {new}, as another entry did");
                return Err(Error::argument("StateDict::renamed", message));
            }
            entries.insert(new, value);
        }
        Ok(Self { entries })
    }

    /// Puts all entries of another dict in, with `prefix` and a dot before
    /// their names.
    pub fn extend(&mut self, prefix: &str, other: &Self) {
        for (name, value) in other.iter() {
            self.insert(format!("{prefix}.{name}"), value.clone());
        }
    }
}

/// Defines the tensor of any element type from the list of those types.
macro_rules! any_tensor {
    ($($variant:ident $type:ty;)*) => {
        /// A tensor whose element type is known at run time.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyTensor {$(
            #[doc = concat!("Elements of type `", stringify!($type), "`.")]
            $variant(Tensor<$type>),
        )*}

        impl AnyTensor {
            /// The shape.
            pub fn shape(&self) -> &Shape {
                match self { $(Self::$variant(tensor) => tensor.shape(),)* }
            }

            /// The name of the element type, as `"f32"`.
            pub fn element(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$type>::NAME,)* }
            }

            /// Where its elements lie; see [`Tensor::memory`].
            pub fn memory(&self) -> Option<Memory> {
                match self { $(Self::$variant(tensor) => tensor.memory(),)* }
            }

            /// The strides of its axes, in elements.
            pub fn strides(&self) -> Vec<isize> {
                match self { $(Self::$variant(tensor) => tensor.strides().to_vec(),)* }
            }

            /// As [`Tensor::offset_in`]; `None` where the types differ.
            pub fn offset_in(&self, base: &Self) -> Option<usize> {
                match (self, base) {
                    $((Self::$variant(view), Self::$variant(base)) => view.offset_in(base),)*
                    _ => None,
                }
            }

            /// The given indices of an axis; see [`Tensor::index_select`].
            ///
            /// # Errors
            ///
            /// When there is no such axis or index.
            pub fn index_select(&self, axis: isize, indices: &[usize]) -> Result<Self> {
                Ok(match self {
                    $(Self::$variant(x) => Self::$variant(x.index_select(axis, indices)?),)*
                })
            }

            /// The elements under another shape; see [`Tensor::reshape`].
            ///
            /// # Errors
            ///
            /// When their number differs.
            pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
                Ok(match self {
                    $(Self::$variant(tensor) => Self::$variant(tensor.reshape(shape)?),)*
                })
            }

            /// Whether both have the same element type, shape and bits.
            pub fn has_bits_of(&self, other: &Self) -> bool {
                match (self, other) {
                    // NaN equals itself here, and 0 does not equal −0.
                    (Self::F32(a), Self::F32(b)) => a.map(f32::to_bits) == b.map(f32::to_bits),
                    (Self::F64(a), Self::F64(b)) => a.map(f64::to_bits) == b.map(f64::to_bits),
                    (a, b) => a == b,
                }
            }

            /// The tensor, when its elements are of this type.
            pub fn downcast<T: Element>(&self) -> Option<&Tensor<T>> {
                let tensor: &dyn std::any::Any = match self {
                    $(Self::$variant(tensor) => tensor,)*
                };
                tensor.downcast_ref()
            }

            /// The tensor with its type found out at run time; `None` for an
            /// element type that files do not hold.
            pub fn upcast<T: Element>(tensor: &Tensor<T>) -> Option<Self> {
                let tensor: &dyn std::any::Any = tensor;
                $(if let Some(tensor) = tensor.downcast_ref::<Tensor<$type>>() {
                    return Some(Self::$variant(tensor.clone()));
                })*
                None
            }
        }

        $(impl From<Tensor<$type>> for AnyTensor {
            fn from(tensor: Tensor<$type>) -> Self {
                Self::$variant(tensor)
            }
        })*
    };
}

any_tensor! {
    F32 f32; F64 f64;
    U8 u8; U16 u16; U32 u32; U64 u64;
    I8 i8; I16 i16; I32 i32; I64 i64;
    Bool bool;
}

impl AnyTensor {
    /// The tensor with floats of this type, rounded where they are more precise;
    /// `None` when it holds no floats.
    pub(crate) fn to_float<T: Float>(&self) -> Option<Tensor<T>> {
        match self {
            Self::F32(tensor) => Some(float(tensor)),
            Self::F64(tensor) => Some(float(tensor)),
            _ => None,
        }
    }
}

/// The same tensor where the types are the same, else a conversion.
fn float<T: Float, U: Float>(tensor: &Tensor<U>) -> Tensor<T> {
    let same: Option<&Tensor<T>> = (tensor as &dyn std::any::Any).downcast_ref();
    same.cloned().unwrap_or_else(|| tensor.cast())
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
        assert!(error.contains("1 gets the name same, as another entry did"), "{error}");
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
