//! The functions of `torch.nn.functional`, except losses.

use dendra_autograd::Var;
use dendra_nn::{
    AlphaDropout, BagMode, Dropout, Dropout2d, Dropout3d, EmbeddingBag, LocalResponseNorm, Module,
    PairwiseDistance,
};

use dendra_tensor::ops::lifted::{self, batched};
use dendra_tensor::ops::max_unpool::{max_pool_with_indices, max_unpool};
use dendra_tensor::{
    AttentionMask, AttentionOptions, ChannelStatistics, ConvOptions, ConvTransposeOptions, Float,
    NormStatistics, Ops, PoolOptions, Result, Rng, Tensor, UnfoldOptions,
};

use serde_json::Value;

use super::{Row, rows, spatial};
use crate::argument::{Any, Argument, Mask, State, each, sizes_or};
use crate::call::{Call, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = activations();
    rows.extend(products());
    rows.extend(pooling());
    rows.extend(normalisation());
    rows.extend(sequences());
    rows
}

fn activations<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.relu" (input: Var<T>) => input.relu();
        "nn.functional.relu6" (input: Var<T>) => input.relu6();
        "nn.functional.leaky_relu" (input: Var<T>, negative_slope: f64 = 0.01) => {
            input.leaky_relu(negative_slope)
        };
        "nn.functional.rrelu" (
            input: Var<T>, lower: f64 = 0.125, upper: f64 = 1.0 / 3.0, training: bool = false,
        ) => match training {
            false => Ok(input.leaky_relu((lower + upper) / 2.0)),
            true => Err(Stop::inexpressible("random numbers")),
        };
        "nn.functional.prelu" (input: Var<T>, weight: Var<T>) => input.prelu(&weight);
        "nn.functional.elu" (input: Var<T>, alpha: f64 = 1.0) => input.elu(alpha);
        "nn.functional.celu" (input: Var<T>, alpha: f64 = 1.0) => input.celu(alpha);
        "nn.functional.selu" (input: Var<T>) => input.selu();
        "nn.functional.gelu" (input: Var<T>, approximate: String = "none".into()) => {
            if approximate == "tanh" { input.gelu_tanh() } else { input.gelu() }
        };
        "nn.functional.silu" (input: Var<T>) => input.silu();
        "nn.functional.mish" (input: Var<T>) => input.mish();
        "nn.functional.softplus" (input: Var<T>, beta: f64 = 1.0, threshold: f64 = 20.0) => {
            input.softplus_scaled(beta, threshold)
        };
        "nn.functional.logsigmoid" (input: Var<T>) => input.log_sigmoid();
        "nn.functional.hardswish" (input: Var<T>) => input.hardswish();
        "nn.functional.hardsigmoid" (input: Var<T>) => input.hardsigmoid();
        "nn.functional.hardshrink" (input: Var<T>, lambd: f64 = 0.5) => input.hardshrink(lambd);
        "nn.functional.softshrink" (input: Var<T>, lambd: f64 = 0.5) => input.softshrink(lambd);
        "nn.functional.hardtanh" (input: Var<T>, min_val: f64 = -1.0, max_val: f64 = 1.0) => {
            input.hardtanh(min_val, max_val)
        };
        "nn.functional.tanhshrink" (input: Var<T>) => input.tanhshrink();
        "nn.functional.softsign" (input: Var<T>) => input.softsign();
        "nn.functional.threshold" (input: Var<T>, threshold: f64, value: f64) => {
            input.threshold(threshold, value)
        };
        "nn.functional.glu" (input: Var<T>, dim: isize = -1) => input.glu(dim);
        "nn.functional.dropout" (input: Var<T>, p: f64 = 0.5, training: bool = true) => {
            dropped(input, p, training, Dropout::new(p)?)
        };
        "nn.functional.dropout2d" (input: Var<T>, p: f64 = 0.5, training: bool = true) => {
            dropped(input, p, training, Dropout2d::new(p)?)
        };
        "nn.functional.dropout3d" (input: Var<T>, p: f64 = 0.5, training: bool = true) => {
            dropped(input, p, training, Dropout3d::new(p)?)
        };
        "nn.functional.alpha_dropout" (input: Var<T>, p: f64 = 0.5, training: bool = true) => {
            dropped(input, p, training, AlphaDropout::new(p)?)
        };
    }
}

