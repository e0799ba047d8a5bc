//! Measures what a step of private training costs, compared with a plain one.

use std::time::Instant;

use dendra::prelude::*;
use dendra::privacy::{Plan, Privacy};

/// The samples of the data; their values do not matter for the time.
const SAMPLES: usize = 4_096;

/// The pairs of measurements, of which the fastest count: other programs only slow steps down.
const PAIRS: usize = 25;

fn fastest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The milliseconds of a plain and of a private step, and their quotient.
fn measure(model: &mut Sequential, data: &ImageDataset, batch: usize) -> Result<[f64; 3]> {
    let (plain, each) = (CrossEntropy::new(), CrossEntropy::new().reduction(Reduction::None));
    let plan = Plan {
        samples: SAMPLES,
        sample_rate: batch as f64 / SAMPLES as f64,
        noise_multiplier: 1.0,
        max_norm: 0.1,
    };
    let mut privacy = Privacy::new(plan)?;
    let mut optimizer = SGD::new(0.01);
    let mut times = [Vec::new(), Vec::new()];
    for pair in 0..=PAIRS {
        let begin = Instant::now();
        let mut done = 0;
        let indices: Vec<usize> = (0..batch).map(|i| (i + pair * batch) % SAMPLES).collect();
        let (x, y) = data.batch(&indices)?;
        let logits = model.forward(&optimizer.tape(0).input(x))?;
        let gradients = plain.forward(&logits, &y)?.backward()?;
        optimizer.step(model, &gradients)?;
        let middle = Instant::now();
        let mut step = privacy.step(&*model)?;
        for indices in step.parts(64) {
            let (x, y) = data.batch(&indices)?;
            let logits = model.forward(&optimizer.tape(0).input(x))?;
            step.add(&each.forward(&logits, &y)?)?;
            done += indices.len();
        }
        let gradients = step.finish()?;
        optimizer.step(model, &gradients)?;
        let end = Instant::now();
        // The first pair warms up, and the number of samples is random.
        if pair > 0 && done > 0 {
            let [plain, private] = [middle - begin, end - middle].map(|time| time.as_secs_f64());
            times[0].push(1e3 * plain);
            times[1].push(1e3 * private * batch as f64 / done as f64);
        }
    }
    let [plain, private] = times.map(|times| fastest(&times));
    Ok([plain, private, private / plain])
}

fn main() -> Result<()> {
    // One thread, whose processor time does not depend on other programs.
    dendra::set_num_threads(1)?;
    let data = Mnist::synthetic(SAMPLES, 1, 0).train;
    let input = || Sequential::input([1, 28, 28]);
    let networks = [
        ("mnist_mlp", input().flatten().dense(64).relu().dense(64).relu().dense(10)),
        (
            "mnist_cnn",
            input().conv2d(32, 3).relu().max_pool2d(2).flatten().dense(128).relu().dense(10),
        ),
    ];
    println!("{:12}{:>8}{:>12}{:>12}{:>8}", "", "batch", "plain", "private", "ratio");
    for (name, network) in networks {
        let mut model = network.build(&mut Rng::seed(1))?;
        for batch in [64, 256, 512] {
            let [plain, private, ratio] = measure(&mut model, &data, batch)?;
            println!("{name:12}{batch:>8}{plain:>9.1} ms{private:>9.1} ms{ratio:>8.2}");
        }
    }
    Ok(())
}
