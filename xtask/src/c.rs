//! The library for C: its header, and a program in C that uses it under valgrind.
//!
//! It needs cbindgen, a C compiler and valgrind, so it is not part of `check`. What is missing is
//! named, and nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::{Result, process};

/// The largest shared library, in bytes, without the operators of ONNX and with them. The last one
/// is the library that the program in C uses.
const BUDGETS: [(&str, &[&str], u64); 2] =
    [("without ONNX", &["--no-default-features"], 4_200_000), ("with ONNX", &[], 7_500_000)];

/// Valgrind knows no AVX-512, and results are compared to the last bit.
const INSTRUCTIONS: (&str, &str) = ("DENDRA_SIMD", "avx2");

/// What to do besides the tests.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write the header instead of comparing it.
    #[arg(long)]
    write_header: bool,
    /// The profile of the libraries. The size is checked only with this default.
    #[arg(long, default_value = "library")]
    profile: String,
}

/// Compares the header, builds both libraries, and runs the program with each.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    header(root, arguments.write_header)?;
    let folder = root.join("crates/c");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let work = target.join("c");
    fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;

    let mut models = process::cargo(root);
    models.args(["test", "--quiet", "--package", "dendra-c", "models_for_the_program_in_c"]);
    process::run(models.env("DENDRA_C_MODELS", &work).env(INSTRUCTIONS.0, INSTRUCTIONS.1))?;

    let profile = &*arguments.profile;
    let built = target.join(if profile == "dev" { "debug" } else { profile });
    for (what, features, budget) in BUDGETS {
        let build = ["build", "--package", "dendra-c", "--profile", profile];
        process::run(process::cargo(root).args(build).args(features))?;
        let shared = built.join("libdendra_c.so");
        let size =
            fs::metadata(&shared).map_err(|error| format!("{}: {error}", shared.display()))?.len();
        println!("libdendra_c.so {what}: {:.2} MB", size as f64 / 1e6);
        if profile == "library" && size > budget {
            return Err(format!("libdendra_c.so {what} has {size} bytes, at most {budget}"));
        }
    }

    let rpath = format!("-Wl,-rpath,{}", built.display());
    let shared = [format!("-L{}", built.display()), "-ldendra_c".to_owned(), rpath];
    let archive = [built.join("libdendra_c.a").display().to_string(), "-lm".to_owned()];
    for (name, libraries) in [("with-shared", &shared[..]), ("with-static", &archive[..])] {
        let program = work.join(name);
        let mut compile = Command::new(needed("cc", "a C compiler")?);
        compile.args([
            "-std=c11",
            "-D_POSIX_C_SOURCE=200809L",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-g",
        ]);
        compile.arg("-I").arg(folder.join("include")).arg(folder.join("tests/embedding.c"));
        process::run(compile.arg("-o").arg(&program).args(libraries).args(["-lpthread", "-ldl"]))?;
        let mut valgrind = Command::new(needed("valgrind", "the Debian package `valgrind`")?);
        valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        // What the threads of the library hold until the process ends is no leak.
        valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        let run = valgrind.arg(&program).arg(&work).env(INSTRUCTIONS.0, INSTRUCTIONS.1);
        process::run(run)?;
    }
    Ok(())
}

/// Compares `include/dendra.h` with what cbindgen makes of the crate, or writes it.
fn header(root: &Path, write: bool) -> Result {
    let (folder, path) = (root.join("crates/c"), root.join("crates/c/include/dendra.h"));
    let mut command = Command::new(needed("cbindgen", "`cargo install cbindgen`")?);
    command.current_dir(&folder).args(["--quiet", "--config", "cbindgen.toml"]);
    let text = process::output(command.args(["--crate", "dendra-c"]))?;
    if write {
        return fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let current = found.replace("\r\n", "\n") == text;
    let message = "crates/c/include/dendra.h is old: `cargo xtask c --write-header` writes it";
    if current { Ok(()) } else { Err(message.to_owned()) }
}

/// A program that has to be installed, and how.
pub(crate) fn needed<'a>(program: &'a str, how: &str) -> Result<&'a str> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(program),
        Err(error) => Err(format!("`{program}` is needed, {how}: {error}")),
    }
}
