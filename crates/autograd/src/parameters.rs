//! Visiting the parameters and buffers of a model by name.

use std::collections::BTreeMap;

use dendra_tensor::{Float, Result};

use crate::gradients::{self, Gradients};
use crate::loading::{self, Differences};
use crate::param::{Buffer, Counter, Param, ParamId};
use crate::state::{self, StateDict};

/// One part of a model's state.
#[derive(Debug)]
pub enum Entry<'a, T: Float> {
    /// A parameter.
    Param(&'a Param<T>),
    /// A buffer.
    Buffer(&'a Buffer<T>),
    /// A buffer that counts.
    Counter(&'a Counter),
}

/// One part of a model's state, for modification.
#[derive(Debug)]
pub enum EntryMut<'a, T: Float> {
    /// A parameter.
    Param(&'a mut Param<T>),
    /// A buffer.
    Buffer(&'a mut Buffer<T>),
    /// A buffer that counts.
    Counter(&'a mut Counter),
}

/// The current path of a visit: field names and indices joined by dots.
#[derive(Default, Debug)]
pub struct Path {
    text: String,
    unwritten: bool,
}

impl Path {
    /// A path that stays empty, for visits in every step that need no names:
    /// writing them would cost more than the visit.
    pub fn unwritten() -> Self {
        Self { text: String::new(), unwritten: true }
    }

    /// The current path, such as `encoder.0.weight`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Calls `inside` with the path extended by one level.
    pub fn enter<R>(
        &mut self,
        name: impl std::fmt::Display,
        inside: impl FnOnce(&mut Self) -> R,
    ) -> R {
        use std::fmt::Write;

        if self.unwritten {
            return inside(self);
        }
        let length = self.text.len();
        let dot = if length == 0 { "" } else { "." };
        write!(self.text, "{dot}{name}").expect("writing to a string cannot fail");
        let result = inside(self);
        self.text.truncate(length);
        result
    }
}

/// Calls a function for every part of a model's state: a model whose type is
/// erased. A `dyn` of every kind of layer holds the methods of [`Parameters`], so
/// what they do is compiled once, and not for each kind.
pub(crate) type Walk<'m, T> = dyn FnMut(&mut dyn FnMut(&Path, Entry<'_, T>)) + 'm;

/// Like [`Walk`], for modification.
pub(crate) type WalkMut<'m, T> = dyn FnMut(&mut VisitorMut<'_, T>) + 'm;

type VisitorMut<'v, T> = dyn FnMut(&Path, EntryMut<'_, T>) + 'v;

fn walk_mut<T: Float, M: Parameters<T> + ?Sized>(
    model: &mut M,
) -> impl FnMut(&mut VisitorMut<'_, T>) {
    |visitor| model.visit_mut(&mut Path::default(), &mut |path, entry| visitor(path, entry))
}

#[inline(never)]
fn push_parameter<'a, T: Float>(
    found: &mut Vec<(String, &'a Param<T>)>,
    path: &Path,
    entry: Entry<'a, T>,
) {
    if let Entry::Param(param) = entry {
        found.push((path.as_str().to_owned(), param));
    }
}

#[inline(never)]
fn count_trainable<T: Float>(parameters: &[(String, &Param<T>)]) -> usize {
    let trainable = parameters.iter().filter(|(_, param)| param.is_trainable());
    trainable.map(|(_, param)| param.value().len()).sum()
}

#[inline(never)]
fn name_parameters<T: Float>(model: &mut WalkMut<'_, T>) {
    model(&mut |path, entry| {
        if let EntryMut::Param(param) = entry {
            param.set_name(path.as_str());
        }
    });
}

#[inline(never)]
fn set_trainable<T: Float>(
    model: &mut WalkMut<'_, T>,
    trainable: bool,
    belongs: &dyn Fn(&str) -> bool,
) {
    model(&mut |path, entry| {
        if let EntryMut::Param(param) = entry
            && belongs(path.as_str())
        {
            param.set_trainable(trainable);
        }
    });
}

#[inline(never)]
fn name_of<T: Float>(parameters: Vec<(String, &Param<T>)>, id: ParamId) -> Option<String> {
    parameters.into_iter().find(|(_, param)| param.id() == id).map(|(name, _)| name)
}

