//! Dendra's side of the comparison with PyTorch: runs the cases that `compare.py` writes.
//!
//! `conformance list` prints the entries that have a counterpart, with their parameters.
//! `conformance run` reads cases from standard input and writes one result for each to standard
//! output, in the format of [`case`].

use std::io::{BufReader, BufWriter, Write};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use dendra_tensor::Float;
use serde_json::{Value, json};

mod argument;
mod call;
mod case;
mod output;
mod rows;

use call::{Call, Stop};
use case::Case;
use rows::{Row, families};

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("list") => list(),
        Some("run") => run(),
        _ => Err("usage: conformance list | run".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One JSON line for each row: its family, entries and parameters.
fn list() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for (family, rows) in families::<f64>() {
        for Row { entries, parameters, .. } in rows {
            let parameters: Vec<Value> = parameters
                .iter()
                .map(|parameter| {
                    json!({
                        "name": parameter.name,
                        "required": parameter.required,
                        "constant": parameter.constant,
                        "state": parameter.state,
                    })
                })
                .collect();
            let line = json!({"family": family, "entries": entries, "parameters": parameters});
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Runs every case. A panic ends only its own case.
fn run() -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (single, double) = (families::<f32>(), families::<f64>());
    while let Some(case) = Case::read(&mut input)? {
        match case.header["dtype"].as_str() {
            Some("float32") => answer(&case, &single, &mut out)?,
            _ => answer(&case, &double, &mut out)?,
        }
        // Flushed, so that a crash of the process does not lose earlier results.
        out.flush()?;
    }
    Ok(())
}

fn answer<T: Float>(
    case: &Case,
    families: &[(&'static str, Vec<Row<T>>)],
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let entry = case.header["entry"].as_str().ok_or("a case without an entry")?;
    let row = families
        .iter()
        .flat_map(|(_, rows)| rows)
        .find(|row| row.entries.contains(&entry))
        .ok_or_else(|| format!("no row for {entry}"))?;
    let attempt = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let call = Call::<T>::new(case)?;
        let outputs = (row.run)(&call)?;
        call.finish(outputs)
    }));
    let (status, message) = match attempt {
        Ok(Ok(answer)) => return Ok(answer.write(out)?),
        Ok(Err(Stop::Refused(error))) => ("refused", error.to_string()),
        Ok(Err(Stop::Inexpressible(why))) => ("not expressible", why),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            ("crashed", text.unwrap_or("a panic without a message").to_owned())
        }
    };
    writeln!(out, "{}", json!({"status": status, "message": message}))?;
    Ok(())
}
