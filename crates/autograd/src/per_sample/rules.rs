//! The gradients of one operation for each sample.

use dendra_tensor::ops::{Attribute, Cotangents, Ops, Recorded, SampleCotangents, SampleGradient};
use dendra_tensor::{Error, Float, Result, Rng, Shape, Tensor};
use smallvec::SmallVec;

type Needs = SmallVec<[bool; 3]>;

/// The gradients of a call for each sample, from those of its output.
pub(super) fn gradients<T: Float>(
    call: &dyn Recorded<T>,
    needs: &[bool],
    cotangent: SampleGradient<T>,
    samples: usize,
    is_parameter: &dyn Fn(usize) -> bool,
) -> Result<SampleCotangents<T>> {
    if !needs.contains(&true) {
        return Ok(SampleCotangents::new());
    }
    let g = match cotangent {
        SampleGradient::Rows(g) => g,
        // The cotangent of a value that all samples share has an axis of
        // samples.
        SampleGradient::Each(each) => {
            let of = |sample: usize| Ok(call.vjp(needs, each.narrow(0, sample, 1)?.squeeze(0)?));
            return stacked(needs, samples, of);
        }
    };
    if let Some(gradients) = call.vjp_per_sample(needs, g.clone(), samples)? {
        return Ok(gradients);
    }
    if call.is_elementwise() {
        return elementwise(call, needs, g, samples);
    }
    let (rows, shared) = rows(call, needs, &g, samples, is_parameter)?;
    let mut gradients: SampleCotangents<T> =
        rows.into_iter().map(|found| found.map(SampleGradient::Rows)).collect();
    if shared.contains(&true) {
        let each = match sliced(call, &shared, &g, samples) {
            Some(each) => each,
            // For each sample, the cotangent of the other samples is 0.
            None => stacked(&shared, samples, |sample| {
                Ok(call.vjp(&shared, masked(&g, samples, &|other| other == sample)?))
            })?,
        };
        for (gradient, each) in gradients.iter_mut().zip(each) {
            *gradient = gradient.take().or(each);
        }
    }
    Ok(gradients)
}

/// One gradient for each sample, stacked along axis 0.
fn stacked<T: Float>(
    needs: &[bool],
    samples: usize,
    of: impl Fn(usize) -> Result<Cotangents<T>>,
) -> Result<SampleCotangents<T>> {
    let mut each: Vec<Vec<Tensor<T>>> = vec![Vec::new(); needs.len()];
    for sample in 0..samples {
        for (each, gradient) in each.iter_mut().zip(of(sample)?) {
            each.extend(gradient);
        }
    }
    let stack = |each: Vec<Tensor<T>>| match each[..] {
        [] => Ok(None),
        _ => {
            let all = Tensor::stack(&each.iter().collect::<Vec<_>>(), 0)?;
            Ok(Some(SampleGradient::Each(all)))
        }
    };
    each.into_iter().map(stack).collect()
}

/// Each element has its own gradient until the axes of a broadcast are summed.
fn elementwise<T: Float>(
    call: &dyn Recorded<T>,
    needs: &[bool],
    g: Tensor<T>,
    samples: usize,
) -> Result<SampleCotangents<T>> {
    let output = call.output().shape();
    let holds_samples = |x: &Tensor<T>| x.rank() == output.len() && x.shape()[0] == output[0];
    let inputs = call.inputs().iter().zip(needs);
    let inputs: Vec<Tensor<T>> = inputs
        .map(|(x, &needed)| match needed && !holds_samples(x) {
            true => x.broadcast_to(output.clone()),
            false => Ok(x.clone()),
        })
        .collect::<Result<_>>()?;
    let stretched = call.replay(&inputs.iter().collect::<Vec<_>>(), call.parents().into())?;
    let gradients = stretched.vjp(needs, g).into_iter().zip(call.inputs());
    gradients
        .map(|(gradient, x)| {
            let Some(gradient) = gradient else { return Ok(None) };
            Ok(Some(match holds_samples(x) {
                true => SampleGradient::Rows(gradient),
                false => SampleGradient::Each(unstretched(&gradient, x.shape(), samples)?),
            }))
        })
        .collect()
}

