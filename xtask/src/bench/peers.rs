//! Other frameworks, if they are installed on this machine. Nothing is ever installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Figures, Group, Setting};
use crate::{Result, process};

/// A framework that can be run for comparison.
pub(super) struct Peer {
    /// Its name in the results.
    pub(super) name: &'static str,
    /// Its version, as it reports it.
    pub(super) version: String,
    /// The groups that its script can run.
    groups: &'static [Group],
    python: PathBuf,
    script: PathBuf,
}

/// The frameworks for which this project has scripts, and the groups that these can run.
const SCRIPTS: [(&str, &str, &[Group]); 2] = [
    (
        "pytorch",
        "run_pytorch.py",
        &[Group::Classic, Group::Kernels, Group::Sequence, Group::Networks],
    ),
    ("keras", "run_keras.py", &[Group::Classic]),
];

/// The installed frameworks, each with the first Python that can import it. Prints which are
/// missing.
pub(super) fn find(root: &Path) -> Vec<Peer> {
    let mut peers = Vec::new();
    for (name, file, groups) in SCRIPTS {
        let script = root.join("xtask/peers").join(file);
        let found = python_for(&script).map(|(python, version)| Peer {
            name,
            version,
            groups,
            python,
            script,
        });
        if found.is_none() {
            eprintln!("note: no Python with {name} found; DENDRA_PEER_PYTHON may point to one");
        }
        peers.extend(found);
    }
    peers
}

/// The first Python that can run `script`, and the version of the framework that the script
/// reports.
pub(crate) fn python_for(script: &Path) -> Option<(PathBuf, String)> {
    let pythons = pythons(std::env::var_os("DENDRA_PEER_PYTHON").map(PathBuf::from));
    pythons.into_iter().find_map(|python| {
        let version = version(&python, script)?;
        Some((python, version))
    })
}

/// The Pythons to try: the one that the variable names, if it is set, otherwise those on the PATH.
fn pythons(given: Option<PathBuf>) -> Vec<PathBuf> {
    match given {
        Some(folder) if folder.is_dir() => vec![folder.join("bin/python")],
        Some(program) => vec![program],
        None => vec!["python3".into(), "python".into()],
    }
}

fn version(python: &Path, script: &Path) -> Option<String> {
    let output = Command::new(python)
        .arg(script)
        .arg("version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line: Value = serde_json::from_str(text.lines().last()?).ok()?;
    Some(line["version"].as_str()?.to_owned())
}

impl Peer {
    /// Runs those `cases` of `group` that the peer's script supports, and returns their times.
    fn run(
        &self,
        group: Group,
        cases: &[&str],
        data: Option<&Path>,
        setting: &Setting<'_>,
    ) -> Result<Vec<(String, Figures)>> {
        let threads = setting.threads.to_string();
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(group.to_string()).args(cases).args(["--threads", &threads]);
        command.env("OMP_NUM_THREADS", &threads).env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(folder) = data {
            command.arg("--data").arg(folder);
        }
        results(&process::output(&mut command)?)
    }

    /// Like [`run`](Self::run), but a failure is only reported, so that the other measurements are
    /// kept.
    pub(super) fn try_run(
        &self,
        group: Group,
        cases: &[&str],
        data: Option<&Path>,
        setting: &Setting<'_>,
    ) -> Vec<(String, Figures)> {
        if !self.groups.contains(&group) {
            return Vec::new();
        }
        self.run(group, cases, data, setting).unwrap_or_else(|message| {
            eprintln!("note: {}: {message}", self.name);
            Vec::new()
        })
    }
}

/// Reads lines of `{"case": ..., "seconds": ...}`, some with the bytes of the `"memory"`.
pub(super) fn results(text: &str) -> Result<Vec<(String, Figures)>> {
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            match (value["case"].as_str(), value["seconds"].as_f64()) {
                (Some(case), Some(seconds)) if seconds > 0.0 => {
                    Ok((case.to_owned(), Figures { seconds, memory: value["memory"].as_f64() }))
                }
                _ => Err(format!("expected a case and its seconds, got {line:?}")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_line_by_line() {
        let text = "{\"case\": \"a\", \"seconds\": 0.5}\n\
                    {\"case\": \"b\", \"seconds\": 2, \"memory\": 3e6}\n";
        let figures = |seconds, memory| Figures { seconds, memory };
        let expected =
            [("a".to_owned(), figures(0.5, None)), ("b".to_owned(), figures(2.0, Some(3e6)))];
        assert_eq!(results(text).unwrap(), expected);
    }

    #[test]
    fn an_invalid_result_is_shown() {
        for line in ["Traceback", "{\"case\": \"a\"}", "{\"case\": \"a\", \"seconds\": 0}"] {
            let message = results(line).unwrap_err();
            assert!(message.ends_with(&format!("{line:?}")), "{message}");
        }
    }

    #[test]
    fn the_variable_has_priority_and_may_name_a_folder() {
        assert_eq!(pythons(Some("/a/python".into())), [Path::new("/a/python")]);
        let folder = crate::root();
        assert_eq!(pythons(Some(folder.clone())), [folder.join("bin/python")]);
        assert_eq!(pythons(None).len(), 2);
    }

    #[test]
    fn a_script_that_fails_is_no_peer() {
        assert_eq!(version(Path::new("/nowhere/python"), Path::new("a.py")), None);
        assert!(
            SCRIPTS
                .iter()
                .all(|(_, file, _)| crate::root().join("xtask/peers").join(file).exists())
        );
    }
}
