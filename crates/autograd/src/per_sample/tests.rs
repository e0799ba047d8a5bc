//! Gradients of samples against a loop over them.

use approx::relative_eq;
use dendra_tensor::{Conv2dOptions, Ops, Pool2dOptions, Rng};

use super::*;
use crate::checkpoint::checkpoint;

fn normal(shape: &[usize], seed: u64) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

fn params(shapes: &[&[usize]]) -> Vec<Param<f64>> {
    shapes.iter().zip(1..).map(|(shape, seed)| Param::new(normal(shape, seed) * 0.5)).collect()
}

fn assert_close(found: &Tensor<f64>, expected: &Tensor<f64>, what: &str) {
    let is_close = relative_eq!(found, expected, epsilon = 1e-10, max_relative = 1e-10);
    assert!(is_close, "{what}: {found:?}, alone {expected:?}");
}

/// Checks gradients, norms and clipped sums of losses of shape `[N]` against a
/// loop over the samples; `rows` are of the input for each sample.
fn check(
    name: &str,
    params: &[Param<f64>],
    x: &Tensor<f64>,
    samples: usize,
    losses: impl Fn(&[Param<f64>], &Var<f64>, std::ops::Range<usize>) -> Result<Var<f64>>,
) {
    let tape = || Tape::training(1, 1);
    let whole = || losses(params, &tape().input(x.clone()), 0..samples).unwrap();
    let rows = x.shape()[0] / samples;
    let alone: Vec<Gradients<f64>> = (0..samples)
        .map(|n| {
            let x = tape().input(x.narrow(0, n * rows, rows).unwrap());
            losses(params, &x, n..n + 1).unwrap().sum().backward().unwrap()
        })
        .collect();
    let each: Vec<Tensor<f64>> = params
        .iter()
        .map(|param| {
            let zeros = Tensor::zeros(param.value().shape());
            let all: Vec<_> = alone.iter().map(|g| g.get(param).unwrap_or(&zeros)).collect();
            Tensor::stack(&all, 0).unwrap()
        })
        .collect();
    let gradients = whole().backward_per_sample().unwrap();
    assert_eq!(gradients.samples(), samples);
    for (param, expected) in params.iter().zip(&each) {
        assert_close(gradients.get(param).unwrap(), expected, name);
    }
    let squared = each.iter().map(squared_norms).reduce(|a, b| a + b).unwrap();
    let norms = squared.sqrt();
    assert_close(&gradients.norms(), &norms, name);
    assert_close(&whole().per_sample_norms().unwrap(), &norms, name);

    let limit = norms.to_vec().iter().sum::<f64>() / samples as f64;
    let clipped = gradients.clipped_sum(limit).unwrap();
    let ghost = whole().backward_clipped(limit).unwrap();
    assert!((clipped.loss() - ghost.loss()).abs() < 1e-12);
    for (param, each) in params.iter().zip(&each) {
        let mut sum = Tensor::zeros(param.value().shape());
        for (n, norm) in norms.to_vec().into_iter().enumerate() {
            let scaled = each.get((n,)).unwrap() * (limit / norm).min(1.0);
            sum += &scaled;
        }
        assert_close(clipped.get(param).unwrap(), &sum, name);
        assert_close(ghost.get(param).unwrap(), &sum, name);
    }
}

