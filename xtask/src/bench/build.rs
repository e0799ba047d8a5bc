//! `cargo xtask bench build`: the processor time of builds.
//!
//! Everything is built from a copy of the tracked files, in an empty target directory, so that
//! neither the sources nor earlier builds are affected. The processor time, user and system, of all
//! compilers together depends less on other programs on the machine than the elapsed time does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Result, process};

/// The measurements of one build.
struct Build {
    what: &'static str,
    /// The largest acceptable processor time, in seconds.
    goal: Option<f64>,
    processor: f64,
    elapsed: f64,
}

/// Builds everything once, prints a table and, if requested, builds programs that use candle and
/// Burn in turn with ours.
pub(super) fn run(root: &Path, peers: bool, filter: &str) -> Result {
    let folder = root.join("target/bench-build");
    remove(&folder)?;
    let copy = folder.join("dendra");
    copy_tracked(root, &copy)?;
    let wanted = |name: &str| name.contains(filter);
    let mut builds = Vec::new();
    if wanted("examples") {
        builds.extend(examples(&copy)?);
    }
    for peer in PEERS.iter().filter(|peer| peers && wanted(peer.name)) {
        builds.push(program(&folder, peer, &profile(root)?)?);
    }
    if wanted("predict") {
        let dendra = "dendra = { path = \"../dendra/crates/dendra\", default-features = false, \
                      features = [\"nn\"] }";
        let source = include_str!("../../../bench/build/predict.rs");
        builds.push(release(&folder, "predict", dendra, source)?);
    }
    if wanted("tests") {
        builds.push(cargo(
            "the tests, cold: `cargo test --workspace --no-run`",
            None,
            &copy,
            &["test", "--workspace", "--no-run"],
        )?);
    }
    if builds.is_empty() {
        return Err(format!("no build's name contains {filter:?}"));
    }
    println!("\n{}", table(&builds));
    remove(&folder)
}

/// A program that uses another framework.
struct Peer {
    name: &'static str,
    what: &'static str,
    dependencies: &'static str,
    source: &'static str,
}

const PEERS: [Peer; 2] = [
    Peer {
        name: "candle",
        what: "candle 0.11: a convolutional network, cold, same profile",
        dependencies: "candle-core = \"0.11\"\ncandle-nn = \"0.11\"",
        source: include_str!("../../../bench/build/candle.rs"),
    },
    Peer {
        name: "burn",
        what: "Burn 0.20: a convolutional network, cold, same profile",
        dependencies: "burn = { version = \"0.20\", default-features = false, \
                       features = [\"std\", \"train\", \"ndarray\", \"autodiff\"] }",
        source: include_str!("../../../bench/build/burn.rs"),
    },
];

/// The builds of a user who tries the examples.
fn examples(copy: &Path) -> Result<Vec<Build>> {
    let example = |what, goal, name| cargo(what, goal, copy, &["build", "--example", name]);
    let mut builds = vec![
        example("`mnist_cnn`, cold", Some(160.0), "mnist_cnn")?,
        example("a second example, `mnist_mlp`", Some(4.0), "mnist_mlp")?,
    ];
    let layer = copy.join("crates/nn/src/layers/linear.rs");
    let text = fs::read_to_string(&layer).map_err(|error| failed("read", &layer, &error))?;
    // Every line of the file moves, so all of its code is compiled again.
    write(&layer, &format!("//! An edit.\n{text}"))?;
    builds.push(example("`mnist_mlp` after a change in a layer's file", Some(8.0), "mnist_mlp")?);
    Ok(builds)
}

/// The development profile of the workspace, as text of its manifest.
fn profile(root: &Path) -> Result<String> {
    let path = root.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|error| failed("read", &path, &error))?;
    let lines = text.lines().skip_while(|line| *line != "[profile.dev]");
    let lines = lines.take_while(|line| *line == "[profile.dev]" || !line.starts_with('['));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn program(folder: &Path, peer: &Peer, profile: &str) -> Result<Build> {
    let Peer { name, what, dependencies, source } = peer;
    let rest = format!(
        "{dependencies}\nclap = {{ version = \"4\", features = [\"derive\"] }}\n\n{profile}"
    );
    let package = package(folder, name, &rest, source)?;
    // Downloads are not part of a build.
    process::run(process::cargo(&package).arg("fetch"))?;
    cargo(what, None, &package, &["build"])
}

