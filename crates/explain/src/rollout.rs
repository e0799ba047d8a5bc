//! Attention weights and attention rollout.

use dendra_nn::{Executed, Model, Output, Trace};
use dendra_tensor::ops::Parents;
use dendra_tensor::{Error, Float, Ops, Result, Tensor, Tensors};

/// The weights of each attention of a model for a batch of inputs, in the order
/// of computation: `[N, heads, L, S]`, or `[N, L, S]` without heads.
///
/// # Errors
///
/// When the model cannot be traced.
pub fn attention_weights<T: Float, I: Tensors, M: Model<I, T>>(
    model: &M,
    inputs: &I,
) -> Result<Vec<Tensor<T>>>
where
    <M::Output as Output>::Values: Tensors,
{
    let trace = Trace::of(model, inputs)?;
    let mut weights = Vec::new();
    trace.replay_watched(inputs, &mut |executed: &Executed<'_, T>| {
        let Some(call) = executed.call.filter(|call| call.name() == NAME) else { return Ok(()) };
        let [query, key, _] = call.inputs() else { return Ok(()) };
        // The weights are the output of the attention for values of a unit
        // matrix.
        let &[.., keys, _] = &key.shape()[..] else { return Ok(()) };
        let mut shape = key.shape().to_vec();
        shape[key.rank() - 1] = keys;
        let unit = Tensor::eye(keys).broadcast_to(shape)?.contiguous();
        let call = call.replay(&[query, key, &unit], Parents::from_elem(None, 3))?;
        weights.push(call.output().clone());
        Ok(())
    })?;
    Ok(weights)
}

const NAME: &str = "scaled_dot_product_attention";

/// The share of each input position in each position of a sequence of length L,
/// through all attentions of the model, `[N, L, L]` (Abnar and Zuidema, 2020).
/// The weights are averaged over the heads, and half of each attention is the
/// residual connection.
///
/// # Errors
///
/// When the model cannot be traced, has no attention, or has an attention whose
/// queries and keys have different positions.
pub fn attention_rollout<T: Float, I: Tensors, M: Model<I, T>>(
    model: &M,
    inputs: &I,
) -> Result<Tensor<T>>
where
    <M::Output as Output>::Values: Tensors,
{
    let mut rollout: Option<Tensor<T>> = None;
    for weights in attention_weights(model, inputs)? {
        let heads: Vec<isize> = (1..weights.rank() as isize - 2).collect();
        let weights = if heads.is_empty() { weights } else { weights.mean_axes(&heads, false)? };
        let &[_, rows, columns] = &weights.shape()[..] else { return Err(refused(&weights)) };
        if rows != columns {
            return Err(refused(&weights));
        }
        let half = weights.add(&Tensor::eye(rows))?.mul_scalar(0.5);
        rollout = Some(match rollout {
            None => half,
            Some(before) => half.matmul(&before)?,
        });
    }
    let missing =
        || Error::argument("attention_rollout", "expected a model with attention, found none");
    rollout.ok_or_else(missing)
}

fn refused<T: Float>(weights: &Tensor<T>) -> Error {
    let message = format!("expected attention weights [N, L, L], got {}", weights.shape());
    Error::shape("attention_rollout", message)
}
