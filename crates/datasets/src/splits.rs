//! Image data sets with a training and a test set: those in MNIST's format, and
//! CIFAR.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dendra_tensor::{Error, Result};

use crate::cifar::{CifarFiles, Records, TEN};
use crate::digit_files::DigitFiles;
use crate::images::{ImageDataset, Normalization};
use crate::search::{Known, Search, search_settings};

#[cfg(feature = "download")]
mod mirrors;
#[cfg(test)]
mod tests;

/// A training and a test set of images.
#[derive(Clone, Debug)]
pub struct ImageSplits {
    /// The training set.
    pub train: ImageDataset,
    /// The test set.
    pub test: ImageDataset,
    /// The names of the classes, in the order of their labels.
    pub class_names: Vec<String>,
}

/// How the files of a data set are read.
#[derive(Clone, Copy, Debug)]
enum Format {
    Digits(DigitFiles),
    Cifar(CifarFiles),
}

/// Settings for the source of an image data set and its normalisation.
///
/// ```no_run
/// use dendra_datasets::FashionMnist;
///
/// let clothes = FashionMnist::options().cache_dir("data").quiet(true).load()?;
/// println!("{} images of {:?}", clothes.train.labels().len(), clothes.class_names);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageSplitsOptions {
    search: Search,
    known: Known,
    format: Format,
    channels: usize,
    class_names: Vec<String>,
    normalization: Normalization,
}

impl ImageSplitsOptions {
    fn new(known: Known, format: Format, class_names: Vec<String>) -> Self {
        Self {
            search: Search::default(),
            known,
            format,
            channels: if matches!(format, Format::Cifar(_)) { 3 } else { 1 },
            class_names,
            normalization: Normalization::Scale,
        }
    }

    search_settings!();

