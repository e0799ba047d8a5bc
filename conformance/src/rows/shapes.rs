//! Functions of shape: views, joining, splitting, creation.

use dendra_autograd::Var;
use dendra_tensor::Float;
use dendra_tensor::{Ops, Result, Sections, Shape, Tensor};
use serde_json::Value;

use super::losses::Lengths;
use super::{Row, rows};
use crate::argument::{Argument, pad_mode};
use crate::call::{Call, Given, Stop};

/// The rows.
pub(super) fn rows<T: Float>() -> Vec<Row<T>> {
    let mut rows = views();
    rows.extend(pieces());
    rows.extend(creation());
    rows
}

fn views<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "reshape" | "view" (input: Var<T>, shape: Sizes) => {
            let shape = shape.filled("reshape", input.value().len())?;
            input.reshape(shape)
        };
        "reshape_as" | "view_as" (input: Var<T>, other: Var<T>) => {
            input.reshape(other.value().shape())
        };
        "ravel" (input: Var<T>) => input.reshape([input.value().len()]);
        "flatten" (input: Var<T>, start_dim: isize = 0, end_dim: isize = -1) => {
            input.flatten(start_dim, end_dim)
        };
        "unflatten" (input: Var<T>, dim: isize, sizes: Sizes) => {
            let axis = input.value().shape().axis("unflatten", dim)?;
            let sizes = sizes.filled("unflatten", input.value().shape()[axis])?;
            input.unflatten(dim, &sizes)
        };
        "broadcast_to" (input: Var<T>, size: Vec<usize>) => input.broadcast_to(size);
        "expand" (input: Var<T>, shape: Vec<isize>) => input.expand(&shape);
        "expand_as" (input: Var<T>, other: Var<T>) => input.broadcast_to(other.value().shape());
        "permute" (input: Var<T>, dims: Vec<isize>) => input.permute(&dims);
        "transpose" (input: Var<T>, dim0: isize, dim1: isize) => input.transpose(dim0, dim1);
        "t" | "T" | "H" (input: Var<T>) => match input.value().rank() {
            2 => Ok(input.transpose(0, 1)?),
            _ => Ok::<_, Stop>(input),
        };
        "mT" | "mH" (input: Var<T>) => input.transpose(-2, -1);
        "movedim" (input: Var<T>, source: Vec<isize>, destination: Vec<isize>) => {
            match (&source[..], &destination[..]) {
                (&[from], &[to]) => input.movedim(from, to),
                _ => input.permute(&moved(input.value().shape(), &source, &destination)?),
            }
        };
        "squeeze" | "squeeze.multiple" (input: Var<T>, dim: Option<Vec<isize>> = None) => {
            let shape = input.value().shape();
            let axes = match dim {
                Some(axes) => shape.axes("squeeze", &axes)?.to_vec(),
                None => (0..shape.len()).collect(),
            };
            let left = shape.iter().enumerate().filter(|&(axis, &size)| {
                size != 1 || !axes.contains(&axis)
            });
            input.reshape(left.map(|(_, &size)| size).collect::<Vec<_>>())
        };
        "unsqueeze" (input: Var<T>, dim: isize) => input.unsqueeze(dim);
        "flip" (input: Var<T>, dims: Vec<isize>) => input.flip(&dims);
        "roll" (input: Var<T>, shifts: Vec<isize>, dims: Vec<isize> = Vec::new()) => {
            match dims.is_empty() {
                true => {
                    let flat = input.flatten(0, -1)?.roll(shifts[0], 0)?;
                    flat.reshape(input.value().shape())
                }
                false => {
                    let mut pairs = shifts.iter().zip(&dims);
                    pairs.try_fold(input, |x, (&by, &axis)| x.roll(by, axis))
                }
            }
        };
        "rot90" (input: Var<T>, k: isize = 1, dims: [isize; 2] = [0, 1]) => input.rot90(k, dims);
        "repeat" | "tile" (input: Var<T>, dims: Vec<usize>) => {
            let mut counts = dims;
            if call.is("tile") {
                let missing = input.value().rank().saturating_sub(counts.len());
                counts.splice(0..0, vec![1; missing]);
            }
            input.repeat(&counts)
        };
        "repeat_interleave" (
            input: Var<T>, repeats: Lengths, dim: Option<isize> = None,
            output_size: Option<usize> = None,
        ) => {
            let _ = output_size;
            let (x, axis) = match dim {
                Some(axis) => (input, axis),
                None => (input.reshape([input.value().len()])?, 0),
            };
            let Lengths(repeats) = repeats;
            match repeats[..] {
                [count] => x.repeat_interleave(count, axis),
                _ => {
                    let counted = repeats.iter().enumerate();
                    let indices = counted.flat_map(|(i, &count)| std::iter::repeat_n(i, count));
                    x.index_select(axis, &indices.collect::<Vec<_>>())
                }
            }
        };
        "tril" (input: Var<T>, diagonal: isize = 0) => input.tril(diagonal);
        "triu" (input: Var<T>, diagonal: isize = 0) => input.triu(diagonal);
        "diag" (input: Var<T>, diagonal: isize = 0) => input.diag(diagonal);
        "diagflat" (input: Var<T>, offset: isize = 0) => {
            input.reshape([input.value().len()])?.diag_embed(offset)
        };
        "diagonal" (input: Var<T>, offset: isize = 0, dim1: isize = 0, dim2: isize = 1) => {
            input.diagonal(offset, dim1, dim2)
        };
        "linalg.diagonal" (
            input: Var<T>, offset: isize = 0, dim1: isize = -2, dim2: isize = -1,
        ) => input.diagonal(offset, dim1, dim2);
        "diag_embed" (input: Var<T>, offset: isize = 0, dim1: isize = -2, dim2: isize = -1) => {
            let y = input.diag_embed(offset)?;
            let [dim1, dim2] = [dim1, dim2].map(|axis| y.value().shape().axis("diag_embed", axis));
            let (from, to) = ([-2, -1], [dim1? as isize, dim2? as isize]);
            y.permute(&moved(y.value().shape(), &from, &to)?)
        };
        "unfold" (input: Var<T>, dimension: isize, size: usize, step: usize) => {
            input.unfold_axis(dimension, size, step)
        };
        "constant_pad_nd" (input: Var<T>, pad: Vec<isize>, value: f64 = 0.0) => {
            input.pad(&pairs(&pad)?, pad_mode("constant", value))
        };
        "nn.functional.pad" (
            input: Var<T>, pad: Vec<isize>, mode: String = "constant".into(),
            value: Option<f64> = None,
        ) => input.pad(&pairs(&pad)?, pad_mode(&mode, value.unwrap_or(0.0)));
    }
}

