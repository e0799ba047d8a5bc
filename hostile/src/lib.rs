//! Every parser of Dendra behind one interface, and malformed files for each.
//!
//! A [`Parser`] takes bytes and either reads them or returns an error. Whatever
//! the bytes are, it must not panic, hang or use more memory than its limit.
//! The tests of this crate run the parsers on the files of [`files`]; the fuzz
//! targets in `fuzz/` run them on any bytes, with these files as seeds.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use dendra_datasets::{
    Csv, TableEncoding, Vocabulary, decode_image, parse_cifar10, parse_idx, parse_idx_as,
    parse_text, visit_tar,
};
use dendra_nn::StateFile;
use dendra_quant::Quantised;
use dendra_tensor::{Error, Result, Tensor};
use dendra_weights::Weights;
use tempfile::{NamedTempFile, TempDir};

pub mod files;
mod pretrained;

pub use self::pretrained::pretrained;

/// The largest number of bytes in an archive.
pub const MOST_BYTES: u64 = 1 << 20;

/// A parser, reduced to whether it accepts some bytes.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// The name of its fuzz target and of its folder of files.
    pub name: &'static str,
    /// Parses the bytes completely.
    pub parse: fn(&[u8]) -> Result<()>,
    /// The memory in bytes that one byte of input may cost, in addition to a
    /// constant. Compressed data may grow by the maximum factor of deflate.
    pub memory_per_byte: usize,
}

/// All parsers.
pub const PARSERS: [Parser; 15] = [
    // Each byte may become a number of eight bytes, which is copied once.
    Parser { name: "idx", parse: idx, memory_per_byte: 24 * 1032 },
    Parser { name: "tar", parse: tar, memory_per_byte: 16 },
    Parser { name: "tar_unpack", parse: tar_unpack, memory_per_byte: 16 },
    Parser { name: "cifar", parse: cifar, memory_per_byte: 4 },
    Parser { name: "csv", parse: csv, memory_per_byte: 64 },
    Parser { name: "text", parse: text, memory_per_byte: 32 },
    Parser { name: "safetensors", parse: safetensors, memory_per_byte: 32 },
    // One bit may become a pixel of four bytes, then three bytes, then three
    // channels.
    Parser { name: "image", parse: image, memory_per_byte: 8 * 10 * 1032 },
    // An object of a pickle, which is a byte in the file, takes a hundred; it may be compressed.
    Parser { name: "pytorch", parse: weights, memory_per_byte: 128 * 1032 },
    Parser { name: "hdf5", parse: weights, memory_per_byte: 4 * 1032 },
    Parser { name: "gguf", parse: weights, memory_per_byte: 128 },
    Parser { name: "numpy", parse: weights, memory_per_byte: 8 * 1032 },
    // Two bytes may be a node, which is then a step.
    Parser { name: "onnx", parse: onnx, memory_per_byte: 1024 },
    // A few bytes may ask for a thousand blocks, which take memory even without weights.
    Parser { name: "pretrained", parse: pretrained, memory_per_byte: 16 << 10 },
    Parser { name: "quantised", parse: quantised, memory_per_byte: 256 },
];

/// An IDX array, gzipped or not: of bytes, and of numbers of any type.
pub fn idx(bytes: &[u8]) -> Result<()> {
    let numbers = parse_idx_as::<f64>(bytes).map(drop);
    parse_idx(bytes).map(drop).and(numbers)
}

/// The files of a tar archive, gzipped or not, read completely.
pub fn tar(bytes: &[u8]) -> Result<()> {
    visit_tar(bytes, MOST_BYTES, |path, contents| {
        assert!(path.is_relative(), "{} points outside its folder", path.display());
        io::copy(&mut contents.take(u64::MAX), &mut io::sink()).map(drop)
    })
}

