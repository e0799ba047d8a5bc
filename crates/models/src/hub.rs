//! Downloads networks from a server into the user's cache folder.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dendra_datasets::download::{
    Checksum, Downloader, Failure, Patience, RemoteFile, cache_dir, read_text,
};
use dendra_nn::write_whole;
use dendra_tensor::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::pretrained::{CONFIG, INDEX, WEIGHTS, files_of_index};

#[cfg(test)]
mod tests;

/// The default server.
const HUGGING_FACE: &str = "https://huggingface.co";

/// The file of a tokenizer, which networks for images do not have.
const TOKENIZER: &str = "tokenizer.json";

/// A marker file, which is written when a folder is complete.
const COMPLETE: &str = "complete.json";

/// The largest list of files, in bytes.
const MOST_LISTED: u64 = 16 << 20;

/// A server with networks in the layout of Hugging Face, and the local folder
/// of their files: settings, weights as safetensors in one file or several, and
/// the tokenizer if there is one.
///
/// An interrupted transfer is resumed, and each file is compared with the
/// checksum from the server. Complete folders are not requested again.
///
/// Public servers require https, which needs the feature `https`.
///
/// ```no_run
/// use dendra_models::{Hub, Pretrained, SentenceEmbedder};
///
/// let folder = Hub::new().fetch("sentence-transformers/all-MiniLM-L6-v2")?;
/// let model = SentenceEmbedder::from_pretrained(folder)?;
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hub {
    endpoint: String,
    revision: String,
    cache_dir: Option<PathBuf>,
    offline: bool,
    quiet: bool,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// The server in the environment variable `HF_ENDPOINT`, or
    /// `https://huggingface.co`.
    pub fn new() -> Self {
        let named = env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        Self {
            endpoint: named.unwrap_or_else(|| HUGGING_FACE.to_owned()),
            revision: "main".to_owned(),
            cache_dir: None,
            offline: false,
            quiet: false,
        }
    }

    /// Sets another server, such as a mirror: the address before `/api` and
    /// before the names of networks.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// The branch, tag or commit; `main` by default.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// The folder for downloaded networks. By default, it is a folder in `dendra` in the
    /// user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on macOS,
    /// `%LOCALAPPDATA%` on Windows).
    #[must_use]
    pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(folder.into());
        self
    }

    /// Whether to use no network.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Whether to print nothing on standard error, such as a progress bar.
    #[must_use]
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Returns the folder of a network such as
    /// `"sentence-transformers/all-MiniLM-L6-v2"`, for
    /// [`from_pretrained`](crate::Pretrained::from_pretrained). Files that are
    /// not in the cache are downloaded. To get a newer state of a branch,
    /// remove the folder.
    ///
    /// # Errors
    ///
    /// When the name is invalid, the server cannot be reached or does not have
    /// the network or one of its files, a file does not match its checksum, or
    /// the cache cannot be written.
    pub fn fetch(&self, name: &str) -> Result<PathBuf> {
        let context = || format!("Hub::fetch of {name:?}");
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_plain(part)) {
            let message = format!("expected a name such as \"owner/network\", got {name:?}");
            return Err(Error::argument("Hub::fetch", message));
        }
        if !is_plain(&self.revision) {
            let message = format!("expected the name of a revision, got {:?}", self.revision);
            return Err(Error::argument("Hub::fetch", message));
        }
        let cache = self.cache_dir.clone().or_else(|| Some(cache_dir()?.join("models")));
        let cache = cache.ok_or_else(|| {
            let message = "the environment variables for the cache folder are not set";
            Error::argument("Hub::fetch", message)
        })?;
        let folder = cache.join(parts.join("--")).join(&self.revision);
        if is_complete(&folder) {
            return Ok(folder);
        }
        self.check_network(&folder).and_then(|()| self.download(name, &folder)).map_err(
            |error| {
                match error {
                    // These errors already name the file.
                    Error::Io { .. } | Error::File { .. } => error,
                    error => error.within(context()),
                }
            },
        )?;
        Ok(folder)
    }

    fn check_network(&self, folder: &Path) -> Result<()> {
        let message = if self.offline {
            format!("the option `offline` is set, and {} is incomplete", folder.display())
        } else if self.endpoint.starts_with("https:") && !cfg!(feature = "https") {
            let endpoint = &self.endpoint;
            format!("{endpoint} needs the feature `https`, which is disabled")
        } else {
            return Ok(());
        };
        Err(Error::argument("Hub", message))
    }

    fn download(&self, name: &str, folder: &Path) -> Result<()> {
        let endpoint = self.endpoint.trim_end_matches('/');
        let revision = &self.revision;
        let url = format!("{endpoint}/api/models/{name}/revision/{revision}?blobs=true");
        let text = read_text(&url, MOST_LISTED, patience()).map_err(|failure| match failure {
            Failure::Failed(error) => error,
            Failure::Unreachable(reason) => Error::data("Hub", reason),
        })?;
        let listing: Listing =
            serde_json::from_str(&text).map_err(|error| Error::data(&url, error.to_string()))?;
        if !is_plain(&listing.sha) {
            return Err(Error::data(url, format!("expected a commit, got {:?}", listing.sha)));
        }
        let whole = listing.find(WEIGHTS);
        let mut wanted = vec![listing.expect(CONFIG)?];
        wanted.extend(listing.find(TOKENIZER));
        wanted.push(match whole {
            Some(whole) => whole,
            None => listing.expect(INDEX)?,
        });
        let downloader = Downloader {
            mirrors: &[format!("{endpoint}/{name}/resolve/{}", listing.sha)],
            folder,
            patience: patience(),
            title: (!self.quiet).then_some(name),
        };
        let fetch = |files: &[&File]| {
            let files: Result<Vec<_>> = files.iter().map(|file| file.remote()).collect();
            downloader.fetch(&files?).map_err(|failure| match failure {
                Failure::Failed(error) => error,
                Failure::Unreachable(reason) => Error::data("Hub", reason),
            })
        };
        fetch(&wanted)?;
        if whole.is_none() {
            let names = files_of_index(&folder.join(INDEX))?;
            let shards: Result<Vec<_>> = names.iter().map(|name| listing.expect(name)).collect();
            let shards = shards?;
            fetch(&shards)?;
            wanted.extend(shards);
        }
        let files = wanted.iter().map(|file| (file.name.clone(), file.bytes())).collect();
        let complete = serde_json::to_vec(&Complete { commit: listing.sha.clone(), files })
            .map_err(|error| Error::data("Hub", error.to_string()))?;
        write_whole(folder.join(COMPLETE), |file| file.write_all(&complete))
    }
}

