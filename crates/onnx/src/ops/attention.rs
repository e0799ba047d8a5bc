//! Attention and rotary positions.

use dendra_autograd::Var;
use dendra_tensor::{Float, Ops, Result, Shape, Tensor};

use super::arithmetic::add_two;
use super::cast::convert;
use super::linear::product;
use super::normalisation::wider;
use super::{Operator, many, of, one};
use crate::call::Call;
use crate::tensor::{Data, TypedTensor, each, float, floats};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    many("Attention", attention),
    of("ai.onnx.preview", one("FlexAttention", flex_attention)),
    many("LinearAttention", linear_attention),
    one("RotaryEmbedding", rotary),
];

/// Reshapes `[batch, length, heads · size]` to `[batch, heads, length, size]`.
fn by_head(x: &TypedTensor, heads: Option<i64>) -> Result<TypedTensor> {
    let &[batch, length, width] = &x.shape()[..] else { return Ok(x.clone()) };
    let heads = heads.and_then(|heads| usize::try_from(heads).ok()).filter(|&heads| heads > 0);
    match heads.filter(|heads| width % heads == 0) {
        Some(heads) => x.reshape([batch, length, heads, width / heads])?.permute(&[0, 2, 1, 3]),
        None => Err(x.unexpected("a width that divides into the heads")),
    }
}

/// Repeats each head, for queries with more heads than keys and values.
fn repeated(x: &TypedTensor, heads: usize) -> Result<TypedTensor> {
    let own = x.shape()[1];
    if own == heads || own == 0 || !heads.is_multiple_of(own) {
        return Ok(x.clone());
    }
    let indices: Vec<usize> = (0..heads).map(|head| head / (heads / own)).collect();
    Ok(each!(x, x => x.index_select(1, &indices)?))
}

/// q·kᵀ · scale. The factor is split between both operands, which keeps narrow
/// floats in their range.
fn scores(q: &TypedTensor, k: &TypedTensor, scale: f64) -> Result<TypedTensor> {
    let root = scale.sqrt();
    let scaled = |x: &TypedTensor| float!(x, x => x.mul_scalar(root));
    let k = scaled(k)?;
    product(&scaled(q)?, &each!(&k, x => x.transpose(-2, -1)?))
}

fn attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let query = call.tensor(0)?;
    let (q_heads, kv_heads) = (call.optional_int("q_num_heads"), call.optional_int("kv_num_heads"));
    let is_flat = query.rank() == 3;
    let q = by_head(query, q_heads)?;
    let joined = |new: usize, past: usize| -> Result<TypedTensor> {
        let new = by_head(call.tensor(new)?, kv_heads)?;
        match call.optional(past)? {
            Some(past) => TypedTensor::cat(&[past, &new], 2),
            None => Ok(new),
        }
    };
    let (present_key, present_value) = (joined(1, 4)?, joined(2, 5)?);
    let fits = |x: &TypedTensor| x.rank() == 4 && x.shape()[0] == q.shape()[0];
    if q.rank() != 4 || !fits(&present_key) || !fits(&present_value) {
        return call.refuse("expected queries, keys and values of 3 or 4 axes");
    }
    let heads = q.shape()[1];
    let (wide_q, k, v) = (
        wider(&q)?,
        repeated(&wider(&present_key)?, heads)?,
        repeated(&wider(&present_value)?, heads)?,
    );
    let size = q.shape()[3] as f64;
    let products = scores(&wide_q, &k, call.float("scale", 1.0 / size.sqrt()))?;
    let cap = call.float("softcap", 0.0);
    let capped = if cap > 0.0 {
        float!(&products, x => x.mul_scalar(1.0 / cap).tanh().mul_scalar(cap))?
    } else {
        products
    };
    let biased = match bias(call, &wide_q, k.shape()[2])? {
        Some(bias) => add_two(&capped, &bias)?,
        None => capped.clone(),
    };
    let weights = float!(&biased, x => x.softmax(-1)?)?;
    let y = convert(&product(&weights, &v)?, query.element(), false)?;
    let y = if is_flat {
        let &[batch, heads, length, size] = &y.shape()[..] else {
            return call.refuse("expected 4 axes");
        };
        y.permute(&[0, 2, 1, 3])?.reshape([batch, length, heads * size])?
    } else {
        y
    };
    let shown = match call.int("qk_matmul_output_mode", 0) {
        2 => biased,
        3 => weights,
        _ => capped,
    };
    let shown = convert(&shown, query.element(), false)?;
    Ok(vec![y.into(), present_key.into(), present_value.into(), shown.into()])
}

