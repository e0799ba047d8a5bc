//! An HTTP client that can also misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dendra_deploy::Value;
use dendra_tensor::Tensor;
use serde_json::{Value as Json, json};

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The message of an error.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The head and the body of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

/// Reads a response; `None` if the server closed the connection before one.
pub(crate) fn reply(stream: &mut impl Read) -> Option<Reply> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut reply = Reply { status, headers, body: Vec::new() };
    let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
    reply.body.resize(length, 0);
    reader.read_exact(&mut reply.body).ok()?;
    Some(reply)
}

/// Asks on a connection that stays open.
pub(crate) fn ask_on(stream: &mut TcpStream, request: &[u8]) -> Option<Reply> {
    stream.write_all(request).ok()?;
    reply(stream)
}

/// Sends a request on its own connection.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    ask_on(&mut connect(address), &request(method, path, headers, body)).unwrap()
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, "GET", path, &[], b"")
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &Json) -> Reply {
    let headers = [("Content-Type", "application/json")];
    ask(address, "POST", path, &headers, body.to_string().as_bytes())
}

/// The body of an inference request with one binary tensor of floats, which
/// requests binary outputs, and the length of its JSON.
pub(crate) fn binary(x: &Tensor) -> (Vec<u8>, String) {
    let bytes: Vec<u8> = x.to_vec().into_iter().flat_map(f32::to_le_bytes).collect();
    let json = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{
            "name": "input",
            "shape": &x.shape()[..],
            "datatype": "FP32",
            "parameters": { "binary_data_size": bytes.len() },
        }],
    })
    .to_string();
    let length = json.len().to_string();
    ([json.into_bytes(), bytes].concat(), length)
}

/// The request for an inference of [`binary`].
pub(crate) fn infer_request(model: &str, x: &Tensor) -> Vec<u8> {
    let (body, length) = binary(x);
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    request("POST", &format!("/v2/models/{model}/infer"), &headers, &body)
}

/// The single output of a response, as floats.
pub(crate) fn floats(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let length: usize = reply.header("Inference-Header-Content-Length").unwrap().parse().unwrap();
    let (json, bytes) = reply.body.split_at(length);
    let json: Json = serde_json::from_slice(json).unwrap();
    let shape: Vec<usize> = serde_json::from_value(json["outputs"][0]["shape"].clone()).unwrap();
    let (floats, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    let floats = floats.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Tensor::from_vec(floats, shape).unwrap().into()
}

/// The value of a line of `/metrics`.
pub(crate) fn metric(address: SocketAddr, name: &str) -> f64 {
    let text = get(address, "/metrics").text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("{name} is missing in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until a condition is true.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not happen within 10 s");
}

/// Sets a flag when it is dropped, also by a panic, so that threads that wait for
/// the flag end and the test fails instead of hanging.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
