//! Every method of the convolution against the plain loop, and hand-computed
//! values.

use super::super::Ops;
use super::*;

/// Output and gradients for the cotangent `g(y)`, by the definition.
fn naive(
    x: &Tensor<f64>,
    weight: &Tensor<f64>,
    options: Conv2dOptions,
    g: &Tensor<f64>,
) -> [Vec<f64>; 3] {
    let (x_view, w_view, g_view) = (x.view(), weight.view(), g.view());
    let mut y = ndarray::ArrayD::<f64>::zeros(g_view.raw_dim());
    let mut dx = ndarray::ArrayD::<f64>::zeros(x_view.raw_dim());
    let mut dw = ndarray::ArrayD::<f64>::zeros(w_view.raw_dim());
    let group_outputs = weight.shape()[0] / options.groups;
    for (place, &g) in g_view.indexed_iter() {
        let [n, o, i, j] = [place[0], place[1], place[2], place[3]];
        for (tap, &w) in w_view.indexed_iter().filter(|(tap, _)| tap[0] == o) {
            let [_, c, u, v] = [tap[0], tap[1], tap[2], tap[3]];
            let channel = o / group_outputs * weight.shape()[1] + c;
            let at = |axis: usize, window: usize, tap: usize| {
                (window * options.stride[axis] + tap * options.dilation[axis])
                    .checked_sub(options.padding[axis])
                    .filter(|&place| place < x.shape()[2 + axis])
            };
            if let (Some(row), Some(column)) = (at(0, i, u), at(1, j, v)) {
                let place_x = [n, channel, row, column];
                y[&place] += w * x_view[place_x];
                dx[place_x] += w * g;
                dw[&tap] += g * x_view[place_x];
            }
        }
    }
    [y, dx, dw].map(|array| array.into_raw_vec_and_offset().0)
}

/// Output and gradients by the operation.
fn all<T: Float>(
    x: &Tensor<T>,
    weight: &Tensor<T>,
    options: Conv2dOptions,
    g: &Tensor<T>,
) -> [Vec<T>; 3] {
    let operation = Conv2d { options };
    let (y, ()) = operation.forward(&[x, weight]);
    let inputs = [x.clone(), weight.clone()];
    let gradients = operation.vjp(Call {
        inputs: &inputs,
        output: &y,
        saved: &(),
        needs: &[true, true],
        cotangent: g.clone(),
    });
    let [dx, dw] = [0, 1].map(|index| gradients[index].as_ref().unwrap().to_vec());
    [y.to_vec(), dx, dw]
}

/// Input, weight and cotangent of a convolution.
fn problem(x: &[usize], weight: &[usize], options: Conv2dOptions) -> [Tensor<f64>; 3] {
    let mut rng = Rng::seed(2);
    let [x, weight] = [x, weight].map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng));
    let shapes = [x.shape(), weight.shape()];
    let shape = Op::<f64>::output_shape(&Conv2d { options }, &shapes).unwrap();
    let g = Tensor::normal(shape, 0.0, 1.0, &mut rng);
    [x, weight, g]
}