    /// Looks for the images in this order: the folder that was set, or that the
    /// environment variable of the data set names; the cache folder; a download
    /// from the mirrors into the cache.
    ///
    /// # Errors
    ///
    /// When the folder that was set or that the variable names does not contain
    /// the files (no other source is tried then); when there are no files and
    /// they cannot be downloaded; when the cache folder cannot be written; when
    /// the normalisation does not match the channels.
    pub fn load(self) -> Result<ImageSplits> {
        self.load_in(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn load_in(self, environment: impl Fn(&str) -> Option<OsString>) -> Result<ImageSplits> {
        self.normalization.check(self.channels)?;
        let read = |folder: &Path| match &self.format {
            Format::Digits(files) => files.read(folder),
            Format::Cifar(files) => files.read(folder),
        };
        let read_downloaded = |folder: &Path| {
            self.unpack(folder)?;
            match &self.format {
                Format::Digits(files) => files.read_downloaded(folder),
                Format::Cifar(files) => files.read(folder),
            }
        };
        let found = self.search.find(&self.known, environment, read, read_downloaded)?;
        let (train, test) = found.map_err(|reasons| {
            let message = format!(
                "it is neither in the cache nor to be downloaded: {}; `dir` or {} may name its \
                 folder",
                reasons.join("; "),
                self.known.variable
            );
            Error::data(self.known.title, message)
        })?;
        Ok(ImageSplits {
            train: train.normalize(self.normalization.clone())?,
            test: test.normalize(self.normalization)?,
            class_names: self.class_names,
        })
    }

    /// Unpacks a downloaded archive into its folder.
    #[cfg(all(feature = "download", feature = "archives"))]
    fn unpack(&self, folder: &Path) -> Result<()> {
        use std::fs;

        use crate::archive::{unpack_tar, unpack_zip};

        /// The largest unpacked size, above that of every data set.
        const MOST_BYTES: u64 = 1 << 30;

        for file in self.known.remote.files {
            let archive = folder.join(file.name);
            if file.name.ends_with(".tar.gz") {
                unpack_tar(&archive, folder, MOST_BYTES)?;
                fs::remove_file(&archive).map_err(|error| Error::io(&archive, error))?;
            } else if let (true, Format::Digits(files)) =
                (file.name.ends_with(".zip"), &self.format)
            {
                // The archive is kept because it contains other splits, too.
                unpack_zip(&archive, folder, MOST_BYTES, |name| {
                    let name = name.rsplit('/').next()?;
                    let is_wanted = files.stems.iter().any(|stem| name.starts_with(stem));
                    is_wanted.then(|| name.to_owned())
                })?;
            }
        }
        Ok(())
    }

    #[cfg(all(feature = "download", not(feature = "archives")))]
    fn unpack(&self, folder: &Path) -> Result<()> {
        let is_archive = |name: &str| name.ends_with(".tar.gz") || name.ends_with(".zip");
        match self.known.remote.files.iter().find(|file| is_archive(file.name)) {
            None => Ok(()),
            Some(file) => {
                let message = "built without the feature `archives`, which unpacks it";
                Err(Error::file(folder.join(file.name), message))
            }
        }
    }

    #[cfg(not(feature = "download"))]
    fn unpack(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}

/// The methods of a data set that has only one form.
macro_rules! ways {
    ($set:ident) => {
        impl $set {
            /// Loads the data set with the default [`ImageSplitsOptions`].
            ///
            /// # Errors
            ///
            /// The errors of [`ImageSplitsOptions::load`].
            pub fn load() -> Result<ImageSplits> {
                Self::options().load()
            }

            /// Reads the files of the data set in `folder`.
            ///
            /// # Errors
            ///
            /// When a file is missing, unreadable or has other contents than
            /// its name implies.
            pub fn from_dir(folder: impl AsRef<Path>) -> Result<ImageSplits> {
                Self::options().dir(folder.as_ref().to_path_buf()).load()
            }
        }
    };
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn characters(characters: &str) -> Vec<String> {
    characters.chars().map(String::from).collect()
}

/// Fashion-MNIST: 28×28 grey pictures of clothes in ten classes, 60,000 for
/// training and 10,000 for testing. `FASHION_MNIST_DIR` may name its folder.
///
/// H. Xiao, K. Rasul and R. Vollgraf: "Fashion-MNIST: a novel image dataset for
/// benchmarking machine learning algorithms", 2017.
#[derive(Clone, Copy, Debug)]
pub struct FashionMnist;

ways!(FashionMnist);

impl FashionMnist {
    /// Settings for the source of the data set and its normalisation.
    pub fn options() -> ImageSplitsOptions {
        let known = Known {
            title: "Fashion-MNIST",
            folder: "fashion-mnist",
            variable: "FASHION_MNIST_DIR",
            #[cfg(feature = "download")]
            remote: mirrors::FASHION_MNIST,
        };
        let classes = [
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ];
        let format = Format::Digits(DigitFiles::like_mnist("Fashion-MNIST"));
        ImageSplitsOptions::new(known, format, names(&classes))
    }
}

/// Kuzushiji-MNIST: 28×28 grey images of ten cursive hiragana, 60,000 for
/// training and 10,000 for testing. `KMNIST_DIR` may name its folder.
///
/// T. Clanuwat et al.: "Deep learning for classical Japanese literature", 2018.
#[derive(Clone, Copy, Debug)]
pub struct Kmnist;

ways!(Kmnist);

impl Kmnist {
    /// Settings for the source of the data set and its normalisation.
    pub fn options() -> ImageSplitsOptions {
        let known = Known {
            title: "KMNIST",
            folder: "kmnist",
            variable: "KMNIST_DIR",
            #[cfg(feature = "download")]
            remote: mirrors::KMNIST,
        };
        let classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"];
        let format = Format::Digits(DigitFiles::like_mnist("KMNIST"));
        ImageSplitsOptions::new(known, format, names(&classes))
    }
}

/// EMNIST: 28×28 grey images of handwritten digits and letters, in several
/// splits. `EMNIST_DIR` may name its folder.
///
/// The labels of [`EmnistSplit::Letters`] begin at 0 here, but at 1 in the
/// files. The download is one archive of 562 MB with all splits and needs the
/// feature `archives`. G. Cohen et al.: "EMNIST: an extension of MNIST to
/// handwritten letters", 2017.
#[derive(Clone, Copy, Debug)]
pub struct Emnist;

/// A split of EMNIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmnistSplit {
    /// Digits, upper-case and lower-case letters: 62 classes with their natural
    /// frequencies.
    ByClass,
    /// The same, with lower-case letters that look like upper-case ones merged
    /// with them: 47 classes.
    ByMerge,
    /// The same 47 classes, with equal numbers of samples.
    Balanced,
    /// The 26 letters, with upper and lower case merged.
    Letters,
    /// The ten digits, with equal numbers of samples.
    Digits,
    /// The ten digits in the form of MNIST.
    Mnist,
}

impl Emnist {
    /// Loads a split with the default [`ImageSplitsOptions`].
    ///
    /// # Errors
    ///
    /// The errors of [`ImageSplitsOptions::load`].
    pub fn load(split: EmnistSplit) -> Result<ImageSplits> {
        Self::options(split).load()
    }

    /// Reads the files of a split in `folder`.
    ///
    /// # Errors
    ///
    /// When a file is missing, unreadable or has other contents than its name
    /// implies.
    pub fn from_dir(folder: impl AsRef<Path>, split: EmnistSplit) -> Result<ImageSplits> {
        Self::options(split).dir(folder.as_ref().to_path_buf()).load()
    }

    /// Settings for the source of a split and its normalisation.
    pub fn options(split: EmnistSplit) -> ImageSplitsOptions {
        macro_rules! stems {
            ($name:literal) => {
                [
                    concat!("emnist-", $name, "-train-images"),
                    concat!("emnist-", $name, "-train-labels"),
                    concat!("emnist-", $name, "-test-images"),
                    concat!("emnist-", $name, "-test-labels"),
                ]
            };
        }
        const DIGITS: &str = "0123456789";
        const LARGE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let merged = format!("{DIGITS}{LARGE}abdefghnqrt");
        let (stems, classes) = match split {
            EmnistSplit::ByClass => {
                (stems!("byclass"), format!("{DIGITS}{LARGE}{}", LARGE.to_lowercase()))
            }
            EmnistSplit::ByMerge => (stems!("bymerge"), merged),
            EmnistSplit::Balanced => (stems!("balanced"), merged),
            EmnistSplit::Letters => (stems!("letters"), LARGE.to_lowercase()),
            EmnistSplit::Digits => (stems!("digits"), DIGITS.to_owned()),
            EmnistSplit::Mnist => (stems!("mnist"), DIGITS.to_owned()),
        };
        let known = Known {
            title: "EMNIST",
            folder: "emnist",
            variable: "EMNIST_DIR",
            #[cfg(feature = "download")]
            remote: mirrors::EMNIST,
        };
        let files = DigitFiles {
            title: "EMNIST",
            stems,
            classes: classes.len(),
            first_label: u8::from(split == EmnistSplit::Letters),
            transposed: true,
        };
        ImageSplitsOptions::new(known, Format::Digits(files), characters(&classes))
    }
}

/// CIFAR-10: 32×32 colour photographs in ten classes, 50,000 for training and
/// 10,000 for testing. `CIFAR10_DIR` may name its folder.
///
/// The download is an archive of 170 MB and needs the feature `archives`; a
/// folder with the unpacked files does not. A. Krizhevsky: "Learning multiple
/// layers of features from tiny images", 2009.
#[derive(Clone, Copy, Debug)]
pub struct Cifar10;

ways!(Cifar10);

impl Cifar10 {
    /// Settings for the source of the data set and its normalisation.
    pub fn options() -> ImageSplitsOptions {
        let known = Known {
            title: "CIFAR-10",
            folder: "cifar-10",
            variable: "CIFAR10_DIR",
            #[cfg(feature = "download")]
            remote: mirrors::CIFAR10,
        };
        let files = CifarFiles {
            title: "CIFAR-10",
            folder: "cifar-10-batches-bin",
            train: &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            test: &["test_batch.bin"],
            records: TEN,
        };
        let classes = [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ];
        ImageSplitsOptions::new(known, Format::Cifar(files), names(&classes))
    }
}

/// CIFAR-100: 32×32 colour photographs in a hundred classes, or in twenty
/// groups of five classes, 50,000 for training and 10,000 for testing.
/// `CIFAR100_DIR` may name its folder.
///
/// The download is an archive of 169 MB and needs the feature `archives`; a
/// folder with the unpacked files does not. A. Krizhevsky: "Learning multiple
/// layers of features from tiny images", 2009.
#[derive(Clone, Copy, Debug)]
pub struct Cifar100;

ways!(Cifar100);

impl Cifar100 {
    /// Settings for the source of the data set and its normalisation.
    pub fn options() -> ImageSplitsOptions {
        Self::labelled(1, 100, names(&CIFAR100_CLASSES))
    }

    /// The same, with the twenty groups of classes as labels.
    pub fn coarse_options() -> ImageSplitsOptions {
        Self::labelled(0, 20, names(&CIFAR100_GROUPS))
    }

    fn labelled(label: usize, classes: usize, class_names: Vec<String>) -> ImageSplitsOptions {
        let known = Known {
            title: "CIFAR-100",
            folder: "cifar-100",
            variable: "CIFAR100_DIR",
            #[cfg(feature = "download")]
            remote: mirrors::CIFAR100,
        };
        let files = CifarFiles {
            title: "CIFAR-100",
            folder: "cifar-100-binary",
            train: &["train.bin"],
            test: &["test.bin"],
            records: Records { labels: 2, label, classes },
        };
        ImageSplitsOptions::new(known, Format::Cifar(files), class_names)
    }
}

/// The names of the classes of CIFAR-100, in the order of their labels.
#[rustfmt::skip]
const CIFAR100_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
];

/// The names of the groups of CIFAR-100, in the order of their labels.
#[rustfmt::skip]
const CIFAR100_GROUPS: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people",
    "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
];
