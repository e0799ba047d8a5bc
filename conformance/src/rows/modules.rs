//! Layers with the settings of PyTorch's constructors and the inputs of its `forward`. Each gets
//! the state of PyTorch's layer; the gradients of its parameters are compared, and its buffers
//! after a step.

use dendra_autograd::Var;
use dendra_nn::*;
use dendra_tensor::{Float, Result, Rng, Tensor};
use serde_json::Value;

use super::functional::output;
use super::images::interpolation;
use super::{Row, rows, spatial};
use crate::argument::{Argument, each, sizes_or};
use crate::call::{Call, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = activations();
    rows.extend(products());
    rows.extend(pooling());
    rows.extend(padding());
    rows.extend(normalisation());
    rows
}

/// The parameters come from PyTorch.
fn rng() -> Rng {
    Rng::seed(0)
}

/// Runs a layer of one input.
fn layer<T: Float, M: Module<T> + 'static>(
    call: &Call<'_, T>,
    layer: M,
    input: &Var<T>,
) -> Result<Var<T>, Stop> {
    call.module(layer, |layer| layer.forward(input))
}

fn activations<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.CELU" (alpha: f64 = 1.0, input: Var<T>) => layer(call, CELU::new(alpha), &input);
        "nn.ELU" (alpha: f64 = 1.0, input: Var<T>) => layer(call, ELU::new(alpha), &input);
        "nn.GELU" (approximate: String = "none".into(), input: Var<T>) => {
            let tanh = approximate == "tanh";
            let approximation = if tanh { Approximation::Tanh } else { Approximation::None };
            layer(call, GELU::new(approximation), &input)
        };
        "nn.GLU" (dim: isize = -1, input: Var<T>) => layer(call, GLU::new(dim), &input);
        "nn.Hardshrink" (lambd: f64 = 0.5, input: Var<T>) => {
            layer(call, Hardshrink::new(lambd), &input)
        };
        "nn.Hardswish" (input: Var<T>) => layer(call, Hardswish, &input);
        "nn.Hardtanh" (min_val: f64 = -1.0, max_val: f64 = 1.0, input: Var<T>) => {
            layer(call, Hardtanh::new(min_val, max_val), &input)
        };
        "nn.LeakyReLU" (negative_slope: f64 = 0.01, input: Var<T>) => {
            layer(call, LeakyReLU::new(negative_slope), &input)
        };
        "nn.LogSigmoid" (input: Var<T>) => layer(call, LogSigmoid, &input);
        "nn.LogSoftmax" (dim: isize, input: Var<T>) => layer(call, LogSoftmax::new(dim), &input);
        "nn.Mish" (input: Var<T>) => layer(call, Mish, &input);
        "nn.PReLU" (num_parameters: usize = 1, init: f64 = 0.25, input: Var<T>) => {
            let settings = PReLU::new(num_parameters).slope(init);
            layer(call, settings.init_as(&mut rng())?, &input)
        };
        "nn.ReLU" (input: Var<T>) => layer(call, ReLU, &input);
        "nn.ReLU6" (input: Var<T>) => layer(call, ReLU6, &input);
        "nn.SELU" (input: Var<T>) => layer(call, SELU, &input);
        "nn.SiLU" (input: Var<T>) => layer(call, SiLU, &input);
        "nn.Sigmoid" (input: Var<T>) => layer(call, Sigmoid, &input);
        "nn.Softmax" (dim: isize, input: Var<T>) => layer(call, Softmax::new(dim), &input);
        "nn.Softmax2d" (input: Var<T>) => layer(call, Softmax2d, &input);
        "nn.Softmin" (dim: isize, input: Var<T>) => layer(call, Softmin::new(dim), &input);
        "nn.Softplus" (beta: f64 = 1.0, threshold: f64 = 20.0, input: Var<T>) => {
            layer(call, Softplus::new(beta, threshold), &input)
        };
        "nn.Softshrink" (lambd: f64 = 0.5, input: Var<T>) => {
            layer(call, Softshrink::new(lambd), &input)
        };
        "nn.Softsign" (input: Var<T>) => layer(call, Softsign, &input);
        "nn.Tanh" (input: Var<T>) => layer(call, Tanh, &input);
        "nn.Tanhshrink" (input: Var<T>) => layer(call, Tanhshrink, &input);
        "nn.Threshold" (threshold: f64, value: f64, input: Var<T>) => {
            layer(call, Threshold::new(threshold, value), &input)
        };
    }
}

