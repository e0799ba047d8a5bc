//! Reads the named objects for Python from the sources of the other crates: the table of layer
//! kinds, and the documentation, types and defaults of settings.
//!
//! A layer that is added to `dendra-nn` thus appears in Python with its
//! docstring, without a change here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The folders with the documentation, below `crates/`.
const SOURCES: [&str; 5] =
    ["nn/src/layers", "nn/src/sequential", "losses/src", "optim/src", "train/src"];

const KINDS: &str = "nn/src/sequential/kinds.rs";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let crates = manifest.parent().expect("the crate is in a folder of crates");
    let mut found = Found::default();
    for folder in SOURCES {
        println!("cargo::rerun-if-changed={}", crates.join(folder).display());
        found.read_folder(&crates.join(folder));
    }
    let kinds = read(&crates.join(KINDS));
    let mut code = found.to_code();
    code += &kinds_to_code(&rows(&kinds));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("sources.rs"), code).expect("the folder of the build is writable");
    // The interpreter that loads the library provides the missing symbols.
    if env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "macos") {
        println!("cargo::rustc-cdylib-link-arg=-undefined");
        println!("cargo::rustc-cdylib-link-arg=dynamic_lookup");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A setting: a field of a struct.
struct Field {
    name: String,
    kind: String,
    default: Option<String>,
    doc: String,
}

/// The declarations in the sources, by name of the type.
#[derive(Default)]
struct Found {
    docs: BTreeMap<String, String>,
    fields: BTreeMap<String, Vec<Field>>,
    /// The targets of `pub type` aliases.
    aliases: BTreeMap<String, String>,
}

impl Found {
    fn read_folder(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut paths: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.read_folder(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.read_text(&read(&path));
            }
        }
    }

    /// Reads the lines of a file. Documentation belongs to the item or the
    /// macro row below it.
    fn read_text(&mut self, text: &str) {
        let mut doc = Vec::new();
        let mut attributes = String::new();
        // The struct whose fields are being read.
        let mut open: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(text) = trimmed.strip_prefix("///") {
                doc.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
                continue;
            }
            if trimmed.starts_with("#[") || trimmed.starts_with("//") {
                attributes += trimmed;
                continue;
            }
            if line == "}" {
                open = None;
            }
            let public = trimmed.strip_prefix("pub ").unwrap_or(trimmed);
            let item = ["struct ", "type "].iter().find_map(|word| public.strip_prefix(word));
            let name = word(item.unwrap_or(trimmed));
            if let (Some(owner), None, Some((name, kind))) =
                (&open, item, trimmed.trim_end_matches(',').split_once(": "))
            {
                let skipped = attributes.contains("serde(skip,") || attributes.contains("set(skip");
                if !skipped && name == word(name) {
                    let fields = self.fields.entry(owner.clone()).or_default();
                    // The name may differ in files, and thus in Python.
                    let renamed = attributes.split_once("serde(rename = \"");
                    let renamed = renamed.and_then(|(_, rest)| Some(rest.split_once('"')?.0));
                    let (name, kind) = (renamed.unwrap_or(name).to_owned(), kind.to_owned());
                    let default = default_of(&attributes);
                    fields.push(Field { name, kind, default, doc: plain(&doc) });
                }
            } else if !doc.is_empty() && name.starts_with(char::is_uppercase) {
                self.docs.entry(name.to_owned()).or_insert_with(|| plain(&doc));
            }
            if let Some(item) = item.filter(|_| !line.starts_with(' ')) {
                if public.starts_with("struct ") && trimmed.ends_with('{') {
                    open = Some(name.to_owned());
                } else if let Some((_, target)) = item.rsplit_once(" = ") {
                    self.aliases.insert(name.to_owned(), target.to_owned());
                }
            }
            doc.clear();
            attributes.clear();
        }
    }

    fn to_code(&self) -> String {
        let mut code = String::from("pub(crate) const DOCS: &[(&str, &str)] = &[\n");
        for (name, doc) in &self.docs {
            writeln!(code, "({name:?}, {doc:?}),").expect("writing to a string succeeds");
        }
        code += "];\npub(crate) const ALIASES: &[(&str, &str)] = &[\n";
        for (name, target) in &self.aliases {
            writeln!(code, "({name:?}, {target:?}),").expect("writing to a string succeeds");
        }
        code += "];\npub(crate) const FIELDS: &[(&str, &[Field])] = &[\n";
        for (name, fields) in &self.fields {
            let fields: Vec<String> = fields
                .iter()
                .map(|Field { name, kind, default, doc }| {
                    format!(
                        "Field {{ name: {name:?}, kind: {kind:?}, default: {default:?}, \
                         doc: {doc:?} }}"
                    )
                })
                .collect();
            writeln!(code, "({name:?}, &[{}]),", fields.join(", "))
                .expect("writing to a string succeeds");
        }
        code + "];\n"
    }
}

/// The name at the start of a text.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

/// The expression after `default = ` in `#[set(…)]`.
fn default_of(attributes: &str) -> Option<String> {
    let (_, set) = attributes.split_once("#[set(")?;
    let (_, default) = set.split_once("default = ")?;
    let mut depth = 0;
    let end = default.find(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth < 0
    });
    Some(default[..end?].to_owned())
}

