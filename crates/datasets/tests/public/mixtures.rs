//! Soft targets, and samples mixed with others.

use dendra_datasets::transforms::{CutMix, LabelSmoothing, MixUp};
use dendra_datasets::{Dataset, Draw, ImageDataset, digits};
use dendra_tensor::Tensor;

#[test]
fn smoothed_labels_are_probabilities() {
    let data = LabelSmoothing::new(digits(50, 7), 0.2).unwrap();
    let (_, y) = data.batch(&(0..50).collect::<Vec<_>>()).unwrap();
    let labels = digits(50, 7).labels().to_vec();
    for (row, label) in y.to_vec().chunks(10).zip(labels) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        for (class, &share) in row.iter().enumerate() {
            let expected = if class as i64 == label { 0.82 } else { 0.02 };
            assert!((share - expected).abs() < 1e-6);
        }
    }
    assert_eq!(data.classes(), None);
    assert!(LabelSmoothing::new(digits(5, 7), 1.1).is_err());
}

#[test]
fn mixed_samples_are_between_two_of_the_set() {
    let hard = LabelSmoothing::new(digits(40, 7), 0.0).unwrap();
    let all: Vec<usize> = (0..40).collect();
    let (x, y) = hard.batch(&all).unwrap();
    let (x, y) = (x.to_vec(), y.to_vec());
    let mixed = MixUp::new(&hard, 1.0).unwrap();
    let draw = Draw::new(1, 2);
    let (mixed_x, mixed_y) = mixed.batch_at(&all, &draw).unwrap();
    let (mixed_x, mixed_y) = (mixed_x.to_vec(), mixed_y.to_vec());
    for index in 0..40 {
        let found = &mixed_x[index * 784..][..784];
        // The partner and the share that explain the image explain the target.
        let explained = (0..40).any(|other| {
            let (own, other_x) = (&x[index * 784..][..784], &x[other * 784..][..784]);
            let difference = |i: usize| own[i] - other_x[i];
            let place =
                (0..784).max_by(|&a, &b| difference(a).abs().total_cmp(&difference(b).abs()));
            let place = place.unwrap();
            let share = match difference(place) {
                0.0 => 1.0,
                difference => (found[place] - other_x[place]) / difference,
            };
            let between = |own: f32, other: f32| share * own + (1.0 - share) * other;
            let images = (0..784).all(|i| (between(own[i], other_x[i]) - found[i]).abs() < 1e-5);
            images
                && (0..10).all(|class| {
                    let expected = between(y[index * 10 + class], y[other * 10 + class]);
                    (expected - mixed_y[index * 10 + class]).abs() < 1e-4
                })
        });
        assert!(explained, "sample {index} is no mixture");
    }
    let (again, _) = mixed.batch_at(&[7], &draw).unwrap();
    assert_eq!(again.to_vec(), mixed_x[7 * 784..][..784], "the batch must not matter");
    assert!(MixUp::new(&hard, 0.0).is_err());
}

#[test]
fn cut_samples_hold_a_rectangle_of_another() {
    // Two plain classes, so that every pixel tells where it is from.
    let images = Tensor::from_fn([20, 1, 16, 12], |i| if i / 192 < 10 { 51u8 } else { 204 });
    let labels = Tensor::from_fn([20], |i| i64::from(i >= 10));
    let plain = ImageDataset::new(images, labels, 2).unwrap();
    let data = CutMix::new(LabelSmoothing::new(plain, 0.0).unwrap(), 1.0).unwrap();
    let all: Vec<usize> = (0..20).collect();
    let mut mixed = 0;
    for epoch in 0..10 {
        let (x, y) = data.batch_at(&all, &Draw::new(5, epoch)).unwrap();
        for (index, (image, target)) in x.to_vec().chunks(192).zip(y.to_vec().chunks(2)).enumerate()
        {
            let own = if index < 10 { 0.2 } else { 0.8 };
            let foreign: Vec<usize> = (0..192).filter(|&i| image[i] != own).collect();
            let (own_class, other_class) = (usize::from(index >= 10), usize::from(index < 10));
            assert!((target[own_class] + target[other_class] - 1.0).abs() < 1e-6);
            if foreign.is_empty() {
                continue;
            }
            mixed += 1;
            let span = |axis: &dyn Fn(&usize) -> usize| {
                foreign.iter().map(axis).max().unwrap() - foreign.iter().map(axis).min().unwrap()
                    + 1
            };
            assert_eq!(span(&|i| i / 12) * span(&|i| i % 12), foreign.len());
            let share = foreign.len() as f32 / 192.0;
            assert!((target[other_class] - share).abs() < 1e-5);
        }
    }
    assert!((50..150).contains(&mixed), "{mixed}");
    let flat = LabelSmoothing::new(dendra_datasets::moons(5, 0.1, 1).unwrap(), 0.0).unwrap();
    assert!(CutMix::new(flat, 1.0).is_err());
}
