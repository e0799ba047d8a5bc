//! Fine-tunes a pretrained network on new classes: a ResNet with a new head
//! learns ten digits in fewer steps than an untrained network.

use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::models::{ResNet, ResNetBlock, ResNetSettings, load_state};
use dendra::prelude::*;
use dendra::weights::Weights;

/// The file of the network that is trained here, on the digits 0 to 4.
const FIVE_DIGITS: &str = "five_digits.safetensors";

/// The number of images that the small network is pretrained on; those of the
/// digits 5 to 9 are left out.
const FIRST_IMAGES: usize = 1500;

/// The number of images that both networks are trained with, and tested with.
const IMAGES: usize = 300;

/// Compares a pretrained network with a new head with an untrained network
#[derive(Parser)]
struct Arguments {
    /// Weights of torchvision's resnet18; by default a small ResNet is trained on the digits 0
    /// to 4 first
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The number of training steps of both networks
    #[arg(long, value_name = "N", default_value = "20")]
    steps: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (settings, weights) = match arguments.weights {
        Some(weights) => (ResNet::resnet18(), weights),
        None => {
            println!("training a network on the digits 0 to 4 …");
            train_on_five(FIVE_DIGITS, FIRST_IMAGES, 3)?;
            (small().num_classes(5), FIVE_DIGITS.into())
        }
    };
    let [trained, fresh] = compare(&settings, &weights, IMAGES, arguments.steps)?;
    println!("accuracy on ten digits after {} steps with {IMAGES} images:", arguments.steps);
    println!("{:6.1} %  of the pretrained network with a new head", 100.0 * trained);
    println!("{:6.1} %  of the untrained network", 100.0 * fresh);
    Ok(())
}

/// A ResNet with half the blocks of ResNet-18 and an eighth of the channels.
pub(crate) fn small() -> ResNetSettings {
    ResNet::new(ResNetBlock::Basic, [1; 4]).planes(8)
}

/// Trains the small network on the digits 0 to 4 and saves it.
pub(crate) fn train_on_five(file: &str, images: usize, epochs: u64) -> Result<()> {
    let (images, labels) = coloured(images, 1)?;
    let few = labels.to_vec();
    let few: Vec<usize> = (0..few.len()).filter(|&index| few[index] < 5).collect();
    let (images, labels) = (images.index_select(0, &few)?, labels.index_select(0, &few)?);
    let data = ImageDataset::new(images, labels, 5)?;
    let model = small().num_classes(5).build(&mut Rng::seed(1))?;
    let mut trainer = Trainer::new(model, Adam::new(2e-3), CrossEntropy::new());
    trainer.fit(&data, Fit::epochs(epochs).batch_size(32).quiet())?;
    dendra::nn::save(trainer.model(), file)
}

/// The accuracies on ten digits of the network with these settings and weights,
/// and of an untrained one, after the same steps on the same images.
pub(crate) fn compare(
    settings: &ResNetSettings,
    weights: &Path,
    images: usize,
    steps: u64,
) -> Result<[f64; 2]> {
    let rng = &mut Rng::seed(2);
    let mut trained = settings.blank()?;
    load_state(&mut trained, Weights::open(weights)?.state_dict()?)?;
    let features = trained.fc.weight.value().shape()[1];
    trained.fc = Linear::new(features, 10).init(rng)?;
    let fresh = settings.clone().num_classes(10).build(rng)?;

    let data = |count, seed| {
        let (images, labels) = coloured(count, seed)?;
        ImageDataset::new(images, labels, 10)
    };
    let (train, test) = (data(images, 3)?, data(images, 4)?);
    let accuracy = |model: ResNet| {
        let mut trainer =
            Trainer::new(model, Adam::new(2e-3), CrossEntropy::new()).metric(Accuracy::new());
        trainer.fit(&train, Fit::steps(steps).batch_size(32).quiet())?;
        Ok(trainer.evaluate(&test)?.metric("accuracy").unwrap_or_default())
    };
    Ok([accuracy(trained)?, accuracy(fresh)?])
}

/// Generated digits with three equal channels, and their labels.
fn coloured(count: usize, seed: u64) -> Result<(Tensor<u8>, Tensor<i64>)> {
    let digits = digits(count, seed);
    let grey = digits.images();
    Ok((Tensor::cat(&[grey, grey, grey], 1)?, digits.labels().clone()))
}
