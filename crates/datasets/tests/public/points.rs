//! Generated sets of points: their geometry, their seeds, what is refused.

use std::f64::consts::{PI, TAU};

use dendra_datasets::{
    Dataset, TensorDataset, blobs, circles, friedman, linear, moons, sine, spirals, xor,
};
use dendra_tensor::{Error, Result};

/// The points with their labels.
fn points(data: &TensorDataset<i64>) -> Vec<(Vec<f64>, usize)> {
    let width = data.input_shape()[0];
    let coordinates: Vec<f64> = data.inputs().to_vec().into_iter().map(f64::from).collect();
    let labels = data.targets().to_vec();
    (0..data.len())
        .map(|i| (coordinates[i * width..][..width].to_vec(), labels[i] as usize))
        .collect()
}

fn counts(data: &TensorDataset<i64>) -> Vec<usize> {
    let mut counts = vec![0; data.classes().unwrap()];
    points(data).iter().for_each(|(_, label)| counts[*label] += 1);
    counts
}

#[test]
fn moons_without_noise_lie_on_their_half_circles() {
    let data = moons(101, 0.0, 1).unwrap();
    assert_eq!(counts(&data), [51, 50]);
    for (point, label) in points(&data) {
        let (x, y) =
            if label == 0 { (point[0], point[1]) } else { (1.0 - point[0], 0.5 - point[1]) };
        assert!((x.hypot(y) - 1.0).abs() < 1e-6 && y > -1e-6, "{point:?} {label}");
    }
}

#[test]
fn noise_has_the_asked_deviation() {
    let distance = |noise| {
        let squares = |(point, label): (Vec<f64>, usize)| {
            let (x, y) =
                if label == 0 { (point[0], point[1]) } else { (1.0 - point[0], 0.5 - point[1]) };
            (x.hypot(y) - 1.0).powi(2)
        };
        let data = moons(20_000, noise, 1).unwrap();
        (points(&data).into_iter().map(squares).sum::<f64>() / 20_000.0).sqrt()
    };
    for noise in [0.01, 0.1] {
        assert!((distance(noise) / noise - 1.0).abs() < 0.05, "{}", distance(noise));
    }
}

#[test]
fn spirals_without_noise_lie_on_their_arms() {
    let data = spirals(302, 3, 0.0, 1).unwrap();
    assert_eq!(counts(&data), [101, 101, 100]);
    for (point, label) in points(&data) {
        let radius = point[0].hypot(point[1]);
        let angle = TAU * (label as f64 / 3.0 + radius * 2.0 / 3.0);
        assert!(radius <= 1.0 + 1e-6);
        assert!((point[0] - radius * angle.cos()).abs() < 1e-5, "{point:?} {label}");
        assert!((point[1] - radius * angle.sin()).abs() < 1e-5, "{point:?} {label}");
    }
}

#[test]
fn circles_without_noise_have_their_radii() {
    let data = circles(101, 0.5, 0.0, 1).unwrap();
    assert_eq!(counts(&data), [51, 50]);
    for (point, label) in points(&data) {
        let radius = [1.0, 0.5][label];
        assert!((point[0].hypot(point[1]) - radius).abs() < 1e-6, "{point:?} {label}");
    }
}

#[test]
fn xor_is_one_where_the_signs_differ() {
    let data = xor(400, 0.1, 1).unwrap();
    assert_eq!(counts(&data), [200, 200]);
    for (point, label) in points(&data) {
        assert_eq!(usize::from(point[0].signum() != point[1].signum()), label, "{point:?}");
    }
}

#[test]
fn a_linear_set_has_the_asked_weights_and_noise() {
    let data = linear(20_000, &[2.0, -1.0, 0.0], 0.5, 0.3, 1).unwrap();
    let (x, y) = (data.inputs().to_vec(), data.targets().to_vec());
    let residual = |(x, &y): (&[f32], &f32)| f64::from(y - 2.0 * x[0] + x[1] - 0.5);
    let residuals: Vec<f64> = x.chunks(3).zip(&y).map(residual).collect();
    let mean = residuals.iter().sum::<f64>() / 20_000.0;
    let std = (residuals.iter().map(|r| r * r).sum::<f64>() / 20_000.0).sqrt();
    assert!(mean.abs() < 0.01 && (std - 0.3).abs() < 0.01, "{mean} {std}");
    let spread = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    assert!((spread - 1.0).abs() < 0.03, "{spread}");
}

#[test]
fn a_sine_goes_through_its_periods() {
    let data = sine(1_000, 3.0, 0.0, 1).unwrap();
    for (x, y) in data.inputs().to_vec().into_iter().zip(data.targets().to_vec()) {
        assert!(x.abs() <= 1.0);
        // Three periods between −1 and 1.
        assert!((f64::from(y) - (TAU * 1.5 * f64::from(x)).sin()).abs() < 1e-5);
    }
}

