//! [`Server`]: the side of the federation.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use dendra_tensor::{Error, Result};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

use super::desk::{Desk, Waiting};
use super::{CLIENT, EXCHANGE, Refusal};
use crate::federated::{Request, Transport};

/// The threads that serve connections.
const THREADS: usize = 2;

/// The bytes of a head that are read at most.
const LONGEST_HEAD: usize = 16 * 1024;

/// The bytes of a reason that are read at most.
const LONGEST_REASON: usize = 1000;

/// Settings of a [`Server`].
#[derive(Clone)]
pub struct Settings {
    /// Where it listens; port 7070 of this machine alone by default. Port 0 is
    /// any free one.
    pub address: SocketAddr,
    /// The number of clients; their indices are below it.
    pub clients: usize,
    /// How long an exchange waits for its answers; 10 minutes by default.
    pub patience: Duration,
    /// How long a connection may be silent while it sends a head, or take to
    /// send an answer; 60 s by default.
    pub silence: Duration,
    /// How long a client that asks for a request waits before it asks again;
    /// 10 s by default.
    pub poll: Duration,
    /// The most connections at a time; others wait. 1024 by default.
    pub connections: usize,
    /// The most answers that are received at a time; others wait. 16 by default.
    pub uploads: usize,
    /// What clients must know; none by default.
    pub token: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 7070).into(),
            clients: 1,
            patience: Duration::from_secs(600),
            silence: Duration::from_secs(60),
            poll: Duration::from_secs(10),
            connections: 1024,
            uploads: 16,
            token: None,
        }
    }
}

impl fmt::Debug for Settings {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Settings");
        debug.field("address", &self.address).field("clients", &self.clients);
        debug.field("patience", &self.patience).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct App {
    desk: Desk,
    settings: Settings,
    uploads: Semaphore,
}

type Shared = State<Arc<App>>;

/// Offers the requests of a federation to its clients over HTTP. When it is
/// dropped, it tells the clients that the training is over.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When a setting is 0, or the address is taken.
    pub fn start(settings: Settings) -> Result<Self> {
        let Settings { clients, connections, uploads, .. } = settings;
        if clients == 0 || connections == 0 || uploads == 0 {
            let message = format!(
                "expected clients, connections and uploads above 0, got {clients}, {connections} \
                 and {uploads}"
            );
            return Err(Error::argument("Server::start", message));
        }
        let failed = |error| Error::io(settings.address.to_string(), error);
        let listener = StdListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("dendra-federated")
            .enable_all()
            .build()
            .map_err(|error| Error::io("the threads of the server", error))?;
        let uploads = Semaphore::new(uploads.min(Semaphore::MAX_PERMITS));
        let app = Arc::new(App { desk: Desk::new(clients), settings, uploads });
        runtime.spawn(listen(listener, Arc::clone(&app)));
        Ok(Self { app, address, runtime: Some(runtime) })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Transport for Server {
    fn exchange(&mut self, requests: Vec<Request>, longest: usize) -> Vec<Result<Vec<u8>>> {
        self.app.desk.exchange(requests, longest, self.app.settings.patience)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.app.desk.finish();
        if let Some(runtime) = self.runtime.take() {
            // Clients that wait for a request are told now that there will be none,
            // and clients that still compute when they ask again.
            std::thread::sleep(Duration::from_millis(300));
            runtime.shutdown_timeout(Duration::from_millis(200));
        }
    }
}

/// Accepts connections until the runtime ends.
async fn listen(listener: StdListener, app: Arc<App>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let routes = Router::new()
        .route("/v1/work/{first}/{count}", get(work))
        .route("/v1/answer/{exchange}/{client}", put(answer))
        .route("/v1/failure/{exchange}/{client}", put(failure))
        .fallback(|| async { Refusal::UnknownAddress })
        .method_not_allowed_fallback(|| async { Refusal::UnknownAddress })
        .layer(from_fn_with_state(Arc::clone(&app), allowed))
        .with_state(Arc::clone(&app));
    let room = Arc::new(Semaphore::new(app.settings.connections.min(Semaphore::MAX_PERMITS)));
    loop {
        let place = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = connection(stream, routes.clone(), app.settings.silence);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // Such as too many open files; it may pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, routes: Router, silence: Duration) {
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(silence)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // A client that breaks off.
    let _ = served.await;
}

/// Lets those in who know the token.
async fn allowed(State(app): Shared, request: HttpRequest, next: Next) -> Response {
    let headers = request.headers();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    let known = app.settings.token.as_deref().is_none_or(|token| {
        given.is_some_and(|given| {
            // In a time that does not tell where the first difference is.
            given.len() == token.len()
                && given.bytes().zip(token.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
        })
    });
    if !known || headers.contains_key(header::ORIGIN) {
        return Refusal::Forbidden.into_response();
    }
    next.run(request).await
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, self.code()).into_response();
        if status.is_client_error() {
            // What is left of the message is not read.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

/// The next request for one of some clients, or nothing after a while.
async fn work(
    State(app): Shared,
    Path((first, count)): Path<(usize, usize)>,
) -> Result<Response, Refusal> {
    let mut news = app.desk.news.subscribe();
    let until = tokio::time::Instant::now() + app.settings.poll;
    loop {
        if let Some(waiting) = app.desk.waiting(first..first.saturating_add(count))? {
            let Waiting { client, exchange, message } = waiting;
            let mut response = Response::new(Body::from(Bytes::from_owner(message)));
            let headers = response.headers_mut();
            headers.insert(CLIENT, HeaderValue::from(client));
            headers.insert(EXCHANGE, HeaderValue::from(exchange));
            return Ok(response);
        }
        if !matches!(timeout_at(until, news.changed()).await, Ok(Ok(()))) {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
}

async fn answer(
    State(app): Shared,
    Path((exchange, client)): Path<(u64, usize)>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let (longest, until) = app.desk.expected(client, exchange)?;
    if body.size_hint().lower() > longest as u64 {
        return Err(Refusal::TooLarge);
    }
    let place = timeout_at(until.into(), app.uploads.acquire()).await;
    let _place = place.map_err(|_| Refusal::TooLate)?;
    let until = until.min(Instant::now() + app.settings.silence);
    let read = timeout_at(until.into(), to_bytes(body, longest)).await;
    let bytes = read.map_err(|_| Refusal::TooSlow)?.map_err(|error| broken(&error))?;
    app.desk.answer(client, exchange, Ok(bytes.into()))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn failure(
    State(app): Shared,
    Path((exchange, client)): Path<(u64, usize)>,
    body: Body,
) -> Result<StatusCode, Refusal> {
    app.desk.expected(client, exchange)?;
    let read = timeout(app.settings.silence, to_bytes(body, LONGEST_REASON)).await;
    let bytes = read.map_err(|_| Refusal::TooSlow)?.map_err(|error| broken(&error))?;
    let reason = String::from_utf8_lossy(&bytes).replace(char::is_control, " ");
    app.desk.answer(client, exchange, Err(reason))?;
    Ok(StatusCode::NO_CONTENT)
}

fn broken(error: &axum::Error) -> Refusal {
    match std::error::Error::source(error) {
        Some(source) if source.to_string().contains("length limit") => Refusal::TooLarge,
        _ => Refusal::Broken,
    }
}
