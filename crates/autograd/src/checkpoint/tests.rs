//! Checkpointed parts, compared with parts that are not checkpointed.

use dendra_tensor::{Ops, Rng};

use super::*;
use crate::gradients::Gradients;
use crate::param::{Buffer, Param};

fn normal(shape: &[usize], seed: u64) -> Tensor<f32> {
    Tensor::normal(shape, 0.0, 1.0, &mut Rng::seed(seed))
}

/// How a network runs its parts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Run {
    Plain,
    Parts,
    Nested,
}

struct Net {
    weights: [Param; 3],
    /// Used in every part and outside of them.
    shared: Param,
    mean: Buffer,
}

impl Net {
    fn new() -> Self {
        let weights = [1, 2, 3].map(|seed| Param::new(normal(&[8, 8], seed)));
        let shared = Param::new(normal(&[8], 4));
        Self { weights, shared, mean: Buffer::new(Tensor::zeros([8])) }
    }

    /// Linear, shift, dropout and an update of a buffer.
    fn block(&self, index: usize, x: &Var, skip: &Var) -> Result<Var> {
        let h = x.linear(&self.weights[index].on(x), Some(&self.shared.on(x)))?.tanh();
        let tape = x.tape().expect("on a tape");
        let rng = &mut tape.random_stream();
        let mask = Tensor::dropout_mask(h.shape(), 0.5, 2.0, rng);
        tape.update_towards(&self.mean, h.value().mean_axes(&[0], false)?, 0.1);
        // A value that is used twice, and one from outside the part.
        let h = h.mul(&Var::new(mask))?;
        h.mul(&h)?.add(&skip.mul(&self.shared.on(x))?)
    }

    fn forward(&self, x: &Var, run: Run) -> Result<Var> {
        let part = |index: usize, x: &Var, skip: &Var| match run {
            Run::Plain => self.block(index, x, skip),
            _ => checkpoint(x, |x| self.block(index, x, skip)),
        };
        let first = part(0, x, x)?;
        let both = |h: &Var| part(2, &part(1, h, &first)?, h);
        let y = match run {
            Run::Nested => checkpoint(&first, both)?,
            _ => both(&first)?,
        };
        y.mul(&self.shared.on(x))
    }

    fn gradients(&self, run: Run) -> (f32, Gradients, Vec<Option<Tensor>>) {
        let tape = Tape::training(3, 7);
        let x = tape.leaf(normal(&[16, 8], 9));
        let loss = self.forward(&x, run).unwrap().square().mean();
        let gradients = loss.backward().unwrap();
        let of_x = gradients.wrt(&x).cloned();
        let parameters = self.weights.iter().chain([&self.shared]);
        let all = parameters.map(|param| gradients.get(param).cloned()).chain([of_x]).collect();
        (gradients.loss(), gradients, all)
    }
}

#[test]
fn values_gradients_and_updates_have_the_same_bits() {
    let net = Net::new();
    let (loss, gradients, expected) = net.gradients(Run::Plain);
    assert!(expected.iter().all(Option::is_some));
    for run in [Run::Parts, Run::Nested] {
        let (again, other, found) = net.gradients(run);
        assert_eq!(again, loss, "{run:?}");
        assert!(found == expected, "{run:?}");
        let updated = |gradients: &Gradients| {
            let mut mean = Buffer::new(Tensor::zeros([8]));
            for update in gradients.updates() {
                update.apply(&mut mean, 0).unwrap();
            }
            (gradients.updates().len(), mean.value().clone())
        };
        assert_eq!(updated(&other), updated(&gradients), "{run:?}");
    }
}

#[test]
fn the_record_holds_no_inner_values() {
    let net = Net::new();
    let kept = |run| {
        let tape = Tape::training(3, 7);
        let loss = net.forward(&tape.leaf(normal(&[16, 8], 9)), run).unwrap().sum();
        let record = tape.shared.record();
        let calls = record.nodes.iter().filter(|node| matches!(node, Node::Operation(_))).count();
        let outside = record.nodes.iter().filter_map(|node| match node {
            Node::Part(part) => Some(part.outside.iter().filter(|of| of.value.is_some()).count()),
            _ => None,
        });
        let outside: Vec<usize> = outside.collect();
        assert!(loss.value().is_finite());
        (calls, outside)
    };
    assert_eq!(kept(Run::Plain), (20, vec![]));
    // What the tape keeps: two calls after the parts, and for each part its
    // values from outside.
    assert_eq!(kept(Run::Parts), (2, vec![3, 3, 4]));
    assert_eq!(kept(Run::Nested), (2, vec![3, 4]));
}

