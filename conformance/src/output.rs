//! The result types of the counterparts.

use dendra_autograd::AnyTensor;
use dendra_autograd::Var;
use dendra_tensor::{Element, Float};
use dendra_tensor::{Error, Tensor};

use crate::call::Stop;

/// One output.
pub(crate) enum Output<T: Float> {
    /// An output that may have a gradient.
    Var(Var<T>),
    /// An output without a gradient.
    Plain(AnyTensor),
}

/// One output or several.
pub(crate) trait Outputs<T: Float> {
    /// Appends the outputs.
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop>;
}

impl<T: Float> Outputs<T> for Var<T> {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        to.push(Output::Var(self));
        Ok(())
    }
}

impl<T: Float, E: Element> Outputs<T> for Tensor<E> {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        let plain = AnyTensor::upcast(&self);
        to.push(Output::Plain(plain.ok_or_else(|| Stop::inexpressible("such elements"))?));
        Ok(())
    }
}

impl<T: Float> Outputs<T> for bool {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        Tensor::scalar(self).append(to)
    }
}

impl<T: Float> Outputs<T> for usize {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        Tensor::scalar(self as i64).append(to)
    }
}

impl<T: Float, X: Outputs<T>> Outputs<T> for Vec<X> {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        self.into_iter().try_for_each(|x| x.append(to))
    }
}

impl<T: Float, X: Outputs<T>> Outputs<T> for Option<X> {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        self.map_or(Ok(()), |x| x.append(to))
    }
}

impl<T: Float, A: Outputs<T>, B: Outputs<T>> Outputs<T> for (A, B) {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        self.0.append(to)?;
        self.1.append(to)
    }
}

impl<T: Float, A: Outputs<T>, B: Outputs<T>, C: Outputs<T>> Outputs<T> for (A, B, C) {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        (self.0, self.1).append(to)?;
        self.2.append(to)
    }
}

impl<T: Float, X: Outputs<T>> Outputs<T> for Result<X, Error> {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        self?.append(to)
    }
}

impl<T: Float, X: Outputs<T>> Outputs<T> for Result<X, Stop> {
    fn append(self, to: &mut Vec<Output<T>>) -> Result<(), Stop> {
        self?.append(to)
    }
}
