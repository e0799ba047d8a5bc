//! Generates points of eight clusters with a Wasserstein GAN with gradient
//! penalty.

use clap::Parser;
use dendra::prelude::*;

mod numbers;

/// Trains a generator of points in the plane against a critic whose gradient
/// has the norm 1, and shows real and generated points side by side (Gulrajani
/// et al., "Improved training of Wasserstein GANs", 2017)
#[derive(Parser)]
struct Arguments {
    /// Number of steps of the generator
    #[arg(long, value_name = "N", default_value = "800")]
    #[arg(value_parser = numbers::at_least::<1, u64>, allow_negative_numbers = true)]
    steps: u64,
    /// Number of steps of the critic for each of them
    #[arg(long, value_name = "N", default_value = "4")]
    #[arg(value_parser = numbers::at_least::<1, u64>, allow_negative_numbers = true)]
    critic_steps: u64,
    /// Number of points in a batch
    #[arg(long, value_name = "N", default_value = "128")]
    #[arg(value_parser = numbers::at_least::<2, usize>, allow_negative_numbers = true)]
    batch_size: usize,
    /// Weight of the gradient penalty
    #[arg(long, value_name = "W", default_value = "1.0")]
    #[arg(value_parser = numbers::not_negative, allow_negative_numbers = true)]
    penalty: f64,
    /// Learning rate of Adam
    #[arg(long, value_name = "R", default_value = "0.001")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
}

const NOISE: usize = 4;
const CLUSTERS: usize = 8;
const DEVIATION: f64 = 0.1;

fn centre(cluster: usize) -> [f32; 2] {
    let angle = std::f32::consts::TAU * cluster as f32 / CLUSTERS as f32;
    [2.0 * angle.cos(), 2.0 * angle.sin()]
}

/// Random points around centres on a circle.
fn real_points(n: usize, rng: &mut Rng) -> Result<Tensor> {
    let clusters = Tensor::<i64>::randint(0, CLUSTERS as i64, [n], rng)?.to_vec();
    let centres = Tensor::from_fn([n, 2], |i| centre(clusters[i / 2] as usize)[i % 2]);
    Ok(centres + Tensor::normal([n, 2], 0.0, DEVIATION, rng))
}

fn main() -> Result<()> {
    let Arguments { steps, critic_steps, batch_size: n, penalty, learning_rate, seed } =
        Arguments::parse();
    let mut rng = Rng::seed(seed);
    let network = |inputs, outputs, rng: &mut Rng| {
        let hidden =
            Sequential::input([inputs]).dense(64).leaky_relu(0.2).dense(64).leaky_relu(0.2);
        hidden.dense(outputs).build(rng)
    };
    let mut generator = network(NOISE, 2, &mut rng)?;
    let mut critic = network(2, 1, &mut rng)?;
    let adam = || Adam::new(learning_rate).betas(0.5, 0.9);
    let (mut generator_optimizer, mut critic_optimizer) = (adam(), adam());
    let draw = |generator: &Sequential, n, rng: &mut Rng| {
        generator.forward(&Var::new(Tensor::normal([n, NOISE], 0.0, 1.0, rng))).map(Var::into_value)
    };

    for step in 0..steps {
        let mut distance = 0.0;
        for _ in 0..critic_steps {
            let (real, drawn) = (real_points(n, &mut rng)?, draw(&generator, n, &mut rng)?);
            // Between a real and a generated point, the gradient of the critic
            // should have the norm 1.
            let share = Tensor::uniform([n, 1], 0.0, 1.0, &mut rng);
            let between = real.mul(&share)? + drawn.mul(&(1.0 - &share))?;

            let tape = critic_optimizer.tape(seed);
            let of_real = critic.forward(&tape.input(real))?.mean();
            let of_drawn = critic.forward(&tape.input(drawn))?.mean();
            let between = tape.leaf(between);
            let slopes = critic.forward(&between)?.sum().grad_recorded(&between)?;
            let lengths = (slopes.square().sum_axes(&[1], false)? + 1e-12).sqrt();
            let difference = of_real - of_drawn;
            let loss = (lengths - 1.0).square().mean().mul_scalar(penalty) - &difference;
            critic_optimizer.step(&mut critic, &loss.backward()?)?;
            distance = difference.value().item()?;
        }

        // The generator increases the critic's scores of generated points; the
        // critic does not change.
        let tape = generator_optimizer.tape(seed);
        let drawn =
            generator.forward(&tape.input(Tensor::normal([n, NOISE], 0.0, 1.0, &mut rng)))?;
        critic.set_trainable(false);
        let loss = -critic.forward(&drawn)?.mean();
        critic.set_trainable(true);
        generator_optimizer.step(&mut generator, &loss.backward()?)?;
        if step % (steps / 8).max(1) == 0 || step + 1 == steps {
            println!("step {step:>4}  estimated distance {distance:.3}");
        }
    }

    let drawn = draw(&generator, 2000, &mut rng)?;
    show(&real_points(2000, &mut rng)?, &drawn);
    let mut counts = [0; CLUSTERS];
    let points = drawn.to_vec();
    for point in points.chunks(2) {
        let distance = |&cluster: &usize| {
            let [x, y] = centre(cluster);
            (point[0] - x).hypot(point[1] - y)
        };
        let near = (0..CLUSTERS).find(|cluster| distance(cluster) < 4.0 * DEVIATION as f32);
        if let Some(cluster) = near {
            counts[cluster] += 1;
        }
    }
    let near = 100.0 * counts.iter().sum::<usize>() as f64 / 2000.0;
    println!("\n{near:.1} % of the generated points are in a cluster; in each cluster {counts:?}");
    Ok(())
}

/// Real points on the left, generated ones on the right.
fn show(real: &Tensor, drawn: &Tensor) {
    const ROWS: usize = 20;
    let picture = |points: &Tensor| {
        let mut counts = [[0; 2 * ROWS]; ROWS];
        for point in points.to_vec().chunks(2) {
            let place = |x: f32, cells: usize| ((x / 5.0 + 0.5) * cells as f32).floor();
            let (column, row) = (place(point[0], 2 * ROWS), place(-point[1], ROWS));
            if (0.0..2.0 * ROWS as f32).contains(&column) && (0.0..ROWS as f32).contains(&row) {
                counts[row as usize][column as usize] += 1;
            }
        }
        let shade = |&count: &usize| match count {
            0 => ' ',
            1..3 => '.',
            3..8 => '+',
            _ => '#',
        };
        counts.map(|row| row.iter().map(shade).collect::<String>())
    };
    println!("\n{:<42}drawn", "real");
    for (real, drawn) in picture(real).iter().zip(picture(drawn)) {
        println!("{real}  {}", drawn.trim_end());
    }
}
