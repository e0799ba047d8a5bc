//! Trains an LSTM or a GRU on a text and generates text character by character.

use clap::{Parser, ValueEnum};
use dendra::prelude::*;

mod numbers;
mod run;
mod text;

use text::{Samples, Writer, Writing};

/// Trains a recurrent network on a text and generates text
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    writing: Writing,
    /// The kind of network
    #[arg(long, value_enum, default_value = "lstm")]
    model: Kind,
    /// Width of the recurrent layers
    #[arg(long, value_name = "H", default_value = "256")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    hidden: usize,
    /// Number of recurrent layers
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    layers: usize,
    /// Number of epochs
    #[arg(long, value_name = "N", default_value = "20")]
    #[arg(value_parser = numbers::at_least::<0, u64>, allow_negative_numbers = true)]
    epochs: u64,
    /// Number of text windows in a training step
    #[arg(long, value_name = "B", default_value = "32")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    batch_size: usize,
    /// Number of characters in a window
    #[arg(long, value_name = "L", default_value = "50")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    length: usize,
    /// Learning rate of Adam at the start; it falls to 0 along a cosine
    #[arg(long, value_name = "R", default_value = "0.003")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Dropout probability in training
    #[arg(long, value_name = "P", default_value = "0.2")]
    #[arg(value_parser = numbers::dropout, allow_negative_numbers = true)]
    dropout: f64,
    #[command(flatten)]
    run: run::Run,
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
        let lstm = LSTM::new(width, hidden).num_layers(layers).dropout(dropout).batch_first(true);
        let gru = GRU::new(width, hidden).num_layers(layers).dropout(dropout).batch_first(true);
        Ok(Self {
            embedding: Embedding::new(kinds, width).init(rng)?,
            rnn: match arguments.model {
                Kind::Lstm => Layers::Lstm(lstm.init(rng)?),
                Kind::Gru => Layers::Gru(gru.init(rng)?),
            },
            dropout: Dropout::new(dropout)?,
            head: Linear::new(hidden, kinds).init(rng)?,
        })
    }

    /// The scores `[N, L, kinds]` of the character after each of `[N, L]`
    /// characters, and the state after them.
    fn read(
        &self,
        characters: &Tensor<i64>,
        state: Option<&RecurrentState>,
        tape: &Tape,
    ) -> Result<(Var, RecurrentState)> {
        let x = self.embedding.lookup(characters, Some(tape))?;
        let (y, state) = match &self.rnn {
            Layers::Lstm(lstm) => lstm.run(&x, state, None)?,
            Layers::Gru(gru) => gru.run(&x, state, None)?,
        };
        Ok((self.head.forward(&self.dropout.forward(&y)?)?, state))
    }
}

impl Model<Tensor<i64>> for Net {
    type Output = Var;

    fn run(&self, characters: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        Ok(self.read(characters, None, tape)?.0)
    }
}

impl Writer for Net {
    fn write(
        &self,
        numbers: &mut Vec<i64>,
        count: usize,
        draw: &mut dyn FnMut(&Tensor) -> Result<i64>,
    ) -> Result<()> {
        let mut next = Tensor::from_vec(numbers.clone(), [1, numbers.len()])?;
        let (mut state, tape) = (None, Tape::inference());
        for _ in 0..count {
            let (scores, after) = self.read(&next, state.as_ref(), &tape)?;
            let number = draw(scores.value())?;
            numbers.push(number);
            (next, state) = (Tensor::from([[number]]), Some(after));
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let &Arguments { epochs, batch_size, length, .. } = &arguments;
    let writing = &arguments.writing;
    let (training, validation) = writing.windows(length, length)?;
    let vocabulary = training.vocabulary();
    let model = Net::new(&arguments, vocabulary.len(), &mut Rng::seed(writing.seed))?;
    println!("{} parameters", model.parameter_count());

    let steps = epochs * training.len().div_ceil(batch_size) as u64;
    let optimizer =
        Adam::new(arguments.learning_rate).schedule(CosineAnnealingLR::new(steps)).clip_norm(1.0);
    let mut trainer = Trainer::new(model, optimizer, CrossEntropy::new().class_axis(-1))
        .metric(Perplexity::new().class_axis(-1));
    let fit = Fit::epochs(epochs)
        .batch_size(batch_size)
        .seed(writing.seed)
        .validate_on(&validation)
        .callback(Samples::<Net>::new(writing, vocabulary, 300));
    trainer.fit(&training, arguments.run.keep(fit)).map_err(run::explained)?;
    println!("{}", writing.write(trainer.model(), vocabulary, 1000)?);
    Ok(())
}
