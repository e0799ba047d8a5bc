//! Signals, images and sizes with known results.

use super::super::Ops;
use super::*;

#[test]
fn a_line_stays_a_line() {
    let x = Tensor::<f64>::arange(5).reshape([1, 1, 5]).unwrap();
    let resize = |mode, n| {
        let to = Interpolate::size(&[n], mode).align_corners(true);
        x.interpolate(&to).unwrap().to_vec()
    };
    assert_eq!(resize(InterpolateMode::Linear, 9)[3..6], [1.5, 2.0, 2.5]);
    assert_eq!(resize(InterpolateMode::Linear, 3), [0.0, 2.0, 4.0]);
    // In the interior, where no neighbour is missing.
    assert_eq!(resize(InterpolateMode::Cubic, 9)[3..6], [1.5, 2.0, 2.5]);
    assert_eq!(resize(InterpolateMode::Linear, 1), [0.0]);
}

#[test]
fn areas_and_neighbours() {
    let x = Tensor::from([[[1.0, 2.0, 6.0, 8.0_f32]]]);
    let resize = |mode, n| x.interpolate(&Interpolate::size(&[n], mode)).unwrap().to_vec();
    assert_eq!(resize(InterpolateMode::Area, 2), [1.5, 7.0]);
    assert_eq!(resize(InterpolateMode::Nearest, 2), [1.0, 6.0]);
    assert_eq!(resize(InterpolateMode::NearestExact, 2), [2.0, 8.0]);
    assert_eq!(resize(InterpolateMode::Linear, 4), [1.0, 2.0, 6.0, 8.0]);
}

/// PyTorch 2.15: `F.interpolate(torch.arange(n.), size or scale_factor)`.
#[test]
fn nearest_elements_round_as_those_of_pytorch() {
    fn of<T: Float>(n: usize, to: &Interpolate) -> Vec<f64> {
        let x = Tensor::<T>::arange(n).reshape([1, 1, 1, n]).unwrap();
        x.interpolate(to).unwrap().to_vec().into_iter().map(T::to_f64).collect()
    }
    let both = |n, to: Interpolate| {
        assert_eq!(of::<f32>(n, &to), of::<f64>(n, &to));
        of::<f64>(n, &to)
    };
    use InterpolateMode::{Nearest, NearestExact};
    let y = both(2, Interpolate::size(&[1, 98], Nearest));
    assert_eq!(y[48..51], [0.0, 1.0, 1.0]);
    let y = both(2, Interpolate::size(&[1, 82], Nearest));
    assert_eq!(y[40..43], [0.0, 0.0, 1.0]);
    let y = both(2, Interpolate::size(&[1, 41], NearestExact));
    assert_eq!(y[19..22], [0.0, 0.0, 1.0]);
    let y = both(2, Interpolate::scale(&[1.0, 1.2], Nearest));
    assert_eq!(y, [0.0, 1.0]);
    let y = both(3, Interpolate::scale(&[1.0, 2.302211261529267], NearestExact));
    assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 1.0, 2.0]);
    let y = both(4, Interpolate::scale(&[1.0, 1.7], Nearest));
    assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    let again = Interpolate::scale(&[1.0, 1.7], Nearest).recompute_scale_factor(true);
    assert_eq!(both(4, again), [0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
}

/// PyTorch 2.15, `F.interpolate(x, ...)` of `x = (torch.arange(7.) ** 2)[None, None, None]`.
#[test]
fn curves_are_those_of_pytorch() {
    use InterpolateMode::{Cubic, Linear};
    let x = Tensor::<f64>::arange(7).square().reshape([1, 1, 1, 7]).unwrap();
    let close = |to: Interpolate, expected: &[f64]| {
        let y = x.interpolate(&to).unwrap().to_vec();
        assert_eq!(y.len(), expected.len());
        for (a, b) in y.iter().zip(expected) {
            assert!((a - b).abs() < 1e-7, "{to:?}: {y:?}, expected {expected:?}");
        }
    };
    close(Interpolate::scale(&[1.0, 1.01], Linear), &[0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0]);
    close(Interpolate::scale(&[1.0, 0.6], Linear), &[0.3333333333, 4.0, 13.66666667, 28.66666667]);
    close(
        Interpolate::scale(&[1.0, 0.6], Linear).recompute_scale_factor(true),
        &[0.375, 4.625, 15.125, 31.875],
    );
    close(
        Interpolate::scale(&[1.0, 1.01], Cubic),
        &[
            -0.003676201178,
            0.9562669368,
            3.855115762,
            8.698718506,
            15.48854861,
            24.22619591,
            35.46251359,
        ],
    );
    close(Interpolate::size(&[1, 3], Cubic).align_corners(true), &[0.0, 9.0, 36.0]);
    close(Interpolate::size(&[1, 3], Linear).antialias(true), &[1.285714286, 9.941176471, 27.0]);
    close(
        Interpolate::size(&[1, 9], Linear).antialias(true),
        &[0.0, 0.6666666667, 2.333333333, 5.111111111, 9.0, 14.44444444, 21.0, 28.66666667, 36.0],
    );
    close(
        Interpolate::size(&[1, 3], Cubic).antialias(true),
        &[0.6774193548, 9.363858364, 28.06451613],
    );
    close(
        Interpolate::size(&[1, 3], Cubic).antialias(true).align_corners(true),
        &[1.413333333, 17.71764706, 35.51851852],
    );
}

#[test]
fn what_cannot_be_resized_is_refused() {
    let x = Tensor::<f32>::zeros([1, 1, 4, 4]);
    let message = |to: &Interpolate| x.interpolate(to).unwrap_err().to_string();
    assert_eq!(
        message(&Interpolate::size(&[2], InterpolateMode::Linear)),
        "interpolate: expected an input of [N, C] and 1 axes, got [1, 1, 4, 4]"
    );
    let corners = Interpolate::size(&[2, 2], InterpolateMode::Nearest).align_corners(true);
    assert!(message(&corners).contains("align_corners is for the modes linear and cubic"));
    let smooth = Interpolate::size(&[2, 2], InterpolateMode::Area).antialias(true);
    assert!(message(&smooth).contains("antialias is for the modes linear and cubic"));
    for factor in [0.1, f64::NAN, -1.0, f64::INFINITY] {
        let by = Interpolate::scale(&[factor, 1.0], InterpolateMode::Nearest);
        assert!(message(&by).contains("axis 2"), "{factor}");
    }
    assert!(message(&Interpolate::size(&[0, 2], InterpolateMode::Area)).contains("axis 2"));
}
