//! Max pooling, compared with its definition.

use super::*;

/// Maximum and gradient of one image by the definition, with PyTorch's
/// choice among NaNs.
fn naive(
    x: &[f32],
    [height, width]: [usize; 2],
    options: &Pool2dOptions,
    columns: usize,
    g: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut gradient) = (Vec::new(), vec![0.0; x.len()]);
    for (window, &g) in g.iter().enumerate() {
        let (mut max, mut place) = (f32::NEG_INFINITY, None);
        for tap in 0..options.kernel_size[0] * options.kernel_size[1] {
            let [u, v] = [tap / options.kernel_size[1], tap % options.kernel_size[1]];
            let at = |axis: usize, window: usize, tap: usize, size: usize| {
                let place = window * options.stride[axis] + tap * options.dilation[axis];
                place.checked_sub(options.padding[axis]).filter(|&place| place < size)
            };
            let row = at(0, window / columns, u, height);
            let column = at(1, window % columns, v, width);
            if let (Some(row), Some(column)) = (row, column) {
                let value = x[row * width + column];
                if value > max || value.is_nan() || place.is_none() {
                    (max, place) = (value, Some(row * width + column));
                }
            }
        }
        y.push(max);
        if let Some(place) = place {
            gradient[place] += g;
        }
    }
    (y, gradient)
}

/// The bits, so that equal NaNs compare equal.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { 1 } else { x.to_bits() }).collect()
}

/// Images with equal elements, infinities and NaNs, with many window settings.
#[test]
fn maxima_match_the_plain_loop() {
    let mut rng = Rng::seed(1);
    for sizes in [[1, 1], [4, 6], [5, 7], [9, 35], [26, 26]] {
        for kernel_size in [[1, 1], [2, 2], [3, 3], [2, 3], [4, 1]] {
            for stride in [[2, 2], [1, 1], [2, 1], [3, 5]] {
                for (padding, dilation, ceil_mode) in
                    [([0, 0], [1, 1], false), ([1, 1], [1, 1], true), ([1, 0], [3, 2], false)]
                {
                    let options =
                        Pool2dOptions { kernel_size, stride, padding, dilation, ceil_mode };
                    let shape = Shape::from([2, 3, sizes[0], sizes[1]]);
                    let operation = MaxPool2d { options };
                    let Ok(output) = Op::<f32>::output_shape(&operation, &[&shape]) else {
                        continue;
                    };
                    let values = [0.0, 0.0, 1.0, -1.0, f32::NAN, f32::NEG_INFINITY];
                    let x = Tensor::from_fn(&shape, |_| values[rng.below(values.len())]);
                    let g = Tensor::<f32>::uniform(&output, -1.0, 1.0, &mut rng);
                    let (y, saved) = operation.forward(&[&x]);
                    let gradient = operation
                        .vjp(Call {
                            inputs: std::slice::from_ref(&x),
                            output: &y,
                            saved: &saved,
                            needs: &[true],
                            cotangent: g.clone(),
                        })
                        .remove(0)
                        .unwrap();
                    let image = sizes[0] * sizes[1];
                    let windows = output[2] * output[3];
                    for plane in 0..6 {
                        let of = |t: &Tensor<f32>, length| {
                            t.to_vec()[plane * length..][..length].to_vec()
                        };
                        let expected =
                            naive(&of(&x, image), sizes, &options, output[3], &of(&g, windows));
                        assert_eq!(bits(&of(&y, windows)), bits(&expected.0), "{options:?}");
                        assert_eq!(of(&gradient, image), expected.1, "{options:?} {sizes:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let refuse = |shape: &[usize], options| {
        Tensor::<f32>::zeros(shape).max_pool2d(options).unwrap_err().to_string()
    };
    let two = Pool2dOptions::new([2, 2]);
    assert_eq!(
        refuse(&[4, 4], two),
        "max_pool2d: expected an input of shape [N, C, height, width], got [4, 4]"
    );
    assert_eq!(
        refuse(&[1, 3, 4, 4], Pool2dOptions { padding: [0, 2], ..two }),
        "max_pool2d: the padding [0, 2] must be at most half of the kernel [2, 2]"
    );
    assert!(refuse(&[1, 3, 4, 1], two).contains("does not fit an image of [4, 1]"));
}
