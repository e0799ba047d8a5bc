//! Folders of pictures.

use std::fs;
use std::path::Path;

use dendra_datasets::transforms::{
    Border, ColorJitter, Image, RandomCrop, RandomHorizontalFlip, RandomRotation, Transform,
};
use dendra_datasets::{
    Dataset, ImageEncoder, ImageFolder, Normalization, TensorDataset, decode_image,
};
use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::settings::Augment;

/// The number of pictures that are sampled to choose size and colour.
const LOOKED_AT: usize = 100;

/// The longest side that is chosen by default.
const LONGEST_SIDE: usize = 64;

/// The number of pictures that are decoded at a time.
const AT_A_TIME: usize = 256;

/// The number of damaged pictures that a message names.
const NAMED: usize = 5;

/// The default size for a folder of pictures, and whether they are grey. The
/// size is the median height and width, reduced to at most 64 pixels.
pub(crate) fn look(folder: &ImageFolder) -> Result<([usize; 2], bool)> {
    let files = folder.files();
    let (mut heights, mut widths, mut grey) = (Vec::new(), Vec::new(), true);
    for file in files.iter().step_by(files.len().div_ceil(LOOKED_AT).max(1)) {
        let bytes = fs::read(file).map_err(|error| Error::io(file, error))?;
        // Damaged pictures are reported when all are read.
        let Ok(picture) = decode_image(&bytes, false) else { continue };
        let [_, height, width] = picture.shape();
        heights.push(height);
        widths.push(width);
        let [red, green, blue] = [0, 1, 2].map(|channel| picture.planes().nth(channel));
        grey &= red == green && green == blue;
    }
    let median = |sides: &mut Vec<usize>| {
        sides.sort_unstable();
        sides.get(sides.len() / 2).copied().unwrap_or(LONGEST_SIDE)
    };
    let sides = [median(&mut heights), median(&mut widths)];
    let longest = sides[0].max(sides[1]);
    let scaled = |side: usize| match longest > LONGEST_SIDE {
        true => ((side * LONGEST_SIDE) as f64 / longest as f64).round() as usize,
        false => side,
    };
    Ok((sides.map(|side| scaled(side).max(4)), grey))
}

/// Decodes all pictures. Damaged pictures either cause an error that names
/// them, or are skipped and counted.
pub(crate) fn read(
    folder: &ImageFolder,
    root: &Path,
    skip_damaged: bool,
) -> Result<(TensorDataset<i64, u8>, usize)> {
    let all: Vec<usize> = (0..folder.len()).collect();
    let (mut inputs, mut labels, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |(x, y): (Tensor<u8>, Tensor<i64>)| {
        inputs.push(x);
        labels.extend(y.to_vec());
    };
    for indices in all.chunks(AT_A_TIME) {
        if let Ok(batch) = folder.batch(indices) {
            add(batch);
            continue;
        }
        for &index in indices {
            match folder.batch(&[index]) {
                Ok(batch) => add(batch),
                Err(error) => damaged.push(error.to_string()),
            }
        }
    }
    if !(damaged.is_empty() || skip_damaged) {
        let more = match damaged.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let named = damaged[..damaged.len().min(NAMED)].join("\n  ");
        let message = format!(
            "{} of {} pictures cannot be read (--skip-damaged leaves them out):\n  {named}{more}",
            damaged.len(),
            folder.len()
        );
        return Err(Error::file(root, message));
    }
    if inputs.is_empty() {
        return Err(Error::file(root, "it contains no readable picture"));
    }
    let inputs = Tensor::cat(&inputs.iter().collect::<Vec<_>>(), 0)?;
    let labels = Tensor::from_vec(labels.clone(), [labels.len()])?;
    let classes = folder.class_names().len();
    Ok((TensorDataset::classification(inputs, labels, classes)?, damaged.len()))
}

/// The inputs of a model for all pictures of a folder.
pub(crate) fn inputs(folder: &ImageFolder, encoder: &ImageEncoder) -> Result<Tensor> {
    let parts = folder.files().chunks(AT_A_TIME).map(|files| encoder.inputs(files));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0)
}

/// The mean and the standard deviation of each channel.
pub(crate) fn normalization(pictures: &Tensor<u8>) -> Result<Normalization> {
    let channels = pictures.shape()[1];
    let mut sums = vec![[0_u64; 2]; channels];
    let plane: usize = pictures.shape()[2..].iter().product();
    let pixels = pictures.to_vec();
    for (index, pixels) in pixels.chunks_exact(plane.max(1)).enumerate() {
        let [sum, squares] = &mut sums[index % channels];
        *sum += pixels.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
        *squares += pixels.iter().map(|&pixel| u64::from(pixel).pow(2)).sum::<u64>();
    }
    let count = (pixels.len() / channels.max(1)) as f64;
    let figures = sums.iter().map(|&[sum, squares]| {
        let mean = sum as f64 / count;
        let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
        // Avoids a division by 0 for pictures of one colour.
        ((mean / 255.0) as f32, if deviation > 0.0 { (deviation / 255.0) as f32 } else { 1.0 })
    });
    let (mean, std) = figures.unzip();
    Ok(Normalization::Standardize { mean, std })
}

/// The random changes of a picture of bytes.
pub(crate) struct Changes {
    shift: Option<RandomCrop>,
    mirror: Option<(RandomHorizontalFlip, ColorJitter)>,
}

impl Changes {
    /// The changes for pictures of this size: shifts by up to a sixteenth of
    /// the longer side (at least one pixel) and rotations by up to 10 degrees.
    pub(crate) fn new(augment: Augment, size: [usize; 2]) -> Self {
        let padding = (size[0].max(size[1]) / 16).max(1);
        let crop = RandomCrop::new(0).size(size[0], size[1]);
        let crop = crop.padding(padding).border(Border::Replicate);
        let jitter = ColorJitter::new().brightness(0.2).contrast(0.2);
        Self {
            shift: (augment != Augment::None).then_some(crop),
            mirror: (augment == Augment::All).then(|| (RandomHorizontalFlip::new(0.5), jitter)),
        }
    }
}

impl Transform<u8> for Changes {
    type Output = u8;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        Ok(shape)
    }

    fn apply(&self, image: Image<u8>, rng: &mut Rng) -> Image<u8> {
        let image = match &self.shift {
            Some(crop) => {
                // Pixels from outside of the picture get the brightness of its
                // border.
                let rotation = RandomRotation::new(10.0).fill(border(&image));
                crop.apply(rotation.apply(image, rng), rng)
            }
            None => image,
        };
        match &self.mirror {
            Some((mirror, jitter)) => jitter.apply(mirror.apply(image, rng), rng),
            None => image,
        }
    }
}

/// The mean of the pixels at the border of a picture.
fn border(image: &Image<u8>) -> f32 {
    let [_, height, width] = image.shape();
    let (mut sum, mut count) = (0_u64, 0_u64);
    for plane in image.planes() {
        for (index, &pixel) in plane.iter().enumerate() {
            let (y, x) = (index / width, index % width);
            if y == 0 || x == 0 || y + 1 == height || x + 1 == width {
                sum += u64::from(pixel);
                count += 1;
            }
        }
    }
    sum as f32 / count.max(1) as f32
}
