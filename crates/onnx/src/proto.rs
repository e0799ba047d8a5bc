//! The messages of ONNX (`onnx.proto`), with the fields that a runtime needs.

use std::collections::BTreeMap;

use dendra_tensor::Result;

use crate::data::{Source, tensor};
use crate::element::ElementType;
use crate::tensor::TypedTensor;
use crate::wire::{Field, Reader, malformed};

/// The largest depth of nested subgraphs and types.
const MOST_NESTED: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct ModelProto {
    pub(crate) ir_version: i64,
    pub(crate) producer: String,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) opsets: BTreeMap<String, i64>,
    pub(crate) graph: Option<GraphProto>,
    pub(crate) functions: Vec<FunctionProto>,
}

#[derive(Debug, Default)]
pub(crate) struct GraphProto {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) initializers: Vec<(String, TypedTensor)>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
}

#[derive(Debug, Default)]
pub(crate) struct NodeProto {
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) name: String,
    pub(crate) operator: String,
    pub(crate) domain: String,
    pub(crate) overload: String,
    pub(crate) attributes: Vec<AttributeProto>,
}

#[derive(Debug, Default)]
pub(crate) struct AttributeProto {
    pub(crate) name: String,
    /// The attribute of the enclosing function that gives the value.
    pub(crate) reference: String,
    pub(crate) value: Attribute,
}

/// The value of an attribute.
#[derive(Debug, Default)]
pub(crate) enum Attribute {
    #[default]
    None,
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(TypedTensor),
    Graph(Box<GraphProto>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

#[derive(Debug, Default)]
pub(crate) struct FunctionProto {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) overload: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) opsets: BTreeMap<String, i64>,
    pub(crate) defaults: Vec<AttributeProto>,
}

/// The name and the type of an input or an output.
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// The name.
    pub name: String,
    /// The type, if the model declares one.
    pub kind: Option<Type>,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Type {
    /// A tensor with its axes, if the model declares them.
    Tensor(ElementType, Option<Vec<Dimension>>),
    /// A list of values.
    Sequence(Box<Type>),
    /// An optional value.
    Optional(Box<Type>),
}

/// The length of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A number.
    Fixed(usize),
    /// A name.
    Symbol(String),
    /// Any length.
    Unknown,
}

fn message(bytes: &[u8], mut field: impl FnMut(u64, Field<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        field(number, value)?;
    }
    Ok(())
}

