//! The user's data: detecting their kind, and reading them as samples.

pub(crate) mod columns;
pub(crate) mod pictures;
pub(crate) mod table;
pub(crate) mod texts;

use std::fs;
use std::path::{Path, PathBuf};

use dendra_datasets::{AnyPreprocessing, Dataset, TensorDataset};
use dendra_tensor::{Error, Result, Rng, Tensor};
use hmac_sha256::Hash;

/// The kind of data at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Pictures,
    Texts,
}

/// File name extensions that are read as tables.
const TABLES: [&str; 5] = ["csv", "tsv", "tab", "txt", "data"];

/// File name extensions of pictures, including formats that are not supported,
/// for which the reader has an error message.
pub(crate) const PICTURES: [&str; 12] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "tif", "tiff", "webp", "pgm", "ppm"];

const FOLDER: &str = "expected a folder for each class, with pictures (.png, .jpg) or texts (.txt)";

impl Kind {
    /// Looks only at the names of files, not at their contents.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let about = fs::metadata(path).map_err(|error| Error::io(path, error))?;
        if !(about.is_dir() || about.is_file()) {
            let message = "expected a file or a folder, got a pipe or a device: its contents are \
                           needed more than once";
            return Err(Error::file(path, message));
        }
        if !about.is_dir() {
            let ending = ending(path);
            if ending.is_empty() || TABLES.contains(&ending.as_str()) {
                return Ok(Self::Table);
            }
            let message = format!(
                "files with the extension .{ending} are not read: expected a table (.csv, .tsv) \
                 or a folder with a folder of pictures or texts for each class"
            );
            return Err(Error::file(path, message));
        }
        let mut files = 0;
        for entry in entries(path)? {
            if !entry.is_dir() {
                files += usize::from(PICTURES.contains(&ending(&entry).as_str()));
                continue;
            }
            let mut inside = Vec::new();
            walk(&entry, &mut inside, 0)?;
            for file in inside {
                match ending(&file).as_str() {
                    "txt" => return Ok(Self::Texts),
                    ending if PICTURES.contains(&ending) => return Ok(Self::Pictures),
                    _ => {}
                }
            }
        }
        let found = match files {
            0 => String::new(),
            _ => format!("; the {files} pictures in it are not in such a folder"),
        };
        Err(Error::file(path, format!("{FOLDER}{found}")))
    }
}

/// The error of a model, at `path`, whose preprocessing cannot read the data.
pub(crate) fn unsuitable(path: &Path, preprocessing: &AnyPreprocessing, data: &Path) -> Error {
    if matches!(preprocessing, AnyPreprocessing::None | AnyPreprocessing::Other(_)) {
        let message = "has no preprocessing that this command knows: `dendra train` writes \
                       models with one";
        return Error::file(path, message);
    }
    let kind = preprocessing.kind().unwrap_or_default();
    Error::file(data, format!("the model's preprocessing `{kind}` is for other data"))
}

/// The file name extension in lower case.
pub(crate) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The entries of a folder sorted by name, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(folder, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

/// The deepest nesting of folders, because links may form a cycle.
const DEEPEST: usize = 32;

/// All files in a folder and its subfolders, in order.
pub(crate) fn walk(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        let message = format!("folders are nested more than {DEEPEST} deep");
        return Err(Error::file(folder, message));
    }
    for entry in entries(folder)? {
        match fs::metadata(&entry) {
            Ok(about) if about.is_dir() => walk(&entry, files, depth + 1)?,
            // A pipe has no contents, and reading it may never end.
            Ok(about) if !about.is_file() => {}
            _ => files.push(entry),
        }
    }
    Ok(())
}

/// The SHA-256 of a file, or of all files of a folder with their names.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let read = |path: &Path| fs::read(path).map_err(|error| Error::io(path, error));
    let mut hash = Hash::new();
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut files, 0)?;
        for file in files {
            let name = file.strip_prefix(path).unwrap_or(&file);
            let bytes = read(&file)?;
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update([0]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    } else {
        hash.update(read(path)?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The smallest number of samples.
const FEWEST: usize = 5;

/// The samples for training and validation; with labels, the same fraction of
/// each class.
pub(crate) fn split(
    samples: usize,
    labels: Option<(&[i64], usize)>,
    validation: f64,
    rng: &mut Rng,
) -> Result<[Vec<usize>; 2]> {
    let zeros = Tensor::<f32>::zeros([samples, 1]);
    if samples < FEWEST {
        let message = format!(
            "{samples} samples are too few: expected at least {FEWEST}, some for validation"
        );
        return Err(Error::data("the data", message));
    }
    let rest = (samples as f64 * validation).round() as usize;
    if rest == 0 || rest == samples {
        let message = format!("{validation} of {samples} samples are {rest}: a part is empty");
        return Err(Error::argument("the validation fraction", message));
    }
    let (train, rest) = match labels {
        Some((labels, classes)) => {
            let labels = Tensor::from_vec(labels.to_vec(), [samples])?;
            let all = TensorDataset::classification(zeros, labels, classes)?;
            let (train, rest) = all.split_stratified(1.0 - validation, rng)?;
            (train.indices().to_vec(), rest.indices().to_vec())
        }
        None => {
            let all = TensorDataset::new(zeros.clone(), zeros)?;
            let (train, rest) = all.split(1.0 - validation, rng)?;
            (train.indices().to_vec(), rest.indices().to_vec())
        }
    };
    Ok([train, rest])
}

/// Checks that there are at least two classes.
pub(crate) fn check_classes(context: &str, classes: &[String]) -> Result<()> {
    match classes {
        [] => Err(Error::data(context, "has no classes")),
        [one] => {
            Err(Error::data(context, format!("has one class only, {one:?}: nothing to learn")))
        }
        _ => Ok(()),
    }
}

/// Replaces the context of an error, the name of a function, by the path of the
/// file.
pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Data { context, message } | Error::Argument { context, message } => {
            let column = match context.starts_with("the column ") {
                true => context + " ",
                false => String::new(),
            };
            Error::file(path, format!("{column}{message}"))
        }
        error => error,
    }
}
