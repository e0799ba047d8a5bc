//! [`Settings`] and [`ModelFile`]: the served models, the address and the
//! limits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dendra_deploy::Network;
use dendra_tensor::Result;

/// The address of a server, its access token, and the limits on its memory and
/// time.
///
/// ```
/// use dendra_serve::Settings;
///
/// let settings = Settings { token: Some("a long secret".to_owned()), ..Settings::default() };
/// assert!(settings.address.ip().is_loopback());
/// ```
#[derive(Clone)]
pub struct Settings {
    /// The address. The default is port 8000 on the loopback interface, which
    /// only programs on this machine can reach. Port 0 selects any free port.
    pub address: SocketAddr,
    /// The token that requests must send as `Authorization: Bearer TOKEN`; none
    /// by default.
    pub token: Option<String>,
    /// The largest body of a request in bytes; 32 MiB by default.
    pub largest_body: usize,
    /// The largest total size of the bodies of all requests in memory, in
    /// bytes; 256 MiB by default. Further requests get status 503.
    pub body_memory: usize,
    /// The largest number of connections; 512 by default. Further connections
    /// wait to be accepted.
    pub connections: usize,
    /// The largest number of waiting requests for a model; 256 by default.
    /// Further requests get status 429.
    pub queue: usize,
    /// The largest number of samples in a batch; 64 by default. 1 turns
    /// batching off.
    pub batch: usize,
    /// How long a request waits for others to share its batch, if others are
    /// about to arrive; 1 ms by default.
    pub batch_delay: Duration,
    /// The number of compute threads for each model; 1 by default. Large
    /// networks use all cores from a single thread.
    pub workers: usize,
    /// The time from the end of a request's head to its response; 30 s by
    /// default. Slower requests get status 408 while their body is read, and
    /// 503 later.
    pub timeout: Duration,
    /// How long a connection may be silent within a head or a response, or
    /// between two requests; 15 s by default.
    pub silence: Duration,
    /// How long requests in progress may take after the server was told to
    /// stop; 30 s by default.
    pub grace: Duration,
    /// How often the model files are checked for changes; 2 s by default,
    /// `None` for never.
    pub watch: Option<Duration>,
    /// A callback that receives a line for each event, such as a loaded model,
    /// a failed load, start and shutdown.
    pub log: Log,
}

/// The callback of a server's log.
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

/// A served model: its file and its name.
#[derive(Clone)]
pub struct ModelFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) adjust: Adjust,
}

/// The callback that changes a network after it was loaded.
type Adjust = Arc<dyn Fn(Network) -> Result<Network> + Send + Sync>;

impl ModelFile {
    /// Serves a file under this name, which is part of its paths.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into(), adjust: Arc::new(Ok) }
    }

    /// Serves a file under its own name without the extension.
    pub fn at(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::new(name, path)
    }

    /// A callback that changes the network each time it was loaded, for example
    /// to give an ONNX model class names or a preprocessing.
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