#[test]
fn networks_agree_with_the_loop_over_samples() {
    let mlp = params(&[&[6, 4], &[6], &[3, 6], &[3], &[]]);
    check("mlp", &mlp, &normal(&[5, 4], 9), 5, |p, x, _| {
        let h = x.linear(&p[0].on(x), Some(&p[1].on(x)))?.tanh();
        let y = h.linear(&p[2].on(x), Some(&p[3].on(x)))?.mul(&p[4].on(x))?;
        y.square().sum_axes(&[1], false)
    });
    let sequence = params(&[&[4, 4], &[4], &[4], &[4, 2], &[7, 4]]);
    check("sequence", &sequence, &normal(&[3, 7, 4], 9), 3, |p, x, _| {
        // One weight is used twice, and one is combined with the samples after an
        // activation.
        let h = x.add(&p[4].on(x).tanh())?.linear(&p[0].on(x), None)?.relu();
        let h = h.linear(&p[0].on(x), None)?;
        let h = h.layer_norm([4], Some(&p[1].on(x)), Some(&p[2].on(x)), 1e-5)?;
        h.matmul(&p[3].on(x))?.softmax(-1)?.get((.., .., 0))?.sum_axes(&[1], false)
    });
    let conv =
        params(&[&[4, 2, 3, 3], &[4], &[4], &[4], &[3, 4, 2, 2], &[3], &[3, 12], &[4, 3, 2, 2]]);
    check("conv", &conv, &normal(&[4, 2, 8, 8], 9), 4, |p, x, _| {
        let options = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
        let h = x.conv2d_relu(&p[0].on(x), Some(&p[1].on(x)), options, true)?;
        let h = h.group_norm(2, Some(&p[2].on(x)), Some(&p[3].on(x)), 1e-5)?;
        let options = Conv2dOptions { stride: [2, 2], ..Conv2dOptions::default() };
        let h = checkpoint(&h, |h| Ok(h.conv2d(&p[4].on(h), Some(&p[5].on(h)), options)?.tanh()))?;
        let h = h.add(&h.detach())?.flatten(1, -1)?;
        h.linear(&p[6].on(x), None)?
            .square()
            .sum_axes(&[1], false)?
            .add(&p[7].on(x).square().sum().mul(&x.sum_axes(&[1, 2, 3], false)?)?)
    });
}

/// A parameter may have a row for each sample.
#[test]
fn inputs_that_are_trained_count() {
    let rows = |x: &Param<f64>, on: &Var<f64>, n: &std::ops::Range<usize>| {
        let x = x.on(on);
        match n.len() {
            1 => x.narrow(0, n.start, 1),
            _ => Ok(x),
        }
    };
    let linear = params(&[&[5, 4], &[3, 4], &[3]]);
    check("linear", &linear, &normal(&[5, 3], 9), 5, |p, x, n| {
        let y = rows(&p[0], x, &n)?.linear(&p[1].on(x), Some(&p[2].on(x)))?;
        y.tanh().mul(x)?.sum_axes(&[1], false)
    });
    for joined in [false, true] {
        let conv = params(&[&[4, 2, 6, 6], &[3, 2, 3, 3], &[3]]);
        check("convolution", &conv, &normal(&[4, 12], 9), 4, |p, x, n| {
            let (images, options) = (rows(&p[0], x, &n)?, Conv2dOptions::default());
            let (weight, bias) = (p[1].on(x), p[2].on(x));
            let y = match joined {
                true => images.conv2d_relu(&weight, Some(&bias), options, true)?,
                false => images
                    .conv2d(&weight, Some(&bias), options)?
                    .max_pool2d(Pool2dOptions::new([2, 2]))?,
            };
            y.flatten(1, -1)?.mul(x)?.sum_axes(&[1], false)
        });
    }
}

#[test]
fn tokens_and_rows_that_belong_together() {
    let tokens = Tensor::from([[1_i64, 2, 1, 1], [0, 4, 4, 2], [3, 3, 0, 1]]);
    let model = params(&[&[5, 6], &[4, 6], &[2, 6]]);
    check("tokens", &model, &normal(&[3, 1], 3), 3, |p, x, n| {
        let ids = tokens.narrow(0, n.start, n.len())?;
        let h = p[0].on(x).embedding(&ids, None)?.add(&p[1].on(x))?;
        // The rows are all tokens of all samples.
        let h = h.flatten(0, 1)?.linear(&p[2].on(x), None)?.relu();
        let h = h.reshape([n.len(), 8])?.mul(x)?;
        h.sum_axes(&[1], false)
    });
}

