//! Data sets: gathering, parts, and what is refused.

use dendra_datasets::{Dataset, ImageDataset, Normalization, Subset, TensorDataset};
use dendra_tensor::{Error, Rng, Tensor};

/// Ten samples whose input is `[index, 10 index]` and whose label is `index % 3`.
fn ten() -> TensorDataset<i64> {
    let inputs = Tensor::from_fn([10, 2], |i| if i % 2 == 0 { i / 2 } else { i / 2 * 10 } as f32);
    TensorDataset::classification(inputs, Tensor::from_fn([10], |i| i as i64 % 3), 3).unwrap()
}

#[test]
fn a_batch_holds_the_asked_samples_in_the_asked_order() {
    let data = ten();
    assert_eq!(data.len(), 10);
    assert_eq!(data.input_shape(), [2]);
    assert_eq!(data.classes(), Some(3));
    let (x, y) = data.batch(&[7, 0, 7]).unwrap();
    assert_eq!(x.shape(), &[3, 2]);
    assert_eq!(x.to_vec(), [7.0, 70.0, 0.0, 0.0, 7.0, 70.0]);
    assert_eq!(y.to_vec(), [1, 0, 1]);
    let (x, y) = data.batch(&[]).unwrap();
    assert_eq!((x.shape(), y.shape()), (&[0, 2].into(), &[0].into()));
}

#[test]
fn strided_tensors_are_taken_too() {
    let columns = Tensor::from_fn([2, 4], |i| i as f32).transpose(0, 1).unwrap();
    let data = TensorDataset::new(columns, Tensor::<f32>::zeros([4, 1])).unwrap();
    assert_eq!(data.batch(&[1]).unwrap().0.to_vec(), [1.0, 5.0]);
}

#[test]
fn subsets_count_in_their_own_indices() {
    let data = ten();
    let part = data.subset(vec![9, 4, 2]).unwrap();
    assert_eq!((part.len(), part.classes()), (3, Some(3)));
    assert_eq!(part.batch(&[2, 0]).unwrap().0.to_vec(), [2.0, 20.0, 9.0, 90.0]);
    let part_of_part = part.take(2);
    assert_eq!(part_of_part.batch(&[1]).unwrap().0.to_vec(), [4.0, 40.0]);
    assert_eq!(data.take(99).len(), 10);
    let owned = Subset::new(data, vec![3]).unwrap();
    assert_eq!(owned.batch(&[0]).unwrap().1.to_vec(), [0]);
}

