//! The served models: loading, reloading when a file changes, and their
//! requests.

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

/// A served model.
pub(crate) struct Model {
    file: ModelFile,
    state: RwLock<State>,
    /// Locked while the file is read; contains the stamp of the last file read.
    loading: Mutex<Option<Stamp>>,
    pub(crate) queue: Queue,
    pub(crate) metrics: Arc<ModelMetrics>,
    log: Log,
}

/// The network, or the reason why there is none.
enum State {
    Ready(Arc<Network>),
    Unloaded(&'static str),
}

/// Identifies a version of a file: its time, its length and its number in the
/// file system. Two versions may be written within one tick of the clock.
type Stamp = (SystemTime, u64, u64);

impl Model {
    /// Loads the file and starts the threads.
    pub(crate) fn start(file: ModelFile, settings: &Settings) -> Result<Self> {
        let metrics = Arc::new(ModelMetrics::new());
        let model = Self {
            queue: Queue::start(settings, Arc::clone(&metrics)),
            metrics,
            file,
            state: RwLock::new(State::Unloaded("not loaded yet")),
            loading: Mutex::new(None),
            log: Arc::clone(&settings.log),
        };
        model.load()?;
        Ok(model)
    }

    pub(crate) fn name(&self) -> &str {
        &self.file.name
    }

    /// Loads the file. Requests in progress keep their network, and a file that
    /// cannot be loaded changes nothing.
    pub(crate) fn load(&self) -> Result<()> {
        let mut loaded = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the file, so that a change during loading is noticed.
        *loaded = self.stamp();
        match self.file.load() {
            Ok(network) => {
                self.metrics.loads.fetch_add(1, Ordering::Relaxed);
                self.set(State::Ready(Arc::new(network)));
                (self.log)(&format!("{}: loaded {}", self.name(), self.file.path.display()));
                Ok(())
            }
            Err(error) => {
                self.metrics.failed_loads.fetch_add(1, Ordering::Relaxed);
                (self.log)(&format!("{}: loading failed: {error}", self.name()));
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

    /// The network, or the reason why there is none.
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
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&about);
        #[cfg(not(unix))]
        let number = 0;
        Some((about.modified().ok()?, about.len(), number))
    }

    /// Whether the file has changed since it was last read.
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

    /// The model with this name and, if given, this version.
    pub(crate) fn get(&self, name: &str, version: Option<&str>) -> Answered<&Arc<Model>> {
        let found = self
            .0
            .iter()
            .find(|model| model.name() == name)
            .ok_or_else(|| Failure::not_found(format!("there is no model {name:?}")))?;
        match version.filter(|version| *version != VERSION) {
            None => Ok(found),
            Some(other) => {
                let message =
                    format!("expected version {VERSION} of the model {name:?}, got {other:?}");
                Err(Failure::new(StatusCode::NOT_FOUND, message))
            }
        }
    }

    /// The model with this name, or the only model.
    pub(crate) fn get_or_only(&self, name: Option<&str>) -> Answered<&Arc<Model>> {
        match (name, &self.0[..]) {
            (Some(name), _) => self.get(name, None),
            (None, [only]) => Ok(only),
            (None, _) => {
                let names: Vec<&str> = self.iter().map(|model| model.name()).collect();
                let names = names.join(", ");
                Err(Failure::bad(format!(
                    "expected a model name in the path /predict/NAME, one of {names}"
                )))
            }
        }
    }

    /// Reloads files that have changed, until `stop` is dropped. A file is
    /// loaded after two identical checks, so that a file that is still being
    /// written is not read.
    pub(crate) fn watch(&self, every: Duration, stop: &Receiver<()>) {
        let mut seen: Vec<Option<Stamp>> = vec![None; self.0.len()];
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(every) {
            for (model, seen) in self.0.iter().zip(&mut seen) {
                let changed = model.changed();
                if changed.is_some() && changed == *seen {
                    // The error is in the log, and the old network stays in
                    // use.
                    let _ = model.load();
                }
                *seen = changed;
            }
        }
    }
}
