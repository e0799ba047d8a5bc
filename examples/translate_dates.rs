//! Translates dates as people write them into ISO 8601, with a
//! sequence-to-sequence network: an encoder that reads the date in both
//! directions, and a decoder that looks back at it by attention while it writes
//! digit after digit.

use clap::Parser;
use dendra::prelude::*;
use dendra::tensor::{AttentionMask, AttentionOptions};

/// Trains a network to translate dates, as "22 November 2026" into "2026-11-22"
#[derive(Parser)]
struct Arguments {
    /// Dates to translate after training
    dates: Vec<String>,
    /// Training steps
    #[arg(long, value_name = "N", default_value_t = 2000)]
    steps: u64,
    /// Dates of a training step
    #[arg(long, value_name = "B", default_value_t = 64)]
    batch_size: usize,
    /// Dates to check on, none of which were trained on
    #[arg(long, value_name = "N", default_value_t = 2000)]
    check: usize,
    /// Learning rate of Adam at the start; it falls to 0 along a cosine
    #[arg(long, value_name = "R", default_value_t = 0.003)]
    learning_rate: f64,
    /// Seed of everything that is random
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The characters of both languages; the first stands for padding and for the
/// beginning.
const CHARACTERS: &str = "_ ,./-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of a date in ISO 8601.
const LENGTH: usize = 10;

/// A day of the years 1900 to 2099, as the number of days from the first.
#[derive(Clone, Copy)]
struct Day(usize);

impl Day {
    const COUNT: usize = 73_049;

    fn random(rng: &mut Rng) -> Self {
        Self(rng.below(Self::COUNT))
    }

    /// Days that are checked on are never trained on.
    fn is_for_checking(self) -> bool {
        self.0 % 10 == 7
    }

    /// Year, month from 0, and day of the month from 1.
    fn parts(self) -> [usize; 3] {
        let (mut year, mut rest) = (1900, self.0);
        let leap = |year: usize| year.is_multiple_of(4) && year != 1900;
        while rest >= 365 + usize::from(leap(year)) {
            rest -= 365 + usize::from(leap(year));
            year += 1;
        }
        let february = 28 + usize::from(leap(year));
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while rest >= lengths[month] {
            rest -= lengths[month];
            month += 1;
        }
        [year, month, rest + 1]
    }

    fn iso(self) -> String {
        let [year, month, day] = self.parts();
        format!("{year}-{:02}-{day:02}", month + 1)
    }

    /// As somebody might write it.
    fn written(self, rng: &mut Rng) -> String {
        let [year, month, day] = self.parts();
        let (name, short) = (MONTHS[month], &MONTHS[month][..3]);
        // 1 January 1900 was a Monday.
        let weekday = WEEKDAYS[self.0 % 7];
        let ending = match day {
            1 | 21 | 31 => "st",
            2 | 22 => "nd",
            3 | 23 => "rd",
            _ => "th",
        };
        match rng.below(9) {
            0 => format!("{day} {name} {year}"),
            1 => format!("{name} {day}, {year}"),
            2 => format!("{day} {short} {year}"),
            3 => format!("{day}.{}.{year}", month + 1),
            4 => format!("{day:02}/{:02}/{year}", month + 1),
            5 => format!("{weekday}, {day} {name} {year}"),
            6 => format!("{day}{ending} of {name} {year}"),
            7 => format!("{} {short} {day} {year}", &weekday[..3]),
            _ => format!("{} {year}, the {day}{ending}", name.to_uppercase()),
        }
    }
}

/// The numbers of a text's characters; unknown ones count as padding.
fn numbers(text: &str) -> Vec<i64> {
    text.chars().map(|c| CHARACTERS.find(c).unwrap_or(0) as i64).collect()
}

/// Texts side by side, `[L, N]`, filled up to the longest; and their lengths.
fn side_by_side(texts: &[String]) -> Result<(Tensor<i64>, Vec<usize>)> {
    let texts: Vec<Vec<i64>> = texts.iter().map(|text| numbers(text)).collect();
    let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let at = |place: usize| {
        let (t, n) = (place / texts.len(), place % texts.len());
        texts[n].get(t).copied().unwrap_or(0)
    };
    Ok((Tensor::from_fn([longest, texts.len()], at), lengths))
}

#[derive(Parameters)]
struct Translator {
    source: Embedding,
    encoder: GRU,
    bridge: Linear,
    target: Embedding,
    decoder: GRU,
    query: Linear,
    head: Linear,
}

/// What the encoder hands on: its outputs `[N, S, 2·H]`, which of them count,
/// and the decoder's first state.
struct Memory {
    outputs: Var,
    keep: Tensor<bool>,
    state: RecurrentState,
}

impl Translator {
    fn new(rng: &mut Rng) -> Result<Self> {
        let (kinds, width, hidden) = (CHARACTERS.len(), 32, 64);
        Ok(Self {
            source: Embedding::new(kinds, width).padding_idx(0).init(rng)?,
            encoder: GRU::new(width, hidden).bidirectional(true).init(rng)?,
            bridge: Linear::new(2 * hidden, 2 * hidden).init(rng)?,
            target: Embedding::new(kinds, width).init(rng)?,
            decoder: GRU::new(width, 2 * hidden).init(rng)?,
            query: Linear::new(2 * hidden, 2 * hidden).bias(false).init(rng)?,
            head: Linear::new(4 * hidden, kinds).init(rng)?,
        })
    }

