//! The source files of the workspace, which are read once for all rules.

use std::fs;
use std::path::Path;

use super::mask;
use crate::Result;

/// One Rust or Python source file.
pub(super) struct Source {
    /// Its path from the root of the workspace, with forward slashes.
    pub(super) path: String,
    /// Its contents.
    pub(super) text: String,
    /// Its contents with comments and literals replaced by blanks, line for line.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: mask::code_only(text) }
    }

    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All source files under `root`, in order of their paths.
pub(super) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    read_folder(root, "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result {
    let failure = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failure)? {
        let entry = entry.map_err(failure)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let (path, relative) = (entry.path(), format!("{prefix}{name}"));
        if entry.file_type().map_err(failure)?.is_dir() {
            // A folder that is marked as a cache or a virtual environment contains none of our
            // sources.
            if !path.join("CACHEDIR.TAG").exists() && !path.join("pyvenv.cfg").exists() {
                read_folder(&path, &format!("{relative}/"), sources)?;
            }
        } else if name.ends_with(".rs") || name.ends_with(".py") {
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            sources.push(Source::new(&relative, &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_is_found_and_build_output_is_not() {
        let sources = read_all(&crate::root()).unwrap();
        assert!(sources.iter().any(|source| source.path == "xtask/src/tidy/source.rs"));
        assert!(!sources.iter().any(|source| source.path.starts_with("target/")));
    }
}
