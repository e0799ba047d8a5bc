//! The allowed dependencies between the crates of this workspace.
//!
//! The layers make it possible to use a part of Dendra without the rest, and keep each crate small
//! enough to understand. Tests may depend on crates in higher layers than the code that they test,
//! but no crate may depend on itself through them.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::Package;

/// Each package and the packages of the workspace that its code may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dendra-tensor", &[]),
    ("dendra-derive", &[]),
    ("dendra-autograd", &["dendra-tensor"]),
    ("dendra-nn", &["dendra-tensor", "dendra-autograd", "dendra-derive"]),
    (
        "dendra-models",
        &["dendra-tensor", "dendra-autograd", "dendra-derive", "dendra-nn", "dendra-datasets"],
    ),
    ("dendra-losses", &["dendra-tensor", "dendra-autograd", "dendra-derive"]),
    ("dendra-optim", &["dendra-tensor", "dendra-autograd", "dendra-derive"]),
    ("dendra-datasets", &["dendra-tensor", "dendra-derive"]),
    (
        "dendra-train",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-derive",
            "dendra-nn",
            "dendra-losses",
            "dendra-optim",
            "dendra-datasets",
        ],
    ),
    ("dendra-explain", &["dendra-tensor", "dendra-autograd", "dendra-derive", "dendra-nn"]),
    (
        "dendra-privacy",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-derive",
            "dendra-nn",
            "dendra-losses",
            "dendra-optim",
            "dendra-datasets",
            "dendra-train",
        ],
    ),
    (
        "dendra-distributed",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-derive",
            "dendra-losses",
            "dendra-optim",
            "dendra-train",
        ],
    ),
    ("dendra-weights", &["dendra-tensor", "dendra-autograd", "dendra-nn"]),
    ("dendra-quant", &["dendra-tensor", "dendra-autograd", "dendra-nn"]),
    ("dendra-onnx", &["dendra-tensor", "dendra-autograd", "dendra-nn", "dendra-quant"]),
    (
        "dendra-deploy",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-nn",
            "dendra-datasets",
            "dendra-onnx",
            "dendra-quant",
        ],
    ),
    ("dendra-c", &["dendra-tensor", "dendra-deploy"]),
    (
        "dendra-wasm",
        &["dendra-tensor", "dendra-autograd", "dendra-nn", "dendra-losses", "dendra-optim"],
    ),
    ("dendra-serve", &["dendra-tensor", "dendra-datasets", "dendra-deploy"]),
    (
        "dendra",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-derive",
            "dendra-nn",
            "dendra-models",
            "dendra-losses",
            "dendra-optim",
            "dendra-datasets",
            "dendra-train",
            "dendra-explain",
            "dendra-weights",
            "dendra-onnx",
            "dendra-privacy",
            "dendra-distributed",
            "dendra-quant",
            "dendra-deploy",
        ],
    ),
    (
        "dendra-python",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-nn",
            "dendra-losses",
            "dendra-optim",
            "dendra-datasets",
            "dendra-train",
            "dendra-onnx",
        ],
    ),
    (
        "dendra-cli",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-nn",
            "dendra-losses",
            "dendra-optim",
            "dendra-datasets",
            "dendra-train",
            "dendra-weights",
            "dendra-onnx",
            "dendra-quant",
            "dendra-deploy",
            "dendra-serve",
        ],
    ),
    ("dendra-bench", &["dendra"]),
    (
        "dendra-conformance",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-nn",
            "dendra-losses",
            "dendra-optim",
            "dendra-onnx",
        ],
    ),
    (
        "dendra-hostile",
        &[
            "dendra-tensor",
            "dendra-autograd",
            "dendra-nn",
            "dendra-datasets",
            "dendra-models",
            "dendra-onnx",
            "dendra-quant",
            "dendra-weights",
        ],
    ),
    ("xtask", &[]),
];

/// A dependency of one package of the workspace on another.
#[derive(Debug)]
pub(super) struct Edge {
    from: String,
    to: String,
    /// Only its tests, examples and benchmarks depend on it.
    development: bool,
}

