//! Shows what goes into an ONNX model and what comes out, and which operators
//! take the time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use dendra::onnx::{Dimension, ElementType, Model, Type, Value};
use dendra::prelude::*;

mod numbers;

/// Runs an ONNX model on random inputs
#[derive(Parser)]
struct Arguments {
    /// The model
    model: PathBuf,
    /// The length of axes that the model leaves open
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    length: usize,
    /// How often to run it; the fastest time of each operator is shown
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    runs: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let model = Model::load(&arguments.model)?;
    println!("made by {:?}, loaded in {}", model.producer(), time(start.elapsed().as_secs_f64()));
    let mut inputs = Vec::new();
    for input in model.inputs() {
        println!("input   {}: {}", input.name, described(input.kind.as_ref()));
        inputs.push((input.name.as_str(), random(input.kind.as_ref(), arguments.length)?));
    }
    // The time of each node, in order, and the operator.
    let mut nodes: Vec<(String, String, f64)> = Vec::new();
    let (mut whole, mut outputs) = (f64::INFINITY, None);
    for _ in 0..arguments.runs {
        let (start, mut index) = (Instant::now(), 0);
        let found = model.run_watched(inputs.clone(), &mut |operator, node, seconds| {
            match nodes.get_mut(index) {
                Some((_, _, least)) => *least = least.min(seconds),
                None => nodes.push((operator.to_owned(), node.to_owned(), seconds)),
            }
            index += 1;
        })?;
        whole = whole.min(start.elapsed().as_secs_f64());
        outputs = Some(found);
    }
    for (name, value) in outputs.iter().flat_map(|outputs| outputs.iter()) {
        match value {
            Value::Tensor(tensor) => {
                println!("output  {name}: {} {}", tensor.element().name(), tensor.shape());
            }
            other => println!("output  {name}: {}", kind_of(other)),
        }
    }
    report(&nodes, whole);
    Ok(())
}

/// The slowest nodes, and the time of each operator.
fn report(nodes: &[(String, String, f64)], whole: f64) {
    let mut operators: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for (operator, _, seconds) in nodes {
        let (count, sum) = operators.entry(operator).or_default();
        *count += 1;
        *sum += seconds;
    }
    let mut operators: Vec<_> = operators.into_iter().collect();
    operators.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    println!("\na run takes {}", time(whole));
    for (operator, (count, seconds)) in operators {
        println!("{:>10}  {count:>4} × {operator}", time(seconds));
    }
    let mut slowest: Vec<_> = nodes.iter().collect();
    slowest.sort_by(|(_, _, a), (_, _, b)| b.total_cmp(a));
    println!("\nthe slowest nodes");
    for (operator, node, seconds) in slowest.into_iter().take(5) {
        println!("{:>10}  {operator} {node:?}", time(*seconds));
    }
}

fn time(seconds: f64) -> String {
    format!("{:.3} ms", 1e3 * seconds)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Tensor(_) => "a tensor",
        Value::Sequence(_) => "a sequence",
        Value::Optional(_) => "an optional value",
    }
}

fn described(kind: Option<&Type>) -> String {
    match kind {
        Some(Type::Tensor(element, Some(axes))) => {
            let axes = axes.iter().map(|axis| match axis {
                Dimension::Fixed(length) => length.to_string(),
                Dimension::Symbol(name) => name.clone(),
                Dimension::Unknown => "?".to_owned(),
            });
            format!("{} [{}]", element.name(), axes.collect::<Vec<_>>().join(", "))
        }
        Some(Type::Tensor(element, None)) => format!("{} of any shape", element.name()),
        Some(_) => "a sequence or an optional value".to_owned(),
        None => "of any type".to_owned(),
    }
}

/// A tensor of the shape that the model states: floats from 0 to 1, whole numbers 0.
fn random(kind: Option<&Type>, length: usize) -> Result<Value> {
    let Some(Type::Tensor(element, Some(axes))) = kind else {
        return Err(Error::argument("onnx_run", "only tensors of a known shape can be made up"));
    };
    let axes = axes.iter().map(|axis| match axis {
        Dimension::Fixed(length) => *length,
        _ => length,
    });
    let shape: Shape = axes.collect();
    let zeros = Tensor::<i64>::zeros(&shape);
    Ok(match element {
        ElementType::F32 => Tensor::<f32>::uniform(shape, 0.0, 1.0, &mut Rng::seed(1)).into(),
        ElementType::F64 => Tensor::<f64>::uniform(shape, 0.0, 1.0, &mut Rng::seed(1)).into(),
        ElementType::I64 => zeros.into(),
        ElementType::I32 => Tensor::<i32>::zeros(shape).into(),
        ElementType::U8 => Tensor::<u8>::zeros(shape).into(),
        ElementType::I8 => Tensor::<i8>::zeros(shape).into(),
        ElementType::Bool => zeros.map(|x| x != 0).into(),
        other => {
            let message = format!("elements of type {} are not made up", other.name());
            return Err(Error::argument("onnx_run", message));
        }
    })
}
