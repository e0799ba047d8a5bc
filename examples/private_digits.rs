//! Classifies handwritten digits, with a bound on what the network reveals about a
//! single picture that it was trained on: differentially private training.

use dendra::prelude::*;
use dendra::privacy::{Accountant, Budget, Plan, Privacy};
use dendra::train::StopFlag;

mod options;

/// The probability with which the guarantee may fail.
const DELTA: f64 = 1e-5;

/// The samples whose gradients are computed at a time.
const PART: usize = 64;

#[derive(clap::Args, Debug)]
struct More {
    #[command(flatten)]
    digits: options::Digits,
    /// The privacy loss that the training may cause
    #[arg(long, value_name = "E", default_value = "2.93")]
    epsilon: f64,
    /// The norm to which the gradient of each picture is clipped
    #[arg(long, value_name = "C", default_value = "1")]
    max_norm: f64,
}

fn main() -> Result<()> {
    let options = options::Options::<More>::with_defaults(
        "Trains a 784-64-10 network on MNIST with differential privacy",
        &[("epochs", "20"), ("learning_rate", "0.5"), ("batch_size", "256")],
    );
    let mnist = options.more.digits.load()?;
    let mut model = Sequential::input([1, 28, 28])
        .flatten()
        .dense(64)
        .tanh()
        .dense(10)
        .build(&mut Rng::seed(options.seed))?;
    let mut optimizer = SGD::new(options.learning_rate).momentum(0.5);
    let loss = CrossEntropy::new().reduction(Reduction::None);

    // The noise with which this many steps stay within the budget.
    let samples = mnist.train.len();
    let sample_rate = (options.batch_size as f64 / samples as f64).min(1.0);
    let steps_of_epoch = samples.div_ceil(options.batch_size) as u64;
    let budget = Budget { epsilon: options.more.epsilon, delta: DELTA };
    let noise_multiplier =
        Accountant::Renyi.noise_multiplier(budget, sample_rate, options.epochs * steps_of_epoch)?;
    println!(
        "noise multiplier {noise_multiplier:.3} for epsilon {} at delta {DELTA}",
        budget.epsilon
    );
    let plan = Plan { samples, sample_rate, noise_multiplier, max_norm: options.more.max_norm };
    let mut privacy = Privacy::new(plan)?.budget(Accountant::Renyi, budget);

    let stop = StopFlag::on_ctrl_c()?;
    for epoch in 0..options.epochs {
        for _ in 0..steps_of_epoch {
            let mut step = privacy.step(&model)?;
            for indices in step.parts(PART) {
                let (x, y) = mnist.train.batch(&indices)?;
                let logits = model.forward(&optimizer.tape(options.seed).input(x))?;
                step.add(&loss.forward(&logits, &y)?)?;
            }
            let gradients = step.finish()?;
            optimizer.step(&mut model, &gradients)?;
            if stop.is_set() {
                break;
            }
        }
        let mut accuracy = Accuracy::new();
        for batch in DataLoader::new(&mnist.test).batch_size(1000).epoch(0) {
            let (x, y) = batch?;
            accuracy.update(model.forward(&Var::new(x))?.value(), &y)?;
        }
        let epsilon = privacy.epsilon(Accountant::Renyi, DELTA)?;
        println!(
            "epoch {}  test accuracy {:.2}%  epsilon {epsilon:.2}",
            epoch + 1,
            100.0 * accuracy.value()
        );
        if stop.is_set() {
            break;
        }
    }
    // The tighter accountant, once at the end.
    println!("epsilon {:.2} by numerical composition", privacy.epsilon(Accountant::Prv, DELTA)?);
    Ok(())
}
