//! Gradients of any value with respect to any other, from a tape that keeps its
//! record.

use dendra_tensor::{Error, Float, Result, Tensor};

use crate::parameters::Parameters;
use crate::tape::Tape;
use crate::var::Var;

/// The values that gradients are taken with respect to: a variable, an array
/// `[&x, &h]`, or a list.
pub trait Wrt<T: Float> {
    /// One gradient for each variable.
    type Each<G>;

    /// The variables.
    fn variables(&self) -> Vec<&Var<T>>;

    /// The gradients, in the order of the variables.
    fn each<G>(&self, gradients: Vec<G>) -> Self::Each<G>;
}

impl<T: Float> Wrt<T> for Var<T> {
    type Each<G> = G;

    fn variables(&self) -> Vec<&Self> {
        vec![self]
    }

    fn each<G>(&self, gradients: Vec<G>) -> G {
        gradients.into_iter().next().expect("there is one gradient for one variable")
    }
}

impl<T: Float, const N: usize> Wrt<T> for [&Var<T>; N] {
    type Each<G> = [G; N];

    fn variables(&self) -> Vec<&Var<T>> {
        self.to_vec()
    }

    fn each<G>(&self, gradients: Vec<G>) -> [G; N] {
        let gradients = gradients.try_into().ok();
        gradients.expect("there is one gradient for each variable")
    }
}

impl<T: Float> Wrt<T> for [Var<T>] {
    type Each<G> = Vec<G>;

    fn variables(&self) -> Vec<&Var<T>> {
        self.iter().collect()
    }

    fn each<G>(&self, gradients: Vec<G>) -> Vec<G> {
        gradients
    }
}

impl<T: Float> Wrt<T> for Vec<Var<T>> {
    type Each<G> = Vec<G>;

    fn variables(&self) -> Vec<&Var<T>> {
        self.iter().collect()
    }

    fn each<G>(&self, gradients: Vec<G>) -> Vec<G> {
        gradients
    }
}

