//! Assignment of values to the parts of a model.

use dendra_autograd::{ParamId, Scope};
use dendra_tensor::Float;

use super::Part;
use super::graph::{Graph, RawKind, RawNode, State};

/// Returns the path of the part of each value, and the parts.
///
/// Every layer entered with [`Tape::enter`](dendra_autograd::Tape::enter) is a
/// part. Inside a part, an operation belongs to the layer whose parameters it
/// uses. An operation without parameters belongs to the common path of the layers
/// before and after it.
pub(super) fn parts_of<T: Float>(graph: &Graph<T>, state: &[State<T>]) -> (Vec<String>, Vec<Part>) {
    let id_of = |id: ParamId| {
        let found = state.iter().find(|entry| entry.param.is_some_and(|(other, _)| other == id));
        found.map(|entry| entry.name.as_str())
    };
    let mut scopes: Vec<String> = Vec::with_capacity(graph.scopes.len());
    for (index, scope) in graph.scopes.iter().enumerate() {
        scopes.push(if index == 0 { String::new() } else { path_of(scope, &scopes, &id_of) });
    }
    let layers = layers_used(graph, state);
    let mut paths = Vec::with_capacity(graph.nodes.len());
    for (node, raw) in graph.nodes.iter().enumerate() {
        let path = match (&raw.kind, &layers[node]) {
            (RawKind::State(index), _) => Some(layer_of(&state[*index].name).to_owned()),
            (RawKind::Input(_) | RawKind::Constant, _) => None,
            (_, Some(layer)) => Some(layer.clone()),
            _ => {
                let before = layers[..node].iter().flatten().next_back();
                let after = layers[node..].iter().flatten().next();
                before.zip(after).map(|(before, after)| in_common(before, after))
            }
        };
        let scope = &scopes[raw.scope];
        paths.push(path.filter(|path| is_within(path, scope)).unwrap_or_else(|| scope.clone()));
    }
    let mut parts: Vec<Part> = Vec::new();
    for (path, raw) in paths.iter().zip(&graph.nodes) {
        if !is_computed(raw) || parts.iter().any(|part| part.path == *path) {
            continue;
        }
        let told = scopes.iter().position(|scope| scope == path);
        let description = told.map_or_else(String::new, |i| graph.scopes[i].description.clone());
        parts.push(Part { path: path.clone(), description });
    }
    (paths, parts)
}

fn is_computed<T: Float>(raw: &RawNode<T>) -> bool {
    matches!(raw.kind, RawKind::Operation(_) | RawKind::Function(_))
}

/// Returns, for each operation, the layer whose parameters it uses. Values
/// computed only from parameters count as parameters.
fn layers_used<T: Float>(graph: &Graph<T>, state: &[State<T>]) -> Vec<Option<String>> {
    // The layers of parameters, and of values computed only from parameters.
    let mut made: Vec<Option<&str>> = Vec::with_capacity(graph.nodes.len());
    let mut used = Vec::with_capacity(graph.nodes.len());
    for raw in &graph.nodes {
        let layer = raw.parents.iter().find_map(|&parent| made[parent]);
        let mut sources = raw.parents.iter().chain(raw.links.iter().map(|(_, node)| node));
        let is_made = sources.all(|&source| made[source].is_some());
        made.push(match raw.kind {
            RawKind::State(index) => Some(layer_of(&state[index].name)),
            _ => layer.filter(|_| is_made),
        });
        used.push(layer.map(str::to_owned));
    }
    used
}

/// Returns the path of the layer: `encoder.fc1` for `encoder.fc1.weight`.
pub(super) fn layer_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(layer, _)| layer)
}

fn path_of<'a>(
    scope: &Scope,
    outer: &[String],
    name_of: &dyn Fn(ParamId) -> Option<&'a str>,
) -> String {
    // Derives the path of the container in the model from one of its parameters.
    let container = scope.anchor.as_ref().and_then(|(id, path)| {
        let container = name_of(*id)?.strip_suffix(path.as_str())?;
        Some(container.strip_suffix('.').unwrap_or(container))
    });
    match container.unwrap_or(&outer[scope.parent]) {
        "" => scope.name.clone(),
        container => format!("{container}.{}", scope.name),
    }
}

fn in_common(a: &str, b: &str) -> String {
    let common = a.split('.').zip(b.split('.')).take_while(|(a, b)| a == b);
    common.map(|(part, _)| part).collect::<Vec<_>>().join(".")
}

/// Returns whether a path is that of a part or of something inside it.
pub(super) fn is_within(path: &str, part: &str) -> bool {
    part.is_empty()
        || path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
