//! The [`Dataset`] trait, by which loaders and trainers read data, and subsets
//! of data sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_tensor::{Error, Result, Rng, Shape};

use crate::draw::Draw;

/// A batch of samples: the inputs and the targets. The first axis of both runs
/// over the samples.
pub type Batch<D> = (<D as Dataset>::Input, <D as Dataset>::Target);

/// A finite set of samples, each an input with its target, accessed by index.
///
/// A data set is read through a shared reference and does not change, so
/// threads can share it. To implement one, define the number of samples, the
/// shape of an input, and how a batch is gathered:
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a data set",
    note = "two tensors become one by `TensorDataset::new(inputs, targets)?`, or \
            `TensorDataset::classification` for class labels; other samples by `SampleDataset`"
)]
pub trait Dataset: Sync {
    /// A batch of inputs: `Tensor<f32>` of shape `[batch, ..input_shape]`,
    /// token ids `Tensor<i64>`, or another type that the model takes.
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

    /// The shape of one sample's input, without the batch axis, if the inputs
    /// are one tensor and all have the same shape; otherwise, and by default,
    /// `[]`.
    fn input_shape(&self) -> Shape {
        Shape::scalar()
    }

    /// The number of classes, if the targets are class labels, all of which are
    /// known to be in `0..classes`; `None` otherwise.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// Gathers the samples with the given indices, in this order. An index may
    /// occur several times.
    ///
    /// # Errors
    ///
    /// When an index is not below [`len`](Dataset::len), or the samples cannot
    /// be read.
    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>>;

    /// Gathers the samples like [`batch`](Dataset::batch), with the random
    /// changes of this draw. [`DataLoader`](crate::DataLoader) calls this
    /// method.
    ///
    /// Only data sets with random changes implement it; one that wraps another
    /// data set passes the draw on.
    ///
    /// # Errors
    ///
    /// The errors of [`batch`](Dataset::batch).
    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let _ = draw;
        self.batch(indices)
    }

    /// The class of every sample, if the data set has classes and knows them
    /// without reading the inputs.
    /// [`split_stratified`](Dataset::split_stratified) and
    /// [`DataLoader::balanced`](crate::DataLoader::balanced) use them.
    fn labels(&self) -> Option<Vec<i64>> {
        None
    }

    /// A data set of the samples with the given indices.
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

    /// Splits the samples at random into two parts, for example a training and
    /// a validation set. The first has `fraction` of the samples, rounded to
    /// the nearest number.
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
    /// When `fraction` is not between 0 and 1, or a part would be empty.
    fn split(&self, fraction: f64, rng: &mut Rng) -> Result<(Subset<&Self>, Subset<&Self>)>
    where
        Self: Sized,
    {
        let count = share("Dataset::split", fraction, self.len(), "samples")?;
        let mut first = rng.permutation(self.len());
        let second = first.split_off(count);
        Ok((Subset { dataset: self, indices: first }, Subset { dataset: self, indices: second }))
    }

    /// Like [`split`](Dataset::split), but splits each class in the same
    /// proportion: the number of samples of a class in each part differs from
    /// its exact share by at most one.
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1, a part would be empty, or the
    /// data set does not know its [`labels`](Dataset::labels).
    fn split_stratified(
        &self,
        fraction: f64,
        rng: &mut Rng,
    ) -> Result<(Subset<&Self>, Subset<&Self>)>
    where
        Self: Sized,
    {
        let context = "Dataset::split_stratified";
        share(context, fraction, self.len(), "samples")?;
        let (first, second) = stratified(&known_labels(context, self)?, fraction, rng);
        check_parts(context, fraction, [first.len(), second.len()], "samples")?;
        Ok((Subset { dataset: self, indices: first }, Subset { dataset: self, indices: second }))
    }
}

/// Pointers to data sets are data sets.
macro_rules! behind {
    ($($pointer:ty, where D: $bound:path;)*) => {$(
        impl<D: Dataset + $bound + ?Sized> Dataset for $pointer {
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

            fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<D>> {
                (**self).batch_at(indices, draw)
            }

            fn labels(&self) -> Option<Vec<i64>> {
                (**self).labels()
            }
        }
    )*};
}
behind! {
    &D, where D: Sync;
    Box<D>, where D: Sync;
    Arc<D>, where D: Send;
}

