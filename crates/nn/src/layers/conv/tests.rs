//! Settings, errors and gradients of convolutions.

use dendra_autograd::{Parameters, Tape};
use dendra_tensor::{Rng, Tensor};

use super::*;
use crate::sequential::Sequential;

#[test]
fn a_wrong_input_is_told_by_path_and_sizes() {
    let mut layer = vec![Conv2d::new(4, 2, 3).groups(2).init(&mut Rng::seed(0)).unwrap()];
    layer.name_parameters();
    let message = |shape: &[usize]| {
        layer[0].forward(&Var::new(Tensor::zeros(shape))).unwrap_err().to_string()
    };
    let place = "0 (Conv2d 4 → 2, 3×3, groups 2)";
    assert_eq!(message(&[1, 3, 5, 5]), format!("{place}: expected [N, 4, H, W], got [1, 3, 5, 5]"));
    assert_eq!(message(&[4, 5]), format!("{place}: expected [N, 4, H, W], got [4, 5]"));
    let small = message(&[1, 4, 2, 5]);
    assert!(small.starts_with(place) && small.contains("2"), "{small}");
}

#[test]
fn the_settings_decide_shapes_and_description() {
    let settings = Conv2d::new(4, 6, (3, 2)).stride([2, 1]).padding(1).dilation(2).groups(2);
    let layer = settings.bias(false).init(&mut Rng::seed(0)).unwrap();
    assert_eq!(*layer.weight.value().shape(), [6, 2, 3, 2]);
    assert_eq!(layer.parameter_count(), 72);
    assert_eq!(layer.to_string(), "Conv2d 4 → 6, 3×2, stride 2×1, padding 1, dilation 2, groups 2");
    let y = layer.forward(&Var::new(Tensor::zeros([5, 4, 9, 8]))).unwrap();
    assert_eq!(*y.shape(), [5, 6, 4, 8]);
}

#[test]
fn the_defaults_are_within_pytorchs_bounds() {
    let layer = Conv2d::new(8, 500, [3, 5]).groups(2).init(&mut Rng::seed(0)).unwrap();
    let bound = 1.0 / (4.0_f32 * 15.0).sqrt();
    for values in [layer.weight.value().to_vec(), layer.bias.unwrap().value().to_vec()] {
        let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert!(largest <= bound && largest > 0.97 * bound, "{largest}");
    }
}