/// Shapes for every method: few taps on wide, narrow and one-column images,
/// with whole and partial blocks of channels; many taps for few channels on wide
/// images; many taps on one image at a time, split into rows or channels, and on
/// several small images; many windows and channels, whose tasks have some or all
/// images; many taps on wide images; a single tap on one image in place, and on several
/// images; the same with groups; depthwise convolutions, with rows longer and shorter
/// than a vector, with a plane too large for interleaved channels, and with several
/// kernels for a channel; no images or channels.
#[rustfmt::skip]
fn cases() -> Vec<([usize; 4], [usize; 4], Conv2dOptions)> {
    let plain = Conv2dOptions::default();
    let groups = |groups| Conv2dOptions { groups, ..plain };
    let padding = |padding| Conv2dOptions { padding, ..plain };
    let everything = |groups| Conv2dOptions {
        stride: [2, 3], padding: [2, 1], dilation: [2, 3], groups,
    };
    vec![
        ([3, 1, 28, 28], [5, 1, 3, 3], plain),
        ([2, 3, 9, 33], [8, 3, 3, 3], padding([1, 1])),
        ([2, 2, 5, 16], [4, 2, 2, 2], padding([0, 1])),
        ([2, 3, 5, 83], [9, 3, 2, 3], padding([0, 1])),
        ([1, 7, 9, 66], [6, 7, 3, 13], padding([1, 4])),
        ([2, 9, 19, 88], [1, 9, 5, 3], padding([2, 1])),
        ([1, 8, 7, 90], [2, 4, 3, 5], Conv2dOptions { stride: [2, 2], ..groups(2) }),
        ([1, 50, 6, 9], [10, 50, 1, 1], plain),
        ([2, 2, 11, 40], [4, 2, 3, 3], everything(1)),
        ([2, 3, 5, 5], [3, 1, 3, 3], groups(3)),
        ([2, 4, 9, 20], [6, 2, 3, 2], everything(2)),
        ([2, 1, 4, 3], [2, 1, 4, 3], plain),
        ([1, 2, 3, 4], [2, 2, 2, 2], padding([3, 2])),
        ([1, 64, 24, 24], [3, 64, 3, 3], padding([1, 1])),
        ([1, 160, 14, 14], [2, 160, 3, 3], padding([1, 1])),
        ([1, 300, 7, 7], [9, 300, 1, 1], plain),
        ([19, 12, 4, 5], [7, 12, 2, 2], plain),
        ([9, 10, 7, 8], [6, 5, 3, 3], everything(2)),
        ([2, 6, 16, 17], [9, 6, 3, 3], plain),
        ([1, 40, 14, 30], [16, 40, 3, 3], padding([1, 1])),
        ([1, 32, 12, 17], [34, 16, 3, 3], Conv2dOptions { padding: [1, 1], ..groups(2) }),
        ([2, 16, 25, 26], [10, 16, 3, 3], Conv2dOptions { stride: [2, 2], ..plain }),
        ([1, 15, 8, 56], [33, 15, 3, 3],
         Conv2dOptions { padding: [2, 2], dilation: [2, 2], ..plain }),
        ([20, 24, 7, 9], [40, 12, 3, 3],
         Conv2dOptions { stride: [2, 2], padding: [1, 1], ..groups(2) }),
        ([9, 16, 7, 7], [96, 16, 3, 3], padding([1, 1])),
        ([3, 40, 12, 13], [14, 40, 3, 3], plain),
        ([3, 10, 131, 1], [16, 10, 5, 1], padding([1, 0])),
        ([1, 10, 600, 1], [16, 10, 4, 1], Conv2dOptions { stride: [2, 1], ..padding([3, 0]) }),
        ([40, 0, 5, 5], [16, 0, 3, 3], plain),
        ([2, 40, 12, 12], [5, 40, 1, 1], plain),
        ([20, 40, 3, 4], [5, 40, 1, 1], plain),
        ([3, 80, 3, 4], [6, 40, 1, 1], groups(2)),
        ([2, 40, 7, 6], [5, 40, 1, 1], Conv2dOptions { stride: [2, 3], ..plain }),
        ([2, 5, 6, 5], [3, 5, 6, 5], plain),
        ([2, 9, 12, 19], [9, 1, 3, 3], Conv2dOptions { padding: [1, 1], ..groups(9) }),
        ([2, 19, 3, 3], [19, 1, 3, 3], Conv2dOptions { padding: [1, 1], ..groups(19) }),
        ([1, 5, 7, 6], [15, 1, 5, 5], Conv2dOptions { padding: [2, 3], ..groups(5) }),
        ([2, 6, 9, 20], [6, 1, 3, 2], everything(6)),
        ([3, 17, 8, 6], [17, 1, 2, 3], everything(17)),
        ([2, 6, 30, 31], [12, 1, 3, 3], Conv2dOptions { stride: [2, 2], ..groups(6) }),
        ([2, 4, 1, 40], [4, 1, 1, 4], Conv2dOptions { padding: [0, 3], ..groups(4) }),
        ([1, 3, 600, 5], [6, 1, 3, 3], Conv2dOptions { padding: [1, 1], ..groups(3) }),
        ([2, 3, 4, 5], [3, 1, 1, 1], groups(3)),
        ([2, 3, 4, 5], [3, 1, 1, 1], Conv2dOptions { stride: [7, 5], ..groups(3) }),
        ([0, 3, 4, 5], [3, 1, 2, 2], groups(3)),
        ([2, 3, 4, 5], [0, 1, 2, 2], groups(3)),
        ([0, 2, 5, 5], [3, 2, 3, 3], plain),
        ([2, 0, 5, 5], [3, 0, 3, 3], plain),
        ([2, 2, 5, 5], [0, 2, 3, 3], plain),
        ([1, 2, 0, 5], [3, 2, 3, 3], padding([2, 1])),
    ]
}

