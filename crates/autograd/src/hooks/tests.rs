//! Hooks that observe, hooks that change gradients, and attribution rules.

use dendra_tensor::{Ops, Rng};

use super::*;
use crate::param::Param;

fn normal(shape: &[usize], seed: u64) -> Tensor<f64> {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

/// A network of two hidden layers with ReLU and no biases.
struct Net([Param<f64>; 3]);

impl Net {
    fn new() -> Self {
        let param = |shape: [usize; 2], seed| Param::new(normal(&shape, seed));
        Self([param([8, 4], 1), param([6, 8], 2), param([3, 6], 3)])
    }

    fn forward(&self, x: &Var<f64>) -> Var<f64> {
        let [a, b, c] = self.0.each_ref().map(|weight| weight.on(x));
        let h = x.linear(&a, None).unwrap().relu().linear(&b, None).unwrap().relu();
        h.linear(&c, None).unwrap()
    }
}

#[test]
fn inner_gradients_are_kept_beside_those_of_leaves_and_parameters() {
    let tape = Tape::training(0, 0);
    let (x, w) = (tape.leaf(Tensor::from([1.0, -2.0])), Param::new(Tensor::from([3.0, 0.5])));
    let h = x.mul(&w.on(&x)).unwrap();
    let loss = h.mul(&h).unwrap().sum();
    h.retain_grad().unwrap();
    w.on(&x).retain_grad().unwrap();
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.wrt(&h).unwrap().to_vec(), [6.0, -2.0]);
    assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [18.0, -1.0]);
    assert_eq!(gradients.get(&w).unwrap().to_vec(), [6.0, 4.0]);
    let refused = |result: Result<()>| result.unwrap_err().to_string();
    assert!(refused(h.retain_grad()).contains("already used"));
    assert!(refused(Var::new(Tensor::scalar(1.0)).retain_grad()).contains("needs no gradient"));
}

#[test]
fn hooks_see_the_whole_gradient_of_a_value_and_may_change_it() {
    let x = Tape::training(0, 0).leaf(Tensor::from([1.0, 2.0]));
    let h = x.mul_scalar(3.0);
    h.register_hook(|gradient| Ok(Some(gradient.mul_scalar(2.0)))).unwrap();
    h.register_hook(|gradient| {
        // 5 from two uses, doubled by the first hook.
        assert_eq!(gradient.value().to_vec(), [10.0, 10.0]);
        Ok(None)
    })
    .unwrap();
    h.retain_grad().unwrap();
    let y = (&h * 2.0 + &h * 3.0).sum();
    assert_eq!(y.grad(&x).unwrap().to_vec(), [30.0, 30.0]);
    let gradients = y.backward().unwrap();
    assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [30.0, 30.0]);
    assert_eq!(gradients.wrt(&h).unwrap().to_vec(), [10.0, 10.0]);
}

#[test]
fn what_hooks_do_to_gradients_has_gradients() {
    let x = Tape::training(0, 0).leaf(Tensor::from([2.0_f64]));
    let h = &x * &x;
    h.register_hook(|gradient| Ok(Some(gradient * gradient))).unwrap();
    // The gradient of h is 3h², its square 9h⁴ = 9x⁸, and that of x 18x⁹.
    let slope = (&h * &h * &h).sum().grad_recorded(&x).unwrap();
    assert_eq!(slope.value().to_vec(), [18.0 * 512.0]);
    let inner = slope.sum().grad(&x).unwrap();
    // The hook is also called in this pass, for the gradient that flows through
    // h.
    assert!(inner.is_finite());
}

#[test]
fn wrong_hooks_are_explained() {
    let message = |hook: fn(&Var<f64>) -> Result<Option<Var<f64>>>| {
        let x = Tape::training(0, 0).leaf(Tensor::from([1.0, 2.0]));
        x.register_hook(hook).unwrap();
        x.sum().backward().err().unwrap().to_string()
    };
    let shape = message(|_| Ok(Some(Var::new(Tensor::zeros([3])))));
    assert_eq!(shape, "register_hook: expected a gradient of shape [2] from a hook, got [3]");
    assert_eq!(message(|_| Err(Error::tape("no"))), Error::tape("no").to_string());

    let tape = Tape::training(0, 0);
    let x = tape.leaf(Tensor::from([1.0, 2.0]));
    tape.register_rule_hook(|_| Ok(Some(vec![None])));
    let error = x.relu().sum().grad(&x).unwrap_err().to_string();
    assert!(error.contains("needs a gradient of shape") && error.contains("none"), "{error}");
    let (again, y) = (x.clone(), x.square().sum());
    let inside = Tape::training(0, 0).leaf(Tensor::scalar(1.0));
    inside.register_hook(move |_| Ok(Some(y.grad_recorded(&again)?.sum()))).unwrap();
    assert!(inside.square().backward().is_err(), "a hook cannot return a value of another tape");
}

