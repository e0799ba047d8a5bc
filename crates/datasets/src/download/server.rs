//! A local web server for tests, which can be made to misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The relevant parts of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The first byte of the requested range.
    pub(crate) from: Option<usize>,
}

/// A server that runs until the process ends.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request with `answer`, which gets the number of earlier
    /// requests.
    pub(crate) fn start(
        answer: impl Fn(usize, &Request, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mnist", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    let Some(request) = read_request(&stream) else { return };
                    let count = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request.clone());
                        seen.len() - 1
                    };
                    answer(count, &request, &mut stream);
                });
            }
        });
        Self { url, requests }
    }

    /// A correct server that has one file, under any name.
    pub(crate) fn honest(contents: &[u8]) -> Self {
        let contents = contents.to_vec();
        Self::start(move |_, request, stream| serve(&contents, request.from, usize::MAX, stream))
    }

    /// A server that answers everything with a status and a short text.
    pub(crate) fn status(status: &'static str) -> Self {
        Self::start(move |_, _, stream| respond(stream, status, "", b"sorry"))
    }

    /// The URL of a server that does not exist.
    pub(crate) fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/mnist", listener.local_addr().unwrap())
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The first byte of the requested range, for each request.
    pub(crate) fn ranges(&self) -> Vec<Option<usize>> {
        self.requests().into_iter().map(|request| request.from).collect()
    }
}

/// Sends `contents`, or the part from `from` on, but closes the connection
/// after `most` bytes.
pub(crate) fn serve(contents: &[u8], from: Option<usize>, most: usize, stream: &mut TcpStream) {
    let length = contents.len();
    let (status, range) = match from {
        None => ("200 OK", String::new()),
        Some(from) if from < length => (
            "206 Partial Content",
            format!("Content-Range: bytes {from}-{}/{length}\r\n", length - 1),
        ),
        Some(_) => return respond(stream, "416 Range Not Satisfiable", "", b""),
    };
    let body = &contents[from.unwrap_or(0)..];
    let headers = format!("{range}Content-Length: {}\r\n", body.len());
    send(stream, status, &headers, &body[..most.min(body.len())]);
}

/// A complete response with its length.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let headers = format!("{headers}Content-Length: {}\r\n", body.len());
    send(stream, status, &headers, body);
}

/// A response with only these headers.
pub(crate) fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
    // The client may have closed the connection.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_string();
    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let from = headers.iter().find_map(|line| {
        let line = line.to_ascii_lowercase();
        let range = line.strip_prefix("range: bytes=")?;
        Some(range.strip_suffix('-').expect("an open range").parse().expect("a number"))
    });
    Some(Request { path, from })
}
