//! A value that may be on a tape.

use std::fmt;
use std::ops;

use dendra_tensor::ops::{Attribute, Op, Parents, Recorded};
use dendra_tensor::{Error, Float, Ops, Result, Shape, Tensor, ops_operators};

use crate::function::Function;
#[cfg(feature = "gradients")]
use crate::gradients::Gradients;
use crate::recording::AsAny;
use crate::tape::Tape;

/// A tensor that may be on a [`Tape`]. Cloning it is cheap.
///
/// Operations are the methods of [`Ops`], which tensors implement too.
pub struct Var<T: Float = f32> {
    value: Tensor<T>,
    on: Option<OnTape<T>>,
}

/// The tape of a value and its node there.
struct OnTape<T: Float> {
    tape: Tape<T>,
    /// The node, if the value needs a gradient.
    node: Option<usize>,
}

impl<T: Float> Var<T> {
    /// A value that is on no tape: operations on it are not recorded.
    pub fn new(value: Tensor<T>) -> Self {
        Self { value, on: None }
    }

    pub(crate) fn on_tape(value: Tensor<T>, tape: Tape<T>, node: Option<usize>) -> Self {
        Self { value, on: Some(OnTape { tape, node }) }
    }

    /// The value.
    pub fn value(&self) -> &Tensor<T> {
        &self.value
    }

    /// The value, without the tape.
    pub fn into_value(self) -> Tensor<T> {
        self.value
    }

    /// The same value without a tape: no gradient flows through it.
    #[must_use]
    pub fn detach(&self) -> Self {
        // A trace has no gradients, but must record the use of the value.
        match self.tape() {
            Some(tape) if tape.is_tracing() => self.clone(),
            _ => Self::new(self.value.clone()),
        }
    }

    /// The shape of the value.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The tape that the value is on.
    pub fn tape(&self) -> Option<&Tape<T>> {
        self.on.as_ref().map(|on| &on.tape)
    }

    /// Applies a part of a model to this value in evaluation mode, whatever the
    /// mode of the tape: dropout passes values through, and batch normalisation
    /// uses its running statistics and does not change them. Gradients flow as
    /// usual, and the result is in the mode of the tape.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let x = Tape::training(0, 0).leaf(Tensor::from([1.0, 2.0]));
    /// let y = x.in_evaluation(&|x| {
    ///     assert!(!x.is_training());
    ///     Ok(x.square())
    /// })?;
    /// assert!(y.is_training());
    /// assert_eq!(y.sum().backward()?.wrt(&x).unwrap().to_vec(), [2.0, 4.0]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of `part`.
    pub fn in_evaluation(&self, part: &dyn Fn(&Self) -> Result<Self>) -> Result<Self> {
        let Some(OnTape { tape, node }) = self.on.as_ref().filter(|_| self.is_training()) else {
            return part(self);
        };
        let y = part(&Self::on_tape(self.value.clone(), tape.in_evaluation(), *node))?;
        Ok(y.back_on(tape))
    }

    /// A value that may be on another handle of this tape, on this one.
    pub(crate) fn back_on(self, tape: &Tape<T>) -> Self {
        match self.on {
            Some(on) if on.tape.is_same(tape) => Self::on_tape(self.value, tape.clone(), on.node),
            _ => self,
        }
    }

