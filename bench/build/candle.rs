//! Trains a small network on random images with candle.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{
    AdamW, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, conv2d, linear, loss, seq,
};
use clap::Parser;

/// The options of the program.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = Device::Cpu;
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let convolution = conv2d(1, 8, 3, Default::default(), builder.pp("convolution"))?;
    let model = seq()
        .add_fn(move |x| convolution.forward(x)?.relu()?.max_pool2d(2)?.flatten_from(1))
        .add(linear(8 * 13 * 13, 10, builder.pp("dense"))?);
    let parameters = ParamsAdamW { lr: arguments.learning_rate, ..Default::default() };
    let mut optimizer = AdamW::new(variables.all_vars(), parameters)?;
    let images = Tensor::randn(0_f32, 1.0, (32, 1, 28, 28), &device)?;
    let labels = Tensor::zeros(32, DType::U32, &device)?;
    for epoch in 0..arguments.epochs {
        let loss = loss::cross_entropy(&model.forward(&images)?, &labels)?;
        optimizer.backward_step(&loss)?;
        println!("epoch {epoch}: {}", loss.to_scalar::<f32>()?);
    }
    variables.save("model.safetensors")
}
