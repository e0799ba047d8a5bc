//! [`Mnist`]: the handwritten digits, from files, from the network or
//! generated.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use dendra_tensor::{Error, Result};

use crate::digit_files::DigitFiles;
use crate::digits::digits;
use crate::images::{ImageDataset, Normalization};
use crate::search::{Known, Search, search_settings};

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

/// For a line beside what a network has reached on them.
impl fmt::Display for MnistSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "on the digits in {}", folder.display()),
            Self::Generated => f.write_str("on GENERATED digits, not on MNIST"),
        }
    }
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
        let (train, test) = FILES.read(folder)?;
        Ok(Self { train, test, source: MnistSource::Folder(folder.into()) })
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
}

/// What MNIST's files hold.
const FILES: DigitFiles = DigitFiles::like_mnist("MNIST");

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
    search: Search,
    known: Known,
    synthetic: bool,
    seed: u64,
    sizes: (usize, usize),
    normalization: Normalization,
}

impl Default for MnistOptions {
    fn default() -> Self {
        let known = Known {
            title: "MNIST",
            folder: "mnist",
            variable: "MNIST_DIR",
            #[cfg(feature = "download")]
            remote: mirrors::REMOTE,
        };
        Self {
            search: Search::default(),
            known,
            synthetic: false,
            seed: 0,
            sizes: (60_000, 10_000),
            normalization: Normalization::Scale,
        }
    }
}

impl MnistOptions {
    search_settings!();

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

    /// Finds the digits, in this order: the folder that was set, or that the
    /// environment variable `MNIST_DIR` names; the cache folder; a download
    /// from the mirrors into it; and when no mirror answers, the built-in
    /// generator, with a line on standard error that says so, unless it is to be
    /// [`quiet`](Self::quiet); [`Mnist::source`] tells in any case.
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
        if self.synthetic && self.search.dir.is_some() {
            let message =
                "`dir` and `synthetic` exclude each other: where should the digits be from?";
            return Err(Error::argument("MnistOptions", message));
        }
        if self.synthetic {
            return Ok(self.generate());
        }
        let found = self.search.find(
            &self.known,
            environment,
            |folder| Mnist::from_dir(folder),
            |cache| {
                let (train, test) = FILES.read_downloaded(cache)?;
                Ok(Mnist { train, test, source: MnistSource::Folder(cache.into()) })
            },
        )?;
        let reasons = match found {
            Ok(mnist) => return Ok(mnist),
            Err(reasons) => reasons,
        };
        if !self.search.quiet {
            eprintln!(
                "dendra: using GENERATED digits, not MNIST, which is neither in the cache nor to \
                 be downloaded: {}",
                reasons.join("; ")
            );
        }
        Ok(self.generate())
    }

    fn generate(&self) -> Mnist {
        Mnist::synthetic(self.sizes.0, self.sizes.1, self.seed)
    }
}
