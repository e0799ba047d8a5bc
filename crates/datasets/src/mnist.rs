//! [`Mnist`]: the handwritten digits, read from files, downloaded or generated.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use dendra_derive::Setters;
use dendra_tensor::{Error, Result};

use crate::digit_files::DigitFiles;
use crate::digits::digits;
use crate::images::{ImageDataset, Normalization};
use crate::search::{Known, Search, search_settings};

#[cfg(feature = "download")]
mod mirrors;
#[cfg(test)]
mod tests;

/// The MNIST database of handwritten digits: images of shape `[1, 28, 28]`, by
/// default scaled to [0, 1], and labels 0 to 9, with 60,000 samples for
/// training and 10,000 for testing.
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
    /// The source of the digits.
    pub source: MnistSource,
}

/// The source of the digits of a [`Mnist`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MnistSource {
    /// Files in this folder.
    Folder(PathBuf),
    /// The built-in generator of images that resemble handwritten digits; see
    /// [`digits`].
    Generated,
}

/// Prints the source, for a line with the accuracy on the digits.
impl fmt::Display for MnistSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "on the digits in {}", folder.display()),
            Self::Generated => f.write_str("on GENERATED digits, not on MNIST"),
        }
    }
}

impl Mnist {
    /// Loads the digits with the default [`MnistOptions`].
    ///
    /// # Errors
    ///
    /// The errors of [`MnistOptions::load`].
    pub fn load() -> Result<Self> {
        Self::options().load()
    }

    /// Settings for the source of the digits and their normalisation.
    pub fn options() -> MnistOptions {
        MnistOptions::default()
    }

    /// Reads the four IDX files in `folder`, gzipped or not, under their usual
    /// names (`train-images-idx3-ubyte.gz`, `train-images.idx3-ubyte`, ...).
    /// Other data sets in the same format, such as Fashion-MNIST, can be read,
    /// too.
    ///
    /// # Errors
    ///
    /// When a file is missing, unreadable or has other contents than its name
    /// implies, the numbers of images and labels differ, there are none, or a
    /// label is above 9.
    pub fn from_dir(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (train, test) = FILES.read(folder)?;
        Ok(Self { train, test, source: MnistSource::Folder(folder.into()) })
    }

    /// Generates images that resemble handwritten digits. The same `seed` gives
    /// the same images; the test set differs from the training set. See
    /// [`digits`].
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

/// Where MNIST is found.
const KNOWN: Known = Known {
    title: "MNIST",
    folder: "mnist",
    variable: "MNIST_DIR",
    #[cfg(feature = "download")]
    remote: mirrors::REMOTE,
};

/// MNIST's files.
const FILES: DigitFiles = DigitFiles::like_mnist("MNIST");

/// Settings for the source of MNIST and its normalisation.
///
/// ```no_run
/// use dendra_datasets::{Mnist, Normalization};
///
/// let standard = Normalization::Standardize { mean: vec![0.1307], std: vec![0.3081] };
/// let mnist = Mnist::options().quiet(true).normalize(standard).load()?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
pub struct MnistOptions {
    #[set(skip)]
    search: Search,
    #[set(skip, default = KNOWN)]
    known: Known,
    /// Whether to generate the digits without looking for files.
    #[set(default = false)]
    synthetic: bool,
    /// The seed of generated digits.
    #[set(default = 0)]
    synthetic_seed: u64,
    /// The numbers of generated digits for training and testing.
    #[set(each(train, test), default = (60_000, 10_000))]
    synthetic_sizes: (usize, usize),
    #[set(skip, default = Normalization::Scale)]
    normalization: Normalization,
}

impl MnistOptions {
    search_settings!();

    /// Looks for the digits in this order: the folder that was set, or that the
    /// environment variable `MNIST_DIR` names; the cache folder; a download
    /// from the mirrors into the cache; and, if no mirror answers, the built-in
    /// generator. The generator prints a line on standard error unless
    /// [`quiet`](Self::quiet) was set. [`Mnist::source`] has the source in any
    /// case.
    ///
    /// # Errors
    ///
    /// When the folder that was set or that `MNIST_DIR` names does not contain
    /// the files (no other source is tried then); when a download is
    /// interrupted or has the wrong contents; when the cache folder cannot be
    /// written; when the normalisation is not for one channel.
    pub fn load(self) -> Result<Mnist> {
        self.load_in(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn load_in(self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Mnist> {
        // Checked before a download that takes minutes.
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
            let message = "expected either `dir` or `synthetic`, got both";
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
        let (train, test) = self.synthetic_sizes;
        Mnist::synthetic(train, test, self.synthetic_seed)
    }
}
