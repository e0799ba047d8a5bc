//! Classifies a picture with a network and weights of torchvision.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::datasets::decode_image;
use dendra::models::{ImagePreprocessing, get_model, list_models, load_state};
use dendra::prelude::*;
use dendra::weights::Weights;

/// Classifies a picture
#[derive(Parser)]
struct Arguments {
    /// The name of the network in torchvision
    #[arg(value_parser = list_models().to_vec(), hide_possible_values = true)]
    network: String,
    /// Its weights, as downloaded by torchvision (.pth), or as safetensors
    weights: PathBuf,
    /// A PNG or JPEG file
    picture: PathBuf,
    /// A file with one class name per line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // The class names of ImageNet are part of torchvision.
    let labels: Option<Vec<String>> = match &arguments.labels {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
            Some(text.lines().map(str::to_owned).collect())
        }
    };
    let classes = labels.as_ref().map_or(1000, Vec::len);
    let model = network(&arguments.network, &arguments.weights, classes)?;
    let preprocessing = ImagePreprocessing::of(&arguments.network)?;
    for (class, probability) in best(&*model, &preprocessing, &arguments.picture)? {
        let name = labels.as_ref().map_or_else(|| format!("class {class}"), |it| it[class].clone());
        println!("{:5.1} %  {name}", 100.0 * probability);
    }
    Ok(())
}

/// A network with the weights in a file.
pub(crate) fn network(name: &str, weights: &Path, classes: usize) -> Result<Box<dyn Module>> {
    if !weights.exists() {
        let message = format!(
            "there is no such file: `torch.save(torchvision.models.{name}(weights=\"DEFAULT\")\
             .state_dict(), \"{name}.pth\")` writes one in Python"
        );
        return Err(Error::file(weights, message));
    }
    let mut model = get_model(name, classes)?;
    let state = Weights::open(weights)?.state_dict()?;
    load_state(&mut *model, state).map_err(|error| error.within(weights.display().to_string()))?;
    Ok(model)
}

/// The five most probable classes of a picture, the best first.
pub(crate) fn best(
    model: &dyn Module,
    preprocessing: &ImagePreprocessing,
    picture: &Path,
) -> Result<Vec<(usize, f32)>> {
    let bytes = fs::read(picture).map_err(|error| Error::io(picture, error))?;
    let image =
        decode_image(&bytes, false).map_err(|error| error.within(picture.display().to_string()))?;
    let pixels = Tensor::from_vec(image.pixels().to_vec(), image.shape())?;
    let input = preprocessing.apply(&pixels)?.unsqueeze(0)?;
    let logits = model.forward(&Tape::inference().input(input))?;
    let probabilities = logits.value().softmax(1)?.to_vec();
    let mut ranked: Vec<_> = probabilities.into_iter().enumerate().collect();
    ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    ranked.truncate(5);
    Ok(ranked)
}
