//! Every dependency in the workspace's manifest must be used by a package.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::metadata::Package;

/// The dependencies of the workspace's manifest that no package uses.
pub(super) fn problems(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .map_err(|error| format!("cannot read {}: {error}", manifest.display()))?;
    Ok(unused(&text, packages))
}

fn unused(manifest: &str, packages: &[Package]) -> Vec<String> {
    let used = |name: &&str| {
        let mut dependencies = packages.iter().flat_map(|package| &package.dependencies);
        dependencies.any(|(dependency, _)| dependency == name)
    };
    declared(manifest)
        .filter(|name| !used(name))
        .map(|name| format!("Cargo.toml: no package depends on `{name}`: use it or remove it"))
        .collect()
}

/// The names in the section `[workspace.dependencies]`.
fn declared(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[workspace.dependencies]");
    section.skip(1).take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let (name, _) = line.split_once('=')?;
        (!name.starts_with('#')).then_some(name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace]\nresolver = \"3\"\n[workspace.dependencies]\n\
                            # why = a reason\ncsv = \"1\"\npng = { version = \"0.18\" }\n\
                            [profile.dev]\nopt-level = 3\n";

    #[test]
    fn an_unused_dependency_is_found() {
        let mut package = Package {
            name: "a".to_owned(),
            manifest: "a/Cargo.toml".to_owned(),
            features: Vec::new(),
            dependencies: vec![("csv".to_owned(), false)],
        };
        let packages = std::slice::from_ref(&package);
        assert_eq!(
            unused(MANIFEST, packages),
            ["Cargo.toml: no package depends on `png`: use it or remove it"]
        );
        package.dependencies.push(("png".to_owned(), true));
        assert!(unused(MANIFEST, &[package]).is_empty());
    }

    #[test]
    fn the_real_manifest_is_read() {
        let text = fs::read_to_string(crate::root().join("Cargo.toml")).unwrap();
        assert!(declared(&text).any(|name| name == "ndarray"));
        assert!(declared(&text).all(|name| name != "opt-level"));
    }
}
