//! Resizing, and sampling at coordinates.

use dendra_tensor::{AnyTensor, Result, Tensor};

use super::call::Call;
use super::graph::{Graph, Settings};
use super::{Row, Write};

pub(super) const TABLE: &[Row] =
    &[("interpolate", Write::By(interpolate)), ("grid_sample", Write::By(grid_sample))];

fn interpolate(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let aligns = call.flag("align_corners")?;
    let antialias = call.flag("antialias")?;
    let (mode, coordinates) = match call.text("mode")? {
        "nearest" => ("nearest", "asymmetric"),
        "nearest-exact" => ("nearest", "half_pixel"),
        "linear" => ("linear", if aligns { "align_corners" } else { "half_pixel" }),
        "cubic" => ("cubic", if aligns { "align_corners" } else { "half_pixel" }),
        mode => return call.refuse(format!("the mode {mode} has no operator")),
    };
    let axes: Vec<i64> = (2..call.rank(0) as i64).collect();
    let mut settings: Settings = vec![
        ("mode", mode.into()),
        ("coordinate_transformation_mode", coordinates.into()),
        ("axes", axes.into()),
    ];
    if mode == "nearest" {
        let rounding = if coordinates == "asymmetric" { "floor" } else { "round_prefer_ceil" };
        settings.push(("nearest_mode", rounding.into()));
    }
    if mode == "cubic" {
        settings.push(("cubic_coeff_a", if antialias { -0.5 } else { -0.75 }.into()));
    }
    if antialias {
        settings.push(("antialias", 1.into()));
    }
    let factors = call.floats("scale_factor")?;
    if factors.is_empty() || call.flag("recompute_scale_factor")? {
        let sizes: Vec<i64> = call.shape[2..].iter().map(|size| size.of(1)).collect();
        let sizes = graph.ints(&sizes);
        return Ok(graph.op_with("Resize", &[call.input(0), "", "", &sizes], settings));
    }
    let factors: AnyTensor = Tensor::from_fn([factors.len()], |axis| factors[axis] as f32).into();
    let factors = graph.constant(factors);
    Ok(graph.op_with("Resize", &[call.input(0), "", &factors], settings))
}

fn grid_sample(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let mode = match call.text("mode")? {
        "nearest" => "nearest",
        "bicubic" => "cubic",
        _ => "linear",
    };
    let padding = match call.text("padding")? {
        "border" => "border",
        "reflection" => "reflection",
        _ => "zeros",
    };
    let settings = vec![
        ("mode", mode.into()),
        ("padding_mode", padding.into()),
        ("align_corners", i64::from(call.flag("align_corners")?).into()),
    ];
    Ok(graph.op_with("GridSample", &call.inputs(), settings))
}
