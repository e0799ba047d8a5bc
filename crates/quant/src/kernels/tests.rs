//! Products and convolutions of bytes on every level, compared with plain loops.

use dendra_tensor::Rng;

use super::*;

fn bytes(count: usize, rng: &mut Rng) -> Vec<u8> {
    (0..count).map(|_| rng.below(256) as u8).collect()
}

fn weights(count: usize, rng: &mut Rng) -> Vec<i8> {
    (0..count).map(|_| rng.below(256) as u8 as i8).collect()
}

/// The sums of a product, by its definition.
fn naive(a: &[u8], weights: &[i8], rows: usize, columns: usize, depth: usize) -> Vec<i32> {
    let mut sums = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let products = (0..depth)
                .map(|k| i32::from(a[row * depth + k]) * i32::from(weights[column * depth + k]));
            sums.push(products.sum());
        }
    }
    sums
}

#[test]
fn products_are_exact_on_every_level() {
    let mut rng = Rng::seed(1);
    let sizes = [
        [1, 1, 1],
        [1, 16, 4],
        [1, 200, 33],
        [5, 17, 3],
        [13, 33, 70],
        [24, 130, 31],
        [25, 130, 31],
        [100, 40, 129],
        [3, 5, 0],
    ];
    for [rows, columns, depth] in sizes {
        let (a, weights) = (bytes(rows * depth, &mut rng), weights(columns * depth, &mut rng));
        let expected = naive(&a, &weights, rows, columns, depth);
        for level in Level::available() {
            let packed = Packed::for_level(level, &weights, columns, depth).unwrap();
            let mut sums = vec![-1; rows * columns];
            product(&packed, &Source::Rows(&a), &Sums, &mut sums);
            assert_eq!(sums, expected, "{level:?}, {rows} × {depth} × {columns}");
        }
    }
}

#[test]
fn the_largest_factors_do_not_overflow() {
    let (a, weights) = (vec![255; MAX_DEPTH], vec![-128; MAX_DEPTH]);
    for level in Level::available() {
        let packed = Packed::for_level(level, &weights, 1, MAX_DEPTH).unwrap();
        let mut sums = [0];
        product(&packed, &Source::Rows(&a), &Sums, &mut sums);
        assert_eq!(sums[0], -128 * 255 * MAX_DEPTH as i32, "{level:?}");
    }
    assert!(Packed::new(&[0; MAX_DEPTH + 1], 1, MAX_DEPTH + 1).is_err());
    assert!(Packed::new(&[0; 5], 2, 3).is_err());
}

/// The windows of images, by their definition.
fn unfolded(image: &Image<'_>, samples: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let window = image.window;
    for n in 0..samples {
        for y in 0..image.output[0] {
            for x in 0..image.output[1] {
                for tap in 0..window.kernel[0] * window.kernel[1] {
                    let dy = tap / window.kernel[1] * window.dilation[0];
                    let dx = tap % window.kernel[1] * window.dilation[1];
                    let y = (y * window.stride[0] + dy).checked_sub(window.padding[0]);
                    let x = (x * window.stride[1] + dx).checked_sub(window.padding[1]);
                    let y = y.filter(|&y| y < image.size[0]);
                    let x = x.filter(|&x| x < image.size[1]);
                    for channel in 0..image.channels {
                        all.push(match (y, x) {
                            (Some(y), Some(x)) => {
                                let row = n * image.size[0] + y;
                                image.data[(row * image.size[1] + x) * image.channels + channel]
                            }
                            _ => image.padding,
                        });
                    }
                }
            }
        }
    }
    all
}

fn windows() -> Vec<(Window, [usize; 2])> {
    let window = |kernel, stride, padding, dilation| Window { kernel, stride, padding, dilation };
    vec![
        (window([3, 3], [1, 1], [1, 1], [1, 1]), [5, 6]),
        (window([1, 1], [2, 2], [0, 0], [1, 1]), [5, 4]),
        (window([7, 7], [2, 2], [3, 3], [1, 1]), [9, 3]),
        (window([3, 2], [1, 3], [2, 0], [2, 3]), [6, 8]),
        (window([1, 5], [1, 1], [0, 4], [1, 1]), [2, 2]),
    ]
}

