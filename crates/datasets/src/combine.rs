//! Data sets made of other data sets: concatenated, changed by a function, or
//! kept in memory.

use std::fmt;
use std::sync::OnceLock;

use dendra_tensor::{Error, Result, Shape};

use crate::dataset::{Batch, Dataset, check_indices};
use crate::draw::Draw;
use crate::samples::Samples;

/// Several data sets, one after the other.
///
/// ```
/// use dendra_datasets::{ConcatDataset, Dataset, moons};
///
/// let both = ConcatDataset::new(vec![moons(30, 0.1, 1)?, moons(20, 0.2, 2)?])?;
/// assert_eq!(both.len(), 50);
/// assert_eq!(both.batch(&[29, 30])?.0.shape(), &[2, 2]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConcatDataset<D> {
    parts: Vec<D>,
    /// The index of the first sample of each part, and at last the total number
    /// of samples.
    starts: Vec<usize>,
}

impl<D: Dataset> ConcatDataset<D> {
    /// Concatenates data sets.
    ///
    /// # Errors
    ///
    /// When there is no data set, or their samples differ in shape or in the
    /// number of classes.
    pub fn new(parts: Vec<D>) -> Result<Self> {
        let context = "ConcatDataset::new";
        let Some(first) = parts.first() else {
            return Err(Error::argument(context, "expected at least one data set, got none"));
        };
        for (index, part) in parts.iter().enumerate() {
            let (expected, found) = (first.input_shape(), part.input_shape());
            if expected != found {
                let message =
                    format!("expected samples of shape {expected}, got {found} in part {index}");
                return Err(Error::shape(context, message));
            }
            if part.classes() != first.classes() {
                let message = format!(
                    "the number of classes in part 0 is {:?}, in part {index} {:?}",
                    first.classes(),
                    part.classes()
                );
                return Err(Error::argument(context, message));
            }
        }
        let mut starts = vec![0];
        starts.extend(parts.iter().scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        }));
        Ok(Self { parts, starts })
    }

    /// The concatenated data sets.
    pub fn parts(&self) -> &[D] {
        &self.parts
    }
}

impl<D: Dataset<Input: Samples, Target: Samples>> ConcatDataset<D> {
    fn gather(
        &self,
        indices: &[usize],
        batch: impl Fn(usize, &[usize]) -> Result<Batch<D>>,
    ) -> Result<Batch<D>> {
        check_indices("ConcatDataset", indices, self.len())?;
        // The indices to gather from each part, and the position of each sample
        // among them.
        let mut wanted = vec![Vec::new(); self.parts.len()];
        let mut positions = Vec::with_capacity(indices.len());
        for &index in indices {
            let part = self.starts.partition_point(|&start| start <= index) - 1;
            positions.push((part, wanted[part].len()));
            wanted[part].push(index - self.starts[part]);
        }
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        let mut begins = vec![0; self.parts.len()];
        let mut begin = 0;
        for (part, wanted) in wanted.iter().enumerate() {
            begins[part] = begin;
            begin += wanted.len();
            if !wanted.is_empty() || (indices.is_empty() && part == 0) {
                let (x, y) = batch(part, wanted)?;
                inputs.push(x);
                targets.push(y);
            }
        }
        if let ([_], [_]) = (&inputs[..], &targets[..]) {
            return Ok((inputs.remove(0), targets.remove(0)));
        }
        let order: Vec<usize> =
            positions.into_iter().map(|(part, position)| begins[part] + position).collect();
        let inputs = Samples::join(&inputs.iter().collect::<Vec<_>>())?;
        let targets = Samples::join(&targets.iter().collect::<Vec<_>>())?;
        Ok((D::Input::choose(&inputs, &order)?, D::Target::choose(&targets, &order)?))
    }
}

impl<D: Dataset<Input: Samples, Target: Samples>> Dataset for ConcatDataset<D> {
    type Input = D::Input;
    type Target = D::Target;

    fn len(&self) -> usize {
        self.starts[self.parts.len()]
    }

    fn input_shape(&self) -> Shape {
        self.parts[0].input_shape()
    }

