//! The Open Inference Protocol.

use dendra_deploy::Network;
use dendra_nn::Sequential;
use dendra_serve::{ModelFile, Server};
use dendra_tensor::{Rng, Tensor};
use serde_json::json;

use crate::client::{ask, ask_on, connect, floats, get, infer_request, post};
use crate::{classifier, normal, place, serve, settings};

#[test]
fn server_and_models_describe_themselves() {
    let (_folder, path) = place("flowers.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let at = server.address();
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/flowers/ready"] {
        assert_eq!(get(at, path).status, 200, "{path}");
    }
    let extensions = &get(at, "/v2").json()["extensions"];
    assert!(extensions.as_array().unwrap().contains(&json!("binary_tensor_data")));
    for path in ["/v2/models/flowers", "/v2/models/flowers/versions/1"] {
        assert_eq!(
            get(at, path).json(),
            json!({
                "name": "flowers",
                "versions": ["1"],
                "platform": "dendra_safetensors",
                "inputs": [{ "name": "input", "datatype": "FP32", "shape": [-1, 4] }],
                "outputs": [{ "name": "output", "datatype": "FP32", "shape": [-1, 3] }],
            })
        );
    }
    let config = get(at, "/v2/models/flowers/config").json();
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(64), &json!([4])));
    assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
    for path in ["/v2/models/other", "/v2/models/flowers/versions/2", "/v2/models", "/what"] {
        let reply = get(at, path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.error().is_empty());
    }
    assert_eq!(ask(at, "DELETE", "/v2/models/flowers", &[], b"").status, 405);
}

/// Every path of the description exists, and every existing path is described.
#[test]
fn the_description_is_that_of_the_server() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let described = get(server.address(), "/openapi.json").json();
    let routes = include_str!("../../src/router.rs").lines().filter_map(|line| {
        let (path, method) = line.trim().strip_prefix(".route(\"")?.split_once("\", ")?;
        Some((path, method.split('(').next().unwrap()))
    });
    let routes: Vec<(&str, &str)> = routes.collect();
    assert!(routes.len() > 15);
    for (path, method) in &routes {
        assert!(described["paths"][path][method].is_object(), "{method} {path}");
    }
    assert_eq!(described["paths"].as_object().unwrap().len(), routes.len());
}