/// A model's state: what `#[derive(Parameters)]` implements, field by field.
///
/// Plain data (numbers, strings) has no state; `Option`, `Vec`, arrays, boxes
/// and tuples visit their elements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not known to hold parameters of type `{T}`, nor to hold none",
    note = "derive `Parameters` for it, leave it out with `#[parameters(skip)]`, or say which \
            number type the model has with `#[parameters(element = ...)]`"
)]
pub trait Parameters<T: Float = f32> {
    /// Calls `visitor` for every parameter and buffer with its path, in the
    /// order of the fields.
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>));

    /// Like [`visit`](Self::visit), for modification.
    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    );

    /// The parameters with their names, in the order of the fields.
    fn named_parameters(&self) -> Vec<(String, &Param<T>)> {
        let mut found = Vec::new();
        self.visit(&mut Path::default(), &mut |path, entry| {
            push_parameter(&mut found, path, entry);
        });
        found
    }

    /// The number of trained values.
    fn parameter_count(&self) -> usize {
        count_trainable(&self.named_parameters())
    }

    /// Stores the path of every parameter in it, so that errors can name it.
    fn name_parameters(&mut self) {
        name_parameters(&mut walk_mut(self));
    }

    /// Sets whether training changes the parameters; see
    /// [`Param::set_trainable`].
    fn set_trainable(&mut self, trainable: bool) {
        self.set_trainable_where(trainable, &|_| true);
    }

    /// Sets whether training changes the parameters whose names `belongs`
    /// accepts; the others are left as they are.
    ///
    /// ```
    /// use dendra_autograd::{Param, Parameters};
    /// use dendra_tensor::Tensor;
    ///
    /// let mut model: Vec<Param> = (0..3).map(|_| Param::new(Tensor::zeros([2]))).collect();
    /// model.set_trainable_where(false, &|name| name != "2");
    /// assert_eq!(model.parameter_count(), 2);
    /// ```
    fn set_trainable_where(&mut self, trainable: bool, belongs: &dyn Fn(&str) -> bool) {
        set_trainable(&mut walk_mut(self), trainable, belongs);
    }

    /// Applies the updates of buffers that the forward pass recorded.
    /// Optimizers call this in their step.
    ///
    /// # Errors
    ///
    /// Returns an error if an update has another shape than its buffer.
    fn apply_updates(&mut self, gradients: &Gradients<T>) -> Result<()> {
        gradients::apply_updates(&mut walk_mut(self), gradients)
    }

    /// The whole state by name.
    fn state_dict(&self) -> StateDict {
        state::state_dict(&mut |visitor| {
            self.visit(&mut Path::default(), &mut |path, entry| visitor(path, entry));
        })
    }

    /// Loads a state dict. Floats of another type are converted; a counter that
    /// is missing keeps its value, as in PyTorch.
    ///
    /// # Errors
    ///
    /// Returns an error if a name is missing or unexpected, or a tensor has
    /// another shape, an element type that is not a float, or values out of range
    /// of the model's float type. The error lists all differences. The model is
    /// then unchanged.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        loading::load_state_dict(&mut walk_mut(self), state)
    }

    /// Loads the entries that model and state dict have in common, and returns
    /// what was skipped: names that are missing or unexpected, and tensors of
    /// another shape or type. Floats of another type are converted.
    ///
    /// # Errors
    ///
    /// Returns an error if no entry matches. If the names have a prefix, remove
    /// it with [`StateDict::split_off`]; if they differ otherwise, change them
    /// with [`StateDict::renamed`].
    fn load_matching(&mut self, state: &StateDict) -> Result<Differences> {
        loading::load_matching(&mut walk_mut(self), state)
    }

    /// Further information on the model for files with its state, as text by
    /// key: a network that can be rebuilt writes its architecture. Empty by
    /// default.
    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The path of a parameter in this model.
    fn name_of(&self, id: ParamId) -> Option<String> {
        name_of(self.named_parameters(), id)
    }
}

/// A part of the state visits itself.
macro_rules! entries {
    ($($type:ty: $variant:ident;)*) => {$(
        impl<T: Float> Parameters<T> for $type {
            fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
                visitor(path, Entry::$variant(self));
            }

            fn visit_mut<'a>(
                &'a mut self,
                path: &mut Path,
                visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
            ) {
                visitor(path, EntryMut::$variant(self));
            }
        }
    )*};
}
entries! { Param<T>: Param; Buffer<T>: Buffer; Counter: Counter; }

/// The elements of a sequence are named by their indices.
impl<T: Float, M: Parameters<T>> Parameters<T> for [M] {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
        for (index, part) in self.iter().enumerate() {
            path.enter(index, |path| part.visit(path, visitor));
        }
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    ) {
        for (index, part) in self.iter_mut().enumerate() {
            path.enter(index, |path| part.visit_mut(path, visitor));
        }
    }
}

/// A container visits its content.
macro_rules! containers {
    ($([$($generics:tt)*] $type:ty: |$this:ident| $inner:expr, $inner_mut:expr;)*) => {$(
        impl<T: Float, $($generics)*> Parameters<T> for $type {
            fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
                let $this = self;
                if let Some(inner) = $inner {
                    inner.visit(path, visitor);
                }
            }

            fn visit_mut<'a>(
                &'a mut self,
                path: &mut Path,
                visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
            ) {
                let $this = self;
                if let Some(inner) = $inner_mut {
                    inner.visit_mut(path, visitor);
                }
            }

            fn metadata(&self) -> BTreeMap<String, String> {
                let $this = self;
                $inner.map(|inner| inner.metadata()).unwrap_or_default()
            }
        }
    )*};
}
containers! {
    [M: Parameters<T>] Option<M>: |this| this.as_ref(), this.as_mut();
    [M: Parameters<T>] Vec<M>: |this| Some(this.as_slice()), Some(this.as_mut_slice());
    [M: Parameters<T>, const N: usize] [M; N]:
        |this| Some(this.as_slice()), Some(this.as_mut_slice());
    [M: Parameters<T> + ?Sized] Box<M>: |this| Some(&**this), Some(&mut **this);
}

