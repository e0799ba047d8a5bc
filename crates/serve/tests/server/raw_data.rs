//! `POST /predict`, and the page.

use dendra_datasets::{
    Csv, Encoder, ImageEncoder, Normalization, Preprocessing, TableEncoding, TextEncoder,
    Vocabulary, data_to_metadata,
};
use dendra_deploy::Network;
use dendra_nn::Sequential;
use dendra_tensor::Rng;
use serde_json::json;
use std::path::Path;

use crate::client::{ask, get, post};
use crate::{classifier, place, serve, settings};

/// Writes a model with its preprocessing.
pub(crate) fn save(
    model: &Sequential,
    preprocessing: &impl Preprocessing,
    classes: &[&str],
    path: &Path,
) {
    let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
    let mut file = model.to_file().unwrap();
    file.metadata.extend(data_to_metadata(preprocessing, &classes).unwrap());
    file.write(path).unwrap();
}

pub(crate) fn table_encoder() -> Encoder {
    let train = b"age,city\n31,Oslo\n44,07\n27,Oslo\n";
    let train = Csv::new().texts(["city"]).parse(train).unwrap();
    TableEncoding::new().numbers(["age"]).categories(["city"]).fit(&train).unwrap()
}

#[test]
fn rows_texts_and_pictures() {
    let (folder, rows) = place("rows.safetensors");
    let rng = &mut Rng::seed(1);
    let model = Sequential::input([3]).dense(2).build(rng).unwrap();
    save(&model, &table_encoder(), &["no", "yes"], &rows);
    let texts = folder.path().join("texts.safetensors");
    let encoder = TextEncoder::new(Vocabulary::words(["good bad day"], 10), 3).unwrap();
    let model = Sequential::tokens([3]).embedding(5, 2).flatten().dense(2).build(rng).unwrap();
    save(&model, &encoder, &["bad", "good"], &texts);
    let pictures = folder.path().join("pictures.safetensors");
    let encoder = ImageEncoder::new([6, 5], true, Normalization::Scale).unwrap();
    let model = Sequential::input([1, 6, 5]).flatten().dense(1).build(rng).unwrap();
    save(&model, &encoder, &[], &pictures);
    let server = serve(settings(), &[&rows, &texts, &pictures]);
    let at = server.address();

    // The same answers as without a server.
    let network = Network::load(&rows).unwrap();
    let body = json!({ "rows": [{ "age": 20, "city": "Oslo" }, { "age": 3.5, "city": "07" }] });
    let expected = network.predict_json(body.to_string().as_bytes()).unwrap();
    let expected = json!({ "model": "rows", "answers": expected });
    assert_eq!(post(at, "/predict/rows", &body).json(), expected);
    let csv = b"city,age\nOslo,20\n07,3.5\n";
    let reply = ask(at, "POST", "/predict/rows", &[("Content-Type", "text/csv")], csv);
    assert_eq!(reply.json(), expected);

    let network = Network::load(&texts).unwrap();
    let expected = json!(network.predict_texts(&["a good day"]).unwrap());
    let reply = post(at, "/predict/texts", &json!({ "texts": ["a good day"] }));
    assert_eq!(reply.json()["answers"], expected);
    let headers = [("Content-Type", "text/plain; charset=utf-8")];
    let reply = ask(at, "POST", "/predict/texts", &headers, b"a good day");
    assert_eq!(reply.json()["answers"], expected);

    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, 9, 7);
    encoder.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> = (0..63).map(|pixel| pixel * 4).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let network = Network::load(&pictures).unwrap();
    let expected = json!(network.predict_images(&[&picture]).unwrap());
    let headers = [("Content-Type", "image/png")];
    let reply = ask(at, "POST", "/predict/pictures", &headers, &picture);
    assert_eq!(reply.json()["answers"], expected);

    for (path, kind, body, status, expected) in [
        ("pictures", "image/png", &b"no picture"[..], 400, "neither a PNG nor a JPEG"),
        ("pictures", "text/plain", b"a", 400, "`image`, which takes no texts"),
        ("pictures", "video/mp4", b"a", 415, "got video/mp4"),
        ("texts", "text/plain", b"\xff", 400, "not UTF-8"),
        ("texts", "image/png", &picture, 400, "`text`, which takes no pictures"),
        ("rows", "text/csv", b"age\n1\n", 400, "there is no column"),
        ("rows", "application/json", b"{", 400, "EOF"),
        ("rows", "application/json", b"{}", 400, "expected {\"rows\": […]}"),
        ("other", "application/json", b"{}", 404, "there is no model \"other\""),
    ] {
        let path = format!("/predict/{path}");
        let reply = ask(at, "POST", &path, &[("Content-Type", kind)], body);
        assert_eq!(reply.status, status, "{path} {kind}");
        assert!(reply.error().contains(expected), "{path} {kind}: {}", reply.error());
    }

    let models = get(at, "/models").json()["models"].clone();
    assert_eq!(models[0]["columns"][1]["categories"], json!(["07", "Oslo"]));
    assert_eq!(models[1]["preprocessing"], "text");
    assert_eq!(models[2]["inputs"][0]["axes"], json!(["batch", 1, 6, 5]));
}

#[test]
fn numbers_of_a_network_without_preprocessing() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let body = json!({ "rows": [[1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]] });
    let answers = Network::load(&path).unwrap().predict_json(body.to_string().as_bytes()).unwrap();
    let reply = post(server.address(), "/predict", &body);
    assert_eq!(reply.json(), json!({ "model": "net", "answers": answers }));
}

#[test]
fn the_page_may_only_talk_to_its_server() {
    let (_folder, path) = place("net.safetensors");
    classifier(1).save(&path).unwrap();
    let server = serve(settings(), &[&path]);
    let page = get(server.address(), "/");
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("content-security-policy").unwrap().contains("connect-src 'self'"));
    let text = page.text();
    assert!(
        text.contains("<!DOCTYPE html>") && !text.contains("http://") && !text.contains("https://")
    );
}