/// All edges between packages of the workspace.
pub(super) fn between(packages: &[Package]) -> Vec<Edge> {
    let ours = |name: &String| packages.iter().any(|package| package.name == *name);
    let edge = |from: &Package, (to, development): &(String, bool)| Edge {
        from: from.name.clone(),
        to: to.clone(),
        development: *development,
    };
    packages
        .iter()
        .flat_map(|package| {
            let among_us = package.dependencies.iter().filter(|(name, _)| ours(name));
            among_us.map(|dependency| edge(package, dependency))
        })
        .collect()
}

/// The edges that are not allowed.
pub(super) fn problems(edges: &[Edge]) -> Vec<String> {
    let mut problems: Vec<String> = edges.iter().filter_map(forbidden).collect();
    problems.extend(cycle(edges));
    problems
}

fn forbidden(Edge { from, to, development }: &Edge) -> Option<String> {
    if *development {
        return None;
    }
    match ALLOWED.iter().find(|(name, _)| name == from) {
        None => Some(format!("{from}: say in xtask/src/tidy/edges.rs what it may depend on")),
        Some((_, allowed)) => (!allowed.contains(&to.as_str()))
            .then(|| format!("{from}: must not depend on {to}; the layers are in {}", file!())),
    }
}

/// A dependency cycle, if there is one, including the dependencies of tests.
fn cycle(edges: &[Edge]) -> Option<String> {
    let mut remaining: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Edge { from, to, .. } in edges {
        remaining.entry(from).or_default().insert(to);
        remaining.entry(to).or_default();
    }
    // Repeatedly remove packages without remaining dependencies; those that are left are on a cycle
    // or depend on one.
    while let Some(leaf) =
        remaining.iter().find_map(|(name, needs)| needs.is_empty().then_some(*name))
    {
        remaining.remove(leaf);
        remaining.values_mut().for_each(|needs| {
            needs.remove(leaf);
        });
    }
    let mut path = vec![*remaining.keys().next()?];
    loop {
        let next = *remaining[path[path.len() - 1]].first()?;
        if let Some(start) = path.iter().position(|name| *name == next) {
            path.push(next);
            return Some(format!("dependencies in a circle: {}", path[start..].join(" -> ")));
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata;

    fn edge(from: &str, to: &str, development: bool) -> Edge {
        Edge { from: from.to_owned(), to: to.to_owned(), development }
    }

    #[test]
    fn the_table_allows_no_circle() {
        let all: Vec<Edge> = ALLOWED
            .iter()
            .flat_map(|(from, allowed)| allowed.iter().map(|to| edge(from, to, false)))
            .collect();
        assert_eq!(problems(&all), [""; 0]);
    }

    #[test]
    fn forbidden_edges_are_found() {
        for (from, to) in [
            ("dendra-tensor", "dendra-autograd"),
            ("dendra-autograd", "dendra-derive"),
            ("dendra-losses", "dendra-nn"),
            ("dendra-optim", "dendra-nn"),
            ("dendra-datasets", "dendra-autograd"),
            ("dendra-train", "dendra"),
            ("dendra-new", "dendra-tensor"),
        ] {
            let found = problems(&[edge(from, to, false)]);
            assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
            assert!(found[0].starts_with(&format!("{from}: ")), "{found:?}");
        }
    }

    #[test]
    fn tests_may_depend_on_higher_layers_but_not_in_a_circle() {
        let up = edge("dendra-losses", "dendra-nn", true);
        assert_eq!(problems(&[up]), [""; 0]);
        let circle = [
            edge("dendra", "dendra-autograd", false),
            edge("dendra-autograd", "dendra-tensor", false),
            edge("dendra-tensor", "dendra-autograd", true),
        ];
        assert_eq!(
            problems(&circle),
            ["dependencies in a circle: dendra-autograd -> dendra-tensor -> dendra-autograd"]
        );
    }

    #[test]
    fn edges_of_the_real_workspace_are_found_and_others_left_out() {
        let found = between(&metadata::packages(&crate::root()).unwrap());
        let known = |e: &Edge| e.from == "dendra-autograd" && e.to == "dendra-tensor";
        assert!(found.iter().any(|e| known(e) && !e.development), "{found:?}");
        assert!(found.iter().any(|e| e.from == "xtask" && e.development), "{found:?}");
        assert!(found.iter().all(|e| e.to.starts_with("dendra")), "{found:?}");
    }
}