#[test]
fn a_split_deals_every_sample_once() {
    let data = ten();
    let (train, validation) = data.split(0.7, &mut Rng::seed(3)).unwrap();
    assert_eq!((train.len(), validation.len()), (7, 3));
    let mut all = [train.indices(), validation.indices()].concat();
    assert_ne!(all, (0..10).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    for (fraction, parts) in [(0.0, "0 and 10"), (0.04, "0 and 10"), (0.96, "10 and 0")] {
        let error = data.split(fraction, &mut Rng::seed(3)).unwrap_err().to_string();
        let expected = format!("`fraction` is {fraction}, which divides 10 samples into {parts}");
        assert!(error.contains(&expected), "{error}");
    }
    for fraction in [-0.1, 1.1, f64::NAN, 1.0] {
        let error = data.split(fraction, &mut Rng::seed(3)).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
}

#[test]
fn an_index_beyond_the_samples_is_named() {
    let data = ten();
    let error = data.batch(&[1, 10]).unwrap_err().to_string();
    assert!(error.contains("expected indices below 10") && error.contains("got 10"), "{error}");
    assert!(data.subset(vec![10]).is_err());
    assert!(data.take(3).batch(&[3]).is_err());
}

#[test]
fn a_label_out_of_range_is_named_with_its_sample() {
    for wrong in [3, -1, i64::MIN] {
        let labels = Tensor::from([0, 1, wrong, 2]);
        let error = TensorDataset::classification(Tensor::<f32>::zeros([4, 1]), labels.clone(), 3)
            .unwrap_err();
        assert!(matches!(error, Error::Data { .. }));
        let message = error.to_string();
        assert!(message.contains(&format!("sample 2 has label {wrong}")), "{message}");
        assert!(ImageDataset::new(Tensor::zeros([4, 1, 2, 2]), labels, 3).is_err());
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let x = || Tensor::<f32>::zeros([4, 2]);
    let error = TensorDataset::new(x(), Tensor::<f32>::zeros([3, 1])).unwrap_err().to_string();
    assert!(error.contains("as many inputs as targets, got 4 and 3"), "{error}");
    assert!(TensorDataset::new(Tensor::scalar(1.0f32), Tensor::scalar(1i64)).is_err());
    assert!(TensorDataset::classification(x(), Tensor::zeros([4, 1]), 2).is_err());
    for shape in [&[4][..], &[4, 28, 28], &[4, 1, 2, 2, 2], &[3, 1, 2, 2]] {
        let error = ImageDataset::new(Tensor::zeros(shape), Tensor::zeros([4]), 1).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
}

#[test]
fn an_empty_set_is_one() {
    let data = TensorDataset::new(Tensor::<f32>::zeros([0, 3]), Tensor::<i64>::zeros([0])).unwrap();
    assert!(data.is_empty());
    assert_eq!(data.batch(&[]).unwrap().0.shape(), &[0, 3]);
    let images = ImageDataset::new(Tensor::zeros([0, 1, 28, 28]), Tensor::zeros([0]), 10).unwrap();
    assert_eq!(images.batch(&[]).unwrap().0.shape(), &[0, 1, 28, 28]);
    let Normalization::Standardize { mean, .. } = images.statistics() else { unreachable!() };
    assert!(mean[0].is_nan());
}

/// Two samples of two channels of two pixels.
fn colours() -> ImageDataset {
    let images = Tensor::from_vec(vec![0u8, 255, 51, 51, 255, 0, 153, 153], [2, 2, 1, 2]).unwrap();
    ImageDataset::new(images, Tensor::from([0i64, 1]), 2).unwrap()
}

#[test]
fn bytes_are_normalised_channel_by_channel() {
    let values = |data: &ImageDataset| data.batch(&[1]).unwrap().0.to_vec();
    let data = colours();
    assert_eq!(values(&data), [1.0, 0.0, 0.6, 0.6]);
    let raw = data.clone().normalize(Normalization::Raw).unwrap();
    assert_eq!(values(&raw), [255.0, 0.0, 153.0, 153.0]);
    let standard = Normalization::Standardize { mean: vec![0.5, 0.4], std: vec![0.5, 0.2] };
    let standard = data.normalize(standard).unwrap();
    assert_eq!(values(&standard)[..2], [1.0, -1.0]);
    values(&standard)[2..].iter().for_each(|x| assert!((x - 1.0).abs() < 1e-6));
}

#[test]
fn the_statistics_standardise_the_set_they_are_from() {
    let data = colours();
    let statistics = data.statistics();
    assert_eq!(
        statistics,
        Normalization::Standardize { mean: vec![0.5, 0.4], std: vec![0.5, 0.2] }
    );
    let data = data.normalize(statistics).unwrap();
    let x = data.batch(&[0, 1]).unwrap().0.to_vec();
    for channel in 0..2 {
        let values: Vec<f32> =
            [0, 1].iter().flat_map(|i| x[i * 4 + channel * 2..][..2].to_vec()).collect();
        let mean = values.iter().sum::<f32>() / 4.0;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / 4.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }
}

#[test]
fn a_normalisation_must_fit_the_channels() {
    let standard = |mean: &[f32], std: &[f32]| {
        colours().normalize(Normalization::Standardize { mean: mean.into(), std: std.into() })
    };
    assert!(standard(&[0.5, 0.5], &[0.5, 0.5]).is_ok());
    for (mean, std) in [
        (&[0.5][..], &[0.5][..]),
        (&[0.5, 0.5], &[0.5]),
        (&[0.5, 0.5], &[0.5, 0.0]),
        (&[0.5, 0.5], &[0.5, -1.0]),
        (&[0.5, f32::NAN], &[0.5, 0.5]),
        (&[0.5, 0.5], &[0.5, f32::INFINITY]),
    ] {
        assert!(matches!(standard(mean, std), Err(Error::Argument { .. })), "{mean:?} {std:?}");
    }
}
