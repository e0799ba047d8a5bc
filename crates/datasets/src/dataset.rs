//! The [`Dataset`] trait: what a loader and a trainer need to know of a data
//! set, and parts of one as data sets of their own.

use dendra_tensor::{Error, Result, Rng, Shape};

/// What a training step gets: the inputs and the targets of some samples, the
/// samples along the first axis of both.
pub type Batch<D> = (<D as Dataset>::Input, <D as Dataset>::Target);

/// A finite set of samples, each an input with its target, gathered by index.
///
/// A data set is read through a shared reference and never changes, so it can
/// be shared between threads. To write one, say how many samples there are, how
/// one input is shaped and how a batch is put together:
///
/// ```
/// use dendra_datasets::{Batch, Dataset};
/// use dendra_tensor::{Result, Shape, Tensor};
///
/// /// The numbers below `self.0`, each with its square as the target.
/// struct Squares(usize);
///
/// impl Dataset for Squares {
///     type Input = Tensor<f32>;
///     type Target = Tensor<f32>;
///
///     fn len(&self) -> usize {
///         self.0
///     }
///
///     fn input_shape(&self) -> Shape {
///         Shape::from([1])
///     }
///
///     fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
///         let numbers: Vec<f32> = indices.iter().map(|&index| index as f32).collect();
///         let squares = numbers.iter().map(|x| x * x).collect();
///         let shape = [indices.len(), 1];
///         Ok((Tensor::from_vec(numbers, shape)?, Tensor::from_vec(squares, shape)?))
///     }
/// }
///
/// let (x, y) = Squares(10).batch(&[3, 4])?;
/// assert_eq!((x.to_vec(), y.to_vec()), (vec![3.0, 4.0], vec![9.0, 16.0]));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub trait Dataset: Sync {
    /// A batch of inputs, usually `Tensor<f32>` of shape `[batch, ..input_shape]`.
    type Input: Send;
    /// A batch of targets: `Tensor<i64>` of shape `[batch]` for class labels,
    /// `Tensor<f32>` for regression.
    type Target: Send;

    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one sample's input, without the batch axis.
    fn input_shape(&self) -> Shape;

    /// The number of classes when the targets are class labels in
    /// `0..classes`, checked; `None` otherwise.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// Gathers the samples with the given indices, in that order; an index may
    /// repeat.
    ///
    /// # Errors
    ///
    /// When an index is not below [`len`](Dataset::len), or the samples cannot
    /// be read.
    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>>;

    /// The samples with the given indices as a data set of their own.
    ///
    /// # Errors
    ///
    /// When an index is not below [`len`](Dataset::len).
    fn subset(&self, indices: Vec<usize>) -> Result<Subset<&Self>>
    where
        Self: Sized,
    {
        Subset::new(self, indices)
    }

    /// The first `count` samples, or all when there are fewer.
    fn take(&self, count: usize) -> Subset<&Self>
    where
        Self: Sized,
    {
        Subset { indices: (0..count.min(self.len())).collect(), dataset: self }
    }

    /// Deals the samples at random into two parts, the first holding
    /// `fraction` of them (rounded to the nearest count): a training and a
    /// validation set, say.
    ///
    /// ```
    /// use dendra_datasets::{Dataset, moons};
    /// use dendra_tensor::Rng;
    ///
    /// let data = moons(1000, 0.1, 7)?;
    /// let (train, validation) = data.split(0.8, &mut Rng::seed(1))?;
    /// assert_eq!((train.len(), validation.len()), (800, 200));
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1.
    fn split(&self, fraction: f64, rng: &mut Rng) -> Result<(Subset<&Self>, Subset<&Self>)>
    where
        Self: Sized,
    {
        if !(0.0..=1.0).contains(&fraction) {
            let message = format!("`fraction` must be between 0 and 1, got {fraction}");
            return Err(Error::argument("Dataset::split", message));
        }
        let mut first = rng.permutation(self.len());
        let second = first.split_off((self.len() as f64 * fraction).round() as usize);
        Ok((Subset { dataset: self, indices: first }, Subset { dataset: self, indices: second }))
    }
}

impl<D: Dataset + ?Sized> Dataset for &D {
    type Input = D::Input;
    type Target = D::Target;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn input_shape(&self) -> Shape {
        (**self).input_shape()
    }

    fn classes(&self) -> Option<usize> {
        (**self).classes()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<D>> {
        (**self).batch(indices)
    }
}

/// Some samples of another data set, in an order of their own; see
/// [`Dataset::subset`], [`Dataset::take`] and [`Dataset::split`].
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The samples of `dataset` with the given indices; an index may repeat.
    ///
    /// # Errors
    ///
    /// When an index is not below the data set's length.
    pub fn new(dataset: D, indices: Vec<usize>) -> Result<Self> {
        check_indices("Subset::new", &indices, dataset.len())?;
        Ok(Self { dataset, indices })
    }

    /// The samples' indices in the other data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Input = D::Input;
    type Target = D::Target;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn input_shape(&self) -> Shape {
        self.dataset.input_shape()
    }

    fn classes(&self) -> Option<usize> {
        self.dataset.classes()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<D>> {
        check_indices("Subset::batch", indices, self.len())?;
        let indices: Vec<usize> = indices.iter().map(|&index| self.indices[index]).collect();
        self.dataset.batch(&indices)
    }
}

/// Refuses indices that are not below `len`, naming the first.
pub(crate) fn check_indices(place: &str, indices: &[usize], len: usize) -> Result<()> {
    match indices.iter().find(|&&index| index >= len) {
        None => Ok(()),
        Some(index) => {
            let message = format!("there is no sample {index}, the data set holds {len}");
            Err(Error::argument(place, message))
        }
    }
}

/// Refuses labels outside `0..classes`, naming the first and its sample.
pub(crate) fn check_labels(place: &str, labels: &[i64], classes: usize) -> Result<()> {
    let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
    match labels.iter().position(|&label| !is_class(label)) {
        None => Ok(()),
        Some(index) => {
            let label = labels[index];
            let message = format!("sample {index} has label {label}, expected one in 0..{classes}");
            Err(Error::data(place, message))
        }
    }
}
