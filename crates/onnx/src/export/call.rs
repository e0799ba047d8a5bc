//! The calls of a trace, as the writing functions receive them.

use dendra_nn::{Setting, Size};
use dendra_tensor::ops::Attribute;
use dendra_tensor::{AnyTensor, Error, Result, Tensor};

use super::graph::Graph;

/// A value of a trace with its number type erased.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// The name in the graph. Values that are not computed get one when they
    /// are first used.
    pub(super) name: Option<String>,
    pub(super) element: &'static str,
    pub(super) shape: &'a [Size],
    /// The value of a parameter or a constant that does not depend on the batch
    /// size.
    pub(super) value: Option<AnyTensor>,
}

/// A call of an operation or a function.
pub(super) struct Call<'a> {
    pub(super) part: &'a str,
    pub(super) element: &'static str,
    pub(super) shape: &'a [Size],
    pub(super) settings: &'a [(&'static str, Setting)],
    pub(super) parents: Vec<&'a Known<'a>>,
    pub(super) all: &'a [Known<'a>],
}

impl<'a> Call<'a> {
    /// The name of an input.
    pub(super) fn input(&self, index: usize) -> &'a str {
        self.parents[index].name.as_deref().unwrap_or_default()
    }

    /// The names of all inputs, in order.
    pub(super) fn inputs(&self) -> Vec<&'a str> {
        (0..self.parents.len()).map(|index| self.input(index)).collect()
    }

    /// The name of an optional input.
    pub(super) fn optional(&self, index: usize) -> Option<&'a str> {
        (index < self.parents.len()).then(|| self.input(index))
    }

    /// The number of axes of an input.
    pub(super) fn rank(&self, index: usize) -> usize {
        self.parents[index].shape.len()
    }

    /// The length of an axis of an input that does not depend on the batch
    /// size.
    pub(super) fn length(&self, index: usize, axis: usize) -> Result<i64> {
        match self.parents[index].shape.get(axis) {
            Some(Size::Fixed(length)) => Ok(*length),
            _ => {
                self.refuse(format!("the length of axis {axis} must not depend on the batch size"))
            }
        }
    }

    /// Converts an axis of an input to a non-negative index.
    pub(super) fn axis(&self, index: usize, axis: i64) -> usize {
        (if axis < 0 { axis + self.rank(index) as i64 } else { axis }) as usize
    }

    pub(super) fn setting(&self, name: &str) -> Option<&'a Setting> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, setting)| setting)
    }

    fn attribute(&self, name: &str) -> Result<&'a Attribute> {
        match self.setting(name) {
            Some(Setting::Value(value)) => Ok(value),
            Some(_) => self.refuse(format!("the setting `{name}` depends on the inputs")),
            None => self.refuse(format!("the setting `{name}` is missing")),
        }
    }

    pub(super) fn int(&self, name: &str) -> Result<i64> {
        self.optional_int(name)?.map_or_else(|| self.other(name, "an integer"), Ok)
    }

    /// An integer; `None` if it is not set.
    pub(super) fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        match self.attribute(name)? {
            Attribute::Int(value) => Ok(Some(*value)),
            Attribute::None => Ok(None),
            _ => self.other(name, "an integer"),
        }
    }

    pub(super) fn float(&self, name: &str) -> Result<f64> {
        self.optional_float(name)?.map_or_else(|| self.other(name, "a number"), Ok)
    }

    /// A number; `None` if it is not set.
    pub(super) fn optional_float(&self, name: &str) -> Result<Option<f64>> {
        match self.attribute(name)? {
            Attribute::Float(value) => Ok(Some(*value)),
            Attribute::Int(value) => Ok(Some(*value as f64)),
            Attribute::None => Ok(None),
            _ => self.other(name, "a number"),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.attribute(name)? {
            Attribute::Bool(value) => Ok(*value),
            _ => self.other(name, "a boolean"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        match self.attribute(name)? {
            Attribute::Text(value) => Ok(value),
            _ => self.other(name, "a text"),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<Vec<i64>> {
        match self.attribute(name)? {
            Attribute::Ints(values) => Ok(values.clone()),
            Attribute::None => Ok(Vec::new()),
            _ => self.other(name, "integers"),
        }
    }

    pub(super) fn floats(&self, name: &str) -> Result<Vec<f64>> {
        match self.attribute(name)? {
            Attribute::Floats(values) => Ok(values.clone()),
            Attribute::None => Ok(Vec::new()),
            _ => self.other(name, "numbers"),
        }
    }

    /// Numbers that may depend on the batch size.
    pub(super) fn sizes(&self, name: &str) -> Result<Vec<Size>> {
        match self.setting(name) {
            Some(Setting::Sizes(sizes)) => Ok(sizes.clone()),
            Some(Setting::Size(size)) => Ok(vec![*size]),
            Some(Setting::Value(Attribute::Int(value))) => Ok(vec![Size::Fixed(*value)]),
            _ => Ok(self.ints(name)?.into_iter().map(Size::Fixed).collect()),
        }
    }

    /// The name of a tensor that is a setting: indices, a mask or values.
    pub(super) fn tensor(&self, graph: &mut Graph, name: &str) -> Result<Option<String>> {
        Ok(Some(match self.setting(name) {
            Some(Setting::Node(node)) => self.all[*node].name.clone().unwrap_or_default(),
            _ => match self.attribute(name)? {
                Attribute::None => return Ok(None),
                Attribute::Ints(values) => graph.ints(values),
                Attribute::Indices(indices) => graph.constant(indices.clone()),
                Attribute::Mask(mask) => graph.constant(mask.clone()),
                Attribute::Values(values) => {
                    let values = self.values(values);
                    graph.constant(values)
                }
                _ => return self.other(name, "a tensor"),
            },
        }))
    }

    /// The values of a setting, with the element type of the call.
    pub(super) fn values(&self, values: &Tensor<f64>) -> AnyTensor {
        match self.element {
            "f64" => values.clone().into(),
            _ => values.cast::<f32>().into(),
        }
    }

    /// The axes of a setting as non-negative indices of the first input.
    pub(super) fn axes(&self, name: &str) -> Result<Vec<i64>> {
        let axes = self.ints(name)?;
        Ok(axes.into_iter().map(|axis| self.axis(0, axis) as i64).collect())
    }

    /// A scalar of the element type of the output.
    pub(super) fn scalar(&self, graph: &mut Graph, number: f64) -> String {
        graph.scalar(self.element, number)
    }

    fn other<X>(&self, name: &str, expected: &str) -> Result<X> {
        self.refuse(format!("expected {expected} as the setting `{name}`"))
    }

    pub(super) fn refuse<X>(&self, message: impl Into<String>) -> Result<X> {
        Err(Error::argument("onnx::export", message))
    }
}
