//! The hostile files, made by code: what would be right, and how each is
//! wrong.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

mod archives;
mod arrays;
mod pictures;
mod tables;
mod tensors;

/// A file that is not what it claims.
pub struct Hostile {
    /// The parsers that must withstand it.
    pub parsers: Vec<&'static str>,
    /// What is wrong with it.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Whether it must be refused. Some formats leave it open whether a file
    /// that is cut off is one.
    pub refused: bool,
}

/// Files for some parsers, as they are made.
struct Files {
    parsers: &'static [&'static str],
    files: Vec<Hostile>,
}

impl Files {
    fn of(parsers: &'static [&'static str]) -> Self {
        Self { parsers, files: Vec::new() }
    }

    /// A file that must be refused.
    fn refused(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.add(name.into(), bytes.into(), true);
    }

    /// A file that may be read or refused.
    fn withstood(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.add(name.into(), bytes.into(), false);
    }

    fn add(&mut self, name: String, bytes: Vec<u8>, refused: bool) {
        self.files.push(Hostile { parsers: self.parsers.to_vec(), name, bytes, refused });
    }

    /// The sound file cut off at these lengths; and whole, so that a fuzzer
    /// begins with one that is read to its end.
    fn truncated(&mut self, what: &str, sound: &[u8], lengths: impl IntoIterator<Item = usize>) {
        self.withstood(format!("{what} as a whole"), sound);
        for length in lengths.into_iter().filter(|&length| length < sound.len()) {
            self.refused(format!("{what} cut off at {length}"), &sound[..length]);
        }
    }
}

/// All hostile files.
pub fn all() -> Vec<Hostile> {
    let mut files = arrays::files();
    files.extend(archives::files());
    files.extend(tables::files());
    files.extend(tensors::files());
    files.extend(pictures::files());
    files
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}
