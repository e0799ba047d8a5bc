//! Compresses handwritten digits to a few numbers and reconstructs them.

use dendra::prelude::*;

mod options;
mod picture;
mod run;

/// The size of the code of a digit.
const CODE: usize = 16;
/// The number of pictures in a row of the sheet.
const COLUMNS: usize = 10;

/// Images, with their own pixels as the target.
struct Same<'a>(&'a ImageDataset);

impl Dataset for Same<'_> {
    type Input = Tensor;
    type Target = Tensor;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn input_shape(&self) -> Shape {
        self.0.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let (images, _) = self.0.batch(indices)?;
        Ok((images.clone(), images.flatten(1, -1)?))
    }
}

/// The source of the digits, and the checkpoints of the run.
#[derive(clap::Args, Debug)]
struct More {
    #[command(flatten)]
    digits: options::Digits,
    #[command(flatten)]
    run: run::Run,
}

fn main() -> Result<()> {
    let options = options::Options::<More>::read(
        "Compresses the digits of MNIST to 16 numbers and reconstructs them",
        "10",
        "0.001",
    );
    dendra::nn::check_writable("autoencoder.png")?;
    let mnist = options.more.digits.load()?;
    let (train, test) = (Same(&mnist.train), Same(&mnist.test));

    // The last layer returns logits; the loss applies the sigmoid.
    let model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(256)
        .relu()
        .dense(CODE)
        .named("code")
        .dense(256)
        .relu()
        .dense(28 * 28)
        .build(&mut Rng::seed(options.seed))?;
    println!("{:.1$}", model.summary(), dendra::train::terminal_width());

    let mut trainer =
        Trainer::new(model, Adam::new(options.learning_rate), BCEWithLogitsLoss::new());
    let fit = options.more.run.keep(options.fit());
    trainer.fit(&train, fit.validate_on(&test)).map_err(run::explained)?;

    // Rows of digits, each followed by a row of their reconstructions.
    let mut rows = Vec::new();
    for row in 0..4 {
        let indices: Vec<usize> = (row * COLUMNS..(row + 1) * COLUMNS).collect();
        let (images, _) = mnist.test.batch(&indices)?;
        let drawn = trainer.predict(&images)?.sigmoid().reshape([COLUMNS, 1, 28, 28])?;
        rows.extend([images, drawn]);
    }
    let sheet = Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0)?;
    picture::sheet(&sheet, COLUMNS, "autoencoder.png")?;

    let (images, flat) = test.batch(&(0..1_000).collect::<Vec<_>>())?;
    let error = trainer.predict(&images)?.sigmoid().sub(&flat)?.square().mean().item()?;
    println!("mean squared error of a pixel over 1,000 test digits: {error:.4}");
    Ok(())
}
