//! Gradients of advanced indexing, stacking and statistics, which are composed
//! of other operations, against PyTorch's.

use dendra_autograd::{Tape, Var};
use dendra_tensor::{Interpolation, Ops, Result, ScatterReduction, Tensor};

fn matrix() -> Tensor<f64> {
    Tensor::from([[1.0, 5.0, 2.0], [3.0, 0.0, 4.0]])
}

fn assert_near(name: &str, actual: &Tensor<f64>, expected: &[f64]) {
    let expected = Tensor::from_vec(expected.to_vec(), actual.shape()).unwrap();
    assert!(actual.allclose(&expected, 1e-6, 1e-7).unwrap(), "{name}: {actual:?}");
}

/// Checks the gradients of the sum of `f`'s elements.
fn assert_gradients<const N: usize>(
    name: &str,
    f: impl Fn(&[Var<f64>; N]) -> Result<Var<f64>>,
    inputs: [Tensor<f64>; N],
    expected: [&[f64]; N],
) {
    let tape = Tape::training(0, 0);
    let inputs = inputs.map(|input| tape.leaf(input));
    let gradients = f(&inputs).unwrap().sum().backward().unwrap();
    for (input, expected) in inputs.iter().zip(expected) {
        assert_near(name, gradients.wrt(input).unwrap(), expected);
    }
}

#[test]
fn statistics_have_pytorchs_gradients() {
    let check = |name: &str, f: &dyn Fn(&Var<f64>) -> Result<Var<f64>>, expected: &[f64]| {
        assert_gradients(name, |[x]| f(x), [matrix()], [expected]);
    };
    let x = || Var::new(Tensor::from([0.0, 1.0, 4.0]));
    check(
        "quantiles",
        &|v| Ok(v.quantiles(&[0.3, 0.8], 1, false)?.square()),
        &[1.28, 4.56, 4.96, 5.04, 1.44, 4.32],
    );
    check(
        "nanquantiles",
        &|v| Ok(v.nanquantiles_with(&[0.3, 0.8], 1, true, Interpolation::Midpoint)?.square()),
        &[1.5, 3.5, 5.0, 5.0, 1.5, 3.5],
    );
    let (a, b, c) = (19.555555555556, 38.111111111111, 18.555555555556);
    check("cov", &|v| Ok(v.cov(1, None, None)?.square()), &[-a, b, -c, c, -b, a]);
    let (a, b, c) = (0.465976331361, 0.155325443787, 0.621301775148);
    let weights = Var::new(Tensor::from([[1.0, 2.0], [3.0, 4.0]]));
    check("corrcoef", &|v| v.corrcoef()?.mul(&weights), &[-a, -b, c, -c, b, a]);
    check("renorm", &|v| Ok(v.renorm(2.0, 0, 3.0)?.square()), &[0.0; 6]);
    check(
        "trapezoid_at",
        &|v| Ok(v.trapezoid_at(&x(), 1)?.square()),
        &[13.5, 54.0, 40.5, 7.5, 30.0, 22.5],
    );
    check(
        "cumulative_trapezoid_at",
        &|v| Ok(v.cumulative_trapezoid_at(&x(), 1)?.square()),
        &[16.5, 57.0, 40.5, 9.0, 31.5, 22.5],
    );
    check(
        "diff_times",
        &|v| Ok(v.diff_times(2, 1, None, None)?.square()),
        &[-14.0, 28.0, -14.0, 14.0, -28.0, 14.0],
    );
}

