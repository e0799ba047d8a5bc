//! Model files: their description, other formats, speed, and the command
//! itself.

use crate::{Place, flowers};

#[test]
fn a_model_is_described_and_converted() {
    let place = Place::new();
    place.write("flowers.csv", flowers(60));
    place.ok(&["train", "flowers.csv", "-t", "kind", "--epochs", "3", "-o", "m.safetensors"]);

    let info = place.ok(&["info", "m.safetensors"]);
    for expected in [
        "a network with its weights",
        "input: f32 [batch, 4]",
        "rows of a table, which become 4 inputs",
        "length, width, colour",
        "3: daisy, poppy, tulip",
        "output.weight",
    ] {
        assert!(info.contains(expected), "{expected}: {info}");
    }
    assert!(info.lines().all(|line| line.chars().count() <= 80), "{info}");
    let json = place.json(&["info", "m.safetensors"]);
    assert_eq!(json["network"]["target"], "kind");
    assert_eq!(json["tensors"].as_array().unwrap().len(), 4);
    let summary = place.ok(&["summary", "m.safetensors"]);
    assert!(summary.contains("Linear 4 → 16") && summary.contains("parameters"), "{summary}");

    place.ok(&["convert", "m.safetensors", "m.npz"]);
    let json = place.json(&["info", "m.npz"]);
    assert_eq!((&json["format"], &json["network"]), (&"NumPy".into(), &serde_json::Value::Null));
    place.ok(&["convert", "m.npz", "back.safetensors"]);
    let tensors = place.json(&["info", "back.safetensors"])["tensors"].clone();
    assert_eq!(tensors.as_array().unwrap().len(), 4);
    let ran = place.run(&["summary", "back.safetensors"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");

    let ran = place.run(&["convert", "m.npz", "m.onnx"]);
    assert!(ran.code == Some(1) && ran.err.contains("weights without a network"), "{ran:?}");
    place.ok(&["convert", "m.safetensors", "m.onnx"]);
    let summary = place.ok(&["summary", "m.onnx"]);
    assert!(summary.contains("Gemm") && summary.contains("input  input: f32 [N, 4]"), "{summary}");
    place.write("raw.csv", "a,b,c,d\n0.1,0.2,0,1\n1,2,1,0\n");
    let out = place.ok(&["predict", "m.onnx", "raw.csv"]);
    assert_eq!(out.lines().count(), 2, "{out}");
    place.ok(&["convert", "m.onnx", "weights.safetensors"]);

    let size = |file: &str| std::fs::metadata(place.path(file)).unwrap().len();
    for precision in ["bf16", "f16"] {
        place.ok(&["convert", "m.safetensors", "half.safetensors", "--precision", precision]);
        assert!(size("half.safetensors") + 200 < size("m.safetensors"), "{precision}");
        let out = place.ok(&["predict", "half.safetensors", "flowers.csv"]);
        assert_eq!(out.lines().count(), 60, "{out}");
        // A type that is kept, and one that NumPy does not have.
        place.ok(&["convert", "half.safetensors", "again.safetensors"]);
        assert_eq!(size("again.safetensors"), size("half.safetensors"));
        place.ok(&["convert", "half.safetensors", "half.npz"]);
    }
    let ran = place.run(&["convert", "m.safetensors", "m16.npz", "--precision", "bf16"]);
    assert!(ran.code == Some(2) && ran.err.contains("NumPy has no bf16"), "{ran:?}");

    for model in ["m.safetensors", "m.onnx"] {
        let options = ["bench", model, "--batch", "1,4", "--on", "1", "--seconds", "0.02"];
        let json = place.json(&options);
        let rows = json["measurements"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{json}");
        assert!(rows.iter().all(|row| row["median_seconds"].as_f64().unwrap() > 0.0), "{json}");
    }
}

#[cfg(unix)]
#[test]
fn a_table_becomes_a_model_behind_http() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::process::{Command, Stdio};

    let place = Place::new();
    place.write("flowers.csv", flowers(60));
    place.ok(&["train", "flowers.csv", "--target", "kind", "-o", "model.safetensors"]);
    let options = ["serve", "model.safetensors", "--address", "127.0.0.1:0", "--quiet", "--json"];
    let mut server = place.command(&options).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut text = String::new();
    while !text.ends_with("}\n") {
        assert!(out.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let started: serde_json::Value = serde_json::from_str(&text).unwrap();
    let address = started["address"].as_str().unwrap().strip_prefix("http://").unwrap();

    let body = r#"{"rows": [{"length": 4.5, "width": 0.5, "colour": "red"}]}"#;
    let length = body.len();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /predict HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"class\":\"tulip\""), "{answer}");

    let killed = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn the_command_explains_itself() {
    let place = Place::new();
    for command in [
        "train",
        "predict",
        "evaluate",
        "info",
        "summary",
        "convert",
        "bench",
        "serve",
        "completions",
    ] {
        let help = place.ok(&[command, "--help"]);
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{command}: {help}");
    }
    let help = place.ok(&["--help"]);
    assert!(help.contains("Exit codes:") && help.contains("130  stopped by Ctrl-C"), "{help}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(place.ok(&["completions", shell]).contains("dendra"), "{shell}");
    }
    assert_eq!(place.run(&[]).code, Some(2));
    assert_eq!(place.run(&["trian"]).code, Some(2));
}
