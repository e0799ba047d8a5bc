//! Functions that resize and rearrange images.

use dendra_autograd::Var;
use dendra_tensor::ops::pixels::shuffle_channels;
use dendra_tensor::{
    Float, GridSampleMode, GridSampleOptions, GridSamplePadding, Interpolate, InterpolateMode, Ops,
};

use super::{Row, rows};
use crate::call::Stop;

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "nn.functional.interpolate" | "nn.functional.upsample_nearest" (
            input: Var<T>, size: Option<Vec<usize>> = None, scale_factor: Option<Vec<f64>> = None,
            mode: String = "nearest".into(), align_corners: Option<bool> = None,
            recompute_scale_factor: Option<bool> = None,
        ) => {
            let mode = interpolation(&mode)?;
            resized(&input, size, scale_factor, mode, align_corners, recompute_scale_factor)
        };
        "nn.functional.upsample_bilinear" (
            input: Var<T>, size: Option<Vec<usize>> = None, scale_factor: Option<Vec<f64>> = None,
        ) => resized(&input, size, scale_factor, InterpolateMode::Linear, Some(true), None);
        "nn.functional.grid_sample" (
            input: Var<T>, grid: Var<T>, mode: String = "bilinear".into(),
            padding_mode: String = "zeros".into(), align_corners: Option<bool> = None,
        ) => {
            let mode = match &*mode {
                "bilinear" => GridSampleMode::Bilinear,
                "nearest" => GridSampleMode::Nearest,
                "bicubic" => GridSampleMode::Bicubic,
                other => return Err(Stop::inexpressible(format!("the mode {other}"))),
            };
            let padding = match &*padding_mode {
                "border" => GridSamplePadding::Border,
                "reflection" => GridSamplePadding::Reflection,
                _ => GridSamplePadding::Zeros,
            };
            let align_corners = align_corners.unwrap_or(false);
            input.grid_sample(&grid, GridSampleOptions { mode, padding, align_corners })
        };
        "nn.functional.pixel_shuffle" (input: Var<T>, upscale_factor: usize) => {
            input.pixel_shuffle(upscale_factor)
        };
        "nn.functional.channel_shuffle" (input: Var<T>, groups: usize) => {
            shuffle_channels(&input, groups)
        };
        "nn.functional.pixel_unshuffle" (input: Var<T>, downscale_factor: usize) => {
            input.pixel_unshuffle(downscale_factor)
        };
    }
}

/// PyTorch's names of interpolation modes.
pub(super) fn interpolation(name: &str) -> Result<InterpolateMode, Stop> {
    Ok(match name {
        "nearest" => InterpolateMode::Nearest,
        "nearest-exact" => InterpolateMode::NearestExact,
        "linear" | "bilinear" | "trilinear" => InterpolateMode::Linear,
        "bicubic" => InterpolateMode::Cubic,
        "area" => InterpolateMode::Area,
        other => return Err(Stop::inexpressible(format!("the mode {other}"))),
    })
}

fn resized<T: Float>(
    input: &Var<T>,
    size: Option<Vec<usize>>,
    scale_factor: Option<Vec<f64>>,
    mode: InterpolateMode,
    align_corners: Option<bool>,
    recompute_scale_factor: Option<bool>,
) -> Result<Var<T>, Stop> {
    let axes = input.value().rank().saturating_sub(2);
    let for_all = |one: &[f64]| if one.len() == 1 { vec![one[0]; axes] } else { one.to_vec() };
    let to = match (size, scale_factor) {
        (Some(size), _) => {
            let size = if size.len() == 1 { vec![size[0]; axes] } else { size };
            Interpolate::size(&size, mode)
        }
        (None, Some(factors)) => Interpolate::scale(&for_all(&factors), mode)
            .recompute_scale_factor(recompute_scale_factor == Some(true)),
        (None, None) => return Err(Stop::inexpressible("no new size")),
    };
    Ok(input.interpolate(&to.align_corners(align_corners.unwrap_or(false)))?)
}
