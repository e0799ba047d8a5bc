//! A text as numbers, one for each character, and characters drawn from a
//! network's answers.

use std::fs;
use std::io;
use std::path::Path;

use dendra::prelude::*;

/// Where the project's documentation is, which is read when no file is named.
const DOCUMENTATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

/// A text cut into a part to train on, nine tenths, and a part to check on.
pub(crate) struct Text {
    /// The characters that occur; a character's number is its place here.
    pub(crate) characters: Vec<char>,
    /// The part to train on.
    pub(crate) training: Vec<i64>,
    /// The part to check on.
    pub(crate) validation: Vec<i64>,
}

impl Text {
    /// Reads a file, or the project's documentation.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self> {
        let text = match path {
            Some(path) => read(path)?,
            None => documentation()?,
        };
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        let number = |c: char| characters.binary_search(&c).map_or(0, |place| place as i64);
        let mut training: Vec<i64> = text.chars().map(number).collect();
        let validation = training.split_off(training.len() / 10 * 9);
        if validation.len() < 1000 {
            let message = "the text is too short: at least 10,000 characters are needed";
            return Err(Error::argument("--text", message));
        }
        Ok(Self { characters, training, validation })
    }

    /// The numbers of a text, without the characters that do not occur.
    pub(crate) fn numbers(&self, text: &str) -> Vec<i64> {
        let number = |c| self.characters.binary_search(&c).ok().map(|place| place as i64);
        text.chars().filter_map(number).collect()
    }

    /// The character of a number.
    pub(crate) fn character(&self, number: i64) -> char {
        self.characters.get(number as usize).copied().unwrap_or('?')
    }

    /// What there is, in words.
    pub(crate) fn describe(&self) -> String {
        let [training, validation] = [self.training.len(), self.validation.len()];
        let kinds = self.characters.len();
        format!("{training} characters to train on, {validation} to check on, {kinds} kinds")
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::io(path, error))
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
        for line in read(&path)?.lines().filter(|line| !line.starts_with('|')) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// A character drawn by the probabilities that the last row of logits gives at
/// a temperature; at 0 the likeliest one.
pub(crate) fn draw(logits: &Tensor, temperature: f64, rng: &mut Rng) -> Result<i64> {
    let kinds = logits.shape()[logits.rank() - 1];
    let all = logits.to_vec();
    let last = Tensor::from_vec(all[all.len() - kinds..].to_vec(), [kinds])?;
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
