//! Writing models as ONNX files.

mod call;
mod elementwise;
mod encode;
mod functions;
mod graph;
mod indexing;
mod normalisation;
mod products;
mod quantised;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod windows;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use dendra_autograd::AsAny;
use dendra_nn::write_whole;
use dendra_nn::{Model, NodeKind, Output, Setting, Size, Trace};
use dendra_quant::Quantised;
use dendra_tensor::{AnyTensor, Error, Float, Result, Tensors};

use self::call::{Call, Known};
use self::graph::{Graph, Port};
use self::quantised::Integers;

/// Writes a model in evaluation mode as an ONNX file, from its trace on example
/// inputs. Axis 0 of the inputs is the batch axis; the file accepts any batch
/// size. See [`Export`] for more.
///
/// # Errors
///
/// When the model cannot be traced (see [`Trace::of`]), has operations that
/// ONNX cannot express (the error lists all of them), or the file cannot be
/// written.
pub fn export<I: Tensors, M: Model<I>>(model: &M, example: &I, path: impl AsRef<Path>) -> Result<()>
where
    <M::Output as Output>::Values: Tensors,
{
    Export::of(model, example)?.save(path)
}

/// A model as an ONNX file of operator set 20, which ONNX Runtime supports
/// since version 1.17.
///
/// The file contains the operations of a [`Trace`]. Operations for training
/// only are left out, the batch axis is named `N`, and parameters keep their
/// names. The name of a node is made of the part of the model and the
/// operation, such as `encoder.0/linear/Gemm`. Preprocessing is not part of a
/// model, so that of a `Predictor` is left out too.
///
/// ```
/// use dendra_nn::Sequential;
/// use dendra_onnx::{Export, Model};
/// use dendra_tensor::{Rng, Tensor};
///
/// let net = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(0))?;
/// let file = Export::of(&net, &Tensor::<f32>::zeros([1, 4]))?
///     .named(&["flowers"], &["logits"])?
///     .metadata("classes", "setosa,versicolor,virginica")
///     .to_bytes()?;
/// let model = Model::parse(&file)?;
/// let outputs = model.run([("flowers", Tensor::<f32>::ones([5, 4]))])?;
/// assert_eq!(*outputs.get("logits")?.to::<f32>()?.shape(), [5, 3]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Export {
    graph: Graph,
    metadata: Vec<(String, String)>,
}

impl Export {
    /// Exports a model, from its trace on example inputs.
    ///
    /// # Errors
    ///
    /// The errors of [`export`].
    pub fn of<I: Tensors, M: Model<I>>(model: &M, example: &I) -> Result<Self>
    where
        <M::Output as Output>::Values: Tensors,
    {
        Self::of_trace(&Trace::of(model, example)?)
    }

    /// Exports a trace, such as that of a function of a model, or of inputs
    /// with another batch axis.
    ///
    /// # Errors
    ///
    /// When the trace has operations that ONNX cannot express.
    pub fn of_trace<T: Float>(trace: &Trace<T>) -> Result<Self> {
        Self::of_parts(trace, &Integers::default())
    }

    /// The file of a network of integers of [`Scheme::Static`]: each of its layers
    /// is an operator on floats with `QuantizeLinear` and `DequantizeLinear`
    /// around it, which ONNX Runtime and others join to an operator on integers.
    ///
    /// [`Scheme::Static`]: dendra_quant::Scheme::Static
    ///
    /// ```
    /// use dendra_nn::Sequential;
    /// use dendra_onnx::{Export, Model};
    /// use dendra_quant::{Quantizer, Scheme};
    /// use dendra_tensor::{Rng, Tensor};
    ///
    /// let rng = &mut Rng::seed(0);
    /// let net = Sequential::input([4]).dense(8).relu().dense(3).build(rng)?;
    /// let x = Tensor::<f32>::normal([5, 4], 0.0, 1.0, rng);
    /// let mut quantizer = Quantizer::of(&net, &x)?;
    /// quantizer.observe(&x)?;
    /// let quantised = quantizer.finish(Scheme::Static)?;
    /// let model = Model::parse(&Export::of_quantised(&quantised)?.to_bytes()?)?;
    /// assert_eq!(*model.run([("input", x)])?.get("output")?.to::<f32>()?.shape(), [5, 3]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the network is of another scheme, or has operations that ONNX cannot
    /// express.
    pub fn of_quantised(network: &Quantised) -> Result<Self> {
        if network.integer_layers().next().is_none() {
            let message = "expected a network of Scheme::Static";
            return Err(Error::argument("Export::of_quantised", message));
        }
        Self::of_parts(network.trace(), &Integers::of(network))
    }

