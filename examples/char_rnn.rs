//! Writes text one character at a time, with an LSTM or a GRU that has read
//! some.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use dendra::prelude::*;

mod text;

use text::Text;

/// Trains a recurrent network on a text and lets it write
#[derive(Parser)]
struct Arguments {
    /// The text, UTF-8; by default the project's own documentation
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// The kind of network
    #[arg(long, value_enum, default_value = "lstm")]
    model: Kind,
    /// Width of the recurrent layers
    #[arg(long, value_name = "H", default_value_t = 256)]
    hidden: usize,
    /// Number of recurrent layers
    #[arg(long, value_name = "N", default_value_t = 1)]
    layers: usize,
    /// How often to go through the text
    #[arg(long, value_name = "N", default_value_t = 20)]
    epochs: usize,
    /// Places of the text that are read side by side
    #[arg(long, value_name = "B", default_value_t = 32)]
    batch_size: usize,
    /// Characters of a training step at each place
    #[arg(long, value_name = "L", default_value_t = 50)]
    length: usize,
    /// Learning rate of Adam at the start; it falls to 0 along a cosine
    #[arg(long, value_name = "R", default_value_t = 0.003)]
    learning_rate: f64,
    /// Probability with which a value is left out while training
    #[arg(long, value_name = "P", default_value_t = 0.2)]
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

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Lstm,
    Gru,
}

#[derive(Parameters)]
enum Layers {
    Lstm(#[parameters(flatten)] LSTM),
    Gru(#[parameters(flatten)] GRU),
}

#[derive(Parameters)]
struct Net {
    embedding: Embedding,
    rnn: Layers,
    #[parameters(skip)]
    dropout: Dropout,
    head: Linear,
}

impl Net {
    fn new(arguments: &Arguments, kinds: usize, rng: &mut Rng) -> Result<Self> {
        let &Arguments { hidden, layers, dropout, .. } = arguments;
        let width = 64;
        Ok(Self {
            embedding: Embedding::new(kinds, width).init(rng)?,
            rnn: match arguments.model {
                Kind::Lstm => Layers::Lstm(
                    LSTM::new(width, hidden).num_layers(layers).dropout(dropout).init(rng)?,
                ),
                Kind::Gru => Layers::Gru(
                    GRU::new(width, hidden).num_layers(layers).dropout(dropout).init(rng)?,
                ),
            },
            dropout: Dropout::new(dropout)?,
            head: Linear::new(hidden, kinds).init(rng)?,
        })
    }

    /// The logits for characters `[L, N]`, as `[L · N, kinds]`, and the state
    /// behind them.
    fn read(
        &self,
        characters: &Tensor<i64>,
        state: Option<&RecurrentState>,
        tape: Option<&Tape>,
    ) -> Result<(Var, RecurrentState)> {
        let x = self.embedding.lookup(characters, tape)?;
        let (y, state) = match &self.rnn {
            Layers::Lstm(lstm) => lstm.run(&x, state, None)?,
            Layers::Gru(gru) => gru.run(&x, state, None)?,
        };
        let y = self.dropout.forward(&y)?.flatten(0, 1)?;
        Ok((self.head.forward(&y)?, state.detach()))
    }

    /// Text that follows a prompt.
    fn write(&self, text: &Text, arguments: &Arguments, count: usize) -> Result<String> {
        let mut rng = Rng::seed(arguments.seed);
        let mut written = arguments.prompt.clone();
        let prompt = text.numbers(&written);
        let mut next = if prompt.is_empty() { vec![0] } else { prompt };
        let mut state = None;
        for _ in 0..count {
            let characters = Tensor::from_vec(next.clone(), [next.len(), 1])?;
            let (logits, after) = self.read(&characters, state.as_ref(), None)?;
            let number = text::draw(logits.value(), arguments.temperature, &mut rng)?;
            written.push(text.character(number));
            (next, state) = (vec![number], Some(after));
        }
        Ok(written)
    }

    /// The mean loss over a part of the text, in nats per character.
    fn validate(&self, part: &Streams) -> Result<f64> {
        let (mut sum, mut state) = (0.0, None);
        for step in 0..part.steps {
            let (x, y) = part.step(step)?;
            let (logits, after) = self.read(&x, state.as_ref(), None)?;
            sum += f64::from(losses::cross_entropy(&logits, &y)?.value().item()?);
            state = Some(after);
        }
        Ok(sum / part.steps as f64)
    }
}

/// A text cut into streams that are read side by side, step after step.
struct Streams<'a> {
    numbers: &'a [i64],
    count: usize,
    length: usize,
    steps: usize,
}

impl<'a> Streams<'a> {
    fn new(numbers: &'a [i64], count: usize, length: usize) -> Self {
        let steps = (numbers.len() - 1) / count.max(1) / length.max(1);
        Self { numbers, count, length, steps }
    }

    /// The characters of a step, `[length, count]`, and those that follow them.
    fn step(&self, step: usize) -> Result<(Tensor<i64>, Tensor<i64>)> {
        let part = |shift: usize| {
            Tensor::from_fn([self.length, self.count], |place| {
                let (t, stream) = (place / self.count, place % self.count);
                self.numbers[(stream * self.steps + step) * self.length + t + shift]
            })
        };
        Ok((part(0), part(1).flatten(0, 1)?))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let text = Text::read(arguments.text.as_deref())?;
    println!("{}", text.describe());
    let training = Streams::new(&text.training, arguments.batch_size, arguments.length);
    let validation = Streams::new(&text.validation, 8, arguments.length);
    if training.steps == 0 || validation.steps == 0 {
        let message = "the text is too short for so many places of so many characters";
        return Err(Error::argument("--batch-size", message));
    }
    let mut model = Net::new(&arguments, text.characters.len(), &mut Rng::seed(arguments.seed))?;
    println!("{} parameters", model.parameter_count());
    let total = (arguments.epochs * training.steps) as u64;
    let mut optimizer =
        Adam::new(arguments.learning_rate).schedule(CosineAnnealingLr::new(total)).clip_norm(1.0);

    let start = Instant::now();
    for epoch in 0..arguments.epochs {
        let (mut sum, mut state) = (0.0, None);
        for step in 0..training.steps {
            let (x, y) = training.step(step)?;
            let tape = Tape::training(arguments.seed, optimizer.steps());
            let (logits, after) = model.read(&x, state.as_ref(), Some(&tape))?;
            let gradients = losses::cross_entropy(&logits, &y)?.backward()?;
            optimizer.step(&mut model, &gradients)?;
            sum += f64::from(gradients.loss());
            state = Some(after);
            if (step + 1) % 100 == 0 {
                let mean = sum / (step + 1) as f64;
                println!(
                    "epoch {} step {}/{}  loss {mean:.4}",
                    epoch + 1,
                    step + 1,
                    training.steps
                );
            }
        }
        println!(
            "epoch {}/{}  loss {:.4}  validation loss {:.4}  {:.0} s",
            epoch + 1,
            arguments.epochs,
            sum / training.steps as f64,
            model.validate(&validation)?,
            start.elapsed().as_secs_f64()
        );
        println!("---\n{}\n---", model.write(&text, &arguments, 300)?);
    }
    println!("{}", model.write(&text, &arguments, 1000)?);
    Ok(())
}
