//! Fourier transforms, as the cases of the fixture `fft` call them.

use dendra_tensor::{FftNorm, Fourier, Ops, Result, StftOptions};
use serde_json::Value;

use crate::fixtures::Case;

/// Applies a case's operation, if it is one of these.
pub(crate) fn apply<V: Ops>(case: &Case, inputs: &[V]) -> Option<Result<V>> {
    let size = |name| case.find_setting(name).and_then(Value::as_u64).map(|n| n as usize);
    let norm = || match case.text("norm") {
        "backward" => FftNorm::Backward,
        "ortho" => FftNorm::Ortho,
        "forward" => FftNorm::Forward,
        other => panic!("{}: what is {other}?", case.key),
    };
    let along = |function: fn(&V, Option<usize>, isize, FftNorm) -> Result<V>, x: &V| {
        function(x, size("n"), case.integer("axis"), norm())
    };
    let plane = |function: fn(&V, Option<[usize; 2]>, [isize; 2], FftNorm) -> Result<V>, x: &V| {
        let sizes = case.find_setting("s").filter(|sizes| !sizes.is_null());
        let axes = case.integers("axes").try_into().unwrap();
        function(x, sizes.map(|_| case.pair("s")), axes, norm())
    };
    let options = || StftOptions {
        hop_length: case.integer("hop_length") as usize,
        win_length: case.integer("win_length") as usize,
        center: case.flag("center"),
        normalized: case.flag("normalized"),
        onesided: case.flag("onesided"),
        ..StftOptions::new(case.integer("n_fft") as usize)
    };
    Some(match (case.kind(), inputs) {
        ("rfft", [x]) => along(V::rfft, x),
        ("irfft", [x]) => along(V::irfft, x),
        ("fft", [x]) => along(V::fft, x),
        ("ifft", [x]) => along(V::ifft, x),
        ("rfft2", [x]) => plane(V::rfft2, x),
        ("irfft2", [x]) => plane(V::irfft2, x),
        ("fft2", [x]) => plane(V::fft2, x),
        ("ifft2", [x]) => plane(V::ifft2, x),
        ("stft", [x, window]) => x.stft(Some(window), options()),
        ("istft", [x, window]) => x.istft(Some(window), options(), size("length")),
        _ => return None,
    })
}
