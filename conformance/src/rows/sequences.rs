//! Layers over sequences: embeddings, recurrent layers, attention, transformers.

use dendra_autograd::Var;
use dendra_nn::*;
use dendra_tensor::{AttentionMask, Float, Result, Rng, Tensor};
use serde_json::Value;

use super::{Row, rows};
use crate::argument::{Any, Argument, Mask};
use crate::call::{Call, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = recurrent();
    rows.extend(attention());
    rows
}

fn recurrent<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.Embedding" (
            num_embeddings: usize, embedding_dim: usize, padding_idx: Option<usize> = None,
            input: Tensor<i64>,
        ) => {
            let settings = Embedding::new(num_embeddings, embedding_dim);
            let settings = padding_idx.map_or(settings.clone(), |row| settings.padding_idx(row));
            let table = settings.init_as::<T>(&mut Rng::seed(0))?;
            call.module(table, |table| table.lookup(&input, Some(call.tape())))
        };
        "nn.RNNCell" (
            input_size: usize, hidden_size: usize, bias: bool = true,
            nonlinearity: RecurrentNonlinearity = RecurrentNonlinearity::Tanh, input: Var<T>,
            hx: Option<State<T>> = None,
        ) => {
            let cell = RNNCell::new(input_size, hidden_size).bias(bias);
            step(call, cell.nonlinearity(nonlinearity), &input, hx)
        };
        "nn.GRUCell" (
            input_size: usize, hidden_size: usize, bias: bool = true, input: Var<T>,
            hx: Option<State<T>> = None,
        ) => step(call, GRUCell::new(input_size, hidden_size).bias(bias), &input, hx);
        "nn.LSTMCell" (
            input_size: usize, hidden_size: usize, bias: bool = true, input: Var<T>,
            hx: Option<State<T>> = None,
        ) => step(call, LSTMCell::new(input_size, hidden_size).bias(bias), &input, hx);
        "nn.RNN" (
            input_size: usize, hidden_size: usize, num_layers: usize = 1, bias: bool = true,
            batch_first: bool = false, bidirectional: bool = false,
            nonlinearity: RecurrentNonlinearity = RecurrentNonlinearity::Tanh, input: Var<T>,
            hx: Option<State<T>> = None,
        ) => {
            let settings = RNN::new(input_size, hidden_size).num_layers(num_layers).bias(bias);
            let settings = settings.batch_first(batch_first).bidirectional(bidirectional);
            sequence(call, settings.nonlinearity(nonlinearity), &input, hx)
        };
        "nn.GRU" (
            input_size: usize, hidden_size: usize, num_layers: usize = 1, bias: bool = true,
            batch_first: bool = false, bidirectional: bool = false, input: Var<T>,
            hx: Option<State<T>> = None,
        ) => {
            let settings = GRU::new(input_size, hidden_size).num_layers(num_layers).bias(bias);
            let settings = settings.batch_first(batch_first).bidirectional(bidirectional);
            sequence(call, settings, &input, hx)
        };
        "nn.LSTM" (
            input_size: usize, hidden_size: usize, num_layers: usize = 1, bias: bool = true,
            batch_first: bool = false, bidirectional: bool = false, proj_size: usize = 0,
            input: Var<T>, hx: Option<State<T>> = None,
        ) => {
            let settings = LSTM::new(input_size, hidden_size).num_layers(num_layers).bias(bias);
            let settings = settings.batch_first(batch_first).bidirectional(bidirectional);
            let settings = if proj_size > 0 { settings.proj_size(proj_size) } else { settings };
            sequence(call, settings, &input, hx)
        };
    }
}

/// The initial state of a recurrent layer.
struct State<T: Float>(RecurrentState<T>);

impl<T: Float> Argument<T> for State<T> {
    const KIND: &str = "a state";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        let parts: Vec<Var<T>> = Argument::<T>::read(value, call)?;
        let mut parts = parts.into_iter();
        Some(Self(RecurrentState { h: parts.next()?, c: parts.next() }))
    }
}

impl<T: Float> Argument<T> for RecurrentNonlinearity {
    const KIND: &str = "a nonlinearity";

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        match value.as_str()? {
            "relu" => Some(Self::ReLU),
            "tanh" => Some(Self::Tanh),
            _ => None,
        }
    }
}

type StateOutputs<T> = (Var<T>, Option<Var<T>>);

fn step<T: Float, const GATES: usize>(
    call: &Call<'_, T>,
    settings: CellSettings<GATES>,
    input: &Var<T>,
    state: Option<State<T>>,
) -> Result<StateOutputs<T>, Stop> {
    let cell = settings.init_as::<T>(&mut Rng::seed(0))?;
    call.module(cell, |cell| {
        let state = cell.step(input, state.as_ref().map(|State(state)| state))?;
        Ok((state.h, state.c))
    })
}

