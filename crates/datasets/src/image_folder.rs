//! [`ImageFolder`]: folders of pictures, one folder for each class.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::dataset::{Batch, Dataset, check_indices};
use crate::draw::Draw;
use crate::image_encoder::{ImageEncoder, fitted};
use crate::image_file::decoded;
use crate::images::Normalization;

/// Pictures in one folder for each class: `cat/1.png`, `cat/more/2.jpg`,
/// `dog/3.jpeg`. The classes are the names of the folders in ascending order,
/// as in torchvision's `ImageFolder`.
///
/// Inputs are bytes of shape `[batch, channels, height, width]`. A picture is
/// decoded each time it is gathered; [`CachedDataset`](crate::CachedDataset)
/// keeps decoded pictures.
///
/// ```no_run
/// use dendra_datasets::{CachedDataset, ImageFolder, Normalization, TransformDataset};
///
/// let pets = ImageFolder::open("pets")?.size(64, 64);
/// println!("{:?}", pets.class_names());
/// let encoder = pets.encoder(Normalization::Scale)?;
/// let pets = TransformDataset::new(CachedDataset::new(pets), encoder)?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
pub struct ImageFolder {
    files: Vec<PathBuf>,
    labels: Vec<i64>,
    class_names: Vec<String>,
    /// The height and width of all pictures: each is scaled to cover them, and
    /// cropped equally at both ends.
    #[set(given, each(height, width))]
    size: [usize; 2],
    /// Whether the pictures have one grey channel instead of three colour
    /// channels.
    #[set(default = false)]
    grey: bool,
}

impl ImageFolder {
    /// Finds the PNG and JPEG files in the folder `root`.
    ///
    /// Links to files and folders are followed; a folder to which several links
    /// in a class lead counts once. Files and folders whose name begins with a
    /// dot are ignored, and so are files that are not pictures.
    ///
    /// The pictures get the size of the first one, unless [`size`](Self::size)
    /// sets another.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read or its name is not UTF-8; when a link is
    /// broken or leads to a folder that contains it; when a picture has an
    /// unsupported format (GIF, WebP, …); when there is no class, or one has no
    /// pictures; and when the first picture cannot be read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let (mut files, mut labels, mut class_names) = (Vec::new(), Vec::new(), Vec::new());
        let real_root = real(root)?;
        for (folder, is_folder) in entries(root)? {
            if !is_folder {
                continue;
            }
            let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Error::file(&folder, "expected a name in UTF-8, because it is the name of a class")
            })?;
            let before = files.len();
            let mut search = Search { files: &mut files, seen: HashSet::new() };
            search.folder(&folder, &mut vec![real_root.clone()])?;
            if files.len() == before {
                return Err(Error::file(&folder, "the class has no PNG or JPEG files"));
            }
            labels.resize(files.len(), class_names.len() as i64);
            class_names.push(name.to_owned());
        }
        let Some(first) = files.first() else {
            let message = "expected a folder of pictures for each class, got none";
            return Err(Error::file(root, message));
        };
        let [_, height, width] = decoded(first, false)?.shape();
        Ok(Self::with_defaults(files, labels, class_names, [height, width]))
    }

    /// An encoder that makes inputs of these pictures and, in the same way, of
    /// others.
    ///
    /// # Errors
    ///
    /// The errors of [`ImageEncoder::new`].
    pub fn encoder(&self, normalization: Normalization) -> Result<ImageEncoder> {
        ImageEncoder::new(self.size, self.grey, normalization)
    }

    /// The names of the classes, in the order of their labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The paths of the pictures, in the order of the samples.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn picture(&self, index: usize) -> Result<Vec<u8>> {
        let image = decoded(&self.files[index], self.grey)?;
        Ok(fitted(image, self.size).into_pixels())
    }

    fn gather(&self, indices: &[usize], parallel: bool) -> Result<Batch<Self>> {
        check_indices("ImageFolder", indices, self.files.len())?;
        let pictures: Result<Vec<Vec<u8>>> = if parallel {
            indices.par_iter().map(|&index| self.picture(index)).collect()
        } else {
            indices.iter().map(|&index| self.picture(index)).collect()
        };
        let pixels = pictures?.concat();
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        let shape: Vec<usize> =
            [indices.len()].into_iter().chain(self.input_shape().to_vec()).collect();
        Ok((Tensor::from_vec(pixels, shape)?, Tensor::from_vec(labels, [indices.len()])?))
    }
}

impl Dataset for ImageFolder {
    type Input = Tensor<u8>;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.files.len()
    }

    fn input_shape(&self) -> Shape {
        Shape::from([if self.grey { 1 } else { 3 }, self.size[0], self.size[1]])
    }

    fn classes(&self) -> Option<usize> {
        Some(self.class_names.len())
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.gather(indices, true)
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        self.gather(indices, !draw.is_background())
    }

    fn labels(&self) -> Option<Vec<i64>> {
        Some(self.labels.clone())
    }
}

/// The largest depth of nested folders.
const DEEPEST: usize = 32;

/// The name extensions of supported pictures, in lower case.
const READ: [&str; 5] = ["png", "jpg", "jpeg", "jpe", "jfif"];

/// The name extensions of unsupported pictures.
const NOT_READ: [&str; 9] = ["avif", "bmp", "gif", "heic", "pgm", "ppm", "tif", "tiff", "webp"];

/// The entries of a folder, ordered by name, and whether each is a folder.
/// Links are followed; names that begin with a dot are left out.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let failed = |error| Error::io(folder, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let kind = fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
        if kind.is_dir() || kind.is_file() {
            entries.push((path, kind.is_dir()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The real path of a folder, with all links resolved.
fn real(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).map_err(|error| Error::io(folder, error))
}

/// The search for the pictures of a class.
struct Search<'a> {
    files: &'a mut Vec<PathBuf>,
    /// The folders that have been searched.
    seen: HashSet<PathBuf>,
}

impl Search<'_> {
    /// Finds the pictures in a folder, which is inside the folders `around`.
    fn folder(&mut self, folder: &Path, around: &mut Vec<PathBuf>) -> Result<()> {
        if around.len() > DEEPEST {
            let message = format!("folders are nested more than {DEEPEST} deep");
            return Err(Error::file(folder, message));
        }
        let target = real(folder)?;
        if around.contains(&target) {
            let message = format!("the link leads back to {}, which contains it", target.display());
            return Err(Error::file(folder, message));
        }
        if !self.seen.insert(target.clone()) {
            return Ok(());
        }
        around.push(target);
        for (path, is_folder) in entries(folder)? {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let is_one_of = |known: &[&str]| known.iter().any(|e| ending.eq_ignore_ascii_case(e));
            if is_folder {
                self.folder(&path, around)?;
            } else if is_one_of(&READ) {
                self.files.push(path);
            } else if is_one_of(&NOT_READ) {
                let message = "pictures of this format are not read, only PNG and JPEG are: \
                               convert it or move it elsewhere";
                return Err(Error::file(path, message));
            }
        }
        around.pop();
        Ok(())
    }
}
