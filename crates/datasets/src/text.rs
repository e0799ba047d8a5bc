//! Plain text at the level of bytes and of characters: [`Vocabulary`] and
//! [`TextDataset`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dendra_tensor::{Error, Result, Shape, Tensor};

use crate::dataset::{Batch, Dataset, check_indices, share};

/// The symbols of a text and their numbers.
///
/// ```
/// use dendra_datasets::Vocabulary;
///
/// let vocabulary = Vocabulary::characters("hello");
/// assert_eq!(vocabulary.len(), 4);
/// let numbers = vocabulary.encode("hole")?;
/// assert_eq!(numbers, [1, 3, 2, 0]);
/// assert_eq!(vocabulary.decode(&numbers)?, "hole");
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// The characters in ascending order; `None`: the 256 bytes.
    characters: Option<Vec<char>>,
}

impl Vocabulary {
    /// The 256 bytes, each its own number: fits every text.
    pub fn bytes() -> Self {
        Self { characters: None }
    }

    /// The characters that a text has, numbered in their order.
    pub fn characters(text: &str) -> Self {
        let characters: BTreeSet<char> = text.chars().collect();
        Self { characters: Some(characters.into_iter().collect()) }
    }

    /// The number of symbols.
    pub fn len(&self) -> usize {
        self.characters.as_ref().map_or(256, Vec::len)
    }

    /// Whether there are no symbols.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of a text's symbols.
    ///
    /// # Errors
    ///
    /// When a character is not in the vocabulary: the error names it and its
    /// place.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let Some(characters) = &self.characters else {
            return Ok(text.bytes().map(i64::from).collect());
        };
        let number = |(place, character): (usize, char)| {
            characters.binary_search(&character).map(|number| number as i64).map_err(|_| {
                let message = format!("character {character:?} at byte {place} is not among them");
                Error::data("Vocabulary::encode", message)
            })
        };
        text.char_indices().map(number).collect()
    }

    /// The text of numbers. Bytes that are no UTF-8 become `U+FFFD`.
    ///
    /// # Errors
    ///
    /// When a number stands for no symbol.
    pub fn decode(&self, numbers: &[i64]) -> Result<String> {
        let unknown = |number: i64| {
            let message = format!("there is no symbol {number}, there are {}", self.len());
            Error::data("Vocabulary::decode", message)
        };
        match &self.characters {
            None => {
                let byte = |&number: &i64| u8::try_from(number).map_err(|_| unknown(number));
                let bytes: Vec<u8> = numbers.iter().map(byte).collect::<Result<_>>()?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Some(characters) => numbers
                .iter()
                .map(|&number| {
                    let found = usize::try_from(number).ok().and_then(|n| characters.get(n));
                    found.copied().ok_or_else(|| unknown(number))
                })
                .collect(),
        }
    }
}

/// Windows of a text: the inputs are `length` symbols in a row, the targets
/// the symbols one further on, both of shape `[batch, length]`.
///
/// ```
/// use dendra_datasets::{Dataset, TextDataset, Vocabulary};
///
/// let text = TextDataset::new("to be or not to be", Vocabulary::bytes(), 5)?;
/// let (x, y) = text.batch(&[3])?;
/// assert_eq!(text.vocabulary().decode(&x.to_vec())?, "be or");
/// assert_eq!(text.vocabulary().decode(&y.to_vec())?, "e or ");
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextDataset {
    vocabulary: Vocabulary,
    symbols: Vec<i64>,
    length: usize,
    stride: usize,
}

impl TextDataset {
    /// The windows of a text that begin at every symbol.
    ///
    /// # Errors
    ///
    /// When `length` is 0, or the vocabulary lacks a character of the text.
    pub fn new(text: &str, vocabulary: Vocabulary, length: usize) -> Result<Self> {
        if length == 0 {
            let message = "`length` must be at least 1, got 0";
            return Err(Error::argument("TextDataset::new", message));
        }
        let symbols = vocabulary.encode(text)?;
        Ok(Self { vocabulary, symbols, length, stride: 1 })
    }

    /// The distance between the beginnings of two windows, 1 unless set.
    /// With that of the length, every symbol is predicted once.
    ///
    /// # Errors
    ///
    /// When it is 0.
    pub fn stride(mut self, stride: usize) -> Result<Self> {
        if stride == 0 {
            let message = "the stride must be at least 1, got 0";
            return Err(Error::argument("TextDataset::stride", message));
        }
        self.stride = stride;
        Ok(self)
    }