fn sequence<T: Float, const GATES: usize>(
    call: &Call<'_, T>,
    settings: RecurrentSettings<GATES>,
    input: &Var<T>,
    state: Option<State<T>>,
) -> Result<(Var<T>, StateOutputs<T>), Stop> {
    let layer = settings.init_as::<T>(&mut Rng::seed(0))?;
    call.module(layer, |layer| {
        let (y, last) = layer.run(input, state.as_ref().map(|State(state)| state), None)?;
        Ok((y, (last.h, last.c)))
    })
}

fn attention<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.MultiheadAttention" (
            embed_dim: usize, num_heads: usize, dropout: f64 = 0.0, bias: bool = true,
            add_bias_kv: bool = false, add_zero_attn: bool = false, kdim: Option<usize> = None,
            vdim: Option<usize> = None, batch_first: bool = false, query: Var<T>, key: Var<T>,
            value: Var<T>, key_padding_mask: Option<Mask<T>> = None, need_weights: bool = true,
            attn_mask: Option<Mask<T>> = None, average_attn_weights: bool = true,
            is_causal: bool = false,
        ) => {
            let settings = MultiheadAttention::new(embed_dim, num_heads)
                .dropout(dropout)
                .bias(bias)
                .add_bias_kv(add_bias_kv)
                .add_zero_attn(add_zero_attn)
                .batch_first(batch_first);
            let settings = kdim.map_or(settings.clone(), |width| settings.kdim(width));
            let settings = vdim.map_or(settings.clone(), |width| settings.vdim(width));
            let attention = settings.init_as::<T>(&mut Rng::seed(0))?;
            let (mask, padding) = (mask(attn_mask)?, ignored(key_padding_mask)?);
            let options = || Attend {
                mask: mask.clone(),
                key_padding_mask: padding.as_ref(),
                is_causal,
                cache: None,
            };
            call.module::<_, (Var<T>, Option<Var<T>>)>(attention, |attention| match need_weights {
                false => Ok((attention.attend(&query, &key, &value, options())?, None)),
                true => {
                    let which = match average_attn_weights {
                        true => AttentionWeights::Averaged,
                        false => AttentionWeights::PerHead,
                    };
                    attention
                        .attend_with_weights(&query, &key, &value, options(), which)
                        .map(|(y, weights)| (y, Some(weights)))
                }
            })
        };
        "nn.TransformerEncoderLayer" (
            d_model: usize, nhead: usize, dim_feedforward: usize = 2048, dropout: f64 = 0.1,
            activation: FeedForwardActivation = FeedForwardActivation::ReLU,
            layer_norm_eps: f64 = 1e-5, batch_first: bool = false, norm_first: bool = false,
            bias: bool = true, src: Var<T>, src_mask: Option<Mask<T>> = None,
            src_key_padding_mask: Option<Mask<T>> = None, is_causal: bool = false,
        ) => {
            let settings = TransformerEncoderLayer::new(d_model, nhead)
                .dim_feedforward(dim_feedforward)
                .dropout(dropout)
                .activation(activation)
                .layer_norm_eps(layer_norm_eps)
                .batch_first(batch_first)
                .norm_first(norm_first)
                .bias(bias);
            let encoder = settings.init_encoder_as::<T>(&mut Rng::seed(0))?;
            let (mask, padding) = (mask(src_mask)?, ignored(src_key_padding_mask)?);
            let options =
                Attend { mask, key_padding_mask: padding.as_ref(), is_causal, cache: None };
            call.module(encoder, |encoder| encoder.encode(&src, options))
        };
        "nn.TransformerEncoder" (
            encoder_layer: Layer, num_layers: usize, src: Var<T>, mask: Option<Mask<T>> = None,
            src_key_padding_mask: Option<Mask<T>> = None, is_causal: Option<bool> = None,
        ) => {
            let encoder = encoder_layer.0.stack_encoder::<T>(num_layers, &mut Rng::seed(0))?;
            let (mask, padding) = (self::mask(mask)?, ignored(src_key_padding_mask)?);
            let options = Attend {
                mask,
                key_padding_mask: padding.as_ref(),
                is_causal: is_causal.unwrap_or(false),
                cache: None,
            };
            call.module(encoder, |encoder| encoder.encode(&src, &options))
        };
        "nn.TransformerDecoderLayer" (
            d_model: usize, nhead: usize, dim_feedforward: usize = 2048, dropout: f64 = 0.1,
            activation: FeedForwardActivation = FeedForwardActivation::ReLU,
            layer_norm_eps: f64 = 1e-5, batch_first: bool = false, norm_first: bool = false,
            bias: bool = true, tgt: Var<T>, memory: Var<T>, tgt_mask: Option<Mask<T>> = None,
            memory_mask: Option<Mask<T>> = None, tgt_key_padding_mask: Option<Mask<T>> = None,
            memory_key_padding_mask: Option<Mask<T>> = None, tgt_is_causal: bool = false,
        ) => {
            let settings = TransformerDecoderLayer::new(d_model, nhead)
                .dim_feedforward(dim_feedforward)
                .dropout(dropout)
                .activation(activation)
                .layer_norm_eps(layer_norm_eps)
                .batch_first(batch_first)
                .norm_first(norm_first)
                .bias(bias);
            let decoder = settings.init_decoder_as::<T>(&mut Rng::seed(0))?;
            let padding = ignored(tgt_key_padding_mask)?;
            let memory_padding = ignored(memory_key_padding_mask)?;
            let options = Decode {
                mask: mask(tgt_mask)?,
                key_padding_mask: padding.as_ref(),
                is_causal: tgt_is_causal,
                memory_mask: mask(memory_mask)?,
                memory_key_padding_mask: memory_padding.as_ref(),
            };
            call.module(decoder, |decoder| decoder.decode(&tgt, &memory, options))
        };
        "nn.Transformer" (
            d_model: usize, nhead: usize, num_encoder_layers: usize = 6,
            num_decoder_layers: usize = 6, dim_feedforward: usize = 2048, dropout: f64 = 0.1,
            activation: FeedForwardActivation = FeedForwardActivation::ReLU,
            layer_norm_eps: f64 = 1e-5, batch_first: bool = false, norm_first: bool = false,
            bias: bool = true, src: Var<T>, tgt: Var<T>, src_mask: Option<Mask<T>> = None,
            tgt_mask: Option<Mask<T>> = None, memory_mask: Option<Mask<T>> = None,
            src_key_padding_mask: Option<Mask<T>> = None,
            tgt_key_padding_mask: Option<Mask<T>> = None,
            memory_key_padding_mask: Option<Mask<T>> = None,
        ) => {
            let settings = Transformer::new(d_model, nhead)
                .num_encoder_layers(num_encoder_layers)
                .num_decoder_layers(num_decoder_layers)
                .dim_feedforward(dim_feedforward)
                .dropout(dropout)
                .activation(activation)
                .layer_norm_eps(layer_norm_eps)
                .batch_first(batch_first)
                .norm_first(norm_first)
                .bias(bias);
            let model = settings.init_as::<T>(&mut Rng::seed(0))?;
            let source_padding = ignored(src_key_padding_mask)?;
            let target_padding = ignored(tgt_key_padding_mask)?;
            let memory_padding = ignored(memory_key_padding_mask)?;
            let encode = Attend {
                mask: mask(src_mask)?,
                key_padding_mask: source_padding.as_ref(),
                ..Attend::default()
            };
            let decode = Decode {
                mask: mask(tgt_mask)?,
                key_padding_mask: target_padding.as_ref(),
                is_causal: false,
                memory_mask: mask(memory_mask)?,
                memory_key_padding_mask: memory_padding.as_ref(),
            };
            call.module(model, |model| model.forward(&src, &tgt, &encode, decode))
        };
    }
}

