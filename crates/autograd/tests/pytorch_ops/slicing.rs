//! Slicing and related functions, as the cases of the fixtures call them.

use dendra_tensor::{
    Error, GridSampleMode, GridSampleOptions, GridSamplePadding, Interpolate, InterpolateMode, Ops,
    PadMode, Result, ScatterReduction, Tensor, UnfoldOptions,
};

use crate::fixtures::{Case, integers};

/// Applies a case's operation, if it is one of these.
pub(crate) fn apply<V: Ops>(case: &Case, inputs: &[V]) -> Option<Result<V>> {
    let axis = || case.integer("axis");
    let index = || case.tensor::<i64>("in1");
    let indices = || -> Vec<usize> { index().to_vec().iter().map(|&i| i as usize).collect() };
    let mask = || case.tensor::<bool>("in1");
    let offset = || case.integer("offset");
    let size = |name| case.integer(name) as usize;
    Some(match (case.kind(), inputs) {
        ("scatter", [x, source]) => x.scatter(axis(), &index(), source),
        ("scatter_add", [x, source]) => x.scatter_add(axis(), &index(), source),
        ("scatter_reduce", [x, source]) => {
            let include_self = case.flag("include_self");
            x.scatter_reduce(axis(), &index(), source, scatter_reduction(case), include_self)
        }
        ("index_add", [x, source]) => x.index_add(axis(), &indices(), source),
        ("index_copy", [x, source]) => x.index_copy(axis(), &indices(), source),
        ("index_fill", [x]) => x.index_fill(axis(), &indices(), case.number("value")),
        ("masked_scatter", [x, source]) => x.masked_scatter(&mask(), source),
        ("take", [x]) => x.take(&indices()),
        ("split", [x]) => joined(x.split(size("size"), axis()), axis()),
        ("split_sizes", [x]) => joined(x.split_sizes(&case.sizes("sizes"), axis()), axis()),
        ("chunk", [x]) => joined(x.chunk(size("count"), axis()), axis()),
        ("unbind", [x]) => x
            .unbind(axis())
            .and_then(|pieces| V::stack(&pieces.iter().rev().collect::<Vec<_>>(), 0)),
        ("select", [x]) => x.select(axis(), case.integer("index")),
        ("expand", [x]) => x.expand(&case.integers("sizes")),
        ("movedim", [x]) => x.movedim(case.integer("start"), case.integer("end")),
        ("unflatten", [x]) => x.unflatten(axis(), &case.sizes("sizes")),
        ("masked_fill", [x]) => x.masked_fill(&mask(), case.number("value")),
        ("masked_select", [x]) => x.masked_select(&mask()),
        ("take_along", [x]) => x.take_along(axis(), &index()),
        ("pad", [x]) => pad(case, x),
        ("diagonal", [x]) => x.diagonal(offset(), case.integer("rows"), case.integer("columns")),
        ("diag_embed", [x]) => x.diag_embed(offset()),
        ("diag", [x]) => x.diag(offset()),
        ("unfold_axis", [x]) => {
            let [size, step] = ["size", "step"].map(size);
            x.unfold_axis(axis(), size, step)
        }
        ("flip", [x]) => x.flip(&case.integers("axes")),
        ("roll", [x]) => x.roll(case.integer("shift"), axis()),
        ("rot90", [x]) => {
            let axes = case.integers("axes");
            x.rot90(case.integer("turns"), [axes[0], axes[1]])
        }
        ("tril", [x]) => x.tril(case.integer("diagonal")),
        ("triu", [x]) => x.triu(case.integer("diagonal")),
        ("repeat", [x]) => x.repeat(&case.sizes("counts")),
        ("repeat_interleave", [x]) => x.repeat_interleave(size("count"), axis()),
        ("unfold", [x]) => x.unfold(unfold_options(case)),
        ("fold", [x]) => x.fold(case.pair("output_size"), unfold_options(case)),
        ("interpolate", [x]) => interpolate(case, x),
        ("grid_sample", [x, grid]) => x.grid_sample(grid, grid_sample_options(case)),
        ("affine_grid", [theta]) => {
            theta.affine_grid(case.pair("output_size"), case.flag("align_corners"))
        }
        _ => return None,
    })
}

/// Pieces of an axis put together the other way round.
fn joined<V: Ops>(pieces: Result<Vec<V>>, axis: isize) -> Result<V> {
    V::cat(&pieces?.iter().rev().collect::<Vec<_>>(), axis)
}

fn pad<V: Ops>(case: &Case, x: &V) -> Result<V> {
    let mode = match case.text("mode") {
        "constant" => PadMode::Constant(case.number("value")),
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular,
        other => return Err(Error::argument("pad", format!("what is {other}?"))),
    };
    let pairs = case.setting("padding").as_array().unwrap().iter().map(integers);
    let padding: Vec<[isize; 2]> = pairs.map(|pair| pair.try_into().unwrap()).collect();
    x.pad(&padding, mode)
}

fn scatter_reduction(case: &Case) -> ScatterReduction {
    match case.text("reduce") {
        "sum" => ScatterReduction::Sum,
        "prod" => ScatterReduction::Prod,
        "mean" => ScatterReduction::Mean,
        "amax" => ScatterReduction::Max,
        "amin" => ScatterReduction::Min,
        other => panic!("{}: what is {other}?", case.key),
    }
}

fn grid_sample_options(case: &Case) -> GridSampleOptions {
    GridSampleOptions {
        mode: match case.text("mode") {
            "nearest" => GridSampleMode::Nearest,
            _ => GridSampleMode::Bilinear,
        },
        padding: match case.text("padding_mode") {
            "border" => GridSamplePadding::Border,
            "reflection" => GridSamplePadding::Reflection,
            _ => GridSamplePadding::Zeros,
        },
        align_corners: case.flag("align_corners"),
    }
}

fn unfold_options(case: &Case) -> UnfoldOptions {
    UnfoldOptions {
        kernel_size: case.pair("kernel_size"),
        stride: case.pair("stride"),
        padding: case.pair("padding"),
        dilation: case.pair("dilation"),
    }
}

fn interpolate<V: Ops>(case: &Case, x: &V) -> Result<V> {
    let mode = match case.text("mode") {
        "Nearest" => InterpolateMode::Nearest,
        "NearestExact" => InterpolateMode::NearestExact,
        "Linear" => InterpolateMode::Linear,
        "Cubic" => InterpolateMode::Cubic,
        "Area" => InterpolateMode::Area,
        other => return Err(Error::argument("interpolate", format!("what is {other}?"))),
    };
    let to = match case.find_setting("scale") {
        None => Interpolate::size(&case.sizes("size"), mode),
        Some(factors) => {
            let factors = factors.as_array().unwrap().iter().map(|factor| factor.as_f64().unwrap());
            Interpolate::scale(&factors.collect::<Vec<_>>(), mode)
        }
    };
    x.interpolate(&to.align_corners(case.flag("align_corners")))
}

/// Tensors of integers have the same functions, under the same names.
#[test]
fn integers_can_be_sliced() {
    let x = Tensor::from([[1, 2], [3, 4_i64]]);
    assert_eq!(x.flip(&[0]).unwrap().roll(1, 1).unwrap().to_vec(), [4, 3, 2, 1]);
    assert_eq!(x.tril(0).unwrap().sum().item().unwrap(), 8);
}
