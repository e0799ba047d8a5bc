//! A layer that waits until a test releases it, and one that panics.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Condvar, Mutex};

use dendra_nn::autograd::Var;
use dendra_nn::{Layer, Module, Parameters, SavedLayer, Sequential, register_layer};
use dendra_tensor::{Result, Rng, Shape};

/// The waiting layers.
static CLOSED: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
static CHANGED: Condvar = Condvar::new();

#[derive(Clone, Parameters)]
#[parameters(crate = dendra_nn)]
struct Held {
    #[parameters(skip)]
    id: u64,
}

impl Module for Held {
    fn forward(&self, x: &Var) -> Result<Var> {
        assert!(x.value().to_vec().iter().all(|x| *x < 1000.0), "a layer that fails");
        let mut closed = CLOSED.lock().unwrap();
        while closed.contains(&self.id) {
            closed = CHANGED.wait(closed).unwrap();
        }
        Ok(x.clone())
    }
}

impl Layer for Held {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(input.clone())
    }
}

impl SavedLayer for Held {
    const KIND: &'static str = "Held";
    type Settings = u64;

    fn settings(&self) -> u64 {
        self.id
    }

    fn from_settings(id: u64) -> Result<Self> {
        Ok(Self { id })
    }
}

/// Writes a model that returns its four inputs, waits while the test of this
/// `id` holds it, and panics for numbers above 1000.
pub(crate) fn save(id: u64, path: &Path) {
    register_layer::<Held>().unwrap();
    let model = Sequential::input([4]).layer(Held { id }).build(&mut Rng::seed(0)).unwrap();
    model.save(path).unwrap();
}

/// Blocks the layers of an `id` until it is dropped.
pub(crate) struct Hold(u64);

pub(crate) fn hold(id: u64) -> Hold {
    CLOSED.lock().unwrap().insert(id);
    Hold(id)
}

impl Drop for Hold {
    fn drop(&mut self) {
        CLOSED.lock().unwrap().remove(&self.0);
        CHANGED.notify_all();
    }
}
