//! Downloads of files into a cache folder: from the first mirror that has them,
//! resumed after an interruption, verified, and renamed to their final name
//! only when complete.
//!
//! Size and SHA-256 of each file of a known data set are fixed in the program,
//! so its mirrors need not be trusted, and plain http is sufficient.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dendra_tensor::Error;
use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::{StatusCode, header};

mod checksum;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;

pub use self::checksum::Checksum;

/// The folder for Dendra's downloads, in the user's cache folder. `None` when
/// the environment variables for it are not set.
pub fn cache_dir() -> Option<PathBuf> {
    crate::cache::cache_dir(|name| std::env::var_os(name))
}

/// A file to download from mirrors.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFile<'a> {
    /// The name in the folder and on the mirrors.
    pub name: &'a str,
    /// The size in bytes.
    pub bytes: u64,
    /// The expected checksum of the contents.
    pub checksum: Checksum<'a>,
}

/// The reason why a download failed.
#[derive(Debug)]
pub enum Failure {
    /// No mirror could be reached or had the file. Contains the reason for each
    /// mirror. Nothing was transferred.
    Unreachable(String),
    /// A mirror was reached, but the transfer was interrupted, the contents
    /// were wrong, or the file could not be written.
    Failed(Error),
}

/// Timeouts for a mirror.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The timeout for resolving a name, and again for connecting.
    pub connect: Duration,
    /// The timeout for the response to a request.
    pub response: Duration,
    /// The timeout for each part of a body.
    pub read: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            response: Duration::from_secs(5),
            read: Duration::from_secs(15),
        }
    }
}

/// The number of interruptions in a row, without [`PROGRESS`] in between, after
/// which a transfer fails.
const ATTEMPTS: u32 = 3;

/// The number of bytes that count as progress.
const PROGRESS: u64 = 1 << 18;

/// Downloads files into a folder.
#[derive(Debug)]
pub struct Downloader<'a> {
    /// The folders on the mirrors: URLs without the slash and the file name.
    pub mirrors: &'a [String],
    /// The local folder, which is created if it does not exist.
    pub folder: &'a Path,
    /// The timeouts.
    pub patience: Patience,
    /// The name in the progress bar; with `None`, no bar is shown.
    pub title: Option<&'a str>,
}

/// The reason why a mirror did not deliver a file.
enum Trouble {
    /// No connection, no response, or the mirror does not have the file.
    Unreachable(String),
    /// The transfer was interrupted.
    Broken(String),
    /// The contents are wrong.
    Wrong(String),
    /// The file cannot be written, so no other mirror can help.
    Disk(Error),
}