/// Servers of weights may be far away.
fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(10),
        response: Duration::from_secs(20),
        read: Duration::from_secs(30),
    }
}

/// Whether a word is safe as a part of a path or an address.
fn is_plain(word: &str) -> bool {
    let is_known = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !word.is_empty() && word.len() <= 128 && !word.starts_with('.') && word.chars().all(is_known)
}

/// The content of a complete folder.
#[derive(Deserialize, Serialize)]
struct Complete {
    commit: String,
    /// The names and sizes of the files.
    files: BTreeMap<String, u64>,
}

/// Whether a folder was downloaded completely and its files still exist.
fn is_complete(folder: &Path) -> bool {
    let complete = fs::read(folder.join(COMPLETE)).ok();
    let complete = complete.and_then(|text| serde_json::from_slice::<Complete>(&text).ok());
    complete.is_some_and(|Complete { files, .. }| {
        let has_size = |(name, bytes): (&String, &u64)| {
            fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == *bytes)
        };
        files.iter().all(has_size)
    })
}

/// The description of a network on a server.
#[derive(Deserialize)]
struct Listing {
    /// The commit.
    sha: String,
    #[serde(rename = "siblings")]
    files: Vec<File>,
}

/// A file on a server: stored by Git, or separately if it is large.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "rfilename")]
    name: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    object: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Listing {
    fn find(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }

    fn expect(&self, name: &str) -> Result<&File> {
        self.find(name).ok_or_else(|| {
            let names = self.files.iter().map(|file| file.name.as_str()).filter(|name| {
                !name.contains('/') && (name.ends_with(".json") || is_weights(name))
            });
            let names = names.take(20).collect::<Vec<_>>().join(", ");
            Error::data(
                "Hub",
                format!("the file {name} is missing; the network has the files {names}"),
            )
        })
    }
}

fn is_weights(name: &str) -> bool {
    [".safetensors", ".bin", ".h5", ".gguf", ".onnx", ".msgpack"]
        .iter()
        .any(|it| name.ends_with(it))
}

impl File {
    fn bytes(&self) -> u64 {
        self.lfs.as_ref().map(|large| large.size).or(self.size).unwrap_or(0)
    }

    fn remote(&self) -> Result<RemoteFile<'_>> {
        let checksum = match (&self.lfs, &self.object) {
            (Some(large), _) => Checksum::Sha256(&large.sha256),
            (None, Some(object)) => Checksum::GitObject(object),
            (None, None) => {
                let message = format!("the server returned no checksum of {}", self.name);
                return Err(Error::data("Hub", message));
            }
        };
        Ok(RemoteFile { name: &self.name, bytes: self.bytes(), checksum })
    }
}
