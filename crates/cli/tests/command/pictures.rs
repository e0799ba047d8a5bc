//! Folders of pictures.

use crate::{Dice, Place};

/// A PNG of a bright square on a dark ground: above or below, and if `colour`,
/// of this colour.
fn picture(above: bool, [height, width]: [usize; 2], colour: [u8; 3], dice: &mut Dice) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let inside = (y < height / 2) == above && (1..width - 1).contains(&x);
            let ground = (20.0 * dice.roll()) as u8;
            pixels.extend(if inside { colour } else { [ground; 3] });
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

fn write_all(place: &Place, sizes: &[[usize; 2]], colour: [u8; 3]) {
    let mut dice = Dice(5);
    for index in 0..24 {
        let size = sizes[index % sizes.len()];
        for (class, above) in [("high", true), ("low", false)] {
            let name = format!("squares/{class}/{index}.png");
            place.write(&name, picture(above, size, colour, &mut dice));
        }
    }
}

#[test]
fn folders_of_pictures_become_a_classifier() {
    let place = Place::new();
    write_all(&place, &[[12, 12], [24, 24], [12, 16]], [250, 250, 250]);
    let options = ["train", "squares", "-o", "m.safetensors", "--epochs", "30"];
    let out = place.ok(&[&options[..], &["--learning-rate", "0.005"]].concat());
    assert!(out.contains("48 pictures of 12×16 pixels, in grey"), "{out}");
    let out = place.ok(&["predict", "m.safetensors", "squares/low/3.png", "squares/high"]);
    assert_eq!(out.lines().count(), 25, "{out}");
    assert!(out.starts_with("squares/low/3.png: low ("), "{out}");
    let json = place.json(&["evaluate", "m.safetensors", "squares"]);
    assert!(json["figures"]["accuracy"].as_f64().unwrap() > 0.8, "{json}");
    let info = place.ok(&["info", "m.safetensors"]);
    assert!(info.contains("pictures (PNG, JPEG), which become 12×16 pixels in grey"), "{info}");
    place.ok(&["train", "--settings", "m.json", "-o", "n.safetensors"]);
    let [first, second] =
        ["m.safetensors", "n.safetensors"].map(|name| crate::bytes(&place.path(name)));
    assert_eq!(first, second);
}

#[test]
fn damaged_pictures_are_named_or_left_out() {
    let place = Place::new();
    write_all(&place, &[[8, 8]], [250, 40, 40]);
    place.write("squares/low/bad.png", "no picture");
    place.write("squares/high/cut.png", &crate::bytes(&place.path("squares/high/3.png"))[..60]);
    let ran = place.run(&["train", "squares", "--epochs", "1"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for expected in ["2 of 50 pictures", "--skip-damaged", "low/bad.png", "high/cut.png"] {
        assert!(ran.err.contains(expected), "{expected}: {ran:?}");
    }
    assert_eq!(place.files(), ["squares"]);
    let ran = place.run(&["train", "squares", "--epochs", "1", "--skip-damaged"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("48 pictures of 8×8 pixels, in colour"), "{ran:?}");
    assert!(ran.err.contains("2 pictures cannot be read and are left out"), "{ran:?}");
}
