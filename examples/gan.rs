//! Generates handwritten digits with a generative adversarial network.

use dendra::prelude::*;

mod options;
mod picture;

/// The number of noise values for a picture.
const NOISE: usize = 64;
/// The number of pictures along a side of the sheet.
const SIDE: usize = 8;

fn main() -> Result<()> {
    let options = options::Options::<options::Digits>::read(
        "Trains a generator and a discriminator of MNIST's digits against each other",
        "20",
        "0.0002",
    );
    ["gan.png", "gan.safetensors"].iter().try_for_each(dendra::nn::check_writable)?;
    let mnist = options.more.load()?;
    let mut rng = Rng::seed(options.seed);
    let mut generator = Sequential::input([NOISE])
        .dense(256)
        .batch_norm1d()
        .leaky_relu(0.2)
        .dense(512)
        .batch_norm1d()
        .leaky_relu(0.2)
        .dense(28 * 28)
        .sigmoid()
        .build(&mut rng)?;
    let mut discriminator = Sequential::input([28 * 28])
        .dense(512)
        .leaky_relu(0.2)
        .dropout(0.3)
        .dense(256)
        .leaky_relu(0.2)
        .dropout(0.3)
        .dense(1)
        .build(&mut rng)?;
    println!("generator\n{}\ndiscriminator\n{}", generator.summary(), discriminator.summary());

    let adam = || Adam::new(options.learning_rate).betas(0.5, 0.999);
    let (mut generator_optimizer, mut discriminator_optimizer) = (adam(), adam());
    let loss = BCEWithLogitsLoss::new();
    let loader = DataLoader::new(&mnist.train).batch_size(options.batch_size).shuffle(options.seed);
    // The same noise for every sheet shows how the pictures develop.
    let shown = Var::new(Tensor::normal([SIDE * SIDE, NOISE], 0.0, 1.0, &mut rng));

    let stop = dendra::train::StopFlag::on_ctrl_c()?;
    for epoch in (0..options.epochs).take_while(|_| !stop.is_set()) {
        let mut sums = [0.0; 3];
        for batch in loader.epoch(epoch) {
            if stop.is_set() {
                break;
            }
            let (images, _) = batch?;
            let real = images.flatten(1, -1)?;
            let count = real.shape()[0];
            if count == 1 {
                continue; // One picture has no statistics for batch normalisation.
            }
            let ones = Tensor::ones([count, 1]);

            // The discriminator: targets are 0.9 for real pictures (not 1, so
            // that it does not become too certain) and 0 for generated ones.
            let noise = Tensor::normal([count, NOISE], 0.0, 1.0, &mut rng);
            let tape = generator_optimizer.tape(options.seed);
            let drawn = generator.forward(&tape.input(noise))?;
            let tape = discriminator_optimizer.tape(options.seed.wrapping_add(1));
            let of_real = discriminator.forward(&tape.input(real))?;
            let of_drawn = discriminator.forward(&tape.input(drawn.value().clone()))?;
            let judgement = loss.compute(&of_real, &ones.mul_scalar(0.9))?
                + loss.compute(&of_drawn, &ones.mul_scalar(0.0))?;
            let gradients = judgement.backward()?;
            discriminator_optimizer.step(&mut discriminator, &gradients)?;
            sums[0] += gradients.loss() / 2.0;
            let taken_for_real = of_drawn.value().map(|logit| f32::from(logit > 0.0));
            sums[2] += taken_for_real.mean().item()?;

            // The generator: the target of the discriminator is 1. The
            // discriminator passes the gradient on without changing.
            discriminator.set_trainable(false);
            let verdict = discriminator.forward(&drawn)?;
            discriminator.set_trainable(true);
            let gradients = loss.compute(&verdict, &ones)?.backward()?;
            generator_optimizer.step(&mut generator, &gradients)?;
            sums[1] += gradients.loss();
        }
        let [discriminator_loss, generator_loss, fooled] =
            sums.map(|sum| sum / loader.len() as f32);
        println!(
            "epoch {}/{}  discriminator {discriminator_loss:.4}  generator {generator_loss:.4}  \
             taken for real {:.1}%",
            epoch + 1,
            options.epochs,
            100.0 * fooled
        );
        let pictures = generator.forward(&shown)?.value().reshape([SIDE * SIDE, 1, 28, 28])?;
        picture::sheet(&pictures, SIDE, "gan.png")?;
    }
    generator.save("gan.safetensors")?;
    println!("saved the generator as gan.safetensors");
    Ok(())
}
