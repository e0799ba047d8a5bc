//! The modules for browsers: their sizes, a package for npm, a page, and tests in Node.js and
//! Chromium.
//!
//! It needs a standard library for `wasm32-unknown-unknown`, wasm-bindgen, Node.js, and Python with
//! Playwright, so it is not part of `check`. What is missing is named, and nothing is installed.
//! There is no pass of `wasm-opt`: the compressed module was larger after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::bench::python_for;
use crate::c::needed;
use crate::targets::{WASM, with_library};
use crate::{Result, process};

/// Each module, the options of its build, and the largest size of its code compressed with Brotli,
/// in bytes. Kernels that are compiled for size make the first a seventh smaller; a prediction
/// then takes 1.3 times as long. A step of training took three times as long while this crate and
/// the optimizers were compiled for size.
const MODULES: [(&str, &[&str], u64); 2] = [
    ("predict", &["--config=profile.small.package.dendra-tensor.opt-level=\"s\""], 400_000),
    (
        "train",
        &["--features=train", "--config=profile.small.package.dendra-wasm.opt-level=3"],
        900_000,
    ),
];

/// What to build and to test.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The network of digits for the page, as an example such as mnist_cnn saves it.
    #[arg(long, value_name = "FILE", default_value = "mnist_cnn.safetensors")]
    digits: PathBuf,
}

/// Builds everything, and runs the tests.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let folder = root.join("crates/wasm");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let page = target.join("wasm-page");
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&page).map_err(|error| failed(&page, error))?;

    for (name, options, budget) in MODULES {
        build(root, options)?;
        let module = target.join(WASM).join("small/dendra_wasm.wasm");
        let out = page.join(name);
        let mut bind = Command::new(needed("wasm-bindgen", "`cargo install wasm-bindgen-cli`")?);
        // The names of functions are a third of the module.
        bind.args(["--remove-name-section", "--remove-producers-section"]);
        bind.args(["--target", "web", "--out-name", "dendra", "--out-dir"]).arg(&out).arg(module);
        process::run(&mut bind)?;
        let code = out.join("dendra_bg.wasm");
        let [plain, small] = [size(&code)?, compressed(&code)?];
        println!("{name}: {} kB, {} kB with Brotli", plain / 1000, small / 1000);
        if small > budget {
            return Err(format!("{name}: {small} bytes compressed, at most {budget}"));
        }
    }
    for file in ["index.html", "page.js", "digit.js", "worker.js", "package.json"] {
        let from = folder.join("page").join(file);
        fs::copy(&from, page.join(file)).map_err(|error| failed(&from, error))?;
    }
    let mut pack = Command::new(needed("npm", "it comes with Node.js")?);
    process::run(pack.args(["pack", "--silent", "--pack-destination"]).arg(&target).arg(&page))?;

    // The baseline is nearest to what WebAssembly has.
    let models = target.join("wasm-models");
    fs::create_dir_all(&models).map_err(|error| failed(&models, error))?;
    let mut write = process::cargo(root);
    write.args(["test", "--quiet", "--package", "dendra-wasm", "--features", "train"]);
    write.arg("models_for_node").env("DENDRA_WASM_MODELS", &models);
    process::run(write.env("DENDRA_SIMD", "portable"))?;
    let mut node = Command::new(needed("node", "Node.js 20 or later")?);
    process::run(node.arg(folder.join("tests/bits.mjs")).args([&page, &models]))?;

    let digits = &arguments.digits;
    if !digits.is_file() {
        let path = digits.display();
        return Err(format!("{path} is needed: `cargo run --example mnist_cnn` writes it"));
    }
    fs::copy(digits, page.join("digits.safetensors")).map_err(|error| failed(digits, error))?;
    let script = folder.join("tests/page.py");
    let (python, version) = python_for(&script).ok_or(
        "no Python with playwright found (`pip install playwright`); DENDRA_PEER_PYTHON may point \
         to one",
    )?;
    println!("Playwright {version}");
    process::run(Command::new(python).arg(script).arg(&page))?;
    println!("the page is in {}", page.display());
    Ok(())
}

fn build(root: &Path, options: &[&str]) -> Result {
    let mut command = process::cargo(root);
    command.args(["build", "--package", "dendra-wasm", "--profile", "small", "--target", WASM]);
    command.args(options).env("RUSTFLAGS", "-C target-feature=+simd128");
    with_library(&mut command, WASM, "std,panic_abort")?;
    process::run(&mut command)
}

fn size(path: &Path) -> Result<u64> {
    let about = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(about.len())
}

/// The size of a file compressed with Brotli, which all browsers accept.
fn compressed(path: &Path) -> Result<u64> {
    const SCRIPT: &str = "const file = require('fs').readFileSync(process.argv[1]); \
                          console.log(require('zlib').brotliCompressSync(file).length)";
    let mut node = Command::new(needed("node", "Node.js 20 or later")?);
    let bytes = process::output(node.args(["-e", SCRIPT]).arg(path))?;
    bytes.trim().parse().map_err(|error| format!("{}: {error}", path.display()))
}