    /// Applies the operation of a recorded call to other inputs, with other
    /// values of some settings. It is recorded like any other operation.
    ///
    /// # Errors
    ///
    /// Returns an error if the number of inputs differs from that of the call, a
    /// setting is unknown, the operation does not accept the inputs, or the
    /// inputs are on different tapes.
    pub fn replay(
        call: &dyn Recorded<T>,
        settings: &[(&'static str, Attribute)],
        inputs: &[&Self],
    ) -> Result<Self> {
        let (expected, found) = (call.inputs().len(), inputs.len());
        if expected != found {
            let message = format!("expected {expected} inputs, got {found}");
            return Err(Error::argument(call.name(), message));
        }
        Self::ensure_together(inputs)?;
        let values: Vec<&Tensor<T>> = inputs.iter().map(|input| input.value()).collect();
        let tape = inputs.iter().find_map(|input| input.tape());
        let parents = tape.and_then(|tape| tape.parents(inputs));
        let is_recorded = parents.is_some();
        let parents = parents.unwrap_or_else(|| Parents::from_elem(None, inputs.len()));
        let call = call.replay_with(settings, &values, parents)?;
        Ok(match tape {
            Some(tape) if is_recorded => tape.keep(call),
            Some(tape) => Self::on_tape(call.output().clone(), tape.clone(), None),
            None => Self::new(call.output().clone()),
        })
    }

    pub(crate) fn node(&self) -> Option<usize> {
        self.on.as_ref()?.node
    }

    /// Whether the value is on a tape in training mode.
    pub fn is_training(&self) -> bool {
        self.tape().is_some_and(Tape::is_training)
    }

    /// [`Tape::note`] on the tape of this value, if it is on one.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Tape::note`].
    pub fn note(
        &self,
        function: impl Function,
        inputs: &[&dyn AsAny],
        output: &dyn AsAny,
    ) -> Result<()> {
        self.tape().map_or(Ok(()), |tape| tape.note(function, inputs, output))
    }

    /// The gradients of this scalar with respect to everything on its tape.
    /// Consumes the record of the tape.
    ///
    /// # Errors
    ///
    /// When the value is not a scalar, is on no tape, depends on nothing that
    /// needs a gradient, or the tape was used already.
    #[cfg(feature = "gradients")]
    #[inline(never)]
    pub fn backward(&self) -> Result<Gradients<T>> {
        let Some(on) = &self.on else {
            return Err(Error::tape(
                "the loss is not on a tape, so nothing was recorded: put the input on one with \
                 Tape::training(seed, step).input(x)",
            ));
        };
        on.tape.backward(&self.value, on.node)
    }
}

impl<T: Float> Clone for Var<T> {
    fn clone(&self) -> Self {
        let on = self.on.as_ref();
        let on = on.map(|on| OnTape { tape: on.tape.clone(), node: on.node });
        Self { value: self.value.clone(), on }
    }
}

impl<T: Float> From<Tensor<T>> for Var<T> {
    fn from(value: Tensor<T>) -> Self {
        Self::new(value)
    }
}

impl<T: Float> fmt::Debug for Var<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Var ")?;
        self.value.fmt(f)
    }
}

impl<T: Float> Ops for Var<T> {
    type Element = T;

    fn value(&self) -> &Tensor<T> {
        &self.value
    }

    fn constant(value: Tensor<T>) -> Self {
        Self::new(value)
    }

    fn apply<O: Op<T>>(operation: O, inputs: &[&Self]) -> Self {
        match inputs.iter().find_map(|input| input.tape()) {
            Some(tape) => tape.apply(operation, inputs),
            None => {
                let values: Vec<&Tensor<T>> = inputs.iter().map(|input| input.value()).collect();
                Self::new(operation.forward(&values).0)
            }
        }
    }

    fn ensure_together(inputs: &[&Self]) -> Result<()> {
        let mut tapes = inputs.iter().filter_map(|input| input.tape());
        let Some(first) = tapes.next() else { return Ok(()) };
        if tapes.all(|tape| tape.is_same(first)) {
            return Ok(());
        }
        Err(Error::tape(
            "two inputs of one operation are on different tapes; put all inputs of a step on the \
             same tape, or detach() one of them",
        ))
    }
}

ops_operators! { Var<T>, T, |x| x.to_f64() }

/// A number to the left of a variable. It is implemented for each number type,
/// since an operator of a foreign type cannot be generic.
macro_rules! number_first {
    ($($type:ty)*) => {$(
        number_first! { @one $type:
            Add add |a, x| x + a;
            Sub sub |a, x| -x + a;
            Mul mul |a, x| x * a;
            Div div |a, x| x.reciprocal().mul_scalar(a.into());
        }
    )*};
    (@one $type:ty: $($trait:ident $method:ident |$a:ident, $x:ident| $value:expr;)*) => {$(
        impl ops::$trait<&Var<$type>> for $type {
            type Output = Var<$type>;

            #[inline]
            fn $method(self, $x: &Var<$type>) -> Var<$type> {
                let $a = self;
                $value
            }
        }

        impl ops::$trait<Var<$type>> for $type {
            type Output = Var<$type>;

            #[inline]
            fn $method(self, other: Var<$type>) -> Var<$type> {
                ops::$trait::$method(self, &other)
            }
        }
    )*};
}