    /// Cuts the text in two, the first part holding `fraction` of the symbols:
    /// a training and a validation text that share no symbol, where windows
    /// dealt out at random would overlap.
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1, or a part is shorter than a
    /// window and its last target.
    pub fn split_text(mut self, fraction: f64) -> Result<(Self, Self)> {
        let (place, symbols) = ("TextDataset::split_text", self.symbols.len());
        let cut = share(place, fraction, symbols, "symbols")?;
        let shorter = cut.min(symbols - cut);
        if shorter <= self.length {
            let message = format!(
                "`fraction` is {fraction}, which makes a part of {shorter} of {symbols} symbols: \
                 a window of {} and its last target do not fit",
                self.length
            );
            return Err(Error::argument(place, message));
        }
        let rest = self.symbols.split_off(cut);
        let second = Self { symbols: rest, vocabulary: self.vocabulary.clone(), ..self };
        Ok((self, second))
    }

    /// The symbols and their numbers.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The numbers of all symbols of the text.
    pub fn symbols(&self) -> &[i64] {
        &self.symbols
    }
}

impl Dataset for TextDataset {
    type Input = Tensor<i64>;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        // A window needs one symbol more, for its last target.
        match self.symbols.len().checked_sub(self.length.saturating_add(1)) {
            Some(beginnings) => beginnings / self.stride + 1,
            None => 0,
        }
    }

    fn input_shape(&self) -> Shape {
        Shape::from([self.length])
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        check_indices("TextDataset", indices, self.len())?;
        let window = |offset: usize| {
            Tensor::build([indices.len(), self.length], |out: &mut [i64]| {
                for (row, &index) in out.chunks_exact_mut(self.length).zip(indices) {
                    let start = index * self.stride + offset;
                    row.copy_from_slice(&self.symbols[start..start + self.length]);
                }
            })
        };
        Ok((window(0), window(1)))
    }
}

/// Reads a text file: UTF-8, or UTF-16 that begins with a byte-order mark. The
/// mark is left out.
///
/// # Errors
///
/// When the file cannot be read, or is in another encoding: the error names the
/// line and the byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    decoded(bytes).map_err(|message| Error::file(path, message))
}

/// The text of bytes in memory, as [`read_text`].
///
/// # Errors
///
/// When they are in another encoding.
pub fn parse_text(bytes: &[u8]) -> Result<String> {
    decoded(bytes.to_vec()).map_err(|message| Error::data("parse_text", message))
}

/// The text of bytes without its byte-order mark, or what is wrong with them.
pub(crate) fn decoded(bytes: Vec<u8>) -> Result<String, String> {
    match bytes[..] {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            return Err("it is a UTF-32 text, expected UTF-8 or UTF-16".to_owned());
        }
        [0xff, 0xfe, ..] => return utf_16(&bytes, u16::from_le_bytes),
        [0xfe, 0xff, ..] => return utf_16(&bytes, u16::from_be_bytes),
        _ => {}
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let (place, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let (line, byte) = (last_line(&bytes[..place]), bytes[place]);
        format!("line {line}: it is not a UTF-8 text: byte {place} is 0x{byte:02x}")
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The text of bytes that are UTF-16 and begin with a byte-order mark.
fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks();
    let (mut text, mut place) = (String::new(), 2);
    let not_text = |place, text: &str| {
        let line = last_line(text.as_bytes());
        format!("line {line}: it is not a UTF-16 text: byte {place} belongs to no character")
    };
    for character in char::decode_utf16(pairs[1..].iter().map(|&pair| unit(pair))) {
        let character = character.map_err(|_| not_text(place, &text))?;
        place += 2 * character.len_utf16();
        text.push(character);
    }
    if rest.is_empty() { Ok(text) } else { Err(not_text(place, &text)) }
}

/// The number of the line that a text ends in.
fn last_line(text: &[u8]) -> usize {
    let ends = |&(index, byte): &(usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => text.get(index + 1) != Some(&b'\n'),
        _ => false,
    };
    1 + text.iter().enumerate().filter(ends).count()
}
