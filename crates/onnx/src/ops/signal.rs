//! Fourier transforms and windows.

use std::f64::consts::PI;

use dendra_tensor::{Result, Shape, Tensor};

use super::shape::check_size;
use super::{Operator, one};
use crate::call::Call;
use crate::element::ElementType;
use crate::tensor::TypedTensor;

pub(super) const TABLE: &[Operator] = &[
    one("BlackmanWindow", blackman),
    one("DFT", dft),
    one("HammingWindow", hamming),
    one("HannWindow", hann),
    one("MelWeightMatrix", mel_weights),
    one("STFT", stft),
];

/// A window as a function of the fraction of the period at each element.
fn window(call: &Call<'_>, f: &dyn Fn(f64) -> f64) -> Result<TypedTensor> {
    let size = usize::try_from(call.integer(0)?).unwrap_or(0);
    check_size(&[size].into())?;
    let element = ElementType::from_code(call.int("output_datatype", 1))?;
    let is_periodic = call.int("periodic", 1) != 0;
    let period = if is_periodic { size } else { size.saturating_sub(1) } as f64;
    let value = |i: usize| f(i as f64 / period);
    Ok(TypedTensor::real(element, Tensor::from_fn([size], value)))
}

fn blackman(call: &Call<'_>) -> Result<TypedTensor> {
    window(call, &|x| 0.42 - 0.5 * (2.0 * PI * x).cos() + 0.08 * (4.0 * PI * x).cos())
}

fn hamming(call: &Call<'_>) -> Result<TypedTensor> {
    window(call, &|x| 25.0 / 46.0 - 21.0 / 46.0 * (2.0 * PI * x).cos())
}

fn hann(call: &Call<'_>) -> Result<TypedTensor> {
    window(call, &|x| (PI * x).sin().powi(2))
}

type Complex = (f64, f64);

/// The discrete Fourier transform of a signal; `sign` is −1, or 1 for the
/// inverse without its factor. An even length is divided into halves (Cooley
/// and Tukey, 1965).
fn transform(signal: &[Complex], sign: f64) -> Vec<Complex> {
    let n = signal.len();
    let turn = |k: usize, n: usize| {
        let angle = sign * 2.0 * PI * (k % n) as f64 / n as f64;
        (angle.cos(), angle.sin())
    };
    let times = |a: Complex, b: Complex| (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0);
    if n.is_multiple_of(2) && n > 0 {
        let half = |first: usize| -> Vec<Complex> {
            let part: Vec<Complex> = signal.iter().skip(first).step_by(2).copied().collect();
            transform(&part, sign)
        };
        let (even, odd) = (half(0), half(1));
        let element = |k: usize| {
            let (a, b) = (even[k % (n / 2)], times(turn(k, n), odd[k % (n / 2)]));
            (a.0 + b.0, a.1 + b.1)
        };
        return (0..n).map(element).collect();
    }
    let turns: Vec<Complex> = (0..n).map(|k| turn(k, n)).collect();
    let element = |k: usize| {
        signal.iter().enumerate().fold((0.0, 0.0), |sum: Complex, (j, &x)| {
            let term = times(x, turns[j * k % n]);
            (sum.0 + term.0, sum.1 + term.1)
        })
    };
    (0..n).map(element).collect()
}

fn dft(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let (is_inverse, is_onesided) = (call.flag("inverse"), call.flag("onesided"));
    let axis = match call.value(2) {
        Some(_) => call.integer(2)?,
        None => call.int("axis", if call.version() < 20 { 1 } else { -2 }),
    };
    let axis = x.axis(axis)?;
    let parts = x.shape().last().copied().unwrap_or(0);
    if !(1..=2).contains(&parts) || axis + 1 == x.rank() {
        return call.refuse(format!("expected shape […, 1] or […, 2], got {}", x.shape()));
    }
    let old = x.shape()[axis];
    let default = if is_inverse && is_onesided { 2 * old.saturating_sub(1) } else { old };
    let length = match call.value(1) {
        Some(_) => usize::try_from(call.integer(1)?).unwrap_or(0),
        None => default,
    };
    // Without a fast method, the work is quadratic in the length.
    if length > 1 << 24 {
        return call.refuse(format!("a transform of length {length} is too long"));
    }
    let values = x.reals()?.to_vec();
    let inner: usize = x.shape()[axis + 1..x.rank() - 1].iter().product();
    let outer: usize = x.shape()[..axis].iter().product();
    let is_real = is_inverse && is_onesided;
    let new = if is_onesided && !is_inverse { length / 2 + 1 } else { length };
    let width = if is_real { 1 } else { 2 };
    let mut shape = x.shape().to_vec();
    shape[axis] = new;
    shape[x.rank() - 1] = width;
    check_size(&shape[..].into())?;
    let mut out = vec![0.0; shape.iter().product()];
    for o in 0..outer {
        for i in 0..inner {
            let at = |step: usize| {
                let offset = ((o * old + step) * inner + i) * parts;
                (values[offset], if parts == 2 { values[offset + 1] } else { 0.0 })
            };
            let given = |step: usize| if step < old { at(step) } else { (0.0, 0.0) };
            // The second half of a real signal's spectrum mirrors the first.
            let signal: Vec<Complex> = (0..length)
                .map(|step| match is_real && step > length / 2 {
                    true => (given(length - step).0, -given(length - step).1),
                    false => given(step),
                })
                .collect();
            let found = transform(&signal, if is_inverse { 1.0 } else { -1.0 });
            let factor = if is_inverse { 1.0 / length as f64 } else { 1.0 };
            for (step, value) in found.into_iter().take(new).enumerate() {
                let offset = ((o * new + step) * inner + i) * width;
                out[offset] = value.0 * factor;
                if width == 2 {
                    out[offset + 1] = value.1 * factor;
                }
            }
        }
    }
    Ok(TypedTensor::real(x.element(), Tensor::from_vec(out, shape)?))
}

