//! Rules for single files: their front documentation, module names and size.

use super::Source;

/// A file should have one subject and be easy to read. This is a limit, not a goal.
const MAX_LINES: usize = 500;

/// Files that may be longer, each with its own limit and the reason.
const LONG_FILES: [(&str, usize, &str); 2] = [
    ("crates/tensor/src/ops/table.rs", 1300, "one table, a row for each operation"),
    ("tests/fixtures/tables/ops.py", 2000, "one table, a row for each operation"),
];

/// The limit for lines that the formatter does not touch, such as comments and
/// strings.
const MAX_COLUMNS: usize = 100;

/// Module names that do not describe the content.
const EMPTY_NAMES: [&str; 4] = ["utils", "util", "helpers", "misc"];

/// The problems of the file.
pub(super) fn problems(source: &Source) -> Vec<String> {
    let mut problems = wide_lines(source);
    problems.extend(too_long(source));
    if source.is_rust() {
        problems.extend(without_front(source));
        problems.extend(empty_modules(source));
    }
    problems
}

/// The ways in which a file may begin: with its own documentation, or by
/// including another file as such.
const FRONTS: [&str; 2] = ["//!", "#![doc = include_str!("];

fn without_front(source: &Source) -> Option<String> {
    (!FRONTS.iter().any(|front| source.text.starts_with(front))).then(|| {
        format!("{}:1: begin the file with `//!` documentation of its purpose", source.path)
    })
}

fn empty_modules(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(source.code.lines()) {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.any(|word| word == "mod")
            && let Some(name) = words.next()
            && EMPTY_NAMES.contains(&name)
        {
            let place = format!("{}:{number}", source.path);
            problems.push(format!("{place}: name module `{name}` after its subject"));
        }
    }
    problems
}

fn too_long(source: &Source) -> Option<String> {
    let count = source.text.lines().count();
    let exception = LONG_FILES.iter().find(|(path, ..)| *path == source.path);
    let limit = exception.map_or(MAX_LINES, |(_, limit, _)| *limit);
    (count > limit).then(|| {
        format!("{}: {count} lines, the limit is {limit}: split it by subject", source.path)
    })
}

fn wide_lines(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        let columns = line.chars().count();
        // A URL cannot be broken.
        if columns > MAX_COLUMNS && !line.contains("://") {
            let place = format!("{}:{number}", source.path);
            problems.push(format!("{place}: {columns} columns, the limit is {MAX_COLUMNS}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Vec<String> {
        problems(&Source::new(path, text))
    }

    #[test]
    fn a_tidy_file_has_no_problem() {
        assert_eq!(of("crates/nn/src/a.rs", "//! A.\nmod utilities;\n"), [""; 0]);
        assert_eq!(of("a.rs", "#![doc = include_str!(\"../README.md\")]\n"), [""; 0]);
    }

    #[test]
    fn a_front_is_required_of_rust_alone() {
        for text in ["", "\n//! Late.", "// A.", "use std::fmt;"] {
            assert_eq!(of("a.rs", text).len(), 1, "{text:?}");
        }
        assert_eq!(of("a.py", "import torch\n"), [""; 0]);
    }

    #[test]
    fn an_empty_module_name_is_found_in_code_and_not_in_text() {
        for line in ["mod utils;", "pub mod utils {}", "pub(crate) mod helpers;", "  mod misc;"] {
            let found = of("a.rs", &format!("//! A.\n{line}\n"));
            assert_eq!(found.len(), 1, "{line:?}");
            assert!(found[0].starts_with("a.rs:2: name module"), "{found:?}");
        }
        assert_eq!(of("a.rs", "//! A.\n// mod utils;\nlet s = \"mod utils;\";\n"), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found() {
        let lines = |count: usize| "//! A.\n".repeat(count);
        assert_eq!(of("a.rs", &lines(MAX_LINES)), [""; 0]);
        assert_eq!(of("a.rs", &lines(MAX_LINES + 1)).len(), 1);
        for (path, limit, _) in LONG_FILES {
            assert_eq!(of(path, &lines(limit)), [""; 0]);
            assert_eq!(of(path, &lines(limit + 1)).len(), 1);
        }
    }

    #[test]
    fn a_wide_line_is_found_counted_in_characters() {
        let line = |content: &str, count: usize| format!("//! A.\n// {}\n", content.repeat(count));
        assert_eq!(of("a.rs", &line("x", 97)), [""; 0]);
        assert_eq!(of("a.rs", &line("x", 98)).len(), 1);
        assert_eq!(of("a.rs", &line("é", 97)), [""; 0]);
        assert_eq!(of("a.rs", &line("https://a.example/", 9)), [""; 0]);
    }

    #[test]
    fn every_exception_is_needed() {
        let sources = super::super::source::read_all(&crate::root()).unwrap();
        for (path, limit, reason) in LONG_FILES {
            assert!(!reason.is_empty() && limit > MAX_LINES, "{path}");
            let source = sources.iter().find(|source| source.path == path);
            let lines = source.map_or(0, |source| source.text.lines().count());
            // A table needs its exception if its next rows would exceed the limit.
            assert!(lines + 50 > MAX_LINES, "{path} no longer needs its exception");
        }
    }
}
