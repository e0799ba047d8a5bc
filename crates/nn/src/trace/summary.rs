//! The summary of a traced model: its parts with shapes, parameters and
//! multiply–add operations.

use dendra_autograd::{Entry, Parameters, Path};
use dendra_tensor::Float;

use super::parts::{is_within, layer_of};
use super::{Node, NodeKind, Trace, size};
use crate::sequential::{Summary, SummaryRow};

/// The maximum number of operation names in a row.
const NAMED: usize = 4;

/// A parameter or buffer of the traced model.
#[derive(Debug)]
pub(super) struct Held {
    name: String,
    values: usize,
    bytes: usize,
    /// Whether a parameter is trainable; `None` for a buffer.
    trainable: Option<bool>,
}

/// Returns the parameters and buffers of a model.
pub(super) fn held_by<T: Float>(model: &dyn Parameters<T>) -> Vec<Held> {
    let mut held = Vec::new();
    model.visit(&mut Path::default(), &mut |path, entry| {
        let (values, size, trainable) = match entry {
            Entry::Param(param) => {
                (param.value().len(), size_of::<T>(), Some(param.is_trainable()))
            }
            Entry::Buffer(buffer) => (buffer.value().len(), size_of::<T>(), None),
            Entry::Counter(_) => (1, size_of::<i64>(), None),
        };
        let name = path.as_str().to_owned();
        held.push(Held { name, values, bytes: values * size, trainable });
    });
    held
}

impl<T: Float> Trace<T> {
    /// Returns the parts of the model with their output shapes, parameters and
    /// multiply–add operations per sample. `{}` formats the result as a table.
    ///
    /// ```
    /// use dendra_nn::tensor::{Rng, Tensor};
    /// use dendra_nn::{Sequential, Trace};
    ///
    /// let model = Sequential::input([784]).dense(64).relu().dense(10).build(&mut Rng::seed(0))?;
    /// assert_eq!(
    ///     Trace::of(&model, &Tensor::<f32>::ones([1, 784]))?.summary().to_string(),
    ///     "\
    /// layer               output shape  parameters  multiply-adds
    /// -----------------------------------------------------------
    ///    x                [N, 784]
    /// 0  Linear 784 → 64  [N, 64]           50,240         50,176
    /// 1  ReLU             [N, 64]                0              0
    /// 2  Linear 64 → 10   [N, 10]              650            640
    /// -----------------------------------------------------------
    /// 50,890 parameters (198.8 KiB), all trainable
    /// 50,816 multiply-adds for each sample
    /// "
    /// );
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    pub fn summary(&self) -> Summary {
        let mut rows = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if matches!(node.kind, NodeKind::Input { .. }) {
                rows.push(SummaryRow {
                    name: String::new(),
                    layer: self.value_name(index),
                    output: node.shape_text(),
                    parameters: None,
                    multiply_adds: None,
                });
            }
        }
        for part in &self.parts {
            let nodes = || self.nodes.iter().filter(|n| n.is_computed() && n.part == part.path);
            let is_all_views = nodes().all(Node::is_view);
            let mut names: Vec<&str> = Vec::new();
            let mut multiply_adds = 0;
            let mut output = String::new();
            for node in nodes() {
                let name = node.name();
                if (is_all_views || !node.is_view()) && !names.contains(&name) {
                    names.push(name);
                }
                if let NodeKind::Operation(call) = &node.kind {
                    multiply_adds += call.multiply_adds();
                }
                output = size::list(&node.shape);
            }
            if names.len() > NAMED {
                names.truncate(NAMED);
                names.push("…");
            }
            let layer = match part.description.as_str() {
                "" => names.join(", "),
                description => description.to_owned(),
            };
            let own = self.held.iter().filter(|held| {
                held.trainable.is_some() && self.part_of(&held.name) == Some(&*part.path)
            });
            rows.push(SummaryRow {
                name: part.path.clone(),
                layer,
                output,
                parameters: Some(own.map(|held| held.values).sum()),
                multiply_adds: Some(multiply_adds / self.samples as u64),
            });
        }
        let values = |trainable: bool| {
            let held = self.held.iter().filter(|held| held.trainable == Some(trainable));
            held.map(|held| held.values).sum()
        };
        Summary {
            rows,
            trainable: values(true),
            frozen: values(false),
            bytes: self.held.iter().map(|held| held.bytes).sum(),
        }
    }

    /// Returns the innermost part to which a parameter belongs.
    fn part_of(&self, parameter: &str) -> Option<&str> {
        let layer = layer_of(parameter);
        let paths = self.parts.iter().map(|part| part.path.as_str());
        paths.filter(|path| is_within(layer, path)).max_by_key(|path| path.len())
    }
}
