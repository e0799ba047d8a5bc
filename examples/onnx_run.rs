//! Shows the inputs, the outputs and the time of each operator of an ONNX
//! model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use dendra::onnx::{Dimension, ElementType, Model, Outputs, Type, Value};
use dendra::prelude::*;

mod numbers;

/// Runs an ONNX model on random inputs
#[derive(Parser)]
struct Arguments {
    /// The model
    model: PathBuf,
    /// The length of axes without a fixed length
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = numbers::at_least::<1, usize>, allow_negative_numbers = true)]
    length: usize,
    /// The number of runs; the fastest time of each operator is shown
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
    let times = Times::of(&model, &inputs, arguments.runs)?;
    for (name, value) in times.outputs.iter() {
        println!("output  {name}: {}", kind_of(value));
    }
    print!("\n{times}");
    Ok(())
}

/// The outputs of a model, and the fastest time of each node and of a run, in
/// seconds.
pub(crate) struct Times {
    pub(crate) outputs: Outputs,
    pub(crate) nodes: Vec<Node>,
    pub(crate) whole: f64,
}

pub(crate) struct Node {
    pub(crate) operator: String,
    pub(crate) name: String,
    pub(crate) seconds: f64,
}

impl Times {
    pub(crate) fn of(model: &Model, inputs: &[(&str, Value)], runs: usize) -> Result<Self> {
        let mut times: Option<Self> = None;
        for _ in 0..runs.max(1) {
            let (start, mut nodes) = (Instant::now(), Vec::new());
            let watch = &mut |operator: &str, name: &str, seconds: f64| {
                nodes.push(Node { operator: operator.to_owned(), name: name.to_owned(), seconds });
            };
            let outputs = model.run_watched(inputs.to_vec(), watch)?;
            let whole = start.elapsed().as_secs_f64();
            let now = Self { outputs, nodes, whole };
            times = Some(match times {
                None => now,
                Some(before) => now.fastest(before),
            });
        }
        times.ok_or_else(|| Error::argument("onnx_run", "expected at least one run"))
    }

    fn fastest(mut self, before: Self) -> Self {
        self.whole = self.whole.min(before.whole);
        // The first run for a shape has other nodes: later runs fuse some of
        // them.
        for (now, before) in self.nodes.iter_mut().zip(before.nodes) {
            if (&now.operator, &now.name) == (&before.operator, &before.name) {
                now.seconds = now.seconds.min(before.seconds);
            }
        }
        self
    }
}

/// The time of each operator, and the slowest nodes.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut operators: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for node in &self.nodes {
            let (count, sum) = operators.entry(&node.operator).or_default();
            *count += 1;
            *sum += node.seconds;
        }
        let mut operators: Vec<_> = operators.into_iter().collect();
        operators.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
        writeln!(f, "a run takes {}", time(self.whole))?;
        for (operator, (count, seconds)) in operators {
            writeln!(f, "{:>10}  {count:>4} × {operator}", time(seconds))?;
        }
        let mut slowest: Vec<&Node> = self.nodes.iter().collect();
        slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        writeln!(f, "\nthe slowest nodes")?;
        for Node { operator, name, seconds } in slowest.into_iter().take(5) {
            writeln!(f, "{:>10}  {operator} {name:?}", time(*seconds))?;
        }
        Ok(())
    }
}

fn time(seconds: f64) -> String {
    format!("{:.3} ms", 1e3 * seconds)
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Tensor(tensor) => format!("{} {}", tensor.element().name(), tensor.shape()),
        Value::Sequence(_) => "a sequence".to_owned(),
        Value::Optional(_) => "an optional value".to_owned(),
    }
}

pub(crate) fn described(kind: Option<&Type>) -> String {
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

/// A tensor of the declared shape: floats from 0 to 1, integers 0.
pub(crate) fn random(kind: Option<&Type>, length: usize) -> Result<Value> {
    let Some(Type::Tensor(element, Some(axes))) = kind else {
        return Err(Error::argument("onnx_run", "random inputs need tensors of a known shape"));
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
            let message = format!("random inputs of type {} are not supported", other.name());
            return Err(Error::argument("onnx_run", message));
        }
    })
}