    fn of_parts<T: Float>(trace: &Trace<T>, integers: &Integers<'_>) -> Result<Self> {
        let mut values = Vec::with_capacity(trace.nodes().len());
        for node in trace.nodes() {
            let source = match &node.kind {
                NodeKind::Input { index } => Source::Input(*index),
                NodeKind::Parameter { name, value, .. } => Source::Named(name, value.as_any()?),
                NodeKind::Buffer { name, value } => Source::Named(name, value.clone()),
                NodeKind::Constant { value, repeated: None } => Source::Constant(value.clone()),
                NodeKind::Constant { value, repeated: Some(axis) } => {
                    Source::Repeated(value.clone(), *axis)
                }
                _ => Source::Computed,
            };
            values.push(Traced {
                source,
                name: node.name(),
                part: &node.part,
                parents: &node.parents,
                settings: &node.settings,
                element: node.element,
                shape: &node.shape,
            });
        }
        Ok(Self { graph: graph_of(&values, trace.outputs(), integers)?, metadata: Vec::new() })
    }

    /// Names the inputs and the outputs. The default names are `input` and
    /// `output`, or `input0`, `input1` and so on if there are several.
    ///
    /// # Errors
    ///
    /// When the number of names differs, or a name is in use.
    pub fn named(mut self, inputs: &[&str], outputs: &[&str]) -> Result<Self> {
        self.graph.name_ports(inputs, outputs)?;
        Ok(self)
    }

    /// Adds an entry to the metadata of the file, such as the names of the
    /// classes.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Encodes the file.
    ///
    /// # Errors
    ///
    /// When the file would have 2 GiB or more.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        encode::encode(&self.graph, &self.metadata)
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or would have 2 GiB or more.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.to_bytes()?;
        write_whole(path, |file| file.write_all(&bytes))
    }
}

/// A value of a trace with its number type erased.
struct Traced<'a> {
    source: Source<'a>,
    name: &'a str,
    part: &'a str,
    parents: &'a [usize],
    settings: &'a [(&'static str, Setting)],
    element: &'static str,
    shape: &'a [Size],
}

/// The source of a value.
enum Source<'a> {
    Input(usize),
    /// A parameter or a buffer.
    Named(&'a str, AnyTensor),
    Constant(AnyTensor),
    /// The values of one sample, repeated for each sample along an axis.
    Repeated(AnyTensor, usize),
    Computed,
}

