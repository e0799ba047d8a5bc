//! The masks of attention scores.

use dendra_autograd::{Plain, Var};
use dendra_tensor::{AttentionMask, Element, Error, Float, Ops, Result, Shape, Tensor};

/// The softmax of the unmasked scores; 0 for a query whose scores are all
/// masked.
pub(super) fn weights_of<T: Float>(
    q: &Var<T>,
    k: &Var<T>,
    mask: &AttentionMask<T>,
    is_causal: bool,
) -> Result<Var<T>> {
    // A score so far below all others has an exponential of 0.
    const FAR_BELOW: f64 = -1e30;
    let &[.., keys, width] = &k.shape()[..] else { unreachable!("four axes") };
    let mut scores = q.matmul(&k.transpose(-1, -2)?)?.mul_scalar(1.0 / (width as f64).sqrt());
    let fits = |mask: &Shape| {
        let shape = scores.shape();
        if shape.broadcast(mask, "").ok().as_ref() == Some(shape) {
            return Ok(());
        }
        let message = format!("a mask of shape {mask} does not broadcast to scores {shape}");
        Err(Error::shape("", message))
    };
    let mut left_out = match mask {
        AttentionMask::None => Tensor::full([1, 1], false),
        AttentionMask::Keep(keep) => {
            fits(keep.shape())?;
            not(q, keep)?
        }
        AttentionMask::Add(add) => {
            fits(add.shape())?;
            let left_out = add.map(|x| x == T::LOWEST);
            scores = scores.add(&Var::new(add.masked_fill(&left_out, 0.0)?))?;
            left_out
        }
    };
    if is_causal {
        let later = |index: usize| index % keys > index / keys;
        let later = Tensor::from_fn([scores.shape()[2], keys], later);
        let both = left_out.logical_or(&later)?;
        q.note(Plain::Or, &[&left_out, &later], &both)?;
        left_out = both;
    }
    scores.masked_fill(&left_out, FAR_BELOW)?.softmax(-1)?.masked_fill(&left_out, 0.0)
}

/// The negation of a mask.
fn not<T: Float>(beside: &Var<T>, mask: &Tensor<bool>) -> Result<Tensor<bool>> {
    let not = mask.logical_not();
    beside.note(Plain::Not, &[mask], &not)?;
    Ok(not)
}

/// The logical and of two masks.
fn and<T: Float>(beside: &Var<T>, a: &Tensor<bool>, b: &Tensor<bool>) -> Result<Tensor<bool>> {
    let both = a.logical_and(b)?;
    beside.note(Plain::And, &[a, b], &both)?;
    Ok(both)
}

/// Adds the padding `[N, S]` to the mask.
pub(super) fn with_padding<T: Float>(
    beside: &Var<T>,
    mask: AttentionMask<T>,
    padding: &Tensor<bool>,
) -> Result<AttentionMask<T>> {
    let &[batch, keys] = &padding.shape()[..] else {
        let message = format!("expected a key_padding_mask [N, S], got {}", padding.shape());
        return Err(Error::shape("", message));
    };
    let padding = padding.reshape([batch, 1, 1, keys])?;
    let fits = |shape: &Shape| shape.broadcast(padding.shape(), "key_padding_mask").map(|_| ());
    Ok(match mask {
        AttentionMask::None => AttentionMask::Keep(not(beside, &padding)?),
        AttentionMask::Keep(keep) => {
            fits(keep.shape())?;
            AttentionMask::Keep(and(beside, &keep, &not(beside, &padding)?)?)
        }
        AttentionMask::Add(add) => {
            fits(add.shape())?;
            let value = T::LOWEST.to_f64();
            let masked = add.masked_fill(&padding, value)?;
            beside.note(Plain::MaskedFill { value }, &[&add, &padding], &masked)?;
            AttentionMask::Add(masked)
        }
    })
}

/// Adds one key to the mask, to which every query attends.
pub(super) fn with_one_more_key<T: Float>(
    beside: &Var<T>,
    mask: AttentionMask<T>,
    is_causal: bool,
    [queries, keys]: [usize; 2],
) -> Result<AttentionMask<T>> {
    fn widened<T: Float, E: Element>(
        beside: &Var<T>,
        mask: &Tensor<E>,
        keys: usize,
        more: E,
    ) -> Result<Tensor<E>> {
        let shape = mask.shape();
        let Some((_, rows)) = shape.split_last() else {
            return Err(Error::shape("", format!("a mask of shape {shape} is a scalar")));
        };
        let wide = |keys: usize| rows.iter().copied().chain([keys]).collect::<Shape>();
        let column = Tensor::full(wide(1), more);
        let mask = mask.broadcast_to(wide(keys))?;
        let all = Tensor::cat(&[&mask, &column], -1)?;
        beside.note(Plain::Cat { axis: -1 }, &[&mask, &column], &all)?;
        Ok(all)
    }
    let sees =
        |index: usize| index % (keys + 1) == keys || index % (keys + 1) <= index / (keys + 1);
    let causal = is_causal.then(|| Tensor::from_fn([queries, keys + 1], sees));
    Ok(match (mask, causal) {
        (AttentionMask::None, None) => AttentionMask::None,
        (AttentionMask::None, Some(causal)) => AttentionMask::Keep(causal),
        (AttentionMask::Keep(keep), None) => {
            AttentionMask::Keep(widened(beside, &keep, keys, true)?)
        }
        (AttentionMask::Keep(keep), Some(causal)) => {
            AttentionMask::Keep(and(beside, &widened(beside, &keep, keys, true)?, &causal)?)
        }
        (AttentionMask::Add(add), None) => {
            AttentionMask::Add(widened(beside, &add, keys, T::ZERO)?)
        }
        (AttentionMask::Add(add), Some(causal)) => {
            let later = causal.map(|sees: bool| if sees { T::ZERO } else { T::LOWEST });
            AttentionMask::Add(widened(beside, &add, keys, T::ZERO)?.add(&later)?)
        }
    })
}
