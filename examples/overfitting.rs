//! Shows a network that overfits a small data set, and remedies.

use dendra::prelude::*;
use dendra::train::Chart;

mod options;

/// A number of samples that leads to overfitting.
const SAMPLES: usize = 500;

/// A method of training.
struct Recipe {
    name: &'static str,
    dropout: f64,
    weight_decay: f64,
    /// The largest shift of images, in pixels.
    shift: usize,
}

const PLAIN: Recipe = Recipe { name: "plain", dropout: 0.0, weight_decay: 0.0, shift: 0 };

const RECIPES: [Recipe; 4] = [
    PLAIN,
    Recipe { name: "dropout 0.5", dropout: 0.5, ..PLAIN },
    Recipe { name: "weight decay 1", weight_decay: 1.0, ..PLAIN },
    Recipe { name: "augmentation: shifts by up to 2 pixels", shift: 2, ..PLAIN },
];

/// The loss and the accuracy.
#[derive(Clone, Copy)]
struct Score {
    loss: f64,
    accuracy: f64,
}

type Digits<'a> = &'a dyn Dataset<Input = Tensor, Target = Tensor<i64>>;

fn score(model: &Sequential, data: Digits) -> Result<Score> {
    let (mut loss, mut accuracy) = (0.0, Accuracy::new());
    for batch in DataLoader::new(data).batch_size(500).epoch(0) {
        let (x, y) = batch?;
        let logits = model.forward(&Var::new(x))?;
        loss += f64::from(losses::cross_entropy(logits.value(), &y)?.item()?) * y.len() as f64;
        accuracy.update(logits.value(), &y)?;
    }
    Ok(Score { loss: loss / data.len() as f64, accuracy: accuracy.value() })
}

/// Shifts each image of `[n, 1, 28, 28]` by up to `most` pixels, with black at
/// the edges.
fn shifted(images: &Tensor, most: usize, rng: &mut Rng) -> Tensor {
    const SIZE: usize = 28;
    let pixels = images.to_vec();
    let mut by = || rng.below(2 * most + 1) as isize - most as isize;
    let moves: Vec<[isize; 2]> = (0..images.shape()[0]).map(|_| [by(), by()]).collect();
    Tensor::from_fn(images.shape(), |i| {
        let (image, row, column) = (i / (SIZE * SIZE), i / SIZE % SIZE, i % SIZE);
        let [down, right] = moves[image];
        let place = |at: usize, by: isize| at.checked_add_signed(-by).filter(|&at| at < SIZE);
        match (place(row, down), place(column, right)) {
            (Some(row), Some(column)) => pixels[(image * SIZE + row) * SIZE + column],
            _ => 0.0,
        }
    })
}

/// Loss and accuracy on training and validation data after each epoch.
fn train(
    recipe: &Recipe,
    options: &options::Options<options::Digits>,
    data: Digits,
    validation: Digits,
) -> Result<Vec<[Score; 2]>> {
    let seed = options.seed;
    let mut model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(256)
        .relu()
        .dropout(recipe.dropout)
        .dense(256)
        .relu()
        .dropout(recipe.dropout)
        .dense(10)
        .build(&mut Rng::seed(seed))?;
    let mut optimizer = AdamW::new(options.learning_rate).weight_decay(recipe.weight_decay);
    let loader = DataLoader::new(data).batch_size(options.batch_size).shuffle(seed);
    let mut rng = Rng::seed(seed).fork(1);
    let mut scores = Vec::with_capacity(options.epochs as usize);
    for epoch in 0..options.epochs {
        for batch in loader.epoch(epoch) {
            let (mut x, y) = batch?;
            if recipe.shift > 0 {
                x = shifted(&x, recipe.shift, &mut rng);
            }
            let logits = model.forward(&optimizer.tape(seed).input(x))?;
            let gradients = losses::cross_entropy(&logits, &y)?.backward()?;
            optimizer.step(&mut model, &gradients)?;
        }
        scores.push([score(&model, data)?, score(&model, validation)?]);
    }
    Ok(scores)
}

fn main() -> Result<()> {
    let options = options::Options::<options::Digits>::read(
        "Trains a network on 500 digits with and without dropout, weight decay and augmentation",
        "60",
        "0.001",
    );
    dendra::nn::check_writable("overfitting.svg")?;
    let mnist = options.more.load()?;
    let (data, validation) = (mnist.train.take(SAMPLES), mnist.test.take(5_000));

    println!("{SAMPLES} digits to train on, {} to validate\n", validation.len());
    println!("{:40}{:^22}{:^22}", "after the last epoch", "training", "validation");
    println!("{:40}{:>10}{:>12}{:>10}{:>12}", "", "loss", "accuracy", "loss", "accuracy");
    let mut charts = Vec::new();
    for recipe in &RECIPES {
        let scores = train(recipe, &options, &data, &validation)?;
        print!("{:40}", recipe.name);
        for score in scores.last().into_iter().flatten() {
            print!("{:>10.4}{:>11.2}%", score.loss, 100.0 * score.accuracy);
        }
        println!();
        let line = |part: usize| {
            let losses = scores.iter().map(|scores| scores[part].loss).enumerate();
            losses.map(|(epoch, loss)| ((epoch + 1) as f64, loss)).collect::<Vec<_>>()
        };
        charts.push((recipe.name, line(0), line(1)));
    }

    if options.epochs > 0 {
        // All charts have the same scale, so that they can be compared.
        let losses = charts.iter().flat_map(|(_, a, b)| a.iter().chain(b)).map(|point| point.1);
        let (epochs, highest) = (options.epochs.max(2) as f64, losses.fold(0.0, f64::max));
        let draw = |(name, training, validation)| {
            let chart = Chart::new("epoch", "loss").title(name);
            let chart = chart.ranges((1.0, epochs), (0.0, 1.05 * highest));
            chart.line("training", training).line("validation", validation)
        };
        let charts: Vec<Chart> = charts.into_iter().map(draw).collect();
        Chart::beside(&charts)?.save("overfitting.svg")?;
        println!("\ndrew overfitting.svg");
    }
    Ok(())
}
