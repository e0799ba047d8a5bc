//! Element-wise losses. The loss and its reduction are one operation.

use dendra_tensor::kernels::parallel::{GRAIN, for_each_chunk};
use dendra_tensor::kernels::simd;
use dendra_tensor::ops::{
    Attribute, Attributes, Call, Cotangents, Op, Term, TermCall, TermCotangents,
};
use dendra_tensor::{Error, Float, Ops, Reduction, Result, Rng, Shape, Tensor};

use crate::loss::reduce;

/// The loss of one element, a function of the output `x` and of `N` constants
/// computed from the target, with its derivative with respect to the output.
pub(crate) trait Curve<const N: usize>: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// The names of the constants.
    const CONSTANTS: [&'static str; N];

    /// The range of outputs in checks of the derivative.
    const OUTPUTS: [f64; 2] = [0.05, 0.95];

    /// Returns settings for checks of the derivative, with constants between 0 and
    /// 1.
    fn examples() -> Vec<Self>;

    /// Checks the settings.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Checks the values of the target.
    fn check_target<T: Float>(&self, _: &Tensor<T>) -> Result<()> {
        Ok(())
    }

    fn value<T: Float>(&self, x: T, constants: [T; N]) -> T;

    fn derivative<T: Float>(&self, x: T, constants: [T; N]) -> T;

    /// Returns the derivative as a term that can be differentiated again.
    /// `derivative` is the value of the derivative. The default returns it as a
    /// constant, which is correct for piecewise linear losses.
    fn slope<T: Float>(
        &self,
        x: &Term<T>,
        constants: &[Term<T>; N],
        derivative: Term<T>,
    ) -> Result<Term<T>> {
        let _ = (x, constants);
        Ok(derivative)
    }

    /// Returns the settings by name.
    fn attributes(&self) -> Attributes {
        Attributes::new()
    }
}

/// The operation that computes the reduced loss of all elements.
#[derive(Clone)]
pub(crate) struct Pointwise<C, T: Float, const N: usize> {
    pub(crate) curve: C,
    pub(crate) constants: [Tensor<T>; N],
    pub(crate) reduction: Reduction,
}

impl<C: Curve<N>, T: Float, const N: usize> Pointwise<C, T, N> {
    /// Applies `f` to every element and its constants.
    fn map(&self, x: &Tensor<T>, f: impl Fn(T, [T; N]) -> T + Sync) -> Tensor<T> {
        let x = x.contiguous();
        let constants = self.constants.each_ref().map(Tensor::contiguous);
        let slice = |tensor| Tensor::as_slice(tensor).expect("made contiguous");
        let (x, constants) = (slice(&x), constants.each_ref().map(slice));
        Tensor::build(self.constants[0].shape(), |out| {
            for_each_chunk(out, GRAIN / 2, 1, |index, out| {
                let start = index * (GRAIN / 2);
                // With slices of equal length the compiler removes bounds checks.
                let part = start..start + out.len();
                let (x, constants) = (&x[part.clone()], constants.map(|c| &c[part.clone()]));
                simd::dispatch(
                    #[inline(always)]
                    || {
                        for (i, slot) in out.iter_mut().enumerate() {
                            *slot = f(x[i], constants.map(|constant| constant[i]));
                        }
                    },
                );
            });
        })
    }
}

impl<C: Curve<N>, T: Float, const N: usize> Op<T> for Pointwise<C, T, N> {
    type Saved = ();
    const NAME: &'static str = C::NAME;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        self.curve.check()?;
        ensure_same_shape(C::NAME, inputs[0], self.constants[0].shape())?;
        Ok(match self.reduction {
            Reduction::None => inputs[0].clone(),
            Reduction::Mean | Reduction::Sum => Shape::scalar(),
        })
    }

    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let losses = self.map(
            inputs[0],
            #[inline(always)]
            |x, constants| self.curve.value(x, constants),
        );
        (reduce(self.reduction, &losses), ())
    }

    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let factor = match self.reduction {
            Reduction::None => 1.0,
            Reduction::Sum | Reduction::Mean => {
                call.cotangent.item().expect("the output is a scalar").to_f64()
            }
        };
        let count = match self.reduction {
            Reduction::Mean => call.inputs[0].len() as f64,
            Reduction::None | Reduction::Sum => 1.0,
        };
        let factor = T::from_f64(factor / count);
        let mut gradient = self.map(
            &call.inputs[0],
            #[inline(always)]
            |x, constants| factor * self.curve.derivative(x, constants),
        );
        if self.reduction == Reduction::None {
            gradient *= &call.cotangent;
        }
        [Some(gradient)].into_iter().collect()
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let x = &call.inputs[0];
        let derivative = self.map(
            x.value(),
            #[inline(always)]
            |x, constants| self.curve.derivative(x, constants),
        );
        let constants = self.constants.clone().map(Term::constant);
        let slope = self.curve.slope(x, &constants, Term::constant(derivative))?;
        let mut g = call.cotangent.clone();
        if self.reduction == Reduction::Mean {
            g = g.mul_scalar(1.0 / x.shape().elements() as f64);
        }
        call.each(|_| Ok(&slope * &g))
    }

    fn attributes(&self) -> Attributes {
        let names = C::CONSTANTS.into_iter().zip(&self.constants);
        let mut attributes: Attributes =
            names.map(|(name, value)| (name, Attribute::values(value))).collect();
        attributes.extend(self.curve.attributes());
        attributes.push(("reduction", self.reduction.name().into()));
        attributes
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(7);
        let mut samples = Vec::new();
        for curve in C::examples() {
            for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
                for shape in [&[3, 5][..], &[2, 0], &[]] {
                    if shape.contains(&0) && reduction == Reduction::Mean {
                        continue;
                    }
                    let mut draw =
                        |[low, high]: [f64; 2]| Tensor::uniform(shape, low, high, &mut rng);
                    let constants = std::array::from_fn(|_| draw([0.05, 0.95]));
                    samples.push((Self { curve, constants, reduction }, vec![draw(C::OUTPUTS)]));
                }
            }
        }
        samples
    }
}

