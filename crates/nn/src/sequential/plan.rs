//! The plan of a layer, and the built layer.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use dendra_tensor::{Error, Float, Result, Shape};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Value;

use super::kinds::LayerSettings;
use super::registry;
use crate::init::Source;
use crate::layer::Layer;
use crate::module::Module;

/// A built layer of a network, with erased type.
pub(super) trait AnyLayer<T: Float>: Module<T> + fmt::Display + Send + Sync {
    fn copy(&self) -> Box<dyn AnyLayer<T>>;

    fn as_any(&self) -> &dyn Any;
}

impl<T: Float, L> AnyLayer<T> for L
where
    L: Module<T> + Clone + fmt::Display + Send + Sync + 'static,
{
    fn copy(&self) -> Box<dyn AnyLayer<T>> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The argument of [`SequentialBuilder::layer`](super::SequentialBuilder::layer):
/// the settings of a layer, a custom [`Layer`], or a
/// [`Sequential`](super::Sequential).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a layer of a `Sequential`",
    label = "expected the settings of a layer, a built `Sequential`, or a type that implements \
             `Layer`",
    note = "a layer of Dendra is given by its settings, before `init`: \
            `.layer(Linear::lazy(64).bias(false))`; after `init` it is added with `module`",
    note = "a module of your own needs `impl Layer for {Self} {{}}` and `Clone`; one of another \
            number type is added with `layer_as`"
)]
pub trait IntoLayer {
    /// Converts it to the plan of a layer.
    fn into_layer(self) -> LayerPlan;
}

/// The plan of a layer, before `build`; see [`IntoLayer`].
#[derive(Clone)]
pub struct LayerPlan(Origin);

/// The origin of a layer.
#[derive(Clone)]
enum Origin {
    /// A kind of this library.
    Kind(Box<LayerSettings>),
    /// Custom code.
    Own(Arc<dyn OwnLayer>),
}

/// A layer that is not in the table of kinds, for any float type.
pub(super) trait OwnLayer: Send + Sync {
    fn kind(&self) -> &str;

    fn output_shape(&self, input: &Shape) -> Result<Shape>;

    /// Copies the layer. The result is a `Box<dyn AnyLayer<T>>`.
    fn layer(&self) -> Box<dyn Any>;

    /// Returns the name of the element type T.
    fn element(&self) -> &'static str;

    /// Serialises the layer, or returns the reason why it cannot be saved.
    fn saved(&self) -> std::result::Result<Value, String>;

    /// Copies the layer without the values of its parameters. The built network
    /// has those.
    fn blank(&self) -> Arc<dyn OwnLayer>;
}

impl LayerPlan {
    pub(super) fn own(layer: Arc<dyn OwnLayer>) -> Self {
        Self(Origin::Own(layer))
    }

    pub(super) fn kind(&self) -> &str {
        match &self.0 {
            Origin::Kind(settings) => settings.kind(),
            Origin::Own(own) => own.kind(),
        }
    }

    /// Fills in the sizes that depend on the input and returns the output shape.
    pub(super) fn infer(&mut self, input: &Shape) -> Result<Shape> {
        match &mut self.0 {
            Origin::Kind(settings) => settings.infer(input),
            Origin::Own(own) => own.output_shape(input),
        }
    }

    pub(super) fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Box<dyn AnyLayer<T>>> {
        match &self.0 {
            Origin::Kind(settings) => settings.build(source),
            Origin::Own(own) => match own.layer().downcast() {
                Ok(layer) => Ok(*layer),
                Err(_) => {
                    let message = format!(
                        "the layer has elements of type {}, the network of type {}",
                        own.element(),
                        T::NAME
                    );
                    Err(Error::argument("", message))
                }
            },
        }
    }

    /// Returns the plan without parameter values, for the built network.
    pub(super) fn blank(self) -> Self {
        match self.0 {
            Origin::Own(own) => Self(Origin::Own(own.blank())),
            kind => Self(kind),
        }
    }
}

impl IntoLayer for LayerSettings {
    fn into_layer(self) -> LayerPlan {
        LayerPlan(Origin::Kind(Box::new(self)))
    }
}

impl IntoLayer for LayerPlan {
    fn into_layer(self) -> LayerPlan {
        self
    }
}

impl<L: Layer> IntoLayer for L {
    fn into_layer(self) -> LayerPlan {
        LayerPlan::own(super::own::layer::<f32, L>(self))
    }
}

impl fmt::Debug for LayerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Kind(settings) => settings.fmt(f),
            Origin::Own(own) => f.write_str(own.kind()),
        }
    }
}

/// A custom layer is equal only to itself.
impl PartialEq for LayerPlan {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Origin::Kind(one), Origin::Kind(other)) => one == other,
            (Origin::Own(one), Origin::Own(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Serialize for LayerPlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Origin::Kind(settings) => settings.serialize(serializer),
            Origin::Own(own) => own.saved().map_err(S::Error::custom)?.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LayerPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let kind = value.get("kind").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| D::Error::custom("expected a layer with a `kind`"))?;
        if LayerSettings::KINDS.contains(&kind) {
            let settings = LayerSettings::deserialize(value).map_err(D::Error::custom)?;
            return Ok(Self(Origin::Kind(Box::new(settings))));
        }
        let own = registry::read(kind, &value).map_err(D::Error::custom)?;
        Ok(Self(Origin::Own(own)))
    }
}
