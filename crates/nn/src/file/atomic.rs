//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use dendra_tensor::{Error, Result};

/// Writes a file beside `path`, brings it to the disk and moves it into place.
/// What was at `path` stays as it was until then, and for good when anything
/// fails. A link is followed.
///
/// # Errors
///
/// What the system or `contents` reports, with the path.
pub(crate) fn write(
    path: &Path,
    contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let failed = |error| Error::io(path, error);
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let present = fs::metadata(&target).ok();
    if let Some(present) = &present {
        if !present.is_file() {
            return Err(Error::file(path, "there is something else than a file already"));
        }
        if present.permissions().readonly() {
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "is read-only")));
        }
    }
    let (file, beside) = create_beside(&target).map_err(failed)?;
    // Removed however this ends, unless it was moved into place.
    let mut unfinished = Unfinished { path: &beside, moved: false };
    let finish = || -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        contents(&mut writer)?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        if let Some(present) = present {
            file.set_permissions(present.permissions())?;
        }
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, &target)
    };
    finish().map_err(failed)?;
    unfinished.moved = true;
    sync_folder(&target).map_err(failed)
}

struct Unfinished<'a> {
    path: &'a Path,
    moved: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // Nothing more can be done about a file that will not go.
            let _ = fs::remove_file(self.path);
        }
    }
}

/// A new file in the folder of `target`, under a name that no other writer has.
fn create_beside(target: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if target.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    }
    loop {
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!(".dendra-{process}-{number}.safetensors.tmp");
        let beside = target.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((file, beside)),
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the file's new name last.
#[cfg(unix)]
fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere folders cannot be opened, and renaming lasts by itself.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn text(text: &'static str) -> impl FnOnce(&mut dyn Write) -> io::Result<()> {
        move |writer| writer.write_all(text.as_bytes())
    }

    #[test]
    fn a_file_is_written_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, text("old")).unwrap();
        write(&path, text("new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_failure_midway_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let error = write(&path, |writer| {
            writer.write_all(&[0; 3 << 20])?;
            Err(io::Error::other("broke off"))
        });
        assert_eq!(error.unwrap_err().to_string(), format!("{}: broke off", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
        // A panic of the caller's is no reason to leave a piece behind.
        let panicking = std::panic::AssertUnwindSafe(|| write(&path, |_| panic!("in between")));
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        // The device on which every write finds the disk full.
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = write(&path, |_| full.write_all(b"new")).unwrap_err();
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_cannot_be_written_is_told_by_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "old").unwrap();
        for wrong in ["missing/a", "file/a", "", "."] {
            let path = folder.path().join(wrong);
            let error = write(&path, text("new")).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
        assert!(write(Path::new(""), text("new")).is_err());
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_read_only_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        let error = write(&path, text("new")).unwrap_err().to_string();
        assert!(error.contains("read-only"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    #[cfg(unix)]
    fn devices_are_not_replaced_links_are_followed_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;

        let error = write(Path::new("/dev/null"), text("new")).unwrap_err().to_string();
        assert!(error.contains("something else than a file"), "{error}");

        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, text("new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn writers_at_once_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::thread::scope(|scope| {
            for letter in 0..8_u8 {
                let path = &path;
                scope.spawn(move || write(path, |w| w.write_all(&[letter; 100_000])).unwrap());
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert!(bytes.iter().all(|&byte| byte == bytes[0]));
        assert_eq!(names(folder.path()), ["a"]);
    }
}
