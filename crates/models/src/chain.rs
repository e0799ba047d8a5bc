//! Modules in sequence.

use std::fmt;

use dendra_autograd::{Entry, EntryMut, Path, Var};
use dendra_nn::{Module, Parameters};
use dendra_tensor::{Error, Result};

/// A module that can be a step of a [`Chain`]: any module that can be cloned,
/// printed and shared between threads.
pub trait Step: Module + fmt::Debug + Send + Sync {
    /// Returns a copy.
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

/// Modules in sequence, like PyTorch's `Sequential`. The parameters of a step
/// are named by its index or by the name of the step. Steps without parameters
/// are counted too.
///
/// Unlike [`Sequential`](dendra_nn::Sequential) it does not know any shapes,
/// and accepts images of any size that its steps support.
///
/// ```
/// use dendra_models::Chain;
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Conv2d, Parameters, ReLU};
///
/// let mut rng = Rng::seed(0);
/// let mut chain = Chain::new()
///     .then(Conv2d::new(3, 8, 3).init(&mut rng)?)
///     .then(ReLU)
///     .then_named("last", Conv2d::new(8, 8, 3).bias(false).init(&mut rng)?);
/// let names: Vec<String> = chain.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "last.weight"]);
///
/// chain.set("last", Conv2d::new(8, 4, 1).init(&mut rng)?)?;
/// assert_eq!(chain.named_parameters().len(), 4);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chain {
    steps: Vec<(String, Box<dyn Step>)>,
}

impl Chain {
    /// A chain without steps, which returns its input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the chain with one more step, named by its index.
    #[must_use]
    pub fn then(mut self, step: impl Step + 'static) -> Self {
        self.push(step);
        self
    }

    /// Returns the chain with one more step of this name.
    #[must_use]
    pub fn then_named(mut self, name: impl Into<String>, step: impl Step + 'static) -> Self {
        self.push_named(name, step);
        self
    }

    /// Appends a step, named by its index.
    pub fn push(&mut self, step: impl Step + 'static) {
        self.push_named(self.len().to_string(), step);
    }

    /// Appends a step of this name.
    pub fn push_named(&mut self, name: impl Into<String>, step: impl Step + 'static) {
        self.steps.push((name.into(), Box::new(step)));
    }

    /// Replaces a step, such as the last layer of a classifier.
    ///
    /// # Errors
    ///
    /// When there is no step with this name.
    pub fn set(&mut self, name: &str, step: impl Step + 'static) -> Result<()> {
        match self.steps.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = Box::new(step),
            None => {
                let names: Vec<&str> = self.steps.iter().map(|(name, _)| &name[..]).collect();
                let message = format!("there is no step {name:?} among {}", names.join(", "));
                return Err(Error::argument("Chain::set", message));
            }
        }
        Ok(())
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Parameters for Chain {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, f32>)) {
        for (name, step) in &self.steps {
            path.enter(name, |path| step.visit(path, visitor));
        }
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, f32>),
    ) {
        for (name, step) in &mut self.steps {
            path.enter(name, |path| step.visit_mut(path, visitor));
        }
    }
}

impl Module for Chain {
    fn forward(&self, x: &Var) -> Result<Var> {
        self.steps.iter().try_fold(x.clone(), |x, (_, step)| step.forward(&x))
    }
}