#[test]
fn guided_backpropagation_is_one_rule() {
    let (net, point) = (Net::new(), normal(&[1, 4], 4));
    let tape = Tape::evaluation();
    tape.register_rule_hook(|call| match call.name() {
        "relu" => call.gradients_for(&call.cotangent().relu()).map(Some),
        _ => Ok(None),
    });
    let x = tape.leaf(point.clone());
    let y = net.forward(&x);
    let found = y.vjp(&Tensor::from([[0.0, 1.0, 0.0]]), &x).unwrap();

    // By hand: each ReLU passes back the positive part where its input was
    // positive.
    let [a, b, c] = net.0.each_ref().map(Param::value);
    let first = point.matmul(&a.transpose(0, 1).unwrap()).unwrap();
    let second = first.relu().matmul(&b.transpose(0, 1).unwrap()).unwrap();
    let through = |g: Tensor<f64>, z: &Tensor<f64>| g.relu() * z.map(|z| f64::from(z > 0.0));
    let g = through(c.get((1..2,)).unwrap(), &second);
    let g = through(g.matmul(b).unwrap(), &first);
    let expected = g.matmul(a).unwrap();
    assert_eq!(found.shape(), expected.shape());
    for (found, expected) in found.to_vec().into_iter().zip(expected.to_vec()) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
    let plain = net.forward(&Tape::evaluation().leaf(point)).value().clone();
    assert_eq!(*y.value(), plain, "the forward pass is as it was");
}

#[test]
fn layer_wise_relevance_is_one_rule_and_is_conserved() {
    // The relevance of an output is divided among the inputs by their
    // contributions: Rᵢ = xᵢ · Σⱼ wⱼᵢ Rⱼ / (zⱼ + ε·sign zⱼ), for any operation
    // whose gradient is Σⱼ wⱼᵢ gⱼ.
    let epsilon = 1e-9;
    let (net, point) = (Net::new(), normal(&[1, 4], 5));
    let tape = Tape::evaluation();
    tape.register_rule_hook(move |call| {
        let sign = call.output().value().map(|z| if z < 0.0 { -epsilon } else { epsilon });
        let stable = call.output().add(&sign.into())?;
        let shares = call.gradients_for(&call.cotangent().div(&stable)?)?;
        let inputs = call.inputs();
        let relevance = shares.iter().zip(&inputs);
        relevance
            .map(|(share, x)| share.as_ref().map(|share| share.mul(x)).transpose())
            .collect::<Result<_>>()
            .map(Some)
    });
    let x = tape.leaf(point);
    let y = net.forward(&x);
    let class = Tensor::from([[0.0, 0.0, 1.0]]);
    let relevance = y.vjp(&(y.value() * &class), &x).unwrap();
    let score = (y.value() * &class).sum().item().unwrap();
    let total = relevance.sum().item().unwrap();
    assert!((total - score).abs() < 1e-6 * score.abs(), "{total} {score}");
    assert!(relevance.to_vec().iter().all(|part| part.abs() > 1e-6));
}

#[test]
fn rules_see_settings_and_run_in_backward() {
    let tape = Tape::training(0, 0);
    let x = tape.leaf(Tensor::from([[1.0, 2.0], [3.0, 4.0]]));
    tape.register_rule_hook(|call| {
        assert_eq!(call.needs(), [true]);
        assert_eq!(call.inputs().len(), 1);
        assert_eq!(call.cotangent().shape(), call.output().shape());
        let own = call.gradients()?;
        Ok(Some(own.into_iter().map(|g| g.map(|g| g.mul_scalar(2.0))).collect()))
    });
    let gradients = x.square().sum().backward().unwrap();
    assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [8.0, 16.0, 24.0, 32.0]);
}

#[test]
fn a_rule_applies_its_operation_to_other_inputs() {
    let tape = Tape::evaluation();
    assert!(!tape.distinguishes_operations());
    // The gradient with the absolute values of the weight.
    tape.register_rule_hook(|call| {
        assert_eq!(call.is_elementwise(), call.name() == "mul_scalar");
        if call.name() != "linear" {
            return Ok(None);
        }
        let [x, weight] = &call.inputs()[..] else { panic!("there is no bias") };
        let other = Tape::evaluation().leaf(x.value().clone());
        let output = call.apply(&[&other, &weight.abs()])?;
        assert!(call.apply(&[&other]).is_err());
        let gradient = output.vjp(call.cotangent().value(), &other)?;
        Ok(Some(vec![Some(Var::new(gradient)), None]))
    });
    assert!(tape.distinguishes_operations());
    let x = tape.leaf(Tensor::from([[1.0, 2.0]]));
    let weight = Param::new(Tensor::from([[3.0, -4.0]]));
    let y = x.linear(&weight.on(&x), None).unwrap().mul_scalar(2.0).sum();
    assert_eq!(y.grad(&x).unwrap().to_vec(), [6.0, 8.0]);
}
