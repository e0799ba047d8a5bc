//! Every differentiable function must be in the table of operations, which defines its method,
//! checks its gradient and documents it. An operation that only gradients use is private and has
//! its own test instead.

use super::Source;

/// The folder of the operations.
const FOLDER: &str = "crates/tensor/src/ops/";

/// The operations that are missing in the table.
pub(super) fn problems(sources: &[Source]) -> Vec<String> {
    let Some(table) = sources.iter().find(|source| source.path == format!("{FOLDER}table.rs"))
    else {
        return vec![format!("{FOLDER}table.rs: expected the table of operations")];
    };
    // The part of the table for a feature is in a separate file.
    let operations = || sources.iter().filter(|source| source.path.starts_with(FOLDER));
    let is_part = |source: &&Source| source.code.lines().any(|line| line == "family! {");
    let parts = operations().filter(is_part).chain([table]);
    let rows: Vec<&str> = parts.flat_map(|part| part.code.lines().filter_map(row)).collect();
    let mut problems = Vec::new();
    for source in operations() {
        let names = source.code.lines().filter_map(implementation);
        let is_checked = |name: &str| {
            let is_hidden = source.code.contains(&format!("pub(super) struct {name}"));
            is_hidden && source.code.contains(&format!("check_twice::<{name}"))
        };
        for name in names.filter(|name| !rows.contains(name) && !is_checked(name)) {
            problems.push(format!("{}: operation {name} is not in {}", source.path, table.path));
        }
    }
    problems
}

/// The type of a row, from its first line: `unary::Powf:`, `Sum:` or `norm::Norm<T>:`; from the
/// only line of a row without a body: `elu = activation::Elu { alpha };`.
fn row(line: &str) -> Option<&str> {
    let line = line.trim();
    let without_body = || line.strip_suffix(';')?.split_once(" = ")?.1.split(" {").next();
    let path = line.strip_suffix(':').or_else(without_body)?;
    path.rsplit("::").next()?.split('<').next()
}

/// The type that a line implements `Op` for; `None` also for the variable of a macro.
fn implementation(line: &str) -> Option<&str> {
    let (before, after) = line.split_once(" for ")?;
    let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    // Indented implementations are in tests or macros. The trait is the last word before `for`,
    // after bounds that may name it as well.
    let implements = before.rsplit([' ', ':']).next().is_some_and(|of| of.starts_with("Op<"));
    let implements = before.starts_with("impl") && implements;
    (implements && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(operation: &str) -> Vec<String> {
        let table =
            "    relu = Relu;\n    elu = unary::Elu { alpha };\n    Sum:\n    norm::Norm<T>:\n";
        let path = |name: &str| format!("{FOLDER}{name}.rs");
        problems(&[Source::new(&path("table"), table), Source::new(&path("new"), operation)])
    }

    #[test]
    fn an_operation_that_is_not_in_the_table_is_found() {
        let found = of("impl<T: Float> Op<T> for Conv {");
        let expected = format!("{FOLDER}new.rs: operation Conv is not in {FOLDER}table.rs");
        assert_eq!(found, [expected]);
    }

    #[test]
    fn an_operation_of_a_feature_is_in_its_part_of_the_table() {
        let file = |name: &str, code| Source::new(&format!("{FOLDER}{name}.rs"), code);
        let part = "family! {\n    trait Fourier = \"Fourier\";\n\n    Fft:\n    /// Doc.\n}\n";
        let operation = "impl<T: Float> Op<T> for Fft {";
        let table = file("table", "operations! {}\n");
        assert_eq!(problems(&[table, file("fourier", part), file("fft", operation)]), [""; 0]);
    }

    #[test]
    fn operations_in_the_table_and_other_traits_are_fine() {
        for line in [
            "impl<T: Float> Op<T> for Relu {",
            "impl<T: Float> Op<T> for Elu {",
            "impl<T: Float> super::Op<T> for Sum {",
            "impl<T: Float> Op<T> for Norm<T> {",
            "    impl<T: Float> Op<T> for Wrong {",
            "impl<T: Float> Op<T> for $name {",
            "impl Display for Conv {",
            "// impl<T> Op<T> for Conv {",
            "impl<T: Float, O: Op<T>> Recorded<T> for Applied<O> {",
        ] {
            assert_eq!(of(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn operations_that_only_gradients_use_have_a_test() {
        let hidden = "pub(super) struct Turned;\nimpl<T: Float> Op<T> for Turned {\n";
        assert_eq!(of(hidden).len(), 1);
        assert_eq!(of(&format!("{hidden}check_twice::<Turned>().unwrap();")), [""; 0]);
    }

    #[test]
    fn a_missing_table_is_reported() {
        assert_eq!(problems(&[]).len(), 1);
    }
}