    fn classes(&self) -> Option<usize> {
        self.parts[0].classes()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<D>> {
        self.gather(indices, |part, indices| self.parts[part].batch(indices))
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<D>> {
        // Samples of different parts can have the same index; different seeds
        // make their random changes independent.
        let seed = |part: usize| draw.seed().wrapping_add((part as u64) << 32);
        self.gather(indices, |part, indices| {
            self.parts[part].batch_at(indices, &draw.with_seed(seed(part)))
        })
    }

    fn labels(&self) -> Option<Vec<i64>> {
        let labels: Option<Vec<_>> = self.parts.iter().map(Dataset::labels).collect();
        Some(labels?.concat())
    }
}

/// Another data set whose batches are changed by a function.
///
/// ```
/// use dendra_datasets::{Dataset, MapDataset, moons};
///
/// let far = MapDataset::new(moons(10, 0.1, 1)?, |(x, y)| Ok((&x * 10.0, y)));
/// assert_eq!(far.batch(&[0])?.0.shape(), &[1, 2]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MapDataset<D, F> {
    dataset: D,
    function: F,
    input_shape: Option<Shape>,
    classes: Option<usize>,
}

impl<D, F, I, T> MapDataset<D, F>
where
    D: Dataset,
    F: Fn(Batch<D>) -> Result<(I, T)> + Sync,
    I: Send,
    T: Send,
{
    /// A data set whose batches are `function` of those of `dataset`. The
    /// function must treat the samples independently, because the batches vary.
    pub fn new(dataset: D, function: F) -> Self {
        Self { dataset, function, input_shape: None, classes: None }
    }

    /// Sets the shape of one changed input, if it is not that of the data set.
    #[must_use]
    pub fn with_input_shape(mut self, shape: impl Into<Shape>) -> Self {
        self.input_shape = Some(shape.into());
        self
    }

    /// Sets the number of classes, if the changed targets are class labels.
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        self.classes = Some(classes);
        self
    }
}

impl<D, F, I, T> Dataset for MapDataset<D, F>
where
    D: Dataset,
    F: Fn(Batch<D>) -> Result<(I, T)> + Sync,
    I: Send,
    T: Send,
{
    type Input = I;
    type Target = T;

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn input_shape(&self) -> Shape {
        self.input_shape.clone().unwrap_or_else(|| self.dataset.input_shape())
    }

    fn classes(&self) -> Option<usize> {
        self.classes
    }

    fn batch(&self, indices: &[usize]) -> Result<(I, T)> {
        (self.function)(self.dataset.batch(indices)?)
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<(I, T)> {
        (self.function)(self.dataset.batch_at(indices, draw)?)
    }
}

/// Another data set whose samples stay in memory once they were gathered. This
/// suits samples that are slow to read, such as files.
///
/// The cache keeps the result of [`Dataset::batch`]. Apply random changes to
/// the cached data set, not inside it.
///
/// ```
/// use dendra_datasets::{CachedDataset, Dataset, moons};
///
/// let data = CachedDataset::new(moons(10, 0.1, 1)?);
/// assert_eq!(data.batch(&[3])?.0, data.batch(&[3])?.0);
/// assert_eq!(data.cached(), 1);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub struct CachedDataset<D: Dataset> {
    dataset: D,
    samples: Vec<OnceLock<Batch<D>>>,
}

/// Prints everything except the samples.
impl<D: Dataset + fmt::Debug> fmt::Debug for CachedDataset<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedDataset").field("dataset", &self.dataset).finish_non_exhaustive()
    }
}

impl<D: Dataset<Input: Samples, Target: Samples>> CachedDataset<D> {
    /// An empty cache.
    pub fn new(dataset: D) -> Self {
        let samples = (0..dataset.len()).map(|_| OnceLock::new()).collect();
        Self { dataset, samples }
    }

    /// The number of samples in memory.
    pub fn cached(&self) -> usize {
        self.samples.iter().filter(|sample| sample.get().is_some()).count()
    }
}

impl<D> Dataset for CachedDataset<D>
where
    D: Dataset<Input: Samples + Sync, Target: Samples + Sync>,
{
    type Input = D::Input;
    type Target = D::Target;

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn input_shape(&self) -> Shape {
        self.dataset.input_shape()
    }

    fn classes(&self) -> Option<usize> {
        self.dataset.classes()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<D>> {
        check_indices("CachedDataset", indices, self.len())?;
        let mut missing: Vec<usize> =
            indices.iter().copied().filter(|&i| self.samples[i].get().is_none()).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() || indices.is_empty() {
            let (inputs, targets) = self.dataset.batch(&missing)?;
            if indices.is_empty() {
                return Ok((inputs, targets));
            }
            for (position, &index) in missing.iter().enumerate() {
                // A separate copy, so that the memory of the batch can be
                // freed.
                let (x, y) = (inputs.choose(&[position])?, targets.choose(&[position])?);
                // Another thread may have stored the same sample first.
                let _ = self.samples[index].set((x, y));
            }
        }
        let samples: Vec<_> =
            indices.iter().map(|&i| self.samples[i].get().expect("it was gathered")).collect();
        let inputs: Vec<_> = samples.iter().map(|(x, _)| x).collect();
        let targets: Vec<_> = samples.iter().map(|(_, y)| y).collect();
        Ok((Samples::join(&inputs)?, Samples::join(&targets)?))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.dataset.labels()
    }
}
