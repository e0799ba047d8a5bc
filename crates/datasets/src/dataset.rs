//! The [`Dataset`] trait: what a loader and a trainer need to know of a data
//! set, and parts of one as data sets of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_tensor::{Error, Result, Rng, Shape};

use crate::draw::Draw;

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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no data set",
    note = "two tensors become one by `TensorDataset::new(inputs, targets)?`, or \
            `TensorDataset::classification` for class labels; other samples by `SampleDataset`"
)]
pub trait Dataset: Sync {
    /// A batch of inputs: `Tensor<f32>` of shape `[batch, ..input_shape]`,
    /// token ids `Tensor<i64>`, or whatever the model takes.
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

    /// The shape of one sample's input, without the batch axis, where the
    /// inputs are one tensor and all have the same; `[]` otherwise, and unless
    /// written.
    fn input_shape(&self) -> Shape {
        Shape::scalar()
    }

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

    /// Gathers the samples as [`batch`](Dataset::batch) does, changed at random
    /// as this draw has it: what a [`DataLoader`](crate::DataLoader) calls.
    ///
    /// A data set without anything random leaves this method alone; one that
    /// wraps another hands the draw on.
    ///
    /// # Errors
    ///
    /// As [`batch`](Dataset::batch).
    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        let _ = draw;
        self.batch(indices)
    }

    /// The class of every sample, where the data set has classes and knows
    /// them without reading the inputs: what
    /// [`split_stratified`](Dataset::split_stratified) and
    /// [`DataLoader::balanced`](crate::DataLoader::balanced) go by.
    fn labels(&self) -> Option<Vec<i64>> {
        None
    }

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
    /// When `fraction` is not between 0 and 1, or leaves one part without
    /// samples.
    fn split(&self, fraction: f64, rng: &mut Rng) -> Result<(Subset<&Self>, Subset<&Self>)>
    where
        Self: Sized,
    {
        let count = share("Dataset::split", fraction, self.len(), "samples")?;
        let mut first = rng.permutation(self.len());
        let second = first.split_off(count);
        Ok((Subset { dataset: self, indices: first }, Subset { dataset: self, indices: second }))
    }

    /// As [`split`](Dataset::split), with each class dealt out in the same
    /// proportion: both parts hold as many samples of every class as its share
    /// asks for, give or take one.
    ///
    /// # Errors
    ///
    /// When `fraction` is not between 0 and 1 or leaves one part without
    /// samples, or the data set does not tell its [`labels`](Dataset::labels).
    fn split_stratified(
        &self,
        fraction: f64,
        rng: &mut Rng,
    ) -> Result<(Subset<&Self>, Subset<&Self>)>
    where
        Self: Sized,
    {
        let place = "Dataset::split_stratified";
        share(place, fraction, self.len(), "samples")?;
        let (first, second) = stratified(&known_labels(place, self)?, fraction, rng);
        check_parts(place, fraction, [first.len(), second.len()], "samples")?;
        Ok((Subset { dataset: self, indices: first }, Subset { dataset: self, indices: second }))
    }
}

/// Data sets behind pointers are data sets.
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

    /// The other data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Where the samples with these indices are in the other data set.
    fn places(&self, indices: &[usize]) -> Result<Vec<usize>> {
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
        self.dataset.batch(&self.places(indices)?)
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<D>> {
        self.dataset.batch_at(&self.places(indices)?, draw)
    }

    fn labels(&self) -> Option<Vec<i64>> {
        let labels = self.dataset.labels()?;
        self.indices.iter().map(|&index| labels.get(index).copied()).collect()
    }
}

/// The labels of a data set that has to know them.
pub(crate) fn known_labels<D: Dataset + ?Sized>(place: &str, dataset: &D) -> Result<Vec<i64>> {
    let labels = dataset.labels().ok_or_else(|| {
        let message = "the data set does not tell the classes of its samples: \
                       `Dataset::labels` gives none";
        Error::argument(place, message)
    })?;
    if labels.len() != dataset.len() {
        let (found, expected) = (labels.len(), dataset.len());
        let message = format!("the data set tells {found} labels for its {expected} samples");
        return Err(Error::data(place, message));
    }
    Ok(labels)
}

/// Deals the samples out class by class, both parts in random order.
fn stratified(labels: &[i64], fraction: f64, rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let mut classes: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    // What rounding gives or takes is carried over to the next class, so that
    // the parts' sizes are right, too.
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

/// How many of `count` items are in the first part of a split, whose second
/// part has the others. Refuses a fraction that leaves a part empty.
pub(crate) fn share(place: &str, fraction: f64, count: usize, items: &str) -> Result<usize> {
    if !(0.0..=1.0).contains(&fraction) {
        let message = format!("`fraction` must be between 0 and 1, got {fraction}");
        return Err(Error::argument(place, message));
    }
    let first = (count as f64 * fraction).round() as usize;
    check_parts(place, fraction, [first, count - first], items)?;
    Ok(first)
}

/// Refuses a split that leaves a part empty.
fn check_parts(place: &str, fraction: f64, parts: [usize; 2], items: &str) -> Result<()> {
    let [first, second] = parts;
    if first > 0 && second > 0 {
        return Ok(());
    }
    let message = format!(
        "`fraction` is {fraction}, which divides {} {items} into {first} and {second}: a part is \
         empty",
        first + second
    );
    Err(Error::argument(place, message))
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