fn products<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.Linear" (
            in_features: usize, out_features: usize, bias: bool = true, input: Var<T>,
        ) => {
            let settings = Linear::new(in_features, out_features).bias(bias);
            layer(call, settings.init_as(&mut rng())?, &input)
        };
        "nn.Bilinear" (
            in1_features: usize, in2_features: usize, out_features: usize, bias: bool = true,
            input1: Var<T>, input2: Var<T>,
        ) => {
            let settings = Bilinear::new(in1_features, in2_features, out_features).bias(bias);
            let bilinear = settings.init_as(&mut rng())?;
            call.module(bilinear, |bilinear| bilinear.forward(&input1, &input2))
        };
        "nn.Conv1d" | "nn.Conv2d" | "nn.Conv3d" (
            in_channels: usize, out_channels: usize, kernel_size: Vec<usize>,
            stride: Vec<usize> = vec![1], padding: Value = 0.into(),
            dilation: Vec<usize> = vec![1], groups: usize = 1, bias: bool = true,
            padding_mode: String = "zeros".into(), input: Var<T>,
        ) => spatial!(call, D => {
            let zeros = match padding.as_str() {
                Some("same") => Padding::Same,
                Some(_) => Padding::Valid,
                None => {
                    let sizes: Option<Vec<usize>> = Argument::<T>::read(&padding, call);
                    let sizes = sizes.ok_or(Stop::inexpressible("such padding"))?;
                    Padding::Zeros(Sizes(each::<_, D>(&sizes)?))
                }
            };
            let mode = match &*padding_mode {
                "reflect" => PaddingMode::Reflect,
                "replicate" => PaddingMode::Replicate,
                "circular" => PaddingMode::Circular,
                _ => PaddingMode::Zeros,
            };
            let kernel_size = each::<_, D>(&kernel_size)?;
            let settings = Conv::<f32, D>::new(in_channels, out_channels, kernel_size)
                .stride(each(&stride)?)
                .dilation(each(&dilation)?)
                .groups(groups)
                .bias(bias)
                .padding(zeros)
                .padding_mode(mode);
            layer(call, settings.init_as::<T>(&mut rng())?, &input)
        });
        "nn.ConvTranspose1d" | "nn.ConvTranspose2d" | "nn.ConvTranspose3d" (
            in_channels: usize, out_channels: usize, kernel_size: Vec<usize>,
            stride: Vec<usize> = vec![1], padding: Vec<usize> = vec![0],
            output_padding: Vec<usize> = vec![0], groups: usize = 1, bias: bool = true,
            dilation: Vec<usize> = vec![1], input: Var<T>,
        ) => spatial!(call, D => {
            let kernel_size = each::<_, D>(&kernel_size)?;
            let settings = ConvTranspose::<f32, D>::new(in_channels, out_channels, kernel_size)
                .stride(each(&stride)?)
                .dilation(each(&dilation)?)
                .groups(groups)
                .bias(bias)
                .padding(each(&padding)?)
                .output_padding(each(&output_padding)?);
            layer(call, settings.init_as::<T>(&mut rng())?, &input)
        });
    }
}

