//! Limits of size, memory, waiting requests, connections and time, and access
//! control.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use dendra_serve::{ModelFile, Server, Settings};
use dendra_tensor::Tensor;

use crate::client::{ask, ask_on, connect, eventually, get, infer_request, metric, reply, request};
use crate::{classifier, held, normal, place, serve, settings};

#[test]
fn bodies_that_are_too_long_are_not_read() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(Settings { largest_body: 1000, ..settings() }, &[&path]);
    let at = server.address();
    assert_eq!(ask(at, "POST", "/predict", &[], &[b' '; 1001]).status, 413);
    // Declared and never sent: the response does not wait for it.
    let mut stream = connect(at);
    stream
        .write_all(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        )
        .unwrap();
    assert_eq!(reply(&mut stream).unwrap().status, 413);
    // Chunked, without a length.
    let mut stream = connect(at);
    stream
        .write_all(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
    for _ in 0..3 {
        let _ = write!(stream, "200\r\n{}\r\n", " ".repeat(512));
    }
    assert_eq!(reply(&mut stream).unwrap().status, 413);
    // One that is short enough is read.
    assert_eq!(ask(at, "POST", "/predict", &[], &[b' '; 1000]).status, 400);
}

#[test]
fn bodies_are_held_within_the_memory() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let limits = Settings { largest_body: 8192, body_memory: 10_000, ..settings() };
    let server = serve(limits, &[&path]);
    let at = server.address();
    let mut stalled = connect(at);
    stalled
        .write_all(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n{")
        .unwrap();
    // Until the first request has begun, the second may be answered.
    eventually("the memory is used up", || {
        let reply = ask(at, "POST", "/predict", &[], &[b' '; 5000]);
        assert_eq!(reply.header("retry-after").is_some(), reply.status == 503);
        reply.status == 503
    });
    assert_eq!(ask(at, "POST", "/predict", &[], b" ").status, 400, "a short one fits");
    drop(stalled);
    eventually("the memory is free again", || {
        ask(at, "POST", "/predict", &[], &[b' '; 5000]).status == 400
    });
}

#[test]
fn a_full_queue_turns_requests_away() {
    let (_folder, path) = place("net.safetensors");
    held::save(2, &path);
    let server = serve(Settings { queue: 3, ..settings() }, &[&path]);
    let at = server.address();
    let x = Tensor::<f32>::zeros([1, 4]);
    let request = infer_request("net", &x);
    let hold = held::hold(2);
    let mut streams: Vec<_> = (0..4).map(|_| connect(at)).collect();
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&request).unwrap();
        // The first is computed before the second arrives, which would join its
        // batch.
        eventually("it is computed or waits", || {
            let begun = metric(at, "dendra_batch_samples_count{model=\"net\"}");
            let waiting = metric(at, "dendra_queue_length{model=\"net\"}");
            (begun, waiting) == (1.0, index as f64)
        });
    }
    let turned_away = ask_on(&mut connect(at), &request).unwrap();
    assert_eq!((turned_away.status, turned_away.header("retry-after")), (429, Some("1")));
    // Everything else is still answered.
    assert_eq!(get(at, "/v2/health/ready").status, 200);
    drop(hold);
    for stream in &mut streams {
        assert_eq!(reply(stream).unwrap().status, 200);
    }
    assert_eq!(metric(at, "dendra_requests_total{model=\"net\",outcome=\"rejected\"}"), 1.0);
}

