//! Forecasts a noisy series with a GRU, and draws the forecast together with
//! the true values.

use clap::Parser;
use dendra::prelude::*;

mod chart;
mod numbers;
mod run;

/// Trains a GRU on a noisy series and forecasts its next values
#[derive(Parser)]
struct Arguments {
    /// Number of values before each forecast that the network uses
    #[arg(long, value_name = "L", default_value = "60")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    window: usize,
    /// Number of consecutive values to forecast
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    horizon: usize,
    /// Standard deviation of the noise
    #[arg(long, value_name = "S", default_value = "0.1")]
    #[arg(value_parser = numbers::not_negative, allow_negative_numbers = true)]
    noise: f64,
    /// Width of the GRU
    #[arg(long, value_name = "H", default_value = "32")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    hidden: usize,
    /// Number of epochs
    #[arg(long, value_name = "N", default_value = "60")]
    #[arg(value_parser = numbers::at_least::<0, u64>, allow_negative_numbers = true)]
    epochs: u64,
    /// Number of samples in a training step
    #[arg(long, value_name = "B", default_value = "32")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    batch_size: usize,
    /// Learning rate of Adam
    #[arg(long, value_name = "R", default_value = "0.003")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    run: run::Run,
}

#[derive(Parameters)]
struct Net {
    gru: GRU,
    head: Linear,
}

impl Module for Net {
    /// The value that follows each window `[N, L, 1]`.
    fn forward(&self, x: &Var) -> Result<Var> {
        let (_, state) = self.gru.run(x, None, None)?;
        self.head.forward(&state.h.squeeze(0)?)
    }
}

/// The sum of two waves with unrelated periods.
fn wave(t: usize) -> f64 {
    let t = t as f64;
    (t * 0.12).sin() + 0.5 * (t * 0.31 + 1.0).sin()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let &Arguments { window, horizon, noise, .. } = &arguments;
    let mut rng = Rng::seed(arguments.seed);
    let length = 2000;
    let series: Vec<f32> = (0..length).map(|t| (wave(t) + noise * rng.normal()) as f32).collect();
    let count = length - window;
    let windows = Tensor::from_fn([count, window, 1], |i| series[i / window + i % window]);
    let next = Tensor::from_fn([count, 1], |i| series[i + window]);
    let data = TensorDataset::new(windows, next)?;

    let model = Net {
        gru: GRU::new(1, arguments.hidden).batch_first(true).init(&mut rng)?,
        head: Linear::new(arguments.hidden, 1).init(&mut rng)?,
    };
    println!("{} values of a series with noise of {noise}", series.len());
    let mut trainer = Trainer::new(model, Adam::new(arguments.learning_rate), MSELoss::new());
    let fit = Fit::epochs(arguments.epochs).batch_size(arguments.batch_size);
    let fit = arguments.run.keep(fit.seed(arguments.seed));
    trainer.fit(&data, fit).map_err(run::explained)?;

    // Each forecast is an input of the next one.
    let mut seen = series[length - window..].to_vec();
    let mut forecast = Vec::with_capacity(horizon);
    for _ in 0..horizon {
        let x = Tensor::from_vec(seen[seen.len() - window..].to_vec(), [1, window, 1])?;
        let value = trainer.model().forward(&Var::new(x))?.value().item()?;
        forecast.push(value);
        seen.push(value);
    }
    let truth: Vec<f32> = (0..horizon).map(|t| wave(length + t) as f32).collect();
    println!("\nthe last values, then the forecast (●) and the truth without noise (·)\n");
    let before = &series[length - window.min(40)..];
    print!("{}", chart::draw(before, &forecast, &truth, 18));
    let squares = forecast.iter().zip(&truth).map(|(a, b)| f64::from(a - b).powi(2));
    let error = (squares.sum::<f64>() / horizon as f64).sqrt();
    println!("\nroot mean square error over {horizon} values: {error:.3}");
    Ok(())
}