/// Gradients with respect to given values. The tape keeps its record, so that
/// more gradients can be requested. The gradient with respect to a value on
/// which the result does not depend is 0.
impl<T: Float> Var<T> {
    /// The gradients of this scalar.
    ///
    /// # Errors
    ///
    /// Returns an error if this is not a scalar, if a value is on another tape,
    /// on no tape or needs no gradient, or if [`backward`](Self::backward)
    /// consumed the record.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let x = Tape::training(0, 0).leaf(Tensor::from([1.0, -2.0]));
    /// let h = x.square();
    /// let loss = (&h * &h).sum();
    /// let [by_x, by_h] = loss.grad(&[&x, &h])?;
    /// assert_eq!(by_x.to_vec(), [4.0, -32.0]);
    /// assert_eq!(by_h.to_vec(), [2.0, 8.0]);
    /// assert_eq!(h.sum().grad(&x)?.to_vec(), [2.0, -4.0]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn grad<W: Wrt<T> + ?Sized>(&self, wrt: &W) -> Result<W::Each<Tensor<T>>> {
        let one = self.one()?;
        Ok(wrt.each(values(self.gradients(&one, &wrt.variables(), false)?)))
    }

    /// The vector–Jacobian product: the gradients of ⟨cotangent, self⟩.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`grad`](Self::grad), and an error if the cotangent
    /// does not have the shape of this value.
    pub fn vjp<W: Wrt<T> + ?Sized>(
        &self,
        cotangent: &Tensor<T>,
        wrt: &W,
    ) -> Result<W::Each<Tensor<T>>> {
        let cotangent = Var::new(cotangent.clone());
        Ok(wrt.each(values(self.gradients(&cotangent, &wrt.variables(), false)?)))
    }

    /// Like [`grad`](Self::grad), but the gradients are recorded, so that they
    /// can be differentiated in turn (PyTorch's `create_graph`). This is needed
    /// for a loss that contains the slope of a network.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`grad`](Self::grad), and an error if the gradient
    /// of an operation in between cannot be differentiated again.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let x = Tape::training(0, 0).leaf(Tensor::from([2.0_f64]));
    /// let slope = (&x * &x * &x).sum().grad_recorded(&x)?;
    /// assert_eq!(slope.value().to_vec(), [12.0]);
    /// assert_eq!(slope.sum().grad(&x)?.to_vec(), [12.0]); // 6x
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn grad_recorded<W: Wrt<T> + ?Sized>(&self, wrt: &W) -> Result<W::Each<Self>> {
        let one = self.one()?;
        Ok(wrt.each(self.gradients(&one, &wrt.variables(), true)?))
    }

    /// Like [`vjp`](Self::vjp), recorded as in
    /// [`grad_recorded`](Self::grad_recorded). The result also has gradients
    /// with respect to the cotangent, which may be on the tape.
    ///
    /// # Errors
    ///
    /// Returns the errors of both.
    pub fn vjp_recorded<W: Wrt<T> + ?Sized>(
        &self,
        cotangent: &Self,
        wrt: &W,
    ) -> Result<W::Each<Self>> {
        Ok(wrt.each(self.gradients(cotangent, &wrt.variables(), true)?))
    }

    /// The product of the Hessian of this loss, with respect to all trainable
    /// parameters of a model, with a vector. The vector and the result consist
    /// of a tensor for each parameter, in the order of
    /// [`named_parameters`](Parameters::named_parameters). It costs as much as
    /// two to four gradients. For products of the same Hessian with many
    /// vectors, compute the gradients once with
    /// [`grad_recorded`](Self::grad_recorded).
    ///
    /// # Errors
    ///
    /// Returns an error if the vector does not match the parameters, and the
    /// errors of [`grad_recorded`](Self::grad_recorded).
    pub fn hvp<M: Parameters<T> + ?Sized>(
        &self,
        model: &M,
        vector: &[Tensor<T>],
    ) -> Result<Vec<Tensor<T>>> {
        let all = model.named_parameters();
        let trained: Vec<_> = all.iter().filter(|(_, param)| param.is_trainable()).collect();
        if trained.len() != vector.len() {
            let (expected, found) = (trained.len(), vector.len());
            let message =
                format!("expected a tensor for each of {expected} parameters, got {found}");
            return Err(Error::argument("hvp", message));
        }
        for ((name, param), part) in trained.iter().zip(vector) {
            if param.value().shape() != part.shape() {
                let (expected, found) = (param.value().shape(), part.shape());
                let message = format!("expected shape {expected} for `{name}`, got {found}");
                return Err(Error::shape("hvp", message));
            }
        }
        let parameters: Vec<Self> = trained.iter().map(|(_, param)| param.on(self)).collect();
        let wrt: Vec<&Self> = parameters.iter().collect();
        let one = self.one()?;
        let first = self.gradients(&one, &wrt, true)?;
        let tape = self.require_tape()?;
        hessian_product(tape, &first, vector, &wrt)
    }

    /// The gradients of ⟨cotangent, self⟩; zeros for values on which it does
    /// not depend.
    fn gradients(&self, cotangent: &Self, wrt: &[&Self], again: bool) -> Result<Vec<Self>> {
        let tape = self.require_tape()?;
        if cotangent.shape() != self.shape() {
            let (expected, found) = (self.shape(), cotangent.shape());
            let message = format!("expected a cotangent of shape {expected}, got {found}");
            return Err(Error::shape("vjp", message));
        }
        let found = tape.grad(self, cotangent, wrt, again)?;
        let zeros = |var: &Self| tape.input(Tensor::zeros(var.shape()));
        let found = found.into_iter().zip(wrt);
        Ok(found.map(|(gradient, var)| gradient.unwrap_or_else(|| zeros(var))).collect())
    }

    fn require_tape(&self) -> Result<&Tape<T>> {
        self.tape()
            .ok_or_else(|| Error::tape("a gradient of a value that is not on a tape was requested"))
    }

    /// The cotangent of a scalar, 1.
    fn one(&self) -> Result<Self> {
        if self.value().len() == 1 {
            return Ok(Self::new(Tensor::ones(self.shape())));
        }
        Err(Error::tape(format!(
            "grad needs a scalar, got shape {}; reduce it with sum() or mean(), or give vjp a \
             cotangent",
            self.shape()
        )))
    }
}

fn values<T: Float>(gradients: Vec<Var<T>>) -> Vec<Tensor<T>> {
    gradients.into_iter().map(Var::into_value).collect()
}

/// The gradients of Σ ⟨vector, gradient⟩ with respect to `wrt`, in one pass.
pub(crate) fn hessian_product<T: Float>(
    tape: &Tape<T>,
    gradients: &[Var<T>],
    vector: &[Tensor<T>],
    wrt: &[&Var<T>],
) -> Result<Vec<Tensor<T>>> {
    use dendra_tensor::Ops;

    let mut product: Option<Var<T>> = None;
    for (gradient, part) in gradients.iter().zip(vector) {
        let term = gradient.mul(&Var::new(part.clone()))?.sum();
        product = Some(match product {
            Some(sum) => sum.add(&term)?,
            None => term,
        });
    }
    let Some(product) = product else { return Ok(Vec::new()) };
    let one = Var::new(Tensor::ones(product.shape()));
    let found = tape.grad(&product, &one, wrt, false)?;
    let zeros = |var: &Var<T>| Tensor::zeros(var.shape());
    let found = found.into_iter().zip(wrt);
    Ok(found.map(|(g, var)| g.map_or_else(|| zeros(var), Var::into_value)).collect())
}

#[cfg(test)]
mod tests;
