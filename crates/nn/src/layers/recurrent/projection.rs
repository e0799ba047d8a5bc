//! An LSTM whose output is projected to a smaller width.

use dendra_autograd::{Param, Var};
use dendra_tensor::{Error, Float, Ops, RecurrentOptions, Result, Tensor};

use super::cell::{RecurrentCell, RecurrentState};

/// Runs all steps of a sequence `[L, N, input_size]`. Returns their projected
/// outputs and the last state.
///
/// With h = R·m, where m is the output of the gates, the product U·h of the
/// previous step is (U·R)·m. So the layer is an LSTM without a projection, with
/// the state m and the recurrent weight U·R, followed by one product with R for
/// all steps at once. The first h is not of the form R·m: it is concatenated to
/// the input of the first step, with the weights `[W, U]`.
pub(super) fn run<T: Float, const GATES: usize>(
    cell: &RecurrentCell<T, GATES>,
    weight_hr: &Param<T>,
    x: &Var<T>,
    first: Option<RecurrentState<T>>,
    options: RecurrentOptions,
) -> Result<(Var<T>, RecurrentState<T>)> {
    let &[steps, batch, width] = &x.shape()[..] else { unreachable!("three axes") };
    let expected = cell.weight_ih.value().shape()[1];
    if width != expected {
        let message = format!("expected inputs of width {expected}, got {}", x.shape());
        return Err(Error::shape("", message));
    }
    let [w, u, r] = [&cell.weight_ih, &cell.weight_hh, weight_hr].map(|weight| weight.on(x));
    let through = u.matmul(&r)?;
    let mut state = cell.zeros(batch);
    let Some(first) = first else {
        let (m, last) = cell.run_with([w, through], x, &state, options)?;
        return projected(&r, m, last);
    };
    state.c = first.c;
    let lengths = options.lengths.clone().unwrap_or_else(|| vec![steps; batch]);
    let reverse = options.reverse;
    let is_first = |index: usize| {
        let (step, sample) = (index / batch, index % batch);
        let length = lengths.get(sample).copied().unwrap_or(0);
        length > 0 && step == if reverse { length - 1 } else { 0 }
    };
    let is_first = Tensor::from_fn([steps, batch, 1], is_first);
    let zero = Var::new(Tensor::scalar(T::ZERO));
    let beside = first.h.unsqueeze(0)?.where_mask(&is_first, &zero)?;
    let x = Var::cat(&[x, &beside], 2)?;
    let w = Var::cat(&[&w, &u], 1)?;
    let (m, last) = cell.run_with([w, through], &x, &state, options)?;
    let (y, last) = projected(&r, m, last)?;
    // A sample without steps keeps its state.
    let has_steps = Tensor::from_fn([batch, 1], |sample| lengths[sample] > 0);
    Ok((y, RecurrentState { h: last.h.where_mask(&has_steps, &first.h)?, ..last }))
}

/// The outputs and the last state after the projection.
fn projected<T: Float>(
    r: &Var<T>,
    m: Var<T>,
    last: RecurrentState<T>,
) -> Result<(Var<T>, RecurrentState<T>)> {
    Ok((m.linear(r, None)?, RecurrentState { h: last.h.linear(r, None)?, c: last.c }))
}