#[test]
fn operations_without_a_rule_are_cut_along_the_samples() {
    let model = params(&[&[2, 3, 2, 2], &[3, 4, 4], &[3]]);
    check("transposed", &model, &normal(&[5, 2, 3, 3], 9), 5, |p, x, n| {
        let h = x.conv_transpose2d(&p[0].on(x), None, Default::default())?;
        let h = h.mul(&p[1].on(x))?.prelu(&p[2].on(x))?;
        // A shared value that is broadcast to the batch, and a product with it.
        let wide = p[1].on(x).unsqueeze(0)?.broadcast_to([n.len(), 3, 4, 4])?;
        h.matmul(&wide)?.sum_axes(&[1, 2, 3], false)
    });
    // Gradients are separate even if the losses of samples depend on each other.
    let weight = Param::new(normal(&[2], 1));
    let x = Tape::training(0, 0).input(normal(&[3, 2], 2));
    let h = x.mul(&weight.on(&x)).unwrap();
    let losses = h.sub(&h.mean_axes(&[0], true).unwrap()).unwrap().square();
    let losses = losses.sum_axes(&[1], false).unwrap();
    let expected: Vec<Tensor<f64>> =
        (0..3).map(|n| losses.get((n,)).unwrap().grad(&weight.on(&x)).unwrap()).collect();
    let gradients = losses.backward_per_sample().unwrap();
    let expected = Tensor::stack(&expected.iter().collect::<Vec<_>>(), 0).unwrap();
    assert_close(gradients.get(&weight).unwrap(), &expected, "centred");
}

#[test]
fn of_a_mean_the_parts_sum_up_to_the_gradient() {
    let weight = Param::new(normal(&[3, 4], 1));
    let loss = |labels: bool| {
        let x = Tape::training(0, 0).input(normal(&[6, 4], 2));
        let y = x.linear(&weight.on(&x), None).unwrap();
        if labels {
            let classes = Tensor::from([0_i64, 2, 1, 1, 0, 2]);
            return y.cross_entropy(&classes, Default::default()).unwrap();
        }
        y.square().mean().mul_scalar(3.0)
    };
    for labels in [false, true] {
        let gradients = loss(labels).backward_per_sample().unwrap();
        assert_eq!(gradients.samples(), 6);
        let sum = gradients.get(&weight).unwrap().sum_axes(&[0], false).unwrap();
        let expected = loss(labels).backward().unwrap();
        assert_close(&sum, expected.get(&weight).unwrap(), "sum");
        let norms = loss(labels).per_sample_norms().unwrap();
        assert_close(&norms, &gradients.norms(), "norms");
    }
}

#[test]
fn what_has_no_gradients_of_samples_is_refused() {
    let weight = Param::new(normal(&[2], 1));
    let message = |loss: &dyn Fn(&Var<f64>) -> Result<Var<f64>>| {
        let x = Tape::training(0, 0).input(normal(&[3, 2], 2));
        loss(&x).unwrap().backward_per_sample().err().unwrap().to_string()
    };
    use dendra_tensor::ops::batch_norm::NormStatistics;
    let normalised = |x: &Var<f64>| {
        let w = weight.on(x);
        x.batch_norm(Some(&w), None, NormStatistics::Batch, 1e-5)?.sum_axes(&[1], false)
    };
    assert!(message(&normalised).contains("use group or layer normalisation"));
    let penalty = |x: &Var<f64>| {
        let w = weight.on(x);
        x.mul(&w)?.mean().add(&w.square().sum())
    };
    assert!(message(&penalty).contains("depends on several values"));
    let matrix = |x: &Var<f64>| x.mul(&weight.on(x));
    assert!(message(&matrix).contains("got shape [3, 2]"));
    let constant = |x: &Var<f64>| Ok(x.sum());
    assert!(message(&constant).contains("depends on no parameter"));
    let hooked = |x: &Var<f64>| {
        let y = x.mul(&weight.on(x))?;
        y.retain_grad()?;
        Ok(y.sum())
    };
    assert!(message(&hooked).contains("do not support hooks"));
    let x = Tape::training(0, 0).input(normal(&[3, 2], 2));
    let loss = x.mul(&weight.on(&x)).unwrap().sum();
    assert!(loss.backward_clipped(0.0).err().unwrap().to_string().contains("positive number"));
    assert!(loss.backward_per_sample().is_ok());
    assert!(loss.per_sample_norms().is_err(), "the record is consumed");
}
