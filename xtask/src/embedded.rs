//! Programs that only predict: how many crates they compile, their size, and what they need.
//!
//! It is compiled with link-time optimisation, which takes minutes, so it is not part of `check`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::{Result, process};

const CRATES: usize = 30;
/// The programs, with the largest size of each without the weights, and the most memory beside the
/// weights, in bytes. They are there twice: in the program and as tensors. The first program reads
/// any file. The second has its layers in its code, and zeros for weights until it has read them.
const PROGRAMS: [(&str, u64, u64); 2] =
    [("embedded", 3_100_000, 5_000_000), ("layers", 2_000_000, 7_500_000)];
/// To the end of the process, which is later than the prediction.
const TIME: Duration = Duration::from_millis(12);

/// Which network it holds.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The network, as the example mnist_cnn saves it.
    #[arg(long, value_name = "FILE", default_value = "mnist_cnn.safetensors")]
    model: PathBuf,
}

/// Builds the programs, and compares them with the budget.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let folder = root.join("examples/embedded");
    let model = &arguments.model;
    let weights = fs::metadata(model).map_err(|error| {
        format!("{}: {error}: `cargo run --example mnist_cnn` writes it", model.display())
    })?;
    fs::copy(model, folder.join("mnist_cnn.safetensors"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;

    let tree = ["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = process::output(process::cargo(root).current_dir(&folder).args(tree))?;
    let crates: BTreeSet<_> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    // The program itself is one of them.
    let crates = crates.len() - 1;

    let mut build = process::cargo(root);
    build.current_dir(&folder).args(["build", "--release"]);
    process::run(build.env("CARGO_TARGET_DIR", folder.join("target")))?;
    println!("{crates} crates");
    if crates > CRATES {
        return Err(format!("{crates} crates, at most {CRATES}"));
    }
    PROGRAMS.iter().try_for_each(|&(name, size, memory)| {
        check(&folder.join("target/release").join(name), [size, memory], weights.len())
            .map_err(|error| format!("{name}: {error}"))
    })
}

/// Measures a program, and compares it with the budget.
fn check(program: &Path, [limit, most]: [u64; 2], weights: u64) -> Result {
    let size = fs::metadata(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let code = size.len() - weights;
    let mut times = (0..21).map(|_| predict(program)).collect::<Result<Vec<_>>>()?;
    // Other programs only slow it down.
    times.sort();
    let time = times[0];
    println!("{}: {:.2} MB without the weights", program.display(), code as f64 / 1e6);
    println!(
        "{:.1} ms from start to end, the fastest of {}",
        1e3 * time.as_secs_f64(),
        times.len()
    );
    // How many pages of the program the system maps differs from run to run.
    let memory = (0..5).map(|_| memory(program)).collect::<Result<Option<Vec<u64>>>>();
    if let Some(memory) = memory.map(|all| all.and_then(|all| all.into_iter().min()))? {
        let beside = memory.saturating_sub(2 * weights);
        println!("{:.1} MB of memory beside the weights and their copy", beside as f64 / 1e6);
        if beside > most {
            return Err(format!("{beside} bytes of memory beside the weights, at most {most}"));
        }
    }
    if code > limit || time > TIME {
        return Err(format!("more than {} MB or {} ms", limit as f64 / 1e6, TIME.as_millis()));
    }
    Ok(())
}

/// The time from start to end for an empty picture.
fn predict(program: &Path) -> Result<Duration> {
    let failed = |error: std::io::Error| format!("{}: {error}", program.display());
    let begin = Instant::now();
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
    child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(&[0; 784])).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    let time = begin.elapsed();
    if status.success() { Ok(time) } else { Err(format!("{} failed", program.display())) }
}

/// The largest resident memory in bytes, by GNU time; `None` where that is not installed.
fn memory(program: &Path) -> Result<Option<u64>> {
    let mut command = Command::new("time");
    command.args(["-f", "%M"]).arg(program);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("GNU time, which tells the memory, is not there");
        return Ok(None);
    };
    let failed = |error: std::io::Error| format!("time: {error}");
    child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(&[0; 784])).map_err(failed)?;
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text.trim().parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes))
}
