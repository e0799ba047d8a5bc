//! Labelled texts: a column of a table, or a folder of text files for each
//! class.

use std::path::Path;

use dendra_datasets::{Column, Table, Vocabulary, read_text};
use dendra_tensor::{Error, Result};

use super::{entries, walk};

/// The largest number of words in a vocabulary.
pub(crate) const MOST_WORDS: usize = 20_000;

/// The range of the number of words used of each text.
const LENGTHS: [usize; 2] = [4, 256];

/// Texts with their class names.
pub(crate) struct Texts {
    pub(crate) texts: Vec<String>,
    pub(crate) labels: Vec<i64>,
    pub(crate) classes: Vec<String>,
}

impl Texts {
    /// Reads the `.txt` files of a folder for each class.
    pub(crate) fn of_folder(root: &Path) -> Result<Self> {
        let mut found = Self { texts: Vec::new(), labels: Vec::new(), classes: Vec::new() };
        for folder in entries(root)?.into_iter().filter(|entry| entry.is_dir()) {
            let mut files = Vec::new();
            walk(&folder, &mut files, 0)?;
            files.retain(|file| super::ending(file) == "txt");
            if files.is_empty() {
                return Err(Error::file(&folder, "the class has no .txt files"));
            }
            for file in files {
                found.texts.push(read_text(&file)?);
                found.labels.push(found.classes.len() as i64);
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            found.classes.push(name.into_owned());
        }
        Ok(found)
    }

    /// The texts in a column of a table. A missing text is empty.
    pub(crate) fn of_column(table: &Table, column: &str) -> Result<Vec<String>> {
        Ok(match table.column(column)? {
            Column::Texts(all) => {
                all.iter().map(|text| text.as_deref().unwrap_or_default().to_owned()).collect()
            }
            Column::Numbers(all) => {
                let text = |number: &f64| {
                    if number.is_nan() { String::new() } else { number.to_string() }
                };
                all.iter().map(text).collect()
            }
        })
    }
}

/// The 90th percentile of the number of words of the texts, limited to 4 to
/// 256.
pub(crate) fn length(texts: &[String]) -> Result<usize> {
    let vocabulary = Vocabulary::words(texts, 0);
    let length = |text: &String| Ok(vocabulary.encode(text)?.len());
    let mut lengths = texts.iter().map(length).collect::<Result<Vec<_>>>()?;
    lengths.sort_unstable();
    let long = lengths.get(lengths.len() * 9 / 10).copied().unwrap_or_default();
    Ok(long.clamp(LENGTHS[0], LENGTHS[1]))
}