impl Downloader<'_> {
    /// Downloads the `files` that are not complete in the folder. Several
    /// processes may do this at the same time.
    ///
    /// # Errors
    ///
    /// When no mirror has a file, its transfer is interrupted repeatedly, its
    /// contents are wrong, or it cannot be written.
    pub fn fetch(&self, files: &[RemoteFile<'_>]) -> Result<(), Failure> {
        let disk = |error| Failure::Failed(Error::io(self.folder, error));
        fs::create_dir_all(self.folder).map_err(disk)?;
        let _lock = self.lock().map_err(disk)?;
        let is_missing =
            |file: &&RemoteFile<'_>| !file.checksum.is_of(&self.folder.join(file.name), file.bytes);
        let missing: Vec<_> = files.iter().filter(is_missing).collect();
        let bar = self.progress_bar(missing.iter().map(|file| file.bytes).sum());
        let agent = agent(self.mirrors, self.patience);
        let mut done = 0;
        for file in missing {
            let one = Transfer { file, agent: &agent, bar: &bar, done, folder: self.folder };
            self.fetch_one(&one)?;
            done += file.bytes;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Locks the folder. Other processes wait and then find the files complete.
    /// Dropping the returned file releases the lock.
    fn lock(&self) -> io::Result<File> {
        let path = self.folder.join(".lock");
        let lock = OpenOptions::new().create(true).append(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.say(|title| format!("waiting for another process that downloads {title}"));
                lock.lock()?;
            }
            // The file system does not support locks. Renaming and checksums
            // still ensure that each file is complete.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(lock)
    }

    fn fetch_one(&self, one: &Transfer<'_>) -> Result<(), Failure> {
        let mut reasons = Vec::new();
        let mut reached = false;
        for mirror in self.mirrors {
            let url = format!("{}/{}", mirror.trim_end_matches('/'), one.file.name);
            let reason = match one.fetch_from(&url) {
                Ok(()) => return Ok(()),
                Err(Trouble::Disk(error)) => return Err(Failure::Failed(error)),
                Err(Trouble::Unreachable(reason)) => reason,
                Err(Trouble::Broken(reason) | Trouble::Wrong(reason)) => {
                    reached = true;
                    reason
                }
            };
            reasons.push(format!("{url}: {reason}"));
        }
        if reasons.is_empty() {
            reasons.push("the list of mirrors is empty".into());
        }
        let reasons = reasons.join("; ");
        if reached || one.done > 0 {
            let path = self.folder.join(one.file.name);
            let message = format!("the download failed, run again to resume it: {reasons}");
            return Err(Failure::Failed(Error::io(path, io::Error::other(message))));
        }
        Err(Failure::Unreachable(reasons))
    }

    /// A progress bar on a terminal, or one line if standard error is not a
    /// terminal.
    fn progress_bar(&self, bytes: u64) -> ProgressBar {
        let Some(title) = self.title.filter(|_| bytes > 0) else { return ProgressBar::hidden() };
        let bar = ProgressBar::new(bytes);
        if bar.is_hidden() {
            let megabytes = bytes as f64 / 1e6;
            let folder = self.folder.display();
            self.say(|title| format!("downloading {title} ({megabytes:.1} MB) to {folder}"));
        }
        let template = "{msg} [{bar:40}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(format!("Downloading {title}"));
        bar
    }

    fn say(&self, message: impl FnOnce(&str) -> String) {
        if let Some(title) = self.title {
            eprintln!("dendra: {}", message(title));
        }
    }
}

/// Downloads a text of at most this number of bytes, such as a list of files.
///
/// # Errors
///
/// When the server does not have the text, interrupts the transfer, or sends
/// more.
pub fn read_text(url: &str, most_bytes: u64, patience: Patience) -> Result<String, Failure> {
    let agent = agent(&[url.to_owned()], patience);
    let mut response =
        agent.get(url).call().map_err(|error| Failure::Unreachable(format!("{url}: {error}")))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(Failure::Unreachable(format!("{url}: the server answers {status}")));
    }
    let text = response.body_mut().with_config().limit(most_bytes).read_to_string();
    text.map_err(|error| Failure::Failed(Error::data(url, error.to_string())))
}

/// The HTTP client.
fn agent(mirrors: &[String], patience: Patience) -> ureq::Agent {
    let config = ureq::Agent::config_builder();
    // A proxy cannot reach this machine.
    let is_here = |url: &String| url.starts_with("http://127.0.0.1:");
    let config = if mirrors.iter().any(is_here) { config.proxy(None) } else { config };
    config
        .http_status_as_error(false)
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.response))
        .timeout_per_read(Some(patience.read))
        .user_agent(concat!("dendra/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// The transfer of one file.
struct Transfer<'a> {
    file: &'a RemoteFile<'a>,
    folder: &'a Path,
    agent: &'a ureq::Agent,
    bar: &'a ProgressBar,
    /// The number of bytes in the files before this one.
    done: u64,
}

impl Transfer<'_> {
    fn fetch_from(&self, url: &str) -> Result<(), Trouble> {
        let path = self.folder.join(self.file.name);
        let part = self.part();
        let length = || fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let mut attempts = 0;
        let mut reached = length();
        loop {
            let resumed = length() > 0;
            match self.transfer(url) {
                Ok(()) if self.file.checksum.is_of(&part, self.file.bytes) => {
                    return fs::rename(&part, &path).map_err(disk(&path));
                }
                Ok(()) => {
                    fs::remove_file(&part).map_err(disk(&part))?;
                    // The existing part may have wrong contents.
                    if !resumed {
                        let checksum = self.file.checksum;
                        let message = format!("the checksum is wrong: {checksum}");
                        return Err(Trouble::Wrong(message));
                    }
                }
                Err(Trouble::Broken(reason)) => {
                    let length = length();
                    if length >= reached + PROGRESS {
                        reached = length;
                        attempts = 0;
                    }
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return Err(Trouble::Broken(reason));
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Downloads the rest of the file, starting at the end of the existing
    /// part.
    fn transfer(&self, url: &str) -> Result<(), Trouble> {
        let path = self.part();
        let disk = disk(&path);
        let expected = self.file.bytes;
        let mut part =
            OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(&disk)?;
        let mut length = part.metadata().map_err(&disk)?.len();
        if length > expected {
            part.set_len(0).map_err(&disk)?;
            length = 0;
        }
        if length == expected {
            return Ok(());
        }

        let mut request = self.agent.get(url);
        if length > 0 {
            request = request.header(header::RANGE, format!("bytes={length}-"));
        }
        let mut response = request.call().map_err(|e| Trouble::Unreachable(e.to_string()))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if length > 0 => {
                let range = response.headers().get(header::CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok()).unwrap_or("no range");
                if !range.starts_with(&format!("bytes {length}-")) {
                    part.set_len(0).map_err(&disk)?;
                    let message = format!("requested the bytes from {length} on, got {range}");
                    return Err(Trouble::Broken(message));
                }
            }
            StatusCode::OK if length > 0 => {
                part.set_len(0).map_err(&disk)?;
                length = 0;
            }
            StatusCode::OK => {}
            StatusCode::RANGE_NOT_SATISFIABLE if length > 0 => {
                part.set_len(0).map_err(&disk)?;
                return Err(Trouble::Broken(format!("the server cannot resume at byte {length}")));
            }
            status => return Err(Trouble::Unreachable(format!("the server answers {status}"))),
        }
        if let Some(announced) = response.body().content_length()
            && length + announced != expected
        {
            let announced = length + announced;
            return Err(Trouble::Wrong(format!("expected {expected} bytes, got {announced}")));
        }

        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        while length < expected {
            self.bar.set_position(self.done + length);
            match body.read(&mut buffer) {
                Ok(0) => {
                    let message =
                        format!("the transfer stopped after {length} of {expected} bytes");
                    return Err(Trouble::Broken(message));
                }
                Ok(count) => {
                    // Bytes beyond the expected length do not belong to the
                    // file.
                    let count = count.min((expected - length) as usize);
                    part.write_all(&buffer[..count]).map_err(&disk)?;
                    length += count as u64;
                }
                Err(error) => {
                    let message =
                        format!("the transfer stopped after {length} of {expected} bytes: {error}");
                    return Err(Trouble::Broken(message));
                }
            }
        }
        self.bar.set_position(self.done + length);
        part.sync_all().map_err(&disk)
    }

    fn part(&self) -> PathBuf {
        self.folder.join(format!("{}.part", self.file.name))
    }
}

fn disk(path: &Path) -> impl Fn(io::Error) -> Trouble {
    move |error| Trouble::Disk(Error::io(path, error))
}
