//! The registry of custom layer kinds that files can store.

use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dendra_tensor::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};

use super::kinds::LayerSettings;
use super::plan::OwnLayer;
use crate::layer::Layer;

/// The advice in errors for a network whose architecture cannot be saved.
pub(super) const STATE_ALONE: &str =
    "save only the state with `save`, and `load` it into a model built in code";

/// A [`Layer`] that can be created from its settings, so that a file can store it.
///
/// After a call of [`register_layer`],
/// [`Sequential::save`](crate::Sequential::save) and
/// [`load`](crate::Sequential::load) support this kind of layer.
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Ops, Result, Rng};
/// use dendra_nn::{Layer, Linear, Module, Parameters, SavedLayer, Sequential, register_layer};
///
/// #[derive(Clone, Parameters)]
/// #[parameters(crate = dendra_nn)]
/// struct Gate {
///     fc: Linear,
/// }
///
/// impl Gate {
///     fn new(width: usize, rng: &mut Rng) -> Result<Self> {
///         Ok(Self { fc: Linear::new(width, width).init(rng)? })
///     }
/// }
///
/// impl Module for Gate {
///     fn forward(&self, x: &Var) -> Result<Var> {
///         x.mul(&self.fc.forward(x)?.sigmoid())
///     }
/// }
///
/// impl Layer for Gate {}
///
/// impl SavedLayer for Gate {
///     const KIND: &'static str = "Gate";
///     type Settings = usize;
///
///     fn settings(&self) -> usize {
///         self.fc.weight.value().shape()[0]
///     }
///
///     fn from_settings(width: usize) -> Result<Self> {
///         Self::new(width, &mut Rng::seed(0))
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("net.safetensors");
/// register_layer::<Gate>()?;
/// let mut rng = Rng::seed(42);
/// let gate = Gate::new(8, &mut rng)?;
/// let model = Sequential::input([4]).dense(8).layer(gate).dense(2).build(&mut rng)?;
/// model.save(&path)?;
/// assert_eq!(Sequential::load(&path)?.state_dict(), model.state_dict());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "layers of type `{Self}` cannot be saved in files",
    note = "implement `SavedLayer` for it: a name, the settings, and their conversion to a layer"
)]
pub trait SavedLayer: Layer {
    /// The name of this layer kind in files.
    const KIND: &'static str;

    /// The type of the settings, which a file stores in addition to the
    /// parameters: a number, a tuple, or any other type that serde supports.
    type Settings: Serialize + DeserializeOwned;

    /// Returns the settings of this layer.
    fn settings(&self) -> Self::Settings;

    /// Creates a layer with these settings. Its parameters are loaded afterwards.
    ///
    /// # Errors
    ///
    /// Returns an error if the settings are invalid. They come from a file, so an
    /// implementation must reject sizes that do not fit into memory before it
    /// allocates. `init` of the layers of this library does this.
    fn from_settings(settings: Self::Settings) -> Result<Self>;
}

/// A registered layer kind.
struct Registered {
    kind: &'static str,
    layer: TypeId,
    write: fn(&dyn Any) -> serde_json::Result<Value>,
    read: fn(&Value) -> std::result::Result<Arc<dyn OwnLayer>, String>,
}

/// All registered layer kinds of this program.
static KINDS: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

fn kinds() -> MutexGuard<'static, Vec<Registered>> {
    // The list is valid even after a panic: each change is a single push.
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a kind of layer, so that networks with such layers can be saved and
/// loaded with their architecture; see [`SavedLayer`]. Call it at the start of
/// the program. Repeated calls have no effect.
///
/// # Errors
///
/// Returns an error if this library or another type has a kind of this name.
pub fn register_layer<L: SavedLayer>() -> Result<()> {
    let new = Registered {
        kind: L::KIND,
        layer: TypeId::of::<L>(),
        write: |layer| match layer.downcast_ref::<L>() {
            Some(layer) => serde_json::to_value(layer.settings()),
            None => Ok(Value::Null),
        },
        read: |settings| {
            let settings = L::Settings::deserialize(settings).map_err(|error| error.to_string())?;
            let layer = L::from_settings(settings).map_err(|error| error.to_string())?;
            Ok(super::own::layer::<f32, L>(layer))
        },
    };
    add(new)
}

fn add(new: Registered) -> Result<()> {
    let mut kinds = kinds();
    let taken = kinds.iter().find(|old| old.kind == new.kind);
    if taken.is_some_and(|old| old.layer == new.layer) {
        return Ok(());
    }
    if taken.is_some() || LayerSettings::KINDS.contains(&new.kind) {
        let message = format!("another kind of layer is already named {:?}", new.kind);
        return Err(Error::argument("register_layer", message));
    }
    kinds.push(new);
    Ok(())
}

/// Serialises the kind and the settings of a layer of type `name`, or returns the
/// reason why it cannot be saved.
pub(super) fn write(layer: &dyn Any, name: &str) -> std::result::Result<Value, String> {
    let kinds = kinds();
    let Some(found) = kinds.iter().find(|kind| kind.layer == layer.type_id()) else {
        return Err(format!(
            "{name} is not a registered kind of layer, so it cannot be saved: implement \
             SavedLayer and call register_layer::<{name}>(), or {STATE_ALONE}"
        ));
    };
    let (kind, write) = (found.kind, found.write);
    drop(kinds);
    let settings = write(layer).map_err(|error| format!("the settings of {name}: {error}"))?;
    Ok(json!({ "kind": kind, "settings": settings }))
}

/// Creates a layer of the given kind from its value in a file.
pub(super) fn read(kind: &str, value: &Value) -> std::result::Result<Arc<dyn OwnLayer>, String> {
    let read = kinds().iter().find(|known| known.kind == kind).map(|known| known.read);
    let read = read.ok_or_else(|| {
        format!(
            "unknown kind of layer {kind:?}: the file comes from a newer version, or the kind must \
             be registered with register_layer before loading"
        )
    })?;
    let settings = value.get("settings").unwrap_or(&Value::Null);
    read(settings).map_err(|error| format!("a layer of kind {kind:?}: {error}"))
}
