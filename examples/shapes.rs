//! Classifies pictures of circles, squares and triangles: trains on a folder of
//! pictures and saves the model. With paths of pictures as arguments,
//! classifies them.

use dendra::datasets::{CachedDataset, ImageEncoder, ImageFolder};
use dendra::prelude::*;

fn main() -> Result<()> {
    let pictures: Vec<String> = std::env::args().skip(1).collect();
    match pictures.is_empty() {
        true => {
            train("examples/data/shapes", "shapes.safetensors")?;
            println!("saved shapes.safetensors; to predict with it:");
            println!("cargo run --example shapes --features images -- FILE.png");
            Ok(())
        }
        false => predict("shapes.safetensors", &pictures),
    }
}

pub(crate) fn train(folder: &str, file: &str) -> Result<()> {
    let rng = &mut Rng::seed(42);
    let pictures = ImageFolder::open(folder)?.size(24, 24).grey(true);
    let classes = pictures.class_names().to_vec();
    let encoder = pictures.encoder(Normalization::Scale)?;
    let pictures = TransformDataset::new(CachedDataset::new(pictures), encoder.clone())?;
    let (train, test) = pictures.split_stratified(0.8, rng)?;

    let model = Sequential::input([1, 24, 24])
        .conv2d(8, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(16)
        .relu()
        .dense(classes.len())
        .build(rng)?;
    let model = Predictor::new(model, encoder).classes(classes);
    let mut trainer =
        Trainer::new(model, Adam::new(0.003), CrossEntropy::new()).metric(Accuracy::new());
    trainer.fit(&train, Fit::epochs(20).batch_size(16).validate_on(&test))?;
    trainer.model().save(file)
}

pub(crate) fn predict(file: &str, pictures: &[String]) -> Result<()> {
    let model = Predictor::<ImageEncoder>::load(file)?;
    for (picture, answer) in pictures.iter().zip(model.predict(pictures)?) {
        println!("{picture}: {answer}");
    }
    Ok(())
}
