//! Archives, unpacked without ever leaving their folder.
//!
//! An archive is not trusted. Names that lead elsewhere, links and devices,
//! names that come twice, and more bytes than the caller allows are refused;
//! what an archive holds is unpacked into a fresh folder beside its place, so
//! that no link that lies there can lead out, and moved there when all of it is
//! whole.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use dendra_tensor::{Error, Result};
use tar::{Archive, EntryType, PaxExtensions};

use crate::fault::Fault;
use crate::gzip::{self, GzipReader};

/// The longest name of an entry, in bytes.
const LONGEST_NAME: u64 = 4096;

/// The most folders within each other.
const DEEPEST: usize = 64;

/// The most entries of an archive.
const MOST_ENTRIES: u64 = 100_000;

/// Unpacks a tar archive, gzipped or not, into `folder`, which is made where it
/// is missing. What it replaces stays until the new is whole.
///
/// The archive may hold `most_bytes` bytes in all.
///
/// # Errors
///
/// An error with the path of the archive, when it is truncated or damaged,
/// holds more than allowed, or an entry is neither a file nor a folder, comes
/// twice or would lie outside of the folder; an error with the path of the
/// folder, when that cannot be written. Nothing is left behind then.
pub fn unpack_tar(
    archive: impl AsRef<Path>,
    folder: impl AsRef<Path>,
    most_bytes: u64,
) -> Result<()> {
    let (archive, folder) = (archive.as_ref(), folder.as_ref());
    let file = File::open(archive).map_err(|error| Error::io(archive, error))?;
    into_place(folder, |fresh| {
        let file = BufReader::with_capacity(1 << 16, file);
        visit(file, most_bytes, |path, contents| write(fresh, path, contents))
            .map_err(|fault| fault.at(archive))
    })
}

/// Calls `visit` with the path and the contents of each file of a tar archive
/// in memory, gzipped or not, in their order.
///
/// # Errors
///
/// As [`unpack_tar`], without a path, and those of `visit`.
pub fn visit_tar(
    archive: &[u8],
    most_bytes: u64,
    mut visit_file: impl FnMut(&Path, &mut dyn Read) -> io::Result<()>,
) -> Result<()> {
    visit(archive, most_bytes, |path, contents| Ok(visit_file(path, contents)?))
        .map_err(|fault| fault.in_memory("visit_tar"))
}

/// Calls `visit_file` for each file of an archive.
fn visit(
    mut archive: impl io::BufRead,
    most_bytes: u64,
    visit_file: impl FnMut(&Path, &mut dyn Read) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match archive.fill_buf()? {
        [] => Err("it is empty".to_owned().into()),
        start if start.starts_with(&gzip::MAGIC) => {
            entries(GzipReader::new(archive), most_bytes, visit_file)
        }
        _ => entries(archive, most_bytes, visit_file),
    }
}

fn entries(
    archive: impl Read,
    most_bytes: u64,
    mut visit_file: impl FnMut(&Path, &mut dyn Read) -> Result<(), Fault>,
) -> Result<(), Fault> {
    // Headers and padding come on top of the contents.
    let most = most_bytes.saturating_add(MOST_ENTRIES * 4 * BLOCK);
    let position = Cell::new(0);
    let mut archive = Archive::new(Counted { inner: archive.take(most), position: &position });
    let mut names = Names::default();
    let (mut left, mut count, mut end) = (most_bytes, 0, 0);
    let mut next = Extension::default();
    // Raw entries: the crate would read names of any length into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let (kind, size) = (entry.header().entry_type(), entry.size());
        end = entry.raw_file_position().saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        count += 1;
        if count > MOST_ENTRIES {
            return Err(format!("it has more than {MOST_ENTRIES} entries").into());
        }
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            next.read(kind, size, &mut entry)?;
            continue;
        }
        if kind.is_pax_global_extensions() {
            Extension::default().read(kind, size, &mut entry)?;
            continue;
        }
        let Extension { name, size: extended } = std::mem::take(&mut next);
        let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = inside(&name)?;
        if extended.is_some_and(|extended| extended != size) {
            return Err(format!("{} has two sizes", path.display()).into());
        }
        names.add(&path, kind.is_dir())?;
        if kind.is_dir() {
            continue;
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            let message = format!(
                "{} is neither a file nor a folder but of type {:?}",
                path.display(),
                char::from(kind.as_byte())
            );
            return Err(message.into());
        }
        left = left
            .checked_sub(size)
            .ok_or_else(|| format!("it holds more than the {most_bytes} bytes that are allowed"))?;
        let mut contents = Whole { entry: &mut entry, left: size };
        visit_file(&path, &mut contents)?;
        io::copy(&mut contents, &mut io::sink())?;
    }
    if count == 0 {
        return Err("it holds no entries: it is no tar archive, or an empty one".to_owned().into());
    }
    if position.get() < end.saturating_add(BLOCK) {
        return Err("it is truncated: its end is missing".to_owned().into());
    }
    // Padding, which the decoder has to see for its checksum.
    let mut rest = archive.into_inner().inner;
    rest.set_limit(MOST_PADDING + 1);
    if io::copy(&mut rest, &mut io::sink())? > MOST_PADDING {
        return Err("it goes on after its end".to_owned().into());
    }
    Ok(())
}

/// What headers and contents are padded to, in bytes.
const BLOCK: u64 = 512;

/// The most bytes behind an archive's end.
const MOST_PADDING: u64 = 1 << 20;

/// A reader that tells how far it is.
struct Counted<'a, R> {
    inner: R,
    position: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }
}

