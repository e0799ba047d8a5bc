//! Translates written dates into ISO 8601 with a sequence-to-sequence network:
//! an encoder reads the date in both directions, and a decoder with attention
//! to the encoder's outputs writes the digits one after the other.

use clap::Parser;
use dendra::autograd::Plain;
use dendra::datasets::{Batch, Draw, Padded};
use dendra::prelude::*;
use dendra::tensor::{AttentionMask, AttentionOptions};

mod numbers;
mod run;

/// Trains a network to translate dates such as "22 November 2026" into
/// "2026-11-22"
#[derive(Parser)]
struct Arguments {
    /// Dates to translate after training
    dates: Vec<String>,
    /// Number of training steps
    #[arg(long, value_name = "N", default_value = "2000")]
    #[arg(value_parser = numbers::at_least::<1, u64>, allow_negative_numbers = true)]
    steps: u64,
    /// Number of dates in a training step
    #[arg(long, value_name = "B", default_value = "64")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    batch_size: usize,
    /// Number of dates for validation, none of which are used in training
    #[arg(long, value_name = "N", default_value = "2000")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    check: usize,
    /// Learning rate of Adam at the start; it falls to 0 along a cosine
    #[arg(long, value_name = "R", default_value = "0.003")]
    #[arg(value_parser = numbers::positive, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    run: run::Run,
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

/// The characters of both languages, and the start symbol of a translation.
const CHARACTERS: &str = " ,./-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BEGIN: &str = "_";

/// The number of characters in a date in ISO 8601.
const LENGTH: usize = 10;

/// A day of the years 1900 to 2099, as the number of days from the first.
#[derive(Clone, Copy)]
struct Day(usize);

impl Day {
    const COUNT: usize = 73_049;

    /// Whether the day is for validation. Such days are never used in training.
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

    /// The date in one of several usual forms.
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

/// Written dates, which differ in every epoch.
struct Dates {
    vocabulary: Vocabulary,
    count: usize,
    /// Whether they are the dates for validation.
    checking: bool,
}

impl Dates {
    fn new(count: usize, checking: bool) -> Self {
        let vocabulary = Vocabulary::characters(&[BEGIN, CHARACTERS].concat());
        Self { vocabulary, count, checking }
    }

    /// A written date, and the same date in ISO 8601.
    fn pair(&self, rng: &mut Rng) -> (String, String) {
        loop {
            let day = Day(rng.below(Day::COUNT));
            if day.is_for_checking() == self.checking {
                return (day.written(rng), day.iso());
            }
        }
    }

    /// The pairs of an epoch.
    fn pairs(&self, indices: &[usize], draw: &Draw) -> (Vec<String>, Vec<String>) {
        indices.iter().map(|&index| self.pair(&mut draw.rng(index))).unzip()
    }
}

impl Dataset for Dates {
    /// The written date, and the previous character for each character of its
    /// translation.
    type Input = (Padded<i64>, Tensor<i64>);
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.count
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let (written, iso) = self.pairs(indices, draw);
        let written = self.vocabulary.encode_batch(&written, None)?;
        let wanted = self.vocabulary.encode_batch(&iso, None)?.values;
        let begin = Tensor::full([iso.len(), 1], self.vocabulary.encode(BEGIN)?[0]);
        let before = Tensor::cat(&[&begin, &wanted.narrow(1, 0, LENGTH - 1)?], 1)?;
        Ok(((written, before), wanted))
    }
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

/// The results of the encoder: its outputs `[N, S, 2·H]`, the mask of their
/// valid positions, and the initial state of the decoder.
struct Memory {
    outputs: Var,
    keep: Tensor<bool>,
    state: RecurrentState,
}

impl Translator {
    fn new(kinds: usize, rng: &mut Rng) -> Result<Self> {
        let (width, hidden) = (32, 64);
        Ok(Self {
            source: Embedding::new(kinds, width).init(rng)?,
            encoder: GRU::new(width, hidden).bidirectional(true).batch_first(true).init(rng)?,
            bridge: Linear::new(2 * hidden, 2 * hidden).init(rng)?,
            target: Embedding::new(kinds, width).init(rng)?,
            decoder: GRU::new(width, 2 * hidden).batch_first(true).init(rng)?,
            query: Linear::new(2 * hidden, 2 * hidden).bias(false).init(rng)?,
            head: Linear::new(4 * hidden, kinds).init(rng)?,
        })
    }

    fn encode(&self, written: &Padded<i64>, tape: &Tape) -> Result<Memory> {
        let x = self.source.lookup(&written.values, Some(tape))?;
        let lengths: Vec<usize> = written.lengths.to_vec().iter().map(|&l| l as usize).collect();
        let (outputs, last) = self.encoder.run(&x, None, Some(&lengths))?;
        let ends = [last.h.narrow(0, 0, 1)?, last.h.narrow(0, 1, 1)?];
        let h = self.bridge.forward(&Var::cat(&[&ends[0], &ends[1]], 2)?)?.tanh();
        let mask = written.mask();
        let length = mask.shape()[1];
        tape.note(Plain::LengthMask { length }, &[&written.lengths], &mask)?;
        let keep = mask.unsqueeze(1)?;
        Ok(Memory { outputs, keep, state: RecurrentState { h, c: None } })
    }