/// How an operation is exported.
#[derive(Clone, Copy)]
enum Write {
    /// As this operator with the same inputs.
    As(&'static str),
    /// By a function that returns the name of the output.
    By(fn(&mut Graph, &Call<'_>) -> Result<String>),
    /// Not at all, for this reason.
    Never(&'static str),
}

/// An operation or a function, by its name in traces.
type Row = (&'static str, Write);

const TABLES: [&[Row]; 10] = [
    elementwise::TABLE,
    functions::TABLE,
    indexing::TABLE,
    normalisation::TABLE,
    products::TABLE,
    recurrent::TABLE,
    reduce::TABLE,
    resize::TABLE,
    shape::TABLE,
    windows::TABLE,
];

fn find(name: &str) -> Write {
    static ALL: OnceLock<HashMap<&str, Write>> = OnceLock::new();
    let all = ALL.get_or_init(|| TABLES.into_iter().flatten().copied().collect());
    all.get(name).copied().unwrap_or(Write::Never("it is not an operation of Dendra"))
}

/// Converts a trace to a graph.
fn graph_of(values: &[Traced<'_>], outputs: &[usize], integers: &Integers<'_>) -> Result<Graph> {
    let mut missing = BTreeSet::new();
    for value in values.iter().filter(|value| matches!(value.source, Source::Computed)) {
        if let Write::Never(because) = find(value.name) {
            missing.insert(format!("{} ({because})", value.name));
        }
    }
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().collect();
        let message = format!("these operations cannot be exported: {}", missing.join(", "));
        return Err(Error::argument("onnx::export", message));
    }
    let mut graph = Graph::default();
    let count = values.iter().filter(|value| matches!(value.source, Source::Input(_))).count();
    let mut known: Vec<Known<'_>> = Vec::with_capacity(values.len());
    for value in values {
        let mut entry =
            Known { name: None, element: value.element, shape: value.shape, value: None };
        match &value.source {
            Source::Input(index) => {
                let name = graph.unique(&numbered("input", *index, count));
                let axis = value.shape.iter().position(|size| *size == Size::PerSample(1));
                graph.input(port(&name, value), axis);
                entry.name = Some(name);
            }
            Source::Named(_, tensor) | Source::Constant(tensor) => {
                entry.value = Some(tensor.clone());
            }
            Source::Repeated(..) | Source::Computed => {}
        }
        known.push(entry);
    }
    for (index, value) in values.iter().enumerate() {
        let links = value.settings.iter().filter_map(|(_, setting)| match setting {
            Setting::Node(node) => Some(*node),
            _ => None,
        });
        let is_output = outputs.contains(&index) && known[index].name.is_none();
        if !matches!(value.source, Source::Computed) {
            if is_output {
                known[index].name = Some(name_constant(&mut graph, value)?);
            }
            continue;
        }
        if let Some(layer) = integers.within(index) {
            known[index].name = known[layer].name.clone();
            continue;
        }
        let layer = integers.layer(index);
        // The weights of a layer of integers are other ones.
        let parents = if layer.is_some() { &value.parents[..1] } else { value.parents };
        for source in parents.iter().copied().chain(links) {
            if known[source].name.is_none() {
                known[source].name = Some(name_constant(&mut graph, &values[source])?);
            }
        }
        graph.enter(value.part, value.name);
        let call = Call {
            part: value.part,
            element: value.element,
            shape: value.shape,
            settings: value.settings,
            parents: value.parents.iter().map(|&parent| &known[parent]).collect(),
            all: &known,
        };
        if let Some(layer) = layer {
            let is_rounded = integers.unit(value.parents[0]).is_some();
            let name = quantised::write(&mut graph, &call, layer, is_rounded, value.name)?;
            known[index].name = Some(name);
            continue;
        }
        let mut name = match find(value.name) {
            Write::As(operator) => graph.op(operator, &call.inputs()),
            Write::By(write) => write(&mut graph, &call).map_err(|error| {
                let part = if value.part.is_empty() { "the model" } else { value.part };
                error.within(format!("`{}` of {part}", value.name))
            })?,
            Write::Never(_) => unreachable!("refused above"),
        };
        if let Some(unit) = integers.unit(index) {
            name = quantised::rounded(&mut graph, &name, unit);
        }
        known[index].name = Some(name);
    }
    for (index, &output) in outputs.iter().enumerate() {
        let value = known[output].name.clone().unwrap_or_default();
        let name = graph.unique(&numbered("output", index, outputs.len()));
        graph.output(&value, port(&name, &values[output]));
    }
    graph.finish();
    Ok(graph)
}

fn numbered(name: &str, index: usize, count: usize) -> String {
    if count == 1 { name.to_owned() } else { format!("{name}{index}") }
}

fn port(name: &str, value: &Traced<'_>) -> Port {
    let axis = |size: &Size| match size {
        Size::Fixed(length) => length.to_string(),
        Size::PerSample(1) => "N".to_owned(),
        Size::PerSample(factor) => format!("{factor}*N"),
    };
    let shape = value.shape.iter().map(axis).collect();
    Port { name: name.to_owned(), element: value.element, shape }
}

/// Adds a parameter or a constant to the graph.
fn name_constant(graph: &mut Graph, value: &Traced<'_>) -> Result<String> {
    Ok(match &value.source {
        Source::Named(name, tensor) => graph.initializer(name, tensor.clone()),
        Source::Constant(tensor) => graph.constant(tensor.clone()),
        Source::Repeated(one, along) => {
            graph.enter(value.part, "constant");
            let one = graph.constant(one.clone());
            let times = (0..value.shape.len()).map(|axis| match axis == *along {
                true => Size::PerSample(1),
                false => Size::Fixed(1),
            });
            let times = graph.sizes(&times.collect::<Vec<_>>())?;
            graph.op("Tile", &[&one, &times])
        }
        Source::Input(_) | Source::Computed => unreachable!("it has a name when it is used"),
    })
}

#[cfg(test)]
mod tests;
