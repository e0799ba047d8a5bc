//! Sets of images that are divided into a training and a test set: the
//! relatives of MNIST, and CIFAR.

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
    /// What the classes are called, in the order of their labels.
    pub class_names: Vec<String>,
}

/// How the files of a set are read.
#[derive(Clone, Copy, Debug)]
enum Format {
    Digits(DigitFiles),
    Cifar(CifarFiles),
}

/// Where a set of images may come from and how it is normalised.
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

    /// Finds the images, in this order: the folder that was set, or that the
    /// environment variable of the set names; the cache folder; a download
    /// from the mirrors into it.
    ///
    /// # Errors
    ///
    /// When the folder that was set or that the variable names does not hold
    /// the files (nothing else is tried then); when they are nowhere and
    /// cannot be downloaded; when the cache folder cannot be written; when the
    /// normalisation does not fit.
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

    /// Unpacks an archive that was downloaded into its folder.
    #[cfg(all(feature = "download", feature = "archives"))]
    fn unpack(&self, folder: &Path) -> Result<()> {
        use std::fs;

        use crate::archive::{unpack_tar, unpack_zip};

        /// More than any of the sets has.
        const MOST_BYTES: u64 = 1 << 30;

        for file in self.known.remote.files {
            let archive = folder.join(file.name);
            if file.name.ends_with(".tar.gz") {
                unpack_tar(&archive, folder, MOST_BYTES)?;
                fs::remove_file(&archive).map_err(|error| Error::io(&archive, error))?;
            } else if let (true, Format::Digits(files)) =
                (file.name.ends_with(".zip"), &self.format)
            {
                // The archive stays: it holds other divisions, too.
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

/// The ways to a set that has but one form.
macro_rules! ways {
    ($set:ident) => {
        impl $set {
            /// Finds the set, with the default [`ImageSplitsOptions`].
            ///
            /// # Errors
            ///
            /// As [`ImageSplitsOptions::load`].
            pub fn load() -> Result<ImageSplits> {
                Self::options().load()
            }

            /// Reads the set's files in `folder`.
            ///
            /// # Errors
            ///
            /// When a file is missing, unreadable or not what its name says.
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

/// Fashion-MNIST: 28×28 grey pictures of clothes, 60,000 to train on and
/// 10,000 to test on, in ten classes. `FASHION_MNIST_DIR` may name its folder.
///
/// H. Xiao, K. Rasul and R. Vollgraf: "Fashion-MNIST: a novel image dataset for
/// benchmarking machine learning algorithms", 2017.
#[derive(Clone, Copy, Debug)]
pub struct FashionMnist;

ways!(FashionMnist);

impl FashionMnist {
    /// Settings for where the set may come from and how it is normalised.
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

/// Kuzushiji-MNIST: 28×28 grey images of ten cursive hiragana, 60,000 to train
/// on and 10,000 to test on. `KMNIST_DIR` may name its folder.
///
/// T. Clanuwat et al.: "Deep learning for classical Japanese literature", 2018.
#[derive(Clone, Copy, Debug)]
pub struct Kmnist;

ways!(Kmnist);

impl Kmnist {
    /// Settings for where the set may come from and how it is normalised.
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
/// divisions. `EMNIST_DIR` may name its folder.
///
/// The labels of [`EmnistSplit::Letters`] begin at 0 here, at 1 in the files.
/// Its download is one archive of 562 MB with all divisions and needs the
/// feature `archives`. G. Cohen et al.: "EMNIST: an extension of MNIST to
/// handwritten letters", 2017.
#[derive(Clone, Copy, Debug)]
pub struct Emnist;

/// A division of EMNIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmnistSplit {
    /// Digits, large and small letters: 62 classes as unequal as in life.
    ByClass,
    /// The same with those small letters that look like large ones: 47
    /// classes.
    ByMerge,
    /// The 47 classes in equal numbers.
    Balanced,
    /// The 26 letters, large and small together.
    Letters,
    /// The ten digits in equal numbers.
    Digits,
    /// The ten digits as MNIST has them.
    Mnist,
}

impl Emnist {
    /// Finds a division, with the default [`ImageSplitsOptions`].
    ///
    /// # Errors
    ///
    /// As [`ImageSplitsOptions::load`].
    pub fn load(split: EmnistSplit) -> Result<ImageSplits> {
        Self::options(split).load()
    }

    /// Reads the files of a division in `folder`.
    ///
    /// # Errors
    ///
    /// When a file is missing, unreadable or not what its name says.
    pub fn from_dir(folder: impl AsRef<Path>, split: EmnistSplit) -> Result<ImageSplits> {
        Self::options(split).dir(folder.as_ref().to_path_buf()).load()
    }

    /// Settings for where a division may come from and how it is normalised.
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

/// CIFAR-10: 32×32 colour photographs, 50,000 to train on and 10,000 to test
/// on, in ten classes. `CIFAR10_DIR` may name its folder.
///
/// Its download is an archive of 170 MB and needs the feature `archives`; a
/// folder in which that was unpacked does not. A. Krizhevsky: "Learning
/// multiple layers of features from tiny images", 2009.
#[derive(Clone, Copy, Debug)]
pub struct Cifar10;

ways!(Cifar10);

impl Cifar10 {
    /// Settings for where the set may come from and how it is normalised.
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

/// CIFAR-100: 32×32 colour photographs, 50,000 to train on and 10,000 to test
/// on, in a hundred classes or twenty groups of five. `CIFAR100_DIR` may name
/// its folder.
///
/// Its download is an archive of 169 MB and needs the feature `archives`; a
/// folder in which that was unpacked does not. A. Krizhevsky: "Learning
/// multiple layers of features from tiny images", 2009.
#[derive(Clone, Copy, Debug)]
pub struct Cifar100;

ways!(Cifar100);

impl Cifar100 {
    /// Settings for where the set may come from and how it is normalised.
    pub fn options() -> ImageSplitsOptions {
        Self::labelled(1, 100, names(&CIFAR100_CLASSES))
    }

    /// The same with the twenty groups of classes as labels.
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

/// The classes of CIFAR-100 in the order of their labels.
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

/// The groups of CIFAR-100 in the order of their labels.
#[rustfmt::skip]
const CIFAR100_GROUPS: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people",
    "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
];
