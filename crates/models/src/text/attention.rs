//! Attention with several heads, for projections that a network names itself.

use dendra_autograd::Var;
use dendra_nn::KeyValueCache;
use dendra_tensor::{AttentionMask, AttentionOptions, Error, Ops, Result, Tensor};

use super::rotary::Turns;

/// The options of a call.
#[derive(Default)]
pub(super) struct Attend<'a> {
    /// The heads of the queries.
    pub(super) num_heads: usize,
    /// The heads of keys and values, each of which serves a group of queries.
    pub(super) num_key_value_heads: usize,
    /// The factor of the products (1/√width).
    pub(super) scale: Option<f64>,
    /// The probability with which a weight is left out in training.
    pub(super) dropout: f64,
    /// Whether a token sees only itself and those before it.
    pub(super) causal: bool,
    /// Which tokens are no padding, `[N, S]`.
    pub(super) mask: Option<&'a Tensor<bool>>,
    /// How queries and keys turn by their positions.
    pub(super) turns: Option<&'a Turns>,
    /// The keys and values of the tokens before.
    pub(super) cache: Option<&'a mut KeyValueCache>,
}

/// Refuses a width that does not divide into the heads.
pub(super) fn check_heads(kind: &str, width: usize, heads: usize) -> Result<()> {
    match heads > 0 && width.is_multiple_of(heads) {
        true => Ok(()),
        false => {
            let message = format!("a width of {width} does not divide into {heads} heads");
            Err(Error::argument(kind, message))
        }
    }
}

/// `[N, L, heads · width]` as `[N, heads, L, width]`.
fn split(x: &Var, heads: usize) -> Result<Var> {
    let &[samples, length, width] = &x.shape()[..] else {
        return Err(Error::shape("attention", format!("expected [N, L, E], got {}", x.shape())));
    };
    x.reshape([samples, length, heads, width / heads.max(1)])?.transpose(1, 2)
}

/// Attention of projected queries to projected keys and values, `[N, L, heads ·
/// width]`.
pub(super) fn attend([q, k, v]: [Var; 3], options: Attend<'_>) -> Result<Var> {
    let (heads, groups) = (options.num_heads, options.num_key_value_heads);
    let (mut q, mut k, mut v) = (split(&q, heads)?, split(&k, groups)?, split(&v, groups)?);
    if let Some(turns) = options.turns {
        (q, k) = (turns.turn(&q)?, turns.turn(&k)?);
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
    // A single new token sees all of them.
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

/// Each head `[N, heads, S, width]` so many times one after the other.
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
