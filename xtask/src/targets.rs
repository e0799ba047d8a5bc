//! Other processors: tests for 64-bit ARM under emulation, and builds for WebAssembly.
//!
//! They need a standard library for each target, from `rustup target add`, or its sources, and for
//! ARM a linker and qemu. So they are not part of the other checks. What is missing is named, and
//! nothing is installed.

use std::path::Path;
use std::process::Command;

use crate::c::needed;
use crate::{Result, process};

const ARM: &str = "aarch64-unknown-linux-gnu";
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// Debian's name for the same processor, also of the folder with its libraries.
const ARM_TOOLS: &str = "aarch64-linux-gnu";

/// The crates whose tests run on ARM: all kernels, and what is built from them.
const TESTED: [&str; 3] = ["dendra-tensor", "dendra-autograd", "dendra-nn"];

/// Runs the tests for ARM, and builds for WebAssembly.
pub(crate) fn run(root: &Path) -> Result {
    let compiler = format!("{ARM_TOOLS}-gcc");
    needed(&compiler, "as Debian's packages gcc-aarch64-linux-gnu and libc6-dev-arm64-cross")?;
    needed("qemu-aarch64", "as Debian's package qemu-user")?;
    let mut test = process::cargo(root);
    // Documentation examples run on the processor of the compiler. Emulation is slow, so the tests
    // are optimised.
    test.args(["test", "--release", "--lib", "--tests", "--target", ARM]);
    test.args(TESTED.map(|name| format!("--package={name}")));
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &compiler);
    let runner = format!("qemu-aarch64 -L /usr/{ARM_TOOLS}");
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    with_library(&mut test, ARM, "std,panic_unwind,test")?;
    process::run(&mut test)?;

    for flags in ["", "-C target-feature=+simd128"] {
        let mut check = process::cargo(root);
        check.args(["check", "--package=dendra-nn", "--no-default-features", "--target", WASM]);
        with_library(&mut check, WASM, "std,panic_abort")?;
        process::run(check.env("RUSTFLAGS", flags))?;
    }
    Ok(())
}

/// Lets cargo use the standard library of the toolchain or, where that has none for the target,
/// these parts of its sources.
pub(crate) fn with_library(command: &mut Command, target: &str, parts: &str) -> Result {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let ask = |what: &[&str]| process::output(Command::new(&rustc).args(what));
    let library = ask(&["--print", "target-libdir", "--target", target])?;
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    let sysroot = ask(&["--print", "sysroot"])?;
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library").is_dir() {
        return Err(format!("`rustup target add {target}` is needed"));
    }
    command.args(["-Z", &format!("build-std={parts}")]).env("RUSTC_BOOTSTRAP", "1");
    Ok(())
}