#[test]
fn tensors_as_json() {
    let (_folder, path) = place("flowers.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let x = Tensor::from([[0.1_f32, 0.2, -3.0, 4e-5], [1.0, 2.0, 3.0, 4.0]]);
    let outputs = Network::load(&path).unwrap().run(&[("input", x.into())]).unwrap();
    let expected = outputs[0].tensor::<f32>().unwrap().to_vec();
    for data in [
        json!([[0.1, 0.2, -3, 4e-5], [1, 2, 3, 4]]),
        json!([0.1, 0.2, -3.0, 0.00004, 1.0, 2.0, 3.0, 4.0]),
    ] {
        let reply = post(
            server.address(),
            "/v2/models/flowers/versions/1/infer",
            &json!({
                "id": "7",
                "inputs": [{ "name": "input", "shape": [2, 4], "datatype": "FP32", "data": data }],
            }),
        );
        let json = reply.json();
        assert_eq!(reply.status, 200, "{json}");
        assert_eq!((&json["model_name"], &json["id"]), (&json!("flowers"), &json!("7")));
        let output = &json["outputs"][0];
        assert_eq!((&output["name"], &output["shape"]), (&json!("output"), &json!([2, 3])));
        let data: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
        assert_eq!(data, expected);
    }
}

#[test]
fn tensors_as_bytes() {
    let (_folder, path) = place("flowers.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let network = Network::load(&path).unwrap();
    let mut stream = connect(server.address());
    // Also more samples than fit a batch.
    for samples in [1, 2, 500] {
        let x = normal(&[samples, 4], samples as u64);
        let reply = ask_on(&mut stream, &infer_request("flowers", &x)).unwrap();
        assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
        assert_eq!(vec![floats(&reply)], network.run(&[("input", x.into())]).unwrap());
    }
}

#[test]
fn token_ids_classes_and_several_models() {
    let (folder, path) = place("words.safetensors");
    let builder = Sequential::tokens([3]).embedding(10, 4).flatten().dense(3);
    builder.build(&mut Rng::seed(1)).unwrap().save(&path).unwrap();
    let other = folder.path().join("flowers.safetensors");
    classifier(1).save(&other).unwrap();
    let named = |network: Network| Ok(network.with_classes(["red", "green", "blue"]));
    let server = Server::new(settings())
        .model(ModelFile::new("words", &path).adjusted(named))
        .model(ModelFile::at(&other))
        .start()
        .unwrap();
    let at = server.address();
    let ask = |outputs| {
        let ids = json!({
            "name": "input", "shape": [1, 3], "datatype": "INT64", "data": [1, 2, 9],
        });
        let request = json!({ "inputs": [ids], "outputs": outputs });
        post(at, "/v2/models/words/infer", &request).json()
    };
    let plain = ask(json!([{ "name": "output" }]));
    let numbers: Vec<f64> = serde_json::from_value(plain["outputs"][0]["data"].clone()).unwrap();
    let best = (0..3).max_by(|&a, &b| numbers[a].total_cmp(&numbers[b])).unwrap();
    let classes = ask(json!([{ "name": "output", "parameters": { "classification": 2 } }]));
    let output = &classes["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([1, 2])));
    let name = ["red", "green", "blue"][best];
    assert_eq!(output["data"][0], format!("{:.6}:{best}:{name}", numbers[best]));

    // An invalid id is an error of its request only.
    let wrong = json!({ "inputs": [
        { "name": "input", "shape": [1, 3], "datatype": "INT64", "data": [1, 2, 10] },
    ] });
    assert_eq!(post(at, "/v2/models/words/infer", &wrong).status, 400);

    let index = post(at, "/v2/repository/index", &json!({})).json();
    let names: Vec<&str> =
        index.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["words", "flowers"]);
    let reply = post(at, "/predict", &json!({ "rows": [[1, 2, 3]] }));
    assert!(reply.error().contains("of words, flowers"), "{}", reply.error());
}

#[test]
fn wrong_requests_are_told() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let input = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut input =
            json!({ "name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4] });
        change(&mut input);
        json!({ "inputs": [input] })
    };
    let cases: [(serde_json::Value, &str); 15] = [
        (json!([]), "invalid request"),
        (json!({}), "missing field `inputs`"),
        (json!({ "inputs": [] }), "the input \"input\" is missing"),
        (input(&|x| x["name"] = json!("x")), "there is no input \"x\""),
        (input(&|x| x["datatype"] = json!("FP64")), "got f64 [1, 4]"),
        (input(&|x| x["datatype"] = json!("FP8")), "datatype \"FP8\" is not supported"),
        (input(&|x| x["shape"] = json!([4, 1])), "got f32 [4, 1]"),
        (input(&|x| x["shape"] = json!([2, 4])), "needs 8 elements, got 4"),
        (input(&|x| x["shape"] = json!([-1, 4])), "invalid value"),
        (input(&|x| x["shape"] = json!([u64::MAX, 4])), "too large"),
        (input(&|x| x["data"] = json!(["a", "b", "c", "d"])), "elements of FP32, got texts"),
        (input(&|x| x["data"] = json!([1, 2, 3, null])), "null"),
        (input(&|x| x["data"] = json!({})), "expected numbers"),
        (
            input(&|x| x["parameters"] = json!({ "shared_memory_region": "a" })),
            "shared memory is not supported",
        ),
        (input(&|x| x["parameters"] = json!({ "binary_data_size": 16 })), "both"),
    ];
    for (body, expected) in cases {
        let reply = post(server.address(), "/v2/models/net/infer", &body);
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.error().contains(expected), "{body}: {}", reply.error());
    }

    let json = br#"{"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32",
        "parameters": {"binary_data_size": 16}}]}"#;
    for (length, bytes, expected) in [
        ("9999", 16, "Inference-Header-Content-Length is 9999"),
        ("x", 16, "must be a number"),
        ("", 16, "must be a number"),
        ("JSON", 15, "expected 16 bytes of data, got 15"),
        ("JSON", 17, "1 bytes follow"),
    ] {
        let length = if length == "JSON" { json.len().to_string() } else { length.to_owned() };
        let headers = [("Inference-Header-Content-Length", length.as_str())];
        let body = [&json[..], &vec![0; bytes]].concat();
        let reply = ask(server.address(), "POST", "/v2/models/net/infer", &headers, &body);
        assert_eq!(reply.status, 400, "{length}");
        assert!(reply.error().contains(expected), "{}", reply.error());
    }
    let headers = [("Content-Encoding", "gzip")];
    let reply = ask(server.address(), "POST", "/v2/models/net/infer", &headers, b"xyz");
    assert_eq!(reply.status, 415);
}

#[cfg(feature = "onnx")]
#[test]
fn an_onnx_model_is_served() {
    use dendra_onnx::Export;

    let (_folder, path) = place("net.onnx");
    let model = classifier(1);
    let export = Export::of(&model, &Tensor::<f32>::zeros([1, 4])).unwrap();
    export.named(&["input"], &["logits"]).unwrap().save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let about = get(server.address(), "/v2/models/net").json();
    assert_eq!(about["platform"], "dendra_onnx");
    assert_eq!(about["inputs"][0]["shape"], json!([-1, 4]));
    let x = normal(&[5, 4], 1);
    let reply = ask_on(&mut connect(server.address()), &infer_request("net", &x)).unwrap();
    let expected = Network::load(&path).unwrap().run(&[("input", x.into())]).unwrap();
    assert_eq!(vec![floats(&reply)], expected);
}
