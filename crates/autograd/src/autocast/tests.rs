//! Autocast beside its roundings written out by hand.

use dendra_tensor::{Ops, Rng};

use super::*;
use crate::checkpoint::checkpoint;
use crate::gradients::Gradients;
use crate::param::Param;

fn rounded(x: &Tensor, precision: HalfPrecision) -> Tensor {
    match precision {
        HalfPrecision::F16 => x.cast::<dendra_tensor::f16>().cast(),
        HalfPrecision::BF16 => x.cast::<dendra_tensor::bf16>().cast(),
    }
}

struct Net {
    first: Param,
    bias: Param,
    second: Param,
}

impl Net {
    fn new() -> Self {
        let mut rng = Rng::seed(2);
        let mut param = |shape: &[usize]| Param::new(Tensor::normal(shape, 0.0, 0.5, &mut rng));
        Self { first: param(&[40, 30]), bias: param(&[40]), second: param(&[7, 40]) }
    }

    fn params(&self) -> [&Param; 3] {
        [&self.first, &self.bias, &self.second]
    }

    /// A product, functions that keep half precision, one that does not, and a residual.
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = x.linear(&self.first.on(x), Some(&self.bias.on(x)))?.relu();
        let y = y.reshape([5, 2, 40])?.reshape([10, 40])?;
        let z = y.gelu().add(&y)?;
        z.linear(&self.second.on(x), None)
    }
}

fn input() -> Tensor {
    Tensor::normal([10, 30], 0.0, 1.0, &mut Rng::seed(3))
}

/// The gradients with the roundings written out, in full precision otherwise.
fn by_hand(net: &Net, precision: HalfPrecision) -> [Tensor; 3] {
    let round = |x: &Tensor| rounded(x, precision);
    let [w, b, u] = net.params().map(|param| param.value().clone());
    let (x, w, u) = (round(&input()), round(&w), round(&u));
    let a = round(&x.linear(&w, Some(&b)).unwrap());
    // The gradient of everything between the two products, by a tape without autocast.
    let tape = Tape::training(0, 0);
    let before = tape.leaf(a);
    let y = before.relu();
    let z = y.gelu().add(&y).unwrap();
    let narrow = round(z.value());
    let output = round(&narrow.linear(&u, None).unwrap());
    let g = round(&output.mul_scalar(2.0));
    let du = g.transpose(0, 1).unwrap().matmul(&narrow).unwrap();
    let dz = g.matmul(&u).unwrap();
    let da = z.mul(&Var::new(dz)).unwrap().sum().backward().unwrap();
    let da = round(da.wrt(&before).unwrap());
    let dw = da.transpose(0, 1).unwrap().matmul(&x).unwrap();
    [dw, da.sum_axes(&[0], false).unwrap(), du]
}

fn gradients(net: &Net, run: impl FnOnce(&Var) -> Result<Var>, tape: Tape) -> Gradients {
    run(&tape.input(input())).unwrap().square().sum().backward().unwrap_or_else(|error| {
        panic!("{error} {}", net.bias.value());
    })
}

#[test]
fn operands_are_rounded_in_both_passes_and_nothing_else() {
    let net = Net::new();
    for precision in [HalfPrecision::F16, HalfPrecision::BF16] {
        let tape = Tape::training(0, 0).autocast(precision);
        let found = gradients(&net, |x| net.forward(x), tape);
        for (param, expected) in net.params().iter().zip(by_hand(&net, precision)) {
            let found = found.get(param).unwrap();
            let difference = found.sub(&expected).unwrap().abs().max().unwrap().item().unwrap();
            let scale = expected.abs().max().unwrap().item().unwrap();
            assert!(difference <= 1e-6 * scale, "{precision}: {difference} of {scale}");
        }
    }
}

#[test]
fn checkpoints_and_parts_have_the_bits_of_the_whole() {
    let net = Net::new();
    let precision = HalfPrecision::BF16;
    let tape = || Tape::training(0, 0).autocast(precision);
    let expected = gradients(&net, |x| net.forward(x), tape());
    let kept = gradients(&net, |x| checkpoint(x, |x| net.forward(x)), tape());
    let part = |x: &Var| x.autocast(Some(precision), &|x| net.forward(x));
    let part = gradients(&net, part, Tape::training(0, 0));
    let watched = {
        let tape = tape();
        let x = tape.leaf(input());
        let y = net.forward(&x).unwrap();
        y.retain_grad().unwrap();
        y.square().sum().backward().unwrap()
    };
    for param in net.params() {
        for found in [&kept, &part, &watched] {
            assert_eq!(found.get(param), expected.get(param));
        }
    }
    let plain = gradients(&net, |x| net.forward(x), Tape::training(0, 0));
    let without = gradients(&net, |x| x.autocast(None, &|x| net.forward(x)), tape());
    for param in net.params() {
        assert_eq!(plain.get(param), without.get(param));
        assert_ne!(plain.get(param), expected.get(param));
    }
}

#[test]
fn a_value_on_no_tape_is_computed_with_autocast_too() {
    let net = Net::new();
    let on_tape = net.forward(&Tape::inference().autocast(HalfPrecision::F16).input(input()));
    let alone = Var::new(input()).autocast(Some(HalfPrecision::F16), &|x| net.forward(x)).unwrap();
    assert_eq!(*alone.value(), *on_tape.unwrap().value());
    assert!(alone.tape().is_none());
    assert_ne!(*alone.value(), *net.forward(&Var::new(input())).unwrap().value());
}

#[test]
fn what_is_not_finite_is_found_in_half_precision() {
    let weight = Param::new(Tensor::from([[300.0_f32, 1.0]]));
    let run = |precision| {
        let x = Tape::training(0, 0).autocast(precision).input(Tensor::from([[300.0, 1.0]]));
        let y = x.linear(&weight.on(&x), None).unwrap().relu().sum();
        y.tape().and_then(|tape| tape.first_not_finite(|_| Some("fc.weight".to_owned())))
    };
    assert_eq!(run(HalfPrecision::BF16), None);
    assert_eq!(run(HalfPrecision::F16).unwrap(), "the output of `linear` with `fc.weight`");
}
