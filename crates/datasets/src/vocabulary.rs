//! [`Vocabulary`]: the bytes, characters or words of texts as numbers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use dendra_tensor::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::sequences::Padded;

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
///
/// let vocabulary = Vocabulary::words(["The cat sat.", "The dog sat, too."], 4);
/// let batch = vocabulary.encode_batch(&["the cat sat", "A dog sat."], None)?;
/// assert_eq!(batch.lengths.to_vec(), [3, 4]);
/// assert_eq!(vocabulary.decode(&batch.values.to_vec()[4..])?, "<unknown> <unknown> sat.");
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Vocabulary {
    symbols: Symbols,
}

/// A vocabulary in the form in which files store it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Bytes,
    Characters(String),
    Words(Vec<String>),
}

impl From<Vocabulary> for Written {
    fn from(vocabulary: Vocabulary) -> Self {
        match vocabulary.symbols {
            Symbols::Bytes => Self::Bytes,
            Symbols::Characters(characters) => Self::Characters(characters.iter().collect()),
            Symbols::Words(Words { words, .. }) => Self::Words(words),
        }
    }
}

impl TryFrom<Written> for Vocabulary {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Bytes => Ok(Self::bytes()),
            Written::Characters(text) => Ok(Self::characters(&text)),
            Written::Words(words) => Self::from_words(words),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Symbols {
    /// Each of the 256 bytes is its own number.
    Bytes,
    /// In ascending order.
    Characters(Vec<char>),
    Words(Words),
}

/// Words; the first has the number [`FIRST_WORD`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    words: Vec<String>,
    numbers: HashMap<String, i64>,
}

/// The number of the first word. The numbers below it are for padding and
/// unknown words.
const FIRST_WORD: i64 = 2;

impl Vocabulary {
    /// The number that pads the shorter texts of a batch.
    pub const PADDING: i64 = 0;

    /// The number of every word that is not in a vocabulary of words.
    pub const UNKNOWN: i64 = 1;

    /// The 256 bytes, each its own number, which suits every text.
    pub fn bytes() -> Self {
        Self { symbols: Symbols::Bytes }
    }

    /// The characters of a text, numbered in order.
    pub fn characters(text: &str) -> Self {
        let characters: BTreeSet<char> = text.chars().collect();
        Self { symbols: Symbols::Characters(characters.into_iter().collect()) }
    }

    /// The most frequent words of some texts, at most `most` of them: the most
    /// frequent one first, equally frequent ones in alphabetical order.
    /// [`PADDING`](Self::PADDING) and [`UNKNOWN`](Self::UNKNOWN) come before
    /// them, so the vocabulary has up to two more symbols.
    ///
    /// A word is a run of letters and digits, in lower case, with apostrophes
    /// and hyphens between them. Every other character except white space is a
    /// word of its own.
    pub fn words<X: AsRef<str>>(texts: impl IntoIterator<Item = X>, most: usize) -> Self {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for text in texts {
            each_word(text.as_ref(), |word| *counts.entry(word.to_owned()).or_default() += 1);
        }
        let mut words: Vec<(String, u64)> = counts.into_iter().collect();
        // The sort is stable, so equally frequent words stay in order.
        words.sort_by_key(|(_, count)| Reverse(*count));
        words.truncate(most);
        Self::numbered(words.into_iter().map(|(word, _)| word).collect())
    }

    /// A vocabulary of these words, numbered in order, such as the result of
    /// [`symbols`](Self::symbols) without its first two.
    ///
    /// # Errors
    ///
    /// When a word occurs twice.
    pub fn from_words<X: Into<String>>(words: impl IntoIterator<Item = X>) -> Result<Self> {
        let vocabulary = Self::numbered(words.into_iter().map(X::into).collect());
        if let Symbols::Words(Words { words, numbers }) = &vocabulary.symbols
            && let Some((_, twice)) = words
                .iter()
                .zip(FIRST_WORD..)
                .map(|(word, n)| (n, word))
                .find(|(number, word)| numbers.get(*word) != Some(number))
        {
            let message = format!("the word {twice:?} occurs twice");
            return Err(Error::data("Vocabulary::from_words", message));
        }
        Ok(vocabulary)
    }

