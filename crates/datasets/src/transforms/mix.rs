//! Soft targets and mixed samples: [`LabelSmoothing`], [`MixUp`] and
//! [`CutMix`].
//!
//! The sample that is mixed with another, its partner, is drawn from the whole
//! data set. Like every random change, it depends only on seed, epoch and
//! index; it need not be in the same batch.

use dendra_tensor::{Error, Result, Rng, Shape, Tensor};

use crate::dataset::{Batch, Dataset};
use crate::draw::Draw;

/// Another data set whose class labels become probabilities of all classes, of
/// shape `[batch, classes]`: `1 - smoothing` for the label, plus `smoothing`
/// spread evenly over all classes, including the label.
///
/// A smoothing of 0 is one-hot encoding. C. Szegedy et al.: "Rethinking the
/// inception architecture for computer vision", CVPR 2016.
///
/// ```
/// use dendra_datasets::Dataset;
/// use dendra_datasets::moons;
/// use dendra_datasets::transforms::LabelSmoothing;
///
/// let data = LabelSmoothing::new(moons(10, 0.1, 1)?, 0.1)?;
/// let mut probabilities = data.batch(&[0])?.1.to_vec();
/// probabilities.sort_by(f32::total_cmp);
/// assert_eq!(probabilities, [0.05, 0.95]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LabelSmoothing<D> {
    dataset: D,
    classes: usize,
    smoothing: f32,
}

impl<D: Dataset<Target = Tensor<i64>>> LabelSmoothing<D> {
    /// Smooths the labels of `dataset`.
    ///
    /// # Errors
    ///
    /// When `smoothing` is not between 0 and 1, or the targets are not class
    /// labels.
    pub fn new(dataset: D, smoothing: f64) -> Result<Self> {
        let context = "LabelSmoothing::new";
        if !(0.0..=1.0).contains(&smoothing) {
            let message = format!("`smoothing` must be between 0 and 1, got {smoothing}");
            return Err(Error::argument(context, message));
        }
        let Some(classes) = dataset.classes() else {
            let message = "expected a data set of class labels with a known number of classes";
            return Err(Error::argument(context, message));
        };
        Ok(Self { dataset, classes, smoothing: smoothing as f32 })
    }

    fn soften(&self, labels: &Tensor<i64>) -> Result<Tensor> {
        let labels = labels.to_vec();
        crate::dataset::check_labels("LabelSmoothing", &labels, self.classes)?;
        let share = self.smoothing / self.classes as f32;
        Ok(Tensor::from_fn([labels.len(), self.classes], |index| {
            let (row, class) = (index / self.classes, index % self.classes);
            if labels[row] == class as i64 { 1.0 - self.smoothing + share } else { share }
        }))
    }
}

impl<D: Dataset<Target = Tensor<i64>>> Dataset for LabelSmoothing<D> {
    type Input = D::Input;
    type Target = Tensor;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn input_shape(&self) -> Shape {
        self.dataset.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        let (inputs, labels) = self.dataset.batch(indices)?;
        Ok((inputs, self.soften(&labels)?))
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let (inputs, labels) = self.dataset.batch_at(indices, draw)?;
        Ok((inputs, self.soften(&labels)?))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.dataset.labels()
    }
}

/// A sample's partner, the share of the sample, and the random stream for
/// further numbers.
struct Mixture {
    partner: usize,
    share: f64,
    rng: Rng,
}

/// Draws a partner and a share from Beta(alpha, alpha) for each sample.
fn mixtures(indices: &[usize], len: usize, alpha: f64, draw: &Draw) -> Vec<Mixture> {
    let one = |&index: &usize| {
        let mut rng = draw.rng(index);
        let partner = rng.below(len.max(1));
        Mixture { partner, share: beta(alpha, &mut rng), rng }
    };
    indices.iter().map(one).collect()
}