#[test]
fn windows_are_those_of_the_definition() {
    let mut rng = Rng::seed(2);
    for (window, size) in windows() {
        let data = bytes(2 * size[0] * size[1] * 3, &mut rng);
        let output = window.output(size).unwrap();
        let image = Image { data: &data, size, channels: 3, window, output, padding: 7 };
        let (rows, depth) = (2 * output[0] * output[1], image.depth());
        let weights = weights(5 * depth, &mut rng);
        let expected = naive(&unfolded(&image, 2), &weights, rows, 5, depth);
        for level in Level::available() {
            let packed = Packed::for_level(level, &weights, 5, depth).unwrap();
            let mut sums = vec![-1; rows * 5];
            product(&packed, &Source::Windows(image), &Sums, &mut sums);
            assert_eq!(sums, expected, "{level:?}, {window:?}");
        }
    }
    let (window, _) = windows()[0];
    assert_eq!(Window { kernel: [9, 1], ..window }.output([5, 5]), None);
    assert_eq!(Window { stride: [0, 1], ..window }.output([5, 5]), None);
}

#[test]
fn channels_have_taps_of_their_own() {
    let mut rng = Rng::seed(3);
    for (window, size) in windows() {
        let channels = 19;
        let data = bytes(2 * size[0] * size[1] * channels, &mut rng);
        let output = window.output(size).unwrap();
        let image = Image { data: &data, size, channels, window, output, padding: 200 };
        let taps = window.kernel[0] * window.kernel[1];
        let weights = weights(channels * taps, &mut rng);
        let all = unfolded(&image, 2);
        let mut expected = Vec::new();
        for row in all.chunks(taps * channels) {
            for channel in 0..channels {
                let products = (0..taps).map(|tap| {
                    i32::from(row[tap * channels + channel])
                        * i32::from(weights[channel * taps + tap])
                });
                expected.push(products.sum::<i32>());
            }
        }
        let weights = DepthwiseWeights::new(&weights, channels).unwrap();
        let mut sums = vec![-1; expected.len()];
        depthwise(&weights, &image, &Sums, &mut sums);
        assert_eq!(sums, expected, "{window:?}");

        let mut most = vec![0; expected.len()];
        max_pool(&Image { padding: 0, ..image }, &mut most);
        let all = unfolded(&Image { padding: 0, ..image }, 2);
        let of = |index: usize| {
            let row = &all[index / channels * taps * channels..][..taps * channels];
            row.iter().skip(index % channels).step_by(channels).copied().max().unwrap()
        };
        assert!((0..most.len()).all(|index| most[index] == of(index)), "{window:?}");
    }
}

#[test]
fn halves_are_rounded_to_the_even_number() {
    let x = [0.5, 1.5, 2.5, -0.5, -1.5, 300.0, -300.0, f32::NAN, f32::INFINITY, 0.499_999_97];
    let mut y = [0; 10];
    quantise(&x, 1.0, 10, &mut y);
    assert_eq!(y, [10, 12, 12, 10, 8, 255, 0, 0, 255, 10]);

    let mut rng = Rng::seed(4);
    let sums: Vec<i32> = (0..1000).map(|_| rng.below(2_000_000) as i32 - 1_000_000).collect();
    let offsets: Vec<i32> = (0..1000).map(|_| rng.below(2000) as i32 - 1000).collect();
    let scales: Vec<f32> = (0..1000).map(|_| rng.uniform() as f32 * 0.01).collect();
    let finish = Requantise { offsets: &offsets, scales: &scales, zero: 30, limits: [30, 250] };
    let mut out = vec![0; 1000];
    finish.finish(0, 0, &sums, &mut out);
    for index in 0..1000 {
        let x = (sums[index] + offsets[index]) as f32 * scales[index];
        let expected = (x.round_ties_even() + 30.0).clamp(30.0, 250.0);
        assert_eq!(f32::from(out[index]), expected);
    }
}

#[test]
fn sums_have_a_unit_of_their_own() {
    let mut rng = Rng::seed(5);
    let (a, b) = (bytes(40_000, &mut rng), bytes(40_000, &mut rng));
    let addition = Addition { ratios: [0.3, 0.6], zeros: [100, 20], zero: 50, limits: [50, 255] };
    let mut out = vec![0; a.len()];
    add(&addition, [&a, &b], &mut out);
    for index in 0..a.len() {
        let x = (f64::from(a[index]) - 100.0) * 0.3 + (f64::from(b[index]) - 20.0) * 0.6 + 50.0;
        let difference = x.clamp(50.0, 255.0) - f64::from(out[index]);
        assert!(difference.abs() < 0.500_1, "{x} became {}", out[index]);
    }
}

#[test]
fn the_order_of_the_axes_changes_there_and_back() {
    let x: Vec<u8> = (0..2 * 33 * 35).map(|i| (i % 251) as u8).collect();
    let (mut y, mut z) = (vec![0; x.len()], vec![0; x.len()]);
    to_channels_last(&x, [33, 35], &mut y);
    assert!((0..33).all(|c| (0..35).all(|p| y[33 * 35 + p * 33 + c] == x[33 * 35 + c * 35 + p])));
    to_channels_first(&y, [33, 35], &mut z);
    assert_eq!(z, x);
}
