//! Reloading of changed files, and loading by request.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dendra_deploy::Network;
use dendra_serve::Settings;
use serde_json::json;

use crate::client::{
    SetOnDrop, ask_on, connect, eventually, floats, get, infer_request, metric, post,
};
use crate::{classifier, normal, place, serve, settings};

/// A file is replaced repeatedly while clients send requests: every request
/// gets the response of one of the models, at the end of the last model.
#[test]
fn a_file_that_changes_loses_no_request() {
    let (_folder, path) = place("net.safetensors");
    let models = [classifier(1), classifier(2)];
    models[0].save(&path).unwrap();
    let x = normal(&[2, 4], 9);
    let answers = [0, 1].map(|index| {
        models[index].save(&path).unwrap();
        let network = Network::load(&path).unwrap();
        network.run(&[("input", x.clone().into())]).unwrap().remove(0)
    });
    models[0].save(&path).unwrap();
    let watch = Some(Duration::from_millis(5));
    let server = serve(Settings { watch, ..settings() }, &[&path]);
    let (at, done) = (server.address(), AtomicBool::new(false));
    thread::scope(|scope| {
        let end = SetOnDrop(&done);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect(at);
                    let mut asked = 0;
                    while !done.load(Ordering::Relaxed) {
                        let reply = ask_on(&mut stream, &infer_request("net", &x)).unwrap();
                        assert!(answers.contains(&floats(&reply)));
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for round in 1..=6 {
            models[round % 2].save(&path).unwrap();
            let loads = || metric(at, "dendra_loads_total{model=\"net\"}");
            eventually("the file is read again", || loads() == (round + 1) as f64);
        }
        models[1].save(&path).unwrap();
        eventually("the last one answers", || {
            floats(&ask_on(&mut connect(at), &infer_request("net", &x)).unwrap()) == answers[1]
        });
        drop(end);
        assert!(clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>() > 20);
    });
}

/// Time and length of a new file may be those of the old one, if both were
/// written within one tick of the clock.
#[cfg(unix)]
#[test]
fn a_new_file_with_the_time_of_the_old_one_is_read() {
    let (folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(Settings { watch: Some(Duration::from_millis(5)), ..settings() }, &[&path]);
    let other = folder.path().join("other.safetensors");
    classifier(2).save(&other).unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
    fs::rename(&other, &path).unwrap();
    let loads = || metric(server.address(), "dendra_loads_total{model=\"net\"}");
    eventually("the file is read again", || loads() == 2.0);
}

#[test]
fn a_damaged_file_leaves_the_model_as_it_was() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    let server = serve(
        Settings {
            watch: Some(Duration::from_millis(5)),
            log: Arc::new(move |line| log.lock().unwrap().push(line.to_owned())),
            ..settings()
        },
        &[&path],
    );
    let at = server.address();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    eventually("the failure is counted", || {
        metric(at, "dendra_failed_loads_total{model=\"net\"}") == 1.0
    });
    assert!(lines.lock().unwrap().iter().any(|line| line.starts_with("net: loading failed")));
    // The file is loaded only once; the old model answers.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(metric(at, "dendra_failed_loads_total{model=\"net\"}"), 1.0);
    let request = infer_request("net", &normal(&[1, 4], 1));
    assert_eq!(ask_on(&mut connect(at), &request).unwrap().status, 200);
    fs::remove_file(&path).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(ask_on(&mut connect(at), &request).unwrap().status, 200);
    fs::write(&path, &bytes).unwrap();
    eventually("it is read again", || metric(at, "dendra_loads_total{model=\"net\"}") == 2.0);
}

#[test]
fn by_request() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let at = server.address();
    let x = normal(&[1, 4], 1);
    let request = infer_request("net", &x);
    let post = |what: &str| post(at, &format!("/v2/repository/models/net/{what}"), &json!({}));

    assert_eq!(post("unload").status, 200);
    for path in ["/v2/health/ready", "/v2/models/net/ready", "/v2/models/net"] {
        assert_eq!(get(at, path).status, 503, "{path}");
    }
    let reply = ask_on(&mut connect(at), &request).unwrap();
    assert!(reply.error().contains("is not ready: unloaded"), "{}", reply.error());
    let index = crate::client::post(at, "/v2/repository/index", &json!({})).json();
    assert_eq!((&index[0]["state"], index.as_array().unwrap().len()), (&json!("UNAVAILABLE"), 1));
    let ready = crate::client::post(at, "/v2/repository/index", &json!({ "ready": true })).json();
    assert!(ready.as_array().unwrap().is_empty());

    classifier(2).save(&path).unwrap();
    assert_eq!(post("load").status, 200);
    let network = Network::load(&path).unwrap();
    let reply = ask_on(&mut connect(at), &request).unwrap();
    assert_eq!(vec![floats(&reply)], network.run(&[("input", x.into())]).unwrap());

    fs::write(&path, "no model").unwrap();
    assert_eq!(post("load").status, 400);
    assert_eq!(ask_on(&mut connect(at), &request).unwrap().status, 200);
    // Files in other folders are not loaded.
    let other = json!({ "parameters": { "config": "{}" } });
    let reply = crate::client::post(at, "/v2/repository/models/net/load", &other);
    assert_eq!(reply.status, 400);
    let reply = crate::client::post(at, "/v2/repository/models/other/load", &json!({}));
    assert_eq!(reply.status, 404);
}