/// A program that only predicts, built for deployment.
fn release(folder: &Path, name: &str, dependency: &str, source: &str) -> Result<Build> {
    let profile = "[profile.release]\nstrip = true";
    let package = package(folder, name, &format!("{dependency}\n\n{profile}"), source)?;
    let lock = folder.join("dendra/Cargo.lock");
    fs::copy(&lock, package.join("Cargo.lock")).map_err(|error| failed("copy", &lock, &error))?;
    let what = "a program that only predicts, cold, release";
    let build = cargo(what, Some(60.0), &package, &["build", "--release"])?;
    let binary = package.join("target/release").join(name);
    let bytes = fs::metadata(&binary).map_err(|error| failed("read", &binary, &error))?.len();
    println!("the program that only predicts has {:.2} MB", bytes as f64 / 1e6);
    Ok(build)
}

/// A package of one program outside the workspace.
fn package(folder: &Path, name: &str, rest: &str, source: &str) -> Result<PathBuf> {
    let package = folder.join(name);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{rest}\n\n[workspace]\n"
    );
    write(&package.join("Cargo.toml"), &manifest)?;
    write(&package.join("src/main.rs"), source)?;
    Ok(package)
}

/// Runs cargo in a folder and measures it.
fn cargo(
    what: &'static str,
    goal: Option<f64>,
    folder: &Path,
    arguments: &[&str],
) -> Result<Build> {
    eprintln!("==> {what}");
    let mut command = process::cargo(folder);
    // Each build starts empty and without the user's compiler wrapper.
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUSTC_WRAPPER"] {
        command.env_remove(name);
    }
    command.args(arguments);
    let (before, start) = (processor_time()?, Instant::now());
    process::run(&mut command)?;
    let elapsed = start.elapsed().as_secs_f64();
    Ok(Build { what, goal, processor: processor_time()? - before, elapsed })
}

/// The processor time in seconds of all programs that this one started and that have ended.
fn processor_time() -> Result<f64> {
    let path = Path::new("/proc/self/stat");
    let stat = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    children_time(&stat).ok_or_else(|| format!("{} has an unknown format", path.display()))
}

/// The 16th and 17th field, in hundredths of a second on every Linux. The second field may contain
/// spaces, in parentheses.
fn children_time(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

fn copy_tracked(root: &Path, to: &Path) -> Result {
    let files = process::output(Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]))?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (root.join(file), to.join(file));
        // The file was deleted, but not yet committed.
        if !from.exists() {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
        }
        fs::copy(&from, &to).map_err(|error| failed("copy", &from, &error))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
    }
    fs::write(path, text).map_err(|error| failed("write", path, &error))
}

fn remove(folder: &Path) -> Result {
    match fs::remove_dir_all(folder) {
        Err(error) if folder.exists() => Err(failed("remove", folder, &error)),
        _ => Ok(()),
    }
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {verb} {}: {error}", path.display())
}

fn table(builds: &[Build]) -> String {
    let mut lines =
        vec!["| build | processor time | goal | elapsed |\n|---|---|---|---|".to_owned()];
    lines.extend(builds.iter().map(|Build { what, goal, processor, elapsed }| {
        let goal = goal.map_or_else(String::new, |goal| format!("{goal:.0} s"));
        format!("| {what} | {processor:.1} s | {goal} | {elapsed:.0} s |")
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read() {
        let stat = "7 (a name) b) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 700 25 20 0 1 0 9 1 1";
        assert_eq!(children_time(stat), Some(7.25));
        assert_eq!(children_time("7 (cut) S 1"), None);
    }

    #[test]
    fn the_profile_is_that_of_the_manifest() {
        let profile = profile(&crate::root()).unwrap();
        assert!(profile.starts_with("[profile.dev]\n"), "{profile}");
        assert!(profile.contains("opt-level"), "{profile}");
    }

    #[test]
    fn the_table_names_goals() {
        let build = Build { what: "all", goal: Some(160.0), processor: 201.25, elapsed: 99.6 };
        let line = "| all | 201.2 s | 160 s | 100 s |";
        assert_eq!(table(&[build]).lines().last(), Some(line));
    }
}