/// Some samples of another data set, in any order; see [`Dataset::subset`],
/// [`Dataset::take`] and [`Dataset::split`].
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The samples of `dataset` with the given indices. An index may occur
    /// several times.
    ///
    /// # Errors
    ///
    /// When an index is not below the data set's length.
    pub fn new(dataset: D, indices: Vec<usize>) -> Result<Self> {
        check_indices("Subset::new", &indices, dataset.len())?;
        Ok(Self { dataset, indices })
    }

    /// The indices of the samples in the other data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The other data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// The indices in the other data set of these samples.
    fn indices_within(&self, indices: &[usize]) -> Result<Vec<usize>> {
        check_indices("Subset", indices, self.indices.len())?;
        Ok(indices.iter().map(|&index| self.indices[index]).collect())
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
        self.dataset.batch(&self.indices_within(indices)?)
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<D>> {
        self.dataset.batch_at(&self.indices_within(indices)?, draw)
    }

    fn labels(&self) -> Option<Vec<i64>> {
        let labels = self.dataset.labels()?;
        self.indices.iter().map(|&index| labels.get(index).copied()).collect()
    }
}

/// The labels of a data set; an error if it does not know them.
pub(crate) fn known_labels<D: Dataset + ?Sized>(context: &str, dataset: &D) -> Result<Vec<i64>> {
    let labels = dataset.labels().ok_or_else(|| {
        let message = "the data set does not know the classes of its samples: \
                       `Dataset::labels` gives none";
        Error::argument(context, message)
    })?;
    if labels.len() != dataset.len() {
        let (found, expected) = (labels.len(), dataset.len());
        let message = format!(
            "expected {expected} labels, one for each sample, got {found} from the data set"
        );
        return Err(Error::data(context, message));
    }
    Ok(labels)
}

/// Splits the samples of each class. Both parts are in random order.
fn stratified(labels: &[i64], fraction: f64, rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let mut classes: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    // The rounding error is carried over to the next class, so that the sizes
    // of the parts are exact.
    let mut owed = 0.0;
    for mut indices in classes.into_values() {
        rng.shuffle(&mut indices);
        let share = indices.len() as f64 * fraction + owed;
        let count = (share.round().max(0.0) as usize).min(indices.len());
        owed = share - count as f64;
        second.extend(indices.split_off(count));
        first.extend(indices);
    }
    rng.shuffle(&mut first);
    rng.shuffle(&mut second);
    (first, second)
}

/// The number of items, of `count`, in the first part of a split. Returns an
/// error for a fraction that leaves a part empty.
pub(crate) fn share(context: &str, fraction: f64, count: usize, items: &str) -> Result<usize> {
    if !(0.0..=1.0).contains(&fraction) {
        let message = format!("`fraction` must be between 0 and 1, got {fraction}");
        return Err(Error::argument(context, message));
    }
    let first = (count as f64 * fraction).round() as usize;
    check_parts(context, fraction, [first, count - first], items)?;
    Ok(first)
}

/// Returns an error for a split with an empty part.
fn check_parts(context: &str, fraction: f64, parts: [usize; 2], items: &str) -> Result<()> {
    let [first, second] = parts;
    if first > 0 && second > 0 {
        return Ok(());
    }
    let message = format!(
        "`fraction` is {fraction}, which divides {} {items} into {first} and {second}: a part is \
         empty",
        first + second
    );
    Err(Error::argument(context, message))
}

/// Returns an error for indices that are not below `len`, which names the
/// first.
pub(crate) fn check_indices(context: &str, indices: &[usize], len: usize) -> Result<()> {
    match indices.iter().find(|&&index| index >= len) {
        None => Ok(()),
        Some(index) => {
            let message =
                format!("expected indices below {len}, the number of samples, got {index}");
            Err(Error::argument(context, message))
        }
    }
}

/// Returns an error for labels outside `0..classes`, which names the first and
/// its sample.
pub(crate) fn check_labels(context: &str, labels: &[i64], classes: usize) -> Result<()> {
    let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
    match labels.iter().position(|&label| !is_class(label)) {
        None => Ok(()),
        Some(index) => {
            let label = labels[index];
            let message = format!("sample {index} has label {label}, expected one in 0..{classes}");
            Err(Error::data(context, message))
        }
    }
}