    fn encode(&self, texts: &[String], tape: Option<&Tape>) -> Result<Memory> {
        let (characters, lengths) = side_by_side(texts)?;
        let x = self.source.lookup(&characters, tape)?;
        let (outputs, last) = self.encoder.run(&x, None, Some(&lengths))?;
        let ends = [last.h.narrow(0, 0, 1)?, last.h.narrow(0, 1, 1)?];
        let ends = Var::cat(&[&ends[0], &ends[1]], 2)?;
        let h = self.bridge.forward(&ends)?.tanh();
        let [steps, count] = [characters.shape()[0], characters.shape()[1]];
        let keep = Tensor::from_fn([count, 1, steps], |i| i % steps < lengths[i / steps]);
        let state = RecurrentState { h, c: None };
        Ok(Memory { outputs: outputs.transpose(0, 1)?, keep, state })
    }

    /// The logits `[L, N, kinds]` for what follows each of the characters
    /// `[L, N]`, and the state behind them.
    fn decode(
        &self,
        characters: &Tensor<i64>,
        memory: &Memory,
        state: &RecurrentState,
        tape: Option<&Tape>,
    ) -> Result<(Var, RecurrentState)> {
        let x = self.target.lookup(characters, tape)?;
        let (y, state) = self.decoder.run(&x, Some(state), None)?;
        let query = self.query.forward(&y)?.transpose(0, 1)?;
        let mask = AttentionMask::Keep(memory.keep.clone());
        let options = AttentionOptions { mask, ..AttentionOptions::default() };
        let seen = query.scaled_dot_product_attention(&memory.outputs, &memory.outputs, options)?;
        let both = Var::cat(&[&y, &seen.transpose(0, 1)?], 2)?;
        Ok((self.head.forward(&both)?, state))
    }

    /// The loss on pairs of dates.
    fn loss(&self, written: &[String], iso: &[String], tape: &Tape) -> Result<Var> {
        let memory = self.encode(written, Some(tape))?;
        let (wanted, _) = side_by_side(iso)?;
        // Each character is told from the true ones before it.
        let begin = Tensor::zeros([1, iso.len()]);
        let before = Tensor::cat(&[&begin, &wanted.narrow(0, 0, LENGTH - 1)?], 0)?;
        let (logits, _) = self.decode(&before, &memory, &memory.state, Some(tape))?;
        losses::cross_entropy(&logits.flatten(0, 1)?, &wanted.flatten(0, 1)?)
    }

    /// The translations, each character told from those written before it.
    fn translate(&self, written: &[String]) -> Result<Vec<String>> {
        let memory = self.encode(written, None)?;
        let mut characters = Tensor::zeros([1, written.len()]);
        let mut state = memory.state.clone();
        let mut translations = vec![String::new(); written.len()];
        for _ in 0..LENGTH {
            let (logits, after) = self.decode(&characters, &memory, &state, None)?;
            characters = logits.value().argmax(2)?;
            for (text, number) in translations.iter_mut().zip(characters.to_vec()) {
                text.extend(CHARACTERS.chars().nth(number as usize));
            }
            state = after;
        }
        Ok(translations)
    }
}

/// Random days, and how somebody wrote each.
fn pairs(count: usize, checking: bool, rng: &mut Rng) -> (Vec<String>, Vec<String>) {
    let mut days = std::iter::repeat_with(|| Day::random(rng))
        .filter(|day| day.is_for_checking() == checking)
        .take(count)
        .collect::<Vec<_>>();
    days.iter_mut().map(|day| (day.written(rng), day.iso())).unzip()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut rng = Rng::seed(arguments.seed);
    let mut model = Translator::new(&mut rng)?;
    println!("{} parameters", model.parameter_count());
    let mut optimizer = Adam::new(arguments.learning_rate)
        .schedule(CosineAnnealingLr::new(arguments.steps))
        .clip_norm(1.0);
    let check = |model: &Translator, count| -> Result<f64> {
        let (written, iso) = pairs(count, true, &mut Rng::seed(arguments.seed).fork(1));
        let mut right = 0;
        for (written, iso) in written.chunks(500).zip(iso.chunks(500)) {
            let found = model.translate(written)?;
            right += found.iter().zip(iso).filter(|(found, iso)| found == iso).count();
        }
        Ok(100.0 * right as f64 / count.max(1) as f64)
    };
    let mut sum = 0.0;
    for step in 0..arguments.steps {
        let (written, iso) = pairs(arguments.batch_size, false, &mut rng);
        let tape = Tape::training(arguments.seed, step);
        let gradients = model.loss(&written, &iso, &tape)?.backward()?;
        optimizer.step(&mut model, &gradients)?;
        sum += f64::from(gradients.loss());
        if (step + 1) % 200 == 0 {
            let right = check(&model, 500)?;
            println!("step {}  loss {:.4}  exact {right:.1} %", step + 1, sum / 200.0);
            sum = 0.0;
        }
    }
    let right = check(&model, arguments.check)?;
    println!("exact match on {} dates not trained on: {right:.2} %\n", arguments.check);
    let (mut written, _) = pairs(6, true, &mut rng);
    if !arguments.dates.is_empty() {
        written = arguments.dates.clone();
    }
    for (written, found) in written.iter().zip(model.translate(&written)?) {
        println!("{written:>36}  →  {found}");
    }
    Ok(())
}