    fn numbered(words: Vec<String>) -> Self {
        let numbers = words.iter().cloned().zip(FIRST_WORD..).collect();
        Self { symbols: Symbols::Words(Words { words, numbers }) }
    }

    /// The number of symbols.
    pub fn len(&self) -> usize {
        match &self.symbols {
            Symbols::Bytes => 256,
            Symbols::Characters(characters) => characters.len(),
            Symbols::Words(Words { words, .. }) => words.len() + FIRST_WORD as usize,
        }
    }

    /// Whether there are no symbols.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All symbols in the order of their numbers. Bytes above 127 are `U+FFFD`,
    /// because they are not characters by themselves.
    pub fn symbols(&self) -> Vec<String> {
        (0..self.len() as i64).filter_map(|number| self.symbol(number)).collect()
    }

    /// The symbol of a number, if it exists.
    fn symbol(&self, number: i64) -> Option<String> {
        let index = usize::try_from(number).ok()?;
        match &self.symbols {
            Symbols::Bytes => {
                let byte = u8::try_from(index).ok()?;
                Some(String::from_utf8_lossy(&[byte]).into_owned())
            }
            Symbols::Characters(characters) => characters.get(index).map(char::to_string),
            Symbols::Words(_) if number == Self::PADDING => Some("<padding>".to_owned()),
            Symbols::Words(_) if number == Self::UNKNOWN => Some("<unknown>".to_owned()),
            Symbols::Words(Words { words, .. }) => words.get(index - FIRST_WORD as usize).cloned(),
        }
    }

    /// The numbers of the symbols of a text. Words that are not in the
    /// vocabulary are [`UNKNOWN`](Self::UNKNOWN).
    ///
    /// # Errors
    ///
    /// When a character is not in a vocabulary of characters; the error names
    /// it and its position.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        match &self.symbols {
            Symbols::Bytes => Ok(text.bytes().map(i64::from).collect()),
            Symbols::Characters(characters) => {
                let number = |(offset, character): (usize, char)| {
                    characters.binary_search(&character).map(|number| number as i64).map_err(|_| {
                        let message = format!(
                            "character {character:?} at byte {offset} is not in the vocabulary"
                        );
                        Error::data("Vocabulary::encode", message)
                    })
                };
                text.char_indices().map(number).collect()
            }
            Symbols::Words(Words { numbers, .. }) => {
                let mut encoded = Vec::new();
                each_word(text, |word| {
                    encoded.push(numbers.get(word).copied().unwrap_or(Self::UNKNOWN));
                });
                Ok(encoded)
            }
        }
    }

    /// Encodes several texts as `[texts, length]`. Longer texts are truncated
    /// at the end, shorter ones are padded with [`PADDING`](Self::PADDING) at
    /// the end. Without a length, it is that of the longest text.
    ///
    /// In a vocabulary of bytes or characters, the padding is also the number
    /// of a symbol, so use the lengths to find the end of a text.
    ///
    /// # Errors
    ///
    /// The errors of [`encode`](Self::encode), with the index of the text, and
    /// when there is not enough memory for texts of this length.
    pub fn encode_batch<X: AsRef<str>>(
        &self,
        texts: &[X],
        length: Option<usize>,
    ) -> Result<Padded<i64>> {
        let encode = |(index, text): (usize, &X)| {
            let numbers = self.encode(text.as_ref());
            let mut numbers = numbers.map_err(|error| error.within(format!("text {index}")))?;
            numbers.truncate(length.unwrap_or(usize::MAX));
            Ok(numbers)
        };
        let texts = texts.iter().enumerate().map(encode).collect::<Result<Vec<_>>>()?;
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let length = length.unwrap_or(longest);
        let mut values = Vec::new();
        let elements = texts.len().saturating_mul(length);
        values.try_reserve_exact(elements).map_err(|_| {
            let message =
                format!("not enough memory for {} texts of {length} symbols", texts.len());
            Error::argument("Vocabulary::encode_batch", message)
        })?;
        for text in &texts {
            values.extend(text);
            values.resize(values.len() + length - text.len(), Self::PADDING);
        }
        let lengths = texts.iter().map(|text| text.len() as i64).collect();
        Ok(Padded {
            values: Tensor::from_vec(values, [texts.len(), length])?,
            lengths: Tensor::from_vec(lengths, [texts.len()])?,
        })
    }

    /// The text of some numbers. Bytes that are not UTF-8 become `U+FFFD`.
    /// Words are separated by spaces, except before closing punctuation and
    /// after opening brackets, and padding is left out.
    ///
    /// # Errors
    ///
    /// When a number does not belong to a symbol.
    pub fn decode(&self, numbers: &[i64]) -> Result<String> {
        let unknown = |number: i64| {
            let message = format!("there is no symbol {number}, only numbers below {}", self.len());
            Error::data("Vocabulary::decode", message)
        };
        if let Symbols::Bytes = self.symbols {
            let byte = |&number: &i64| u8::try_from(number).map_err(|_| unknown(number));
            let bytes: Vec<u8> = numbers.iter().map(byte).collect::<Result<_>>()?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        let words = matches!(self.symbols, Symbols::Words(_));
        let mut text = String::new();
        for &number in numbers {
            let symbol = self.symbol(number).ok_or_else(|| unknown(number))?;
            if words && number == Self::PADDING {
                continue;
            }
            let joins = symbol.starts_with([',', '.', ';', ':', '!', '?', ')', ']', '}'])
                || text.ends_with(['(', '[', '{']);
            if words && !text.is_empty() && !joins {
                text.push(' ');
            }
            text.push_str(&symbol);
        }
        Ok(text)
    }
}