#[test]
fn wrong_settings_are_told_when_the_layer_is_made() {
    let message =
        |settings: ConvSettings<2>| settings.init(&mut Rng::seed(0)).unwrap_err().to_string();
    let cases = [
        (Conv2d::lazy(4, 3), "in_channels is not set"),
        (Conv2d::new(4, 4, 0), "kernel_size must be at least 1, got 0×0"),
        (Conv2d::new(4, 4, 3).stride([1, 0]), "stride must be at least 1, got 1×0"),
        (Conv2d::new(4, 4, 3).dilation(0), "dilation must be at least 1"),
        (Conv2d::new(4, 6, 3).groups(3), "do not divide into 3 groups"),
        (Conv2d::new(4, 6, 3).groups(0), "do not divide into 0 groups"),
        (Conv2d::new(1 << 40, 1 << 40, 3), "do not fit into memory"),
        (
            Conv2d::new(4, 4, 3).stride([1, 2]).padding(Padding::Same),
            "padding same needs stride 1, got 1×2",
        ),
    ];
    for (settings, expected) in cases {
        let message = message(settings);
        assert!(message.starts_with("Conv2d: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn sequential_finds_out_the_channels_and_refuses_what_does_not_fit() {
    let input = || Sequential::input([3, 8, 8]);
    let model = input().conv2d(4, 3).conv2d(5, [1, 2]).build(&mut Rng::seed(0)).unwrap();
    assert_eq!(*model.output_shape(), [5, 6, 5]);
    assert_eq!(*model.named_parameters()[2].1.value().shape(), [5, 4, 1, 2]);
    let message = |settings: ConvSettings<2>| {
        input().relu().layer(settings).build(&mut Rng::seed(0)).unwrap_err().to_string()
    };
    assert_eq!(
        message(Conv2d::new(1, 4, 3)),
        "layer 1 (Conv2d): expected [1, H, W], got [3, 8, 8]"
    );
    let large = message(Conv2d::lazy(4, 9));
    assert!(large.starts_with("layer 1 (Conv2d): ") && large.contains('9'), "{large}");
    let flat = Sequential::input([784]).conv2d(4, 3).build(&mut Rng::seed(0)).unwrap_err();
    assert_eq!(flat.to_string(), "layer 0 (Conv2d): expected [C, H, W], got [784]");
}

#[test]
fn same_padding_keeps_the_size_and_is_pytorchs() {
    let ones = |settings: ConvSettings<1>| {
        let settings = settings.padding(Padding::Same).bias(false);
        settings.weight_init(Init::Constant(1.0)).init(&mut Rng::seed(0)).unwrap()
    };
    let x = Var::new(Tensor::from([[[1.0, 2.0, 4.0, 8.0]]]));
    let sums = |layer: Conv1d| layer.forward(&x).unwrap().value().to_vec();
    assert_eq!(sums(ones(Conv1d::new(1, 1, 3))), [3.0, 7.0, 14.0, 12.0]);
    // An odd number of zeros has one more at the end.
    assert_eq!(sums(ones(Conv1d::new(1, 1, 2))), [3.0, 6.0, 12.0, 8.0]);
    assert_eq!(sums(ones(Conv1d::new(1, 1, 4))), [7.0, 15.0, 14.0, 12.0]);
    assert_eq!(ones(Conv1d::new(1, 1, 2)).to_string(), "Conv1d 1 → 1, 2, padding same");

    let builder = Sequential::input([1, 5, 6]).layer(Conv2d::lazy(3, 2).padding(Padding::Same));
    let model = builder.relu().max_pool2d(2).build(&mut Rng::seed(0)).unwrap();
    assert_eq!(*model.output_shape(), [3, 2, 3]);
    let y = model.forward(&Var::new(Tensor::zeros([2, 1, 5, 6]))).unwrap();
    assert_eq!(*y.shape(), [2, 3, 2, 3]);
}

#[test]
fn the_padding_is_filled_as_its_mode_says() {
    let sums = |settings: ConvSettings<1>| {
        let settings = settings.bias(false).weight_init(Init::Constant(1.0));
        let layer = settings.init(&mut Rng::seed(0)).unwrap();
        let x = Var::new(Tensor::from([[[1.0, 2.0, 4.0, 8.0]]]));
        layer.forward(&x).unwrap().value().to_vec()
    };
    let three = || Conv1d::new(1, 1, 3).padding(1);
    assert_eq!(sums(three().padding_mode(PaddingMode::Reflect)), [5.0, 7.0, 14.0, 16.0]);
    assert_eq!(sums(three().padding_mode(PaddingMode::Replicate)), [4.0, 7.0, 14.0, 20.0]);
    assert_eq!(sums(three().padding_mode(PaddingMode::Circular)), [11.0, 7.0, 14.0, 13.0]);
    // An odd number of elements has one more at the end.
    let same = Conv1d::new(1, 1, 2).padding(Padding::Same).padding_mode(PaddingMode::Replicate);
    assert_eq!(sums(same), [3.0, 6.0, 12.0, 16.0]);

    // With ReLU and pooling in one pass, and in a network.
    let circular = Conv2d::lazy(3, 3).padding(Padding::Same).padding_mode(PaddingMode::Circular);
    let builder = Sequential::input([1, 4, 6]).layer(circular);
    let model = builder.relu().max_pool2d(2).build(&mut Rng::seed(0)).unwrap();
    assert_eq!(*model.output_shape(), [3, 2, 3]);
    assert!(format!("{model:?}").contains("3×3, padding same, padding mode Circular"));
    let x = Tensor::normal([2, 1, 4, 6], 0.0, 1.0, &mut Rng::seed(1));
    let y = model.forward(&Var::new(x.clone())).unwrap();
    // A rotated image gives a rotated result.
    let turned = model.forward(&Var::new(x.roll(2, 3).unwrap())).unwrap();
    assert_eq!(turned.value(), &y.value().roll(1, 3).unwrap());

    let small = Conv2d::lazy(3, 3).padding(4).padding_mode(PaddingMode::Reflect);
    let error = Sequential::input([1, 4, 6]).layer(small).build(&mut Rng::seed(0)).unwrap_err();
    assert!(error.to_string().contains("more than the elements that can fill it"), "{error}");
    let large = Conv2d::lazy(3, 3).padding(1 << 40).padding_mode(PaddingMode::Replicate);
    let error = Sequential::input([1, 4, 6]).layer(large).build(&mut Rng::seed(0)).unwrap_err();
    assert!(error.to_string().contains("a padded input"), "{error}");
}

#[test]
fn sequences_and_volumes_are_convolved() {
    let model = Sequential::input([2, 9]).conv1d(4, 3).build(&mut Rng::seed(0)).unwrap();
    assert_eq!(*model.output_shape(), [4, 7]);
    assert_eq!(*model.forward(&Var::new(Tensor::zeros([3, 2, 9]))).unwrap().shape(), [3, 4, 7]);
    let volume = Sequential::input([2, 4, 6, 5]).conv3d(4, (2, 3, 1));
    let model = volume.build(&mut Rng::seed(0)).unwrap();
    assert_eq!(*model.output_shape(), [4, 3, 4, 5]);
    let x = Var::new(Tensor::zeros([1, 2, 4, 6, 5]));
    assert_eq!(*model.forward(&x).unwrap().shape(), [1, 4, 3, 4, 5]);
    let error = Sequential::input([2, 9]).conv3d(1, 2).build(&mut Rng::seed(0)).unwrap_err();
    assert_eq!(error.to_string(), "layer 0 (Conv3d): expected [C, D, H, W], got [2, 9]");
}

/// The convolution is linear in x, W and b, so the product with the gradient of
/// each gives the output back.
#[test]
fn gradients_reach_input_weight_and_bias() {
    let mut rng = Rng::seed(3);
    let layer = Conv2d::new(2, 3, 3).padding(1).init_as::<f64>(&mut rng).unwrap();
    let tape = Tape::training(0, 0);
    let x = tape.leaf(Tensor::normal([2, 2, 4, 5], 0.0, 1.0, &mut rng));
    let sum = layer.forward(&x).unwrap().sum();
    let gradients = sum.backward().unwrap();
    let bias = layer.bias.as_ref().unwrap();
    let inner = |a: &Tensor<f64>, b: &Tensor<f64>| (a * b).sum().item().unwrap();
    let of_bias = inner(gradients.get(bias).unwrap(), bias.value());
    let of_weight = inner(gradients.get(&layer.weight).unwrap(), layer.weight.value());
    let of_input = inner(gradients.wrt(&x).unwrap(), x.value());
    let sum = sum.value().item().unwrap();
    assert!((of_weight + of_bias - sum).abs() < 1e-9 * sum.abs().max(1.0));
    assert!((of_input + of_bias - sum).abs() < 1e-9 * sum.abs().max(1.0));
    assert!(of_weight.abs() > 0.1 && of_bias.abs() > 0.1);
}