/// The term that is added to the scores: the mask, −∞ for later steps, −∞ for
/// padding.
fn bias(call: &Call<'_>, q: &TypedTensor, keys: usize) -> Result<Option<TypedTensor>> {
    let (batch, length) = (q.shape()[0], q.shape()[2]);
    let mut bias = match call.optional(3)? {
        None => None,
        Some(mask) => {
            // Keys after the end of the mask are not used.
            let short = keys.saturating_sub(mask.shape().last().copied().unwrap_or(keys));
            let mask = match &mask.data {
                Data::Bool(mask) => {
                    let mask = mask.map(|used| if used { 0.0 } else { f64::NEG_INFINITY });
                    TypedTensor::real(q.element(), mask)
                }
                _ => convert(mask, q.element(), false)?,
            };
            let mask = if short > 0 {
                let mut shape = mask.shape().to_vec();
                if let Some(last) = shape.last_mut() {
                    *last = short;
                }
                let rest = Tensor::try_full(shape, f64::NEG_INFINITY)?;
                let axis = mask.rank() - 1;
                TypedTensor::cat(&[&mask, &TypedTensor::real(q.element(), rest)], axis)?
            } else {
                mask
            };
            Some(mask)
        }
    };
    let mut add = |more: Tensor<f64>| -> Result<()> {
        let more = TypedTensor::real(q.element(), more);
        bias = Some(match &bias {
            Some(bias) => add_two(bias, &more)?,
            None => more,
        });
        Ok(())
    };
    let hidden = |is_hidden: bool| if is_hidden { f64::NEG_INFINITY } else { 0.0 };
    if call.flag("is_causal") {
        let past = call.optional(4)?.map_or(0, |past| past.shape()[2]);
        let later = |i: usize| hidden(i % keys > i / keys + past);
        add(Tensor::from_fn([length, keys], later))?;
    }
    if let Some(lengths) = call.optional_integers(6)? {
        if lengths.len() != batch {
            return call.refuse(format!("expected {batch} lengths, got {}", lengths.len()));
        }
        let padding = |i: usize| hidden((i % keys) as i64 >= lengths[i / keys]);
        add(Tensor::from_fn([batch, 1, 1, keys], padding))?;
    }
    Ok(bias)
}

/// Attention with graphs that change the scores and weights.
fn flex_attention(call: &Call<'_>) -> Result<TypedTensor> {
    let [q, k, v] = [call.tensor(0)?, call.tensor(1)?, call.tensor(2)?];
    if [q, k, v].iter().any(|x| x.rank() != 4) {
        return call.refuse("expected queries, keys and values of 4 axes");
    }
    let heads = q.shape()[1];
    let (k, wide_v) = (repeated(k, heads)?, repeated(&wider(v)?, heads)?);
    let size = q.shape()[3] as f64;
    let mut x = wider(&scores(q, &k, call.float("scale", 1.0 / size.sqrt()))?)?;
    if call.has_graph("score_mod") {
        x = changed(call, "score_mod", x)?;
    }
    x = float!(&x, x => x.softmax(-1)?)?;
    if call.has_graph("prob_mod") {
        x = changed(call, "prob_mod", x)?;
    }
    convert(&product(&x, &wide_v)?, v.element(), false)
}

fn changed(call: &Call<'_>, graph: &str, x: TypedTensor) -> Result<TypedTensor> {
    let element = x.element();
    match &call.graph(graph)?.run(vec![x.into()])?[..] {
        [y] => convert(y.tensor()?, element, false),
        outputs => call.refuse(format!("{graph} has {} outputs instead of one", outputs.len())),
    }
}

/// A recurrent state of keys and values that queries read (Yang et al., "Gated
/// delta networks", 2024, and its special cases).
fn linear_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let query = call.tensor(0)?;
    let rule = call.text("update_rule", "gated_delta");
    let (q_heads, heads) = (call.int("q_num_heads", 0), call.int("kv_num_heads", 0));
    if heads <= 0 || q_heads <= 0 || q_heads % heads != 0 {
        return call.refuse(format!("{q_heads} heads of queries do not fit {heads} heads"));
    }
    let single = |x: &TypedTensor| convert(x, crate::ElementType::F32, false);
    let q = by_head(&single(query)?, Some(q_heads))?;
    let k = by_head(&single(call.tensor(1)?)?, Some(heads))?;
    let v = by_head(&single(call.tensor(2)?)?, Some(heads))?;
    let (&[batch, _, length, size], &[.., width]) = (&q.shape()[..], &v.shape()[..]) else {
        return call.refuse("expected queries of 3 axes");
    };
    let gate = |index: usize, parts: i64| -> Result<Option<TypedTensor>> {
        let Some(x) = call.optional(index)? else { return Ok(None) };
        by_head(&single(x)?, Some(parts)).map(Some)
    };
    let is_gated = matches!(rule, "gated" | "gated_delta");
    let is_delta = matches!(rule, "delta" | "gated_delta");
    let decay = gate(4, heads)?;
    let beta = match call.optional(5)? {
        Some(beta) if beta.shape().last() == Some(&1) => gate(5, 1)?,
        _ => gate(5, heads)?,
    };
    let past = call.optional(3)?;
    let mut state = match past {
        Some(past) => single(past)?.f32()?.clone(),
        None => Var::new(Tensor::try_full([batch, heads as usize, size, width], 0.0_f32)?),
    };
    let scale = match call.float("scale", 0.0) {
        0.0 => 1.0 / (size as f64).sqrt(),
        scale => scale,
    };
    // A step as a column [batch, heads, size, 1] or a row [batch, heads, 1, size].
    let row = |x: &TypedTensor, step: usize| x.f32()?.narrow(2, step, 1);
    let column = |x: &TypedTensor, step: usize| row(x, step)?.transpose(2, 3);
    let group = (q_heads / heads) as usize;
    let indices: Vec<usize> = (0..q_heads as usize).map(|head| head / group).collect();
    let mut outputs = Vec::with_capacity(length);
    for step in 0..length {
        let key = column(&k, step)?;
        let mut value = row(&v, step)?;
        if let (true, Some(decay)) = (is_gated, &decay) {
            state = state.mul(&column(decay, step)?.exp())?;
        }
        if let (true, Some(beta)) = (is_delta, &beta) {
            let found = key.transpose(2, 3)?.matmul(&state)?;
            value = value.sub(&found)?.mul(&row(beta, step)?)?;
        }
        state = state.add(&key.matmul(&value)?)?;
        let read = if group == 1 { state.clone() } else { state.index_select(1, &indices)? };
        outputs.push(row(&q, step)?.matmul(&read)?.mul_scalar(scale));
    }
    let y: TypedTensor = Var::cat(&outputs.iter().collect::<Vec<_>>(), 2)?.into();
    let y = y.permute(&[0, 2, 1, 3])?.reshape([batch, length, q_heads as usize * width])?;
    let element = past.map_or(query.element(), TypedTensor::element);
    Ok(vec![
        convert(&y, query.element(), false)?.into(),
        convert(&state.into(), element, false)?.into(),
    ])
}

