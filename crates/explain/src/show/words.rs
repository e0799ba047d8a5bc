//! Words coloured by their attributions.

use std::fmt::{self, Write};

use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use super::{blended, escaped, hexadecimal, relative};

/// A text whose words are coloured by their attributions: red if they increase
/// the score of the target, blue if they decrease it. The text form is for
/// terminals with 24-bit colours.
///
/// ```
/// use dendra_explain::Words;
/// use dendra_nn::tensor::Tensor;
///
/// // For embeddings, the attributions of a word are added.
/// let values = Tensor::from([[0.5_f32, 1.0], [-1.0, 0.25]]);
/// let words = Words::new(&["lovely", "<film>"], &values)?;
/// assert!(words.to_html().contains("&lt;film&gt;"));
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Words {
    words: Vec<(String, f64)>,
}

impl Words {
    /// Makes words from attributions `[words]`, or `[words, width]`, which are
    /// summed for each word.
    ///
    /// # Errors
    ///
    /// When the numbers of attributions and words differ.
    pub fn new<T: Float>(words: &[impl AsRef<str>], attributions: &Tensor<T>) -> Result<Self> {
        let sums = match attributions.rank() {
            2 => attributions.sum_axes(&[1], false)?,
            _ => attributions.clone(),
        };
        if sums.shape()[..] != [words.len()] {
            let (expected, found) = (words.len(), attributions.shape());
            let message = format!("expected attributions of {expected} words, got {found}");
            return Err(Error::shape("Words", message));
        }
        let values = relative(sums.to_vec().into_iter().map(T::to_f64));
        let words = words.iter().map(|word| word.as_ref().to_owned()).zip(values).collect();
        Ok(Self { words })
    }

    /// The words as a line of HTML.
    pub fn to_html(&self) -> String {
        let mut html = String::new();
        for (word, value) in &self.words {
            let fill = hexadecimal(blended(0.8 * value, [255; 3]));
            let word = escaped(word);
            // Writing to a string cannot fail.
            let _ = write!(
                html,
                "<span style=\"background:{fill};color:#111;padding:1px 3px\" \
                 title=\"{value:+.2}\">{word}</span> "
            );
        }
        html
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (word, value)) in self.words.iter().enumerate() {
            let [red, green, blue] = blended(0.8 * value, [255; 3]);
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}\x1b[38;2;17;17;17m\x1b[48;2;{red};{green};{blue}m{word}\x1b[0m")?;
        }
        Ok(())
    }
}
