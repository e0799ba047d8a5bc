//! The binary files of CIFAR-10 and CIFAR-100: records of one or two label
//! bytes and the 3,072 bytes of a 32×32 image, with the red, green and blue
//! channel one after the other (<https://www.cs.toronto.edu/~kriz/cifar.html>).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use dendra_tensor::{Error, Result, Tensor};

use crate::digit_files::check_folder;
use crate::fault::Fault;
use crate::images::ImageDataset;

/// The bytes of an image.
const IMAGE: usize = 3 * 32 * 32;

/// The largest size of a file, well over ten times that of the originals.
const MOST_BYTES: u64 = 1 << 31;

/// The files of a CIFAR data set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CifarFiles {
    pub(crate) title: &'static str,
    /// Their folder in the archive.
    pub(crate) folder: &'static str,
    pub(crate) train: &'static [&'static str],
    pub(crate) test: &'static [&'static str],
    pub(crate) records: Records,
}

/// The part of a record before its image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records {
    /// The number of labels.
    pub(crate) labels: usize,
    /// The index of the label that is used.
    pub(crate) label: usize,
    pub(crate) classes: usize,
}

/// Records with one label out of ten.
pub(crate) const TEN: Records = Records { labels: 1, label: 0, classes: 10 };

impl CifarFiles {
    /// Reads the training and test images from the files in `folder`, or in its
    /// subfolder of the archive's name.
    pub(crate) fn read(&self, folder: &Path) -> Result<(ImageDataset, ImageDataset)> {
        check_folder(folder, &[self.train, self.test].concat())?;
        let nested = folder.join(self.folder);
        let folder = if nested.is_dir() { nested } else { folder.to_path_buf() };
        let names = || self.train.iter().chain(self.test);
        let missing: Vec<&str> =
            names().copied().filter(|name| !folder.join(name).is_file()).collect();
        if !missing.is_empty() {
            let message = format!(
                "the folder does not contain {}, which {} consists of",
                missing.join(", "),
                self.title
            );
            return Err(Error::file(folder, message));
        }
        let paths = |names: &[&str]| names.iter().map(|name| folder.join(name)).collect();
        let (train, test) = (paths(self.train), paths(self.test));
        let (train, test) =
            rayon::join(|| self.records.read_all(train), || self.records.read_all(test));
        Ok((train?, test?))
    }
}

impl Records {
    /// Reads the images of several files, one after the other.
    fn read_all(self, paths: Vec<PathBuf>) -> Result<ImageDataset> {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for path in paths {
            let mut read = || -> Result<(), Fault> {
                let file = File::open(&path)?;
                let size = file.metadata()?.len();
                self.read(BufReader::new(file), size, &mut images, &mut labels)
            };
            read().map_err(|fault| fault.at(&path))?;
        }
        self.collect(images, labels)
    }

    fn collect(self, images: Vec<u8>, labels: Vec<i64>) -> Result<ImageDataset> {
        let count = labels.len();
        let images = Tensor::from_vec(images, [count, 3, 32, 32])?;
        ImageDataset::new(images, Tensor::from_vec(labels, [count])?, self.classes)
    }

    /// Reads the records of a file of `size` bytes.
    fn read(
        self,
        mut file: impl Read,
        size: u64,
        images: &mut Vec<u8>,
        labels: &mut Vec<i64>,
    ) -> Result<(), Fault> {
        let record = (self.labels + IMAGE) as u64;
        if size == 0 {
            return Err("it is empty".to_owned().into());
        }
        if !size.is_multiple_of(record) || size > MOST_BYTES {
            let message = format!(
                "it has {size} bytes, expected a multiple of the {record} bytes of an image with \
                 its label, {MOST_BYTES} at most"
            );
            return Err(message.into());
        }
        let count = (size / record) as usize;
        images.reserve_exact(count * IMAGE);
        for index in 0..count {
            let mut head = [0; 2];
            let head = &mut head[..self.labels];
            file.read_exact(head)?;
            let label = head[self.label];
            if usize::from(label) >= self.classes {
                let message =
                    format!("image {index} has label {label}, expected one in 0..{}", self.classes);
                return Err(message.into());
            }
            labels.push(i64::from(label));
            let start = images.len();
            images.resize(start + IMAGE, 0);
            file.read_exact(&mut images[start..])?;
        }
        Ok(())
    }
}

/// Reads the images of a CIFAR-10 file in memory: records of a label byte and
/// the 3,072 bytes of an image.
///
/// ```
/// use dendra_datasets::{Dataset, parse_cifar10};
///
/// let record = [vec![3], vec![0; 3072]].concat();
/// let images = parse_cifar10(&record)?;
/// assert_eq!((images.len(), images.labels().to_vec()), (1, vec![3]));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
///
/// # Errors
///
/// When there are no records, the last one is incomplete, or a label is above
/// 9.
pub fn parse_cifar10(bytes: &[u8]) -> Result<ImageDataset> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    TEN.read(bytes, bytes.len() as u64, &mut images, &mut labels)
        .map_err(|fault| fault.in_memory("parse_cifar10"))?;
    TEN.collect(images, labels)
}
