//! Atomic writes: after a failure the old file is unchanged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dendra_tensor::{Error, Result};

/// Writes a file under a temporary name, syncs it to the disk and renames it to
/// `path`. If any of these steps before the rename fails, an existing file at
/// `path` is unchanged. Symbolic links are followed.
///
/// # Errors
///
/// Returns the errors of the operating system and of `contents`, with the path.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("report.txt");
/// dendra_nn::write_whole(&path, |writer| writeln!(writer, "all of it"))?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "all of it\n");
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
pub fn write_whole(
    path: impl AsRef<Path>,
    contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write_on(&mut Disk, path.as_ref(), contents)
}

/// Checks whether [`write_whole`] could write to `path`. Call it before a long
/// computation, so that its result is not lost. It writes nothing and creates no
/// folders.
///
/// # Errors
///
/// Returns the errors of [`write_whole`].
///
/// ```
/// assert!(dendra_nn::check_writable("model.safetensors").is_ok());
/// let error = dendra_nn::check_writable("no/such/folder/model.safetensors").unwrap_err();
/// let message = "no/such/folder/model.safetensors: the folder no/such/folder does not exist";
/// assert_eq!(error.to_string(), message);
/// ```
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let (target, _) = target_of(path)?;
    let (_, beside) = create_beside(&mut Disk, &target).map_err(|error| Error::io(path, error))?;
    drop(Unfinished { path: &beside, moved: false });
    Ok(())
}

/// Removes the temporary files that killed processes left in a folder, and
/// returns their number. Files of processes that still run are kept.
///
/// # Errors
///
/// Returns an error if the folder cannot be read.
pub fn remove_unfinished(folder: impl AsRef<Path>) -> Result<usize> {
    let folder = folder.as_ref();
    let failed = |error| Error::io(folder, error);
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(process) = writer_of(&name)
            && !may_run(process, &path)
            && fs::remove_file(&path).is_ok()
        {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The system calls that write a file. Tests implement this trait to check the
/// order of the calls and to inject failures.
trait System {
    type File: Write;

    fn create_new(&mut self, path: &Path) -> io::Result<Self::File>;
    fn set_permissions(&mut self, file: &Self::File, to: fs::Permissions) -> io::Result<()>;
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_folder(&mut self, target: &Path) -> io::Result<()>;
}

struct Disk;

impl System for Disk {
    type File = File;

    fn create_new(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn set_permissions(&mut self, file: &File, to: fs::Permissions) -> io::Result<()> {
        file.set_permissions(to)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Syncs the folder, so that the rename survives a crash.
    #[cfg(unix)]
    fn sync_folder(&mut self, target: &Path) -> io::Result<()> {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Does nothing: other systems cannot open folders as files.
    #[cfg(not(unix))]
    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the file that `path` refers to, after resolving links, and the
/// metadata of the existing file.
fn target_of(path: &Path) -> Result<(PathBuf, Option<fs::Metadata>)> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let present = fs::metadata(&target).ok();
    if let Some(present) = &present {
        if !present.is_file() {
            return Err(Error::file(path, "the path exists and is not a regular file"));
        }
        if present.permissions().readonly() {
            let error = io::Error::new(io::ErrorKind::PermissionDenied, "is read-only");
            return Err(Error::io(path, error));
        }
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        let message = format!("the folder {} does not exist", folder.display());
        return Err(Error::io(path, io::Error::new(io::ErrorKind::NotFound, message)));
    }
    Ok((target, present))
}

fn write_on<S: System>(
    system: &mut S,
    path: &Path,
    contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let failed = |error| Error::io(path, error);
    let (target, present) = target_of(path)?;
    let (file, beside) = create_beside(system, &target).map_err(failed)?;
    // Removes the temporary file on errors and panics.
    let mut unfinished = Unfinished { path: &beside, moved: false };
    let finish = || -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        contents(&mut writer)?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        if let Some(present) = present {
            system.set_permissions(&file, present.permissions())?;
        }
        system.sync(&file)?;
        drop(file);
        system.rename(&beside, &target)
    };
    finish().map_err(failed)?;
    unfinished.moved = true;
    system.sync_folder(&target).map_err(failed)
}

struct Unfinished<'a> {
    path: &'a Path,
    moved: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // There is no way to report an error here.
            let _ = fs::remove_file(self.path);
        }
    }
}

const PREFIX: &str = ".dendra-";
const SUFFIX: &str = ".safetensors.tmp";

/// Creates a temporary file in the folder of `target`, with a unique name.
fn create_beside<S: System>(system: &mut S, target: &Path) -> io::Result<(S::File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if target.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"));
    }
    loop {
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let beside = target.with_file_name(format!("{PREFIX}{process}-{number}{SUFFIX}"));
        match system.create_new(&beside) {
            Ok(file) => return Ok((file, beside)),
            // A killed process with the same id left this file.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the id of the process that created a temporary file with this name;
/// `None` for other files.
fn writer_of(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
    number.parse::<u64>().ok()?;
    process.parse().ok()
}

/// Returns whether the process that writes a temporary file may still run. On
/// systems without `/proc`, this is assumed for one hour.
fn may_run(process: u32, path: &Path) -> bool {
    if process == std::process::id() {
        return true;
    }
    let processes = Path::new("/proc");
    if processes.join("self").exists() {
        return processes.join(process.to_string()).exists();
    }
    let age = fs::metadata(path).and_then(|about| about.modified()).ok();
    let age = age.and_then(|modified| modified.elapsed().ok());
    age.is_none_or(|age| age < Duration::from_secs(3600))
}

#[cfg(test)]
mod tests;
