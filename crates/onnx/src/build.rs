//! Builds a plan from the messages of a file, with all checks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use dendra_autograd::Param;
use dendra_tensor::{Error, Result};

use crate::fold::{Dequantise, fold};
use crate::ops;
use crate::plan::{Action, Graph, Node, Plan, Setting, Step};
use crate::proto::{Attribute, FunctionProto, GraphProto, ModelProto, NodeProto};
use crate::tensor::{Data, TypedTensor};
use crate::value::Value;
use crate::wire::malformed;

/// The largest depth of function calls.
const MOST_CALLS: usize = 32;
/// The largest number of steps of a model after its functions are expanded is
/// this number plus some for each node of the file. Otherwise a few nested
/// functions could make a model of any size.
const MOST_STEPS: usize = 2048;
const STEPS_PER_NODE: usize = 64;

/// The largest number of operators in an error message, more than any network
/// uses.
const MOST_NAMES: usize = 100;

/// Parameters with their names.
pub(crate) type Named = Vec<(String, Param<f32>)>;

/// The plan of a model and its parameters.
pub(crate) fn build(model: &ModelProto) -> Result<(Plan, Named)> {
    let Some(graph) = &model.graph else {
        return malformed("expected an ONNX model, got a file without a graph");
    };
    if model.opsets.is_empty() {
        return malformed("expected an operator set in the model, got none");
    }
    let functions = model.functions.iter();
    let functions = functions.map(|f| ((&f.domain[..], &f.name[..], &f.overload[..]), f)).collect();
    let nodes = graph.nodes.len() + model.functions.iter().map(|f| f.nodes.len()).sum::<usize>();
    let mut builder = Builder {
        functions,
        scopes: Vec::new(),
        missing: BTreeSet::new(),
        parameters: Vec::new(),
        calls: 0,
        steps: 0,
        most_steps: MOST_STEPS + STEPS_PER_NODE * nodes,
    };
    let context = Context { opsets: &model.opsets, bindings: &BTreeMap::new() };
    let plan = builder.graph(graph, &context, true)?.plan;
    if !builder.missing.is_empty() {
        let count = builder.missing.len();
        let mut missing: Vec<_> = builder.missing.into_iter().take(MOST_NAMES).collect();
        if count > MOST_NAMES {
            missing.push(format!("and {} others", count - MOST_NAMES));
        }
        return malformed(format!("these operators are not supported: {}", missing.join(", ")));
    }
    let plan = Arc::into_inner(plan).expect("nothing else holds the plan");
    Ok((plan, builder.parameters))
}

struct Builder<'a> {
    functions: HashMap<(&'a str, &'a str, &'a str), &'a FunctionProto>,
    /// The graphs that are being built, from the outermost one.
    scopes: Vec<Scope>,
    missing: BTreeSet<String>,
    parameters: Vec<(String, Param<f32>)>,
    calls: usize,
    steps: usize,
    most_steps: usize,
}

/// The names of a graph.
#[derive(Default)]
struct Scope {
    names: HashMap<String, usize>,
    slots: usize,
    captures: Vec<(usize, usize)>,
    /// Whether the names of the surrounding graph are not visible here.
    is_function: bool,
}

/// The values that the nodes of a graph refer to.
struct Context<'a> {
    opsets: &'a BTreeMap<String, i64>,
    /// The attributes that a function was called with.
    bindings: &'a BTreeMap<String, Setting>,
}

impl Scope {
    fn slot(&mut self, name: &str) -> usize {
        self.names.insert(name.to_owned(), self.slots);
        self.slots += 1;
        self.slots - 1
    }
}