fn pieces<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "cat" (tensors: Vec<Var<T>>, dim: isize = 0) => Var::cat(&borrowed(&tensors), dim);
        "stack" (tensors: Vec<Var<T>>, dim: isize = 0) => Var::stack(&borrowed(&tensors), dim);
        "hstack" (tensors: Vec<Var<T>>) => Var::hstack(&borrowed(&tensors));
        "vstack" (tensors: Vec<Var<T>>) => Var::vstack(&borrowed(&tensors));
        "dstack" (tensors: Vec<Var<T>>) => Var::dstack(&borrowed(&tensors));
        "column_stack" (tensors: Vec<Var<T>>) => Var::column_stack(&borrowed(&tensors));
        "block_diag" (tensors: Vec<Var<T>>) => Var::block_diag(&borrowed(&tensors));
        "cartesian_prod" (tensors: Vec<Var<T>>) => Var::cartesian_prod(&borrowed(&tensors));
        "broadcast_tensors" (tensors: Vec<Var<T>>) => Var::broadcast_tensors(&borrowed(&tensors));
        "combinations" (input: Var<T>, r: usize = 2, with_replacement: bool = false) => {
            input.combinations(r, with_replacement)
        };
        "atleast_1d" (tensors: Vec<Var<T>>) => {
            tensors.iter().map(Ops::atleast_1d).collect::<Vec<_>>()
        };
        "atleast_2d" (tensors: Vec<Var<T>>) => {
            tensors.iter().map(Ops::atleast_2d).collect::<Vec<_>>()
        };
        "atleast_3d" (tensors: Vec<Var<T>>) => {
            tensors.iter().map(Ops::atleast_3d).collect::<Vec<_>>()
        };
        "fliplr" (input: Var<T>) => input.fliplr();
        "flipud" (input: Var<T>) => input.flipud();
        "tensor_split" (input: Var<T>, sections: Value, dim: isize = 0) => {
            input.tensor_split(cuts(call, &sections)?, dim)
        };
        "hsplit" (input: Var<T>, sections: Value) => input.hsplit(cuts(call, &sections)?);
        "vsplit" (input: Var<T>, sections: Value) => input.vsplit(cuts(call, &sections)?);
        "dsplit" (input: Var<T>, sections: Value) => input.dsplit(cuts(call, &sections)?);
        "chunk" | "unsafe_chunk" (input: Var<T>, chunks: usize, dim: isize = 0) => {
            input.chunk(chunks, dim)
        };
        "split" | "split.list_args" | "unsafe_split" | "split_with_sizes"
            (tensor: Var<T>, size: Value, dim: isize = 0) => match size {
                Value::Number(_) => tensor.split(usize_of(&size)?, dim).map_err(Stop::from),
                _ => {
                    let sizes = Argument::<T>::read(&size, call);
                    let sizes: Vec<usize> = sizes.ok_or(Stop::inexpressible("such sizes"))?;
                    Ok(tensor.split_sizes(&sizes, dim)?)
                }
            };
        "unbind" (input: Var<T>, dim: isize = 0) => input.unbind(dim);
        "narrow" (input: Var<T>, dim: isize, start: isize, length: usize) => {
            let axis = input.value().shape().axis("narrow", dim)?;
            let size = input.value().shape()[axis] as isize;
            let start = if start < 0 { start + size } else { start };
            input.narrow(dim, start as usize, length)
        };
        "select" (input: Var<T>, dim: isize, index: isize) => input.select(dim, index);
        "slice" (
            input: Var<T>, dim: isize = 0, start: Option<isize> = None, end: Option<isize> = None,
            step: isize = 1,
        ) => input.slice(dim, start.unwrap_or(0), end, step);
        "meshgrid.variadic_tensors" | "meshgrid.list_of_tensors"
            (tensors: Vec<Var<T>>, indexing: String = "ij".into()) => {
                let mut vectors = borrowed(&tensors);
                let flipped = indexing == "xy" && vectors.len() > 1;
                // The first vector goes along the second axis, and the second along the first.
                if flipped {
                    vectors.swap(0, 1);
                }
                let mut grids = Var::meshgrid(&vectors)?;
                if flipped {
                    grids.swap(0, 1);
                }
                grids
            };
    }
}

