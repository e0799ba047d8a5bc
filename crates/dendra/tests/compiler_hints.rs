//! What the compiler says of common mistakes: the hints that the traits of the
//! public interface give.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

/// What the compiler says of the statements of a function that returns `Result<()>`.
#[track_caller]
fn refused(statements: &str) -> String {
    let program = format!(
        "use dendra::prelude::*;\n\
         pub fn program(rng: &mut Rng, x: Tensor, labels: Tensor<i64>) -> Result<()> {{\n\
         {statements}\nOk(())\n}}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("program.rs");
    fs::write(&source, program).unwrap();
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--out-dir"])
        .args([folder.path(), &source])
        .arg("--extern")
        .arg(format!("dendra={}", library().display()))
        .arg(format!("-Ldependency={}", dependencies().display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "this compiles:\n{statements}");
    said
}

/// The folder of this test and of the libraries that it is built with.
fn dependencies() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// The facade as it was built last.
fn library() -> PathBuf {
    let files = fs::read_dir(dependencies()).unwrap().map(|entry| entry.unwrap());
    let libraries = files.filter(|file| {
        let name = file.file_name().into_string().unwrap_or_default();
        name.starts_with("libdendra-") && name.ends_with(".rlib")
    });
    libraries.max_by_key(|file| file.metadata().unwrap().modified().unwrap()).unwrap().path()
}

/// Asserts that the compiler refuses the statements with all of these words.
#[track_caller]
fn hints(statements: &str, words: &[&str]) {
    let said = refused(statements);
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

#[test]
fn the_settings_of_a_layer_are_told_from_the_layer() {
    for model in ["Linear::new(4, 2)", "Sequential::input([4]).dense(2)"] {
        hints(
            &format!(
                "let trainer = Trainer::new({model}, Adam::new(1e-3), CrossEntropy::new());\n\
                 let trainer: Trainer<_, _, _> = trainer;"
            ),
            &["has no forward pass", "by `.init(&mut rng)?`, a network by `.build(&mut rng)?`"],
        );
    }
}

#[test]
fn a_loss_says_which_targets_it_takes() {
    hints(
        "let model = Sequential::input([4]).dense(2).build(rng)?;\n\
         let data = TensorDataset::new(x, labels)?;\n\
         Trainer::new(model, Adam::new(1e-3), MSELoss::new()).fit(&data, Fit::epochs(1))?;",
        &["`i64` is not a floating-point number", "`tensor.cast::<f32>()`"],
    );
}

#[test]
fn two_tensors_are_told_how_to_become_a_data_set() {
    hints(
        "let model = Sequential::input([4]).dense(2).build(rng)?;\n\
         Trainer::new(model, Adam::new(1e-3), CrossEntropy::new())\n\
         .fit(&(x, labels), Fit::epochs(1))?;",
        &["is not a data set", "`TensorDataset::new(inputs, targets)?`"],
    );
}

#[test]
fn a_module_of_ones_own_is_told_how_to_become_a_layer() {
    hints(
        "struct Mine;\n\
         let model = Sequential::input([4]).layer(Mine).build(rng)?;",
        &["`Mine` cannot be a layer of a `Sequential`", "`impl Layer for Mine {}`"],
    );
    hints(
        "struct Mine;\n\
         #[derive(Parameters)]\n\
         struct Net { first: Linear, second: Mine }",
        &["`Mine` is not known to hold parameters", "derive `Parameters` for it"],
    );
}