/// The result of a dropout that is not random.
fn dropped<T: Float>(
    input: Var<T>,
    p: f64,
    training: bool,
    dropout: impl Module<T>,
) -> Result<Var<T>, Stop> {
    match training {
        false => Ok(input),
        true if p == 0.0 || p == 1.0 => Ok(dropout.forward(&input)?),
        true => Err(Stop::inexpressible("random numbers")),
    }
}

fn products<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.linear" (input: Var<T>, weight: Var<T>, bias: Option<Var<T>> = None) => {
            input.linear(&weight, bias.as_ref())
        };
        "nn.functional.bilinear" (
            input1: Var<T>, input2: Var<T>, weight: Var<T>, bias: Option<Var<T>> = None,
        ) => {
            let product = Var::einsum("...i,oij,...j->...o", &[&input1, &weight, &input2])?;
            bias.map_or(Ok(product.clone()), |bias| product.add(&bias))
        };
        "nn.functional.conv1d" | "nn.functional.conv2d" | "nn.functional.conv3d" (
            input: Var<T>, weight: Var<T>, bias: Option<Var<T>> = None,
            stride: Vec<usize> = vec![1], padding: Value = 0.into(),
            dilation: Vec<usize> = vec![1], groups: usize = 1,
        ) => spatial!(call, D => {
            let dilation = each::<_, D>(&dilation)?;
            let (input, padding) = padded(&input, &weight, &padding, dilation, call)?;
            let stride = each(&stride)?;
            let options = ConvOptions::<D> { stride, padding, dilation, groups };
            batched(&input, D + 2, |x| lifted::conv(x, &weight, bias.as_ref(), options))
        });
        "nn.functional.conv_transpose1d" | "nn.functional.conv_transpose2d"
            | "nn.functional.conv_transpose3d" (
            input: Var<T>, weight: Var<T>, bias: Option<Var<T>> = None,
            stride: Vec<usize> = vec![1], padding: Vec<usize> = vec![0],
            output_padding: Vec<usize> = vec![0], groups: usize = 1,
            dilation: Vec<usize> = vec![1],
        ) => spatial!(call, D => {
            let options = ConvTransposeOptions::<D> {
                stride: each(&stride)?,
                padding: each(&padding)?,
                output_padding: each(&output_padding)?,
                dilation: each(&dilation)?,
                groups,
            };
            batched(&input, D + 2, |x| lifted::conv_transpose(x, &weight, bias.as_ref(), options))
        });
        "nn.functional.unfold" (
            input: Var<T>, kernel_size: [usize; 2], dilation: [usize; 2] = [1; 2],
            padding: [usize; 2] = [0; 2], stride: [usize; 2] = [1; 2],
        ) => batched(&input, 4, |x| {
            x.unfold(UnfoldOptions { kernel_size, stride, padding, dilation })
        });
    }
}

/// The input and the padding of a convolution; for `same`, zeros are added around the input.
fn padded<T: Float, const D: usize>(
    input: &Var<T>,
    weight: &Var<T>,
    padding: &Value,
    dilation: [usize; D],
    call: &Call<'_, T>,
) -> Result<(Var<T>, [usize; D]), Stop> {
    match padding.as_str() {
        Some("valid") => Ok((input.clone(), [0; D])),
        Some(_) => {
            let around = (0..D).rev().map(|axis| {
                let total = dilation[axis] * (weight.shape()[axis + 2] - 1);
                [(total / 2) as isize, total.div_ceil(2) as isize]
            });
            let around: Vec<[isize; 2]> = around.collect();
            Ok((input.pad(&around, dendra_tensor::PadMode::Constant(0.0))?, [0; D]))
        }
        None => {
            let padding: Option<Vec<usize>> = Argument::<T>::read(padding, call);
            let padding = padding.ok_or(Stop::inexpressible("such padding"))?;
            Ok((input.clone(), each(&padding)?))
        }
    }
}

