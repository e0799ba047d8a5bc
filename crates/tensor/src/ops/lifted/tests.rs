//! Sequences and volumes compared with their definitions.

use super::*;
use crate::Rng;

fn normal(shape: &[usize]) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(3))
}

/// By the definition, for any number of axes.
fn naive<const D: usize>(
    x: &Tensor<f64>,
    weight: &Tensor<f64>,
    options: ConvOptions<D>,
    output: &Shape,
) -> Vec<f64> {
    let mut y = ndarray::ArrayD::<f64>::zeros(&output[..]);
    let (x_view, w_view) = (x.view(), weight.view());
    let group_outputs = weight.shape()[0] / options.groups;
    for (place, y) in y.indexed_iter_mut() {
        for (tap, &w) in w_view.indexed_iter().filter(|(tap, _)| tap[0] == place[1]) {
            let channel = place[1] / group_outputs * weight.shape()[1] + tap[1];
            let seen: Option<Vec<usize>> = (0..D)
                .map(|axis| {
                    let window = place[2 + axis] * options.stride[axis];
                    (window + tap[2 + axis] * options.dilation[axis])
                        .checked_sub(options.padding[axis])
                        .filter(|&at| at < x.shape()[2 + axis])
                })
                .collect();
            if let Some(seen) = seen {
                let at: Vec<usize> = [place[0], channel].into_iter().chain(seen).collect();
                *y += w * x_view[&at[..]];
            }
        }
    }
    y.into_raw_vec_and_offset().0
}

#[track_caller]
fn assert_conv<const D: usize>(x: &[usize], weight: &[usize], options: ConvOptions<D>) {
    let (x, weight) = (normal(x), normal(weight));
    let bias = Tensor::from_fn([weight.shape()[0]], |i| i as f64 - 0.5);
    let y = conv(&x, &weight, None, options).unwrap();
    assert_eq!(*y.shape(), options.output_shape(x.shape(), weight.shape()).unwrap());
    let expected = naive(&x, &weight, options, y.shape());
    for (found, expected) in y.to_vec().into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-11, "{found} for {expected}");
    }
    let mut column = vec![1; D + 1];
    column[0] = bias.len();
    let biased = conv(&x, &weight, Some(&bias), options).unwrap();
    let difference = &biased.view() - &y.add(&bias.reshape(column).unwrap()).unwrap().view();
    assert!(difference.iter().all(|d| d.abs() < 1e-12));
}

/// PyTorch 2.15: `F.conv_transpose1d(x, w, stride=2, padding=1, output_padding=p,
/// dilation=4)` of `x = [1, 2]`, `w = [1, 10]`.
#[test]
fn output_padding_may_reach_the_dilation() {
    let x = Tensor::from([[[1.0, 2.0_f64]]]);
    let weight = Tensor::from([[[1.0, 10.0]]]);
    let y = |padding| {
        let (stride, dilation, output_padding) = ([2], [4], [padding]);
        let options = ConvTransposeOptions {
            stride,
            padding: [1],
            output_padding,
            dilation,
            ..Default::default()
        };
        let y = x.conv_transpose1d(&weight, None, options)?;
        let shape = options.output_shape(x.shape(), weight.shape())?;
        assert_eq!(*y.shape(), shape);
        Ok::<_, Error>(y.to_vec())
    };
    assert_eq!(y(1).unwrap(), [0.0, 2.0, 0.0, 10.0, 0.0, 20.0]);
    assert_eq!(y(2).unwrap(), [0.0, 2.0, 0.0, 10.0, 0.0, 20.0, 0.0]);
    assert_eq!(y(3).unwrap(), [0.0, 2.0, 0.0, 10.0, 0.0, 20.0, 0.0, 0.0]);
    let error = y(4).unwrap_err().to_string();
    assert!(error.contains("must be less than the stride"), "{error}");
    // The same along the depth of a volume.
    let options = ConvTransposeOptions {
        stride: [2, 1, 1],
        padding: [1, 0, 0],
        output_padding: [3, 0, 0],
        dilation: [4, 1, 1],
        ..Default::default()
    };
    let deep = x.reshape([1, 1, 2, 1, 1]).unwrap();
    let weight = weight.reshape([1, 1, 2, 1, 1]).unwrap();
    let z = deep.conv_transpose3d(&weight, None, options).unwrap();
    assert_eq!(z.to_vec(), y(3).unwrap());
}