#[test]
fn blobs_are_clouds_around_centres_of_their_own() {
    let data = blobs(30_000, 3, 4, 0.5, 1).unwrap();
    assert_eq!(counts(&data), [10_000; 3]);
    let points = points(&data);
    let mut centres = Vec::new();
    for class in 0..3 {
        let mut centre = Vec::new();
        for axis in 0..4 {
            let values = || points.iter().filter(|p| p.1 == class).map(|p| p.0[axis]);
            let mean = values().sum::<f64>() / 10_000.0;
            let variance = values().map(|x| (x - mean).powi(2)).sum::<f64>() / 10_000.0;
            assert!((variance.sqrt() - 0.5).abs() < 0.02, "{}", variance.sqrt());
            assert!(mean.abs() < 10.1, "{mean}");
            centre.push(mean);
        }
        centres.push(centre);
    }
    assert!(centres[0] != centres[1] && centres[1] != centres[2]);
}

#[test]
fn friedmans_targets_follow_his_formula_and_keep_off_one_half() {
    let data = friedman(2000, 1);
    let (x, y) = (data.inputs().to_vec(), data.targets().to_vec());
    assert_eq!((data.input_shape(), data.targets().shape()), ([5].into(), &[2000, 1].into()));
    let mut above = 0;
    for (x, &y) in x.chunks(5).zip(&y) {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        assert!(x.iter().all(|x| (0.0..1.0).contains(x)));
        let expected = 10.0 * (PI * x[0] * x[1]).sin()
            + 20.0 * (x[2] - 0.5).powi(2)
            + 10.0 * x[3]
            + 5.0 * x[4];
        assert!((f64::from(y) - expected / 30.0).abs() < 1e-6);
        assert!((0.0..=1.0).contains(&y) && (y - 0.5).abs() > 0.0999, "{y}");
        above += usize::from(y > 0.5);
    }
    assert!((800..1200).contains(&above), "{above}");
}

#[test]
fn seeds_decide_everything() {
    type Generate = fn(u64) -> (Vec<f32>, Vec<i64>);
    fn of(data: Result<TensorDataset<i64>>) -> (Vec<f32>, Vec<i64>) {
        let data = data.unwrap();
        (data.inputs().to_vec(), data.targets().to_vec())
    }
    let generators: [Generate; 8] = [
        |seed| of(circles(100, 0.5, 0.1, seed)),
        |seed| of(xor(100, 0.1, seed)),
        |seed| (linear(100, &[1.0], 0.0, 0.1, seed).unwrap().targets().to_vec(), Vec::new()),
        |seed| (sine(100, 1.0, 0.1, seed).unwrap().targets().to_vec(), Vec::new()),
        |seed| of(moons(100, 0.1, seed)),
        |seed| of(spirals(100, 3, 0.1, seed)),
        |seed| of(blobs(100, 3, 2, 1.0, seed)),
        |seed| (friedman(100, seed).inputs().to_vec(), Vec::new()),
    ];
    for generate in generators {
        assert_eq!(generate(1), generate(1));
        assert_ne!(generate(1).0, generate(2).0);
    }
}

#[test]
fn samples_are_in_random_order() {
    for data in [moons(100, 0.1, 1), spirals(100, 2, 0.1, 1), blobs(100, 2, 2, 1.0, 1)] {
        let labels = data.unwrap().targets().to_vec();
        let first_half: i64 = labels[..50].iter().sum();
        assert!((10..=40).contains(&first_half), "{labels:?}");
        let changes = labels.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((25..=75).contains(&changes), "{labels:?}");
    }
}

#[test]
fn small_and_empty_sets_are_fine() {
    for n in [0, 1, 2] {
        assert_eq!(moons(n, 0.1, 1).unwrap().len(), n);
        assert_eq!(spirals(n, 5, 0.1, 1).unwrap().len(), n);
        assert_eq!(blobs(n, 5, 0, 0.1, 1).unwrap().input_shape(), [0]);
        assert_eq!(friedman(n, 1).len(), n);
        assert_eq!(circles(n, 0.5, 0.1, 1).unwrap().len(), n);
        assert_eq!(xor(n, 0.1, 1).unwrap().len(), n);
        assert_eq!(linear(n, &[], 1.0, 0.1, 1).unwrap().input_shape(), [0]);
        assert_eq!(sine(n, 1.0, 0.1, 1).unwrap().len(), n);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let errors = [
        moons(10, -0.1, 1),
        moons(10, f64::NAN, 1),
        spirals(10, 3, f64::INFINITY, 1),
        spirals(10, 0, 0.1, 1),
        blobs(10, 0, 2, 0.1, 1),
        blobs(10, 2, 2, -1.0, 1),
        circles(10, 1.0, 0.1, 1),
        circles(10, f64::NAN, 0.1, 1),
        circles(10, 0.5, -0.1, 1),
        xor(10, f64::NAN, 1),
    ];
    for error in errors {
        assert!(matches!(error, Err(Error::Argument { .. })), "{error:?}");
    }
    assert!(matches!(linear(10, &[1.0], 0.0, -1.0, 1), Err(Error::Argument { .. })));
    assert!(matches!(sine(10, 1.0, f64::NAN, 1), Err(Error::Argument { .. })));
}
