//! Finds speech in a recording, with the detector Silero VAD as an ONNX model.

use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::onnx::{Model, Value};
use dendra::prelude::*;

pub(crate) mod wav;

use wav::Sound;

/// Finds speech in a recording
#[derive(Parser)]
struct Arguments {
    /// The detector: the file `silero_vad/data/silero_vad.onnx` of the Python package silero-vad
    model: PathBuf,
    /// A WAV file; by default a generated voice that says "ah"
    recording: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let sound = match &arguments.recording {
        Some(path) => Sound::read(path)?,
        None => voice(),
    };
    let sound = sound.decimated()?;
    println!("{:.2} s of sound", sound.samples.len() as f64 / sound.rate as f64);
    let probabilities = probabilities(&arguments.model, &sound)?;
    let segments = segments(&probabilities, sound.samples.len(), sound.rate);
    for [start, end] in &segments {
        let seconds = [*start, *end].map(|sample| sample as f64 / sound.rate as f64);
        println!("speech from {:.2} s to {:.2} s", seconds[0], seconds[1]);
    }
    if segments.is_empty() {
        println!("no speech");
    }
    Ok(())
}

/// The number of samples in a window of the detector: 32 ms.
fn window(rate: usize) -> usize {
    rate * 32 / 1000
}

/// The probability of speech in each window of a sound of 8 or 16 kHz.
pub(crate) fn probabilities(model: &Path, sound: &Sound) -> Result<Vec<f32>> {
    if !model.exists() {
        let message = "there is no such file: the Python package silero-vad has it as \
                       `silero_vad/data/silero_vad.onnx`";
        return Err(Error::file(model, message));
    }
    let model = Model::load(model)?;
    let window = window(sound.rate);
    // Each input begins with the end of the one before.
    let mut input = vec![0.0; window / 8];
    let mut state = Value::from(Tensor::<f32>::zeros([2, 1, 128]));
    let mut probabilities = Vec::new();
    for chunk in sound.samples.chunks(window) {
        input.drain(..input.len() - window / 8);
        input.extend(chunk);
        input.resize(window / 8 + window, 0.0);
        let x = Tensor::from_vec(input.clone(), [1, input.len()])?;
        let rate = Value::from(sound.rate as i64);
        let mut outputs =
            model.run([("input", x.into()), ("state", state), ("sr", rate)])?.into_values();
        state = outputs.swap_remove(1);
        probabilities.extend(outputs[0].to::<f32>()?.to_vec());
    }
    Ok(probabilities)
}

/// The first sample and the one after the last of each speech segment, by the
/// rules of silero-vad's `get_speech_timestamps`: speech starts at a
/// probability of 0.5 and ends when it stays below 0.35 for 100 ms; segments
/// below 250 ms are dropped, and 30 ms before and after are added.
pub(crate) fn segments(probabilities: &[f32], samples: usize, rate: usize) -> Vec<[usize; 2]> {
    let milliseconds = |count: usize| rate * count / 1000;
    let is_long = |start, end| end - start > milliseconds(250);
    let mut found: Vec<[usize; 2]> = Vec::new();
    // The start of the speech, and its possible end.
    let (mut start, mut pause) = (None, None);
    for (index, &probability) in probabilities.iter().enumerate() {
        let now = index * window(rate);
        if probability >= 0.5 {
            start = start.or(Some(now));
            pause = None;
        } else if let (Some(begun), true) = (start, f64::from(probability) < 0.35) {
            let end = *pause.get_or_insert(now);
            if now - end >= milliseconds(100) {
                if is_long(begun, end) {
                    found.push([begun, end]);
                }
                (start, pause) = (None, None);
            }
        }
    }
    if let Some(start) = start.filter(|&start| is_long(start, samples)) {
        found.push([start, samples]);
    }
    let margin = milliseconds(30);
    for index in 0..found.len() {
        if index == 0 {
            found[0][0] = found[0][0].saturating_sub(margin);
        }
        let Some(&[next, _]) = found.get(index + 1) else {
            found[index][1] = samples.min(found[index][1] + margin);
            continue;
        };
        let margin = margin.min((next - found[index][1]) / 2);
        found[index][1] += margin;
        found[index + 1][0] -= margin;
    }
    found
}

/// A second of silence, a voice that says "ah" four times, and a second of silence:
/// pulses of the vocal cords through the resonances of a mouth.
pub(crate) fn voice() -> Sound {
    use std::f64::consts::PI;
    let rate = 16_000;
    let second = rate as f64;
    // Frequency and bandwidth in Hz.
    let resonances = [(700.0, 80.0), (1220.0, 90.0), (2600.0, 120.0)];
    let mut last = [[0.0f64; 2]; 3];
    let mut phase = 0.0;
    let spoken = (0..rate).map(|index| {
        let time = index as f64 / second;
        phase += (120.0 + 20.0 * (2.0 * PI * 2.0 * time).sin()) / second;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= pulse;
        let mut sound = 0.0;
        for (index, ((frequency, bandwidth), last)) in resonances.iter().zip(&mut last).enumerate()
        {
            let radius = (-PI * bandwidth / second).exp();
            let next = pulse + 2.0 * radius * (2.0 * PI * frequency / second).cos() * last[0]
                - radius * radius * last[1];
            *last = [next, last[0]];
            sound += next / (index + 1) as f64;
        }
        (sound * (PI * (4.0 * time).fract()).sin()) as f32
    });
    let spoken: Vec<f32> = spoken.collect();
    let loudest = spoken.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    let silence = std::iter::repeat_n(0.0, rate);
    let samples = spoken.into_iter().map(|sample| 0.3 * sample / loudest);
    Sound { samples: silence.clone().chain(samples).chain(silence).collect(), rate }
}