#[test]
fn passes_that_keep_the_record_compute_parts_again_each_time() {
    let net = Net::new();
    let tape = Tape::training(3, 7);
    let x = tape.leaf(normal(&[16, 8], 9));
    let loss = net.forward(&x, Run::Nested).unwrap().square().mean();
    let expected = net.gradients(Run::Plain).2;
    for _ in 0..2 {
        assert_eq!(Some(loss.grad(&x).unwrap()), expected[4]);
        let weight = net.weights[1].on(&x);
        assert_eq!(Some(loss.grad(&weight).unwrap()), expected[1]);
    }
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.wrt(&x).cloned(), expected[4]);
}

#[test]
fn inner_values_may_be_watched_and_used_outside() {
    let tape = Tape::training(0, 0);
    let x = tape.leaf(Tensor::from([0.5, -1.5]));
    let (h, y) = checkpoint(&x, |x| {
        let h = x.exp();
        h.retain_grad()?;
        let y = h.square();
        Ok((h, y))
    })
    .unwrap();
    let loss = y.sum() + h.sum();
    assert_eq!(loss.grad(&h).unwrap(), h.value() * 2.0 + 1.0);
    assert_eq!(h.sum().grad(&x).unwrap(), *h.value());
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.wrt(&h), Some(&(h.value() * 2.0 + 1.0)));
    let expected = &(h.value() * h.value() * 2.0) + h.value();
    for (a, b) in gradients.wrt(&x).unwrap().to_vec().into_iter().zip(expected.to_vec()) {
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}");
    }
    // A part may be the end of the tape.
    let x = Tape::training(0, 0).leaf(Tensor::scalar(3.0_f32));
    let y = checkpoint(&x, |x| checkpoint(x, |x| Ok(x.square()))).unwrap();
    assert_eq!(y.backward().unwrap().wrt(&x).unwrap().item().unwrap(), 6.0);
}

#[test]
fn gradients_through_a_part_have_gradients() {
    let bend = |run: bool| {
        let x = Tape::training(0, 0).leaf(Tensor::from([0.3, -0.7_f64]));
        let part = |x: &Var<f64>| x.mul(x)?.mul(x);
        let y = if run { checkpoint(&x, part).unwrap() } else { part(&x).unwrap() };
        let slope = y.sum().grad_recorded(&x).unwrap();
        let loss = slope.mul(&slope).unwrap().sum();
        (loss.grad(&x).unwrap(), loss.backward().unwrap().wrt(&x).cloned().unwrap())
    };
    let (first, second) = bend(true);
    assert_eq!(first, second);
    // (3x²)² has the slope 36x³.
    for (found, x) in first.to_vec().into_iter().zip([0.3_f64, -0.7]) {
        assert!((found - 36.0 * x.powi(3)).abs() < 1e-12);
    }
    assert_eq!(bend(false).0, first);
}

#[test]
fn a_part_that_fails_or_records_nothing_changes_nothing() {
    let tape = Tape::training(0, 0);
    let x = tape.leaf(Tensor::from([1.0, 2.0]));
    let y = x.square();
    let failed: Result<Var> = checkpoint(&y, |y| y.square().reshape([3]));
    assert!(failed.is_err());
    assert!(checkpoint(&Var::new(Tensor::scalar(2.0)), |x| Ok(x.square())).is_ok());
    let same = checkpoint(&y, |y| Ok(y.clone())).unwrap();
    assert_eq!(same.sum().backward().unwrap().wrt(&x).unwrap().to_vec(), [2.0, 4.0]);
}

#[test]
fn masks_are_kept_as_bits() {
    let mask: Tensor<f64> = Tensor::dropout_mask([7, 31], 0.3, 1.0 / 0.7, &mut Rng::seed(1));
    let Kept::Bits { bits, .. } = Kept::of(&mask) else { panic!("a mask has two values") };
    assert_eq!(bits.len(), 4);
    assert_eq!(Kept::of(&mask).value(), mask);
    let signs = Tensor::from_fn([100], |i| [0.0_f64, -0.0][i % 2]);
    let back = Kept::of(&signs).value().to_vec();
    assert!((0..100).all(|i| back[i].is_sign_negative() == (i % 2 == 1)));
    for other in [normal(&[100], 2), Tensor::from_fn([70], |i| [1.0, f32::NAN, 2.0][i % 3])] {
        assert!(matches!(Kept::of(&other), Kept::Whole(_)));
    }
}
