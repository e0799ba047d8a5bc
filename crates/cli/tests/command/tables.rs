//! Tables: train, predict, evaluate, and repeat a run.

use std::fs;

use crate::{Dice, Place, bytes, flowers};

#[test]
fn a_table_becomes_a_model_that_predicts() {
    let place = Place::new();
    place.write("flowers.csv", flowers(120));
    let out = place.ok(&["train", "flowers.csv", "--target", "kind", "-o", "m.safetensors"]);
    for expected in
        ["120 rows, 3 columns", "3 classes: daisy, poppy, tulip", "96 are for training, 24 for"]
    {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    let written = ["flowers.csv", "m.html", "m.json", "m.safetensors"];
    assert_eq!(place.files(), written);
    let report = fs::read_to_string(place.path("m.html")).unwrap();
    assert!(report.contains("kind of flowers.csv") && report.contains("poppy"));

    // Rows without the target, one of them incomplete.
    place.write("new.csv", "length,width,colour\n0.4,0.3,red\n2.5,,white\n4.6,0.9,blue\n");
    let out = place.ok(&["predict", "m.safetensors", "new.csv"]);
    let kinds: Vec<&str> = out.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(kinds, ["daisy", "poppy", "tulip"], "{out}");
    let csv = place.ok(&["predict", "m.safetensors", "new.csv", "--csv"]);
    assert!(csv.starts_with("input,prediction,probability\nrow 0,daisy,0."), "{csv}");
    let json = place.json(&["predict", "m.safetensors", "new.csv"]);
    assert_eq!(json["predictions"][1]["class"], "poppy");
    let input = r#"{"rows": [{"length": 4.4, "width": null, "colour": "red"}]}"#;
    let out = place.with_input(&["predict", "m.safetensors", "-"], input);
    assert!(out.starts_with("row 0: tulip ("), "{out}");
    let out =
        place.with_input(&["predict", "m.safetensors", "-"], "colour,length,width\nred,0.5,0\n");
    assert!(out.starts_with("row 0: daisy ("), "{out}");

    let out = place.ok(&["evaluate", "m.safetensors", "flowers.csv", "--report", "e.html"]);
    assert!(out.contains("accuracy") && place.path("e.html").exists(), "{out}");
    let json =
        place.json(&["evaluate", "m.safetensors", "flowers.csv", "--require", "accuracy=0.9"]);
    assert!(json["figures"]["accuracy"].as_f64().unwrap() > 0.9, "{json}");
    let ran = place.run(&["evaluate", "m.safetensors", "flowers.csv", "--require", "loss=0"]);
    assert!(ran.code == Some(3) && ran.err.contains("expected at most 0"), "{ran:?}");
}

#[test]
fn the_settings_repeat_a_run_bit_for_bit() {
    let place = Place::new();
    place.write("flowers.csv", flowers(90));
    let first = place.json(&["train", "flowers.csv", "--target", "kind", "--epochs", "6"]);
    assert_eq!((&first["model"], &first["epochs"]), (&"model.safetensors".into(), &6.into()));
    place.ok(&["train", "--settings", "model.json", "-o", "b.safetensors", "--threads", "1"]);
    assert_eq!(bytes(&place.path("model.safetensors")), bytes(&place.path("b.safetensors")));
    let again =
        place.json(&["train", "--settings", "model.json", "-o", "c.safetensors", "--seed", "1"]);
    assert_ne!(bytes(&place.path("model.safetensors")), bytes(&place.path("c.safetensors")));
    assert_eq!(first["training_samples"], again["training_samples"]);
    assert!(fs::read_to_string(place.path("c.json")).unwrap().contains("\"seed\": 1,"));

    place.write("flowers.csv", flowers(93));
    let ran = place.run(&["train", "--settings", "model.json", "--quiet", "-o", "q.safetensors"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    let ran = place.run(&["train", "--settings", "model.json"]);
    assert!(ran.code == Some(0) && ran.err.contains("has changed since"), "{ran:?}");
}

#[test]
fn a_column_with_few_values_is_left_out() {
    let place = Place::new();
    // One of the two values of "rare" is in the validation data, then the other, then both.
    for seed in 0..20 {
        let mut text = "a,rare,b\n".to_owned();
        for row in 0..12 {
            let rare = if row < 2 { row.to_string() } else { String::new() };
            text += &format!("{}.5,{rare},{}\n", 7 * row % 12, ["x", "y"][row % 2]);
        }
        place.write("rare.csv", text);
        let seed = seed.to_string();
        let options = ["train", "rare.csv", "-t", "b", "--epochs", "1", "--validation", "0.5"];
        let ran = place.run(&[&options[..], &["--seed", &seed]].concat());
        assert_eq!(ran.code, Some(0), "{seed}: {ran:?}");
        let left_out = ran.err.contains("\"rare\" is left out: it has values only in the");
        assert_eq!(left_out, ran.out.contains("1 columns to predict from"), "{ran:?}");
    }
}

#[test]
fn numbers_are_predicted_in_their_unit() {
    let place = Place::new();
    let mut dice = Dice(3);
    let mut text = "area;rooms;city;price\n".to_owned();
    for row in 0..200 {
        let area = 20.0 + 100.0 * dice.roll();
        let rooms = 1 + row % 5;
        let city = ["Bergen", "Oslo"][row % 2];
        let price = 50_000.0 + 3_000.0 * area + if row % 2 == 1 { 100_000.0 } else { 0.0 };
        let target = if row == 9 { String::new() } else { format!("{price:.1}") };
        text += &format!("{area:.1};{rooms};{city};{target}\n").replace('.', ",");
    }
    place.write("homes.csv", text);
    let options = ["train", "homes.csv", "--target", "price", "-o", "homes.safetensors"];
    let ran = place.run(&[&options[..], &["--epochs", "150", "--json"]].concat());
    assert!(ran.code == Some(0) && ran.err.contains("1 of 200 rows have no \"price\""), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["task"], &json["target"]), (&"regression".into(), &"price".into()));
    assert!(json["validation"]["r2"].as_f64().unwrap() > 0.9, "{json}");

    place.write("new.csv", "area;rooms;city\n70,5;3;Oslo\n");
    let json = place.json(&["predict", "homes.safetensors", "new.csv"]);
    let price = json["predictions"][0]["numbers"][0].as_f64().unwrap();
    assert!((price - 361_500.0).abs() < 60_000.0, "{price}");
    let json = place.json(&["evaluate", "homes.safetensors", "homes.csv"]);
    assert!(json["figures"]["r2"].as_f64().unwrap() > 0.9, "{json}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_the_best_model() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    let place = Place::new();
    place.write("flowers.csv", flowers(600));
    let options =
        ["train", "flowers.csv", "-t", "kind", "--epochs", "1000000", "--patience", "1000000"];
    let mut command = place.command(&options);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("epoch ") {
        line.clear();
        assert!(err.read_line(&mut line).unwrap() > 0, "no epoch");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("stopped by Ctrl-C"), "{rest}");
    let written = ["flowers.csv", "model.html", "model.json", "model.safetensors"];
    assert_eq!(place.files(), written);
    place.ok(&["predict", "model.safetensors", "flowers.csv"]);
}