pub(crate) fn model(bytes: &[u8], source: &Source<'_>) -> Result<ModelProto> {
    let mut model = ModelProto::default();
    message(bytes, |number, field| {
        match number {
            1 => model.ir_version = field.int()?,
            2 => model.producer = field.text()?,
            7 => model.graph = Some(graph(field.bytes()?, source, 0)?),
            8 => opset(field.bytes()?, &mut model.opsets)?,
            14 => model.metadata.push(entry(field.bytes()?)?),
            25 => model.functions.push(function(field.bytes()?, source)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(model)
}

/// A key and its value.
fn entry(bytes: &[u8]) -> Result<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    message(bytes, |number, field| {
        match number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

fn opset(bytes: &[u8], opsets: &mut BTreeMap<String, i64>) -> Result<()> {
    let (mut domain, mut version) = (String::new(), 0);
    message(bytes, |number, field| {
        match number {
            1 => domain = field.text()?,
            2 => version = field.int()?,
            _ => {}
        }
        Ok(())
    })?;
    opsets.insert(domain_name(domain), version);
    Ok(())
}

/// The standard domain has two names.
fn domain_name(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

fn function(bytes: &[u8], source: &Source<'_>) -> Result<FunctionProto> {
    let mut function = FunctionProto::default();
    message(bytes, |number, field| {
        match number {
            1 => function.name = field.text()?,
            4 => function.inputs.push(field.text()?),
            5 => function.outputs.push(field.text()?),
            7 => function.nodes.push(node(field.bytes()?, source, 0)?),
            9 => opset(field.bytes()?, &mut function.opsets)?,
            10 => function.domain = domain_name(field.text()?),
            11 => function.defaults.push(attribute(field.bytes()?, source, 0)?),
            13 => function.overload = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(function)
}

fn graph(bytes: &[u8], source: &Source<'_>, depth: usize) -> Result<GraphProto> {
    if depth > MOST_NESTED {
        return malformed(format!("graphs are nested more than {MOST_NESTED} deep"));
    }
    let mut graph = GraphProto::default();
    message(bytes, |number, field| {
        match number {
            1 => graph.nodes.push(node(field.bytes()?, source, depth)?),
            2 => graph.name = field.text()?,
            5 => graph.initializers.push(tensor(field.bytes()?, source)?),
            11 => graph.inputs.push(value_info(field.bytes()?)?),
            12 => graph.outputs.push(value_info(field.bytes()?)?),
            15 => return malformed("sparse initializers are not supported"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(graph)
}

fn node(bytes: &[u8], source: &Source<'_>, depth: usize) -> Result<NodeProto> {
    let mut node = NodeProto::default();
    message(bytes, |number, field| {
        match number {
            1 => node.inputs.push(field.text()?),
            2 => node.outputs.push(field.text()?),
            3 => node.name = field.text()?,
            4 => node.operator = field.text()?,
            5 => node.attributes.push(attribute(field.bytes()?, source, depth)?),
            7 => node.domain = domain_name(field.text()?),
            8 => node.overload = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(node)
}

fn attribute(bytes: &[u8], source: &Source<'_>, depth: usize) -> Result<AttributeProto> {
    let mut proto = AttributeProto::default();
    let (mut kind, mut single) = (0, Attribute::None);
    let (mut floats, mut ints, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    message(bytes, |number, field| {
        match number {
            1 => proto.name = field.text()?,
            2 => single = Attribute::Float(field.float()?),
            3 => single = Attribute::Int(field.int()?),
            4 => single = Attribute::Text(lossy(field.bytes()?)),
            5 => single = Attribute::Tensor(tensor(field.bytes()?, source)?.1),
            6 => {
                single = Attribute::Graph(Box::new(graph(field.bytes()?, source, depth + 1)?));
            }
            7 => field.floats(&mut floats)?,
            8 => field.ints(&mut ints)?,
            9 => texts.push(lossy(field.bytes()?)),
            20 => kind = field.int()?,
            21 => proto.reference = field.text()?,
            22 | 23 => return malformed("sparse tensors are not supported"),
            _ => {}
        }
        Ok(())
    })?;
    // Fields may be left out if they are 0 or empty.
    proto.value = match (kind, single) {
        (6, _) => Attribute::Floats(floats),
        (7, _) => Attribute::Ints(ints),
        (8, _) => Attribute::Texts(texts),
        (1, Attribute::None) => Attribute::Float(0.0),
        (2, Attribute::None) => Attribute::Int(0),
        (3, Attribute::None) => Attribute::Text(String::new()),
        (_, Attribute::None) if !floats.is_empty() => Attribute::Floats(floats),
        (_, Attribute::None) if !ints.is_empty() => Attribute::Ints(ints),
        (_, Attribute::None) if !texts.is_empty() => Attribute::Texts(texts),
        (_, single) => single,
    };
    Ok(proto)
}

fn value_info(bytes: &[u8]) -> Result<ValueInfo> {
    let mut info = ValueInfo { name: String::new(), kind: None };
    message(bytes, |number, field| {
        match number {
            1 => info.name = field.text()?,
            2 => info.kind = kind_of(field.bytes()?, 0)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(info)
}

/// `None` for an empty type.
fn kind_of(bytes: &[u8], depth: usize) -> Result<Option<Type>> {
    if depth > MOST_NESTED {
        return malformed(format!("types are nested more than {MOST_NESTED} deep"));
    }
    let inner = |field: Field<'_>| {
        let mut inner = None;
        message(field.bytes()?, |number, field| {
            if number == 1 {
                inner = kind_of(field.bytes()?, depth + 1)?.map(Box::new);
            }
            Ok(())
        })?;
        inner.map_or_else(|| malformed("a sequence has no element type"), Ok)
    };
    let mut kind = None;
    message(bytes, |number, field| {
        match number {
            1 => kind = Some(tensor_kind(field.bytes()?)?),
            4 => kind = Some(Type::Sequence(inner(field)?)),
            9 => kind = Some(Type::Optional(inner(field)?)),
            5 | 8 => return malformed("maps and sparse tensors are not supported"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(kind)
}

fn tensor_kind(bytes: &[u8]) -> Result<Type> {
    let (mut code, mut shape) = (0, None);
    message(bytes, |number, field| {
        match number {
            1 => code = field.int()?,
            2 => {
                let mut axes = Vec::new();
                message(field.bytes()?, |number, field| {
                    if number == 1 {
                        axes.push(dimension(field.bytes()?)?);
                    }
                    Ok(())
                })?;
                shape = Some(axes);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Type::Tensor(ElementType::from_code(code)?, shape))
}

fn dimension(bytes: &[u8]) -> Result<Dimension> {
    let mut length = Dimension::Unknown;
    message(bytes, |number, field| {
        match number {
            1 => {
                let fixed = usize::try_from(field.int()?).ok();
                length = fixed.map_or(Dimension::Unknown, Dimension::Fixed);
            }
            2 => length = Dimension::Symbol(field.text()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(length)
}