/// The mask of a module, in which true means "not used".
fn mask<T: Float>(given: Option<Mask<T>>) -> Result<AttentionMask<T>, Stop> {
    match given {
        Some(Mask(Any::Bool(hidden))) => Ok(AttentionMask::Keep(hidden.logical_not())),
        other => super::functional::mask(other),
    }
}

/// Keys that are not used.
fn ignored<T: Float>(given: Option<Mask<T>>) -> Result<Option<Tensor<bool>>, Stop> {
    match given {
        None => Ok(None),
        Some(Mask(Any::Bool(hidden))) => Ok(Some(hidden)),
        Some(_) => Err(Stop::inexpressible("numbers added to the scores of padding")),
    }
}

/// The arguments with which a layer of an encoder was made.
struct Layer(TransformerSettings);

impl<T: Float> Argument<T> for Layer {
    const KIND: &str = "a layer of an encoder";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        let size = |name| value[name].as_u64().map(|size| size as usize);
        let flag = |name| value[name].as_bool();
        let settings = TransformerEncoderLayer::new(size("d_model")?, size("nhead")?)
            .dim_feedforward(size("dim_feedforward")?)
            .dropout(value["dropout"].as_f64()?)
            .activation(Argument::<T>::read(&value["activation"], call)?)
            .layer_norm_eps(value["layer_norm_eps"].as_f64()?)
            .batch_first(flag("batch_first")?)
            .norm_first(flag("norm_first")?)
            .bias(flag("bias")?);
        Some(Self(settings))
    }
}

impl<T: Float> Argument<T> for FeedForwardActivation {
    const KIND: &str = "an activation";

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        match value.as_str().or(value["callable"].as_str())? {
            "relu" => Some(Self::ReLU),
            "gelu" => Some(Self::GELU),
            _ => None,
        }
    }
}