fn stft(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let step = usize::try_from(call.integer(1)?).unwrap_or(0);
    let window = call.optional(2)?.map(|window| window.reals()).transpose()?;
    let window = window.map(|window| window.to_vec());
    let &[batch, length, parts] = &x.shape()[..] else {
        return call.refuse(format!("expected shape [batch, length, 1 or 2], got {}", x.shape()));
    };
    let frame = match (call.value(3), &window) {
        (Some(_), _) => usize::try_from(call.integer(3)?).unwrap_or(0),
        (None, Some(window)) => window.len(),
        (None, None) => length,
    };
    let is_onesided = call.int("onesided", 1) != 0;
    if step == 0 || frame == 0 || frame > length || !(1..=2).contains(&parts) {
        return call.refuse(format!("frames of {frame} by {step} do not fit length {length}"));
    }
    if window.as_ref().is_some_and(|window| window.len() != frame) {
        return call.refuse(format!("the window is not of length {frame}"));
    }
    let frames = (length - frame) / step + 1;
    let bins = if is_onesided { frame / 2 + 1 } else { frame };
    let shape = Shape::from([batch, frames, bins, 2]);
    check_size(&shape)?;
    let values = x.reals()?.to_vec();
    let mut out = Vec::with_capacity(shape.elements());
    for sample in 0..batch {
        for index in 0..frames {
            let element = |i: usize| {
                let offset = (sample * length + index * step + i) * parts;
                let weight = window.as_ref().map_or(1.0, |window| window[i]);
                let imaginary = if parts == 2 { values[offset + 1] } else { 0.0 };
                (values[offset] * weight, imaginary * weight)
            };
            let signal: Vec<Complex> = (0..frame).map(element).collect();
            let found = transform(&signal, -1.0).into_iter().take(bins);
            out.extend(found.flat_map(|(re, im)| [re, im]));
        }
    }
    Ok(TypedTensor::real(x.element(), Tensor::from_vec(out, shape)?))
}

/// Triangular filters over the bins of a spectrum, equally spaced on the mel
/// scale.
fn mel_weights(call: &Call<'_>) -> Result<TypedTensor> {
    let whole = |index: usize| Ok(usize::try_from(call.integer(index)?).unwrap_or(0));
    let (bins, length): (usize, usize) = (whole(0)?, whole(1)?);
    let rate = call.integer(2)? as f64;
    let (low, high) = (call.number(3)?.unwrap_or(0.0), call.number(4)?.unwrap_or(0.0));
    let element = ElementType::from_code(call.int("output_datatype", 1))?;
    let rows = length / 2 + 1;
    let shape = Shape::from([rows, bins]);
    check_size(&shape)?;
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let step = (mel(high) - mel(low)) / (bins + 2) as f64;
    let edge = |index: usize| {
        let hertz = 700.0 * (f64::powf(10.0, (index as f64 * step + mel(low)) / 2595.0) - 1.0);
        ((length as f64 + 1.0) * hertz / rate).floor().max(0.0) as usize
    };
    let mut weights = vec![0.0; shape.elements()];
    for bin in 0..bins {
        let (left, centre, right) = (edge(bin), edge(bin + 1), edge(bin + 2));
        if right > rows {
            return call.refuse("the upper frequency is outside the spectrum");
        }
        let mut set = |row: usize, weight: f64| {
            if row < rows {
                weights[row * bins + bin] = weight;
            }
        };
        if left == centre {
            set(centre, 1.0);
        }
        let rising = (left..=centre).filter(|_| centre > left);
        rising.for_each(|row| set(row, (row - left) as f64 / (centre - left) as f64));
        let falling = centre..right;
        falling.for_each(|row| set(row, (right - row) as f64 / (right - centre) as f64));
    }
    Ok(TypedTensor::real(element, Tensor::from_vec(weights, shape)?))
}