fn pooling<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.max_pool1d" | "nn.functional.max_pool2d" | "nn.functional.max_pool3d" (
            input: Var<T>, kernel_size: Vec<usize>, stride: Option<Vec<usize>> = None,
            padding: Vec<usize> = vec![0], dilation: Vec<usize> = vec![1],
            ceil_mode: bool = false, return_indices: bool = false,
        ) => spatial!(call, D => {
            let kernel_size = each::<_, D>(&kernel_size)?;
            let options = PoolOptions::<D> {
                kernel_size,
                stride: sizes_or(stride.as_deref(), kernel_size)?,
                padding: each(&padding)?,
                dilation: each(&dilation)?,
                ceil_mode,
            };
            if return_indices && input.value().rank() == D + 2 {
                let (y, at) = max_pool_with_indices(&input, options)?;
                return_both(y, at)
            } else if return_indices {
                let (y, at) = max_pool_with_indices(&input.unsqueeze(0)?, options)?;
                return_both(y.squeeze(0)?, at.squeeze(0)?)
            } else {
                Ok((batched(&input, D + 2, |x| lifted::max_pool(x, options))?, None))
            }
        });
        "nn.functional.avg_pool1d" | "nn.functional.avg_pool2d" | "nn.functional.avg_pool3d" (
            input: Var<T>, kernel_size: Vec<usize>, stride: Option<Vec<usize>> = None,
            padding: Vec<usize> = vec![0], ceil_mode: bool = false,
            count_include_pad: bool = true, divisor_override: Option<usize> = None,
        ) => spatial!(call, D => {
            let kernel_size = each::<_, D>(&kernel_size)?;
            let options = PoolOptions::<D> {
                kernel_size,
                stride: sizes_or(stride.as_deref(), kernel_size)?,
                padding: each(&padding)?,
                dilation: [1; D],
                ceil_mode,
            };
            batched(&input, D + 2, |x| {
                lifted::avg_pool(x, options, count_include_pad, divisor_override)
            })
        });
        "nn.functional.adaptive_avg_pool1d" | "nn.functional.adaptive_avg_pool2d"
            | "nn.functional.adaptive_avg_pool3d"
            (input: Var<T>, output_size: Vec<Option<usize>>) => spatial!(call, D => {
                let size = output::<_, D>(&input, &output_size)?;
                batched(&input, D + 2, |x| lifted::adaptive_avg_pool(x, size))
            });
        "nn.functional.adaptive_max_pool1d" | "nn.functional.adaptive_max_pool2d"
            | "nn.functional.adaptive_max_pool3d"
            (input: Var<T>, output_size: Vec<Option<usize>>, return_indices: bool = false)
            => spatial!(call, D => {
                let size = output::<_, D>(&input, &output_size)?;
                match return_indices {
                    false => Ok(batched(&input, D + 2, |x| lifted::adaptive_max_pool(x, size))?),
                    true => Err(Stop::inexpressible("the indices of adaptive maxima")),
                }
            });
        "nn.functional.max_unpool1d" | "nn.functional.max_unpool2d"
            | "nn.functional.max_unpool3d" | "nn.functional.max_unpool1d.grad"
            | "nn.functional.max_unpool2d.grad" | "nn.functional.max_unpool3d.grad" (
            input: Var<T>, indices: Tensor<i64>, kernel_size: Vec<usize>,
            stride: Option<Vec<usize>> = None, padding: Vec<usize> = vec![0],
            output_size: Option<Vec<usize>> = None,
        ) => spatial!(call, D => {
            let kernel_size = each::<_, D>(&kernel_size)?;
            let stride = sizes_or(stride.as_deref(), kernel_size)?;
            let padding = each::<_, D>(&padding)?;
            let first = input.value().rank() - D;
            let size = match &output_size {
                Some(size) => each::<_, D>(&size[size.len() - D..])?,
                None => std::array::from_fn(|i| {
                    (input.shape()[first + i] - 1) * stride[i] + kernel_size[i] - 2 * padding[i]
                }),
            };
            match first {
                1 => {
                    let y = max_unpool(&input.unsqueeze(0)?, &indices.unsqueeze(0)?, size)?;
                    Ok::<_, Stop>(y.squeeze(0)?)
                }
                _ => Ok(max_unpool(&input, &indices, size)?),
            }
        });
    }
}

