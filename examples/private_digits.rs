//! Classifies handwritten digits with differentially private training, which
//! bounds what the network reveals about a single training picture.

use dendra::prelude::*;
use dendra::privacy::{Accountant, Budget, Plan, Privacy};

mod options;
mod run;

/// The probability with which the guarantee may fail.
const DELTA: f64 = 1e-5;

#[derive(clap::Args, Debug)]
struct More {
    #[command(flatten)]
    digits: options::Digits,
    #[command(flatten)]
    run: run::Run,
    /// The privacy loss of training
    #[arg(long, value_name = "E", default_value = "2.93")]
    epsilon: f64,
    /// The norm to which the gradient of each picture is clipped
    #[arg(long, value_name = "C", default_value = "0.1")]
    max_norm: f64,
}

fn main() -> Result<()> {
    let options = options::Options::<More>::with_defaults(
        "Trains a small convolutional network on MNIST with differential privacy",
        &[("epochs", "40"), ("learning_rate", "0.5"), ("batch_size", "512")],
    );
    let mnist = options.more.digits.load()?;

    // A bounded activation: gradients stay small, so clipping changes them less.
    let model = Sequential::input([1, 28, 28])
        .layer(Conv2d::new(1, 16, 8).stride(2).padding(3))
        .tanh()
        .layer(MaxPool2d::new(2).stride(1))
        .layer(Conv2d::new(16, 32, 4).stride(2))
        .tanh()
        .layer(MaxPool2d::new(2).stride(1))
        .flatten()
        .dense(32)
        .tanh()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;

    // The noise with which this many epochs stay within the budget.
    let (samples, budget) =
        (mnist.train.len(), Budget { epsilon: options.more.epsilon, delta: DELTA });
    let plan =
        Plan::for_budget(samples, options.batch_size, options.epochs, Accountant::Prv, budget)?;
    let plan = Plan { max_norm: options.more.max_norm, ..plan };
    println!("noise multiplier {:.3} for epsilon {}", plan.noise_multiplier, budget.epsilon);
    let mut privacy = Privacy::new(plan)?.budget(Accountant::Prv, budget);

    // Large steps first; small ones at the end, in which the noise averages out.
    let steps = options.epochs * samples.div_ceil(options.batch_size) as u64;
    let schedule = CosineAnnealingLR::new(steps);
    let optimizer = SGD::new(options.learning_rate).momentum(0.9).schedule(schedule);
    let mut trainer = Trainer::new(model, optimizer, CrossEntropy::new()).metric(Accuracy::new());
    let fit = options.more.run.keep(options.fit()).gradients(&mut privacy);
    trainer.fit(&mnist.train, fit.validate_on(&mnist.test)).map_err(run::explained)?;

    let accuracy = trainer.evaluate(&mnist.test)?.metric("accuracy")?;
    println!("test accuracy: {:.2}% ({})", 100.0 * accuracy, mnist.source);
    // The tighter accountant, once at the end.
    for accountant in [Accountant::Renyi, Accountant::Prv] {
        let epsilon = privacy.epsilon(accountant, DELTA)?;
        println!("epsilon {epsilon:.2} at delta {DELTA} ({accountant:?})");
    }
    Ok(())
}
