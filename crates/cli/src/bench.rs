//! `dendra bench`.

use std::time::{Duration, Instant};

use dendra_deploy::{Axis, ElementType, Network, TensorInfo, Value};
use dendra_tensor::{Error, Result, Rng, Tensor, set_num_threads};
use serde_json::json;

use crate::Failure;
use crate::arguments::Bench;
use crate::screen::Screen;

/// The smallest number of runs in a measurement.
const FEWEST: usize = 5;

/// The largest number of elements of an input, so that a wrong axis length does
/// not use up the memory.
const MOST_ELEMENTS: usize = 1 << 30;

pub(crate) fn run(arguments: &Bench, threads: Option<u64>, screen: Screen) -> Result<(), Failure> {
    let Bench { model, batch, on, seconds, axis } = arguments;
    let network = Network::load(model)?;
    for info in network.inputs() {
        screen.inform(info)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let mut counts = match threads {
        Some(threads) => vec![threads],
        None if on.is_empty() => vec![1, cores],
        None => on.clone(),
    };
    counts.dedup();
    let head = ["threads", "batch", "median", "90%", "99%", "samples/s"];
    let row = |cells: [String; 6]| {
        let [threads, batch, median, high, highest, rate] = cells;
        format!("{threads:>7}  {batch:>6}  {median:>10}  {high:>10}  {highest:>10}  {rate:>11}")
    };
    screen.result(row(head.map(str::to_owned)))?;
    let mut rows = Vec::new();
    for &threads in &counts {
        set_num_threads(threads as usize)?;
        for &batch in batch {
            let inputs = inputs(&network, batch as usize, axis)?;
            let times = measured(&network, &inputs, *seconds)?;
            let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
            let (median, high, highest) = (at(0.5), at(0.9), at(0.99));
            let total: Duration = times.iter().sum();
            let rate = batch as f64 * times.len() as f64 / total.as_secs_f64();
            screen.result(row([
                threads.to_string(),
                batch.to_string(),
                shown(median),
                shown(high),
                shown(highest),
                format!("{rate:.0}"),
            ]))?;
            rows.push(json!({
                "threads": threads,
                "batch": batch,
                "runs": times.len(),
                "median_seconds": median.as_secs_f64(),
                "p90_seconds": high.as_secs_f64(),
                "p99_seconds": highest.as_secs_f64(),
                "samples_per_second": rate,
            }));
        }
    }
    let model = model.display().to_string();
    screen.json(&json!({ "model": model, "measurements": rows }))?;
    Ok(())
}

/// The times of the runs in ascending order, without the warm-up runs.
fn measured(
    network: &Network,
    inputs: &[(&str, Value)],
    duration: Duration,
) -> Result<Vec<Duration>> {
    let once = || {
        let start = Instant::now();
        network.run(inputs)?;
        Ok::<_, Error>(start.elapsed())
    };
    let start = Instant::now();
    once()?;
    while start.elapsed() < duration / 5 {
        once()?;
    }
    let (mut times, start) = (Vec::new(), Instant::now());
    while start.elapsed() < duration || times.len() < FEWEST {
        times.push(once()?);
    }
    times.sort_unstable();
    Ok(times)
}

/// Random inputs for some samples. Integers are 0 or 1, which are valid token
/// ids.
fn inputs<'a>(
    network: &'a Network,
    batch: usize,
    lengths: &[(String, usize)],
) -> Result<Vec<(&'a str, Value)>> {
    let input = |info: &'a TensorInfo| {
        let shape = shape(info, batch, lengths)?;
        let elements = shape.iter().try_fold(1_usize, |all, &length| all.checked_mul(length));
        let Some(elements) = elements.filter(|&elements| elements <= MOST_ELEMENTS) else {
            let message = format!("inputs of shape {shape:?} are too large");
            return Err(Error::argument("dendra bench", message));
        };
        let mut rng = Rng::seed(1);
        let mut bits = (0..elements).map(|_| rng.below(2));
        let value = match info.element {
            ElementType::F32 => {
                let mut rng = Rng::seed(1);
                Tensor::from_fn(shape, |_| rng.normal() as f32).into()
            }
            ElementType::F64 => {
                let mut rng = Rng::seed(1);
                Tensor::from_fn(shape, |_| rng.normal()).into()
            }
            ElementType::I64 => Tensor::from_fn(shape, |_| bits.next().unwrap_or(0) as i64).into(),
            ElementType::I32 => Tensor::from_fn(shape, |_| bits.next().unwrap_or(0) as i32).into(),
            ElementType::U8 => Tensor::from_fn(shape, |_| bits.next().unwrap_or(0) as u8).into(),
            ElementType::Bool => Tensor::from_fn(shape, |_| bits.next() == Some(1)).into(),
            other => {
                let message = format!("random inputs of type {other} are not supported: {info}");
                return Err(Error::argument("dendra bench", message));
            }
        };
        Ok((info.name.as_str(), value))
    };
    network.inputs().iter().map(input).collect()
}

/// The shape of an input. If its first axis is free, it is the batch axis.
fn shape(info: &TensorInfo, batch: usize, lengths: &[(String, usize)]) -> Result<Vec<usize>> {
    let refuse = |message: String| Err(Error::argument("dendra bench", message));
    let Some(axes) = &info.axes else {
        return refuse(format!("the model does not declare the shape of {info}"));
    };
    let mut shape = Vec::new();
    for (index, axis) in axes.iter().enumerate() {
        shape.push(match axis {
            Axis::Fixed(length) if index == 0 && *length != batch => {
                return refuse(format!("the batch size is fixed: {info}; use --batch {length}"));
            }
            Axis::Fixed(length) => *length,
            Axis::Free(name) => match lengths.iter().find(|(known, _)| known == name) {
                Some((_, length)) => *length,
                None if index == 0 => batch,
                None => {
                    return refuse(format!(
                        "give the length of the free axis {name:?} of {info}: --axis {name}=N"
                    ));
                }
            },
        });
    }
    Ok(shape)
}

/// A time with three significant digits.
fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        _ if micros < 1e3 => format!("{micros:.1} µs"),
        _ if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}
