//! The workspace's packages, as cargo reads their manifests.

use std::path::Path;

use serde_json::Value;

use crate::{Result, process};

/// One package of the workspace.
#[derive(Debug, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its manifest, as a path relative to the root.
    pub(crate) manifest: String,
    /// Its features, including `default`.
    pub(crate) features: Vec<String>,
    /// Its dependencies, and whether only tests, examples and benchmarks use
    /// them.
    pub(crate) dependencies: Vec<(String, bool)>,
}

/// All packages of the workspace at `root`.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut command = process::cargo(root);
    let json = process::output(command.args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Value =
        serde_json::from_str(&json).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .map(|package| read(root, package))
        .collect::<Option<_>>()
        .ok_or_else(|| "cargo metadata: unexpected format".to_owned())
}

fn read(root: &Path, package: &Value) -> Option<Package> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
    let dependencies = package["dependencies"].as_array()?.iter().map(|dependency| {
        Some((dependency["name"].as_str()?.to_owned(), dependency["kind"] == "dev"))
    });
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        manifest: manifest.to_string_lossy().into_owned(),
        features: package["features"].as_object()?.keys().cloned().collect(),
        dependencies: dependencies.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_package_is_read() {
        let package = json!({
            "name": "a", "manifest_path": "/root/crates/a/Cargo.toml",
            "features": {"default": ["f"], "f": []},
            "dependencies": [
                {"name": "b", "kind": null}, {"name": "c", "kind": "dev"},
                {"name": "d", "kind": "build"}],
        });
        let expected = Package {
            name: "a".to_owned(),
            manifest: "crates/a/Cargo.toml".to_owned(),
            features: ["default", "f"].map(str::to_owned).into(),
            dependencies: [("b", false), ("c", true), ("d", false)]
                .map(|(name, development)| (name.to_owned(), development))
                .into(),
        };
        assert_eq!(read(Path::new("/root"), &package), Some(expected));
        assert_eq!(read(Path::new("/root"), &json!({"name": "a"})), None);
    }

    #[test]
    fn the_real_workspace_is_read() {
        let packages = packages(&crate::root()).unwrap();
        assert!(packages.iter().any(|package| package.manifest == "crates/nn/Cargo.toml"));
    }
}