fn pooling<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.AvgPool1d" | "nn.AvgPool2d" | "nn.AvgPool3d" (
            kernel_size: Vec<usize>, stride: Option<Vec<usize>> = None,
            padding: Vec<usize> = vec![0], ceil_mode: bool = false,
            count_include_pad: bool = true, divisor_override: Option<usize> = None,
            input: Var<T>,
        ) => spatial!(call, D => {
            let size = each::<_, D>(&kernel_size)?;
            let pool = AvgPool::<D>::new(size)
                .stride(sizes_or(stride.as_deref(), size)?)
                .padding(each(&padding)?)
                .ceil_mode(ceil_mode)
                .count_include_pad(count_include_pad);
            let pool = divisor_override.map_or(pool, |divisor| pool.divisor_override(divisor));
            layer(call, pool, &input)
        });
        "nn.MaxPool1d" | "nn.MaxPool2d" | "nn.MaxPool3d" (
            kernel_size: Vec<usize>, stride: Option<Vec<usize>> = None,
            padding: Vec<usize> = vec![0], dilation: Vec<usize> = vec![1],
            return_indices: bool = false, ceil_mode: bool = false, input: Var<T>,
        ) => spatial!(call, D => {
            let size = each::<_, D>(&kernel_size)?;
            let pool = MaxPool::<D>::new(size)
                .stride(sizes_or(stride.as_deref(), size)?)
                .padding(each(&padding)?)
                .dilation(each(&dilation)?)
                .ceil_mode(ceil_mode);
            call.module::<_, (Var<T>, Option<Tensor<i64>>)>(pool, |pool| match return_indices {
                true => pool.forward_with_indices(&input).map(|(y, at)| (y, Some(at))),
                false => Ok((pool.forward(&input)?, None)),
            })
        });
        "nn.LPPool1d" | "nn.LPPool2d" | "nn.LPPool3d" (
            norm_type: f64, kernel_size: Vec<usize>, stride: Option<Vec<usize>> = None,
            ceil_mode: bool = false, input: Var<T>,
        ) => spatial!(call, D => {
            let size = each::<_, D>(&kernel_size)?;
            let pool = LPPool::<D>::new(norm_type, size)
                .stride(sizes_or(stride.as_deref(), size)?)
                .ceil_mode(ceil_mode);
            layer(call, pool, &input)
        });
        "nn.AdaptiveAvgPool1d" | "nn.AdaptiveAvgPool2d" | "nn.AdaptiveAvgPool3d"
            (output_size: Vec<Option<usize>>, input: Var<T>) => spatial!(call, D => {
                layer(call, AdaptiveAvgPool::<D>::new(output(&input, &output_size)?), &input)
            });
        "nn.AdaptiveMaxPool1d" | "nn.AdaptiveMaxPool2d" | "nn.AdaptiveMaxPool3d"
            (output_size: Vec<Option<usize>>, input: Var<T>) => spatial!(call, D => {
                layer(call, AdaptiveMaxPool::<D>::new(output(&input, &output_size)?), &input)
            });
        "nn.Upsample" (
            size: Option<Vec<usize>> = None, scale_factor: Option<Vec<f64>> = None,
            mode: String = "nearest".into(), align_corners: Option<bool> = None, input: Var<T>,
        ) => {
            let to = match (size, scale_factor) {
                (Some(size), _) => Upsample::size(size),
                (None, Some(factors)) => Upsample::scale_factors(factors),
                (None, None) => return Err(Stop::inexpressible("no new size")),
            };
            let to = to.mode(interpolation(&mode)?).align_corners(align_corners.unwrap_or(false));
            layer(call, to, &input)
        };
    }
}

