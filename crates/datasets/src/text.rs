//! Plain text: [`TextDataset`], and reading of text files.

use std::fs;
use std::path::Path;

use dendra_tensor::{Error, Result, Shape, Tensor};

use crate::dataset::{Batch, Dataset, check_indices, share};
use crate::vocabulary::Vocabulary;

/// Windows of a text: the inputs are `length` consecutive symbols, the targets
/// are the symbols that follow each of them, both of shape `[batch, length]`.
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
    /// All windows of a text, one starting at each symbol.
    ///
    /// # Errors
    ///
    /// When `length` is 0, or a character of the text is not in the vocabulary.
    pub fn new(text: &str, vocabulary: Vocabulary, length: usize) -> Result<Self> {
        if length == 0 {
            let message = "`length` must be at least 1, got 0";
            return Err(Error::argument("TextDataset::new", message));
        }
        let symbols = vocabulary.encode(text)?;
        Ok(Self { vocabulary, symbols, length, stride: 1 })
    }

    /// The distance between the starts of two windows; 1 by default. With the
    /// length of the windows, every symbol is predicted once.
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

    /// Splits the text into a training and a validation text. The first has
    /// `fraction` of the symbols. The two texts share no symbols, whereas
    /// randomly split windows would overlap.
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1, or a part is shorter than a
    /// window with its last target.
    pub fn split_text(mut self, fraction: f64) -> Result<(Self, Self)> {
        let (context, symbols) = ("TextDataset::split_text", self.symbols.len());
        let cut = share(context, fraction, symbols, "symbols")?;
        let shorter = cut.min(symbols - cut);
        if shorter <= self.length {
            let message = format!(
                "`fraction` is {fraction}, which makes a part of {shorter} of {symbols} symbols: \
                 a window of {} and its last target do not fit",
                self.length
            );
            return Err(Error::argument(context, message));
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
        // A window needs one more symbol, its last target.
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

/// Reads a text file in UTF-8, or UTF-16 with a byte-order mark. The mark is
/// removed.
///
/// # Errors
///
/// When the file cannot be read or has another encoding; the error names the
/// line and the byte.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    decoded(bytes).map_err(|message| Error::file(path, message))
}

/// Decodes text in memory, like [`read_text`].
///
/// # Errors
///
/// When the bytes have another encoding.
pub fn parse_text(bytes: &[u8]) -> Result<String> {
    decoded(bytes.to_vec()).map_err(|message| Error::data("parse_text", message))
}

/// Decodes bytes, without the byte-order mark; the error has no path.
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
        let (offset, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let (line, byte) = (last_line(&bytes[..offset]), bytes[offset]);
        format!("line {line}: it is not a UTF-8 text: byte {offset} is 0x{byte:02x}")
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Decodes UTF-16 with a byte-order mark.
fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks();
    let (mut text, mut offset) = (String::new(), 2);
    let not_text = |offset, text: &str| {
        let line = last_line(text.as_bytes());
        format!(
            "line {line}: it is not a UTF-16 text: byte {offset} does not belong to a character"
        )
    };
    for character in char::decode_utf16(pairs[1..].iter().map(|&pair| unit(pair))) {
        let character = character.map_err(|_| not_text(offset, &text))?;
        offset += 2 * character.len_utf16();
        text.push(character);
    }
    if rest.is_empty() { Ok(text) } else { Err(not_text(offset, &text)) }
}

/// The number of the last line of a text.
fn last_line(text: &[u8]) -> usize {
    let ends = |&(index, byte): &(usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => text.get(index + 1) != Some(&b'\n'),
        _ => false,
    };
    1 + text.iter().enumerate().filter(ends).count()
}
