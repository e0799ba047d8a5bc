//! Encodes a graph as the bytes of an ONNX file.

use dendra_tensor::{AnyTensor, Error, Result};

use super::graph::{Graph, Node, Port, Setting};
use crate::element::ElementType;

/// The version of the file format for [`OPSET`].
const IR_VERSION: i64 = 9;
/// The operator set: that of ONNX 1.15 (November 2023) and ONNX Runtime 1.17.
const OPSET: i64 = 20;
/// The size limit of a protocol buffers message, 2 GiB.
const MOST_BYTES: usize = i32::MAX as usize;

/// Encodes a graph.
///
/// # Errors
///
/// When the file would have 2 GiB or more.
pub(super) fn encode(graph: &Graph, metadata: &[(String, String)]) -> Result<Vec<u8>> {
    let size = graph.initializers.iter().map(|(_, value)| bytes_of(value)).sum();
    check_size(size)?;
    let mut model = Message::default();
    model.bytes.reserve(size);
    model.int(1, IR_VERSION);
    model.text(2, "dendra");
    model.text(3, env!("CARGO_PKG_VERSION"));
    model.message(7, |model| {
        for node in &graph.nodes {
            model.message(1, |message| write_node(message, node));
        }
        model.text(2, "model");
        for (name, value) in &graph.initializers {
            model.message(5, |message| write_tensor(message, name, value));
        }
        for (field, ports) in [(11, &graph.inputs), (12, &graph.outputs)] {
            for port in ports {
                model.message(field, |message| write_port(message, port));
            }
        }
    });
    // The default is the empty domain, that of the standard operators.
    model.message(8, |opset| opset.int(2, OPSET));
    for (key, value) in metadata {
        model.message(14, |entry| {
            entry.text(1, key);
            entry.text(2, value);
        });
    }
    check_size(model.bytes.len())?;
    Ok(model.bytes)
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes < MOST_BYTES {
        return Ok(());
    }
    let message =
        format!("expected a model of less than 2 GiB, the limit of ONNX files, got {bytes} bytes");
    Err(Error::argument("onnx::export", message))
}

/// Writes the fields of a message; see [`crate::wire`].
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn int(&mut self, field: u64, value: i64) {
        self.key(field, 0);
        self.varint(value as u64);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.bytes.extend(value.to_le_bytes());
    }

    fn data(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.data(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.data(field, &inner.bytes);
    }
}

fn write_node(message: &mut Message, node: &Node) {
    node.inputs.iter().for_each(|input| message.text(1, input));
    node.outputs.iter().for_each(|output| message.text(2, output));
    message.text(3, &node.name);
    message.text(4, node.operator);
    for (name, setting) in &node.settings {
        message.message(5, |message| {
            message.text(1, name);
            match setting {
                Setting::Float(value) => {
                    message.float(2, *value as f32);
                    message.int(20, 1);
                }
                Setting::Int(value) => {
                    message.int(3, *value);
                    message.int(20, 2);
                }
                Setting::Text(value) => {
                    message.text(4, value);
                    message.int(20, 3);
                }
                Setting::Ints(values) => {
                    values.iter().for_each(|&value| message.int(8, value));
                    message.int(20, 7);
                }
                Setting::Texts(values) => {
                    values.iter().for_each(|value| message.text(9, value));
                    message.int(20, 8);
                }
            }
        });
    }
}

fn write_port(message: &mut Message, port: &Port) {
    message.text(1, &port.name);
    message.message(2, |kind| {
        kind.message(1, |tensor| {
            tensor.int(1, element_of(port.element) as i64);
            tensor.message(2, |shape| {
                for axis in &port.shape {
                    shape.message(1, |dimension| match axis.parse() {
                        Ok(length) => dimension.int(1, length),
                        Err(_) => dimension.text(2, axis),
                    });
                }
            });
        });
    });
}

/// The code of an element type such as `"f32"`.
fn element_of(name: &str) -> ElementType {
    match name {
        "f32" => ElementType::F32,
        "f64" => ElementType::F64,
        "f16" => ElementType::F16,
        "bf16" => ElementType::BF16,
        "u8" => ElementType::U8,
        "u16" => ElementType::U16,
        "u32" => ElementType::U32,
        "u64" => ElementType::U64,
        "i8" => ElementType::I8,
        "i16" => ElementType::I16,
        "i32" => ElementType::I32,
        "bool" => ElementType::Bool,
        _ => ElementType::I64,
    }
}

fn bytes_of(value: &AnyTensor) -> usize {
    value.shape().elements() * element_of(value.element()).bits() / 8
}

fn write_tensor(message: &mut Message, name: &str, value: &AnyTensor) {
    value.shape().iter().for_each(|&length| message.int(1, length as i64));
    message.int(2, element_of(value.element()) as i64);
    message.text(8, name);
    macro_rules! raw {
        ($($variant:ident)*) => {
            match value {
                $(AnyTensor::$variant(x) => {
                    x.to_vec().into_iter().flat_map(|x| x.to_le_bytes()).collect()
                })*
                AnyTensor::Bool(x) => x.to_vec().into_iter().map(u8::from).collect(),
            }
        };
    }
    let raw: Vec<u8> = raw!(F32 F64 F16 BF16 U8 U16 U32 U64 I8 I16 I32 I64);
    message.data(9, &raw);
}

/// The bytes of a file with one tensor.
#[cfg(test)]
pub(super) fn tensor(name: &str, value: &AnyTensor) -> Vec<u8> {
    let mut message = Message::default();
    write_tensor(&mut message, name, value);
    message.bytes
}
