//! Texts in a table and in folders.

use crate::{Dice, Place};

fn text(good: bool, dice: &mut Dice) -> String {
    let pick =
        |words: [&str; 3], dice: &mut Dice| words[(3.0 * dice.roll()) as usize % 3].to_owned();
    let what = pick(["film", "story", "acting"], dice);
    let how = match good {
        true => pick(["wonderful", "lovely", "great"], dice),
        false => pick(["boring", "bad", "awful"], dice),
    };
    format!("The {what} was {how}, I thought.")
}

#[test]
fn texts_of_a_table_become_a_classifier() {
    let place = Place::new();
    let mut dice = Dice(2);
    let mut table = "review\tverdict\n".to_owned();
    for row in 0..80 {
        let verdict = ["bad", "good"][row % 2];
        table += &format!("{} {row}\t{verdict}\n", text(row % 2 == 1, &mut dice));
    }
    place.write("reviews.tsv", table);
    let out = place.ok(&[
        "train",
        "reviews.tsv",
        "-t",
        "verdict",
        "--epochs",
        "40",
        "-o",
        "r.safetensors",
    ]);
    assert!(out.contains("80 texts, of which 9 words are read"), "{out}");
    let out = place.ok(&["predict", "r.safetensors", "--text", "A lovely film", "--text", "awful"]);
    assert!(out.starts_with("A lovely film: good (") && out.contains("awful: bad ("), "{out}");
    let out =
        place.with_input(&["predict", "r.safetensors", "-"], "a boring story\na great story\n");
    assert!(out.starts_with("a boring story: bad (") && out.contains("story: good ("), "{out}");
    let json = place.json(&["evaluate", "r.safetensors", "reviews.tsv"]);
    assert!(json["figures"]["accuracy"].as_f64().unwrap() > 0.9, "{json}");
}

#[test]
fn folders_of_texts_become_a_classifier() {
    let place = Place::new();
    let mut dice = Dice(4);
    for index in 0..30 {
        place.write(&format!("mail/good/{index}.txt"), text(true, &mut dice));
        place.write(&format!("mail/bad/{index}.txt"), text(false, &mut dice));
    }
    place.ok(&["train", "mail", "--epochs", "40", "-o", "m.safetensors"]);
    let out = place.ok(&["predict", "m.safetensors", "mail/good/3.txt", "mail/bad"]);
    assert_eq!(out.lines().count(), 31, "{out}");
    assert!(out.starts_with("mail/good/3.txt: good ("), "{out}");
    let json = place.json(&["evaluate", "m.safetensors", "mail"]);
    assert!(json["figures"]["accuracy"].as_f64().unwrap() > 0.9, "{json}");
}
