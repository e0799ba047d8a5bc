//! Where the files of a known data set may come from, the same for all: a
//! folder that was named, the cache, a download into it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dendra_tensor::Result;

use crate::cache::cache_dir;

/// A data set that has a place on the network.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// What progress and messages call it.
    pub(crate) title: &'static str,
    /// Its folder within the cache.
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
    /// The folders on the mirrors, in the order to try them. An address
    /// without a scheme gets that of the build.
    pub(crate) mirrors: &'static [&'static str],
    pub(crate) files: &'static [crate::download::RemoteFile],
}

/// What a user may say about where to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) mirrors: Option<Vec<String>>,
    pub(crate) offline: bool,
    pub(crate) quiet: bool,
}

/// Why a data set is nowhere to be found, one reason for each place.
pub(crate) type Reasons = Vec<String>;

impl Search {
    /// Finds a data set with `read`, which reads it from a folder; what was
    /// downloaded is read with `read_downloaded`. A folder that the user
    /// names must hold it.
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
            return Ok(Err(vec!["the environment names no cache folder".to_owned()]));
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

    /// Downloads the files into the cache, or says why there is no network to
    /// do so.
    #[cfg(feature = "download")]
    fn download(&self, known: &Known, cache: &Path) -> Result<Result<(), String>> {
        use crate::download::{Downloader, Failure, Patience};

        if self.offline {
            return Ok(Err("the network was to be left alone".into()));
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

/// The address of a mirror: over https when the build has it.
#[cfg(feature = "download")]
fn url(mirror: &str) -> String {
    let scheme = if cfg!(feature = "https") { "https" } else { "http" };
    if mirror.contains("://") { mirror.to_owned() } else { format!("{scheme}://{mirror}") }
}

/// The settings of where to look, as methods of a builder with a field
/// `search`.
macro_rules! search_settings {
    () => {
        /// The folder that holds the files. Nothing else is tried then. `None`
        /// leaves the search as it is.
        #[must_use]
        pub fn dir(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
            self.search.dir = folder.into();
            self
        }

        /// The folder that downloaded files are kept in: unless set, one in
        /// `dendra` in the user's cache folder (`$XDG_CACHE_HOME` or
        /// `~/.cache`, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on
        /// Windows).
        #[must_use]
        pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
            self.search.cache_dir = Some(folder.into());
            self
        }

        /// The servers to download from, tried in this order: URLs to which a
        /// slash and the name of the file are added.
        #[must_use]
        pub fn mirrors<S: Into<String>>(mut self, mirrors: impl IntoIterator<Item = S>) -> Self {
            self.search.mirrors = Some(mirrors.into_iter().map(Into::into).collect());
            self
        }

        /// Whether to leave the network alone.
        #[must_use]
        pub fn offline(mut self, offline: bool) -> Self {
            self.search.offline = offline;
            self
        }

        /// Whether to write nothing to standard error, such as a progress bar.
        #[must_use]
        pub fn quiet(mut self, quiet: bool) -> Self {
            self.search.quiet = quiet;
            self
        }

        /// How bytes become inputs, [`Normalization::Scale`] unless set.
        #[must_use]
        pub fn normalize(mut self, normalization: Normalization) -> Self {
            self.normalization = normalization;
            self
        }
    };
}
pub(crate) use search_settings;