/// A tar archive, unpacked into a folder that contains a link to another
/// folder. Nothing may be written outside the folder.
pub fn tar_unpack(bytes: &[u8]) -> Result<()> {
    thread_local! {
        /// Recreated only after something was unpacked, since creating folders
        /// takes most of the time.
        static AROUND: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    let io = |error| Error::io("a temporary folder", error);
    AROUND.with_borrow_mut(|kept| {
        let around = kept.take().map_or_else(around, Ok).map_err(io)?;
        let names = |path: &str| names(&around.path().join(path)).map_err(io);
        let (archive, folder) = (around.path().join("archive"), around.path().join("folder"));
        fs::write(&archive, bytes).map_err(io)?;
        let outcome = dendra_datasets::unpack_tar(&archive, &folder, MOST_BYTES);
        let beside = names("")?;
        assert_eq!(
            beside,
            ["archive", "folder", "outside"],
            "something was written outside the folder"
        );
        assert!(names("outside")?.is_empty(), "something was written through a link");
        if outcome.is_err() {
            let left = names("folder")?;
            assert!(left.iter().all(|name| name == "link"), "{left:?} was not removed");
            *kept = Some(around);
        }
        outcome
    })
}

/// A folder to unpack into, and another folder that a link in it points to.
fn around() -> io::Result<TempDir> {
    let around = tempfile::tempdir()?;
    for folder in ["folder", "outside"] {
        fs::create_dir(around.path().join(folder))?;
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(around.path().join("outside"), around.path().join("folder/link"))?;
    Ok(around)
}

/// The names in a folder.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The records of a CIFAR file.
pub fn cifar(bytes: &[u8]) -> Result<()> {
    parse_cifar10(bytes).map(drop)
}

/// A table, and the inputs made of all its columns. The first byte selects the
/// delimiter and whether there is a header.
pub fn csv(bytes: &[u8]) -> Result<()> {
    let csv = match bytes.first() {
        Some(b';') => Csv::new().delimiter(b';').header(false),
        Some(b'\t') => Csv::new().delimiter(b'\t').comment(b'#'),
        _ => Csv::new(),
    };
    let table = csv.parse(bytes)?;
    // Each category becomes a column of inputs, so their product is kept small.
    if table.len() <= 64 {
        let names = table.names().iter().take(8).cloned();
        let encoding = TableEncoding::new().missing(dendra_datasets::Missing::Mean);
        encoding.categories(names).fit(&table)?.inputs(&table)?;
    }
    Ok(())
}

/// A text, encoded to characters and decoded again.
pub fn text(bytes: &[u8]) -> Result<()> {
    let text = parse_text(bytes)?;
    for vocabulary in [Vocabulary::bytes(), Vocabulary::characters(&text)] {
        let symbols = vocabulary.encode(&text)?;
        assert_eq!(vocabulary.decode(&symbols)?, text);
    }
    Ok(())
}

/// A state dict.
pub fn safetensors(bytes: &[u8]) -> Result<()> {
    thread_local! {
        static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
    }
    let io = |error| Error::io("a temporary file", error);
    FILE.with_borrow_mut(|file| {
        if file.is_none() {
            *file = Some(NamedTempFile::new().map_err(io)?);
        }
        let path = file.as_ref().expect("it was made").path();
        fs::write(path, bytes).map_err(io)?;
        StateFile::read(path).map(drop)
    })
}

/// A PNG or JPEG picture.
pub fn image(bytes: &[u8]) -> Result<()> {
    decode_image(bytes, false).map(drop)
}

/// A file of weights, of whatever format it begins as, and its first tensors.
pub fn weights(bytes: &[u8]) -> Result<()> {
    let weights = Weights::from_bytes(bytes)?;
    assert!(weights.to_string().ends_with(&weights.format().to_string()));
    // A tensor may show few stored values often, and then needs no memory.
    weights.iter().take(64).try_for_each(|weight| weight.tensor().map(drop))
}

/// An ONNX model; it is checked completely, but not run.
pub fn onnx(bytes: &[u8]) -> Result<()> {
    dendra_onnx::Model::parse(bytes).map(drop)
}

/// A network of integers, and its output for zeros.
pub fn quantised(bytes: &[u8]) -> Result<()> {
    let path = Path::new("network");
    let network = Quantised::from_file(StateFile::from_bytes(bytes, path)?, path)?;
    network.predict(&Tensor::<f32>::zeros([1, 2, 8, 8])).map(drop)
}

/// Runs a parser on any bytes, as a fuzz target does.
pub fn withstand(parse: fn(&[u8]) -> Result<()>, bytes: &[u8]) {
    if let Err(error) = parse(bytes) {
        assert!(!error.to_string().is_empty());
    }
}
