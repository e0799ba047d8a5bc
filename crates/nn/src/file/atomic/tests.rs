//! Tests of atomic writes, with injected failures.

use std::cell::RefCell;
use std::rc::Rc;

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
    write_whole(&path, text("old")).unwrap();
    write_whole(&path, text("new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_failure_midway_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "old").unwrap();
    let error = write_whole(&path, |writer| {
        writer.write_all(&[0; 3 << 20])?;
        Err(io::Error::other("broke off"))
    });
    assert_eq!(error.unwrap_err().to_string(), format!("{}: broke off", path.display()));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a"]);
    // A panic in the caller's closure removes the temporary file too.
    let panicking = std::panic::AssertUnwindSafe(|| write_whole(&path, |_| panic!("in between")));
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "old").unwrap();
    // Every write to this device fails, because the disk is full.
    let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = write_whole(&path, |_| full.write_all(b"new")).unwrap_err();
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
        let error = write_whole(&path, text("new")).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
    assert!(write_whole(Path::new(""), text("new")).is_err());
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
    let error = write_whole(&path, text("new")).unwrap_err().to_string();
    assert!(error.contains("read-only"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
#[cfg(unix)]
fn devices_are_not_replaced_links_are_followed_and_permissions_stay() {
    use std::os::unix::fs::PermissionsExt;

    let error = write_whole(Path::new("/dev/null"), text("new")).unwrap_err().to_string();
    assert!(error.contains("is not a regular file"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("a"), folder.path().join("link"));
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    write_whole(&link, text("new")).unwrap();
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
            scope.spawn(move || write_whole(path, |w| w.write_all(&[letter; 100_000])).unwrap());
        }
    });
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 100_000);
    assert!(bytes.iter().all(|&byte| byte == bytes[0]));
    assert_eq!(names(folder.path()), ["a"]);
}

/// A disk on which call number `fails` fails.
struct Faulty {
    calls: Rc<RefCell<Vec<&'static str>>>,
    fails: usize,
}

impl Faulty {
    fn new(fails: usize) -> Self {
        Self { calls: Rc::default(), fails }
    }

    fn call(
        calls: &RefCell<Vec<&'static str>>,
        fails: usize,
        name: &'static str,
    ) -> io::Result<()> {
        calls.borrow_mut().push(name);
        if calls.borrow().len().checked_sub(1) == Some(fails) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }

    fn next(&self, name: &'static str) -> io::Result<()> {
        Self::call(&self.calls, self.fails, name)
    }
}

struct FaultyFile {
    file: File,
    calls: Rc<RefCell<Vec<&'static str>>>,
    fails: usize,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Faulty::call(&self.calls, self.fails, "write")?;
        // A write may accept fewer bytes than it gets.
        self.file.write(&bytes[..bytes.len().min(1 << 20)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl System for Faulty {
    type File = FaultyFile;

    fn create_new(&mut self, path: &Path) -> io::Result<FaultyFile> {
        self.next("create")?;
        let file = Disk.create_new(path)?;
        Ok(FaultyFile { file, calls: Rc::clone(&self.calls), fails: self.fails })
    }

    fn set_permissions(&mut self, file: &FaultyFile, to: fs::Permissions) -> io::Result<()> {
        self.next("set permissions")?;
        Disk.set_permissions(&file.file, to)
    }

    fn sync(&mut self, file: &FaultyFile) -> io::Result<()> {
        self.next("sync file")?;
        Disk.sync(&file.file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.next("rename")?;
        Disk.rename(from, to)
    }

    fn sync_folder(&mut self, target: &Path) -> io::Result<()> {
        self.next("sync folder")?;
        Disk.sync_folder(target)
    }
}

/// Writes 3.5 MB over an old file.
fn write_much(system: &mut Faulty, path: &Path) -> Result<()> {
    write_on(system, path, |writer| {
        (0..7).try_for_each(|piece| writer.write_all(&vec![piece; 500_000]))
    })
}

#[test]
fn data_then_name_then_folder_reach_the_disk_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "old").unwrap();
    let mut system = Faulty::new(usize::MAX);
    write_much(&mut system, &path).unwrap();
    let calls = system.calls.take();
    let (writes, rest): (Vec<&str>, Vec<&str>) = calls.iter().partition(|&&call| call == "write");
    assert!(writes.len() >= 4, "{calls:?}");
    assert_eq!(rest, ["create", "set permissions", "sync file", "rename", "sync folder"]);
    let last_write = calls.iter().rposition(|&call| call == "write").unwrap();
    assert!(last_write < calls.iter().position(|&call| call == "sync file").unwrap());
}

#[test]
fn each_call_may_fail_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut counting = Faulty::new(usize::MAX);
    fs::write(&path, "old").unwrap();
    write_much(&mut counting, &path).unwrap();
    let calls = counting.calls.take();
    for (fails, call) in calls.iter().enumerate() {
        fs::write(&path, "old").unwrap();
        let mut system = Faulty::new(fails);
        let error = write_much(&mut system, &path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: injected", path.display()), "{call}");
        assert_eq!(names(folder.path()), ["a"], "{call}");
        if *call == "sync folder" {
            // The complete new file is already in place.
            assert_eq!(fs::read(&path).unwrap().len(), 3_500_000);
        } else {
            assert_eq!(fs::read(&path).unwrap(), b"old", "{call}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_killed_writers_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let own = format!(".dendra-{}-0.safetensors.tmp", std::process::id());
    // No process has the largest possible id.
    let left = format!(".dendra-{}-7.safetensors.tmp", u32::MAX);
    let kept = ["a.safetensors", ".dendra-x-0.safetensors.tmp", ".dendra-1.tmp", &own];
    for name in kept.iter().chain([&&*left]) {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    assert_eq!(remove_unfinished(folder.path()).unwrap(), 1);
    let mut found = names(folder.path());
    found.sort();
    let mut kept = kept.map(str::to_owned);
    kept.sort();
    assert_eq!(found, kept);
    assert!(remove_unfinished(folder.path().join("missing")).is_err());
}
