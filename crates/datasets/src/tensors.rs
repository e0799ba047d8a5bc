//! [`TensorDataset`]: samples in two tensors; [`SampleDataset`]: samples of any
//! type.

use std::any::Any;

use dendra_tensor::{Element, Error, Result, Shape, Tensor};

use crate::dataset::{Batch, Dataset, check_indices, check_labels};
use crate::samples::Samples;

/// Samples in two tensors, whose first axes run over the samples.
///
/// `Y` is the element type of the targets, `i64` for class labels or `f32` for
/// regression; `X` is that of the inputs.
///
/// ```
/// use dendra_datasets::{Dataset, TensorDataset};
/// use dendra_tensor::Tensor;
///
/// let inputs = Tensor::from([[0.0f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
/// let xor = TensorDataset::classification(inputs, Tensor::from([0i64, 1, 1, 0]), 2)?;
/// let (x, y) = xor.batch(&[3, 1])?;
/// assert_eq!(x.to_vec(), [1.0, 1.0, 0.0, 1.0]);
/// assert_eq!(y.to_vec(), [0, 1]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset<Y: Element, X: Element = f32> {
    inputs: Tensor<X>,
    targets: Tensor<Y>,
    classes: Option<usize>,
}

impl<Y: Element, X: Element> TensorDataset<Y, X> {
    /// A data set of `inputs` of shape `[samples, ..]` and `targets` of shape
    /// `[samples, ..]`.
    ///
    /// # Errors
    ///
    /// When one has no axes, or the numbers of samples differ.
    pub fn new(inputs: Tensor<X>, targets: Tensor<Y>) -> Result<Self> {
        let context = "TensorDataset::new";
        match (inputs.shape().first(), targets.shape().first()) {
            (Some(x), Some(y)) if x == y => Ok(Self {
                inputs: inputs.contiguous(),
                targets: targets.contiguous(),
                classes: None,
            }),
            (Some(x), Some(y)) => Err(Error::shape(
                context,
                format!("expected as many inputs as targets, got {x} and {y}"),
            )),
            _ => {
                let shapes = format!("{} and {}", inputs.shape(), targets.shape());
                let message =
                    format!("expected a first axis over the samples, got shapes {shapes}");
                Err(Error::shape(context, message))
            }
        }
    }

    /// All inputs, of shape `[samples, ..]`.
    pub fn inputs(&self) -> &Tensor<X> {
        &self.inputs
    }

    /// All targets, of shape `[samples, ..]`.
    pub fn targets(&self) -> &Tensor<Y> {
        &self.targets
    }
}

impl<X: Element> TensorDataset<i64, X> {
    /// A data set of `inputs` of shape `[samples, ..]` with class labels of
    /// shape `[samples]`.
    ///
    /// # Errors
    ///
    /// When the shapes do not match, or a label is not in `0..classes`; the
    /// error names the sample and its label.
    pub fn classification(inputs: Tensor<X>, labels: Tensor<i64>, classes: usize) -> Result<Self> {
        let context = "TensorDataset::classification";
        if labels.rank() != 1 {
            let message = format!("expected one label per sample, got shape {}", labels.shape());
            return Err(Error::shape(context, message));
        }
        check_labels(context, &labels.to_vec(), classes)?;
        Ok(Self { classes: Some(classes), ..Self::new(inputs, labels)? })
    }
}

impl<Y: Element, X: Element> Dataset for TensorDataset<Y, X> {
    type Input = Tensor<X>;
    type Target = Tensor<Y>;

    fn len(&self) -> usize {
        self.inputs.shape()[0]
    }

    fn input_shape(&self) -> Shape {
        Shape::from(&self.inputs.shape()[1..])
    }

    fn classes(&self) -> Option<usize> {
        self.classes
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        check_indices("TensorDataset::batch", indices, self.len())?;
        Ok((self.inputs.index_select(0, indices)?, self.targets.index_select(0, indices)?))
    }

    fn labels(&self) -> Option<Vec<i64>> {
        self.classes?;
        (&self.targets as &dyn Any).downcast_ref::<Tensor<i64>>().map(Tensor::to_vec)
    }
}

/// Inputs and targets of any type that can be divided into batches; see
/// [`Samples`].
///
/// ```
/// use dendra_datasets::{Dataset, SampleDataset};
/// use dendra_tensor::Tensor;
///
/// // Pairs of pictures, and whether both show the same object.
/// let pairs = (Tensor::<f32>::zeros([4, 1, 8, 8]), Tensor::<f32>::ones([4, 1, 8, 8]));
/// let data = SampleDataset::new(pairs, Tensor::<f32>::zeros([4, 1]))?;
/// let ((first, second), same) = data.batch(&[3, 1, 2])?;
/// assert_eq!((first.shape()[0], second.shape()[0], same.shape()[0]), (3, 3, 3));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SampleDataset<X, Y> {
    inputs: X,
    targets: Y,
}

impl<X: Samples, Y: Samples> SampleDataset<X, Y> {
    /// A data set of these inputs and targets.
    ///
    /// # Errors
    ///
    /// When the numbers of samples differ.
    pub fn new(inputs: X, targets: Y) -> Result<Self> {
        let (x, y) = (inputs.count(), targets.count());
        if x != y {
            let message = format!("expected as many inputs as targets, got {x} and {y}");
            return Err(Error::shape("SampleDataset::new", message));
        }
        Ok(Self { inputs, targets })
    }

    /// All inputs.
    pub fn inputs(&self) -> &X {
        &self.inputs
    }

    /// All targets.
    pub fn targets(&self) -> &Y {
        &self.targets
    }
}

impl<X, Y> Dataset for SampleDataset<X, Y>
where
    X: Samples + Send + Sync,
    Y: Samples + Send + Sync,
{
    type Input = X;
    type Target = Y;

    fn len(&self) -> usize {
        self.inputs.count()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        check_indices("SampleDataset::batch", indices, self.len())?;
        Ok((self.inputs.choose(indices)?, self.targets.choose(indices)?))
    }
}
