//! A layer to be, of whatever origin, and the layer that is made of it.

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

/// A layer of a network, of any type.
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

/// What [`SequentialBuilder::layer`](super::SequentialBuilder::layer) takes:
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
    /// The layer to be.
    fn into_layer(self) -> LayerPlan;
}

/// A layer to be; see [`IntoLayer`].
#[derive(Clone)]
pub struct LayerPlan(Origin);

/// The origin of a layer.
#[derive(Clone)]
enum Origin {
    /// The table of kinds.
    Kind(Box<LayerSettings>),
    /// Somebody's code.
    Own(Arc<dyn OwnLayer>),
}

/// A custom layer of any float type, which is not in the table of kinds.
pub(super) trait OwnLayer: Send + Sync {
    fn kind(&self) -> &str;

    fn output_shape(&self, input: &Shape) -> Result<Shape>;

    /// A copy of it: a `Box<dyn AnyLayer<T>>`.
    fn layer(&self) -> Box<dyn Any>;

    /// The name of T.
    fn element(&self) -> &'static str;

    /// The part of it that files hold, or the reason why they cannot.
    fn saved(&self) -> std::result::Result<Value, String>;

    /// The same without the values of its parameters, which the network has.
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

    /// Fills in what the input decides, and gives the shape of the output.
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
                        "it is a layer of {}, and the network is built of {}",
                        own.element(),
                        T::NAME
                    );
                    Err(Error::argument("", message))
                }
            },
        }
    }

    /// The plan as the built network keeps it.
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
        let kind = kind.ok_or_else(|| D::Error::custom("a layer has no kind"))?;
        if LayerSettings::KINDS.contains(&kind) {
            let settings = LayerSettings::deserialize(value).map_err(D::Error::custom)?;
            return Ok(Self(Origin::Kind(Box::new(settings))));
        }
        let own = registry::read(kind, &value).map_err(D::Error::custom)?;
        Ok(Self(Origin::Own(own)))
    }
}
