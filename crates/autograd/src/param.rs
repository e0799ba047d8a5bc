//! The state of a model: `Param`, which is trained, and `Buffer`, which is not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dendra_tensor::{Error, Float, Result, Tensor};

use crate::var::Var;

/// A number that is unique among the parameters and buffers of this process.
fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The identity of a [`Param`], by which its gradient is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParamId(u64);

/// The identity of a [`Buffer`], by which its updates are found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BufferId(u64);

/// A tensor that training changes.
///
/// A clone is a new parameter: it has the same value and another identity, so a
/// copy of a model is trained independently of the original. To share weights,
/// use one parameter several times in `forward`.
pub struct Param<T: Float = f32> {
    id: ParamId,
    name: Option<Arc<str>>,
    value: Tensor<T>,
    trainable: bool,
}

impl<T: Float> Param<T> {
    /// A trainable parameter.
    pub fn new(value: Tensor<T>) -> Self {
        Self { id: ParamId(fresh_id()), name: None, value, trainable: true }
    }

    /// Its identity.
    pub fn id(&self) -> ParamId {
        self.id
    }

    /// Its path in the model, such as `fc1.weight`, after a call of
    /// [`name_parameters`](crate::Parameters::name_parameters).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        if self.name() != Some(name) {
            self.name = Some(name.into());
        }
    }

    /// Its value.
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// Its value, for modification in place.
    pub fn value_mut(&mut self) -> &mut Tensor<T> {
        &mut self.value
    }

    /// Replaces its value by another of the same shape.
    ///
    /// # Errors
    ///
    /// Returns an error if the shape differs.
    pub fn set(&mut self, value: Tensor<T>) -> Result<()> {
        if value.shape() != self.value.shape() {
            let name = self.name().unwrap_or("parameter").to_owned();
            let message = format!("expected shape {}, got {}", self.value.shape(), value.shape());
            return Err(Error::shape(name, message));
        }
        self.value = value;
        Ok(())
    }

    /// Whether training changes it.
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }

    /// Sets whether training changes it.
    pub fn set_trainable(&mut self, trainable: bool) {
        self.trainable = trainable;
    }

    /// The parameter as a variable for use with `x`. If `x` is on a tape, the
    /// parameter joins that tape on first use; otherwise it is a plain value. A
    /// frozen parameter joins no tape.
    pub fn on(&self, x: &Var<T>) -> Var<T> {
        match x.tape() {
            Some(tape) if self.trainable || tape.is_tracing() => tape.parameter(self),
            Some(tape) => tape.input(self.value.clone()),
            None => Var::new(self.value.clone()),
        }
    }
}

impl<T: Float> Clone for Param<T> {
    fn clone(&self) -> Self {
        Self {
            id: ParamId(fresh_id()),
            name: self.name.clone(),
            value: self.value.clone(),
            trainable: self.trainable,
        }
    }
}

impl<T: Float> fmt::Debug for Param<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frozen = if self.trainable { "" } else { " (frozen)" };
        write!(f, "Param {} {}{frozen}", self.name().unwrap_or("(unnamed)"), self.value.shape())
    }
}

/// A tensor that belongs to the model's state but is not trained, such as the
/// running statistics of batch normalisation.
///
/// `forward` does not change it: it records an update on the tape, which is
/// returned with the gradients and applied with them.
pub struct Buffer<T: Float = f32> {
    id: BufferId,
    value: Tensor<T>,
}

impl<T: Float> Buffer<T> {
    /// A buffer with this value.
    pub fn new(value: Tensor<T>) -> Self {
        Self { id: BufferId(fresh_id()), value }
    }

    /// Its identity.
    pub fn id(&self) -> BufferId {
        self.id
    }

    /// Its value.
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// Its value, for modification in place.
    pub fn value_mut(&mut self) -> &mut Tensor<T> {
        &mut self.value
    }
}

/// A new buffer with the same value.
impl<T: Float> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self::new(self.value.clone())
    }
}

impl<T: Float> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer {}", self.value.shape())
    }
}

/// A buffer that counts, such as the number of steps of batch normalisation.
#[derive(Debug)]
pub struct Counter {
    id: BufferId,
    value: i64,
}

impl Counter {
    /// A counter that starts at `value`.
    pub fn new(value: i64) -> Self {
        Self { id: BufferId(fresh_id()), value }
    }

    /// Its identity.
    pub fn id(&self) -> BufferId {
        self.id
    }

    /// The count.
    pub fn value(&self) -> i64 {
        self.value
    }

    /// The count, for modification in place.
    pub fn value_mut(&mut self) -> &mut i64 {
        &mut self.value
    }
}

/// A new counter with the same count.
impl Clone for Counter {
    fn clone(&self) -> Self {
        Self::new(self.value)
    }
}