/// Rotary positions (Su et al., "RoFormer", 2021).
fn rotary(call: &Call<'_>) -> Result<TypedTensor> {
    let input = call.tensor(0)?;
    // As [batch, length, heads, size].
    let (x, is_flat) = match &input.shape()[..] {
        &[batch, length, width] => {
            let heads = call.int("num_heads", 0);
            match usize::try_from(heads).ok().filter(|&h| h > 0 && width % h == 0) {
                Some(heads) => (input.reshape([batch, length, heads, width / heads])?, true),
                None => return call.refuse(format!("{width} does not divide into {heads} heads")),
            }
        }
        [_, _, _, _] => (input.permute(&[0, 2, 1, 3])?, false),
        _ => return call.refuse(format!("expected 3 or 4 axes, got shape {}", input.shape())),
    };
    let size = x.shape()[3];
    let turned = match usize::try_from(call.int("rotary_embedding_dim", 0)) {
        Ok(0) => size,
        Ok(turned) if turned <= size => turned,
        _ => return call.refuse("rotary_embedding_dim is larger than a head"),
    };
    let cache = |index: usize| -> Result<TypedTensor> {
        let cache = call.tensor(index)?;
        let cache = match call.optional(3)? {
            None => cache.clone(),
            Some(positions) => {
                let rows = positions.wholes()?.to_vec();
                let rows: Vec<usize> =
                    rows.into_iter().map(|i| usize::try_from(i).unwrap_or(usize::MAX)).collect();
                let width = cache.shape().last().copied().unwrap_or(0);
                let shape: Shape = positions.shape().iter().copied().chain([width]).collect();
                each!(cache, x => x.index_select(0, &rows)?.reshape(&shape)?)
            }
        };
        let &[batch, length, half] = &cache.shape()[..] else {
            return call.refuse(format!("expected a cache of 3 axes, got {}", cache.shape()));
        };
        cache.reshape([batch, length, 1, half])
    };
    let (cos, sin) = (cache(1)?, cache(2)?);
    let interleaved = call.flag("interleaved");
    let y = floats!(&x, [cos, sin], |x, others| {
        turn(x, others[0], others[1], turned, interleaved)?
    })?;
    if is_flat { y.reshape(input.shape()) } else { y.permute(&[0, 2, 1, 3]) }
}

/// Rotates pairs of the first `turned` elements of each head.
fn turn<T: Float>(
    x: &Var<T>,
    cos: &Var<T>,
    sin: &Var<T>,
    turned: usize,
    interleaved: bool,
) -> Result<Var<T>> {
    let (rest, half) = (x.shape()[3] - turned, turned / 2);
    let part = |first: usize| match interleaved {
        true => x.slice(3, first as isize, Some(turned as isize), 2),
        false => x.narrow(3, first * half, half),
    };
    let (a, b) = (part(0)?, part(1)?);
    let real = cos.mul(&a)?.sub(&sin.mul(&b)?)?;
    let imaginary = sin.mul(&a)?.add(&cos.mul(&b)?)?;
    let y = if interleaved {
        let shape: Shape = x.shape()[..3].iter().copied().chain([turned]).collect();
        Var::cat(&[&real.unsqueeze(4)?, &imaginary.unsqueeze(4)?], 4)?.reshape(shape)?
    } else {
        Var::cat(&[&real, &imaginary], 3)?
    };
    if rest == 0 { Ok(y) } else { Var::cat(&[&y, &x.narrow(3, turned, rest)?], 3) }
}
