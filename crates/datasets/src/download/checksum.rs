//! Checksums of files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The expected checksum of a file, in lower-case hexadecimal.
#[derive(Clone, Copy, Debug)]
pub enum Checksum<'a> {
    /// The SHA-256.
    Sha256(&'a str),
    /// The name as an object of Git: the SHA-1 of size and contents. It detects
    /// transmission errors, but not forgeries.
    #[cfg(feature = "git-checksums")]
    GitObject(&'a str),
}

impl Checksum<'_> {
    /// Whether a file has this size and checksum.
    pub(super) fn is_of(&self, path: &Path, bytes: u64) -> bool {
        self.holds(path, bytes).unwrap_or(false)
    }

    fn holds(&self, path: &Path, bytes: u64) -> io::Result<bool> {
        let mut contents = File::open(path)?;
        if contents.seek(SeekFrom::End(0))? != bytes {
            return Ok(false);
        }
        contents.rewind()?;
        Ok(match self {
            Self::Sha256(expected) => {
                let mut hash = hmac_sha256::Hash::new();
                read_all(contents, |part| hash.update(part))?;
                is_hexadecimal_of(expected, &hash.finalize())
            }
            #[cfg(feature = "git-checksums")]
            Self::GitObject(expected) => {
                let mut hash = sha1_smol::Sha1::new();
                hash.update(format!("blob {bytes}\0").as_bytes());
                read_all(contents, |part| hash.update(part))?;
                is_hexadecimal_of(expected, &hash.digest().bytes())
            }
        })
    }
}

/// Calls `take` with each part of the contents.
fn read_all(mut contents: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match contents.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(&buffer[..count]),
        }
    }
}

fn is_hexadecimal_of(digits: &str, bytes: &[u8]) -> bool {
    let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits == found
}

/// Describes a mismatch.
impl fmt::Display for Checksum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(expected) => write!(f, "expected the SHA-256 {expected}"),
            #[cfg(feature = "git-checksums")]
            Self::GitObject(expected) => {
                write!(f, "expected the name {expected} as an object of Git")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are the output of `sha256sum` and `git hash-object`.
    #[test]
    fn checksums_are_those_of_other_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello").unwrap();
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let mut right = vec![Checksum::Sha256(sha256)];
        let wrong = Checksum::Sha256(&sha256[1..]);
        #[cfg(feature = "git-checksums")]
        right.push(Checksum::GitObject("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"));
        for checksum in right {
            assert!(checksum.is_of(&path, 5), "{checksum}");
            assert!(!checksum.is_of(&path, 4) && !checksum.is_of(folder.path(), 5), "{checksum}");
        }
        assert!(!wrong.is_of(&path, 5));
    }
}