fn creation<T: Float>() -> Vec<Row<T>> {
    rows! { call:
        "arange" (
            start: Value, end: Option<f64> = None, step: Value = 1.into(),
            dtype: Value = Value::Null,
        ) => {
            let integers = dtype.is_null() && start.is_i64() && step.is_i64();
            let (start, step): (f64, f64) =
                (call.argument("start", None)?, call.argument("step", Some(1.0))?);
            let (start, end) = end.map_or((0.0, start), |end| (start, end));
            match integers {
                true => (Some(Tensor::<i64>::arange_step(start, end, step)?), None),
                false => (None, Some(Tensor::<T>::arange_step(start, end, step)?)),
            }
        };
        "linspace" | "linspace.tensor_overload" (start: f64, end: f64, steps: usize) => {
            Tensor::<T>::linspace(start, end, steps)
        };
        "logspace" | "logspace.tensor_overload"
            (start: f64, end: f64, steps: usize, base: f64 = 10.0) => {
                Tensor::<T>::logspace(start, end, steps, base)
            };
        "zeros" (size: Vec<usize>) => Tensor::<T>::zeros(size);
        "ones" (size: Vec<usize>) => Tensor::<T>::ones(size);
        "full" (size: Vec<usize>, fill_value: f64) => {
            Tensor::<T>::full(size, T::from_f64(fill_value))
        };
        "zeros_like" | "zero_" (input: Var<T>) => Tensor::<T>::zeros(input.value().shape());
        "ones_like" (input: Var<T>) => Tensor::<T>::ones(input.value().shape());
        "full_like" | "fill" (input: Var<T>, value: f64) => {
            Tensor::<T>::full(input.value().shape(), T::from_f64(value))
        };
        "scalar_tensor" (value: f64) => Tensor::<T>::scalar(T::from_f64(value));
        "tril_indices" (row: usize, col: usize, offset: isize = 0, dtype: Value = Value::Null) => {
            let _ = dtype;
            Tensor::<i64>::tril_indices(row, col, offset)
        };
        "triu_indices" (row: usize, col: usize, offset: isize = 0, dtype: Value = Value::Null) => {
            let _ = dtype;
            Tensor::<i64>::triu_indices(row, col, offset)
        };
        "eye" (n: usize, m: Option<usize> = None) => {
            let m = m.unwrap_or(n);
            Tensor::<T>::eye(n.max(m)).narrow(0, 0, n)?.narrow(1, 0, m)
        };
    }
}