#[test]
fn a_model_that_takes_too_long() {
    let (_folder, path) = place("net.safetensors");
    held::save(3, &path);
    let server = serve(Settings { timeout: Duration::from_millis(200), ..settings() }, &[&path]);
    let (at, hold) = (server.address(), held::hold(3));
    let request = infer_request("net", &Tensor::zeros([1, 4]));
    for _ in 0..2 {
        let reply = ask_on(&mut connect(at), &request).unwrap();
        assert_eq!(reply.status, 503);
        assert!(reply.error().contains("in time"), "{}", reply.error());
    }
    drop(hold);
    eventually("it answers again", || ask_on(&mut connect(at), &request).unwrap().status == 200);
    // The abandoned request was not computed.
    let computed = metric(at, "dendra_samples_total{model=\"net\"}");
    let succeeded = metric(at, "dendra_requests_total{model=\"net\",outcome=\"succeeded\"}");
    assert_eq!(computed, 1.0 + succeeded);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(Settings { connections: 2, ..settings() }, &[&path]);
    let at = server.address();
    let request = request("GET", "/v2/health/live", &[], b"");
    let (mut first, mut second) = (connect(at), connect(at));
    for stream in [&mut first, &mut second] {
        assert_eq!(ask_on(stream, &request).unwrap().status, 200);
    }
    let third = thread::spawn(move || ask_on(&mut connect(at), &request).unwrap().status);
    thread::sleep(Duration::from_millis(100));
    assert!(!third.is_finished());
    drop(first);
    assert_eq!(third.join().unwrap(), 200);
}

#[test]
fn a_token_is_asked_for() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(Settings { token: Some("secret".to_owned()), ..settings() }, &[&path]);
    let at = server.address();
    for path in ["/", "/v2/health/ready"] {
        assert_eq!(get(at, path).status, 200, "{path}");
    }
    for path in ["/metrics", "/models", "/v2", "/v2/models/net", "/nothing"] {
        assert_eq!(get(at, path).status, 401, "{path}");
    }
    let headers = [("Authorization", "Bearer secret")];
    assert_eq!(ask(at, "GET", "/v2/models/net", &headers, b"").status, 200);
    let text = format!("{:?}", Settings { token: Some("secret".to_owned()), ..settings() });
    assert!(!text.contains("secret"), "{text}");
}

/// A request in progress is answered, further requests are not accepted.
#[test]
fn the_end_waits_for_requests() {
    let (_folder, path) = place("net.safetensors");
    held::save(4, &path);
    let server = serve(settings(), &[&path]);
    let at = server.address();
    let idle = connect(at);
    let hold = held::hold(4);
    let mut stream = connect(at);
    stream.write_all(&infer_request("net", &normal(&[1, 4], 1))).unwrap();
    eventually("it is computed", || metric(at, "dendra_batch_samples_count{model=\"net\"}") == 1.0);
    let stopping = thread::spawn(move || server.stop());
    eventually("no connection is accepted", || std::net::TcpStream::connect(at).is_err());
    assert!(!stopping.is_finished());
    drop(hold);
    assert_eq!(reply(&mut stream).unwrap().status, 200);
    stopping.join().unwrap();
    drop(idle);
}

#[test]
fn the_end_does_not_wait_forever() {
    let (_folder, path) = place("net.safetensors");
    held::save(5, &path);
    let server = serve(Settings { grace: Duration::from_millis(200), ..settings() }, &[&path]);
    let (at, _hold) = (server.address(), held::hold(5));
    let mut stream = connect(at);
    stream.write_all(&infer_request("net", &normal(&[1, 4], 1))).unwrap();
    eventually("it is computed", || metric(at, "dendra_batch_samples_count{model=\"net\"}") == 1.0);
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_cannot_be_served_is_told() {
    let (folder, path) = place("net.safetensors");
    let start = |server: Server| server.start().unwrap_err().to_string();
    assert!(start(Server::new(settings())).contains("at least one model"));
    assert!(start(Server::new(settings()).model(ModelFile::at(&path))).contains("No such file"));
    classifier(1).save(&path).unwrap();
    let twice = Server::new(settings()).model(ModelFile::at(&path)).model(ModelFile::at(&path));
    assert!(start(twice).contains("two models have the name \"net\""));
    let server = serve(settings(), &[&path]);
    let taken = Settings { address: server.address(), ..settings() };
    let error = start(Server::new(taken).model(ModelFile::at(&path)));
    assert!(error.contains(&server.address().to_string()), "{error}");
    drop(folder);
}