/// Calls `take` with each word of a text.
fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let inside = |next: Option<&char>| next.is_some_and(|next| next.is_alphanumeric());
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        } else if matches!(character, '\'' | '’' | '-')
            && !word.is_empty()
            && inside(characters.peek())
        {
            word.push(if character == '’' { '\'' } else { character });
        } else {
            if !word.is_empty() {
                take(&word);
                word.clear();
            }
            if !character.is_whitespace() {
                take(character.encode_utf8(&mut [0; 4]));
            }
        }
    }
    if !word.is_empty() {
        take(&word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        assert_eq!(words("Don’t panic: it's 42."), ["don't", "panic", ":", "it's", "42", "."]);
        assert_eq!(words(" 'Well-known' – ÄRGER -"), ["'", "well-known", "'", "–", "ärger", "-"]);
        assert_eq!(words("  \n"), [""; 0]);
    }

    #[test]
    fn the_most_frequent_words_have_numbers() {
        let vocabulary = Vocabulary::words(["b a c b", "B d."], 3);
        assert_eq!(vocabulary.symbols(), ["<padding>", "<unknown>", "b", ".", "a"]);
        assert_eq!(vocabulary.encode("a b c ?").unwrap(), [4, 2, 1, 1]);
        assert_eq!(vocabulary.decode(&[2, 4, 3, 0, 0]).unwrap(), "b a.");
        assert!(vocabulary.decode(&[5]).is_err() && vocabulary.decode(&[-1]).is_err());
        let again = Vocabulary::from_words(&vocabulary.symbols()[2..]).unwrap();
        assert_eq!(again, vocabulary);
        let error = Vocabulary::from_words(["a", "b", "a"]).unwrap_err().to_string();
        assert!(error.contains("the word \"a\" occurs twice"), "{error}");
    }

    #[test]
    fn texts_of_a_batch_are_truncated_and_padded() {
        let vocabulary = Vocabulary::words(["one two three"], 10);
        let texts = ["three two one", "two", ""];
        let batch = vocabulary.encode_batch(&texts, Some(2)).unwrap();
        assert_eq!(batch.values, Tensor::from([[3, 4], [4, 0], [0, 0]]));
        assert_eq!(batch.lengths.to_vec(), [2, 1, 0]);
        let whole = vocabulary.encode_batch(&texts, None).unwrap();
        assert_eq!(*whole.values.shape(), [3, 3]);
        assert_eq!(vocabulary.encode_batch(&[""; 0], None).unwrap().values.len(), 0);
        let error = vocabulary.encode_batch(&texts, Some(usize::MAX)).unwrap_err().to_string();
        assert!(error.contains("not enough memory for 3 texts"), "{error}");
        let characters = Vocabulary::characters("ab");
        let error = characters.encode_batch(&["ab", "abc"], None).unwrap_err().to_string();
        assert!(error.contains("text 1") && error.contains("'c' at byte 2"), "{error}");
    }
}
