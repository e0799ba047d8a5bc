//! Fits a probability with four optimizers and compares them.

use dendra::prelude::*;

mod options;

fn main() -> Result<()> {
    let options = options::Options::<options::NoMore>::read(
        "Compares four optimizers on a small regression (generated data)",
        "100",
        "0.01",
    );
    let data = friedman(1_000, options.seed);
    let rate = options.learning_rate;
    let optimizers: [(&str, Box<dyn Optimizer>); 4] = [
        ("SGD", Box::new(SGD::new(rate))),
        ("SGD, momentum", Box::new(SGD::new(rate).momentum(0.9))),
        ("AdaGrad", Box::new(Adagrad::new(rate))),
        ("Adam", Box::new(Adam::new(rate))),
    ];

    let mut curves = Vec::new();
    let mut error = 0.0;
    for (name, optimizer) in optimizers {
        let model = Sequential::input([5])
            .dense(10)
            .relu()
            .dense(10)
            .relu()
            .dense(1)
            .sigmoid()
            .build(&mut Rng::seed(options.seed))?;
        let mut trainer =
            Trainer::new(model, optimizer, MSELoss::new()).metric(MeanAbsoluteError::new());
        let fit = options.fit().quiet();
        curves.push((name, trainer.fit(&data, fit)?.losses()));
        error = trainer.evaluate(&data)?.metric("mae")?;
    }

    println!("mean squared error on the training data\n");
    print!("epoch");
    curves.iter().for_each(|(name, _)| print!("{name:>16}"));
    println!();
    for epoch in (0..options.epochs as usize).filter(|epoch| *epoch == 0 || (epoch + 1) % 10 == 0) {
        print!("{:>5}", epoch + 1);
        curves.iter().for_each(|(_, losses)| print!("{:>16.4}", losses[epoch]));
        println!();
    }
    println!("\nmean absolute error with Adam: {error:.4}");
    Ok(())
}
