//! Functions of the examples that generate text: windows of a text, sampling of
//! characters from a network's scores, and a callback that prints samples.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use dendra::prelude::*;

use crate::numbers;

/// The documentation folder of the project, the default text.
const DOCUMENTATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

/// The text to train on, and the settings of sampling.
#[derive(Args, Clone)]
pub(crate) struct Writing {
    /// The text, UTF-8; by default the project's own documentation
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Temperature of sampling: near 0 the most probable characters, above 1
    /// less probable ones
    #[arg(long, value_name = "T", default_value = "0.8")]
    #[arg(value_parser = numbers::not_negative, allow_negative_numbers = true)]
    temperature: f64,
    /// Start of the generated text
    #[arg(long, value_name = "TEXT", default_value = "The ")]
    prompt: String,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
}

impl Writing {
    /// Windows of this number of characters: the first nine tenths of the text
    /// are for training, with a window at every `stride`-th character, and the
    /// rest for validation.
    pub(crate) fn windows(
        &self,
        length: usize,
        stride: usize,
    ) -> Result<(TextDataset, TextDataset)> {
        let text = match &self.text {
            Some(path) => dendra::datasets::read_text(path)?,
            None => documentation()?,
        };
        let windows = TextDataset::new(&text, Vocabulary::characters(&text), length)?;
        let (training, validation) = windows.split_text(0.9)?;
        println!(
            "{} characters to train on, {} to check on, {} kinds",
            training.symbols().len(),
            validation.symbols().len(),
            training.vocabulary().len()
        );
        Ok((training.stride(stride)?, validation.stride(length)?))
    }

    /// Generates text after the prompt, without the characters of the prompt
    /// that are not in the vocabulary.
    pub(crate) fn write(
        &self,
        model: &impl Writer,
        vocabulary: &Vocabulary,
        count: usize,
    ) -> Result<String> {
        let known = |c: &char| vocabulary.encode(c.encode_utf8(&mut [0; 4])).is_ok();
        let prompt: String = self.prompt.chars().filter(known).collect();
        let mut numbers = vocabulary.encode(&prompt)?;
        if numbers.is_empty() {
            numbers.push(0);
        }
        let mut rng = Rng::seed(self.seed);
        let mut draw = |scores: &Tensor| draw(scores, self.temperature, &mut rng);
        model.write(&mut numbers, count, &mut draw)?;
        vocabulary.decode(&numbers)
    }
}

/// A model that continues a text.
pub(crate) trait Writer: 'static {
    /// Appends this number of characters, each sampled from the model's scores
    /// for the next one.
    fn write(
        &self,
        numbers: &mut Vec<i64>,
        count: usize,
        draw: &mut dyn FnMut(&Tensor) -> Result<i64>,
    ) -> Result<()>;
}

/// Prints generated text after every epoch.
pub(crate) struct Samples<W> {
    writing: Writing,
    vocabulary: Vocabulary,
    count: usize,
    model: std::marker::PhantomData<W>,
}

impl<W: Writer> Samples<W> {
    pub(crate) fn new(writing: &Writing, vocabulary: &Vocabulary, count: usize) -> Self {
        let (writing, vocabulary) = (writing.clone(), vocabulary.clone());
        Self { writing, vocabulary, count, model: std::marker::PhantomData }
    }
}

impl<W: Writer> Callback for Samples<W> {
    fn on_epoch(&mut self, now: &mut Moment<'_>, _: &EpochReport) -> Result<()> {
        let model: &W = now.model_as()?;
        println!("---\n{}\n---", self.writing.write(model, &self.vocabulary, self.count)?);
        Ok(())
    }
}

/// The prose of the documentation: the decisions, the architecture and the
/// guide, without tables.
fn documentation() -> Result<String> {
    let folder = Path::new(DOCUMENTATION).join("decisions");
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| Error::io(&folder, error))?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    paths.extend(["architecture.md", "guide.md"].map(|name| Path::new(DOCUMENTATION).join(name)));
    let mut text = String::new();
    for path in paths {
        let page = dendra::datasets::read_text(&path)?;
        for line in page.lines().filter(|line| !line.starts_with('|')) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// Samples a character with the probabilities that the last row of scores gives
/// at a temperature; at 0, the most probable character.
fn draw(scores: &Tensor, temperature: f64, rng: &mut Rng) -> Result<i64> {
    let kinds = scores.shape()[scores.rank() - 1];
    let rows = scores.reshape([scores.len() / kinds, kinds])?;
    let last = rows.get(-1)?;
    if temperature <= 0.0 {
        return last.argmax(0)?.item();
    }
    let probabilities = last.mul_scalar(1.0 / temperature).softmax(0)?.to_vec();
    let mut rest = rng.uniform() as f32;
    for (number, probability) in probabilities.iter().enumerate() {
        rest -= probability;
        if rest < 0.0 {
            return Ok(number as i64);
        }
    }
    Ok(kinds as i64 - 1)
}
