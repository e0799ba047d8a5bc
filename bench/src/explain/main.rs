//! The time of integrated gradients with 50 steps on the MNIST networks, as
//! `captum_side.py` measures Captum. Both print the processor time of one
//! explanation of a batch of images, in milliseconds.
//!
//! ```text
//! cargo build --release -p dendra-bench --features explain --bin explain
//! RAYON_NUM_THREADS=1 target/release/explain
//! OMP_NUM_THREADS=1 python bench/src/explain/captum_side.py
//! ```

use std::time::Instant;

use dendra::explain::{IntegratedGradients, Method};
use dendra::prelude::*;

#[path = "../mnist.rs"]
mod mnist;

/// The images that are explained at once.
const IMAGES: [usize; 2] = [1, 8];

fn main() -> Result<()> {
    dendra::set_num_threads(1)?;
    let rng = &mut Rng::seed(0);
    let networks =
        [("mnist_mlp", mnist::perceptron([128, 64])), ("mnist_cnn", mnist::convolutions())];
    for (name, network) in networks {
        let model = network.build(rng)?;
        for images in IMAGES {
            let x = Tensor::uniform([images, 1, 28, 28], 0.0, 1.0, rng);
            let explain = || IntegratedGradients::new(50).of(&model, &x, 3);
            explain()?;
            let mut times = Vec::new();
            for _ in 0..15 {
                let start = Instant::now();
                explain()?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            println!("{name} {images} {:.2}", times[times.len() / 4]);
        }
    }
    Ok(())
}