/// The samples of a batch, and their partners.
fn with_partners<D: Dataset>(
    dataset: &D,
    alpha: f64,
    indices: &[usize],
    draw: &Draw,
) -> Result<(Vec<Mixture>, Batch<D>, Batch<D>)> {
    let mixtures = mixtures(indices, dataset.len(), alpha, draw);
    let partners: Vec<usize> = mixtures.iter().map(|mixture| mixture.partner).collect();
    let samples = dataset.batch_at(indices, &draw.inner())?;
    let others = dataset.batch_at(&partners, &draw.inner())?;
    Ok((mixtures, samples, others))
}

fn check_alpha(context: &str, alpha: f64) -> Result<()> {
    if alpha.is_finite() && alpha > 0.0 {
        return Ok(());
    }
    Err(Error::argument(context, format!("`alpha` must be finite and above 0, got {alpha}")))
}

/// A random number from the Beta distribution with two equal parameters.
fn beta(alpha: f64, rng: &mut Rng) -> f64 {
    let (a, b) = (log_gamma_variate(alpha, rng), log_gamma_variate(alpha, rng));
    // Logarithms are used because both numbers may be too small to divide.
    1.0 / (1.0 + libm::exp(b - a))
}

/// The logarithm of a random number from the Gamma distribution. G. Marsaglia
/// and W. Tsang: "A simple method for generating gamma variables", ACM
/// Transactions on Mathematical Software 26(3), 2000.
fn log_gamma_variate(shape: f64, rng: &mut Rng) -> f64 {
    if shape < 1.0 {
        let boost = libm::log(1.0 - rng.uniform()) / shape;
        return log_gamma_variate(shape + 1.0, rng) + boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - rng.uniform();
        if v > 0.0 && libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return libm::log(d * v);
        }
    }
}

/// Mixes each row with another one in the given proportion.
fn blend(own: &Tensor, other: &Tensor, shares: impl Fn(usize) -> f32) -> Tensor {
    let (own, other) = (own.contiguous(), other.contiguous());
    let (own, other) = (&own, other.as_slice().expect("it is contiguous"));
    let values = own.as_slice().expect("it is contiguous");
    let row = own.len() / own.shape()[0].max(1);
    Tensor::build(own.shape(), |out: &mut [f32]| {
        let rows = values.chunks_exact(row.max(1)).zip(other.chunks_exact(row.max(1)));
        for ((index, out), (own, other)) in out.chunks_exact_mut(row.max(1)).enumerate().zip(rows) {
            let share = shares(index);
            for ((slot, own), other) in out.iter_mut().zip(own).zip(other) {
                *slot = share * own + (1.0 - share) * other;
            }
        }
    })
}

/// Another data set in which each sample is mixed with a random other one:
/// inputs and targets become `λ · own + (1 - λ) · other`, with λ from Beta(α,
/// α).
///
/// Targets must be numbers: apply [`LabelSmoothing`] to class labels first. H.
/// Zhang et al.: "mixup: Beyond empirical risk minimization", ICLR 2018.
///
/// ```
/// use dendra_datasets::transforms::{LabelSmoothing, MixUp};
/// use dendra_datasets::{Dataset, digits};
///
/// let data = MixUp::new(LabelSmoothing::new(digits(100, 7), 0.0)?, 0.2)?;
/// let (images, probabilities) = data.batch(&[0, 1])?;
/// assert_eq!(images.shape(), &[2, 1, 28, 28]);
/// assert_eq!(probabilities.shape(), &[2, 10]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MixUp<D> {
    dataset: D,
    alpha: f64,
}

impl<D: Dataset<Input = Tensor, Target = Tensor>> MixUp<D> {
    /// Mixes the samples of `dataset`, more strongly for larger `alpha`; the
    /// paper uses 0.1 to 0.4.
    ///
    /// # Errors
    ///
    /// When `alpha` is not finite and above 0.
    pub fn new(dataset: D, alpha: f64) -> Result<Self> {
        check_alpha("MixUp::new", alpha)?;
        Ok(Self { dataset, alpha })
    }
}

