//! The budget for the number of dependencies.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{Result, process};

/// The number of crates that building `dendra` with default features compiles,
/// including our own.
const BUDGET: usize = 60;

/// Every crate in the facade's tree of normal dependencies, as `name version`.
pub(super) fn of_facade(root: &Path) -> Result<BTreeSet<String>> {
    let tree = process::output(
        process::cargo(root)
            .args(["tree", "--package", "dendra", "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"]),
    )?;
    Ok(packages(&tree))
}

/// The distinct packages of a tree printed without prefixes.
fn packages(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect()
}

pub(super) fn problems(packages: &BTreeSet<String>) -> Option<String> {
    (packages.len() > BUDGET).then(|| {
        let all: Vec<&str> = packages.iter().map(String::as_str).collect();
        format!(
            "dendra: {} crates in its dependency tree, the budget is {BUDGET}: {}",
            packages.len(),
            all.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_once_by_name_and_version() {
        let tree = "dendra v0.1.0 (/a)\nrayon v1.0.0\nlibm v0.2.0\nrayon v1.0.0 (*)\nlibm v0.1.0\n\
                    dendra-derive v0.1.0 (proc-macro) (/b)\n";
        assert_eq!(packages(tree).len(), 5);
    }

    #[test]
    fn the_budget_can_be_exceeded() {
        let packages = |count: usize| (0..count).map(|index| format!("a{index} v1")).collect();
        assert_eq!(problems(&packages(BUDGET)), None);
        let problem = problems(&packages(BUDGET + 1)).unwrap();
        assert!(problem.starts_with("dendra: 61 crates"), "{problem}");
    }

    #[test]
    fn the_real_tree_holds_our_crates() {
        let packages = of_facade(&crate::root()).unwrap();
        assert!(packages.iter().any(|name| name.starts_with("dendra-tensor ")), "{packages:?}");
    }
}
