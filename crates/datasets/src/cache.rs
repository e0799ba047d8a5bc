//! The user's cache folder, by the conventions of each system.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder for Dendra's downloads: `$XDG_CACHE_HOME/dendra` or
/// `~/.cache/dendra`, `~/Library/Caches/dendra` on macOS,
/// `%LOCALAPPDATA%\dendra` on Windows. `None` when the environment variables
/// are not set.
pub(crate) fn cache_dir(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification requires that relative paths are ignored. On other
    // systems, a relative path would make the cache depend on the working
    // directory.
    let folder =
        |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join("Library").join("Caches")))
    } else {
        folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))
    };
    Some(base?.join("dendra"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn with(variables: &'static [(&str, &str)]) -> Option<PathBuf> {
        cache_dir(|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(value.into())
        })
    }

    #[test]
    fn the_folder_follows_the_environment() {
        assert_eq!(
            with(&[("XDG_CACHE_HOME", "/fast"), ("HOME", "/home/ada")]),
            Some("/fast/dendra".into())
        );
        let home = with(&[("HOME", "/home/ada")]).unwrap();
        assert!(home.starts_with("/home/ada") && home.ends_with("dendra"));
        assert_eq!(with(&[("XDG_CACHE_HOME", ""), ("HOME", "/home/ada")]), Some(home.clone()));
        assert_eq!(with(&[("XDG_CACHE_HOME", "here"), ("HOME", "/home/ada")]), Some(home));
        assert_eq!(with(&[]), None);
    }
}
