//! [`Mnist`]: the handwritten digits, from files, from the network or
//! generated.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dendra_tensor::{Error, Result, Tensor};

use crate::cache::cache_dir;
use crate::digits::digits;
use crate::idx::read_idx;
use crate::images::{ImageDataset, Normalization};

#[cfg(feature = "download")]
mod mirrors;
#[cfg(test)]
mod tests;

/// The MNIST database of handwritten digits: images of shape `[1, 28, 28]`,
/// scaled to [0, 1] unless asked otherwise, and labels 0 to 9; 60,000 to train
/// on and 10,000 to test on.
///
/// ```no_run
/// use dendra_datasets::{Dataset, Mnist};
///
/// let mnist = Mnist::load()?;
/// let (images, labels) = mnist.train.batch(&[0, 1, 2])?;
/// assert_eq!(images.shape(), &[3, 1, 28, 28]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// Y. LeCun, L. Bottou, Y. Bengio and P. Haffner: "Gradient-based learning
/// applied to document recognition", Proceedings of the IEEE 86(11), 1998.
#[derive(Clone, Debug)]
pub struct Mnist {
    /// The training set.
    pub train: ImageDataset,
    /// The test set.
    pub test: ImageDataset,
    /// Where the digits come from.
    pub source: MnistSource,
}

/// Where the digits of a [`Mnist`] come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MnistSource {
    /// Files in this folder.
    Folder(PathBuf),
    /// The built-in generator of handwritten-like digits; see [`digits`].
    Generated,
}

impl Mnist {
    /// Finds the digits, with the default [`MnistOptions`].
    ///
    /// # Errors
    ///
    /// As [`MnistOptions::load`].
    pub fn load() -> Result<Self> {
        Self::options().load()
    }

    /// Settings for where the digits may come from and how they are
    /// normalised.
    pub fn options() -> MnistOptions {
        MnistOptions::default()
    }

    /// Reads the four IDX files in `folder`, gzipped or not, under their usual
    /// names (`train-images-idx3-ubyte.gz`, `train-images.idx3-ubyte`, ...).
    /// Sets in the same format, such as Fashion-MNIST, can be read, too.
    ///
    /// # Errors
    ///
    /// When a file is missing, unreadable or not what its name says, images
    /// and labels differ in number, there are none, or a label is above 9.
    pub fn from_dir(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let paths = find_files(folder)?;
        Self::from_files(&paths, folder)
    }

    /// Generates handwritten-like digits, the same for the same `seed`; the
    /// test set differs from the training set. See [`digits`].
    ///
    /// ```
    /// use dendra_datasets::{Dataset, Mnist};
    ///
    /// let mnist = Mnist::synthetic(500, 100, 42);
    /// assert_eq!((mnist.train.len(), mnist.test.len()), (500, 100));
    /// ```
    pub fn synthetic(train: usize, test: usize, seed: u64) -> Self {
        Self {
            train: digits(train, seed),
            test: digits(test, !seed),
            source: MnistSource::Generated,
        }
    }

    fn from_files(paths: &[PathBuf; 4], folder: &Path) -> Result<Self> {
        let [train_images, train_labels, test_images, test_labels] = paths;
        let (train, test) = rayon::join(
            || read_part(train_images, train_labels),
            || read_part(test_images, test_labels),
        );
        Ok(Self { train: train?, test: test?, source: MnistSource::Folder(folder.into()) })
    }
}

/// Where MNIST may come from and how it is normalised.
///
/// ```no_run
/// use dendra_datasets::{Mnist, Normalization};
///
/// let standard = Normalization::Standardize { mean: vec![0.1307], std: vec![0.3081] };
/// let mnist = Mnist::options().quiet(true).normalize(standard).load()?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MnistOptions {
    dir: Option<PathBuf>,
    synthetic: bool,
    seed: u64,
    sizes: (usize, usize),
    cache_dir: Option<PathBuf>,
    mirrors: Option<Vec<String>>,
    offline: bool,
    quiet: bool,
    normalization: Normalization,
    #[cfg(feature = "download")]
    files: [crate::download::RemoteFile; 4],
}

