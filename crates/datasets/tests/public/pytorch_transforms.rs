//! Resizing and affine maps against PyTorch's `interpolate` and `grid_sample`.

use dendra_datasets::transforms::{Affine, Image, Resize, Transform};
use dendra_tensor::{Rng, Tensor};

use crate::fixtures::{Case, Fixture};

/// The image of a case after a transform, which must be close to PyTorch's.
fn compare(
    case: &Case<'_>,
    transform: impl Transform<f32, Output = f32> + Transform<u8, Output = u8>,
) {
    let (before, after) = (case.tensor::<f32>("in"), case.tensor::<f32>("out"));
    let shape = <[usize; 3]>::try_from(&before.shape()[..]).unwrap();
    let expected = <[usize; 3]>::try_from(&after.shape()[..]).unwrap();
    let floats = Image::new(shape, before.to_vec()).unwrap();
    assert_eq!(Transform::<f32>::output_shape(&transform, shape).unwrap(), expected);
    let found = transform.apply(floats, &mut Rng::seed(0));
    assert_eq!(found.shape(), expected, "{}", case.key);
    let largest = |found: Vec<f32>, after: &Tensor| {
        let pairs = found.into_iter().zip(after.to_vec());
        pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
    };
    let error = largest(found.into_pixels(), &after);
    assert!(error < 2e-5, "{} differs by {error}", case.key);

    // Bytes give the same to one level of input and one of output.
    let bytes = before.to_vec().into_iter().map(|x| (x * 255.0).round() as u8).collect();
    let found = transform.apply(Image::new(shape, bytes).unwrap(), &mut Rng::seed(0));
    let found = found.into_pixels().into_iter().map(|x| f32::from(x) / 255.0).collect();
    let error = largest(found, &after);
    assert!(error < 1.01 / 255.0, "{} differs by {error} as bytes", case.key);
}

#[test]
fn transforms_agree_with_pytorch() {
    let fixture = Fixture::open::<f32>("transforms");
    for case in fixture.cases_of("resize") {
        let [height, width] = case.pair("size");
        compare(&case, Resize::new(height, width));
    }
    for case in fixture.cases_of("affine") {
        let pair = |name: &str| {
            let values = case.setting(name).as_array().unwrap();
            [0, 1].map(|index| values[index].as_f64().unwrap())
        };
        let [angle, scale] = ["angle", "scale"].map(|name| case.number(name));
        let ([x, y], [shear_x, shear_y]) = (pair("shift"), pair("shear"));
        let affine = Affine::new().angle(angle).translate(x, y).scale(scale);
        compare(&case, affine.shear(shear_x, shear_y));
    }
    fixture.assert_all_read();
}