fn return_both<T: Float>(
    y: Var<T>,
    at: Tensor<i64>,
) -> Result<(Var<T>, Option<Tensor<i64>>), Stop> {
    Ok((y, Some(at)))
}

/// The output size of an adaptive pooling; `None` keeps the size of the input.
pub(super) fn output<T: Float, const D: usize>(
    input: &Var<T>,
    size: &[Option<usize>],
) -> Result<[usize; D], Stop> {
    let first = input.value().rank().saturating_sub(D);
    let size = each::<_, D>(size)?;
    Ok(std::array::from_fn(|i| size[i].unwrap_or(input.shape()[first + i])))
}

fn normalisation<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.batch_norm" (
            input: Var<T>, running_mean: Option<Var<T>> = None, running_var: Option<Var<T>> = None,
            weight: Option<Var<T>> = None, bias: Option<Var<T>> = None, training: bool = false,
            momentum: f64 = 0.1, eps: f64 = 1e-5,
        ) => {
            let _ = momentum;
            let statistics = match (running_mean, running_var) {
                (Some(mean), Some(variance)) if !training => {
                    let [mean, variance] = [mean, variance].map(Var::into_value);
                    NormStatistics::Fixed(ChannelStatistics { mean, variance })
                }
                _ => NormStatistics::Batch,
            };
            input.batch_norm(weight.as_ref(), bias.as_ref(), statistics, eps)
        };
        "nn.functional.instance_norm" (
            input: Var<T>, running_mean: Option<Var<T>> = None, running_var: Option<Var<T>> = None,
            weight: Option<Var<T>> = None, bias: Option<Var<T>> = None,
            use_input_stats: bool = true, momentum: f64 = 0.1, eps: f64 = 1e-5,
        ) => {
            let _ = (momentum, running_mean, running_var);
            match use_input_stats {
                true => {
                    let channels = input.shape()[1];
                    Ok(input.group_norm(channels, weight.as_ref(), bias.as_ref(), eps)?)
                }
                false => Err(Stop::inexpressible("the normalisation of samples by constants")),
            }
        };
        "nn.functional.layer_norm" (
            input: Var<T>, normalized_shape: Vec<usize>, weight: Option<Var<T>> = None,
            bias: Option<Var<T>> = None, eps: f64 = 1e-5,
        ) => input.layer_norm(normalized_shape, weight.as_ref(), bias.as_ref(), eps);
        "nn.functional.rms_norm" (
            input: Var<T>, normalized_shape: Vec<usize>, weight: Option<Var<T>> = None,
            eps: Option<f64> = None,
        ) => {
            let epsilon = if size_of::<T>() == 4 { f32::EPSILON.into() } else { f64::EPSILON };
            input.rms_norm(normalized_shape, weight.as_ref(), eps.unwrap_or(epsilon))
        };
        "nn.functional.group_norm" (
            input: Var<T>, num_groups: usize, weight: Option<Var<T>> = None,
            bias: Option<Var<T>> = None, eps: f64 = 1e-5,
        ) => input.group_norm(num_groups, weight.as_ref(), bias.as_ref(), eps);
        "nn.functional.local_response_norm" (
            input: Var<T>, size: usize, alpha: f64 = 1e-4, beta: f64 = 0.75, k: f64 = 1.0,
        ) => {
            let layer = LocalResponseNorm::new(size).alpha(alpha).beta(beta).k(k);
            layer.forward(&input)
        };
        "nn.functional.normalize" (
            input: Var<T>, p: f64 = 2.0, dim: isize = 1, eps: f64 = 1e-12,
        ) => input.normalize(p, dim, eps);
        "nn.functional.cosine_similarity" (
            x1: Var<T>, x2: Var<T>, dim: isize = 1, eps: f64 = 1e-8,
        ) => x1.cosine_similarity(&x2, dim, eps);
        "nn.functional.pairwise_distance" (
            x1: Var<T>, x2: Var<T>, p: f64 = 2.0, eps: f64 = 1e-6, keepdim: bool = false,
        ) => PairwiseDistance::new(p).eps(eps).keepdim(keepdim).forward(&x1, &x2);
    }
}

