//! Malformed ONNX models.

use super::{Files, Hostile};

/// A field of bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// A field that is an integer.
fn int(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    varint(value, &mut field);
    field
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes()));
    let outputs = outputs.iter().flat_map(|name| bytes(2, name.as_bytes()));
    let node: Vec<u8> = inputs.chain(outputs).chain(bytes(4, operator.as_bytes())).collect();
    bytes(1, &node)
}

/// A model of version 21 with a graph.
fn model(graph: &[u8]) -> Vec<u8> {
    let version = int(2, 21);
    [int(1, 10), bytes(8, &version), bytes(7, graph)].concat()
}

/// An initializer of floats with these lengths and raw bytes.
fn initializer(dims: &[u64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&length| int(1, length)).collect();
    bytes(5, &[dims, int(2, 1), bytes(8, b"w"), bytes(9, raw)].concat())
}

/// A graph within a graph, and so on.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(node("Relu", &["x"], &["y"]), |graph, _| {
        let attribute = [bytes(1, b"then_branch"), bytes(6, &graph)].concat();
        bytes(1, &[bytes(4, b"If"), bytes(5, &attribute)].concat())
    })
}

/// Functions of which each calls the next one twice.
fn doubling(count: usize) -> Vec<u8> {
    let mut model = model(&[node("f0", &[], &["y"]), bytes(12, &bytes(1, b"y"))].concat());
    for index in 0..count {
        let call = |output: &[u8]| {
            let next = format!("f{}", index + 1);
            bytes(7, &[bytes(2, output), bytes(4, next.as_bytes())].concat())
        };
        let name = bytes(1, format!("f{index}").as_bytes());
        let version = bytes(9, &int(2, 21));
        let function = [name, bytes(5, b"a"), call(b"a"), call(b"b"), version].concat();
        // Field 25 has a number of two bytes.
        model.extend([0xca, 0x01]);
        varint(function.len() as u64, &mut model);
        model.extend(function);
    }
    model
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = Files::of(&["onnx"]);
    let relu = node("Relu", &["w"], &["y"]);
    let output = bytes(12, &bytes(1, b"y"));
    let weight = initializer(&[2], &[0; 8]);
    let sound = model(&[relu.clone(), weight, output.clone()].concat());
    files.withstood("a model as a whole", &sound[..]);
    for length in [0, 1, 2, 5, sound.len() / 2, sound.len() - 1] {
        files.refused(format!("a model cut off at {length}"), &sound[..length]);
    }
    files.refused("text", "a model? no");
    files.refused(
        "a number without an end",
        [0x08; 1].iter().chain(&[0xff; 20]).copied().collect::<Vec<u8>>(),
    );
    files.refused("a group", [0x0b, 0x0c]);
    files.refused(
        "a length of 2^63",
        [0x3a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
    );
    files.refused("a model without a version", bytes(7, &relu));
    for (what, dims) in [
        ("2^40 elements", &[1_u64 << 40][..]),
        ("more elements than there are addresses", &[1 << 32, 1 << 32, 1 << 32]),
        ("a negative length", &[u64::MAX]),
        ("one element too many", &[3]),
        ("one element too few", &[1]),
        ("100,000 axes", &[1; 100_000]),
    ] {
        let graph = [initializer(dims, &[0; 8]), relu.clone(), output.clone()].concat();
        files.refused(format!("a tensor of {what}"), model(&graph));
    }
    let complex = bytes(5, &[int(1, 1), int(2, 14), bytes(9, &[0; 8])].concat());
    files.refused("complex numbers", model(&complex));
    let outside = [bytes(1, b"location"), bytes(2, b"../../etc/passwd")].concat();
    let outside = bytes(5, &[int(1, 2), int(2, 1), bytes(13, &outside), int(14, 1)].concat());
    files.refused("data outside the folder", model(&outside));
    let cycle = [node("Relu", &["a"], &["b"]), node("Relu", &["b"], &["a"])].concat();
    files.refused("a cycle", model(&cycle));
    files.refused("a node that reads itself", model(&node("Relu", &["a"], &["a"])));
    files.refused("an input that nothing produces", model(&relu));
    let twice = [node("Range", &[], &["a"]), node("Range", &[], &["a"])].concat();
    files.refused("two nodes for one value", model(&twice));
    files.refused("an unknown operator", model(&node("Conjure", &[], &["a"])));
    let long = "x".repeat(100_000);
    files.refused("an operator with a long name", model(&node(&long, &[&long], &[&long])));
    let many: Vec<u8> =
        (0..5000).flat_map(|i| node(&format!("Operator{i}"), &[], &[&format!("y{i}")])).collect();
    files.refused("5,000 unknown operators", model(&many));
    for depth in [33, 1000] {
        files.refused(format!("graphs nested {depth} deep"), model(&nested(depth)));
    }
    let sequence = (0..1000).fold(bytes(1, &int(1, 1)), |kind, _| bytes(4, &bytes(1, &kind)));
    let input = bytes(11, &[bytes(1, b"x"), bytes(2, &sequence)].concat());
    files.refused("types nested 1,000 deep", model(&input));
    files.refused("functions that double 20 times", doubling(20));
    files.refused("functions that double 40 times", doubling(40));
    files.withstood("10,000 empty nodes", model(&[0x0a, 0].repeat(10_000)));
    files.files
}
