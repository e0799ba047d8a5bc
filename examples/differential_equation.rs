//! Solves a differential equation with a network whose loss uses derivatives
//! with respect to the input.

use clap::Parser;
use dendra::prelude::*;

mod numbers;

/// Learns the motion of a damped pendulum, u″ + 2·D·u′ + W²·u = 0 with u(0) = 1
/// and u′(0) = 0, from the equation alone, and compares the network with the
/// exact solution
#[derive(Parser)]
struct Arguments {
    /// Number of steps of the optimizer
    #[arg(long, value_name = "N", default_value = "4000")]
    #[arg(value_parser = numbers::at_least::<1, u64>, allow_negative_numbers = true)]
    steps: u64,
    /// Number of times t in a step
    #[arg(long, value_name = "N", default_value = "64")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    moments: usize,
    /// Learning rate of Adam at the start; it falls to 0 along a cosine
    #[arg(long, value_name = "R", default_value = "0.01")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
}

/// Damping D, frequency W and the last time.
const DAMPING: f64 = 0.3;
const FREQUENCY: f64 = 2.0;
const END: f64 = 6.0;

/// The solution of the network, which starts at 1 and at rest for any weights:
/// u(t) = 1 + (1 − exp(−t))² · net(t).
fn swing(net: &Sequential, t: &Var) -> Result<Var> {
    let start = (1.0 - (-t).exp()).square();
    Ok(start.mul(&net.forward(&t.mul_scalar(2.0 / END).add_scalar(-1.0))?)? + 1.0)
}

fn exact(t: f64) -> f64 {
    let w = (FREQUENCY * FREQUENCY - DAMPING * DAMPING).sqrt();
    (-DAMPING * t).exp() * ((w * t).cos() + DAMPING / w * (w * t).sin())
}

fn main() -> Result<()> {
    let Arguments { steps, moments, learning_rate, seed } = Arguments::parse();
    let mut rng = Rng::seed(seed);
    let mut net =
        Sequential::input([1]).dense(32).tanh().dense(32).tanh().dense(1).build(&mut rng)?;
    let mut optimizer = Adam::new(learning_rate);
    for step in 0..steps {
        optimizer.set_learning_rate(
            learning_rate * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos()) / 2.0,
        );
        let t = Tensor::uniform([moments, 1], 0.0, END, &mut rng);
        let t = optimizer.tape(seed).leaf(t);
        let u = swing(&net, &t)?;
        // Each u depends only on its own t, so the gradient of the sum has all
        // derivatives.
        let slope = u.sum().grad_recorded(&t)?;
        let bend = slope.sum().grad_recorded(&t)?;
        let residual = bend + slope.mul_scalar(2.0 * DAMPING) + u.mul_scalar(FREQUENCY * FREQUENCY);
        let gradients = residual.square().mean().backward()?;
        optimizer.step(&mut net, &gradients)?;
        if step % (steps / 6).max(1) == 0 || step + 1 == steps {
            println!("step {step:>5}  mean squared residual {:.2e}", gradients.loss());
        }
    }

    println!("\n     t   network     exact");
    let mut largest = 0.0_f64;
    for step in 0..=24 {
        let t = END * f64::from(step) / 24.0;
        let u = f64::from(swing(&net, &Var::new(Tensor::full([1, 1], t as f32)))?.value().item()?);
        let expected = exact(t);
        largest = largest.max((u - expected).abs());
        let column = |u: f64| ((u + 1.0) * 20.0).round().clamp(0.0, 40.0) as usize;
        let mut line = [' '; 41];
        line[20] = '|';
        line[column(expected)] = 'o';
        line[column(u)] = 'x';
        let line: String = line.iter().collect();
        println!("{t:6.2}  {u:8.4}  {expected:8.4}  {}", line.trim_end());
    }
    println!("\nx: network, o: exact where they differ; largest error {largest:.4}");
    Ok(())
}
