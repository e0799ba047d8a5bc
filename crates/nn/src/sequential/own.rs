//! Custom layers: modules, networks and closures.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use dendra_autograd::{Entry, EntryMut, Parameters, Path, Var};
use dendra_tensor::{Error, Float, Result, Shape, Tensor};
use serde_json::Value;

use super::kinds::LayerSettings;
use super::plan::{AnyLayer, IntoLayer, LayerPlan, OwnLayer};
use super::{Sequential, registry};
use crate::layer::{Layer, trial, type_name};
use crate::module::Module;

/// Wraps a custom layer for a plan.
pub(super) fn layer<T: Float, L: Layer<T>>(layer: L) -> Arc<dyn OwnLayer> {
    Arc::new(Own::<T, L> {
        module: layer,
        output_shape: L::output_shape,
        description: L::description,
        element: PhantomData,
    })
}

/// Wraps a module that is not a [`Layer`] for a plan.
pub(super) fn module<T: Float, M>(module: M) -> Arc<dyn OwnLayer>
where
    M: Module<T> + Clone + Send + Sync + 'static,
{
    Arc::new(Own::<T, M> {
        module,
        output_shape: |module, input| trial(&|x| module.forward(x), input),
        description: |_| type_name::<M>().to_owned(),
        element: PhantomData,
    })
}

/// Wraps a closure for a plan.
pub(super) fn map<T: Float>(name: String, f: Function<T>) -> LayerPlan {
    LayerPlan::own(Arc::new(Map { name, f }))
}

/// Implements `Parameters` for a type by visiting one of its fields.
macro_rules! state_of {
    ([$($generics:tt)*] $type:ty: $field:tt) => {
        impl<$($generics)*> dendra_autograd::Parameters<T> for $type {
            fn visit<'a>(
                &'a self,
                path: &mut dendra_autograd::Path,
                visitor: &mut dyn FnMut(&dendra_autograd::Path, dendra_autograd::Entry<'a, T>),
            ) {
                self.$field.visit(path, visitor);
            }

            fn visit_mut<'a>(
                &'a mut self,
                path: &mut dendra_autograd::Path,
                visitor: &mut dyn FnMut(&dendra_autograd::Path, dendra_autograd::EntryMut<'a, T>),
            ) {
                self.$field.visit_mut(path, visitor);
            }
        }
    };
}
pub(super) use state_of;

/// A module with erased type, in a network with elements of type T.
struct Own<T, M> {
    module: M,
    output_shape: fn(&M, &Shape) -> Result<Shape>,
    description: fn(&M) -> String,
    element: PhantomData<fn() -> T>,
}

impl<T, M: Clone> Clone for Own<T, M> {
    fn clone(&self) -> Self {
        let &Self { ref module, output_shape, description, element } = self;
        Self { module: module.clone(), output_shape, description, element }
    }
}

state_of! { [T: Float, M: Parameters<T>] Own<T, M>: module }

impl<T: Float, M: Module<T>> Module<T> for Own<T, M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        self.module.forward(x)
    }
}

impl<T, M> fmt::Display for Own<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.description)(&self.module))
    }
}

impl<T: Float, M> OwnLayer for Own<T, M>
where
    M: Module<T> + Clone + Send + Sync + 'static,
{
    fn kind(&self) -> &str {
        type_name::<M>()
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        (self.output_shape)(&self.module, input)
    }

    fn layer(&self) -> Box<dyn Any> {
        erased::<T>(self)
    }

    fn element(&self) -> &'static str {
        T::NAME
    }

    fn saved(&self) -> std::result::Result<Value, String> {
        registry::write(&self.module, type_name::<M>())
    }

    fn blank(&self) -> Arc<dyn OwnLayer> {
        let mut copy = self.clone();
        forget_values(&mut copy);
        Arc::new(copy)
    }
}

/// Copies a layer; see [`OwnLayer::layer`].
fn erased<T: Float>(layer: &dyn AnyLayer<T>) -> Box<dyn Any> {
    Box::new(layer.copy())
}

/// Replaces all values with zeros that take no memory.
fn forget_values<T: Float>(model: &mut dyn Parameters<T>) {
    model.visit_mut(&mut Path::default(), &mut |_, entry| {
        let value = match entry {
            EntryMut::Param(param) => param.value_mut(),
            EntryMut::Buffer(buffer) => buffer.value_mut(),
            EntryMut::Counter(_) => return,
        };
        if let Ok(blank) = Tensor::scalar(T::ZERO).broadcast_to(value.shape().clone()) {
            *value = blank;
        }
    });
}

/// A network as a layer of another network.
impl<T: Float> OwnLayer for Sequential<T> {
    fn kind(&self) -> &str {
        "Sequential"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if input == self.input_shape() {
            return Ok(self.output_shape().clone());
        }
        Err(Error::shape("", format!("expected {}, got {input}", self.input_shape())))
    }

    fn layer(&self) -> Box<dyn Any> {
        erased::<T>(self)
    }

    fn element(&self) -> &'static str {
        T::NAME
    }

    fn saved(&self) -> std::result::Result<Value, String> {
        let settings = LayerSettings::Sequential(self.plan().into());
        serde_json::to_value(settings).map_err(|error| error.to_string())
    }

    fn blank(&self) -> Arc<dyn OwnLayer> {
        let mut copy = self.clone();
        forget_values(&mut copy);
        Arc::new(copy)
    }
}

impl<T: Float> IntoLayer for Sequential<T> {
    fn into_layer(self) -> LayerPlan {
        LayerPlan::own(Arc::new(self))
    }
}

/// The type of a closure that is a layer.
pub(super) type Function<T> = Arc<dyn Fn(&Var<T>) -> Result<Var<T>> + Send + Sync>;

/// A closure as a layer.
#[derive(Clone)]
struct Map<T: Float> {
    name: String,
    f: Function<T>,
}

impl<T: Float> Parameters<T> for Map<T> {
    fn visit<'a>(&'a self, _: &mut Path, _: &mut dyn FnMut(&Path, Entry<'a, T>)) {}

    fn visit_mut<'a>(&'a mut self, _: &mut Path, _: &mut dyn FnMut(&Path, EntryMut<'a, T>)) {}
}

impl<T: Float> Module<T> for Map<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        (self.f)(x)
    }
}

impl<T: Float> fmt::Display for Map<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<T: Float> OwnLayer for Map<T> {
    fn kind(&self) -> &str {
        &self.name
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        trial(&*self.f, input)
    }

    fn layer(&self) -> Box<dyn Any> {
        erased::<T>(self)
    }

    fn element(&self) -> &'static str {
        T::NAME
    }

    fn saved(&self) -> std::result::Result<Value, String> {
        Err(format!("a closure cannot be saved: {}", registry::STATE_ALONE))
    }

    fn blank(&self) -> Arc<dyn OwnLayer> {
        Arc::new(self.clone())
    }
}