impl Builder<'_> {
    fn scope(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("a graph is being built")
    }

    /// The slot of a name in the graph at this level.
    fn resolve(&mut self, level: usize, name: &str) -> Option<usize> {
        if let Some(&slot) = self.scopes[level].names.get(name) {
            return Some(slot);
        }
        if level == 0 || self.scopes[level].is_function {
            return None;
        }
        let outer = self.resolve(level - 1, name)?;
        let scope = &mut self.scopes[level];
        let inner = scope.slot(name);
        scope.captures.push((outer, inner));
        Some(inner)
    }

    fn known(&mut self, name: &str, reader: &str) -> Result<usize> {
        let level = self.scopes.len() - 1;
        self.resolve(level, name).map_or_else(
            || malformed(format!("{reader} reads {}, which no node produces", shown(name))),
            Ok,
        )
    }

    fn graph(&mut self, graph: &GraphProto, context: &Context<'_>, is_main: bool) -> Result<Graph> {
        self.scopes.push(Scope::default());
        let mut plan = Plan::default();
        for input in &graph.inputs {
            if self.scope().names.contains_key(&input.name) {
                return malformed(format!("two inputs are named {}", shown(&input.name)));
            }
            plan.inputs.push(self.scope().slot(&input.name));
        }
        let constants = constant_names(graph);
        let mut stored = HashSet::new();
        for (name, tensor) in &graph.initializers {
            if !stored.insert(name) {
                return malformed(format!("two initializers are named {}", shown(name)));
            }
            let slot = match self.scope().names.get(name) {
                Some(&slot) => slot,
                None => self.scope().slot(name),
            };
            match &tensor.data {
                Data::F32(x) if is_main && is_trained(name, tensor, &constants) => {
                    plan.parameters.push((slot, self.parameters.len()));
                    self.parameters.push((name.clone(), Param::new(x.value().clone())));
                }
                _ => plan.constants.push((slot, Value::Tensor(tensor.clone()))),
            }
        }
        self.steps_of(&graph.nodes, context, &mut plan)?;
        for output in &graph.outputs {
            plan.outputs.push(self.known(&output.name, "the output of a graph")?);
        }
        let (plan, captures) = self.finish(plan);
        Ok(Graph { plan: Arc::new(plan), captures })
    }

    fn function(
        &mut self,
        function: &FunctionProto,
        bindings: &BTreeMap<String, Setting>,
    ) -> Result<Plan> {
        self.calls += 1;
        if self.calls > MOST_CALLS {
            return malformed(format!("functions call each other more than {MOST_CALLS} deep"));
        }
        self.scopes.push(Scope { is_function: true, ..Scope::default() });
        let mut plan = Plan::default();
        for input in &function.inputs {
            plan.inputs.push(self.scope().slot(input));
        }
        let mut all: BTreeMap<String, Setting> = BTreeMap::new();
        for default in &function.defaults {
            all.extend(Setting::of(&default.value).map(|value| (default.name.clone(), value)));
        }
        all.extend(bindings.iter().map(|(name, value)| (name.clone(), value.clone())));
        let context = Context { opsets: &function.opsets, bindings: &all };
        self.steps_of(&function.nodes, &context, &mut plan)?;
        for output in &function.outputs {
            plan.outputs.push(self.known(output, "the output of a function")?);
        }
        self.calls -= 1;
        Ok(self.finish(plan).0)
    }

    /// Returns the plan, and the pairs of slots of the surrounding graph and of
    /// this one for the same value.
    fn finish(&mut self, mut plan: Plan) -> (Plan, Vec<(usize, usize)>) {
        let scope = self.scopes.pop().expect("a graph is being built");
        plan.slots = scope.slots;
        fold(&mut plan, Dequantise::No);
        plan.free_early();
        (plan, scope.captures)
    }

    fn steps_of(
        &mut self,
        nodes: &[NodeProto],
        context: &Context<'_>,
        plan: &mut Plan,
    ) -> Result<()> {
        for index in order(nodes)? {
            let node = &nodes[index];
            self.steps += 1;
            if self.steps > self.most_steps {
                let most = self.most_steps;
                return malformed(format!("the model has more than {most} steps"));
            }
            let within = |error: Error| error.within(describe(node));
            if let Some(step) = self.step(node, context).map_err(within)? {
                // A constant needs no step.
                if let (Action::Operator(operator), Some(Some(output))) =
                    (&step.node.action, step.outputs.first())
                    && operator.name == "Constant"
                {
                    let value = ops::constant(&step.node).map_err(within)?;
                    plan.constants.push((*output, value.into()));
                } else {
                    plan.steps.push(step);
                }
            }
        }
        Ok(())
    }

    /// The slots of the inputs; `None` for an input that is left out.
    fn step(&mut self, node: &NodeProto, context: &Context<'_>) -> Result<Option<Step>> {
        let inputs = node.inputs.iter().map(|name| match &name[..] {
            "" => Ok(None),
            name => self.known(name, "the node").map(Some),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let mut attributes = BTreeMap::new();
        let mut graphs = BTreeMap::new();
        for attribute in &node.attributes {
            let name = &attribute.name;
            if !attribute.reference.is_empty() {
                if let Some(value) = context.bindings.get(&attribute.reference) {
                    attributes.insert(name.clone(), value.clone());
                }
                continue;
            }
            match &attribute.value {
                Attribute::Graph(graph) => {
                    graphs.insert(name.clone(), self.graph(graph, context, false)?);
                }
                value => attributes.extend(Setting::of(value).map(|value| (name.clone(), value))),
            }
        }
        let key = (&node.domain[..], &node.operator[..], &node.overload[..]);
        let action = match (self.functions.get(&key).copied(), ops::find(key.0, key.1)) {
            (Some(function), _) => {
                Some(Action::Function(Box::new(self.function(function, &attributes)?)))
            }
            (None, found) => found.map(Action::Operator),
        };
        let outputs = node.outputs.iter().map(|name| match &name[..] {
            "" => None,
            name => Some(self.scope().slot(name)),
        });
        let outputs = outputs.collect();
        let Some(action) = action else {
            let dot = if node.domain.is_empty() { "" } else { "." };
            let (domain, operator) = (start_of(&node.domain), start_of(&node.operator));
            self.missing.insert(format!("{domain}{dot}{operator}"));
            return Ok(None);
        };
        let version = context.opsets.get(&node.domain).copied();
        let version = match version {
            Some(version) => version,
            None if node.domain.is_empty() => {
                return malformed("expected the version of the standard operators, got none");
            }
            None => 1,
        };
        let first = node.outputs.first().cloned().unwrap_or_default();
        let node = Node {
            packed: None,
            action,
            name: if node.name.is_empty() { first } else { node.name.clone() },
            operator: node.operator.clone(),
            version,
            attributes,
        };
        Ok(Some(Step { node: Arc::new(node), inputs, outputs, graphs, last: Vec::new() }))
    }
}

/// The start of a name, for an error message.
pub(crate) fn start_of(name: &str) -> &str {
    let end = name.char_indices().nth(30).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

/// A name in quotes, shortened if it is long.
fn shown(name: &str) -> String {
    let start = start_of(name);
    if start.len() == name.len() { format!("{name:?}") } else { format!("{start:?}…") }
}

fn describe(node: &NodeProto) -> String {
    let name = Some(&node.name).filter(|name| !name.is_empty()).or(node.outputs.first());
    match name {
        Some(name) => format!("{} {}", start_of(&node.operator), shown(name)),
        None => start_of(&node.operator).to_owned(),
    }
}

/// Whether an initializer is a parameter: floats with at least one axis that
/// are not used only as settings of operators.
fn is_trained(name: &str, tensor: &TypedTensor, constants: &HashSet<&str>) -> bool {
    tensor.element() == crate::ElementType::F32 && tensor.rank() > 0 && !constants.contains(name)
}

/// The names that nodes read only as settings, such as the running statistics
/// of a batch normalization.
fn constant_names(graph: &GraphProto) -> HashSet<&str> {
    let (mut settings, mut others) = (HashSet::new(), HashSet::new());
    for node in &graph.nodes {
        for (index, name) in node.inputs.iter().enumerate() {
            let is_setting = ops::is_setting(&node.operator, index);
            if is_setting { &mut settings } else { &mut others }.insert(&name[..]);
        }
    }
    settings.retain(|name| !others.contains(name));
    settings
}

/// Sorts the nodes so that each follows those whose outputs it reads. The order
/// of the file is kept where possible.
fn order(nodes: &[NodeProto]) -> Result<Vec<usize>> {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            if producers.insert(output, index).is_some() {
                return malformed(format!("two nodes produce {}", shown(output)));
            }
        }
    }
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waiting = vec![0_usize; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let mut names = HashSet::new();
        read_by(node, &mut names);
        let before: BTreeSet<usize> =
            names.iter().filter_map(|name| producers.get(name)).copied().collect();
        waiting[index] = before.len();
        for producer in before {
            followers[producer].push(index);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|&index| waiting[index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &follower in &followers[index] {
            waiting[follower] -= 1;
            if waiting[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    match waiting.iter().position(|&count| count > 0) {
        None => Ok(order),
        Some(index) => {
            malformed(format!("{} is part of a cycle or after one", describe(&nodes[index])))
        }
    }
}

/// The names that a node reads, including those of its graphs.
fn read_by<'a>(node: &'a NodeProto, names: &mut HashSet<&'a str>) {
    names.extend(node.inputs.iter().map(String::as_str));
    for attribute in &node.attributes {
        if let Attribute::Graph(graph) = &attribute.value {
            let mut inside = HashSet::new();
            for node in &graph.nodes {
                read_by(node, &mut inside);
            }
            inside.extend(graph.outputs.iter().map(|output| output.name.as_str()));
            let defined = graph.inputs.iter().map(|input| &input.name);
            let defined = defined.chain(graph.initializers.iter().map(|(name, _)| name));
            let defined = defined.chain(graph.nodes.iter().flat_map(|node| &node.outputs));
            for name in defined {
                inside.remove(name.as_str());
            }
            names.extend(inside);
        }
    }
}
