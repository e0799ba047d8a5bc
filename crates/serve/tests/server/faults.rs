//! Clients that stall, send invalid data, declare wrong lengths or disconnect.
//! After each test, the server answers other clients and has no open
//! connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use dendra_serve::Settings;
use dendra_tensor::{Rng, Tensor};

use crate::client::{ask_on, connect, eventually, get, infer_request, metric, reply};
use crate::{classifier, held, normal, place, serve, settings};

/// Limits that expire quickly.
fn impatient() -> Settings {
    let short = Duration::from_millis(300);
    Settings { timeout: short, silence: short, ..settings() }
}

/// Checks that the server answers, and that the connection of this request is
/// its only one.
fn is_sound(at: SocketAddr) {
    let reply = ask_on(&mut connect(at), &infer_request("net", &normal(&[1, 4], 1))).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    eventually("all connections end", || metric(at, "dendra_connections") == 1.0);
}

#[test]
fn clients_that_stall() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(impatient(), &[&path]);
    let at = server.address();
    let whole = infer_request("net", &normal(&[3, 4], 1));
    // In the request line, in the head, in the body; before the first byte, and
    // after a whole request.
    let stalled: Vec<_> = [0, 3, 30, whole.len() - 5, whole.len()]
        .into_iter()
        .map(|length| {
            let mut stream = connect(at);
            stream.write_all(&whole[..length]).unwrap();
            (length, stream)
        })
        .collect();
    // Other clients are not delayed.
    let started = Instant::now();
    assert_eq!(get(at, "/v2/health/live").status, 200);
    assert!(started.elapsed() < Duration::from_millis(250));
    for (length, mut stream) in stalled {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let expected = match length {
            _ if length == whole.len() => "HTTP/1.1 200",
            _ if length == whole.len() - 5 => "HTTP/1.1 408",
            _ => "",
        };
        assert!(text.starts_with(expected), "{length}: {text}");
    }
    is_sound(at);
}

/// Sending single bytes does not keep a request alive.
#[test]
fn clients_that_are_slow() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(impatient(), &[&path]);
    let at = server.address();
    let mut stream = connect(at);
    let started = Instant::now();
    let head =
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    for byte in head {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "the server still listens");
        thread::sleep(Duration::from_millis(20));
    }
    is_sound(at);
}

#[test]
fn clients_that_do_not_read() {
    let (_folder, path) = place("net.safetensors");
    // A response of 16 MB, more than any socket buffer.
    let wide = dendra_nn::Sequential::input([4]).dense(2000);
    wide.build(&mut Rng::seed(1)).unwrap().save(&path).unwrap();
    let server = serve(Settings { silence: Duration::from_millis(300), ..settings() }, &[&path]);
    let at = server.address();
    let mut stream = connect(at);
    stream.write_all(&infer_request("net", &Tensor::zeros([2000, 4]))).unwrap();
    eventually("it is computed", || {
        metric(at, "dendra_requests_total{model=\"net\",outcome=\"succeeded\"}") == 1.0
    });
    eventually("the connection ends", || metric(at, "dendra_connections") == 1.0);
    assert!(reply(&mut stream).is_none());
}

#[test]
fn rubbish() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let at = server.address();
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let address = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1 << 17));
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let cases: Vec<Vec<u8>> = vec![
        vec![0; 4096],
        vec![0xff; 4096],
        tls,
        b"hello\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\
          Content-Length: 2\r\n\r\n"
            .to_vec(),
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
          \r\nzz\r\n"
            .to_vec(),
        long.into_bytes(),
        many.into_bytes(),
        address.into_bytes(),
    ];
    for case in cases {
        let mut stream = connect(at);
        // The server may close the connection before everything was sent.
        let _ = stream.write_all(&case);
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(reply) = reply(&mut stream) {
            assert!(
                (400..500).contains(&reply.status),
                "{:?}: {reply:?}",
                &case[..20.min(case.len())]
            );
        }
    }
    is_sound(at);
}

/// Random bytes after a valid start, and valid requests with changed bytes.
#[test]
fn random_rubbish() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(impatient(), &[&path]);
    let at = server.address();
    let whole = infer_request("net", &normal(&[3, 4], 1));
    let mut rng = Rng::seed(5);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.below(4) {
            let index = rng.below(bytes.len());
            bytes[index] = rng.below(256) as u8;
        }
        let mut stream = connect(at);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(reply) = reply(&mut stream) {
            let expected = reply.status == 200 || (400..500).contains(&reply.status);
            assert!(expected, "{reply:?} for {}", bytes.escape_ascii());
        }
    }
    is_sound(at);
}

#[test]
fn lies_about_lengths() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(impatient(), &[&path]);
    let at = server.address();
    let head = |length: usize| {
        format!("POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    // A body shorter than declared, and the client disconnects: nobody to
    // answer.
    let mut stream = connect(at);
    stream.write_all(&[head(100).as_bytes(), b"{}"].concat()).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    // A body longer than declared: the rest is not a request.
    let mut stream = connect(at);
    stream.write_all(&[head(2).as_bytes(), b"{}{\"rows\": []}\r\n\r\n"].concat()).unwrap();
    assert_eq!(reply(&mut stream).unwrap().status, 400);
    is_sound(at);
}

/// Requests whose clients have disconnected are not computed.
#[test]
fn clients_that_vanish() {
    let (_folder, path) = place("net.safetensors");
    held::save(6, &path);
    let server = serve(settings(), &[&path]);
    let (at, hold) = (server.address(), held::hold(6));
    let request = infer_request("net", &Tensor::zeros([1, 4]));
    let first = thread::spawn({
        let request = request.clone();
        move || ask_on(&mut connect(at), &request).unwrap().status
    });
    eventually("the first is computed", || {
        metric(at, "dendra_samples_total{model=\"net\"}") == 1.0
    });
    for _ in 0..20 {
        connect(at).write_all(&request).unwrap();
    }
    eventually("the others wait or are gone", || metric(at, "dendra_connections") == 2.0);
    drop(hold);
    assert_eq!(first.join().unwrap(), 200);
    is_sound(at);
    // The first, and the one of `is_sound`.
    assert_eq!(metric(at, "dendra_samples_total{model=\"net\"}"), 2.0);
}
