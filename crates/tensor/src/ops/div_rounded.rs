//! Quotients rounded to whole numbers.

use super::broadcast::{paired_shape, zip};
use super::layout::sample;
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Float, Integer};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a quotient is rounded to a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Down, like `//` in Python.
    Floor,
    /// Towards 0, like integer division in Rust and C.
    Trunc,
}

/// a / b rounded to a whole number. It is piecewise constant, so its gradient
/// is 0, also where b is 0.
#[derive(Clone, Copy, Debug)]
pub struct DivRounded {
    /// How it is rounded.
    pub rounding: Rounding,
}

/// ⌊a / b⌋, computed from the remainder as Python and PyTorch do: the rounded
/// quotient of 6 and 0.1 is 60, but 0.1 is a little more than a tenth, so the
/// floor of the exact quotient is 59.
pub(super) fn floor_divided<T: Float>(a: T, b: T) -> T {
    if b == T::ZERO {
        return a / b;
    }
    let rest = a.fmod(b);
    let mut quotient = (a - rest) / b;
    if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) {
        quotient -= T::ONE;
    }
    if quotient == T::ZERO {
        // NaN with the sign of the quotient.
        return a / b * T::ZERO;
    }
    let floor = quotient.floor();
    if quotient - floor > T::from_f64(0.5) { floor + T::ONE } else { floor }
}

impl<T: Float> Op<T> for DivRounded {
    type Saved = ();
    const NAME: &'static str = "div_rounded";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        inputs[0].broadcast(inputs[1], "div_rounded")
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let shape = inputs[0].shape().broadcast(inputs[1].shape(), "div_rounded");
        let shape = shape.expect("the shape rule accepted the inputs");
        let divided: fn(T, T) -> T = match self.rounding {
            Rounding::Floor => floor_divided,
            Rounding::Trunc => |a, b| (a / b).trunc(),
        };
        (zip(inputs[0], inputs[1], &shape, divided), ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        call.each(|input| Tensor::zeros(call.inputs[input].shape()))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        call.each(|input| Ok(Term::constant(Tensor::zeros(call.inputs[input].shape()))))
    }

    fn attributes(&self) -> Attributes {
        let rounding = match self.rounding {
            Rounding::Floor => "floor",
            Rounding::Trunc => "trunc",
        };
        vec![("rounding", rounding.into())]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        // Quotients that are not near whole numbers.
        let pair = |a: &[usize], b: &[usize]| {
            let divisor =
                sample(b).remove(0).map(|x: T| if x < T::ZERO { -T::ONE } else { T::ONE });
            let dividend = sample(a).remove(0).map(|x: T| x.floor() + T::from_f64(0.5));
            vec![dividend, divisor]
        };
        vec![
            (DivRounded { rounding: Rounding::Floor }, pair(&[3, 4], &[4])),
            (DivRounded { rounding: Rounding::Trunc }, pair(&[3, 1], &[2, 1, 4])),
            (DivRounded { rounding: Rounding::Floor }, pair(&[2, 0], &[1, 1])),
        ]
    }
}

impl<T: Integer> Tensor<T> {
    /// The rounded quotient; results that do not fit the type wrap around.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast or a divisor is 0.
    pub fn div_rounded(&self, divisor: &Self, rounding: Rounding) -> Result<Self> {
        self.divided("div_rounded", divisor, |a, b| match rounding {
            Rounding::Floor => floor_divided_integers(a, b),
            Rounding::Trunc => a.wrapping_div(b),
        })
    }

    /// The quotient, rounded down.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast or a divisor is 0.
    pub fn floor_divide(&self, divisor: &Self) -> Result<Self> {
        self.divided("floor_divide", divisor, floor_divided_integers)
    }

    /// The remainder of the division that rounds down; it has the sign of the
    /// divisor.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast or a divisor is 0.
    pub fn remainder(&self, divisor: &Self) -> Result<Self> {
        self.divided("remainder", divisor, |a, b| {
            let rest = a.wrapping_rem(b);
            let other_side = rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO);
            if other_side { rest.wrapping_add(b) } else { rest }
        })
    }

    /// The remainder of the division that rounds towards 0; it has the sign of
    /// `self`.
    ///
    /// # Errors
    ///
    /// When the shapes do not broadcast or a divisor is 0.
    pub fn fmod(&self, divisor: &Self) -> Result<Self> {
        self.divided("fmod", divisor, T::wrapping_rem)
    }

    fn divided(&self, context: &str, divisor: &Self, f: impl Fn(T, T) -> T + Sync) -> Result<Self> {
        let shape = paired_shape::<T, T, T>(self, divisor, context)?;
        if divisor.count_nonzero() < divisor.len() {
            return Err(Error::argument(context, "expected divisors other than 0, got 0"));
        }
        Ok(zip(self, divisor, &shape, f))
    }
}

fn floor_divided_integers<T: Integer>(a: T, b: T) -> T {
    let (quotient, rest) = (a.wrapping_div(b), a.wrapping_rem(b));
    let down = rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO);
    if down { quotient.wrapping_sub(T::ONE) } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    const INF: f32 = f32::INFINITY;

    /// Expected values: `torch.div(a, b, rounding_mode=…)`.
    #[test]
    fn quotients_of_floats_as_in_pytorch() {
        let a = [6.0, -7.0, 7.0, -1.0, 1.0, 0.0, 5.0, -5.0, INF, 1.0, -0.0, f32::NAN, 1e20, 2.0];
        let b = [0.1, 2.0, -2.0, INF, -INF, 3.0, 0.0, 0.0, 2.0, 0.3, 5.0, 1.0, 3.0, -2.0];
        let (a, b) = (Tensor::from(a), Tensor::from(b));
        let text = |rounding| format!("{:?}", a.div_rounded(&b, rounding).unwrap().to_vec());
        let large = "3.3333333e19";
        let expected = "59.0, -4.0, -4.0, -1.0, -1.0, 0.0, inf, -inf, NaN, 3.0, -0.0, NaN";
        assert_eq!(text(Rounding::Floor), format!("[{expected}, {large}, -1.0]"));
        let expected = "60.0, -3.0, -3.0, -0.0, -0.0, 0.0, inf, -inf, inf, 3.0, -0.0, NaN";
        assert_eq!(text(Rounding::Trunc), format!("[{expected}, {large}, -1.0]"));
        let floor = a.floor_divide(&b).unwrap();
        assert_eq!(format!("{:?}", floor.to_vec()), text(Rounding::Floor));
    }

    #[test]
    fn quotients_of_integers() {
        let x = Tensor::from([7, -7, 7, -7, i64::MIN]);
        let divisor = Tensor::from([2, 2, -2, -2, -1]);
        assert_eq!(x.floor_divide(&divisor).unwrap().to_vec(), [3, -4, -4, 3, i64::MIN]);
        let down = x.div_rounded(&divisor, Rounding::Floor).unwrap();
        assert_eq!(down.to_vec(), [3, -4, -4, 3, i64::MIN]);
        let towards_0 = x.div_rounded(&divisor, Rounding::Trunc).unwrap();
        assert_eq!(towards_0.to_vec(), [3, -3, -3, 3, i64::MIN]);
        assert_eq!(x.remainder(&divisor).unwrap().to_vec(), [1, 1, -1, -1, 0]);
        assert_eq!(x.fmod(&divisor).unwrap().to_vec(), [1, -1, 1, -1, 0]);
        let error = x.remainder(&Tensor::scalar(0)).unwrap_err();
        assert_eq!(error.to_string(), "remainder: expected divisors other than 0, got 0");
    }
}
