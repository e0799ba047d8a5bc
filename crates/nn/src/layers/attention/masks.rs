//! Which scores of an attention count.

use dendra_autograd::Var;
use dendra_tensor::{AttentionMask, Element, Error, Float, Ops, Result, Shape, Tensor};

/// The softmax of the scores that count; 0 for a query of which none does.
pub(super) fn weights_of<T: Float>(
    q: &Var<T>,
    k: &Var<T>,
    mask: &AttentionMask<T>,
    is_causal: bool,
) -> Result<Var<T>> {
    // The exponential of what lies so far below every other score is 0.
    const FAR_BELOW: f64 = -1e30;
    let &[.., keys, width] = &k.shape()[..] else { unreachable!("four axes") };
    let mut scores = q.matmul(&k.transpose(-1, -2)?)?.mul_scalar(1.0 / (width as f64).sqrt());
    let fits = |mask: &Shape| {
        let shape = scores.shape();
        if shape.broadcast(mask, "").ok().as_ref() == Some(shape) {
            return Ok(());
        }
        let message = format!("a mask of shape {mask} does not stretch to scores {shape}");
        Err(Error::shape("", message))
    };
    let mut left_out = match mask {
        AttentionMask::None => Tensor::full([1, 1], false),
        AttentionMask::Keep(keep) => {
            fits(keep.shape())?;
            keep.logical_not()
        }
        AttentionMask::Add(add) => {
            fits(add.shape())?;
            let left_out = add.map(|x| x == T::LOWEST);
            scores = scores.add(&Var::new(add.masked_fill(&left_out, 0.0)?))?;
            left_out
        }
    };
    if is_causal {
        let later = |place: usize| place % keys > place / keys;
        left_out = left_out.logical_or(&Tensor::from_fn([scores.shape()[2], keys], later))?;
    }
    scores.masked_fill(&left_out, FAR_BELOW)?.softmax(-1)?.masked_fill(&left_out, 0.0)
}

/// The mask that also leaves out the padding, `[N, S]`.
pub(super) fn with_padding<T: Float>(
    mask: AttentionMask<T>,
    padding: &Tensor<bool>,
) -> Result<AttentionMask<T>> {
    let &[batch, keys] = &padding.shape()[..] else {
        let message = format!("expected a key_padding_mask [N, S], got {}", padding.shape());
        return Err(Error::shape("", message));
    };
    let padding = padding.reshape([batch, 1, 1, keys])?;
    let both = |shape: &Shape| shape.broadcast(padding.shape(), "key_padding_mask");
    Ok(match mask {
        AttentionMask::None => AttentionMask::Keep(padding.map(|padding: bool| !padding)),
        AttentionMask::Keep(keep) => {
            let shape = both(keep.shape())?;
            let keep = keep.broadcast_to(shape.clone())?.to_vec();
            let padding = padding.broadcast_to(shape.clone())?.to_vec();
            AttentionMask::Keep(Tensor::from_fn(shape, |i| keep[i] && !padding[i]))
        }
        AttentionMask::Add(add) => {
            let shape = both(add.shape())?;
            let add = add.broadcast_to(shape.clone())?.to_vec();
            let padding = padding.broadcast_to(shape.clone())?.to_vec();
            let value = |i: usize| if padding[i] { T::LOWEST } else { add[i] };
            AttentionMask::Add(Tensor::from_fn(shape, value))
        }
    })
}

/// The mask for one more key, which every query sees.
pub(super) fn with_one_more_key<T: Float>(
    mask: AttentionMask<T>,
    is_causal: bool,
    [queries, keys]: [usize; 2],
) -> Result<AttentionMask<T>> {
    fn widened<E: Element>(mask: &Tensor<E>, keys: usize, more: E) -> Result<Tensor<E>> {
        let shape = mask.shape();
        let Some((_, rows)) = shape.split_last() else {
            return Err(Error::shape("", format!("a mask of shape {shape} is a scalar")));
        };
        let wide = |keys: usize| rows.iter().copied().chain([keys]).collect::<Shape>();
        let column = Tensor::full(wide(1), more);
        Tensor::cat(&[&mask.broadcast_to(wide(keys))?, &column], -1)
    }
    let sees =
        |place: usize| place % (keys + 1) == keys || place % (keys + 1) <= place / (keys + 1);
    let causal = is_causal.then(|| Tensor::from_fn([queries, keys + 1], sees));
    Ok(match (mask, causal) {
        (AttentionMask::None, None) => AttentionMask::None,
        (AttentionMask::None, Some(causal)) => AttentionMask::Keep(causal),
        (AttentionMask::Keep(keep), None) => AttentionMask::Keep(widened(&keep, keys, true)?),
        (AttentionMask::Keep(keep), Some(causal)) => {
            AttentionMask::Keep(widened(&keep, keys, true)?.logical_and(&causal)?)
        }
        (AttentionMask::Add(add), None) => AttentionMask::Add(widened(&add, keys, T::ZERO)?),
        (AttentionMask::Add(add), Some(causal)) => {
            let later = causal.map(|sees: bool| if sees { T::ZERO } else { T::LOWEST });
            AttentionMask::Add(widened(&add, keys, T::ZERO)?.add(&later)?)
        }
    })
}
