//! Unpacking archives, safely within a folder.
//!
//! An archive is not trusted. These are errors: names that lead out of the
//! folder, links and devices, names that occur twice, and more bytes than the
//! caller allows. Files are unpacked into a new folder beside the target, so
//! that no existing link can lead elsewhere, and moved to the target when the
//! whole archive has been read.

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

/// The largest length of an entry's name, in bytes.
const LONGEST_NAME: u64 = 4096;

/// The largest depth of nested folders.
const DEEPEST: usize = 64;

/// The largest number of entries in an archive.
const MOST_ENTRIES: u64 = 100_000;

/// Unpacks a tar archive, gzipped or not, into `folder`, which is created if it
/// does not exist. Files that it replaces stay until the whole archive has been
/// read.
///
/// The archive may contain at most `most_bytes` bytes.
///
/// # Errors
///
/// An error with the path of the archive, when it is truncated or invalid,
/// contains more bytes than allowed, or an entry is neither a file nor a
/// folder, occurs twice or would be outside the folder. An error with the path
/// of the folder, when it cannot be written. No new files remain after an
/// error.
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
/// in memory, gzipped or not, in order.
///
/// # Errors
///
/// The errors of [`unpack_tar`], without a path, and those of `visit`.
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
    // Headers and padding are added to the contents.
    let most = most_bytes.saturating_add(MOST_ENTRIES * 4 * BLOCK);
    let position = Cell::new(0);
    let mut archive = Archive::new(Counted { inner: archive.take(most), position: &position });
    let mut names = Names::default();
    let (mut left, mut count, mut end) = (most_bytes, 0, 0);
    let mut next = Extension::default();
    // Raw entries are used because the crate would read names of any length
    // into memory.
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
            return Err(format!("{} has two different sizes", path.display()).into());
        }
        names.add(&path, kind.is_dir())?;
        if kind.is_dir() {
            continue;
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            let message = format!(
                "{} is neither a file nor a folder, but of type {:?}",
                path.display(),
                char::from(kind.as_byte())
            );
            return Err(message.into());
        }
        left = left
            .checked_sub(size)
            .ok_or_else(|| format!("it contains more than the allowed {most_bytes} bytes"))?;
        let mut contents = Whole { entry: &mut entry, left: size };
        visit_file(&path, &mut contents)?;
        io::copy(&mut contents, &mut io::sink())?;
    }
    if count == 0 {
        return Err("it has no entries: it is empty or not a tar archive".to_owned().into());
    }
    if position.get() < end.saturating_add(BLOCK) {
        return Err("it is truncated: its end is missing".to_owned().into());
    }
    // The decoder must read the padding to verify its checksum.
    let mut rest = archive.into_inner().inner;
    rest.set_limit(MOST_PADDING + 1);
    if io::copy(&mut rest, &mut io::sink())? > MOST_PADDING {
        return Err("it has data after its end".to_owned().into());
    }
    Ok(())
}

/// The block size to which headers and contents are padded, in bytes.
const BLOCK: u64 = 512;

/// The largest number of bytes after an archive's end.
const MOST_PADDING: u64 = 1 << 20;

/// A reader that counts the bytes read.
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

/// The names in an archive in lower case, because some file systems do not
/// distinguish upper and lower case.
#[derive(Default)]
struct Names {
    files: HashSet<String>,
    folders: HashSet<String>,
}

impl Names {
    /// Returns an error for a repeated file, and for a name that is both a file
    /// and a folder.
    fn add(&mut self, path: &Path, is_folder: bool) -> Result<(), Fault> {
        let twice = || Err(format!("it contains {} twice", path.display()).into());
        let lower = |path: &Path| path.to_string_lossy().to_lowercase();
        for folder in path.ancestors().skip(usize::from(!is_folder)) {
            let folder = lower(folder);
            if self.files.contains(&folder) {
                return twice();
            }
            // The folders above a known folder are known, too.
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

/// Values for the next entry from a header before it.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    fn read(&mut self, kind: EntryType, size: u64, entry: &mut impl Read) -> Result<(), Fault> {
        if size > LONGEST_NAME {
            let message =
                format!("an extended header has {size} bytes, at most {LONGEST_NAME} are allowed");
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
                        Some(size.ok_or("an extended header has an invalid size".to_owned())?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The contents of an entry. A missing part is an error.
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

/// The path of an entry, if it is within the folder on every system.
fn inside(name: &[u8]) -> Result<PathBuf, Fault> {
    let shown = || format!("\"{}\"", name[..name.len().min(80)].escape_ascii());
    let text =
        std::str::from_utf8(name).map_err(|_| format!("the name {} is not UTF-8", shown()))?;
    if text.len() as u64 > LONGEST_NAME || text.split('/').count() > DEEPEST {
        return Err(format!("the name {}… is too long", shown()).into());
    }
    if text.contains(|c: char| c.is_control() || matches!(c, '\\' | ':')) {
        return Err(format!("the name {} is not portable", shown()).into());
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return Err(format!("the name {} is outside the folder", shown()).into()),
        }
    }
    Ok(path)
}

/// Writes a file in `folder`.
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

/// Calls `fill` with a new folder within `folder`, and moves its contents to
/// `folder` if that succeeds.
fn into_place(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let disk = |error| Error::io(folder, error);
    fs::create_dir_all(folder).map_err(disk)?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let fresh = folder.join(format!(".unpacking-{}-{number}", std::process::id()));
    fs::create_dir(&fresh).map_err(disk)?;
    let outcome = fill(&fresh).and_then(|()| move_all(&fresh, folder).map_err(disk));
    // The rest is not needed; a failure to remove it does not matter.
    let _ = fs::remove_dir_all(&fresh);
    outcome
}

/// Moves the contents of `from` into `to`, replacing existing files.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // A folder cannot be renamed to one that is not empty.
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
        // On Windows, folders cannot be opened.
        if cfg!(windows) { Ok(()) } else { Err(error) }
    })
}

/// Unpacks the files of a zip archive for which `wanted` returns a new name,
/// each of at most `most_bytes`, into `folder`.
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
                        "{name} has {} bytes, at most {most_bytes} are allowed",
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