/// The gradient for each sample of an operand of this shape that was broadcast.
fn unstretched<T: Float>(gradient: &Tensor<T>, x: &Shape, samples: usize) -> Result<Tensor<T>> {
    let rank = gradient.rank();
    let gradient = by_sample(gradient, samples)?;
    // [samples, rows, …]: axis `1 + i` was axis `i`.
    let added = rank - x.len();
    let axes: Vec<isize> = (0..rank)
        .filter(|&axis| axis < added || (x[axis - added] == 1 && gradient.shape()[axis + 1] != 1))
        .map(|axis| axis as isize + 1)
        .collect();
    let sum = match axes[..] {
        [] => gradient,
        _ => gradient.sum_axes(&axes, true)?,
    };
    sum.reshape(std::iter::once(samples).chain(x.iter().copied()).collect::<Shape>())
}

/// The gradients of inputs whose rows hold the samples, and which inputs are
/// not of this kind. Whether a sample's gradient is independent of the other
/// samples' rows is tested: first a random half of the samples gets a cotangent
/// of 0, then the other half.
fn rows<T: Float>(
    call: &dyn Recorded<T>,
    needs: &[bool],
    g: &Tensor<T>,
    samples: usize,
    is_parameter: &dyn Fn(usize) -> bool,
) -> Result<(Cotangents<T>, Needs)> {
    let parents = call.inputs().iter().zip(call.parents()).zip(needs);
    let candidates: Needs = parents
        .map(|((x, parent), &needed)| {
            let holds = |&rows: &usize| rows > 0 && rows % samples == 0;
            let has_rows = x.shape().first().is_some_and(holds);
            needed && has_rows && !parent.is_some_and(is_parameter)
        })
        .collect();
    let mut shared: Needs = needs.iter().zip(&candidates).map(|(&n, &c)| n && !c).collect();
    let mut found: Cotangents<T> = needs.iter().map(|_| None).collect();
    if !candidates.contains(&true) {
        return Ok((found, shared));
    }
    let mut rng = Rng::seed(samples as u64);
    let half: Vec<bool> = (0..samples).map(|_| rng.next_u64() & 1 == 1).collect();
    let halves = [true, false].map(|side| {
        let part = masked(g, samples, &|sample| half[sample] == side)?;
        Ok(call.vjp(&candidates, part))
    });
    let [first, second] = halves;
    for (index, (a, b)) in first?.into_iter().zip(second?).enumerate() {
        let (Some(a), Some(b)) = (a, b) else { continue };
        let a_alone = is_zero(&a, samples, &|sample| !half[sample]);
        if a_alone && is_zero(&b, samples, &|sample| half[sample]) {
            found[index] = Some(a + b);
        } else {
            shared[index] = true;
        }
    }
    Ok((found, shared))
}

/// The gradients of shared inputs, from calls on one sample each; `None` when
/// the operation cannot be divided into samples or mixes them.
fn sliced<T: Float>(
    call: &dyn Recorded<T>,
    shared: &[bool],
    g: &Tensor<T>,
    samples: usize,
) -> Option<SampleCotangents<T>> {
    let holds = |shape: &Shape| shape.first().is_some_and(|&rows| rows > 0 && rows % samples == 0);
    let cut: Needs =
        call.inputs().iter().zip(shared).map(|(x, &shared)| !shared && holds(x.shape())).collect();
    // A constant may be a weight that is not trained.
    let nodes: Needs =
        cut.iter().zip(call.parents()).map(|(&cut, parent)| cut && parent.is_some()).collect();
    let attempts = if nodes == cut { vec![cut] } else { vec![cut, nodes] };
    let part = |x: &Tensor<T>, sample: usize| {
        let rows = x.shape()[0] / samples;
        x.narrow(0, sample * rows, rows)
    };
    let settings = |sample: usize| {
        let mut settings = Vec::new();
        for (name, value) in call.attributes() {
            match value {
                Attribute::Indices(value) if holds(value.shape()) => {
                    let rows = value.shape()[0] / samples;
                    let value = value.narrow(0, sample * rows, rows).ok()?;
                    settings.push((name, Attribute::Indices(value)));
                }
                Attribute::Mask(value) if holds(value.shape()) => {
                    let rows = value.shape()[0] / samples;
                    let value = value.narrow(0, sample * rows, rows).ok()?;
                    settings.push((name, Attribute::Mask(value)));
                }
                _ => {}
            }
        }
        Some(settings)
    };
    attempts.iter().find_map(|cut| {
        stacked(shared, samples, |sample| {
            let refused = || Error::tape("the operation mixes samples");
            let inputs: Vec<Tensor<T>> = call
                .inputs()
                .iter()
                .zip(cut)
                .map(|(x, &cut)| if cut { part(x, sample) } else { Ok(x.clone()) })
                .collect::<Result<_>>()?;
            let inputs: Vec<&Tensor<T>> = inputs.iter().collect();
            let settings = settings(sample).ok_or_else(refused)?;
            let alone = call.replay_with(&settings, &inputs, call.parents().into())?;
            if !is_close(alone.output(), &part(call.output(), sample)?) {
                return Err(refused());
            }
            Ok(alone.vjp(shared, part(g, sample)?))
        })
        .ok()
    })
}

