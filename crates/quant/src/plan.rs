//! Which values are bytes, and the order of the steps.

use std::collections::{BTreeMap, BTreeSet};

use dendra_nn::Trace;
use dendra_tensor::{Error, Result};

use crate::affine::Affine;
use crate::layers::{Add, Found, Layer, Pool, Reshape, find};

/// A step of a quantised network.
#[derive(Debug)]
pub(crate) enum Step<W> {
    /// A layer with weights.
    Layer(Layer, W),
    Add(Add),
    Pool(Pool),
    Reshape(Reshape),
    /// An operation on floats, by its node.
    Float(usize),
}

/// The steps of a trace, and what is known about its values.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step<()>>,
    /// The number of values: nodes of the trace and values between them.
    pub(crate) slots: usize,
    /// Whether a value is bytes.
    pub(crate) bytes: Vec<bool>,
}

impl Plan {
    /// The steps of a trace in which the layers that `is_whole` accepts use
    /// integers. With `keeps_bytes` bytes go from step to step; otherwise each
    /// layer takes and returns floats.
    pub(crate) fn of(
        trace: &Trace<f32>,
        keeps_bytes: bool,
        is_whole: &dyn Fn(&Layer) -> bool,
    ) -> Result<Self> {
        let nodes = trace.nodes();
        if trace.outputs().iter().any(|&output| {
            let node = &nodes[output];
            node.element != "f32" || !node.is_computed()
        }) {
            let message = "expected a model whose outputs are floats that it computes";
            return Err(Error::argument("Quantizer", message));
        }
        let (mut found, slots) = find(trace);
        let left_out: BTreeSet<usize> = found
            .iter()
            .filter_map(|(_, found)| match found {
                Found::Layer(layer) if !is_whole(layer) => Some(layer.output),
                _ => None,
            })
            .collect();
        found.retain(|(_, found)| match found {
            Found::Layer(layer) => !left_out.contains(&layer.output),
            // The pooling that belongs to such a layer.
            Found::Pool(pool) => pool.input < nodes.len() || !left_out.contains(&pool.input),
            _ => true,
        });
        let bytes = match keeps_bytes {
            true => bytes_of(&found, slots),
            false => vec![false; slots],
        };
        // The pooling after a layer in one operation has no node of its own.
        found.retain(|(_, found)| match found {
            Found::Layer(_) => true,
            Found::Add(add) => bytes[add.output],
            Found::Pool(pool) => bytes[pool.output] || pool.input >= nodes.len(),
            Found::Reshape(reshape) => bytes[reshape.output],
        });
        let mut replaced = BTreeSet::new();
        for (index, found) in &found {
            replaced.insert(*index);
            match found {
                Found::Layer(Layer { nodes, .. }) | Found::Add(Add { nodes, .. }) => {
                    replaced.extend(nodes);
                }
                _ => {}
            }
        }
        let mut by_node: BTreeMap<usize, Vec<Step<()>>> = BTreeMap::new();
        for (index, found) in found {
            by_node.entry(index).or_default().push(match found {
                Found::Layer(layer) => Step::Layer(layer, ()),
                Found::Add(add) => Step::Add(add),
                Found::Pool(pool) => Step::Pool(pool),
                Found::Reshape(reshape) => Step::Reshape(reshape),
            });
        }
        let mut steps = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            steps.extend(by_node.remove(&index).unwrap_or_default());
            if node.is_computed() && node.element == "f32" && !replaced.contains(&index) {
                steps.push(Step::Float(index));
            }
        }
        Ok(Self { steps, slots, bytes })
    }

    /// The units of all values that are bytes. `range_of` gives the range of a
    /// value.
    pub(crate) fn units(
        &self,
        range_of: &dyn Fn(usize) -> Result<[f32; 2]>,
    ) -> Result<Vec<Option<Affine>>> {
        let mut units: Vec<Option<Affine>> = vec![None; self.slots];
        let of = |slot, [low, high]: [f32; 2]| -> Result<Affine> {
            let [from, to] = range_of(slot)?;
            Ok(Affine::of_range(from.max(low), to.min(high)))
        };
        for step in &self.steps {
            let (output, unit) = match step {
                Step::Layer(layer, ()) => (layer.output, of(layer.output, layer.limits)),
                Step::Add(add) => (add.output, of(add.output, add.limits)),
                Step::Pool(Pool { input, output, .. })
                | Step::Reshape(Reshape { input, output, .. }) => {
                    let Some(unit) = units[*input] else { continue };
                    (*output, Ok(unit))
                }
                Step::Float(_) => continue,
            };
            if self.bytes[output] {
                units[output] = Some(unit?);
            }
        }
        Ok(units)
    }

    /// The values whose ranges are needed.
    pub(crate) fn observed(&self) -> BTreeSet<usize> {
        let mut observed = BTreeSet::new();
        for step in &self.steps {
            match step {
                Step::Layer(layer, ()) => {
                    if !self.bytes[layer.input] {
                        observed.insert(layer.input);
                    }
                    if self.bytes[layer.output] {
                        observed.insert(layer.output);
                    }
                }
                Step::Add(add) => {
                    observed.insert(add.output);
                }
                _ => {}
            }
        }
        observed
    }

    /// The value whose observed range is that of another: a value inside an
    /// operation has that of what comes out.
    pub(crate) fn seen_at(&self, slot: usize) -> usize {
        let pools = self.steps.iter().find_map(|step| match step {
            Step::Pool(pool) if pool.input == slot && !pool_has_node(pool, slot) => {
                Some(pool.output)
            }
            _ => None,
        });
        pools.unwrap_or(slot)
    }
}

/// Whether the input of a pooling is a value of the trace: those that are not
/// come after all outputs.
fn pool_has_node(pool: &Pool, slot: usize) -> bool {
    slot < pool.output
}

/// Which values are bytes: those that a layer with integers takes, and that come
/// from one, through steps that keep bytes.
fn bytes_of(found: &[(usize, Found)], slots: usize) -> Vec<bool> {
    let mut can = vec![false; slots];
    for (_, found) in found {
        match found {
            Found::Layer(layer) => can[layer.output] = true,
            Found::Add(add) => can[add.output] = add.inputs.iter().all(|&input| can[input]),
            Found::Pool(pool) => can[pool.output] = can[pool.input],
            Found::Reshape(reshape) => can[reshape.output] = can[reshape.input],
        }
    }
    let mut wanted = vec![false; slots];
    for (_, found) in found.iter().rev() {
        match found {
            Found::Layer(layer) => wanted[layer.input] = true,
            Found::Add(add) if wanted[add.output] && can[add.output] => {
                add.inputs.iter().for_each(|&input| wanted[input] = true);
            }
            Found::Pool(pool) if wanted[pool.output] => wanted[pool.input] = true,
            Found::Reshape(reshape) if wanted[reshape.output] => wanted[reshape.input] = true,
            _ => {}
        }
    }
    can.iter().zip(wanted).map(|(&can, wanted)| can && wanted).collect()
}
