//! `unsafe` is allowed only in the buffer of dendra-tensor, in kernels, and where memory is
//! shared with another language, with the reason why it is sound.
//!
//! Clippy's `undocumented_unsafe_blocks` requires a `SAFETY` comment for every block. The rules
//! here make sure that this lint is on everywhere, and check what it does not cover.

use std::fs;
use std::path::Path;

use super::Source;
use crate::Result;
use crate::metadata::Package;

/// The files and folders in which `unsafe` is allowed. The trait of elements is unsafe to implement
/// because the buffer relies on it.
const ALLOWED: [&str; 7] = [
    "crates/c/src/",
    "crates/distributed/src/mpi.rs",
    "crates/python/src/array.rs",
    "crates/quant/src/kernels/",
    "crates/tensor/src/buffer.rs",
    "crates/tensor/src/element.rs",
    "crates/tensor/src/kernels/",
];

const LINT: &str = "undocumented_unsafe_blocks";

/// `unsafe` outside the allowed files, undocumented `unsafe fn`, and attempts to switch off the
/// lint.
pub(super) fn problems(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let allowed = ALLOWED.iter().any(|place| match place.strip_suffix('/') {
        Some(_) => source.path.starts_with(place),
        None => source.path == *place,
    });
    let text: Vec<&str> = source.text.lines().collect();
    let mut problems = Vec::new();
    for (index, line) in source.code.lines().enumerate() {
        let place = format!("{}:{}", source.path, index + 1);
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        if words.contains(&LINT) {
            problems.push(format!("{place}: do not switch clippy::{LINT} on or off in a file"));
        }
        if !words.contains(&"unsafe") {
            continue;
        }
        if !allowed {
            problems.push(format!("{place}: `unsafe` belongs in {}", ALLOWED.join(" or ")));
        } else if declares_function(line) && !is_documented(&text[..index]) {
            problems.push(format!("{place}: say under `# Safety` what callers of it must ensure"));
        }
    }
    problems
}

/// Whether the line declares an unsafe function, rather than naming the type of one.
fn declares_function(line: &str) -> bool {
    let Some((_, rest)) = line.split_once("unsafe ") else { return false };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let keyword = words.iter().position(|word| *word == "fn");
    keyword.is_some_and(|index| index <= 2 && words.get(index + 1).is_some())
}

/// Whether the comments and attributes directly above contain documentation on safety.
fn is_documented(above: &[&str]) -> bool {
    above
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .take_while(|line| line.starts_with("//") || line.starts_with("#[") || *line == ")]")
        .any(|line| line.contains("# Safety") || line.contains("SAFETY:"))
}

/// Whether the workspace denies undocumented `unsafe` blocks and every package uses its lints.
pub(super) fn lint_problems(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).map_err(|error| format!("cannot read {path}: {error}"))
    };
    let mut problems: Vec<String> =
        workspace_lint_problem(&read("Cargo.toml")?).into_iter().collect();
    for Package { manifest, .. } in packages {
        problems.extend(package_lint_problem(manifest, &read(manifest)?));
    }
    Ok(problems)
}

fn workspace_lint_problem(manifest: &str) -> Option<String> {
    let wanted = format!("{LINT} = \"deny\"");
    (!manifest.lines().any(|line| line.trim() == wanted))
        .then(|| format!("Cargo.toml: [workspace.lints.clippy] must hold `{wanted}`"))
}

fn package_lint_problem(path: &str, manifest: &str) -> Option<String> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    let follows = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    (follows != Some("workspace = true"))
        .then(|| format!("{path}: use the lints of the workspace: [lints] workspace = true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Vec<String> {
        problems(&Source::new(path, text))
    }

    const KERNEL: &str = "crates/tensor/src/kernels/gemm.rs";

    #[test]
    fn unsafe_in_other_files_is_found() {
        let block = "// SAFETY: none.\nunsafe { f() }\n";
        assert_eq!(of(KERNEL, block), [""; 0]);
        assert_eq!(of("crates/tensor/src/buffer.rs", block), [""; 0]);
        for path in ["crates/nn/src/linear.rs", "crates/tensor/src/ops/add.rs", "xtask/src/a.rs"] {
            assert_eq!(of(path, block).len(), 1, "{path}");
            assert_eq!(of(path, "unsafe impl Send for A {}").len(), 1, "{path}");
        }
    }

    #[test]
    fn the_word_in_comments_strings_and_names_is_ignored() {
        let text = "// unsafe { }\nlet s = \"unsafe { }\"; // unsafe\nfn unsafe_code() {}\n";
        assert_eq!(of("crates/nn/src/linear.rs", text), [""; 0]);
    }

    #[test]
    fn an_unsafe_function_states_its_contract() {
        for function in ["unsafe fn f() {}", "pub(crate) unsafe extern \"C\" fn f() {}"] {
            assert_eq!(of(KERNEL, function).len(), 1, "{function}");
            let above = "/// # Safety\n///\n/// AVX2.\n#[target_feature(enable = \"avx2\")]\n";
            assert_eq!(of(KERNEL, &format!("{above}{function}")), [""; 0], "{function}");
            let apart = format!("/// # Safety\nfn g() {{}}\n{function}");
            assert_eq!(of(KERNEL, &apart).len(), 1, "{function}");
        }
        assert_eq!(of(KERNEL, "type F = unsafe fn(usize);"), [""; 0]);
    }

    #[test]
    fn the_lint_cannot_be_switched_off() {
        assert_eq!(of(KERNEL, "#![allow(clippy::undocumented_unsafe_blocks)]").len(), 1);
        assert!(workspace_lint_problem("[workspace.lints.clippy]\ntodo = \"deny\"").is_some());
        assert!(workspace_lint_problem("undocumented_unsafe_blocks = \"warn\"").is_some());
        assert!(workspace_lint_problem("undocumented_unsafe_blocks = \"deny\"").is_none());
        assert!(package_lint_problem("a", "[package]\n[lints]\nworkspace = true\n").is_none());
        assert!(package_lint_problem("a", "[package]\nname = \"a\"\n").is_some());
        assert!(package_lint_problem("a", "[lints]\n[lints.rust]\nworkspace = true").is_some());
    }
}