/// A single sample gives the same result as in a batch of one.
#[test]
fn the_batch_axis_may_be_missing() {
    let mut rng = Rng::seed(8);
    let mut of = |shape: &[usize]| Tensor::<f64>::normal(shape, 0.0, 1.0, &mut rng);
    let alike = |x: &Tensor<f64>, apply: &dyn Fn(&Tensor<f64>) -> Result<Tensor<f64>>| {
        let batch = apply(&x.unsqueeze(0).unwrap()).unwrap();
        assert_eq!(apply(x).unwrap(), batch.squeeze(0).unwrap());
    };
    let (line, image, volume) = (of(&[4, 6]), of(&[4, 6, 5]), of(&[4, 3, 6, 5]));
    let (w1, w2, w3) = (of(&[4, 4, 3]), of(&[4, 4, 3, 2]), of(&[4, 4, 2, 3, 2]));
    let bias = of(&[4]);
    let bias = Some(&bias);
    alike(&line, &|x| x.conv1d(&w1, bias, ConvOptions::default()));
    alike(&image, &|x| x.conv2d(&w2, bias, ConvOptions::default()));
    alike(&image, &|x| x.conv2d_relu(&w2, bias, ConvOptions::default(), false));
    alike(&volume, &|x| x.conv3d(&w3, bias, ConvOptions::default()));
    alike(&line, &|x| x.conv_transpose1d(&w1, bias, ConvTransposeOptions::default()));
    alike(&image, &|x| x.conv_transpose2d(&w2, bias, ConvTransposeOptions::default()));
    alike(&volume, &|x| x.conv_transpose3d(&w3, bias, ConvTransposeOptions::default()));
    alike(&line, &|x| x.max_pool1d(PoolOptions::new([2])));
    alike(&image, &|x| x.max_pool2d(PoolOptions::new([2, 2])));
    alike(&volume, &|x| x.max_pool3d(PoolOptions::new([2, 2, 2])));
    alike(&line, &|x| x.avg_pool1d(PoolOptions::new([2]), true));
    alike(&image, &|x| x.avg_pool2d(PoolOptions::new([2, 2]), true));
    alike(&volume, &|x| x.avg_pool3d(PoolOptions::new([2, 2, 2]), true));
    alike(&line, &|x| x.adaptive_avg_pool1d(2));
    alike(&image, &|x| x.adaptive_avg_pool2d([2, 3]));
    alike(&volume, &|x| x.adaptive_avg_pool3d([2, 3, 1]));
    alike(&line, &|x| x.adaptive_max_pool1d(2));
    alike(&image, &|x| x.adaptive_max_pool2d([2, 3]));
    alike(&volume, &|x| x.adaptive_max_pool3d([2, 3, 1]));
    let windows =
        UnfoldOptions { kernel_size: [2, 2], stride: [2, 1], padding: [0, 0], dilation: [1, 1] };
    alike(&image, &|x| x.unfold(windows));
    alike(&of(&[8, 12]), &|x| x.fold([6, 5], windows));
    let error = image.conv1d(&w2, None, ConvOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("conv1d: expected a weight with 1 axes"), "{error}");
}

#[test]
fn convolutions_match_the_plain_loop() {
    let plain = ConvOptions::<1>::default();
    assert_conv(&[2, 3, 9], &[4, 3, 3], plain);
    let all = ConvOptions { stride: [2], padding: [3], dilation: [2], groups: 2 };
    assert_conv(&[2, 4, 9], &[6, 2, 3], all);
    let plain = ConvOptions::<3>::default();
    assert_conv(&[2, 3, 4, 5, 6], &[4, 3, 2, 3, 2], plain);
    assert_conv(&[0, 3, 4, 5, 6], &[4, 3, 2, 3, 2], plain);
    let all = ConvOptions { stride: [2, 1, 3], padding: [2, 1, 0], dilation: [1, 2, 1], groups: 2 };
    assert_conv(&[2, 4, 5, 4, 6], &[6, 2, 3, 2, 3], all);
    assert_conv(&[2, 4, 5, 4, 6], &[6, 2, 3, 2, 3], ConvOptions { dilation: [2, 2, 1], ..all });
}

#[test]
fn sequences_are_images_one_row_high() {
    let x = normal(&[2, 3, 7]);
    let options = PoolOptions { stride: [2], padding: [1], ..PoolOptions::new([3]) };
    let wide = |x: Tensor<f64>| x.unsqueeze(2).unwrap();
    let images = wide(x.clone());
    let planar = options.along([None, Some(0)]);
    assert_eq!(planar.kernel_size, [1, 3]);
    assert_eq!(wide(x.max_pool1d(options).unwrap()), images.max_pool2d(planar).unwrap());
    let means = x.avg_pool1d(options, false).unwrap();
    assert_eq!(wide(means), images.avg_pool2d(planar, false).unwrap());
    let means = x.adaptive_avg_pool1d(3).unwrap();
    assert_eq!(wide(means), images.adaptive_avg_pool2d([1, 3]).unwrap());
    let maxima = x.adaptive_max_pool1d(3).unwrap();
    assert_eq!(wide(maxima), images.adaptive_max_pool2d([1, 3]).unwrap());

    let weight = normal(&[3, 2, 4]);
    let options = ConvTransposeOptions::<1> { stride: [3], ..Default::default() };
    let y = x.conv_transpose1d(&weight, None, options).unwrap();
    assert_eq!(*y.shape(), [2, 2, 22]);
    let planar = ConvTransposeOptions { stride: [1, 3], ..Default::default() };
    let expected = images.conv_transpose2d(&wide(weight), None, planar).unwrap();
    assert_eq!(wide(y), expected);
}

#[test]
fn what_does_not_fit_is_named() {
    let x = Tensor::<f32>::zeros([2, 3, 7]);
    let conv = |weight: &[usize]| {
        let weight = Tensor::zeros(weight);
        x.conv1d(&weight, None, ConvOptions::default()).unwrap_err().to_string()
    };
    let rank = conv(&[4, 3]);
    assert!(rank.starts_with("conv1d: expected a weight with 1 axes"), "{rank}");
    let channels = conv(&[4, 2, 3]);
    assert!(channels.starts_with("conv1d: the weight [4, 2, 1, 3] does not"), "{channels}");
    assert!(conv(&[4, 3, 8]).contains("does not fit"));
    let image = Tensor::<f32>::zeros([2, 3, 7, 7]);
    let message = image.max_pool1d(PoolOptions::new([2])).unwrap_err().to_string();
    assert!(message.starts_with("max_pool1d: expected an input with 1 axes"), "{message}");
    assert!(image.adaptive_avg_pool1d(2).is_err());
}
