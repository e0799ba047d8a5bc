//! A web page that shows a training while it runs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dendra_tensor::{Error, Float, Result};

use crate::callback::{BatchReport, Callback, Moment};
use crate::history::{EpochReport, History};
use crate::plots::Chart;
use crate::report::{Report, live_page};

/// The time between updates of the page's data by the training.
const REFRESH: Duration = Duration::from_millis(250);

/// The largest number of points in the curve of the running epoch. When it is
/// reached, every other point is dropped.
const MOST_POINTS: usize = 400;

/// The timeout for a browser's request and for the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest request that is read, in bytes.
const LONGEST_REQUEST: usize = 8192;

/// The data of the page. The training writes it, and the server reads it.
#[derive(Default)]
struct Shown {
    history: History,
    /// The position of the training as text.
    position: String,
    /// The loss of batches, by step.
    losses: Vec<(f64, f64)>,
}

/// Serves the page on the loopback address, on its own thread, while the
/// training runs.
pub(crate) struct LivePage {
    port: u16,
    /// When a batch was shown last, and when an epoch.
    batch_shown: Option<Instant>,
    epoch_shown: Option<Instant>,
    /// Of this many losses, one is kept.
    stride: usize,
    losses_seen: usize,
    shown: Arc<Mutex<Shown>>,
    server: Option<Server>,
}

struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LivePage {
    pub(crate) fn new(port: u16) -> Self {
        let shown = Arc::default();
        Self {
            port,
            batch_shown: None,
            epoch_shown: None,
            stride: 1,
            losses_seen: 0,
            shown,
            server: None,
        }
    }

    fn update(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Whether the page has not been updated for a while. If so, it is now.
fn is_due(updated: &mut Option<Instant>) -> bool {
    let is_due = updated.is_none_or(|updated| updated.elapsed() >= REFRESH);
    if is_due {
        *updated = Some(Instant::now());
    }
    is_due
}

impl<T: Float> Callback<T> for LivePage {
    fn on_start(&mut self, now: &mut Moment<'_, T>) -> Result<()> {
        *self = Self::new(self.port);
        let history = now.history.clone();
        self.update(|shown| shown.history = history);
        let server = Server::start(self.port, Arc::clone(&self.shown)).map_err(|error| {
            Error::argument("Fit::live", format!("port {}: {error}", self.port))
        })?;
        eprintln!("live: http://{}", server.address);
        self.server = Some(server);
        Ok(())
    }

    fn on_batch(&mut self, now: &mut Moment<'_, T>, batch: &BatchReport<'_, T>) -> Result<()> {
        if !is_due(&mut self.batch_shown) {
            return Ok(());
        }
        let position = format!("epoch {}, batch {}, step {}", now.epoch, now.batch, now.step);
        let point = (now.step as f64, batch.loss);
        let keep = self.losses_seen.is_multiple_of(self.stride);
        self.losses_seen += 1;
        let mut halved = false;
        self.update(|shown| {
            shown.position = position;
            if keep && point.1.is_finite() {
                shown.losses.push(point);
            }
            if shown.losses.len() > MOST_POINTS {
                let mut index = 0;
                shown.losses.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                halved = true;
            }
        });
        if halved {
            self.stride *= 2;
        }
        Ok(())
    }

    fn on_epoch(&mut self, now: &mut Moment<'_, T>, epoch: &EpochReport) -> Result<()> {
        // The history is copied, so epochs of microseconds do not show each.
        if !is_due(&mut self.epoch_shown) {
            return Ok(());
        }
        let history = now.history.clone();
        let position = format!("after epoch {}", epoch.number);
        self.update(|shown| {
            shown.history = history;
            shown.position = position;
        });
        Ok(())
    }

    fn on_end(&mut self, _: &mut Moment<'_, T>) -> Result<()> {
        self.server = None;
        Ok(())
    }
}

impl Server {
    fn start(port: u16, shown: Arc<Mutex<Shown>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let serve = move || {
            for stream in listener.incoming() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                // The training does not depend on whether a browser receives
                // its answer.
                let _ = stream.and_then(|stream| answer(stream, &shown));
            }
        };
        let thread = thread::Builder::new().name("live page".to_owned()).spawn(serve)?;
        Ok(Self { address, stopped, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The thread waits for a connection, so this wakes it.
        let woken = TcpStream::connect_timeout(&self.address, PATIENCE).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// Answers one request.
fn answer(mut stream: TcpStream, shown: &Mutex<Shown>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (start, mut request, mut buffer) = (Instant::now(), Vec::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        if count == 0 || request.len() > LONGEST_REQUEST || start.elapsed() > PATIENCE {
            return Ok(());
        }
        request.extend(&buffer[..count]);
    }
    let (status, kind, body) = respond(&String::from_utf8_lossy(&request), shown);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The status, type and body of the answer to a request.
fn respond(request: &str, shown: &Mutex<Shown>) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain";
    let mut lines = request.lines();
    let line = lines.next().unwrap_or_default();
    // Only the loopback names are served: a web site could give its own name
    // this address, and then read the page.
    let host = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    if !matches!(name, Some("127.0.0.1" | "localhost")) {
        return ("403 Forbidden", TEXT, "only for browsers on this machine".to_owned());
    }
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("GET"), Some("/")) => ("200 OK", "text/html", live_page()),
        (Some("GET"), Some("/now")) => match now(shown) {
            Ok(page) => ("200 OK", "text/html", page),
            Err(error) => ("500 Internal Server Error", TEXT, error.to_string()),
        },
        (Some("GET"), _) => ("404 Not Found", TEXT, "there is nothing here".to_owned()),
        _ => ("405 Method Not Allowed", TEXT, "only GET".to_owned()),
    }
}

/// The current body of the page.
fn now(shown: &Mutex<Shown>) -> Result<String> {
    // The curve is drawn outside the lock, so that the training does not wait
    // for it.
    let (history, position, losses) = {
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        (shown.history.clone(), shown.position.clone(), shown.losses.clone())
    };
    let curve = match losses.len() {
        0 => None,
        _ => Some(Chart::new("step", "loss of a batch").line("", losses).to_svg()?),
    };
    Report::new("").history(&history).live_body(&position, curve.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_page_is_for_browsers_of_this_machine() {
        let shown = Arc::new(Mutex::new(Shown::default()));
        shown.lock().unwrap().position = "epoch 3, batch 7".to_owned();
        shown.lock().unwrap().losses = vec![(1.0, 0.5), (2.0, 0.25)];
        let server = Server::start(0, shown).unwrap();
        let address = server.address;
        assert!(address.ip().is_loopback());
        let ask = |path: &str, host: &str| {
            get(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        };
        let page = ask("/", "localhost:1");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!DOCTYPE html>"), "{page}");
        let now = ask("/now", "127.0.0.1:1");
        assert!(now.contains("epoch 3, batch 7") && now.contains("<svg"), "{now}");
        assert!(ask("/", "evil.example").starts_with("HTTP/1.1 403"));
        assert!(ask("/etc/passwd", "localhost").starts_with("HTTP/1.1 404"));
        let post = get(address, "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }
}
