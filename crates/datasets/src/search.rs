//! The search for the files of a known data set, the same for all data sets: a
//! given folder, the cache, or a download into the cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dendra_tensor::Result;

use crate::cache::cache_dir;

/// A known data set, which can be downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The name in progress bars and messages.
    pub(crate) title: &'static str,
    /// The folder in the cache.
    pub(crate) folder: &'static str,
    /// The environment variable that may name its folder.
    pub(crate) variable: &'static str,
    #[cfg(feature = "download")]
    pub(crate) remote: Remote,
}

/// The files of a data set on its mirrors.
#[cfg(feature = "download")]
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// The folders on the mirrors, in the order in which they are tried. An
    /// address without a scheme gets the one of the build (https or http).
    pub(crate) mirrors: &'static [&'static str],
    pub(crate) files: &'static [crate::download::RemoteFile<'static>],
}

/// The user's settings for the search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) mirrors: Option<Vec<String>>,
    pub(crate) offline: bool,
    pub(crate) quiet: bool,
}

/// The reason for each source why a data set was not found.
pub(crate) type Reasons = Vec<String>;

impl Search {
    /// Finds a data set with `read`, which reads it from a folder. Downloaded
    /// files are read with `read_downloaded`. If the user names a folder, it
    /// must contain the data set.
    pub(crate) fn find<T>(
        &self,
        known: &Known,
        environment: impl Fn(&str) -> Option<OsString>,
        read: impl Fn(&Path) -> Result<T>,
        read_downloaded: impl Fn(&Path) -> Result<T>,
    ) -> Result<Result<T, Reasons>> {
        if let Some(folder) = &self.dir {
            return read(folder).map(Ok);
        }
        if let Some(folder) = environment(known.variable) {
            return read(Path::new(&folder)).map(Ok);
        }
        let named = self.cache_dir.clone();
        let Some(cache) = named.or_else(|| Some(cache_dir(environment)?.join(known.folder))) else {
            return Ok(Err(vec![
                "the environment variables for the cache folder are not set".to_owned(),
            ]));
        };
        let missing = match read(&cache) {
            Ok(found) => return Ok(Ok(found)),
            Err(error) => error.to_string(),
        };
        match self.download(known, &cache)? {
            Ok(()) => read_downloaded(&cache).map(Ok),
            Err(reason) => Ok(Err(vec![missing, reason])),
        }
    }

    /// Downloads the files into the cache, or returns the reason why it could
    /// not reach a mirror.
    #[cfg(feature = "download")]
    fn download(&self, known: &Known, cache: &Path) -> Result<Result<(), String>> {
        use crate::download::{Downloader, Failure, Patience};

        if self.offline {
            return Ok(Err("the option `offline` was set".into()));
        }
        let official: Vec<String> = known.remote.mirrors.iter().map(|mirror| url(mirror)).collect();
        let downloader = Downloader {
            mirrors: self.mirrors.as_deref().unwrap_or(&official),
            folder: cache,
            patience: Patience::default(),
            title: (!self.quiet).then_some(known.title),
        };
        match downloader.fetch(known.remote.files) {
            Ok(()) => Ok(Ok(())),
            Err(Failure::Unreachable(reasons)) => Ok(Err(reasons)),
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    #[cfg(not(feature = "download"))]
    fn download(&self, _known: &Known, _cache: &Path) -> Result<Result<(), String>> {
        Ok(Err("built without the feature `download`".into()))
    }
}

/// The address of a mirror, over https if the build supports it.
#[cfg(feature = "download")]
fn url(mirror: &str) -> String {
    let scheme = if cfg!(feature = "https") { "https" } else { "http" };
    if mirror.contains("://") { mirror.to_owned() } else { format!("{scheme}://{mirror}") }
}

/// Methods for the settings of the search, for a builder with a field `search`.
macro_rules! search_settings {
    () => {
        /// The folder of the files. No other source is tried then. With
        /// `None`, all sources are tried.
        #[must_use]
        pub fn dir(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
            self.search.dir = folder.into();
            self
        }

        /// The folder for downloaded files. By default, it is a folder in
        /// `dendra` in the user's cache folder (`$XDG_CACHE_HOME` or
        /// `~/.cache`, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on
        /// Windows).
        #[must_use]
        pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
            self.search.cache_dir = Some(folder.into());
            self
        }

        /// The servers for downloads, in the order in which they are tried:
        /// URLs to which a slash and the file name are added.
        #[must_use]
        pub fn mirrors<S: Into<String>>(mut self, mirrors: impl IntoIterator<Item = S>) -> Self {
            self.search.mirrors = Some(mirrors.into_iter().map(Into::into).collect());
            self
        }

        /// Whether to use no network.
        #[must_use]
        pub fn offline(mut self, offline: bool) -> Self {
            self.search.offline = offline;
            self
        }

        /// Whether to print nothing on standard error, such as a progress bar.
        #[must_use]
        pub fn quiet(mut self, quiet: bool) -> Self {
            self.search.quiet = quiet;
            self
        }

        /// How bytes become inputs; [`Normalization::Scale`] by default.
        #[must_use]
        pub fn normalize(mut self, normalization: Normalization) -> Self {
            self.normalization = normalization;
            self
        }
    };
}
pub(crate) use search_settings;
