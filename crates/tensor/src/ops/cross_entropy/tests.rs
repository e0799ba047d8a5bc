//! Values and gradients of the cross-entropy.

use super::*;

fn options(reduction: Reduction) -> CrossEntropyOptions<f64> {
    CrossEntropyOptions { reduction, ..CrossEntropyOptions::default() }
}

#[test]
fn it_is_the_negative_logarithm_of_the_softmax() {
    let mut rng = Rng::seed(1);
    let x = Tensor::<f64>::normal([4, 3, 2], 0.0, 30.0, &mut rng);
    let target = Tensor::from_fn([4, 2], |i| (i % 3) as i64);
    let found = x.cross_entropy(&target, options(Reduction::None)).unwrap().to_vec();
    let logarithms = x.log_softmax(1).unwrap();
    let picked = logarithms.gather(1, &target.unsqueeze(1).unwrap()).unwrap().to_vec();
    for (found, logarithm) in found.iter().zip(&picked) {
        assert!((found + logarithm).abs() < 1e-12);
    }
    let sum = x.cross_entropy(&target, options(Reduction::Sum)).unwrap().item().unwrap();
    assert!((sum + picked.iter().sum::<f64>()).abs() < 1e-10);
}

#[test]
fn the_mean_divides_by_the_weights_that_count() {
    let x = Tensor::<f64>::zeros([3, 2]);
    let target = Tensor::from([0, 1, -100]);
    let weight = Some(Tensor::from([1.0, 3.0]));
    let mean = CrossEntropyOptions { weight, ..CrossEntropyOptions::default() };
    let loss = x.cross_entropy(&target, mean.clone()).unwrap().item().unwrap();
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-15, "{loss}");
    let ignored = Tensor::from([-100; 3]);
    assert!(x.cross_entropy(&ignored, mean.clone()).unwrap().item().unwrap().is_nan());
    // The gradient for no losses is 0, not NaN.
    let operation = CrossEntropy { target: ignored, options: mean };
    let (output, saved) = operation.forward(&[&x]);
    let call = Call {
        inputs: std::slice::from_ref(&x),
        output: &output,
        saved: &saved,
        needs: &[true],
        cotangent: Tensor::scalar(1.0),
    };
    assert_eq!(operation.vjp(call)[0], Some(x.clone()));
}

#[test]
fn extreme_logits_stay_finite() {
    let x = Tensor::from([[1e30, 0.0, -1e30], [f32::NEG_INFINITY, 5.0, 5.0]]);
    let losses = CrossEntropyOptions { reduction: Reduction::None, ..Default::default() };
    let found = x.cross_entropy(&Tensor::from([0, 1]), losses).unwrap().to_vec();
    assert_eq!(found[0], 0.0);
    assert!((found[1] - 2f32.ln()).abs() < 1e-6);
}

#[test]
fn the_bits_are_the_same_for_any_number_of_threads() {
    let x = Tensor::<f32>::normal([9000, 10, 3], 0.0, 2.0, &mut Rng::seed(2));
    let target = Tensor::from_fn([9000, 3], |i| (i % 10) as i64);
    let operation = CrossEntropy { target, options: CrossEntropyOptions::default() };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (output, saved) = operation.forward(&[&x]);
            let call = Call {
                inputs: std::slice::from_ref(&x),
                output: &output,
                saved: &saved,
                needs: &[true],
                cotangent: Tensor::scalar(1.0),
            };
            (operation.vjp(call), output)
        })
    };
    let once = run(1);
    for threads in [2, 3, 7] {
        assert!(run(threads) == once, "{threads} threads");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let x = Tensor::<f64>::zeros([2, 3, 2]);
    let refuse =
        |target: &Tensor<i64>, options| x.cross_entropy(target, options).unwrap_err().to_string();
    let mut target = Tensor::<i64>::zeros([2, 2]);
    assert_eq!(
        refuse(&Tensor::zeros([2, 3]), options(Reduction::Mean)),
        "cross_entropy: logits of [2, 3, 2] need labels of shape [2, 2], got [2, 3]"
    );
    let weight =
        CrossEntropyOptions { weight: Some(Tensor::zeros([2])), ..CrossEntropyOptions::default() };
    assert_eq!(
        refuse(&target, weight),
        "cross_entropy: expected class weights of shape [3], got [2]"
    );
    let smoothing = CrossEntropyOptions { label_smoothing: f64::NAN, ..Default::default() };
    assert_eq!(
        refuse(&target, smoothing),
        "cross_entropy: the label smoothing must be from 0 to 1, got NaN"
    );
    for label in [3, -1] {
        target.make_mut()[2] = label;
        assert_eq!(
            refuse(&target, options(Reduction::Mean)),
            format!("cross_entropy: expected labels in 0..3, got {label} at [1, 0]")
        );
    }
    let vector = Tensor::<f64>::zeros([3]);
    let error = vector.cross_entropy(&Tensor::scalar(0), options(Reduction::Mean));
    assert_eq!(
        error.unwrap_err().to_string(),
        "cross_entropy: expected logits of shape [N, C, …], got [3]"
    );
}