#[test]
fn all_methods_match_the_plain_loop() {
    for (x_shape, weight_shape, options) in cases() {
        let [x, weight, g] = problem(&x_shape, &weight_shape, options);
        let expected = naive(&x, &weight, options, &g);
        let found = all(&x, &weight, options, &g);
        let single = all(&x.cast::<f32>(), &weight.cast(), options, &g.cast());
        for (part, name) in ["output", "input gradient", "weight gradient"].iter().enumerate() {
            assert_eq!(found[part].len(), expected[part].len());
            for (i, &expected) in expected[part].iter().enumerate() {
                let case = format!("{name} of {x_shape:?} * {weight_shape:?} at {i}");
                let error = (found[part][i] - expected).abs();
                assert!(error < 1e-11, "{case}: {error}");
                let error = (f64::from(single[part][i]) - expected).abs();
                assert!(error < 2e-4, "{case} in f32: {error}");
            }
        }
    }
}

#[test]
fn every_method_adds_the_bias() {
    for (x_shape, weight_shape, options) in cases() {
        let [x, weight, _] = problem(&x_shape, &weight_shape, options);
        let bias = Tensor::from_fn([weight_shape[0]], |i| i as f64 - 1.5);
        let column = bias.reshape([weight_shape[0], 1, 1]).unwrap();
        let expected = x.conv2d(&weight, None, options).unwrap().add(&column).unwrap();
        let found = x.conv2d(&weight, Some(&bias), options).unwrap();
        let difference = &found.view() - &expected.view();
        assert!(difference.iter().all(|d| d.abs() < 1e-12), "{x_shape:?} * {weight_shape:?}");
    }
}

/// What follows sees each element once, with its position and final value.
#[test]
fn every_method_applies_what_follows() {
    for (x_shape, weight_shape, options) in cases() {
        let [x, weight, _] = problem(&x_shape, &weight_shape, options);
        let bias = Tensor::from_fn([weight_shape[0]], |i| i as f64 - 1.5);
        let convolved = x.conv2d(&weight, Some(&bias), options).unwrap().to_vec();
        let follows = |position: usize, y: f64| 3.0 * y + position as f64;
        let then = |first: usize, y: &mut [f64]| {
            y.iter_mut().enumerate().for_each(|(i, y)| *y = follows(first + i, *y));
        };
        let inputs = [&x, &weight, &bias];
        let expected = convolved.into_iter().enumerate().map(|(i, y)| follows(i, y));
        let expected: Vec<f64> = expected.collect();
        let operation = Conv2d { options };
        for panels in [Vec::new(), operation.packed(x.shape(), &weight).unwrap()] {
            let then = Epilogue::new(&then);
            let found = operation.forward_then(&inputs, &panels, then).unwrap();
            let packed = panels.len();
            assert!(found.to_vec() == expected, "{x_shape:?} * {weight_shape:?}, {packed}");
        }
    }
}

