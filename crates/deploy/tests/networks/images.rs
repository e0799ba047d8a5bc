//! Pictures.

use std::fs;

use dendra_datasets::{AnyPreprocessing, ImageEncoder, Normalization};
use dendra_deploy::Network;
use dendra_nn::Sequential;
use dendra_tensor::Rng;

use crate::{classifier, place, save_with};

/// A PNG picture with a gradient of grey.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> = (0..width * height).map(|i| (i * 7 % 256) as u8).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

#[test]
fn pictures() {
    let (folder, path) = place("pets");
    let encoder = ImageEncoder::new([6, 5], false, Normalization::Scale).unwrap();
    let model = Sequential::input([3, 6, 5]).flatten().dense(2).build(&mut Rng::seed(3)).unwrap();
    save_with(model.to_file().unwrap(), &encoder, &["cat", "dog"], &path);
    let network = Network::load(&path).unwrap();

    let pictures = [picture(5, 6), picture(20, 9)];
    let files = [0, 1].map(|index| {
        let file = folder.path().join(format!("{index}.png"));
        fs::write(&file, &pictures[index]).unwrap();
        file
    });
    let answers = network.predict_images(&pictures).unwrap();
    assert_eq!(answers, network.predict(encoder.inputs(&files).unwrap()).unwrap());
    let error = network.predict_images(&[&pictures[0][..], b"hello"]).unwrap_err().to_string();
    assert!(error.contains("picture 1") && error.contains("neither a PNG nor a JPEG"), "{error}");
}

#[test]
fn a_preprocessing_can_be_given() {
    let (_folder, path) = place("net");
    classifier().save(&path).unwrap();
    let network = || Network::load(&path).unwrap();
    let of = |side| {
        AnyPreprocessing::Image(ImageEncoder::new([side; 2], true, Normalization::Raw).unwrap())
    };
    let error = network().with_preprocessing(of(2)).unwrap_err().to_string();
    assert!(error.contains("inputs of shape [4], got one for [1, 2, 2]"));

    let model = Sequential::input([1, 2, 2]).flatten().dense(3).build(&mut Rng::seed(1)).unwrap();
    model.save(&path).unwrap();
    let network = network().with_preprocessing(of(2)).unwrap();
    assert_eq!(network.predict_images(&[picture(2, 2)]).unwrap().len(), 1);
}