impl Default for MnistOptions {
    fn default() -> Self {
        Self {
            dir: None,
            synthetic: false,
            seed: 0,
            sizes: (60_000, 10_000),
            cache_dir: None,
            mirrors: None,
            offline: false,
            quiet: false,
            normalization: Normalization::Scale,
            #[cfg(feature = "download")]
            files: mirrors::FILES,
        }
    }
}

impl MnistOptions {
    /// The folder that holds the four files; see [`Mnist::from_dir`]. Nothing
    /// else is tried then. `None` leaves the search as it is.
    #[must_use]
    pub fn dir(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
        self.dir = folder.into();
        self
    }

    /// Whether to generate the digits and not look for files at all.
    #[must_use]
    pub fn synthetic(mut self, synthetic: bool) -> Self {
        self.synthetic = synthetic;
        self
    }

    /// The seed of generated digits, 0 unless set.
    #[must_use]
    pub fn synthetic_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many digits are generated, 60,000 to train on and 10,000 to test on
    /// unless set.
    #[must_use]
    pub fn synthetic_sizes(mut self, train: usize, test: usize) -> Self {
        self.sizes = (train, test);
        self
    }

    /// The folder that downloaded files are kept in: unless set, `dendra/mnist`
    /// in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`,
    /// `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows).
    #[must_use]
    pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(folder.into());
        self
    }

    /// The servers to download from, tried in this order: URLs to which a
    /// slash and the name of the file are added.
    #[must_use]
    pub fn mirrors<S: Into<String>>(mut self, mirrors: impl IntoIterator<Item = S>) -> Self {
        self.mirrors = Some(mirrors.into_iter().map(Into::into).collect());
        self
    }

    /// Whether to leave the network alone.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Whether to write nothing to standard error: no progress bar, and no
    /// line when the digits are generated for want of others;
    /// [`Mnist::source`] tells then.
    #[must_use]
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// How bytes become inputs, [`Normalization::Scale`] unless set.
    #[must_use]
    pub fn normalize(mut self, normalization: Normalization) -> Self {
        self.normalization = normalization;
        self
    }

    /// Finds the digits, in this order: the folder that was set, or that the
    /// environment variable `MNIST_DIR` names; the cache folder; a download
    /// from the mirrors into it; and when no mirror answers, the built-in
    /// generator, with a line on standard error that says so.
    ///
    /// # Errors
    ///
    /// When the folder that was set or that `MNIST_DIR` names does not hold
    /// the files (nothing else is tried then); when a download breaks off or
    /// is not what it should be; when the cache folder cannot be written; when
    /// the normalisation does not fit.
    pub fn load(self) -> Result<Mnist> {
        self.load_in(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn load_in(self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Mnist> {
        // Before minutes go into a download.
        self.normalization.check(1)?;
        let Mnist { train, test, source } = self.find(environment)?;
        Ok(Mnist {
            train: train.normalize(self.normalization.clone())?,
            test: test.normalize(self.normalization)?,
            source,
        })
    }

    fn find(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Mnist> {
        if self.synthetic && self.dir.is_some() {
            let message =
                "`dir` and `synthetic` exclude each other: where should the digits be from?";
            return Err(Error::argument("MnistOptions", message));
        }
        if self.synthetic {
            return Ok(self.generate());
        }
        if let Some(folder) = &self.dir {
            return Mnist::from_dir(folder);
        }
        if let Some(folder) = environment("MNIST_DIR") {
            return Mnist::from_dir(PathBuf::from(folder));
        }
        let cache = self.cache_dir.clone().or_else(|| Some(cache_dir(environment)?.join("mnist")));
        let mut reasons = Vec::new();
        match &cache {
            None => reasons.push("the environment names no cache folder".to_string()),
            Some(cache) => match Mnist::from_dir(cache) {
                Ok(mnist) => return Ok(mnist),
                Err(error) => {
                    reasons.push(error.to_string());
                    match self.download(cache)? {
                        Ok(mnist) => return Ok(mnist),
                        Err(reason) => reasons.push(reason),
                    }
                }
            },
        }
        if !self.quiet {
            eprintln!(
                "dendra: using GENERATED digits, not MNIST, which is neither in the cache nor to \
                 be downloaded: {}",
                reasons.join("; ")
            );
        }
        Ok(self.generate())
    }

    /// Downloads the digits into the cache and reads them, or says why there is
    /// no network to do so.
    #[cfg(feature = "download")]
    fn download(&self, cache: &Path) -> Result<Result<Mnist, String>> {
        use crate::download::{Downloader, Failure, Patience};

        if self.offline {
            return Ok(Err("the network was to be left alone".into()));
        }
        let official = mirrors::MIRRORS.map(String::from);
        let downloader = Downloader {
            mirrors: self.mirrors.as_deref().unwrap_or(&official),
            folder: cache,
            patience: Patience::default(),
            title: (!self.quiet).then_some("MNIST"),
        };
        match downloader.fetch(&self.files) {
            Ok(()) => {
                let paths = self.files.map(|file| cache.join(file.name));
                Ok(Ok(Mnist::from_files(&paths, cache)?))
            }
            Err(Failure::Unreachable(reasons)) => Ok(Err(reasons)),
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    #[cfg(not(feature = "download"))]
    fn download(&self, _cache: &Path) -> Result<Result<Mnist, String>> {
        Ok(Err("built without the feature `download`".into()))
    }

    fn generate(&self) -> Mnist {
        Mnist::synthetic(self.sizes.0, self.sizes.1, self.seed)
    }
}

/// The stems of the four files' names, and what follows: the separator varies.
const NAMES: [(&str, &str); 4] = [
    ("train-images", "idx3-ubyte"),
    ("train-labels", "idx1-ubyte"),
    ("t10k-images", "idx3-ubyte"),
    ("t10k-labels", "idx1-ubyte"),
];

/// The four files in `folder`, whatever variants of their names they have.
fn find_files(folder: &Path) -> Result<[PathBuf; 4]> {
    let place = folder.read_dir().map_err(|error| Error::io(folder, error))?;
    drop(place);
    let found = NAMES.map(|(stem, kind)| {
        let names = ["-", "."].map(|separator| format!("{stem}{separator}{kind}"));
        let paths = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
        paths.map(|name| folder.join(name)).find(|path| path.is_file())
    });
    match found {
        [Some(a), Some(b), Some(c), Some(d)] => Ok([a, b, c, d]),
        found => {
            let missing = NAMES.iter().zip(&found).filter(|(_, path)| path.is_none());
            let missing: Vec<_> =
                missing.map(|((stem, kind), _)| format!("{stem}-{kind}")).collect();
            let missing = missing.join(", ");
            let message = format!(
                "the folder does not hold {missing} (gzipped or not), which MNIST consists of"
            );
            Err(Error::file(folder, message))
        }
    }
}

/// Reads the images in one file with their labels in another.
fn read_part(images_path: &Path, labels_path: &Path) -> Result<ImageDataset> {
    let (images, labels) = rayon::join(|| read_idx(images_path), || read_idx(labels_path));
    let (images, labels) = (images?, labels?);
    let &[count, 28, 28] = &images.shape()[..] else {
        let message = format!("expected 28×28 images, got an array of shape {}", images.shape());
        return Err(Error::file(images_path, message));
    };
    if count == 0 {
        return Err(Error::file(images_path, "it holds no images"));
    }
    if labels.shape()[..] != [count] {
        let message = format!(
            "expected a label for each of the {count} images in {}, got an array of shape {}",
            images_path.display(),
            labels.shape()
        );
        return Err(Error::file(labels_path, message));
    }
    let labels = labels.to_vec().into_iter().map(i64::from).collect();
    let labels = Tensor::from_vec(labels, [count])?;
    ImageDataset::new(images.reshape([count, 1, 28, 28])?, labels, 10).map_err(
        |error| match error {
            Error::Data { message, .. } => Error::file(labels_path, message),
            error => error,
        },
    )
}
