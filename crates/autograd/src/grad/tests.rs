//! Gradients of losses that contain gradients, and of several values.

use dendra_tensor::{Ops, Rng};

use super::*;
use crate::param::Param;

fn normal(shape: &[usize], seed: u64) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 0.7, &mut Rng::seed(seed))
}

/// The weights and biases of a network with one number as input and one hidden
/// layer of 5 units.
fn network() -> Vec<Param<f64>> {
    [[5, 1].as_slice(), &[5], &[1, 5], &[1]]
        .iter()
        .zip(1..)
        .map(|(s, n)| Param::new(normal(s, n)))
        .collect()
}

fn forward(net: &[Param<f64>], x: &Var<f64>) -> Result<Var<f64>> {
    let h = x.linear(&net[0].on(x), Some(&net[1].on(x)))?.tanh();
    h.linear(&net[2].on(x), Some(&net[3].on(x)))
}

/// Checks the gradients of a loss by all parameters against differences.
fn check(net: &mut [Param<f64>], loss: impl Fn(&[Param<f64>]) -> Var<f64>) {
    let gradients = loss(net).backward().unwrap();
    let value = |net: &[Param<f64>]| loss(net).value().item().unwrap();
    for index in 0..net.len() {
        let gradient = gradients
            .get(&net[index])
            .map_or_else(|| vec![0.0; net[index].value().len()], Tensor::to_vec);
        for (element, found) in gradient.into_iter().enumerate() {
            let h = 1e-4;
            let mut moved = |step: f64| {
                net[index].value_mut().make_mut()[element] += step;
                let moved = value(net);
                net[index].value_mut().make_mut()[element] -= step;
                moved
            };
            let near = moved(h) - moved(-h);
            let far = moved(2.0 * h) - moved(-2.0 * h);
            let expected = (8.0 * near - far) / (12.0 * h);
            let agrees = (found - expected).abs() <= 1e-8 * (1.0 + expected.abs());
            assert!(
                agrees,
                "parameter {index}, element {element}: {found}, differences {expected}"
            );
        }
    }
}

#[test]
fn a_tape_gives_several_gradients_and_then_backward() {
    let tape = Tape::training(0, 0);
    let (x, w) = (tape.leaf(Tensor::from([1.0, -2.0])), Param::new(Tensor::from([3.0, 0.5])));
    let h = x.mul(&w.on(&x)).unwrap();
    let y = h.mul(&h).unwrap();
    // y = w²x²
    let cotangent = Tensor::from([1.0, 10.0]);
    let [by_x, by_h, by_w] = y.vjp(&cotangent, &[&x, &h, &w.on(&x)]).unwrap();
    assert_eq!(by_x.to_vec(), [18.0, -10.0]);
    assert_eq!(by_h.to_vec(), [6.0, -20.0]);
    assert_eq!(by_w.to_vec(), [6.0, 40.0]);
    assert_eq!(h.sum().grad(&vec![x.clone()]).unwrap()[0].to_vec(), [3.0, 0.5]);
    assert_eq!(x.sum().grad(&h).unwrap().to_vec(), [0.0, 0.0], "x does not depend on h");
    let gradients = y.sum().backward().unwrap();
    assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [18.0, -1.0]);
    assert!(y.sum().grad(&x).unwrap_err().to_string().contains("already used"));
}

#[test]
fn misuse_is_explained() {
    let tape = Tape::training(0, 0);
    let x = tape.leaf(Tensor::from([1.0, -2.0]));
    let message = |result: Result<Tensor>| result.unwrap_err().to_string();
    let other = Tape::training(0, 0).leaf(Tensor::scalar(1.0));
    assert!(message(x.grad(&x)).contains("grad needs a scalar, got shape [2]"));
    assert!(message(x.vjp(&Tensor::zeros([3]), &x)).contains("cotangent of shape [2], got [3]"));
    assert!(message(x.sum().grad(&other)).contains("another tape"));
    assert!(message(x.sum().grad(&tape.input(Tensor::scalar(1.0)))).contains("is a constant"));
    assert!(message(Var::new(Tensor::scalar(1.0)).grad(&x)).contains("not on a tape"));
    let error = x.sum().hvp(&vec![Param::new(Tensor::zeros([2]))], &[]).unwrap_err();
    assert!(error.to_string().contains("a tensor for each of 1 parameters, got 0"), "{error}");
}

#[test]
fn a_loss_may_hold_a_gradient() {
    // A penalty on the slope of a network, as for a Wasserstein critic.
    let points = normal(&[4, 1], 9);
    check(&mut network(), |net| {
        let x = Tape::training(0, 0).leaf(points.clone());
        let y = forward(net, &x).unwrap();
        let slope = y.sum().grad_recorded(&x).unwrap();
        y.mean() + (slope.square().sum_axes(&[1], false).unwrap().sqrt() - 1.0).square().mean()
    });
}

#[test]
fn a_loss_may_hold_a_second_derivative() {
    // The residual of u″ = −u with respect to the parameters of the network: a
    // third derivative.
    let points = normal(&[4, 1], 10);
    check(&mut network(), |net| {
        let x = Tape::training(0, 0).leaf(points.clone());
        let u = forward(net, &x).unwrap();
        let slope = u.sum().grad_recorded(&x).unwrap();
        let bend = slope.sum().grad_recorded(&x).unwrap();
        (bend + u).square().mean()
    });
}

#[test]
fn the_hessian_of_a_model_times_a_vector() {
    let (points, targets) = (normal(&[6, 1], 11), normal(&[6, 1], 12));
    let loss = |net: &[Param<f64>]| {
        let x = Tape::training(0, 0).input(points.clone());
        forward(net, &x).unwrap().sub(&targets.clone().into()).unwrap().square().mean()
    };
    let mut net = network();
    net[1].set_trainable(false);
    let trained = [0, 2, 3];
    let vector: Vec<_> = trained.map(|n| normal(net[n].value().shape(), 20 + n as u64)).into();
    let product = loss(&net).hvp(&net, &vector).unwrap();
    let mut gradients = |step: f64| {
        let moved = |net: &mut [Param<f64>], step: f64| {
            for (&n, part) in trained.iter().zip(&vector) {
                *net[n].value_mut() = net[n].value() + &(part * step);
            }
        };
        moved(&mut net, step);
        let gradients = loss(&net).backward().unwrap();
        moved(&mut net, -step);
        trained.map(|n| gradients.get(&net[n]).unwrap().clone())
    };
    let (up, down) = (gradients(1e-5), gradients(-1e-5));
    for ((found, up), down) in product.iter().zip(&up).zip(&down) {
        let expected = (up - down) * 5e4;
        for (found, expected) in found.to_vec().into_iter().zip(expected.to_vec()) {
            assert!((found - expected).abs() <= 1e-8 * (1.0 + expected.abs()));
        }
    }
}

#[test]
fn gradients_of_one_tape_are_not_mixed_up_by_threads() {
    let x = Tape::training(0, 0).leaf(Tensor::from([3.0_f64; 64]));
    let y = x.square().sum();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    match y.grad(&x) {
                        Ok(gradient) => assert_eq!(gradient.to_vec(), [6.0; 64]),
                        Err(error) => assert!(error.to_string().contains("another thread")),
                    }
                }
            });
        }
    });
}