/// Whether two results differ only by rounding.
fn is_close<T: Float>(a: &Tensor<T>, b: &Tensor<T>) -> bool {
    let tolerance = if size_of::<T>() > 4 { 1e-9 } else { 1e-4 };
    let (a, b) = (a.contiguous(), b.contiguous());
    let (Some(x), Some(y)) = (a.as_slice(), b.as_slice()) else { return false };
    let largest = y.iter().map(|y| y.to_f64().abs()).fold(0.0, f64::max);
    let differs = |(x, y): (&T, &T)| {
        let close = (x.to_f64() - y.to_f64()).abs() <= tolerance * largest;
        !close && x != y
    };
    a.shape() == b.shape() && !x.iter().zip(y).any(differs)
}

/// A tensor whose axis 0 holds the samples, with a separate axis for them:
/// `[samples, rows, …]`.
pub(super) fn by_sample<T: Float>(x: &Tensor<T>, samples: usize) -> Result<Tensor<T>> {
    let Some((&rows, rest)) = x.shape().split_first().filter(|(rows, _)| *rows % samples == 0)
    else {
        return Err(mixed(x.shape(), samples));
    };
    let axes = [samples, rows / samples];
    x.reshape(axes.into_iter().chain(rest.iter().copied()).collect::<Shape>())
}

fn mixed(shape: &Shape, samples: usize) -> Error {
    Error::tape(format!("axis 0 of a value of shape {shape} does not hold {samples} samples"))
}

/// The rows of some samples; those of the others are 0.
fn masked<T: Float>(
    x: &Tensor<T>,
    samples: usize,
    keeps: &dyn Fn(usize) -> bool,
) -> Result<Tensor<T>> {
    if x.shape().first().is_none_or(|rows| rows % samples != 0) {
        return Err(mixed(x.shape(), samples));
    }
    let mut x = x.clone();
    let length = x.len() / samples;
    if length > 0 {
        for (sample, rows) in x.make_mut().chunks_exact_mut(length).enumerate() {
            if !keeps(sample) {
                rows.fill(T::ZERO);
            }
        }
    }
    Ok(x)
}

/// Whether the rows of some samples are 0.
fn is_zero<T: Float>(x: &Tensor<T>, samples: usize, of: &dyn Fn(usize) -> bool) -> bool {
    let length = (x.len() / samples).max(1);
    let x = x.contiguous();
    let mut rows = x.as_slice().into_iter().flat_map(|x| x.chunks_exact(length)).enumerate();
    rows.all(|(sample, rows)| !of(sample) || rows.iter().all(|&x| x == T::ZERO))
}

/// The gradient of each sample by a value as if all samples shared it:
/// `[samples, …]`, for rows with 0 for those of the other samples.
pub(super) fn each<T: Float>(gradient: SampleGradient<T>, samples: usize) -> Result<Tensor<T>> {
    let rows = match gradient {
        SampleGradient::Each(each) => return Ok(each),
        SampleGradient::Rows(rows) => rows,
    };
    let all = (0..samples).map(|sample| masked(&rows, samples, &|other| other == sample));
    let all: Vec<Tensor<T>> = all.collect::<Result<_>>()?;
    Tensor::stack(&all.iter().collect::<Vec<_>>(), 0)
}

/// The sum of two gradients by one value.
pub(super) fn sum<T: Float>(
    a: SampleGradient<T>,
    b: SampleGradient<T>,
    samples: usize,
) -> Result<SampleGradient<T>> {
    Ok(match (a, b) {
        (SampleGradient::Rows(a), SampleGradient::Rows(b)) => SampleGradient::Rows(a + b),
        (a, b) => SampleGradient::Each(each(a, samples)? + each(b, samples)?),
    })
}
