//! Functions of shape and position.

use dendra_nn::{Setting, Size};
use dendra_tensor::ops::Attribute;
use dendra_tensor::{Result, Tensor};

use super::call::Call;
use super::graph::{Graph, Settings};
use super::{Row, Write};

pub(super) const TABLE: &[Row] = &[
    ("reshape", Write::By(|g, c| g.reshape(c.input(0), &c.sizes("shape")?))),
    ("permute", Write::By(|g, c| Ok(g.transpose(c.input(0), c.axes("axes")?)))),
    ("slice", Write::By(slice)),
    ("broadcast_to", Write::By(broadcast_to)),
    ("cat", Write::By(cat)),
    ("pad", Write::By(pad)),
    ("diagonal", Write::By(diagonal)),
    ("diag_embed", Write::By(diag_embed)),
    ("unfold_axis", Write::By(unfold_axis)),
];

fn slice(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let (axis, step) = (call.axis(0, call.int("axis")?), call.int("step")?);
    let (start, end) = (call.sizes("start")?, call.setting("end"));
    let end = match end {
        Some(Setting::Value(Attribute::None)) if step > 0 => vec![Size::Fixed(i64::MAX)],
        Some(Setting::Value(Attribute::None)) => vec![Size::Fixed(i64::MIN)],
        _ => call.sizes("end")?,
    };
    if let (0, 1, [Size::Fixed(start)], [Size::Fixed(end)], Some(Size::Fixed(length))) =
        (axis, step, &start[..], &end[..], call.parents[0].shape.first())
    {
        let absolute = |bound: i64| if bound < 0 { bound + length } else { bound.min(*length) };
        if let Some(part) = graph.part(call.input(0), absolute(*start), absolute(*end)) {
            return Ok(part);
        }
    }
    let (start, end) = (graph.sizes(&start)?, graph.sizes(&end)?);
    let (axis, step) = (graph.ints(&[axis as i64]), graph.ints(&[step]));
    Ok(graph.op("Slice", &[call.input(0), &start, &end, &axis, &step]))
}

fn broadcast_to(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let shape = graph.sizes(&call.sizes("shape")?)?;
    Ok(graph.op("Expand", &[call.input(0), &shape]))
}

fn cat(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let settings: Settings = vec![("axis", call.int("axis")?.into())];
    Ok(graph.op_with("Concat", &call.inputs(), settings))
}

/// Elements are added, then removed. In the circular mode they are removed
/// first.
fn pad(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let (rank, padding) = (call.rank(0), call.ints("padding")?);
    let mut ends = vec![[0, 0]; rank];
    for (index, pair) in padding.chunks_exact(2).enumerate() {
        ends[rank - 1 - index] = [pair[0], pair[1]];
    }
    let mode = match call.text("mode")? {
        "reflect" => "reflect",
        "replicate" => "edge",
        "circular" => "wrap",
        _ => "constant",
    };
    let mut x = call.input(0).to_owned();
    if mode == "wrap" {
        x = cropped(graph, &x, &ends);
    }
    if ends.as_flattened().iter().any(|&end| end > 0) {
        let added = [0, 1].map(|side| ends.iter().map(move |pair| pair[side].max(0)));
        let added: Vec<i64> = added.into_iter().flatten().collect();
        let added = graph.ints(&added);
        let value = match call.optional_float("value")? {
            Some(value) if value != 0.0 => call.scalar(graph, value),
            _ => String::new(),
        };
        x = graph.op_with("Pad", &[&x, &added, &value], vec![("mode", mode.into())]);
    }
    if mode != "wrap" {
        x = cropped(graph, &x, &ends);
    }
    Ok(if x == call.input(0) { graph.op("Identity", &[&x]) } else { x })
}

/// Removes elements at the ends of each axis where the padding is negative.
fn cropped(graph: &mut Graph, x: &str, ends: &[[i64; 2]]) -> String {
    let removed = ends.iter().enumerate().filter(|(_, pair)| pair.iter().any(|&end| end < 0));
    let (mut axes, mut starts, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for (axis, &[before, after]) in removed {
        axes.push(axis as i64);
        starts.push((-before).max(0));
        stops.push(if after < 0 { after } else { i64::MAX });
    }
    if axes.is_empty() {
        return x.to_owned();
    }
    let [starts, stops, axes] = [starts, stops, axes].map(|values| graph.ints(&values));
    graph.op("Slice", &[x, &starts, &stops, &axes])
}

/// The axes of the matrices are moved to the end and merged, and the elements
/// of the diagonal are selected.
fn diagonal(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let offset = call.int("offset")?;
    let [rows, columns] = [call.int("rows")?, call.int("columns")?].map(|axis| call.axis(0, axis));
    let (height, width) = (call.length(0, rows)?, call.length(0, columns)?);
    let others: Vec<usize> =
        (0..call.rank(0)).filter(|axis| *axis != rows && *axis != columns).collect();
    let mut shape: Vec<Size> = others.iter().map(|&axis| call.parents[0].shape[axis]).collect();
    shape.push(Size::Fixed(height * width));
    let order = others.into_iter().chain([rows, columns]).map(|axis| axis as i64).collect();
    let x = graph.transpose(call.input(0), order);
    let x = graph.reshape(&x, &shape)?;
    let row = |row: i64| (0..width).contains(&(row + offset)).then(|| row * width + row + offset);
    let positions: Vec<i64> = (0..height).filter_map(row).collect();
    Ok(graph.pick(&x, -1, list(positions)))
}

fn list(values: Vec<i64>) -> Tensor<i64> {
    Tensor::from_fn([values.len()], |index| values[index])
}

/// Selects elements at indices; the index after the last element gives 0.
fn diag_embed(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let (rank, offset) = (call.rank(0), call.int("offset")?);
    let length = call.length(0, rank - 1)?;
    let mut ends = vec![0; 2 * rank];
    ends[2 * rank - 1] = 1;
    let ends = graph.ints(&ends);
    let x = graph.op("Pad", &[call.input(0), &ends]);
    let size = (length + offset.abs()) as usize;
    let positions = Tensor::from_fn([size, size], |index| {
        let (row, column) = ((index / size) as i64, (index % size) as i64);
        if column - row == offset { row.min(column) } else { length }
    });
    Ok(graph.pick(&x, -1, positions))
}

fn unfold_axis(graph: &mut Graph, call: &Call<'_>) -> Result<String> {
    let axis = call.axis(0, call.int("axis")?);
    let (size, step) = (call.int("size")?, call.int("step")?);
    let windows = (call.length(0, axis)? - size) / step + 1;
    let positions = Tensor::from_fn([windows as usize, size as usize], |index| {
        let index = index as i64;
        index / size * step + index % size
    });
    let y = graph.pick(call.input(0), axis as i64, positions);
    // The axis of the elements of a window follows that of the windows.
    let mut order: Vec<i64> = (0..=call.rank(0) as i64).collect();
    let elements = order.remove(axis + 1);
    order.push(elements);
    Ok(graph.transpose(&y, order))
}
