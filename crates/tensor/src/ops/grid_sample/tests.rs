//! Grids that map an image to itself, and others.

use super::*;

fn image() -> Tensor<f64> {
    Tensor::arange(12).reshape([1, 1, 3, 4]).unwrap()
}

#[test]
fn the_identity_leaves_an_image_as_it_is() {
    let theta = Tensor::from([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]);
    for align_corners in [false, true] {
        let grid = theta.affine_grid([3, 4], align_corners).unwrap();
        for mode in [GridSampleMode::Bilinear, GridSampleMode::Nearest] {
            let options = GridSampleOptions { mode, align_corners, ..GridSampleOptions::default() };
            let y = image().grid_sample(&grid, options).unwrap();
            for (a, b) in y.to_vec().into_iter().zip(image().to_vec()) {
                assert!((a - b).abs() < 1e-12, "{a} for {b}");
            }
        }
    }
}

#[test]
fn outside_is_what_the_padding_says() {
    let at = |x: f64, padding| {
        let grid = Tensor::from([[[x, -1.0]]]).unsqueeze(0).unwrap();
        let align_corners = true;
        let options = GridSampleOptions { padding, align_corners, ..Default::default() };
        image().grid_sample(&grid, options).unwrap().item().unwrap()
    };
    // The first row is 0 1 2 3, from −1 to 1.
    assert_eq!(at(5.0 / 3.0, GridSamplePadding::Zeros), 0.0);
    assert_eq!(at(5.0 / 3.0, GridSamplePadding::Border), 3.0);
    assert!((at(5.0 / 3.0, GridSamplePadding::Reflection) - 2.0).abs() < 1e-12);
    assert!((at(-1.0 - 2.0 / 3.0, GridSamplePadding::Reflection) - 1.0).abs() < 1e-12);
    for padding in
        [GridSamplePadding::Zeros, GridSamplePadding::Border, GridSamplePadding::Reflection]
    {
        for far in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300] {
            at(far, padding);
        }
    }
}

#[test]
fn a_coordinate_that_is_no_number_gives_none_unless_padding_brings_it_back() {
    let at = |padding, mode| {
        let grid = Tensor::from([[[f64::NAN, -1.0]]]).unsqueeze(0).unwrap();
        let options = GridSampleOptions { mode, padding, align_corners: true };
        image().grid_sample(&grid, options).unwrap().item().unwrap()
    };
    assert!(at(GridSamplePadding::Zeros, GridSampleMode::Bilinear).is_nan());
    assert!(at(GridSamplePadding::Border, GridSampleMode::Bicubic).is_nan());
    assert_eq!(at(GridSamplePadding::Zeros, GridSampleMode::Nearest), 0.0);
    assert_eq!(at(GridSamplePadding::Border, GridSampleMode::Bilinear), 0.0);
    assert_eq!(at(GridSamplePadding::Reflection, GridSampleMode::Bilinear), 0.0);
}

/// Checks the values at the coordinates, and the gradient of their sum by the
/// grid.
fn assert_looked_up(
    [x, grid]: [&Tensor<f64>; 2],
    options: GridSampleOptions,
    values: &[f64],
    gradient: &[f64],
) {
    let close = |found: Vec<f64>, expected: &[f64]| {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-8;
        assert_eq!(found.len(), expected.len());
        let all = found.iter().zip(expected).all(near);
        assert!(all, "{options:?}: {found:?}, expected {expected:?}");
    };
    let y = x.grid_sample(grid, options).unwrap();
    close(y.to_vec(), values);
    let inputs = &[x.clone(), grid.clone()][..];
    let (output, saved, needs) = (&y, &(), &[false, true][..]);
    let cotangent = Tensor::ones(y.shape());
    let call = Call { inputs, output, saved, needs, cotangent };
    close(GridSample { options }.vjp(call)[1].as_ref().unwrap().to_vec(), gradient);
}

/// PyTorch 2.15, `F.grid_sample(x, grid, ...)` with `x = torch.arange(24.) ** 2 % 17` and
/// `grid.grad` of `y.sum().backward()`.
#[test]
#[rustfmt::skip]
fn bicubic_values_are_those_of_pytorch() {
    use GridSamplePadding::*;
    let x = Tensor::from_fn([1, 1, 4, 6], |i| (i * i % 17) as f64);
    let grid = Tensor::from([[[-0.9, -0.3], [0.35, 1.4], [-1.6, 0.1], [0.9, 0.95]]]);
    let grid = grid.unsqueeze(0).unwrap();
    let looked_up = |padding, align_corners, values: &[f64], gradient: &[f64]| {
        let mode = GridSampleMode::Bicubic;
        let options = GridSampleOptions { mode, padding, align_corners };
        assert_looked_up([&x, &grid], options, values, gradient);
    };
    looked_up(Zeros, false,
        &[0.029172, -1.405442883, 0.0, 0.782208],
        &[13.245435, 6.02808, 3.188223281, -1.338517031, 0.0, 0.0, -7.30944, -2.59008]);
    looked_up(Zeros, true,
        &[5.639032959, 6.394240234, -0.646702148, 3.23654332],
        &[36.291818848, 12.596901855, -8.410195313, -28.043723145,
         -3.233510742, -0.874599609, -11.259607086, 2.170511169]);
    looked_up(Border, false,
        &[0.288804, 12.74778125, 7.19225, 1.58816],
        &[8.87022, 7.62456, -28.918125, 0.0, 0.0, 11.055, -4.7088, -0.2736]);
    looked_up(Border, true,
        &[5.394764038, 15.134664063, 6.89815625, 2.880840622],
        &[35.477589111, 11.548905029, -20.26171875, -4.264628906,
         0.0, 9.3290625, -10.048864288, 4.521266785]);
    looked_up(Reflection, false,
        &[-0.00687, 9.119308695, 17.109770875, 1.532],
        &[16.6316625, 7.2282, -23.511286406, -29.503701094,
         17.39948625, -9.54948, -9.315, 0.42]);
    looked_up(Reflection, true,
        &[4.000628662, 6.573449219, 15.842292969, 2.401681808],
        &[30.830471191, 10.993908691, -14.846953125, -25.627719727,
         22.387382812, -7.075546875, -8.456681671, 1.696637878]);
}