/// The names in an archive, in small letters: some file systems do not tell
/// large ones from them.
#[derive(Default)]
struct Names {
    files: HashSet<String>,
    folders: HashSet<String>,
}

impl Names {
    /// Refuses a file that was there, and one name for a file and a folder.
    fn add(&mut self, path: &Path, is_folder: bool) -> Result<(), Fault> {
        let twice = || Err(format!("it holds {} twice", path.display()).into());
        let lower = |path: &Path| path.to_string_lossy().to_lowercase();
        for folder in path.ancestors().skip(usize::from(!is_folder)) {
            let folder = lower(folder);
            if self.files.contains(&folder) {
                return twice();
            }
            // Those above it are known, too.
            if !self.folders.insert(folder) {
                break;
            }
        }
        if is_folder {
            return Ok(());
        }
        let name = lower(path);
        if name.is_empty() {
            return Err("a file has no name".to_owned().into());
        }
        if self.folders.contains(&name) || !self.files.insert(name) {
            return twice();
        }
        Ok(())
    }
}

/// What a header that comes before says of the next entry.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    fn read(&mut self, kind: EntryType, size: u64, entry: &mut impl Read) -> Result<(), Fault> {
        if size > LONGEST_NAME {
            let message =
                format!("an extended header has {size} bytes, at most {LONGEST_NAME} are taken");
            return Err(message.into());
        }
        let mut bytes = vec![0; size as usize];
        entry.read_exact(&mut bytes)?;
        if kind.is_gnu_longname() {
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            self.name = Some(bytes);
            return Ok(());
        }
        for extension in PaxExtensions::new(&bytes) {
            let extension = extension?;
            match extension.key_bytes() {
                b"path" => self.name = Some(extension.value_bytes().to_vec()),
                b"size" => {
                    let size = extension.value().ok().and_then(|size| size.parse().ok());
                    self.size =
                        Some(size.ok_or("an extended header has a size that is none".to_owned())?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The contents of an entry, of which none may be missing.
struct Whole<'a, R> {
    entry: &'a mut R,
    left: u64,
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.entry.read(out)?;
        if count == 0 && self.left > 0 && !out.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// The path of an entry, if it stays in the folder on every system.
fn inside(name: &[u8]) -> Result<PathBuf, Fault> {
    let shown = || format!("\"{}\"", name[..name.len().min(80)].escape_ascii());
    let text =
        std::str::from_utf8(name).map_err(|_| format!("the name {} is not UTF-8", shown()))?;
    if text.len() as u64 > LONGEST_NAME || text.split('/').count() > DEEPEST {
        return Err(format!("the name {}… is too long", shown()).into());
    }
    if text.contains(|c: char| c.is_control() || matches!(c, '\\' | ':')) {
        return Err(format!("the name {} is not a portable one", shown()).into());
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return Err(format!("the name {} leads out of the folder", shown()).into()),
        }
    }
    Ok(path)
}

/// Writes a file below `folder`.
fn write(folder: &Path, path: &Path, contents: &mut dyn Read) -> Result<(), Fault> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create_new(&path)?;
    io::copy(contents, &mut file)?;
    file.flush()?;
    Ok(file.sync_all()?)
}

/// Lets `fill` fill a fresh folder within `folder`, and moves what it holds out
/// of there when that has succeeded.
fn into_place(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let disk = |error| Error::io(folder, error);
    fs::create_dir_all(folder).map_err(disk)?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let fresh = folder.join(format!(".unpacking-{}-{number}", std::process::id()));
    fs::create_dir(&fresh).map_err(disk)?;
    let outcome = fill(&fresh).and_then(|()| move_all(&fresh, folder).map_err(disk));
    // What could not be moved is not wanted; an error in that changes nothing.
    let _ = fs::remove_dir_all(&fresh);
    outcome
}

/// Moves what `from` holds into `to`, replacing what is there.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // A folder cannot be renamed onto one that holds something.
        let old = from.with_extension("old");
        let replaced = fs::symlink_metadata(&target).is_ok_and(|about| about.is_dir());
        if replaced {
            fs::rename(&target, &old)?;
        }
        fs::rename(&path, &target)?;
        if replaced {
            fs::remove_dir_all(&old)?;
        }
    }
    File::open(to).and_then(|folder| folder.sync_all()).or_else(|error| {
        // Windows opens no folders.
        if cfg!(windows) { Ok(()) } else { Err(error) }
    })
}

/// Unpacks those files of a zip archive that `wanted` gives a new name, each
/// of at most `most_bytes`, into `folder`.
#[cfg(feature = "download")]
pub(crate) fn unpack_zip(
    archive: &Path,
    folder: &Path,
    most_bytes: u64,
    wanted: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    into_place(folder, |fresh| {
        let unpack = || -> Result<(), Fault> {
            let file = BufReader::new(File::open(archive)?);
            let mut zip = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
            for index in 0..zip.len() {
                let mut entry = zip.by_index(index).map_err(|error| error.to_string())?;
                let name = entry.name().map_err(|error| error.to_string())?;
                let Some(name) = wanted(&name) else { continue };
                if entry.size() > most_bytes {
                    let message = format!(
                        "{name} has {} bytes, at most {most_bytes} are taken",
                        entry.size()
                    );
                    return Err(message.into());
                }
                let size = entry.size();
                let mut contents = Whole { entry: &mut (&mut entry).take(size), left: size };
                write(fresh, &inside(name.as_bytes())?, &mut contents)?;
            }
            Ok(())
        };
        unpack().map_err(|fault| fault.at(archive))
    })
}
