//! Normalised rows, equal bits for any number of threads, and errors.

use super::super::{Ops, Term};
use super::*;

#[test]
fn rows_far_from_zero_are_brought_to_mean_0_and_variance_1() {
    let x = Tensor::<f32>::normal([9, 75], 1000.0, 2.0, &mut Rng::seed(1));
    let y = x.layer_norm([75], None, None, 0.0).unwrap();
    for row in y.to_vec().chunks(75) {
        let mean = row.iter().sum::<f32>() / 75.0;
        let variance = row.iter().map(|y| y * y).sum::<f32>() / 75.0;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-4, "{mean}, {variance}");
    }
    let y = x.rms_norm([75], None, 0.0).unwrap().square().mean_axes(&[1], false).unwrap();
    assert!(y.to_vec().iter().all(|square| (square - 1.0).abs() < 1e-4));
}

#[test]
fn the_recorded_gradient_of_huge_and_tiny_rows_is_the_plain_one() {
    let operation = LayerNorm { normalized_shape: [4].into(), epsilon: 0.0 };
    let x = Tensor::<f32>::normal([3, 4], 0.0, 1.0, &mut Rng::seed(3));
    let x = x.mul(&Tensor::from([[1e25], [1.0], [1e-25]])).unwrap();
    let cotangent = Tensor::from_fn([3, 4], |i| (i * i % 7) as f32);
    let (output, saved) = operation.forward(&[&x]);
    let terms = [&x, &output, &cotangent].map(|value| Term::constant(value.clone()));
    let call = TermCall {
        inputs: &terms[..1],
        output: &terms[1],
        saved: &saved,
        needs: &[true],
        cotangent: &terms[2],
    };
    let found = operation.vjp_terms(call).unwrap();
    let call = Call { inputs: &[x], output: &output, saved: &saved, needs: &[true], cotangent };
    let expected = operation.vjp(call)[0].as_ref().unwrap().to_vec();
    let found = found[0].as_ref().unwrap().value().to_vec();
    for row in [0..4, 4..8, 8..12] {
        let largest = expected[row.clone()].iter().fold(0_f32, |max, x| max.max(x.abs()));
        for i in row {
            let close = (found[i] - expected[i]).abs() <= 1e-5 * largest;
            assert!(close, "{} for {}", found[i], expected[i]);
        }
    }
}

#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    let mut rng = Rng::seed(2);
    let inputs = [
        Tensor::<f32>::normal([3000, 70], 0.0, 1.0, &mut rng),
        Tensor::uniform([70], 0.5, 1.5, &mut rng),
        Tensor::uniform([70], 0.5, 1.5, &mut rng),
    ];
    let operation = LayerNorm { normalized_shape: [70].into(), epsilon: 1e-5 };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (output, saved) = operation.forward(&inputs.each_ref());
            let (needs, cotangent) = (&[true; 3], inputs[0].clone());
            let call = Call { inputs: &inputs, output: &output, saved: &saved, needs, cotangent };
            (operation.vjp(call), output)
        })
    };
    let once = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == once));
}

#[test]
fn what_does_not_fit_is_named() {
    let x = Tensor::<f32>::zeros([4, 3]);
    let weight = Tensor::zeros([2]);
    assert_eq!(
        x.layer_norm([2], None, None, 1e-5).unwrap_err().to_string(),
        "layer_norm: expected an input of shape […, 2], got [4, 3]"
    );
    assert_eq!(
        x.rms_norm([3], Some(&weight), 1e-5).unwrap_err().to_string(),
        "rms_norm: expected a weight of shape [3], got [2]"
    );
    assert_eq!(
        x.layer_norm([3], None, None, f64::NAN).unwrap_err().to_string(),
        "layer_norm: epsilon must be a number of at least 0, got NaN"
    );
    assert!(x.layer_norm(Shape::scalar(), None, None, 1e-5).is_err());
}