/// As above, with `x = torch.arange(12.) ** 2 % 7`.
#[test]
#[rustfmt::skip]
fn volumes_are_those_of_pytorch() {
    use GridSamplePadding::*;
    let x = Tensor::from_fn([1, 1, 2, 2, 3], |i| (i * i % 7) as f64);
    let grid = Tensor::from([
        [-0.9, -0.3, 0.2], [0.35, 1.4, -0.6], [-1.6, 0.1, 1.7], [0.9, 0.95, -0.1],
    ]);
    let grid = grid.reshape([1, 1, 1, 4, 3]).unwrap();
    let looked_up = |mode, padding, values: &[f64], gradient: &[f64]| {
        let options = GridSampleOptions { mode, padding, align_corners: false };
        assert_looked_up([&x, &grid], options, values, gradient);
    };
    looked_up(GridSampleMode::Bilinear, Zeros,
        &[0.806, 0.2745, 0.0, 1.144],
        &[1.86, 1.755, 0.78, 0.27, -2.745, 0.305, 0.0, 0.0, 0.0, -2.64, -2.08, -0.715]);
    looked_up(GridSampleMode::Bilinear, Border,
        &[1.24, 3.05, 2.8, 3.2],
        &[0.0, 2.7, 1.2, 3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, -2.0]);
    looked_up(GridSampleMode::Bilinear, Reflection,
        &[1.24, 3.05, 2.0, 3.2],
        &[0.0, 2.7, 1.2, 3.0, 0.0, 0.0, 1.8, 2.4, -0.8, 0.0, 0.0, -2.0]);
    looked_up(GridSampleMode::Nearest, Zeros,
        &[1.0, 0.0, 0.0, 4.0],
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    looked_up(GridSampleMode::Nearest, Border,
        &[1.0, 4.0, 4.0, 4.0],
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    looked_up(GridSampleMode::Nearest, Reflection,
        &[1.0, 4.0, 4.0, 4.0],
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let theta = [[1.0, 0.5, 0.0, 0.1], [0.0, 0.8, 0.2, -0.3], [0.4, 0.0, 1.1, 0.6]];
    let theta = Tensor::from([theta]);
    let first = |align_corners| {
        let grid = theta.affine_grid([1, 2, 3], align_corners).unwrap();
        assert_eq!(*grid.shape(), [1, 1, 2, 3, 3]);
        grid.to_vec()[..6].iter().map(|x| (x * 1e6).round() / 1e6).collect::<Vec<_>>()
    };
    assert_eq!(first(false), [-0.816667, -0.7, 0.333333, -0.15, -0.7, 0.6]);
    assert_eq!(first(true), [-1.4, -1.1, 0.2, -0.4, -1.1, 0.6]);
}

#[test]
fn what_does_not_fit_is_named() {
    let options = GridSampleOptions::default();
    let error = image().grid_sample(&Tensor::zeros([1, 2, 2, 3]), options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "grid_sample: expected images [N, C, H, W] and a grid [N, rows, columns, 2], or \
         volumes [N, C, D, H, W] and a grid [N, slices, rows, columns, 3], got [1, 1, 3, 4] \
         and [1, 2, 2, 3]"
    );
    let empty = Tensor::<f64>::zeros([1, 1, 0, 4]);
    assert!(empty.grid_sample(&Tensor::zeros([1, 2, 2, 2]), options).is_err());
    assert!(Tensor::<f64>::zeros([2, 3]).affine_grid([2, 2], false).is_err());
    assert!(Tensor::<f64>::zeros([1, 2, 3]).affine_grid([2, 2, 2], false).is_err());
    let cubic = GridSampleOptions { mode: GridSampleMode::Bicubic, ..options };
    let volume = Tensor::<f64>::zeros([1, 1, 2, 2, 2]);
    let error = volume.grid_sample(&Tensor::zeros([1, 1, 1, 1, 3]), cubic).unwrap_err();
    assert_eq!(error.to_string(), "grid_sample: the mode Bicubic is for images only");
}
