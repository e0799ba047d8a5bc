//! Classifies the points of two interleaving half moons.

use dendra::prelude::*;

mod options;

fn main() -> Result<()> {
    let options = options::Options::<options::NoMore>::read(
        "Trains a small network on two interleaving half moons (generated data)",
        "10",
        "0.01",
    );
    let data = moons(4_000, 0.1, options.seed)?;
    let (train, validation) = data.split(0.75, &mut Rng::seed(options.seed))?;

    // The loss applies the softmax to logits, which is more accurate than using
    // probabilities.
    let model = Sequential::input([2])
        .dense(10)
        .relu()
        .dense(10)
        .relu()
        .dense(2)
        .build(&mut Rng::seed(options.seed))?;
    println!("{:.1$}", model.summary(), dendra::train::terminal_width());

    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    let fit = options.fit();
    trainer.fit(&train, fit.validate_on(&validation))?;

    let accuracy = trainer.evaluate(&validation)?.metric("accuracy")?;
    println!("validation accuracy: {:.2}%", 100.0 * accuracy);
    Ok(())
}
