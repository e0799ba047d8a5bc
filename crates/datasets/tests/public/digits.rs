//! Generated digits, the real ones, and how much they are alike.

use dendra_datasets::{Dataset, ImageDataset, Mnist, MnistSource, Normalization, digits};

/// The real digits, where `MNIST_DIR` says, in the cache or by download.
fn real() -> Mnist {
    let mnist = Mnist::load().unwrap();
    assert_ne!(mnist.source, MnistSource::Generated, "the real files were not found");
    mnist
}

fn counts(data: &ImageDataset) -> [usize; 10] {
    let mut counts = [0; 10];
    data.labels().to_vec().into_iter().for_each(|label| counts[label as usize] += 1);
    counts
}

#[test]
fn an_image_depends_on_seed_and_index_only() {
    let (small, large) = (digits(50, 1), digits(200, 1));
    assert_eq!(large.images().to_vec()[..50 * 784], small.images().to_vec());
    assert_eq!(large.labels().to_vec()[..50], small.labels().to_vec());
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = pool.install(|| digits(200, 1));
        assert_eq!(again.images().to_vec(), large.images().to_vec(), "{threads} threads");
    }
    let (first, second) = (large.images().to_vec(), digits(200, 2).images().to_vec());
    assert!(first.chunks(784).zip(second.chunks(784)).all(|(a, b)| a != b));
}

#[test]
fn all_digits_are_as_likely() {
    let counts = counts(&digits(5000, 3));
    assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
}

#[test]
fn ink_is_dark_in_the_middle_and_off_the_border() {
    for image in digits(300, 4).images().to_vec().chunks(784) {
        assert!(*image.iter().max().unwrap() > 190);
        let share = image.iter().filter(|&&pixel| pixel > 0).count() as f64 / 784.0;
        assert!((0.03..0.5).contains(&share), "{share} of the pixels have ink");
        let border = (0..28).flat_map(|i| [i, 27 * 28 + i, i * 28, i * 28 + 27]);
        assert!(border.map(|pixel| u32::from(image[pixel])).sum::<u32>() < 2000);
        let mass: f64 = image.iter().map(|&pixel| f64::from(pixel)).sum();
        let centre = |coordinate: fn(usize) -> usize| {
            let weigh = |(i, &pixel): (usize, &u8)| coordinate(i) as f64 * f64::from(pixel);
            image.iter().enumerate().map(weigh).sum::<f64>() / mass
        };
        let (x, y) = (centre(|i| i % 28), centre(|i| i / 28));
        assert!((x - 13.5).abs() < 3.0 && (y - 13.5).abs() < 3.0, "({x}, {y})");
    }
}

/// The images, slightly blurred, of length one.
fn features(data: &ImageDataset, count: usize) -> Vec<Vec<f32>> {
    let feature = |image: &[u8]| {
        let mut blurred = vec![0.0; 784];
        for (i, out) in blurred.iter_mut().enumerate() {
            let (row, column) = (i / 28, i % 28);
            for y in row.saturating_sub(1)..(row + 2).min(28) {
                for x in column.saturating_sub(1)..(column + 2).min(28) {
                    *out += f32::from(image[y * 28 + x]);
                }
            }
        }
        let length = blurred.iter().map(|x| x * x).sum::<f32>().sqrt();
        blurred.iter().map(|x| x / length).collect()
    };
    data.images().to_vec().chunks(784).take(count).map(feature).collect()
}

/// The share of the first `count` images of `test` whose nearest neighbour
/// among `train` is the same digit.
fn nearest_neighbour_accuracy(train: &ImageDataset, test: &ImageDataset, count: usize) -> f64 {
    let known = features(train, train.len());
    let (known_labels, labels) = (train.labels().to_vec(), test.labels().to_vec());
    let features = features(test, count);
    let hits = features.iter().zip(&labels).filter(|(feature, label)| {
        let similarity =
            |other: &[f32]| other.iter().zip(*feature).map(|(a, b)| a * b).sum::<f32>();
        let all = known.iter().map(|other| similarity(other));
        let (nearest, _) = all.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        known_labels[nearest] == **label
    });
    hits.count() as f64 / count as f64
}

#[test]
fn a_digit_looks_like_others_of_its_kind() {
    let accuracy = nearest_neighbour_accuracy(&digits(1500, 5), &digits(300, 6), 300);
    assert!(accuracy >= 0.9, "{accuracy}");
}

#[test]
#[ignore = "needs the real MNIST"]
fn generated_digits_tell_real_ones_apart() {
    let accuracy = nearest_neighbour_accuracy(&digits(2000, 7), &real().test, 300);
    assert!(accuracy >= 0.7, "{accuracy}");
}

#[test]
fn the_synthetic_test_set_is_another_than_the_training_set() {
    let mnist = Mnist::synthetic(200, 200, 8);
    let train = mnist.train.images().to_vec();
    let test = mnist.test.images().to_vec();
    assert!(test.chunks(784).all(|image| !train.chunks(784).any(|other| other == image)));
}

#[test]
#[ignore = "needs the real MNIST"]
fn the_real_mnist_is_what_it_is_known_to_be() {
    let mnist = real();
    assert_eq!(counts(&mnist.train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(counts(&mnist.test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    let (x, y) = mnist.train.batch(&[0, 1, 2, 3, 4]).unwrap();
    assert_eq!(y.to_vec(), [5, 0, 4, 1, 9]);
    assert_eq!(x.shape(), &[5, 1, 28, 28]);
    assert!(x.to_vec().iter().all(|value| (0.0..=1.0).contains(value)));
    let Normalization::Standardize { mean, std } = mnist.train.statistics() else { panic!() };
    assert!((mean[0] - 0.1307).abs() < 1e-4 && (std[0] - 0.3081).abs() < 1e-4, "{mean:?} {std:?}");
}