impl<D: Dataset<Input = Tensor, Target = Tensor>> Dataset for MixUp<D> {
    type Input = Tensor;
    type Target = Tensor;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn input_shape(&self) -> Shape {
        self.dataset.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let (mixtures, (x, y), (other_x, other_y)) =
            with_partners(&self.dataset, self.alpha, indices, draw)?;
        let share = |index: usize| mixtures[index].share as f32;
        Ok((blend(&x, &other_x, share), blend(&y, &other_y, share)))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.dataset.labels()
    }
}

/// Another data set of images, in each of which a rectangle is replaced by that
/// of a random other image. The targets are mixed in proportion to the areas.
///
/// The rectangle has the share 1 − λ of the area before it is cut off at the
/// border of the image, with λ from Beta(α, α). Targets must be numbers: apply
/// [`LabelSmoothing`] to class labels first. S. Yun et al.: "CutMix:
/// Regularization strategy to train strong classifiers with localizable
/// features", ICCV 2019.
#[derive(Clone, Debug)]
pub struct CutMix<D> {
    dataset: D,
    alpha: f64,
}

impl<D: Dataset<Input = Tensor, Target = Tensor>> CutMix<D> {
    /// Mixes the images of `dataset`; the paper uses an `alpha` of 1.
    ///
    /// # Errors
    ///
    /// When `alpha` is not finite and above 0, or the inputs are not images.
    pub fn new(dataset: D, alpha: f64) -> Result<Self> {
        check_alpha("CutMix::new", alpha)?;
        let shape = dataset.input_shape();
        if shape.len() != 3 {
            let message =
                format!("expected images of shape [channels, height, width], got {shape}");
            return Err(Error::shape("CutMix::new", message));
        }
        Ok(Self { dataset, alpha })
    }
}

impl<D: Dataset<Input = Tensor, Target = Tensor>> Dataset for CutMix<D> {
    type Input = Tensor;
    type Target = Tensor;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn input_shape(&self) -> Shape {
        self.dataset.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let (mut mixtures, (mut x, y), (other_x, other_y)) =
            with_partners(&self.dataset, self.alpha, indices, draw)?;
        let shape = self.input_shape();
        let (height, width) = (shape[1], shape[2]);
        let size = shape.elements();
        if x.shape()[1..] != shape[..] || other_x.shape() != x.shape() {
            let message =
                format!("expected images of shape {shape} from the data set, got {}", x.shape());
            return Err(Error::shape("CutMix", message));
        }
        let other_x = other_x.contiguous();
        let other = other_x.as_slice().expect("it is contiguous");
        if size > 0 {
            let images = x.make_mut().chunks_exact_mut(size).zip(other.chunks_exact(size));
            for ((image, other), mixture) in images.zip(&mut mixtures) {
                let side = (1.0 - mixture.share).sqrt();
                let mut span = |size: usize| {
                    let length = (size as f64 * side) as usize;
                    let middle = mixture.rng.below(size);
                    (middle.saturating_sub(length / 2), (middle + length / 2).min(size))
                };
                let (left, right) = span(width);
                let (top, bottom) = span(height);
                let rows = image.chunks_exact_mut(width).zip(other.chunks_exact(width));
                for (row, (image, other)) in rows.enumerate() {
                    if (top..bottom).contains(&(row % height)) {
                        image[left..right].copy_from_slice(&other[left..right]);
                    }
                }
                let area = (right - left) * (bottom - top);
                mixture.share = 1.0 - area as f64 / (height * width) as f64;
            }
        }
        let share = |index: usize| mixtures[index].share as f32;
        Ok((x, blend(&y, &other_y, share)))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.dataset.labels()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_has_its_moments() {
        for alpha in [0.05, 0.2, 1.0, 3.0] {
            let mut rng = Rng::seed(1);
            let n = 20_000;
            let values: Vec<f64> = (0..n).map(|_| beta(alpha, &mut rng)).collect();
            assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
            let mean = values.iter().sum::<f64>() / n as f64;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.04, "{alpha}: {variance}, {expected}");
        }
    }
}
