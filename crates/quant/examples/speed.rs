//! The speed of networks of integers beside that of the same networks with
//! floats, in turn.
//!
//! ```text
//! cargo run --release -p dendra-quant --example speed [threads]
//! ```

use std::fs;
use std::time::Instant;

use dendra_models::ResNet;
use dendra_nn::autograd::Var;
use dendra_nn::{Module, Sequential};
use dendra_quant::kernels::Level;
use dendra_quant::{Quantizer, Scheme};
use dendra_tensor::{Error, Result, Rng, Tensor, set_num_threads};

const ROUNDS: usize = 9;

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).map_or(Ok(1), |text| text.parse());
    set_num_threads(threads.map_err(|_| Error::argument("speed", "expected a number"))?)?;
    println!("kernel {:?}; milliseconds, medians of {ROUNDS}", Level::fastest());
    println!("{:28} {:>9} {:>9} {:>7}", "network", "floats", "integers", "times");
    let rng = &mut Rng::seed(1);
    let perceptron = Sequential::input([784]).dense(512).relu().dense(512).relu().dense(10);
    let perceptron = perceptron.build(rng)?;
    for batch in [1, 64, 1024] {
        let x = Tensor::uniform([batch, 784], 0.0, 1.0, rng);
        compare(&format!("perceptron, {batch} samples"), &perceptron, &x)?;
    }
    let cnn = Sequential::input([1, 28, 28]).conv2d(32, 3).relu().max_pool2d(2).conv2d(64, 3);
    let cnn = cnn.relu().max_pool2d(2).flatten().dense(128).relu().dense(10).build(rng)?;
    for batch in [1, 64] {
        let x = Tensor::uniform([batch, 1, 28, 28], 0.0, 1.0, rng);
        compare(&format!("convolutions, {batch} samples"), &cnn, &x)?;
    }
    let resnet = ResNet::resnet18().build(rng)?;
    let x = Tensor::normal([1, 3, 224, 224], 0.0, 1.0, rng);
    compare("ResNet-18, 224 × 224", &resnet, &x)
}

/// Prints the times of a model and of its quantised form.
fn compare(name: &str, model: &impl Module, x: &Tensor) -> Result<()> {
    let mut quantizer = Quantizer::of(model, x)?;
    quantizer.observe(x)?;
    let quantised = quantizer.finish(Scheme::Static)?;
    let start = Instant::now();
    quantised.predict(x)?;
    // Linux counts processor time in steps of up to 10 ms.
    let repetitions = (0.1 / start.elapsed().as_secs_f64()).ceil() as usize;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let begin = seconds(start);
        for _ in 0..repetitions {
            model.forward(&Var::new(x.clone()))?;
        }
        let middle = seconds(start);
        for _ in 0..repetitions {
            quantised.predict(x)?;
        }
        times[0].push(middle - begin);
        times[1].push(seconds(start) - middle);
    }
    let [floats, integers] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        1e3 * times[ROUNDS / 2] / repetitions as f64
    });
    println!("{name:28} {floats:9.3} {integers:9.3} {:7.2}", floats / integers);
    Ok(())
}

/// The processor time of this thread where Linux tells it, which other programs
/// disturb little; otherwise the time since the start. With several threads, the
/// time since the start.
fn seconds(start: Instant) -> f64 {
    let on_cpu = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_cpu.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    match nanoseconds.filter(|_| dendra_tensor::num_threads() == 1) {
        Some(nanoseconds) => nanoseconds * 1e-9,
        None => start.elapsed().as_secs_f64(),
    }
}
