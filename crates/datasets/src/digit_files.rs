//! Image data sets in four IDX files, such as MNIST.

use std::io;
use std::path::{Path, PathBuf};

use dendra_tensor::{Error, Result, Tensor};

use crate::idx::read_idx;
use crate::images::ImageDataset;

/// The contents and names of the four files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigitFiles {
    /// The name of the data set.
    pub(crate) title: &'static str,
    /// The first parts of the names of the training images, training labels,
    /// test images and test labels.
    pub(crate) stems: [&'static str; 4],
    pub(crate) classes: usize,
    /// The label of the first class in the files.
    pub(crate) first_label: u8,
    /// Whether rows and columns are swapped.
    pub(crate) transposed: bool,
}

/// The names of MNIST's files.
pub(crate) const STEMS: [&str; 4] = ["train-images", "train-labels", "t10k-images", "t10k-labels"];

/// Checks that a folder can be listed.
///
/// # Errors
///
/// When the folder cannot be listed. The message names the expected files.
pub(crate) fn check_folder(folder: &Path, files: &[impl AsRef<str>]) -> Result<()> {
    folder.read_dir().map(drop).map_err(|error| {
        let files = files.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
        let message = format!("{error}; expected a folder with the files {files}");
        Error::io(folder, io::Error::new(error.kind(), message))
    })
}

/// The second parts of the names. The separator before them varies.
const KINDS: [&str; 4] = ["idx3-ubyte", "idx1-ubyte", "idx3-ubyte", "idx1-ubyte"];

impl DigitFiles {
    /// A data set with MNIST's file names and labels from 0.
    pub(crate) const fn like_mnist(title: &'static str) -> Self {
        Self { title, stems: STEMS, classes: 10, first_label: 0, transposed: false }
    }

    /// Reads the training and test images from files in a folder, gzipped or
    /// not, with any variant of their names.
    pub(crate) fn read(&self, folder: &Path) -> Result<(ImageDataset, ImageDataset)> {
        self.read_files(&self.find(folder)?)
    }

    /// Reads the training and test images from files under their downloaded
    /// names.
    pub(crate) fn read_downloaded(&self, folder: &Path) -> Result<(ImageDataset, ImageDataset)> {
        let mut kinds = KINDS.iter();
        self.read_files(&self.stems.map(|stem| {
            let kind = kinds.next().expect("there are as many kinds as stems");
            folder.join(format!("{stem}-{kind}.gz"))
        }))
    }

    fn find(&self, folder: &Path) -> Result<[PathBuf; 4]> {
        let files = self.stems.iter().zip(KINDS).map(|(stem, kind)| format!("{stem}-{kind}"));
        check_folder(folder, &files.collect::<Vec<_>>())?;
        let names = self.stems.iter().zip(KINDS);
        let found = names.map(|(stem, kind)| {
            let names = ["-", "."].map(|separator| format!("{stem}{separator}{kind}"));
            let mut paths = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
            paths.find(|name| folder.join(name).is_file()).ok_or(format!("{stem}-{kind}"))
        });
        let found: Vec<Result<String, String>> = found.collect();
        let missing: Vec<&str> =
            found.iter().filter_map(|name| name.as_ref().err()).map(String::as_str).collect();
        if !missing.is_empty() {
            let message = format!(
                "the folder does not contain {} (gzipped or not), which {} consists of",
                missing.join(", "),
                self.title
            );
            return Err(Error::file(folder, message));
        }
        let mut names = found.into_iter().flatten();
        Ok([(); 4].map(|()| folder.join(names.next().expect("all four were found"))))
    }

    fn read_files(&self, paths: &[PathBuf; 4]) -> Result<(ImageDataset, ImageDataset)> {
        let [train_images, train_labels, test_images, test_labels] = paths;
        let (train, test) = rayon::join(
            || self.read_part(train_images, train_labels),
            || self.read_part(test_images, test_labels),
        );
        Ok((train?, test?))
    }

    /// Reads the images in one file and their labels in another.
    fn read_part(&self, images_path: &Path, labels_path: &Path) -> Result<ImageDataset> {
        let (images, labels) = rayon::join(|| read_idx(images_path), || read_idx(labels_path));
        let (images, labels) = (images?, labels?);
        let &[count, 28, 28] = &images.shape()[..] else {
            let message =
                format!("expected 28×28 images, got an array of shape {}", images.shape());
            return Err(Error::file(images_path, message));
        };
        if count == 0 {
            return Err(Error::file(images_path, "it contains no images"));
        }
        if labels.shape()[..] != [count] {
            let message = format!(
                "expected a label for each of the {count} images in {}, got an array of shape {}",
                images_path.display(),
                labels.shape()
            );
            return Err(Error::file(labels_path, message));
        }
        let first = i64::from(self.first_label);
        let labels = labels.to_vec().into_iter().map(|label| i64::from(label) - first).collect();
        let labels = Tensor::from_vec(labels, [count])?;
        let images = if self.transposed { images.transpose(1, 2)? } else { images };
        let images = images.contiguous().reshape([count, 1, 28, 28])?;
        ImageDataset::new(images, labels, self.classes).map_err(|error| match error {
            Error::Data { message, .. } => Error::file(labels_path, message),
            error => error,
        })
    }
}