#[test]
fn stacks_have_pytorchs_gradients() {
    let check = |name: &str, f: &dyn Fn(&Var<f64>) -> Result<Var<f64>>, expected: &[f64]| {
        assert_gradients(name, |[x]| f(x), [matrix()], [expected]);
    };
    check(
        "block_diag",
        &|v| Ok(Var::block_diag(&[v, &v.select(0, 0)?])?.square()),
        &[4.0, 20.0, 8.0, 6.0, 0.0, 8.0],
    );
    check(
        "cartesian_prod",
        &|v| Ok(Var::cartesian_prod(&[&v.select(0, 0)?, &v.select(0, 1)?])?.powf(3.0)),
        &[9.0, 225.0, 36.0, 81.0, 0.0, 144.0],
    );
    check(
        "combinations",
        &|v| Ok(v.select(0, 0)?.combinations(2, false)?.powf(3.0)),
        &[6.0, 150.0, 24.0, 0.0, 0.0, 0.0],
    );
}

/// A function of two matrices.
type OfTwo<'a> = &'a dyn Fn(&Var<f64>, &Var<f64>) -> Result<Var<f64>>;

#[test]
fn advanced_indexing_has_pytorchs_gradients() {
    let source = || Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let index = |indices: &[i64]| Tensor::from_vec(indices.to_vec(), [indices.len()]).unwrap();
    let check = |name: &str, f: OfTwo, expected: [&[f64]; 2]| {
        assert_gradients(name, |[a, b]| Ok(f(a, b)?.square()), [matrix(), source()], expected);
    };
    let (i, j) = (index(&[0, 1, -1]), index(&[2, 0, 2]));
    assert_gradients(
        "index",
        |[v]| Ok(v.index(&[Some(&i), Some(&j)])?.square()),
        [matrix()],
        [&[0.0, 0.0, 4.0, 6.0, 0.0, 8.0]],
    );
    let first = |b: &Var<f64>, count: usize| b.select(0, 0)?.narrow(0, 0, count);
    let (i, j) = (index(&[1, 0, 1]), index(&[2, 1, 2]));
    let (two_i, two_j) = (i.narrow(0, 0, 2).unwrap(), j.narrow(0, 0, 2).unwrap());
    check(
        "index_put",
        &|a, b| a.index_put(&[Some(&two_i), Some(&two_j)], &first(b, 2)?),
        [&[2.0, 0.0, 4.0, 6.0, 0.0, 0.0], &[2.0, 4.0, 0.0, 0.0, 0.0, 0.0]],
    );
    check(
        "index_put_accumulate",
        &|a, b| a.index_put_accumulate(&[Some(&i), Some(&j)], &first(b, 3)?),
        [&[2.0, 14.0, 4.0, 6.0, 0.0, 16.0], &[16.0, 14.0, 16.0, 0.0, 0.0, 0.0]],
    );
    check(
        "diagonal_scatter",
        &|a, b| a.diagonal_scatter(&first(b, 2)?, 0, 0, 1),
        [&[0.0, 10.0, 4.0, 6.0, 0.0, 8.0], &[2.0, 4.0, 0.0, 0.0, 0.0, 0.0]],
    );
    check(
        "select_scatter",
        &|a, b| a.select_scatter(&first(b, 3)?, 0, 1),
        [&[2.0, 10.0, 4.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 6.0, 0.0, 0.0, 0.0]],
    );
    check(
        "slice_scatter",
        &|a, b| a.slice_scatter(&b.narrow(1, 0, 2)?, 1, 0, None, 2),
        [&[0.0, 10.0, 0.0, 0.0, 0.0, 0.0], &[2.0, 4.0, 0.0, 8.0, 10.0, 0.0]],
    );
    check(
        "put_accumulate",
        &|a, b| a.put_accumulate(&[4, 0, 4], &first(b, 3)?),
        [&[6.0, 10.0, 4.0, 6.0, 8.0, 8.0], &[8.0, 6.0, 8.0, 0.0, 0.0, 0.0]],
    );
    check(
        "index_reduce",
        &|a, b| a.index_reduce(1, &[2, 0, 2], b, ScatterReduction::Prod, true),
        [&[8.0, 10.0, 36.0, 150.0, 0.0, 4608.0], &[72.0, 4.0, 24.0, 4608.0, 90.0, 3072.0]],
    );
}