/// The order of the axes after moving some.
fn moved(shape: &Shape, from: &[isize], to: &[isize]) -> Result<Vec<isize>> {
    let from = from.iter().map(|&axis| shape.axis("movedim", axis)).collect::<Result<Vec<_>>>()?;
    let to = to.iter().map(|&axis| shape.axis("movedim", axis)).collect::<Result<Vec<_>>>()?;
    let mut order: Vec<usize> = (0..shape.len()).filter(|axis| !from.contains(axis)).collect();
    let mut pairs: Vec<_> = to.into_iter().zip(from).collect();
    pairs.sort_unstable();
    pairs.into_iter().for_each(|(at, axis)| order.insert(at, axis));
    Ok(order.into_iter().map(|axis| axis as isize).collect())
}

fn usize_of(value: &Value) -> Result<usize, Stop> {
    value.as_u64().map(|size| size as usize).ok_or(Stop::inexpressible("such a size"))
}

/// References to values.
pub(super) fn borrowed<X>(values: &[X]) -> Vec<&X> {
    values.iter().collect()
}

/// A number of pieces, or the indices at which to split.
fn cuts<T: Float>(call: &Call<'_, T>, value: &Value) -> Result<Sections, Stop> {
    let indices = match call.given(value) {
        Some(Given::Int(index)) if index.rank() == 0 => return Ok((index.item()? as usize).into()),
        Some(Given::Int(index)) => index.to_vec().into_iter().map(|i| i as isize).collect(),
        _ if value.is_number() => return Ok(usize_of(value)?.into()),
        _ => {
            let indices: Option<Vec<isize>> = Argument::<T>::read(value, call);
            indices.ok_or(Stop::inexpressible("such sections"))?
        }
    };
    Ok(indices[..].into())
}

/// PyTorch's list of paddings as pairs of before and after.
pub(super) fn pairs(pad: &[isize]) -> Result<Vec<[isize; 2]>, Stop> {
    match pad.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.to_vec()),
        _ => Err(Stop::inexpressible("an odd number of paddings")),
    }
}

/// Sizes of which one may be −1, which is replaced by the remaining size.
struct Sizes(Vec<isize>);

impl<T: Float> Argument<T> for Sizes {
    const KIND: &str = "sizes";

    fn read(value: &Value, call: &Call<'_, T>) -> Option<Self> {
        Argument::<T>::read(value, call).map(Self)
    }
}

impl Sizes {
    fn filled(&self, context: &str, elements: usize) -> Result<Vec<usize>> {
        let known: usize =
            self.0.iter().filter(|&&size| size >= 0).map(|&size| size as usize).product();
        let sizes = self.0.iter().map(|&size| match size {
            -1 if known > 0 => Ok(elements / known),
            _ => {
                size.try_into().map_err(|_| dendra_tensor::Error::argument(context, "no such size"))
            }
        });
        sizes.collect()
    }
}
