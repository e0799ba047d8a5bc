//! A trace as a table with one line per operation.

use std::fmt;

use dendra_autograd::AnyTensor;
use dendra_tensor::Float;
use dendra_tensor::ops::Attribute;

use super::{Node, NodeKind, Setting, Trace, size};

impl<T: Float> Trace<T> {
    /// Returns the name of a value: `x` for the input, `fc1.weight` for a parameter,
    /// `%3` for a computed value, or the number of a constant.
    pub fn value_name(&self, index: usize) -> String {
        let node = &self.nodes[index];
        match &node.kind {
            NodeKind::Input { .. } if self.batch_axes.len() == 1 => "x".to_owned(),
            NodeKind::Input { index } => format!("x{index}"),
            NodeKind::Parameter { name, .. } | NodeKind::Buffer { name, .. } => name.clone(),
            NodeKind::Constant { value, .. } => constant(value, node),
            NodeKind::Operation(_) | NodeKind::Function(_) => {
                let before = self.nodes[..index].iter().filter(|node| node.is_computed());
                format!("%{}", before.count())
            }
        }
    }

    /// Formats an operation as an expression: `linear(x, fc1.weight, fc1.bias)`.
    pub fn expression(&self, index: usize) -> String {
        let node = &self.nodes[index];
        let mut arguments: Vec<String> =
            node.parents.iter().map(|&parent| self.value_name(parent)).collect();
        for (name, setting) in &node.settings {
            let value = match setting {
                Setting::Value(Attribute::None) => continue,
                Setting::Value(value) => value.to_string(),
                Setting::Size(size) => size.to_string(),
                Setting::Sizes(sizes) => size::list(sizes),
                Setting::Node(node) => self.value_name(*node),
            };
            arguments.push(format!("{name}={value}"));
        }
        match node.is_computed() {
            true => format!("{}({})", node.name(), arguments.join(", ")),
            false => node.name().to_owned(),
        }
    }
}

/// Formats a constant: its number, or its shape if it has several.
fn constant<T: Float>(value: &AnyTensor, node: &Node<T>) -> String {
    match value {
        AnyTensor::F32(x) if x.len() == 1 => x.to_vec()[0].to_string(),
        AnyTensor::F64(x) if x.len() == 1 => x.to_vec()[0].to_string(),
        AnyTensor::I64(x) if x.len() == 1 => x.to_vec()[0].to_string(),
        _ => format!("constant {}", size::list(&node.shape)),
    }
}

impl<T: Float> Node<T> {
    /// Formats the shape, with the element type if it differs from that of the
    /// model: `[N, 10]`, `i64 [N]`.
    pub fn shape_text(&self) -> String {
        let shape = size::list(&self.shape);
        if self.element == T::NAME { shape } else { format!("{} {shape}", self.element) }
    }
}

impl<T: Float> fmt::Display for Trace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["part", "value", "operation", "shape"].map(str::to_owned)];
        for (index, node) in self.nodes.iter().enumerate() {
            if node.is_computed() || matches!(node.kind, NodeKind::Input { .. }) {
                let part = node.part.clone();
                rows.push([
                    part,
                    self.value_name(index),
                    self.expression(index),
                    node.shape_text(),
                ]);
            }
        }
        for &output in &self.outputs {
            let output = format!("output {}", self.value_name(output));
            rows.push([String::new(), String::new(), output, String::new()]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
        for (index, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            if index == 0 {
                writeln!(f, "{}", "-".repeat(widths.iter().sum::<usize>() + 6))?;
            }
        }
        Ok(())
    }
}
