//! Trains a small transformer on a text and generates text character by
//! character.

use clap::Parser;
use dendra::optim::Schedule;
use dendra::prelude::*;

mod numbers;
mod run;
mod text;

use text::{Samples, Writer, Writing};

/// The number of steps over which the learning rate rises.
const WARM_UP: u64 = 100;

/// Trains a small generative transformer on a text and generates text
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    writing: Writing,
    /// Number of layers
    #[arg(long, value_name = "N", default_value = "4")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    layers: usize,
    /// Number of heads of the attention
    #[arg(long, value_name = "N", default_value = "4")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    heads: usize,
    /// Width of the layers
    #[arg(long, value_name = "W", default_value = "128")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    width: usize,
    /// Largest number of characters that the network uses
    #[arg(long, value_name = "L", default_value = "64")]
    #[arg(value_parser = numbers::at_least::<2, usize>, allow_negative_numbers = true)]
    context: usize,
    /// Number of text windows in a training step
    #[arg(long, value_name = "B", default_value = "12")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    batch_size: usize,
    /// Number of training steps, more than 100
    #[arg(long, value_name = "N", default_value = "2000")]
    #[arg(value_parser = numbers::at_least::<{ WARM_UP + 1 }, u64>, allow_negative_numbers = true)]
    steps: u64,
    /// Learning rate of AdamW; it rises for 100 steps and falls along a cosine
    #[arg(long, value_name = "R", default_value = "0.001")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Dropout probability in training
    #[arg(long, value_name = "P", default_value = "0.0")]
    #[arg(value_parser = numbers::dropout, allow_negative_numbers = true)]
    dropout: f64,
    #[command(flatten)]
    run: run::Run,
}

#[derive(Parameters)]
struct Gpt {
    tokens: Embedding,
    positions: LearnedPositions,
    blocks: TransformerEncoder,
    head: Linear,
}

impl Gpt {
    fn new(arguments: &Arguments, kinds: usize, rng: &mut Rng) -> Result<Self> {
        let &Arguments { width, heads, layers, context, dropout, .. } = arguments;
        let settings = TransformerEncoderLayer::new(width, heads)
            .dim_feedforward(4 * width)
            .activation(FeedForwardActivation::GELU)
            .dropout(dropout)
            .norm_first(true)
            .batch_first(true);
        let small = Init::Normal { mean: 0.0, std: 0.02 };
        let mut blocks = settings.stack_encoder(layers, rng)?;
        blocks.norm = Some(LayerNorm::new([width]).init(rng)?);
        Ok(Self {
            tokens: Embedding::new(kinds, width).weight_init(small).init(rng)?,
            positions: LearnedPositions::new(context, width, rng)?,
            blocks,
            head: Linear::new(width, kinds).bias(false).weight_init(small).init(rng)?,
        })
    }

    /// The largest number of characters that the model uses.
    fn context(&self) -> usize {
        self.positions.weight.value().shape()[0]
    }

    /// The scores for the character after these ones, given the caches of the
    /// earlier ones.
    fn read_on(&self, characters: &[i64], caches: &mut [KeyValueCache]) -> Result<Tensor> {
        let numbers = Tensor::from_vec(characters.to_vec(), [1, characters.len()])?;
        let x = self.tokens.lookup(&numbers, None)?;
        let x = self.positions.add(&x, caches[0].len())?;
        Ok(self.head.forward(&self.blocks.encode_cached(&x, caches)?)?.into_value())
    }
}

/// The scores `[N, L, kinds]` of the character after each of `[N, L]`
/// characters.
impl Model<Tensor<i64>> for Gpt {
    type Output = Var;

    fn run(&self, characters: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        let x = self.positions.forward(&self.tokens.lookup(characters, Some(tape))?)?;
        let causal = Attend { is_causal: true, ..Attend::default() };
        self.head.forward(&self.blocks.encode(&x, &causal)?)
    }
}

impl Writer for Gpt {
    fn write(
        &self,
        numbers: &mut Vec<i64>,
        count: usize,
        draw: &mut dyn FnMut(&Tensor) -> Result<i64>,
    ) -> Result<()> {
        let fresh = || vec![KeyValueCache::default(); self.blocks.layers.len()];
        let mut caches = fresh();
        let mut seen = 0;
        for _ in 0..count {
            // Learned positions end at the context length. Then the second half
            // of the text is processed again.
            if seen == 0 || caches[0].len() == self.context() {
                caches = fresh();
                seen = numbers.len() - numbers.len().min(self.context() / 2);
            }
            let scores = self.read_on(&numbers[seen..], &mut caches)?;
            seen = numbers.len();
            numbers.push(draw(&scores)?);
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let &Arguments { context, steps, learning_rate, .. } = &arguments;
    let writing = &arguments.writing;
    let (training, validation) = writing.windows(context, 1)?;
    let vocabulary = training.vocabulary();
    let model = Gpt::new(&arguments, vocabulary.len(), &mut Rng::seed(writing.seed))?;
    println!("{} parameters", model.parameter_count());
    let falling = CosineAnnealingLR::new(steps - WARM_UP).eta_min(learning_rate / 10.0);
    let optimizer = AdamW::new(learning_rate)
        .betas(0.9, 0.99)
        .weight_decay(0.1)
        .group(
            |name| name.contains("norm") || name.ends_with("bias"),
            |group| group.weight_decay(0.0),
        )
        .schedule(LinearLR::new(WARM_UP).start_factor(0.01).then(WARM_UP, falling))
        .clip_norm(1.0);

    let mut trainer = Trainer::new(model, optimizer, CrossEntropy::new().class_axis(-1))
        .metric(Perplexity::new().class_axis(-1));
    let fit = Fit::steps(steps)
        .batches_per_epoch(250)
        .batch_size(arguments.batch_size)
        .seed(writing.seed)
        .validate_on(&validation)
        .callback(Samples::<Gpt>::new(writing, vocabulary, 200));
    trainer.fit(&training, arguments.run.keep(fit)).map_err(run::explained)?;
    println!("{}", writing.write(trainer.model(), vocabulary, 1000)?);
    Ok(())
}
