//! [`Settings`] and [`ModelFile`]: what is served, where and within what limits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dendra_deploy::Network;
use dendra_tensor::Result;

/// Where a server listens, who may ask, and the limits that keep its memory and
/// its time bounded.
///
/// ```
/// use dendra_serve::Settings;
///
/// let settings = Settings { token: Some("a long secret".to_owned()), ..Settings::default() };
/// assert!(settings.address.ip().is_loopback());
/// ```
#[derive(Clone)]
pub struct Settings {
    /// The address; port 8000 on the loopback interface by default, which only
    /// programs of this machine reach. Port 0 takes any free one.
    pub address: SocketAddr,
    /// The token that requests must carry as `Authorization: Bearer TOKEN`; none
    /// by default.
    pub token: Option<String>,
    /// The largest body of a request in bytes; 32 MiB by default.
    pub largest_body: usize,
    /// The bytes of bodies that may be held at once, by all requests together;
    /// 256 MiB by default. Requests beyond get status 503.
    pub body_memory: usize,
    /// The most connections at once; 512 by default. Others wait to be accepted.
    pub connections: usize,
    /// The most requests that wait for a model; 256 by default. Requests beyond
    /// get status 429.
    pub queue: usize,
    /// The most samples that are computed together; 64 by default. 1 turns
    /// batching off.
    pub batch: usize,
    /// How long a request waits for others to be computed with, if others are on
    /// their way; 1 ms by default.
    pub batch_delay: Duration,
    /// The threads that compute for each model; 1 by default. Large networks use
    /// all cores from a single one.
    pub workers: usize,
    /// The time from the end of a request's head until its answer; 30 s by
    /// default. Requests that take longer get status 408 while their body is
    /// read, and 503 later.
    pub timeout: Duration,
    /// How long a connection may be silent in the middle of a head or of an
    /// answer, or between two requests; 15 s by default.
    pub silence: Duration,
    /// How long unfinished requests may take after the server was told to stop;
    /// 30 s by default.
    pub grace: Duration,
    /// How often the models' files are looked at for changes; 2 s by default,
    /// never with `None`.
    pub watch: Option<Duration>,
    /// Gets a line for each event: a model that was loaded or could not be, the
    /// start and the end.
    pub log: Log,
}

/// What gets the lines of a server's log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            token: None,
            largest_body: 32 << 20,
            body_memory: 256 << 20,
            connections: 512,
            queue: 256,
            batch: 64,
            batch_delay: Duration::from_millis(1),
            workers: 1,
            timeout: Duration::from_secs(30),
            silence: Duration::from_secs(15),
            grace: Duration::from_secs(30),
            watch: Some(Duration::from_secs(2)),
            log: Arc::new(|_| ()),
        }
    }
}

/// The token is not shown.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Settings");
        debug.field("address", &self.address).field("token", &self.token.as_ref().map(|_| "…"));
        debug.field("largest_body", &self.largest_body).field("body_memory", &self.body_memory);
        debug.field("connections", &self.connections).field("queue", &self.queue);
        debug.field("batch", &self.batch).field("batch_delay", &self.batch_delay);
        debug.field("workers", &self.workers).field("timeout", &self.timeout);
        debug.field("silence", &self.silence).field("grace", &self.grace);
        debug.field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// A model that is served: its file under a name.
#[derive(Clone)]
pub struct ModelFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) adjust: Adjust,
}

/// What changes a network after it was read.
type Adjust = Arc<dyn Fn(Network) -> Result<Network> + Send + Sync>;

impl ModelFile {
    /// A file that is served under a name, which stands in addresses.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into(), adjust: Arc::new(Ok) }
    }

    /// A file that is served under its own name without the extension.
    pub fn at(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::new(name, path)
    }

    /// Changes the network each time it was read: gives an ONNX model the names
    /// of its classes or a preprocessing, say.
    #[must_use]
    pub fn adjusted(
        mut self,
        adjust: impl Fn(Network) -> Result<Network> + Send + Sync + 'static,
    ) -> Self {
        self.adjust = Arc::new(adjust);
        self
    }

    pub(crate) fn load(&self) -> Result<Network> {
        (self.adjust)(Network::load(&self.path)?)
    }
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ModelFile");
        debug.field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}
