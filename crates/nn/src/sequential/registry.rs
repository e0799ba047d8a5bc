//! Kinds of custom layers that files can hold.

use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dendra_tensor::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};

use super::kinds::LayerSettings;
use super::plan::OwnLayer;
use crate::layer::Layer;

/// The advice for a network whose architecture no file can hold.
pub(super) const STATE_ALONE: &str =
    "save the state alone with `save`, and `load` it into a model built in code";

/// A [`Layer`] that can be made of its settings, so that a file can hold it.
///
/// [`register_layer`] makes its kind known to this program; then
/// [`Sequential::save`](crate::Sequential::save) and
/// [`load`](crate::Sequential::load) know it.
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
    message = "files cannot hold layers of type `{Self}`",
    note = "implement `SavedLayer` for it: a name, its settings, and how it is made of them"
)]
pub trait SavedLayer: Layer {
    /// Its name in files.
    const KIND: &'static str;

    /// The settings that a file holds besides the parameters: a number, a
    /// tuple, or any other type that serde writes and reads.
    type Settings: Serialize + DeserializeOwned;

    /// The settings that make such a layer.
    fn settings(&self) -> Self::Settings;

    /// A layer of these settings, whose parameters are about to be loaded.
    ///
    /// # Errors
    ///
    /// When the settings are wrong: they come from a file, so sizes that no
    /// memory holds are refused before they are asked for, as `init` of the
    /// library's layers does.
    fn from_settings(settings: Self::Settings) -> Result<Self>;
}

/// A registered kind.
struct Registered {
    kind: &'static str,
    layer: TypeId,
    write: fn(&dyn Any) -> serde_json::Result<Value>,
    read: fn(&Value) -> std::result::Result<Arc<dyn OwnLayer>, String>,
}

/// All kinds that this program has registered.
static KINDS: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

fn kinds() -> MutexGuard<'static, Vec<Registered>> {
    // Nothing panics between two changes of the list.
    KINDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells this program a kind of layer, so that networks with such layers are
/// saved and loaded with their architecture; see [`SavedLayer`]. Call it at the
/// start of the program; a second call changes nothing.
///
/// # Errors
///
/// When the library, or another type, has a kind of this name.
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
        let message = format!("there is another kind of layer named {:?}", new.kind);
        return Err(Error::argument("register_layer", message));
    }
    kinds.push(new);
    Ok(())
}

/// The part of a layer of the type `name` that a file holds, or the reason why
/// it cannot.
pub(super) fn write(layer: &dyn Any, name: &str) -> std::result::Result<Value, String> {
    let kinds = kinds();
    let Some(found) = kinds.iter().find(|kind| kind.layer == layer.type_id()) else {
        return Err(format!(
            "{name} is no registered kind of layer, so a file cannot hold it: implement \
             SavedLayer and call register_layer::<{name}>(), or {STATE_ALONE}"
        ));
    };
    let (kind, write) = (found.kind, found.write);
    drop(kinds);
    let settings = write(layer).map_err(|error| format!("the settings of {name}: {error}"))?;
    Ok(json!({ "kind": kind, "settings": settings }))
}

/// The layer of a kind that a file holds.
pub(super) fn read(kind: &str, value: &Value) -> std::result::Result<Arc<dyn OwnLayer>, String> {
    let read = kinds().iter().find(|known| known.kind == kind).map(|known| known.read);
    let read = read.ok_or_else(|| {
        format!(
            "unknown kind of layer {kind:?}: it is of a newer version, or of a program that \
             calls register_layer before it loads"
        )
    })?;
    let settings = value.get("settings").unwrap_or(&Value::Null);
    read(settings).map_err(|error| format!("a layer of kind {kind:?}: {error}"))
}
