//! [`Server`] and [`Running`]: listening, connections and shutdown.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use dendra_tensor::{Error, Result};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, watch};

use crate::app::App;
use crate::guard::Guarded;
use crate::models::Models;
use crate::router::router;
use crate::settings::{ModelFile, Settings};

/// The largest number of bytes of a head.
const LONGEST_HEAD: usize = 64 * 1024;

/// The number of threads that serve connections; computation has its own
/// threads.
const THREADS: usize = 2;

/// An HTTP server for models.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    models: Vec<ModelFile>,
}

impl Server {
    /// Creates a server without models.
    pub fn new(settings: Settings) -> Self {
        Self { settings, models: Vec::new() }
    }

    /// Adds a model.
    #[must_use]
    pub fn model(mut self, model: ModelFile) -> Self {
        self.models.push(model);
        self
    }

    /// Loads the models and starts to listen.
    ///
    /// # Errors
    ///
    /// When there is no model, two have the same name, a file cannot be read,
    /// or the address is in use.
    pub fn start(self) -> Result<Running> {
        let Self { settings, models } = self;
        let failed = |error| Error::io(settings.address.to_string(), error);
        let listener = StdListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let models = Models::start(models, &settings)?;
        let (log, every) = (Arc::clone(&settings.log), settings.watch);
        let app = Arc::new(App::new(models, settings));

        let cores = thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(2 + cores)
            .thread_name("dendra-serve")
            .enable_all()
            .build()
            .map_err(|error| Error::io("starting the server threads", error))?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), watch::channel(false));
        let (watching, unwatched) = mpsc::channel();
        if let Some(every) = every {
            let app = Arc::clone(&app);
            thread::spawn(move || app.models.watch(every, &unwatched));
        }
        log(&format!("listening on http://{address}"));
        let thread = thread::spawn(move || {
            runtime.block_on(listen(listener, app, stopped));
            runtime.shutdown_timeout(Duration::from_millis(100));
            drop(watching);
            log("stopped");
        });
        Ok(Running { address, handle, stop, thread: Some(thread) })
    }
}

/// A running server with its own threads. It stops when it is dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for Ctrl-C or, on Unix, for SIGTERM, and stops.
    ///
    /// # Errors
    ///
    /// When the signal handlers cannot be installed.
    pub fn wait(self) -> Result<()> {
        let failed = |error| Error::io("signals", error);
        self.handle.block_on(signal()).map_err(failed)?;
        self.stop();
        Ok(())
    }

    /// Accepts no more connections, and waits for the requests in progress, at
    /// most for the time in the settings.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Accepts connections until the server shuts down.
async fn listen(listener: StdListener, app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return (app.settings.log)(&format!("cannot listen: {error}")),
    };
    let routes = router(Arc::clone(&app));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(app.settings.connections.max(1)));
    loop {
        let next = async {
            // Further connections wait until one closes.
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = connection(stream, &routes, &graceful, Arc::clone(&app));
                tokio::spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            // For example too many open files, which may pass.
            Err(error) => {
                (app.settings.log)(&format!("accepting a connection failed: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    app.stopping.store(true, Ordering::Relaxed);
    let _ = tokio::time::timeout(app.settings.grace, graceful.shutdown()).await;
}

/// Serves a connection until it closes.
fn connection(
    stream: TcpStream,
    routes: &Router,
    graceful: &GracefulShutdown,
    app: Arc<App>,
) -> impl Future<Output = ()> + Send + 'static {
    let _ = stream.set_nodelay(true);
    let silence = app.settings.silence;
    let stream = TokioIo::new(Guarded::new(stream, silence));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(silence)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(stream, TowerToHyperService::new(routes.clone()));
    let served = graceful.watch(served);
    async move {
        app.metrics.connections.fetch_add(1, Ordering::Relaxed);
        // A client that disconnects or is silent for too long.
        let _ = served.await;
        app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
