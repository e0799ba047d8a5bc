//! Writes text one character at a time, with a small transformer that has read
//! some.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use dendra::optim::Schedule;
use dendra::prelude::*;

mod text;

use text::Text;

/// Trains a small generative transformer on a text and lets it write
#[derive(Parser)]
struct Arguments {
    /// The text, UTF-8; by default the project's own documentation
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Number of layers
    #[arg(long, value_name = "N", default_value_t = 4)]
    layers: usize,
    /// Number of heads of the attention
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// Width of the layers
    #[arg(long, value_name = "W", default_value_t = 128)]
    width: usize,
    /// Characters that the network sees at most
    #[arg(long, value_name = "L", default_value_t = 64)]
    context: usize,
    /// Pieces of text of a training step
    #[arg(long, value_name = "B", default_value_t = 12)]
    batch_size: usize,
    /// Training steps
    #[arg(long, value_name = "N", default_value_t = 2000)]
    steps: u64,
    /// Learning rate of AdamW; it rises for 100 steps and falls along a cosine
    #[arg(long, value_name = "R", default_value_t = 0.001)]
    learning_rate: f64,
    /// Probability with which a value is left out while training
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    dropout: f64,
    /// How bold the writing is: towards 0 the likeliest, above 1 the unlikely
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// What the writing begins with
    #[arg(long, value_name = "TEXT", default_value = "The ")]
    prompt: String,
    /// Seed of everything that is random
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
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

    /// The logits for characters `[N, L]`, as `[N · L, kinds]`.
    fn read(&self, characters: &Tensor<i64>, tape: Option<&Tape>) -> Result<Var> {
        let x = self.positions.forward(&self.tokens.lookup(characters, tape)?)?;
        let causal = Attend { is_causal: true, ..Attend::default() };
        self.head.forward(&self.blocks.encode(&x, &causal)?.flatten(0, 1)?)
    }

    /// The logits for the characters that follow those in the caches.
    fn read_on(&self, characters: &[i64], caches: &mut [KeyValueCache]) -> Result<Tensor> {
        let numbers = Tensor::from_vec(characters.to_vec(), [1, characters.len()])?;
        let x = self.tokens.lookup(&numbers, None)?;
        let x = self.positions.add(&x, caches[0].len())?;
        let y = self.blocks.encode_cached(&x, caches)?.flatten(0, 1)?;
        Ok(self.head.forward(&y)?.into_value())
    }

    /// Text that follows a prompt.
    fn write(&self, text: &Text, arguments: &Arguments, count: usize) -> Result<String> {
        let mut rng = Rng::seed(arguments.seed);
        let mut written = arguments.prompt.clone();
        let mut numbers = text.numbers(&written);
        if numbers.is_empty() {
            numbers.push(0);
        }
        let fresh = || vec![KeyValueCache::default(); arguments.layers];
        let mut caches = fresh();
        let mut seen = 0;
        for _ in 0..count {
            // Learned positions end with the context: then the later half of
            // the text is read again.
            if seen == 0 || caches[0].len() == arguments.context {
                caches = fresh();
                seen = numbers.len() - numbers.len().min(arguments.context / 2);
            }
            let logits = self.read_on(&numbers[seen..], &mut caches)?;
            seen = numbers.len();
            let number = text::draw(&logits, arguments.temperature, &mut rng)?;
            written.push(text.character(number));
            numbers.push(number);
        }
        Ok(written)
    }

    /// The mean loss over a part of the text, in nats per character.
    fn validate(&self, part: &[i64], context: usize) -> Result<f64> {
        let (mut sum, mut count) = (0.0, 0);
        let starts: Vec<usize> = (0..(part.len() - 1) / context).map(|i| i * context).collect();
        for starts in starts.chunks(64) {
            let (x, y) = pieces(part, starts, context)?;
            let loss = losses::cross_entropy(&self.read(&x, None)?, &y)?;
            sum += f64::from(loss.value().item()?) * starts.len() as f64;
            count += starts.len();
        }
        Ok(sum / count as f64)
    }
}

/// Pieces of a text, `[N, length]`, and the characters that follow each.
fn pieces(part: &[i64], starts: &[usize], length: usize) -> Result<(Tensor<i64>, Tensor<i64>)> {
    let of = |shift: usize| {
        Tensor::from_fn([starts.len(), length], |place| {
            part[starts[place / length] + place % length + shift]
        })
    };
    Ok((of(0), of(1).flatten(0, 1)?))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let text = Text::read(arguments.text.as_deref())?;
    println!("{}", text.describe());
    let context = arguments.context;
    if context < 2 || text.validation.len() < 2 * context {
        return Err(Error::argument("--context", "between 2 and half of the text to check on"));
    }
    let mut rng = Rng::seed(arguments.seed);
    let mut model = Gpt::new(&arguments, text.characters.len(), &mut rng)?;
    println!("{} parameters", model.parameter_count());
    let falling = CosineAnnealingLr::new(arguments.steps.saturating_sub(100))
        .eta_min(arguments.learning_rate / 10.0);
    let mut optimizer = AdamW::new(arguments.learning_rate)
        .betas(0.9, 0.99)
        .weight_decay(0.1)
        .group(
            |name| name.contains("norm") || name.ends_with("bias"),
            |group| group.weight_decay(0.0),
        )
        .schedule(LinearLr::new(100).start_factor(0.01).then(100, falling))
        .clip_norm(1.0);

    let start = Instant::now();
    let mut sum = 0.0;
    for step in 0..arguments.steps {
        let most = text.training.len() - context;
        let starts: Vec<usize> = (0..arguments.batch_size).map(|_| rng.below(most)).collect();
        let (x, y) = pieces(&text.training, &starts, context)?;
        let tape = Tape::training(arguments.seed, step);
        let gradients = losses::cross_entropy(&model.read(&x, Some(&tape))?, &y)?.backward()?;
        optimizer.step(&mut model, &gradients)?;
        sum += f64::from(gradients.loss());
        if (step + 1) % 100 == 0 {
            println!("step {}/{}  loss {:.4}", step + 1, arguments.steps, sum / 100.0);
            sum = 0.0;
        }
        if (step + 1) % 500 == 0 {
            let loss = model.validate(&text.validation, context)?;
            let seconds = start.elapsed().as_secs_f64();
            println!("step {}  validation loss {loss:.4}  {seconds:.0} s", step + 1);
            println!("---\n{}\n---", model.write(&text, &arguments, 200)?);
        }
    }
    println!("validation loss {:.4}", model.validate(&text.validation, context)?);
    println!("{}", model.write(&text, &arguments, 1000)?);
    Ok(())
}
