//! [`ImageFolder`]: folders of pictures, one for each class.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use dendra_tensor::{Error, Result, Rng, Shape, Tensor};
use image::{DynamicImage, ImageError, ImageReader, Limits};
use rayon::prelude::*;

use crate::dataset::{Batch, Dataset, check_indices};
use crate::draw::Draw;
use crate::idx::DEFLATE_FACTOR;
use crate::transforms::{CenterCrop, Image, Transform, resize};

/// The most pixels along a side, and the most bytes that decoding may take.
const MOST_PIXELS: u32 = 1 << 14;
const MOST_BYTES: u64 = 1 << 28;

/// How many times larger than its file a picture may be in memory: both
/// formats reach about what deflate can do, with pictures of one colour.
const GROWTH: u64 = 2 * DEFLATE_FACTOR;

/// What decoding any picture may take.
const FEWEST_BYTES: u64 = 1 << 20;

/// Pictures in one folder for each class: `cat/1.png`, `cat/more/2.jpg`,
/// `dog/3.jpeg`. The classes are the folders' names in ascending order;
/// torchvision's `ImageFolder`.
///
/// Inputs are bytes of shape `[batch, channels, height, width]`. A picture is
/// decoded when it is asked for; [`CachedDataset`](crate::CachedDataset) keeps
/// what was decoded.
///
/// ```no_run
/// use dendra_datasets::transforms::ToFloat;
/// use dendra_datasets::{CachedDataset, ImageFolder, TransformDataset};
///
/// let pets = ImageFolder::open("pets")?.size(64, 64);
/// println!("{:?}", pets.class_names());
/// let pets = TransformDataset::new(CachedDataset::new(pets), ToFloat)?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    files: Vec<PathBuf>,
    labels: Vec<i64>,
    class_names: Vec<String>,
    size: [usize; 2],
    grey: bool,
}

impl ImageFolder {
    /// Finds the PNG and JPEG files below `root`. Links are not followed.
    ///
    /// The pictures' size is that of the first unless [`size`](Self::size) sets
    /// one.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read or its name is not UTF-8, there is no
    /// class, or one has no pictures, or the first picture cannot be read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let (mut files, mut labels, mut class_names) = (Vec::new(), Vec::new(), Vec::new());
        for (folder, is_folder) in entries(root)? {
            if !is_folder {
                continue;
            }
            let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Error::file(&folder, "expected a folder's name in UTF-8, as it is a class's")
            })?;
            let before = files.len();
            pictures(&folder, &mut files, DEEPEST)?;
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
        Ok(Self { files, labels, class_names, size: [height, width], grey: false })
    }

    /// The height and width that all pictures are brought to: each is scaled
    /// until it covers them, and what sticks out is cut off at both ends.
    #[must_use]
    pub fn size(mut self, height: usize, width: usize) -> Self {
        self.size = [height, width];
        self
    }

    /// Whether the pictures have one channel of grey instead of three of
    /// colours; false unless set.
    #[must_use]
    pub fn grey(mut self, grey: bool) -> Self {
        self.grey = grey;
        self
    }

    /// What the classes are called, in the order of their labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Where the pictures are, in the order of the samples.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn picture(&self, index: usize) -> Result<Vec<u8>> {
        let image = decoded(&self.files[index], self.grey)?;
        let [_, height, width] = image.shape();
        let scale = (self.size[0] as f64 / height as f64).max(self.size[1] as f64 / width as f64);
        let scaled = [(height, self.size[0]), (width, self.size[1])]
            .map(|(extent, wanted)| ((extent as f64 * scale).round() as usize).max(wanted));
        let crop = CenterCrop::new(0).size(self.size[0], self.size[1]);
        Ok(crop.apply(resize(image, scaled), &mut Rng::seed(0)).into_pixels())
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

/// How many folders may lie within each other.
const DEEPEST: usize = 32;

/// What lies in a folder, in the order of the names, and whether it is a
/// folder. Links are left out.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let failed = |error| Error::io(folder, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() || kind.is_file() {
            entries.push((entry.path(), kind.is_dir()));
        }
    }
    entries.sort();
    Ok(entries)
}

fn pictures(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::file(folder, "too many folders lie within each other"));
    };
    for (path, is_folder) in entries(folder)? {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if is_folder {
            pictures(&path, files, depth)?;
        } else if ["png", "jpg", "jpeg"].iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            files.push(path);
        }
    }
    Ok(())
}

/// The picture in a file.
fn decoded(path: &Path, grey: bool) -> Result<Image<u8>> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    decode(&bytes, grey).map_err(|message| Error::file(path, message))
}

/// A PNG or JPEG picture in memory as bytes of `[channels, height, width]`,
/// with three channels or, if `grey`, one.
///
/// # Errors
///
/// When the bytes are neither, or damaged, or announce a picture of more than
/// 16,384 pixels along a side, or one that takes more than 256 MB to decode or
/// more than so few bytes can hold.
pub fn decode_image(bytes: &[u8], grey: bool) -> Result<Image<u8>> {
    decode(bytes, grey).map_err(|message| Error::data("decode_image", message))
}

fn decode(bytes: &[u8], grey: bool) -> Result<Image<u8>, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS);
    limits.max_image_height = Some(MOST_PIXELS);
    let most = (bytes.len() as u64).saturating_mul(GROWTH).clamp(FEWEST_BYTES, MOST_BYTES);
    limits.max_alloc = Some(most);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    let format = reader.format();
    if !matches!(format, Some(image::ImageFormat::Png | image::ImageFormat::Jpeg)) {
        let start = bytes[..bytes.len().min(16)].escape_ascii();
        return Err(format!("it is neither a PNG nor a JPEG picture, it starts with \"{start}\""));
    }
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| match error {
        ImageError::Limits(_) => format!(
            "the picture is larger than {MOST_PIXELS} pixels along a side or the {most} bytes that \
             its file can hold"
        ),
        error => format!("it is damaged: {error}"),
    })?;
    Ok(planes(picture, grey))
}

/// Channel by channel, where the decoder has pixel by pixel.
fn planes(picture: DynamicImage, grey: bool) -> Image<u8> {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let (channels, pixels) = if grey {
        (1, picture.into_luma8().into_raw())
    } else {
        (3, picture.into_rgb8().into_raw())
    };
    let planes = (0..channels)
        .flat_map(|channel| pixels[channel.min(pixels.len())..].iter().step_by(channels));
    Image::new([channels, height, width], planes.copied().collect())
        .expect("the decoder fills the picture")
}