fn padding<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.ReflectionPad1d" | "nn.ReflectionPad2d" | "nn.ReflectionPad3d"
            (padding: Vec<isize>, input: Var<T>) => spatial!(call, D => {
                layer(call, ReflectionPad::<D>::new(margins(&padding)?), &input)
            });
        "nn.ReplicationPad1d" | "nn.ReplicationPad2d" | "nn.ReplicationPad3d"
            (padding: Vec<isize>, input: Var<T>) => spatial!(call, D => {
                layer(call, ReplicationPad::<D>::new(margins(&padding)?), &input)
            });
        "nn.CircularPad1d" | "nn.CircularPad2d" | "nn.CircularPad3d"
            (padding: Vec<isize>, input: Var<T>) => spatial!(call, D => {
                layer(call, CircularPad::<D>::new(margins(&padding)?), &input)
            });
        "nn.ZeroPad1d" | "nn.ZeroPad2d" | "nn.ZeroPad3d"
            (padding: Vec<isize>, input: Var<T>) => spatial!(call, D => {
                layer(call, ZeroPad::<D>::new(margins(&padding)?), &input)
            });
        "nn.ConstantPad1d" | "nn.ConstantPad2d" | "nn.ConstantPad3d"
            (padding: Vec<isize>, value: f64, input: Var<T>) => spatial!(call, D => {
                layer(call, ConstantPad::<D>::new(margins(&padding)?, value), &input)
            });
    }
}

/// The padding before and after each axis, from the last axis on; a single number stands for all.
fn margins<const D: usize>(padding: &[isize]) -> Result<Margins<D>, Stop> {
    match padding {
        &[all] => Ok(Margins([[all; 2]; D])),
        _ => Ok(Margins(each(padding.as_chunks::<2>().0)?)),
    }
}

fn normalisation<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.BatchNorm1d" | "nn.BatchNorm2d" | "nn.BatchNorm3d" (
            num_features: usize, eps: f64 = 1e-5, momentum: Option<f64> = Some(0.1),
            affine: bool = true, track_running_stats: bool = true, bias: bool = true,
            input: Var<T>,
        ) => spatial!(call, D => {
            let settings = BatchNorm::<f32, D>::new(num_features).eps(eps).momentum(momentum);
            let settings = settings.affine(affine).bias(bias);
            let settings = settings.track_running_stats(track_running_stats);
            layer(call, settings.init_as::<T>(&mut rng())?, &input)
        });
        "nn.InstanceNorm1d" | "nn.InstanceNorm2d" | "nn.InstanceNorm3d" (
            num_features: usize, eps: f64 = 1e-5, momentum: f64 = 0.1, affine: bool = false,
            track_running_stats: bool = false, bias: bool = true, input: Var<T>,
        ) => spatial!(call, D => {
            let settings = InstanceNorm::<f32, D>::new(num_features).eps(eps).momentum(momentum);
            let settings = settings.affine(affine).bias(bias);
            let settings = settings.track_running_stats(track_running_stats);
            layer(call, settings.init_as::<T>(&mut rng())?, &input)
        });
        "nn.GroupNorm" (
            num_groups: usize, num_channels: usize, eps: f64 = 1e-5, affine: bool = true,
            bias: bool = true, input: Var<T>,
        ) => {
            let settings = GroupNorm::new(num_groups, num_channels).eps(eps);
            let settings = settings.affine(affine).bias(bias);
            layer(call, settings.init_as(&mut rng())?, &input)
        };
        "nn.LayerNorm" (
            normalized_shape: Vec<usize>, eps: f64 = 1e-5, elementwise_affine: bool = true,
            bias: bool = true, input: Var<T>,
        ) => {
            let settings = LayerNorm::new(normalized_shape).eps(eps).bias(bias);
            let settings = settings.elementwise_affine(elementwise_affine);
            layer(call, settings.init_as(&mut rng())?, &input)
        };
        "nn.RMSNorm" (
            normalized_shape: Vec<usize>, eps: Option<f64> = None,
            elementwise_affine: bool = true, input: Var<T>,
        ) => {
            let settings = RMSNorm::new(normalized_shape).elementwise_affine(elementwise_affine);
            let settings = eps.map_or(settings.clone(), |eps| settings.eps(eps));
            layer(call, settings.init_as(&mut rng())?, &input)
        };
        "nn.LocalResponseNorm" (
            size: usize, alpha: f64 = 1e-4, beta: f64 = 0.75, k: f64 = 1.0, input: Var<T>,
        ) => {
            let norm = LocalResponseNorm::new(size).alpha(alpha).beta(beta).k(k);
            layer(call, norm, &input)
        };
    }
}
