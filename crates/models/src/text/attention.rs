//! Multi-head attention, for networks with their own names of the projections.

use dendra_autograd::Var;
use dendra_nn::KeyValueCache;
use dendra_tensor::{AttentionMask, AttentionOptions, Error, Ops, Result, Tensor};

use super::rotary::Rotations;

/// The options of a call.
#[derive(Default)]
pub(super) struct Attend<'a> {
    /// The number of heads of the queries.
    pub(super) num_heads: usize,
    /// The number of heads of keys and values. Each serves a group of queries.
    pub(super) num_key_value_heads: usize,
    /// The factor of the products (1/√width).
    pub(super) scale: Option<f64>,
    /// The probability of dropping an attention weight in training.
    pub(super) dropout: f64,
    /// Whether a token attends only to itself and earlier tokens.
    pub(super) causal: bool,
    /// Which tokens are not padding, `[N, S]`.
    pub(super) mask: Option<&'a Tensor<bool>>,
    /// The rotation of queries and keys by their positions.
    pub(super) rotations: Option<&'a Rotations>,
    /// The cached keys and values of earlier tokens.
    pub(super) cache: Option<&'a mut KeyValueCache>,
}

/// Returns an error if the width is not a multiple of the number of heads.
pub(super) fn check_heads(kind: &str, width: usize, heads: usize) -> Result<()> {
    match heads > 0 && width.is_multiple_of(heads) {
        true => Ok(()),
        false => {
            let message =
                format!("expected a width that is a multiple of {heads} heads, got {width}");
            Err(Error::argument(kind, message))
        }
    }
}

/// Reshapes `[N, L, heads · width]` to `[N, heads, L, width]`.
fn split(x: &Var, heads: usize) -> Result<Var> {
    let &[samples, length, width] = &x.shape()[..] else {
        return Err(Error::shape("attention", format!("expected [N, L, E], got {}", x.shape())));
    };
    x.reshape([samples, length, heads, width / heads.max(1)])?.transpose(1, 2)
}

/// Attends from projected queries to projected keys and values,
/// `[N, L, heads · width]`.
pub(super) fn attend([q, k, v]: [Var; 3], options: Attend<'_>) -> Result<Var> {
    let (heads, groups) = (options.num_heads, options.num_key_value_heads);
    let (mut q, mut k, mut v) = (split(&q, heads)?, split(&k, groups)?, split(&v, groups)?);
    if let Some(rotations) = options.rotations {
        (q, k) = (rotations.rotate(&q)?, rotations.rotate(&k)?);
    }
    let length = q.shape()[2];
    let mut past = 0;
    if let Some(cache) = options.cache {
        past = cache.len();
        [k, v] = cache.extend([k, v])?;
    }
    if groups < heads {
        (k, v) = (repeated(&k, heads / groups)?, repeated(&v, heads / groups)?);
    }
    let keys = past + length;
    // A single new token attends to all tokens.
    let is_causal = options.causal && past == 0 && length > 1;
    let mut keep = match options.mask {
        Some(mask) => Some(mask.reshape([mask.shape()[0], 1, 1, keys])?),
        None => None,
    };
    if options.causal && past > 0 && length > 1 {
        let seen = Tensor::from_fn([1, 1, length, keys], |i| i % keys <= past + i / keys);
        keep = Some(match keep {
            Some(keep) => keep.logical_and(&seen)?,
            None => seen,
        });
    }
    let training = q.tape().filter(|tape| tape.is_training() && options.dropout > 0.0);
    let dropout = training.map(|tape| (options.dropout, tape.random_stream()));
    let mask = keep.map_or(AttentionMask::None, AttentionMask::Keep);
    let options = AttentionOptions { mask, is_causal, scale: options.scale, dropout };
    q.scaled_dot_product_attention(&k, &v, options)?.transpose(1, 2)?.flatten(2, 3)
}

/// Repeats each head of `[N, heads, S, width]` this many times.
fn repeated(x: &Var, times: usize) -> Result<Var> {
    let &[samples, heads, length, width] = &x.shape()[..] else {
        return Err(Error::shape("attention", format!("expected four axes, got {}", x.shape())));
    };
    x.unsqueeze(2)?.broadcast_to([samples, heads, times, length, width])?.reshape([
        samples,
        heads * times,
        length,
        width,
    ])
}