    /// The scores `[N, L, kinds]` of the character after each of `[N, L]`
    /// characters, and the state after them.
    fn decode(
        &self,
        characters: &Tensor<i64>,
        memory: &Memory,
        state: &RecurrentState,
        tape: &Tape,
    ) -> Result<(Var, RecurrentState)> {
        let x = self.target.lookup(characters, Some(tape))?;
        let (y, state) = self.decoder.run(&x, Some(state), None)?;
        let query = self.query.forward(&y)?;
        let mask = AttentionMask::Keep(memory.keep.clone());
        let options = AttentionOptions { mask, ..AttentionOptions::default() };
        let seen = query.scaled_dot_product_attention(&memory.outputs, &memory.outputs, options)?;
        Ok((self.head.forward(&Var::cat(&[&y, &seen], 2)?)?, state))
    }

    /// Translates dates; each character is predicted from the previously
    /// predicted ones.
    fn translate(&self, written: &[String], vocabulary: &Vocabulary) -> Result<Vec<String>> {
        let tape = Tape::inference();
        let memory = self.encode(&vocabulary.encode_batch(written, None)?, &tape)?;
        let mut characters = Tensor::full([written.len(), 1], vocabulary.encode(BEGIN)?[0]);
        let mut state = memory.state.clone();
        let mut translations = vec![Vec::new(); written.len()];
        for _ in 0..LENGTH {
            let (scores, after) = self.decode(&characters, &memory, &state, &tape)?;
            characters = scores.value().argmax(2)?;
            for (text, number) in translations.iter_mut().zip(characters.to_vec()) {
                text.push(number);
            }
            state = after;
        }
        translations.iter().map(|text| vocabulary.decode(text)).collect()
    }

    /// The share of dates that are translated without an error.
    fn exact(&self, dates: &Dates) -> Result<f64> {
        let mut right = 0;
        let all: Vec<usize> = (0..dates.count).collect();
        for indices in all.chunks(500) {
            let (written, iso) = dates.pairs(indices, &Draw::default());
            let found = self.translate(&written, &dates.vocabulary)?;
            right += found.iter().zip(iso).filter(|(found, iso)| *found == iso).count();
        }
        Ok(right as f64 / dates.count.max(1) as f64)
    }
}

/// In training, each character is predicted from the true previous ones.
impl Model<(Padded<i64>, Tensor<i64>)> for Translator {
    type Output = Var;

    fn run(&self, inputs: &(Padded<i64>, Tensor<i64>), tape: &Tape) -> Result<Var> {
        let (written, before) = inputs;
        let memory = self.encode(written, tape)?;
        Ok(self.decode(before, &memory, &memory.state, tape)?.0)
    }
}

/// Prints the share of dates that are translated without an error.
struct Exact(Dates);

impl Callback for Exact {
    fn on_epoch(&mut self, now: &mut Moment<'_>, _: &EpochReport) -> Result<()> {
        let exact = now.model_as::<Translator>()?.exact(&self.0)?;
        println!("step {}  exact {:.1} %", now.step, 100.0 * exact);
        Ok(())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let &Arguments { steps, batch_size, check, seed, .. } = &arguments;
    let dates = Dates::new(200 * batch_size, false);
    let vocabulary = &dates.vocabulary;
    let model = Translator::new(vocabulary.len(), &mut Rng::seed(seed))?;
    println!("{} parameters", model.parameter_count());
    let optimizer =
        Adam::new(arguments.learning_rate).schedule(CosineAnnealingLR::new(steps)).clip_norm(1.0);
    let mut trainer = Trainer::new(model, optimizer, CrossEntropy::new().class_axis(-1))
        .metric(Accuracy::new().class_axis(-1));
    let fit = Fit::steps(steps).batch_size(batch_size).seed(seed);
    let fit = arguments.run.keep(fit.callback(Exact(Dates::new(500, true))));
    trainer.fit(&dates, fit).map_err(run::explained)?;

    let exact = trainer.model().exact(&Dates::new(check, true))?;
    println!("exact match on {check} dates not trained on: {:.2} %\n", 100.0 * exact);
    let mut written = arguments.dates.clone();
    if written.is_empty() {
        let mut rng = Rng::seed(seed).fork(2);
        written.extend((0..6).map(|_| Dates::new(6, true).pair(&mut rng).0));
    }
    let translations = trainer.model().translate(&written, vocabulary)?;
    for (written, found) in written.iter().zip(translations) {
        println!("{written:>36}  →  {found}");
    }
    Ok(())
}