number_first! { f32 f64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_record_nothing() {
        let x = Var::new(Tensor::from([1.0, -2.0_f32]));
        let y = (&x * 3.0).relu();
        assert!(y.tape().is_none() && !y.is_training());
        assert_eq!(y.into_value().to_vec(), [3.0, 0.0]);
    }

    #[test]
    fn operators_have_gradients() {
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::from([1.0, 2.0]));
        let y = tape.leaf(Tensor::from([4.0, 8.0]));
        // (x·y − x) / y · 2 + 1 = 2x − 2x/y + 1
        let loss = (((&x * &y - &x) / &y) * 2.0_f64 + 1.0).sum();
        let gradients = loss.backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [1.5, 1.75]);
        assert_eq!(gradients.wrt(&y).unwrap().to_vec(), [0.125, 0.0625]);
    }

    #[test]
    fn a_number_may_come_first() {
        let x = Tape::training(0, 0).leaf(Tensor::from([1.0, 2.0_f64]));
        // 3/x − (1 − 2x) + 4
        let y = 4.0 + (3.0 / &x - (1.0 - 2.0 * &x));
        assert_eq!(y.value().to_vec(), [8.0, 8.5]);
        let gradients = y.sum().backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [-1.0, 1.25]);
    }

    #[test]
    fn parts_have_gradients() {
        let x = Tape::training(0, 0).leaf(Tensor::<f32>::arange(12).reshape([3, 4]).unwrap());
        let part = x.get((1.., -1)).unwrap();
        assert_eq!(part.value().to_vec(), [7.0, 11.0]);
        let gradients = part.square().sum().backward().unwrap();
        let expected = [[0.0; 4], [0.0, 0.0, 0.0, 14.0], [0.0, 0.0, 0.0, 22.0]];
        assert_eq!(*gradients.wrt(&x).unwrap(), Tensor::from(expected));
    }

    /// Expected values: PyTorch's.
    #[test]
    fn gradients_beside_nan_and_at_zero() {
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::from([3.0, f64::NAN, 1.0, 2.0, f64::NAN]));
        let y = tape.leaf(Tensor::from([1.0, 1.0, f64::NAN, 2.0, f64::NAN]));
        let gradients = x.fmax(&y).unwrap().sum().backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [1.0, 0.0, 1.0, 0.5, 1.0]);
        assert_eq!(gradients.wrt(&y).unwrap().to_vec(), [0.0, 1.0, 0.0, 0.5, 0.0]);

        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::from([3.0, -2.0, 0.0, -0.0, 1.0]));
        let y = tape.leaf(Tensor::from([-1.0, -0.0, -3.0, 0.0, 2.0_f64]));
        let gradients = x.copysign(&y).unwrap().sum().backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [-1.0, 1.0, 0.0, 0.0, 1.0]);

        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::from([5.0, 7.0_f64]));
        let gradients = x.floor_divide(&Tensor::from([0.0, 2.0]).into()).unwrap();
        let gradients = gradients.sum().backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [0.0, 0.0]);

        // A scalar counts as having one axis.
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::scalar(2.0_f64));
        let twice = x.scatter_add(0, &Tensor::from([0]), &x.unsqueeze(0).unwrap()).unwrap();
        let picked = twice.gather(-1, &Tensor::from([0, 0])).unwrap();
        let logits = x.index_select(0, &[0]).unwrap().softmax(0).unwrap();
        let loss = picked.sum().add(&logits).unwrap().add(&x.cumsum(0).unwrap()).unwrap();
        assert_eq!(loss.value().item().unwrap(), 11.0);
        let gradients = loss.backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().item().unwrap(), 5.0);
    }

    #[test]
    fn no_gradient_flows_through_a_detached_value() {
        let tape = Tape::training(0, 0);
        let x = tape.leaf(Tensor::scalar(3.0_f32));
        let gradients = (&x * &x.detach()).backward().unwrap();
        assert_eq!(gradients.wrt(&x).unwrap().item().unwrap(), 3.0);
    }

    #[test]
    #[should_panic(expected = "shapes [2] and [3] do not broadcast")]
    fn operators_panic_on_shapes_that_do_not_broadcast() {
        let _ = Var::new(Tensor::<f32>::zeros([2])) - Var::new(Tensor::zeros([3]));
    }

    #[test]
    fn variables_may_cross_threads() {
        fn crosses<X: Send + Sync>() {}
        crosses::<Var<f32>>();
        crosses::<Gradients<f64>>();
    }
}
