//! The models that are served: reading their files again, and requests for them.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use dendra_deploy::Network;
use dendra_tensor::{Error, Result};

use crate::failure::{Answered, Failure};
use crate::metrics::ModelMetrics;
use crate::queue::Queue;
use crate::settings::{Log, ModelFile, Settings};

/// The version of every model.
pub(crate) const VERSION: &str = "1";

/// A model that is served.
pub(crate) struct Model {
    file: ModelFile,
    state: RwLock<State>,
    /// Held while the file is read, and what was read last.
    loading: Mutex<Option<Stamp>>,
    pub(crate) queue: Queue,
    pub(crate) metrics: Arc<ModelMetrics>,
    log: Log,
}

/// Whether there is a network, and otherwise why not.
enum State {
    Ready(Arc<Network>),
    Unloaded(&'static str),
}

/// What tells one state of a file from another.
type Stamp = (SystemTime, u64);

impl Model {
    /// Reads the file and starts the threads.
    pub(crate) fn start(file: ModelFile, settings: &Settings) -> Result<Self> {
        let metrics = Arc::new(ModelMetrics::new());
        let model = Self {
            queue: Queue::start(settings, Arc::clone(&metrics)),
            metrics,
            file,
            state: RwLock::new(State::Unloaded("was not read yet")),
            loading: Mutex::new(None),
            log: Arc::clone(&settings.log),
        };
        model.load()?;
        Ok(model)
    }

    pub(crate) fn name(&self) -> &str {
        &self.file.name
    }

    /// Reads the file; requests that have begun keep the network that they have,
    /// and a file that cannot be read changes nothing.
    pub(crate) fn load(&self) -> Result<()> {
        let mut loaded = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before, so that a change while the file is read is noticed.
        *loaded = self.stamp();
        match self.file.load() {
            Ok(network) => {
                self.metrics.loads.fetch_add(1, Ordering::Relaxed);
                self.set(State::Ready(Arc::new(network)));
                (self.log)(&format!("{}: read {}", self.name(), self.file.path.display()));
                Ok(())
            }
            Err(error) => {
                self.metrics.failed_loads.fetch_add(1, Ordering::Relaxed);
                (self.log)(&format!("{}: could not be read: {error}", self.name()));
                Err(error)
            }
        }
    }

    /// Drops the network until it is loaded again.
    pub(crate) fn unload(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(State::Unloaded("unloaded"));
        (self.log)(&format!("{}: unloaded", self.name()));
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The network, or why there is none.
    pub(crate) fn network(&self) -> Answered<Arc<Network>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(network) => Ok(Arc::clone(network)),
            State::Unloaded(reason) => {
                let message = format!("the model `{}` is not ready: {reason}", self.name());
                Err(Failure::unavailable(message))
            }
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.network().is_ok()
    }

    fn stamp(&self) -> Option<Stamp> {
        let about = std::fs::metadata(&self.file.path).ok()?;
        Some((about.modified().ok()?, about.len()))
    }

    /// Whether the file is another one than was read last.
    fn changed(&self) -> Option<Stamp> {
        let loaded = *self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.stamp().filter(|stamp| Some(*stamp) != loaded && self.is_ready())
    }
}

/// All models, in the order in which they were given.
pub(crate) struct Models(Vec<Arc<Model>>);

impl Models {
    pub(crate) fn start(files: Vec<ModelFile>, settings: &Settings) -> Result<Self> {
        let refuse = |message: String| Err(Error::argument("Server::start", message));
        if files.is_empty() {
            return refuse("expected at least one model".to_owned());
        }
        for (index, file) in files.iter().enumerate() {
            if file.name.is_empty() {
                return refuse(format!("the model at {} has no name", file.path.display()));
            }
            if files[..index].iter().any(|other| other.name == file.name) {
                return refuse(format!("two models have the name {:?}", file.name));
            }
        }
        let start = |file: ModelFile| Model::start(file, settings).map(Arc::new);
        Ok(Self(files.into_iter().map(start).collect::<Result<_>>()?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.0.iter()
    }

    /// The model of a name and, if it is stated, a version.
    pub(crate) fn get(&self, name: &str, version: Option<&str>) -> Answered<&Arc<Model>> {
        let found = self
            .0
            .iter()
            .find(|model| model.name() == name)
            .ok_or_else(|| Failure::not_found(format!("there is no model {name:?}")))?;
        match version.filter(|version| *version != VERSION) {
            None => Ok(found),
            Some(other) => {
                let message = format!("the model {name:?} has version {VERSION}, not {other:?}");
                Err(Failure::new(StatusCode::NOT_FOUND, message))
            }
        }
    }

    /// The model of a name, or the only one.
    pub(crate) fn get_or_only(&self, name: Option<&str>) -> Answered<&Arc<Model>> {
        match (name, &self.0[..]) {
            (Some(name), _) => self.get(name, None),
            (None, [only]) => Ok(only),
            (None, _) => {
                let names: Vec<&str> = self.iter().map(|model| model.name()).collect();
                let names = names.join(", ");
                Err(Failure::bad(format!("name one of the models: /predict/NAME, of {names}")))
            }
        }
    }

    /// Reads files that have changed, until `stop` is dropped. A file is read
    /// when it was the same twice, so that one that is being written is left
    /// alone.
    pub(crate) fn watch(&self, every: Duration, stop: &Receiver<()>) {
        let mut seen: Vec<Option<Stamp>> = vec![None; self.0.len()];
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(every) {
            for (model, seen) in self.0.iter().zip(&mut seen) {
                let changed = model.changed();
                if changed.is_some() && changed == *seen {
                    // The log has the error; the old network goes on.
                    let _ = model.load();
                }
                *seen = changed;
            }
        }
    }
}
