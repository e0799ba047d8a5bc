//! The rules that are specific to this project, checked on manifests and source text.
//!
//! Each rule is a small function that returns a list of problems, so that its test can apply it to
//! wrong input. Everything that the compiler, clippy or rustfmt can check is left to them.

use std::path::Path;

use crate::{Result, metadata};

mod dependencies;
mod edges;
mod mask;
mod op_table;
mod source;
mod style;
mod unsafe_code;
mod unused;

use source::Source;

/// Applies every rule to the workspace at `root`.
///
/// # Errors
///
/// All problems found, one per line, each with its file and how to fix it.
pub(crate) fn run(root: &Path) -> Result {
    let sources = source::read_all(root)?;
    let mut problems = Vec::new();
    for source in &sources {
        problems.extend(style::problems(source));
        problems.extend(unsafe_code::problems(source));
    }
    problems.extend(op_table::problems(&sources));
    let packages = metadata::packages(root)?;
    problems.extend(edges::problems(&edges::between(&packages)));
    problems.extend(unsafe_code::lint_problems(root, &packages)?);
    problems.extend(unused::problems(root, &packages)?);
    problems.extend(dependencies::problems(&dependencies::of_facade(root)?));
    if problems.is_empty() {
        eprintln!("    {} source files are tidy", sources.len());
        return Ok(());
    }
    Err(format!("the tree is not tidy\n  {}", problems.join("\n  ")))
}
