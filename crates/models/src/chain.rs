//! Modules one after the other.

use std::fmt;

use dendra_autograd::Var;
use dendra_nn::{Module, Parameters};
use dendra_tensor::{Error, Result};

/// A module that can be a step of a [`Chain`]: any that can be copied, printed
/// and shared between threads.
pub trait Step: Module + fmt::Debug + Send + Sync {
    /// A copy.
    fn boxed(&self) -> Box<dyn Step>;
}

impl<M: Module + Clone + fmt::Debug + Send + Sync + 'static> Step for M {
    fn boxed(&self) -> Box<dyn Step> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Step> {
    fn clone(&self) -> Self {
        (**self).boxed()
    }
}

/// Modules one after the other, as PyTorch's `Sequential`: the parameters of a
/// step are named by its index, and steps without parameters count too.
///
/// In contrast to [`Sequential`](dendra_nn::Sequential) it knows no shapes, and
/// takes images of any size that its steps take.
///
/// ```
/// use dendra_models::Chain;
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Conv2d, Parameters, ReLU};
///
/// let mut rng = Rng::seed(0);
/// let chain = Chain::new()
///     .then(Conv2d::new(3, 8, 3).init(&mut rng)?)
///     .then(ReLU)
///     .then(Conv2d::new(8, 8, 3).bias(false).init(&mut rng)?);
/// let names: Vec<String> = chain.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "2.weight"]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct Chain {
    #[parameters(flatten)]
    steps: Vec<Box<dyn Step>>,
}

impl Chain {
    /// A chain without steps, which passes its input through.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain with one more step.
    #[must_use]
    pub fn then(mut self, step: impl Step + 'static) -> Self {
        self.push(step);
        self
    }

    /// Appends a step.
    pub fn push(&mut self, step: impl Step + 'static) {
        self.steps.push(Box::new(step));
    }

    /// Replaces a step, such as the last layer of a classifier.
    ///
    /// # Errors
    ///
    /// When there is no step of this index.
    pub fn set(&mut self, index: usize, step: impl Step + 'static) -> Result<()> {
        let count = self.len();
        let Some(old) = self.steps.get_mut(index) else {
            let message = format!("there is no step {index} among {count}");
            return Err(Error::argument("Chain::set", message));
        };
        *old = Box::new(step);
        Ok(())
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Module for Chain {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.steps.iter().try_fold(x.clone(), |x, step| step.forward(&x))
    }
}
