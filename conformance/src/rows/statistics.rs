//! Quantiles, variances, integrals and histograms.

use dendra_autograd::Var;
use dendra_tensor::{Float, Interpolation, Ops, Result, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Argument, Axes, Constant};
use crate::call::{Call, Given, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = spread();
    rows.extend(differences());
    rows
}

#[expect(non_snake_case, reason = "the names of PyTorch's arguments")]
fn spread<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "quantile" (
            input: Var<T>, q: Parts, dim: Option<isize> = None, keepdim: bool = false,
            interpolation: Interpolation = Interpolation::Linear,
        ) => quantiles(&input, q, dim, keepdim, interpolation, Var::quantiles_with);
        "nanquantile" (
            input: Var<T>, q: Parts, dim: Option<isize> = None, keepdim: bool = false,
            interpolation: Interpolation = Interpolation::Linear,
        ) => quantiles(&input, q, dim, keepdim, interpolation, Var::nanquantiles_with);
        "cov" (
            input: Var<T>, correction: usize = 1, fweights: Option<Tensor<i64>> = None,
            aweights: Option<Constant<T>> = None,
        ) => input.cov(correction, fweights.as_ref(), aweights.as_ref().map(|weights| &weights.0));
        "corrcoef" (input: Var<T>) => input.corrcoef();
        "aminmax" (input: Var<T>, dim: Axes = Axes::All, keepdim: bool = false) => {
            input.aminmax(&dim.of(input.value().rank()), keepdim)
        };
        "renorm" (input: Var<T>, p: f64, dim: isize, maxnorm: f64) => input.renorm(p, dim, maxnorm);
        "histogram" (
            input: Constant<T>, bins: Value, range: Option<[f64; 2]> = None,
            weight: Option<Constant<T>> = None, density: bool = false,
        ) => {
            let weight = weight.as_ref().map(|weight| &weight.0);
            match call.given(&bins) {
                Some(Given::Float(edges)) => {
                    let counts = input.0.histogram_edges(edges.value(), weight, density)?;
                    Ok::<_, Stop>((counts, edges.value().clone()))
                }
                _ => {
                    let bins: usize = call.argument("bins", None)?;
                    Ok(input.0.histogram(bins, range, weight, density)?)
                }
            }
        };
        "linalg.vander" (x: Var<T>, N: Option<usize> = None) => {
            x.vander(N.unwrap_or(x.value().len()), true)
        };
    }
}

/// The parts of a quantile: a number, or a list, which adds an axis.
struct Parts {
    parts: Vec<f64>,
    is_list: bool,
}

impl<T: Float> Argument<T> for Parts {
    const KIND: &str = "a part or several";
    const CONSTANT: bool = true;

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        match call.given(value) {
            Some(Given::Float(q)) if q.value().rank() == 1 => {
                Some(Self { parts: q.value().cast().to_vec(), is_list: true })
            }
            _ => {
                let part: f64 = Argument::<T>::read(value, call)?;
                Some(Self { parts: vec![part], is_list: false })
            }
        }
    }
}

type Quantiles<T> = fn(&Var<T>, &[f64], isize, bool, Interpolation) -> Result<Var<T>>;

fn quantiles<T: Float>(
    input: &Var<T>,
    q: Parts,
    dim: Option<isize>,
    keep: bool,
    interpolation: Interpolation,
    function: Quantiles<T>,
) -> Result<Var<T>, Stop> {
    let Parts { parts, is_list } = q;
    let found = match dim {
        Some(axis) => function(input, &parts, axis, keep, interpolation)?,
        None => {
            let rank = input.value().rank();
            let found = function(&input.flatten(0, -1)?, &parts, 0, false, interpolation)?;
            let kept = std::iter::once(parts.len()).chain(std::iter::repeat_n(1, rank));
            if keep { found.reshape(kept.collect::<Vec<_>>())? } else { found }
        }
    };
    if is_list { Ok(found) } else { Ok(found.squeeze(0)?) }
}

fn differences<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "diff" (
            input: Var<T>, n: usize = 1, dim: isize = -1, prepend: Option<Var<T>> = None,
            append: Option<Var<T>> = None,
        ) => input.diff_times(n, dim, prepend.as_ref(), append.as_ref());
        "trapezoid" | "trapz"
            (y: Var<T>, x: Option<Var<T>> = None, dx: f64 = 1.0, dim: isize = -1) => match x {
                Some(x) => y.trapezoid_at(&x, dim),
                None => y.trapezoid(dx, dim),
            };
        "cumulative_trapezoid"
            (y: Var<T>, x: Option<Var<T>> = None, dx: f64 = 1.0, dim: isize = -1) => match x {
                Some(x) => y.cumulative_trapezoid_at(&x, dim),
                None => y.cumulative_trapezoid(dx, dim),
            };
    }
}

impl<T: Float> Argument<T> for Interpolation {
    const KIND: &str = "an interpolation";

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        Some(match value.as_str()? {
            "linear" => Self::Linear,
            "lower" => Self::Lower,
            "higher" => Self::Higher,
            "midpoint" => Self::Midpoint,
            "nearest" => Self::Nearest,
            _ => return None,
        })
    }
}