/// The elements of a tuple are named by their indices.
macro_rules! tuples {
    ($($part:ident $index:tt),*) => {
        impl<T: Float, $($part: Parameters<T>),*> Parameters<T> for ($($part,)*) {
            fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
                $(path.enter($index, |path| self.$index.visit(path, visitor));)*
            }

            fn visit_mut<'a>(
                &'a mut self,
                path: &mut Path,
                visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
            ) {
                $(path.enter($index, |path| self.$index.visit_mut(path, visitor));)*
            }
        }
    };
}
tuples! { A 0 }
tuples! { A 0, B 1 }
tuples! { A 0, B 1, C 2 }
tuples! { A 0, B 1, C 2, D 3 }

/// Plain data has no state.
macro_rules! stateless {
    ($($type:ty)*) => {$(
        impl<T: Float> Parameters<T> for $type {
            fn visit<'a>(&'a self, _: &mut Path, _: &mut dyn FnMut(&Path, Entry<'a, T>)) {}

            fn visit_mut<'a>(
                &'a mut self,
                _: &mut Path,
                _: &mut dyn FnMut(&Path, EntryMut<'a, T>),
            ) {
            }
        }
    )*};
}
stateless! { () bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 String }

#[cfg(test)]
mod tests {
    use dendra_tensor::Tensor;

    use super::*;

    struct Block {
        weight: Param,
        scale: Option<Param>,
        rest: Vec<Param>,
        running: Buffer,
        steps: Counter,
        width: usize,
    }

    impl Parameters for Block {
        fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, f32>)) {
            path.enter("weight", |path| self.weight.visit(path, visitor));
            path.enter("scale", |path| self.scale.visit(path, visitor));
            path.enter("rest", |path| self.rest.visit(path, visitor));
            path.enter("running", |path| self.running.visit(path, visitor));
            path.enter("steps", |path| self.steps.visit(path, visitor));
            path.enter("width", |path| self.width.visit(path, visitor));
        }

        fn visit_mut<'a>(
            &'a mut self,
            path: &mut Path,
            visitor: &mut dyn FnMut(&Path, EntryMut<'a, f32>),
        ) {
            path.enter("weight", |path| self.weight.visit_mut(path, visitor));
            path.enter("scale", |path| self.scale.visit_mut(path, visitor));
            path.enter("rest", |path| self.rest.visit_mut(path, visitor));
            path.enter("running", |path| self.running.visit_mut(path, visitor));
            path.enter("steps", |path| self.steps.visit_mut(path, visitor));
            path.enter("width", |path| self.width.visit_mut(path, visitor));
        }
    }

    fn block() -> Block {
        let param = || Param::new(Tensor::zeros([2, 3]));
        Block {
            weight: param(),
            scale: None,
            rest: vec![param(), param()],
            running: Buffer::new(Tensor::zeros([3])),
            steps: Counter::new(0),
            width: 7,
        }
    }

    #[test]
    fn a_walk_names_everything_in_order() {
        let block = block();
        let mut names = Vec::new();
        block.visit(&mut Path::default(), &mut |path, _| names.push(path.as_str().to_owned()));
        assert_eq!(names, ["weight", "rest.0", "rest.1", "running", "steps"]);
        names.clear();
        block.visit(&mut Path::unwritten(), &mut |path, _| names.push(path.as_str().to_owned()));
        assert_eq!(names, [""; 5]);
        assert_eq!(block.parameter_count(), 18);
        assert_eq!(block.name_of(block.rest[1].id()).as_deref(), Some("rest.1"));
        assert_eq!(block.width, 7);
    }

    #[test]
    fn parts_of_a_tuple_are_named_by_their_indices() {
        let param = || Param::new(Tensor::<f32>::zeros([2]));
        let mut pair = (param(), vec![param(), param()]);
        let names: Vec<String> =
            pair.named_parameters().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["0", "1.0", "1.1"]);
        Parameters::<f32>::set_trainable_where(&mut pair, false, &|name| name == "1.1");
        assert_eq!(Parameters::<f32>::parameter_count(&pair), 4);
    }

    #[test]
    fn frozen_parameters_do_not_count() {
        let mut block = block();
        block.name_parameters();
        assert_eq!(block.rest[0].name(), Some("rest.0"));
        block.rest.set_trainable(false);
        assert_eq!(block.parameter_count(), 6);
        block.set_trainable_where(true, &|name| name.ends_with(".1"));
        assert!(block.rest[1].is_trainable() && !block.rest[0].is_trainable());
    }
}