fn sequences<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.scaled_dot_product_attention" (
            query: Var<T>, key: Var<T>, value: Var<T>, attn_mask: Option<Mask<T>> = None,
            dropout_p: f64 = 0.0, is_causal: bool = false, scale: Option<f64> = None,
            enable_gqa: bool = false,
        ) => {
            if dropout_p > 0.0 {
                return Err(Stop::inexpressible("random numbers"));
            }
            let shared = |x: Var<T>| match enable_gqa {
                true => {
                    let heads = |x: &Var<T>| x.shape()[x.value().rank() - 3];
                    x.repeat_interleave(heads(&query) / heads(&x), -3)
                }
                false => Ok(x),
            };
            let (key, value) = (shared(key)?, shared(value)?);
            let mask = mask(attn_mask)?;
            let options = AttentionOptions { mask, is_causal, scale, dropout: None };
            query.scaled_dot_product_attention(&key, &value, options)
        };
        "nn.functional.embedding_bag" (
            weight: State, input: Tensor<i64>, offsets: Option<Tensor<i64>> = None,
            mode: BagMode = BagMode::Mean, per_sample_weights: Option<Var<T>> = None,
            padding_idx: Option<isize> = None, include_last_offset: bool = false,
        ) => {
            let [rows, width] = [weight.0[0], weight.0[1]];
            let settings = EmbeddingBag::new(rows, width).mode(mode);
            let settings = padding_idx.map_or(settings.clone(), |row| {
                settings.padding_idx(if row < 0 { row + rows as isize } else { row } as usize)
            });
            let offsets = offsets.map(|offsets| {
                let mut offsets: Vec<usize> = offsets.cast::<usize>().to_vec();
                offsets.truncate(offsets.len() - usize::from(include_last_offset));
                offsets
            });
            let bag = settings.init_as::<T>(&mut Rng::seed(0))?;
            let weights = per_sample_weights.as_ref();
            call.module(bag, |bag| {
                bag.lookup(&input, offsets.as_deref(), weights, Some(call.tape()))
            })
        };
    }
}

/// A mask of attention: the scores that are used, or values that are added to the scores.
pub(super) fn mask<T: Float>(given: Option<Mask<T>>) -> Result<AttentionMask<T>, Stop> {
    match given.map(|Mask(given)| given) {
        None => Ok(AttentionMask::None),
        Some(Any::Bool(keep)) => Ok(AttentionMask::Keep(keep)),
        Some(Any::Float(add)) => Ok(AttentionMask::Add(add.into_value())),
        Some(Any::Int(_)) => Err(Stop::inexpressible("a mask of integers")),
    }
}

impl<T: Float> Argument<T> for BagMode {
    const KIND: &str = "a way to put a bag together";

    fn read(value: &Value, _: &Call<'_, T>) -> Option<Self> {
        Some(match value.as_str()? {
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "max" => Self::Max,
            _ => return None,
        })
    }
}
