//! State shared by all handlers: the models, the limits, and the reading of
//! bodies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::{Answered, Failure};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::settings::Settings;

/// Unit in which the bytes of bodies are counted.
const UNIT: usize = 1024;

/// Bodies up to this size are parsed at once, longer ones on a blocking thread.
const SHORT: usize = 8 * 1024;

/// The state of a server.
pub(crate) struct App {
    pub(crate) models: Models,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    /// Whether the server is shutting down.
    pub(crate) stopping: AtomicBool,
    memory: Arc<Semaphore>,
}

/// The body of a request. Its bytes count against the limit until it is
/// dropped.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl App {
    pub(crate) fn new(models: Models, settings: Settings) -> Self {
        let units = settings.body_memory.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            models,
            metrics: Metrics::new(),
            stopping: AtomicBool::new(false),
            memory: Arc::new(Semaphore::new(units)),
            settings,
        }
    }

    /// The time at which a request that begins now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed) && self.models.iter().all(|model| model.is_ready())
    }

    /// Reads a body within the limits of size, memory and time.
    pub(crate) async fn body(
        &self,
        headers: &HeaderMap,
        body: Body,
        deadline: Instant,
    ) -> Answered<Held> {
        if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            let message = "compressed bodies are not supported";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let most = self.settings.largest_body;
        let too_large = || {
            let message = format!("the body is longer than {most} bytes");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let size = body.size_hint();
        if size.lower() > most as u64 {
            return Err(too_large());
        }
        // A body of unknown length may become as long as is allowed.
        let expected = size.upper().map_or(most, |upper| (upper as usize).min(most));
        let units = u32::try_from(expected.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| {
            Failure::unavailable("the bodies of other requests fill the memory for bodies")
        })?;
        let read = tokio::time::timeout_at(deadline.into(), to_bytes(body, most)).await;
        let bytes = read
            .map_err(|_| {
                let message = "the body did not arrive in time";
                Failure::new(StatusCode::REQUEST_TIMEOUT, message)
            })?
            .map_err(|error| match std::error::Error::source(&error) {
                Some(source) if source.to_string().contains("length limit") => too_large(),
                _ => Failure::bad(format!("the body could not be read: {error}")),
            })?;
        Ok(Held { bytes, _memory: memory })
    }
}

/// Runs a computation whose time grows with `size`; if it may take long, on a
/// blocking thread, so that it does not hold up connections. A panic becomes an
/// error.
pub(crate) async fn converted<T: Send + 'static>(
    size: usize,
    convert: impl FnOnce() -> Answered<T> + Send + 'static,
) -> Answered<T> {
    let guarded = move || {
        catch_unwind(AssertUnwindSafe(convert))
            .unwrap_or_else(|_| Err(Failure::internal("internal error in this request")))
    };
    if size <= SHORT {
        return guarded();
    }
    tokio::task::spawn_blocking(guarded)
        .await
        .unwrap_or_else(|_| Err(Failure::unavailable("the server is shutting down")))
}