/// Returns the shape to which output and target are broadcast. It is the shape of
/// one of them.
pub(crate) fn common_shape(context: &str, output: &Shape, target: &Shape) -> Result<Shape> {
    let common = output.broadcast(target, context).ok();
    common.filter(|common| common == output || common == target).ok_or_else(|| {
        let message = format!(
            "output and target must have the same shape, or one must broadcast to the shape of \
             the other, got {output} and {target}"
        );
        Error::shape(context, message)
    })
}

/// Broadcasts output and target to their [`common_shape`].
pub(crate) fn in_one_shape<V: Ops>(
    context: &str,
    output: &V,
    target: &Tensor<V::Element>,
) -> Result<(V, Tensor<V::Element>)> {
    let shape = output.value().shape();
    if shape == target.shape() {
        return Ok((output.clone(), target.clone()));
    }
    let common = common_shape(context, shape, target.shape())?;
    let output =
        if *shape == common { output.clone() } else { output.broadcast_to(common.clone())? };
    Ok((output, target.broadcast_to(common)?))
}

/// Returns an error unless output and target have the same shape.
pub(crate) fn ensure_same_shape(context: &str, output: &Shape, target: &Shape) -> Result<()> {
    ensure_one_shape(context, "output and target", output, target)
}

/// Returns an error unless two shapes are equal.
pub(crate) fn ensure_one_shape(context: &str, both: &str, a: &Shape, b: &Shape) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(Error::shape(context, format!("{both} must have the same shape, got {a} and {b}")))
}

/// Returns an error unless all targets are 1 or −1.
pub(crate) fn ensure_signs<T: Float>(context: &str, target: &Tensor<T>) -> Result<()> {
    let is_sign = |y: T| y == T::ONE || y == -T::ONE;
    match target.contiguous().as_slice().unwrap_or_default().iter().copied().find(|&y| !is_sign(y))
    {
        Some(y) => Err(Error::data(context, format!("targets must be 1 or -1, got {y}"))),
        None => Ok(()),
    }
}

/// Returns an error unless a setting is finite and at least `least`.
pub(crate) fn ensure_at_least(context: &str, setting: &str, least: f64, value: f64) -> Result<()> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    let message = format!("{setting} must be a finite number and at least {least}, got {value}");
    Err(Error::argument(context, message))
}

/// Computes the reduced loss of an output.
pub(crate) fn apply<V: Ops, C: Curve<N>, const N: usize>(
    curve: C,
    output: &V,
    constants: [Tensor<V::Element>; N],
    reduction: Reduction,
) -> Result<V> {
    V::try_apply(Pointwise { curve, constants, reduction }, &[output])
}

/// Implements the method `compute` and [`Loss`](crate::Loss) for losses that are a
/// [`Curve`] with the target as its constant.
macro_rules! elementwise {
    ($($loss:ident)*) => {$(
        impl $loss {
            /// Computes the loss of tensors or variables.
            ///
            /// # Errors
            ///
            /// Returns an error if neither output nor target broadcasts to the shape
            /// of the other, or if the target or a setting is invalid.
            pub fn compute<V: Ops>(&self, output: &V, target: &Tensor<V::Element>) -> Result<V> {
                self.check_target(target)?;
                let (output, target) = in_one_shape(Self::NAME, output, target)?;
                apply(*self, &output, [target], self.reduction)
            }
        }

        crate::loss::is_loss! { $loss, Tensor<T>, |_loss, output, target| {
            common_shape(Self::NAME, output.shape(), target.shape()).ok()?.elements()
        } }
    )*};
}
pub(crate) use elementwise;