/// Documentation as a docstring: without code of Rust and without links.
fn plain(lines: &[String]) -> String {
    let mut text = Vec::new();
    let mut fence: Option<bool> = None;
    for line in lines {
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(language.starts_with("text")),
            (Some(_), Some(_)) => fence = None,
            (None, Some(true)) => text.push(format!("    {line}")),
            (None, Some(false)) => {}
            (None, None) => text.push(line.clone()),
        }
    }
    let text = without_links(&text.join("\n")).replace("\n\n\n", "\n\n");
    // A text that ended before a removed example ends with a colon.
    let text = text.trim();
    text.strip_suffix(':').map_or(text.to_owned(), |text| format!("{text}."))
}

/// `[text](target)` and `[text]` around code become the text.
fn without_links(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("[`") {
        plain += before;
        let Some((name, tail)) = after.split_once("`]") else {
            plain += "[`";
            rest = after;
            continue;
        };
        write!(plain, "`{name}`").expect("writing to a string succeeds");
        rest = match tail.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, tail)) => tail,
            None => tail,
        };
    }
    plain + rest
}

/// A row of the table of kinds.
struct Row {
    doc: String,
    kind: String,
    settings: String,
    method: String,
    /// Names and types.
    arguments: Vec<(String, String)>,
}

/// The rows of `kinds! { … }`:
/// `KIND: SETTINGS = METHOD(ARGUMENT: TYPE, …) => EXPRESSION;`.
fn rows(text: &str) -> Vec<Row> {
    let start = text.rfind("\nkinds! {\n").expect("kinds.rs has the table");
    let body = &text[start + "\nkinds! {\n".len()..];
    let body = &body[..body.find("\n}").expect("the table ends")];
    let mut docs = Vec::new();
    let mut code = String::new();
    let mut rows = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim().to_owned());
            continue;
        }
        code += " ";
        code += line;
        if line.ends_with(';') {
            rows.push(row(&code, &docs));
            code.clear();
            docs.clear();
        }
    }
    assert!(rows.len() > 50, "the table of kinds has {} rows that can be read", rows.len());
    rows
}

fn row(code: &str, docs: &[String]) -> Row {
    let read = || {
        let (head, _) = code.split_once(" => ")?;
        let (kind, rest) = head.split_once(": ")?;
        let (settings, rest) = rest.split_once(" = ")?;
        let (method, rest) = rest.split_once('(')?;
        let arguments = rest.trim_end().strip_suffix(')')?;
        let arguments = arguments.split(", ").filter(|argument| !argument.trim().is_empty());
        let arguments = arguments.map(|argument| {
            let (name, kind) = argument.trim().split_once(": ")?;
            let inner = kind.strip_prefix("impl Into<").and_then(|kind| kind.strip_suffix('>'));
            let kind = match inner {
                Some(inner) => inner,
                None if kind.starts_with("impl FnOnce") => "SequentialBuilder",
                None => kind,
            };
            Some((name.to_owned(), kind.to_owned()))
        });
        Some(Row {
            doc: plain(docs),
            kind: kind.trim().to_owned(),
            settings: settings.to_owned(),
            method: method.to_owned(),
            arguments: arguments.collect::<Option<_>>()?,
        })
    };
    read().unwrap_or_else(|| panic!("a row of kinds.rs has an unknown form: {code}"))
}

/// The rows as a table, and the function that calls their methods.
fn kinds_to_code(rows: &[Row]) -> String {
    let mut table = String::from("pub(crate) const KINDS: &[Kind] = &[\n");
    let mut calls = String::new();
    for Row { doc, kind, settings, method, arguments } in rows {
        // Settings that are a single argument as a whole have no separate
        // arguments.
        let whole = arguments.iter().any(|(_, kind)| kind == settings);
        let named: &[_] = if whole { &[] } else { arguments };
        let settings_name = word(settings);
        writeln!(
            table,
            "Kind {{ name: {kind:?}, method: {method:?}, settings: {settings_name:?}, \
             doc: {doc:?}, arguments: &{named:?} }},"
        )
        .expect("writing to a string succeeds");
        let values: Vec<String> = match whole {
            true => vec!["given.whole()?".to_owned()],
            false => arguments
                .iter()
                .map(|(name, kind)| format!("given.take::<{kind}>({name:?})?"))
                .collect(),
        };
        writeln!(calls, "{kind:?} => builder.{method}({}),", {
            let closure = arguments.iter().any(|(_, kind)| kind == "SequentialBuilder");
            match (closure, &values[..]) {
                (true, [layers]) => format!("{{ let layers = {layers}; move |_| layers }}"),
                _ => values.join(", "),
            }
        })
        .expect("writing to a string succeeds");
    }
    format!(
        "{table}];\n\
         fn add(builder: SequentialBuilder, kind: &str, given: &mut Arguments)\n\
         -> Result<SequentialBuilder, Refusal> {{\n\
         Ok(match kind {{\n{calls}_ => return Err(Refusal::unknown(\"layer\", kind)),\n}})\n}}\n"
    )
}
