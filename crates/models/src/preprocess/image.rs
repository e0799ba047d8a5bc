//! Image preprocessing for torchvision's networks.

use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Tensor};

use super::resample::resize;

/// How pixels are interpolated in resizing. When an image shrinks, all old
/// pixels under a new one contribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Linear interpolation.
    Bilinear,
    /// Cubic convolution with a = −0.5.
    Bicubic,
}

/// Preprocesses an image for a network: it is resized, cropped at the centre,
/// and normalised by the mean and standard deviation of the training data, like
/// torchvision's `ImageClassification`. Bytes are resized like Pillow does,
/// with equal results.
///
/// ```
/// use dendra_models::ImagePreprocessing;
/// use dendra_nn::tensor::Tensor;
///
/// let preprocessing = ImagePreprocessing::of("resnet50")?;
/// let picture = Tensor::<u8>::zeros([3, 300, 400]);
/// assert_eq!(*preprocessing.apply(&picture)?.shape(), [3, 224, 224]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Setters)]
pub struct ImagePreprocessing {
    crop_size: usize,
    /// The length of the shorter side after resizing.
    #[set(default = 256)]
    resize_size: usize,
    /// How pixels are interpolated.
    #[set(default = Interpolation::Bilinear)]
    interpolation: Interpolation,
    /// The mean of each channel, of values from 0 to 1.
    #[set(default = [0.485, 0.456, 0.406])]
    mean: [f32; 3],
    /// The standard deviation of each channel.
    #[set(default = [0.229, 0.224, 0.225])]
    std: [f32; 3],
}

/// The largest number of pixels of a resized image.
const MAX_PIXELS: usize = 1 << 26;

impl ImagePreprocessing {
    /// Settings for squares of this size, with the mean and deviation of ImageNet.
    pub fn new(crop_size: usize) -> Self {
        Self::with_defaults(crop_size)
    }

    /// The preprocessing of torchvision's best weights for a network with this
    /// name in torchvision, such as `resnet50`.
    ///
    /// # Errors
    ///
    /// When there is no network with this name.
    pub fn of(network: &str) -> Result<Self> {
        use Interpolation::{Bicubic, Bilinear};
        let (crop, resize, interpolation) = match network {
            "resnet18" | "resnet34" | "mobilenet_v3_small" | "shufflenet_v2_x0_5"
            | "shufflenet_v2_x1_0" | "vit_b_16" | "vit_b_32" | "vit_l_32" => (224, 256, Bilinear),
            "resnet50" | "resnet101" | "resnet152" | "resnext50_32x4d" | "resnext101_32x8d"
            | "resnext101_64x4d" | "wide_resnet50_2" | "wide_resnet101_2" | "mobilenet_v2"
            | "mobilenet_v3_large" | "shufflenet_v2_x1_5" | "shufflenet_v2_x2_0"
            | "convnext_base" | "convnext_large" => (224, 232, Bilinear),
            "convnext_tiny" => (224, 236, Bilinear),
            "convnext_small" => (224, 230, Bilinear),
            "vit_l_16" => (224, 242, Bilinear),
            "efficientnet_b0" => (224, 256, Bicubic),
            "efficientnet_b1" => (240, 255, Bilinear),
            "efficientnet_b2" => (288, 288, Bicubic),
            "efficientnet_b3" => (300, 320, Bicubic),
            "efficientnet_b4" => (380, 384, Bicubic),
            "efficientnet_b5" => (456, 456, Bicubic),
            "efficientnet_b6" => (528, 528, Bicubic),
            "efficientnet_b7" => (600, 600, Bicubic),
            "efficientnet_v2_s" => (384, 384, Bilinear),
            "efficientnet_v2_m" => (480, 480, Bilinear),
            "efficientnet_v2_l" => (480, 480, Bicubic),
            "regnet_y_128gf" => (384, 384, Bicubic),
            "vit_h_14" => (518, 518, Bicubic),
            "swin_t" => (224, 232, Bicubic),
            "swin_s" => (224, 246, Bicubic),
            "swin_b" => (224, 238, Bicubic),
            "swin_v2_t" | "swin_v2_s" => (256, 260, Bicubic),
            "swin_v2_b" => (256, 272, Bicubic),
            name if name.starts_with("regnet_") => (224, 232, Bilinear),
            name if ["vgg", "squeezenet", "densenet"].iter().any(|it| name.starts_with(it)) => {
                (224, 256, Bilinear)
            }
            _ => {
                let message = format!("there is no network {network:?}");
                return Err(Error::argument("ImagePreprocessing::of", message));
            }
        };
        let settings = Self::new(crop).resize_size(resize).interpolation(interpolation);
        Ok(match network {
            "efficientnet_v2_l" => settings.mean([0.5; 3]).std([0.5; 3]),
            _ => settings,
        })
    }

    /// Converts an image `[3, H, W]` of bytes to an input of the network,
    /// `[3, crop_size, crop_size]`.
    ///
    /// # Errors
    ///
    /// When the image has another shape, no pixels, or would be too large after
    /// resizing, or a setting is out of range.
    pub fn apply(&self, picture: &Tensor<u8>) -> Result<Tensor> {
        let context = "ImagePreprocessing";
        let &[3, height, width] = &picture.shape()[..] else {
            let message = format!("expected an image [3, H, W], got {}", picture.shape());
            return Err(Error::shape(context, message));
        };
        let (crop, shorter) = (self.crop_size, self.resize_size);
        if crop == 0 || crop > shorter {
            let message = format!("crop_size must be in 1 ..= resize_size = {shorter}, got {crop}");
            return Err(Error::argument(context, message));
        }
        if self.std.iter().any(|&std| !(std > 0.0 && std.is_finite())) {
            let message = format!("expected standard deviations above 0, got {:?}", self.std);
            return Err(Error::argument(context, message));
        }
        let least = height.min(width);
        let larger = |side: usize| {
            let scaled = shorter as u128 * side as u128 / least.max(1) as u128;
            usize::try_from(scaled).unwrap_or(usize::MAX)
        };
        let resized = [larger(height), larger(width)];
        if least == 0 || resized[0].checked_mul(resized[1]).is_none_or(|all| all > MAX_PIXELS) {
            let message =
                format!("cannot resize an image of {height}×{width} pixels to {resized:?}");
            return Err(Error::shape(context, message));
        }
        // Halves are rounded to the even number, as in Python.
        let start = resized.map(|side| ((side - crop) as f64 / 2.0).round_ties_even() as usize);
        let bytes = picture.to_vec();
        let mut values = Vec::with_capacity(3 * crop * crop);
        for (channel, plane) in bytes.chunks(height * width).enumerate() {
            let plane = resize(plane, [height, width], resized, self.interpolation);
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for row in plane.chunks(resized[1]).skip(start[0]).take(crop) {
                let row = &row[start[1]..][..crop];
                values.extend(row.iter().map(|&byte| (f32::from(byte) / 255.0 - mean) / std));
            }
        }
        Tensor::from_vec(values, [3, crop, crop])
    }
}
