//! Pictures and sound against torchvision and transformers.

use dendra_models::*;
use dendra_tensor::Tensor;

use crate::filling::{noise, read};

fn picture(name: &str, height: usize, width: usize) -> Tensor<u8> {
    let bytes = noise(name, 3 * height * width).map(|v| ((v + 1.0) * 128.0).floor() as u8);
    Tensor::from_vec(bytes.collect(), [3, height, width]).unwrap()
}

fn sound(name: &str, count: usize) -> Vec<f32> {
    let wave = |hertz: f64, index: usize| {
        (std::f64::consts::TAU * hertz * (index as f64 / 16_000.0)).sin()
    };
    let samples = noise(name, count).enumerate();
    samples.map(|(i, v)| (0.3 * wave(440.0, i) + 0.1 * wave(3000.0, i) + 0.02 * v) as f32).collect()
}

#[test]
fn pictures_and_sound_are_those_of_torchvision_and_transformers() {
    use Interpolation::{Bicubic, Bilinear};
    let settings = |crop, resize, interpolation| {
        ImagePreprocessing::new(crop).resize_size(resize).interpolation(interpolation)
    };
    for (key, expected) in &read(include_str!("../fixtures/preprocessing.json")) {
        let found = match &key[..] {
            "presets" => continue,
            "picture/shrunk" => settings(12, 16, Bilinear).apply(&picture("shrunk", 37, 50)),
            "picture/shrunk_cubic" => {
                settings(13, 16, Bicubic).apply(&picture("shrunk_cubic", 50, 37))
            }
            "picture/grown" => settings(15, 20, Bilinear).apply(&picture("grown", 9, 7)),
            "picture/grown_cubic" => settings(20, 20, Bicubic).apply(&picture("grown_cubic", 9, 7)),
            "picture/as_it_is" => settings(9, 16, Bicubic).apply(&picture("as_it_is", 16, 21)),
            "sound/short" => LogMel::new(80).chunk_length(1).apply(&sound("short", 9000)),
            "sound/long" => LogMel::new(128).chunk_length(1).apply(&sound("long", 20000)),
            _ => panic!("no preprocessing for {key}"),
        };
        let mut found = found.unwrap().to_vec();
        if key.starts_with("sound") {
            found = found.into_iter().step_by(29).collect();
        }
        let expected: Vec<f32> = serde_json::from_value(expected.clone()).unwrap();
        assert_eq!(found.len(), expected.len(), "{key}");
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < 1e-4, "{key} {index}: {found} for {expected}");
        }
    }
}

#[test]
fn presets_are_those_of_torchvision() {
    let fixture = read(include_str!("../fixtures/preprocessing.json"));
    for (name, expected) in fixture["presets"].as_object().unwrap() {
        let (crop, resize, cubic, mean, std): (usize, usize, bool, [f32; 3], [f32; 3]) =
            serde_json::from_value(expected.clone()).unwrap();
        let interpolation = if cubic { Interpolation::Bicubic } else { Interpolation::Bilinear };
        let expected = ImagePreprocessing::new(crop).resize_size(resize).mean(mean).std(std);
        let found = ImagePreprocessing::of(name).unwrap();
        assert_eq!(found, expected.interpolation(interpolation), "{name}");
    }
    assert!(ImagePreprocessing::of("resnet19").is_err());
}

#[test]
fn wrong_pictures_and_sounds_are_told() {
    let error = |settings: ImagePreprocessing, shape: &[usize]| {
        settings.apply(&Tensor::zeros(shape)).unwrap_err().to_string()
    };
    let some = || ImagePreprocessing::new(4).resize_size(8);
    assert!(error(some(), &[1, 5, 5]).contains("expected an image [3, H, W], got [1, 5, 5]"));
    assert!(error(some(), &[3, 0, 5]).contains("0×5"));
    // A narrow picture would become huge.
    assert!(error(some().resize_size(1 << 20), &[3, 1, 4000]).contains("cannot resize"));
    assert!(error(ImagePreprocessing::new(9).resize_size(8), &[3, 5, 5]).contains("got 9"));
    assert!(error(some().std([0.0; 3]), &[3, 5, 5]).contains("deviations"));
    assert!(LogMel::new(80).apply(&[]).is_err());
    assert!(LogMel::new(80).apply(&[f32::NAN]).is_err());
    assert!(LogMel::new(0).apply(&[0.0]).is_err());
}