#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    for (x_shape, weight_shape) in [
        ([37, 1, 28, 28], [32, 1, 3, 3]),
        ([5, 32, 14, 14], [32, 32, 3, 3]),
        ([70, 24, 5, 5], [24, 24, 3, 3]),
        ([30, 64, 8, 8], [32, 64, 1, 1]),
        ([5, 33, 20, 20], [33, 1, 3, 3]),
        ([9, 70, 5, 5], [70, 1, 3, 3]),
    ] {
        let groups = x_shape[1] / weight_shape[1];
        let padding = Conv2dOptions { padding: [1, 1], groups, ..Conv2dOptions::default() };
        let [x, weight, g] = problem(&x_shape, &weight_shape, padding);
        let [x, weight, g] = [x, weight, g].map(|tensor| tensor.cast::<f32>());
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| all(&x, &weight, padding, &g))
        };
        let once = run(1);
        for threads in [2, 3, 7] {
            assert!(run(threads) == once, "{threads} threads, {weight_shape:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let refuse = |x: &[usize], weight: &[usize], bias: usize, options| {
        let (weight, bias) = (Tensor::zeros(weight), Tensor::zeros([bias]));
        let error = Tensor::<f32>::zeros(x).conv2d(&weight, Some(&bias), options);
        error.unwrap_err().to_string()
    };
    let plain = Conv2dOptions::default();
    let groups = |groups| Conv2dOptions { groups, ..plain };
    for (found, expected) in [
        (
            refuse(&[4, 4], &[2, 3, 3, 3], 2, plain),
            "expected an input of shape [N, C, height, width], got [4, 4]",
        ),
        (
            refuse(&[1, 3, 4, 4], &[2, 3, 3], 2, plain),
            "the weight [2, 3, 3] is not [out, in / groups, kernel height, kernel width]",
        ),
        (
            refuse(&[1, 3, 4, 4], &[2, 4, 3, 3], 2, plain),
            "the weight [2, 4, 3, 3] does not fit an input of [1, 3, 4, 4]",
        ),
        (
            refuse(&[1, 4, 4, 4], &[2, 4, 3, 3], 2, groups(2)),
            "the weight [2, 4, 3, 3] does not fit an input of [1, 4, 4, 4] in 2 groups",
        ),
        (
            refuse(&[1, 4, 4, 4], &[3, 2, 3, 3], 3, groups(2)),
            "4 input and 3 output channels do not divide into 2 groups",
        ),
        (
            refuse(&[1, 4, 4, 4], &[4, 4, 3, 3], 4, groups(0)),
            "4 input and 4 output channels do not divide into 0 groups",
        ),
        (refuse(&[1, 1, 4, 4], &[2, 1, 3, 3], 3, plain), "expected a bias of shape [2], got [3]"),
        (
            refuse(&[1, 1, 4, 2], &[2, 1, 3, 3], 2, plain),
            "a kernel of [3, 3] with dilation [1, 1] does not fit an image of [4, 2] with \
             padding [0, 0]",
        ),
        (
            refuse(&[1, 1, 4, 4], &[2, 1, 3, 3], 2, Conv2dOptions { stride: [0, 1], ..plain }),
            "the stride must be at least 1, got [0, 1]",
        ),
        (
            refuse(&[1, 1, 4, 4], &[2, 1, 0, 3], 2, plain),
            "the kernel size must be at least 1, got [0, 3]",
        ),
    ] {
        assert_eq!(found, format!("conv2d: {expected}"));
    }
    let huge = Conv2dOptions { padding: [usize::MAX / 8, usize::MAX / 8], ..plain };
    assert!(refuse(&[1, 1, 4, 4], &[2, 1, 3, 3], 2, huge).contains("does not fit"));
}
