//! Chains of element-wise functions, applied to one block of a tensor at a
//! time.

use std::f32::consts::FRAC_1_SQRT_2;

use dendra_tensor::kernels::parallel::for_each_chunk;
use dendra_tensor::kernels::simd;
use dendra_tensor::{Float, Tensor};

/// The number of elements to which all functions are applied before the next
/// block; they fit into the first-level cache.
const BLOCK: usize = 1024;
/// The number of elements in a task.
const TASK: usize = 16 * BLOCK;

/// A function that is applied to all elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Link {
    Unary(Unary),
    Binary(Binary, Source),
    /// Keeps a copy of the elements for a later function.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Abs,
    Clamp(f32, f32),
    Erf,
    Exp,
    Gelu,
    LeakyRelu(f32),
    Log,
    Negate,
    Reciprocal,
    Relu,
    Sigmoid,
    Sqrt,
    Tanh,
}

/// A function of an element x and a second element y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Divide,
    /// y / x.
    DivideInto,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    /// y − x.
    SubtractFrom,
}

/// The source of the second element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    Number(f32),
    /// The kept copy.
    Kept,
    /// For the element at position p, the element ⌊p / inner⌋ mod count of an
    /// operand.
    Operand {
        index: usize,
        inner: usize,
        count: usize,
    },
}

impl Link {
    /// The approximate number of steps for an element.
    fn cost(&self) -> usize {
        match self {
            Self::Unary(
                Unary::Erf | Unary::Exp | Unary::Gelu | Unary::Log | Unary::Sigmoid | Unary::Tanh,
            ) => 8,
            _ => 1,
        }
    }
}

/// Functions and the elements of their operands.
pub(crate) struct Chain<'a> {
    pub(crate) links: &'a [Link],
    pub(crate) operands: &'a [&'a [f32]],
}

impl Chain<'_> {
    /// Applies the functions to the elements of a tensor, in place if its memory
    /// is not shared.
    pub(crate) fn apply(&self, mut x: Tensor<f32>) -> Tensor<f32> {
        let cost = self.links.iter().map(Link::cost).sum();
        for_each_chunk(x.make_mut(), TASK, cost, |task, x| self.run(task * TASK, x));
        x
    }

    /// Applies the functions to elements from a position on.
    pub(crate) fn run(&self, first: usize, x: &mut [f32]) {
        if self.links.contains(&Link::Keep) {
            self.run_keeping(first, x, &mut [0.0; BLOCK]);
        } else {
            self.run_keeping(first, x, &mut []);
        }
    }

    fn run_keeping(&self, first: usize, x: &mut [f32], kept: &mut [f32]) {
        for (index, x) in x.chunks_mut(BLOCK).enumerate() {
            let first = first + index * BLOCK;
            for link in self.links {
                match link {
                    Link::Unary(function) => unary(*function, x),
                    Link::Binary(function, source) => {
                        binary(*function, *source, x, first, kept, self.operands);
                    }
                    Link::Keep => kept[..x.len()].copy_from_slice(x),
                }
            }
        }
    }
}

/// Replaces each element by a function of it.
#[inline(always)]
fn each(x: &mut [f32], f: impl Fn(f32) -> f32 + Copy) {
    simd::dispatch(
        #[inline(always)]
        move || {
            for x in x {
                *x = f(*x);
            }
        },
    );
}

/// Replaces each element by a function of it and the element of `y` at the same
/// index.
#[inline(always)]
fn pairs(x: &mut [f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Copy) {
    simd::dispatch(
        #[inline(always)]
        move || {
            for (x, &y) in x.iter_mut().zip(y) {
                *x = f(*x, y);
            }
        },
    );
}

fn unary(function: Unary, x: &mut [f32]) {
    macro_rules! each {
        (|$x:ident| $result:expr) => {
            each(
                x,
                #[inline(always)]
                |$x| $result,
            )
        };
    }
    match function {
        Unary::Abs => each!(|x| x.abs()),
        Unary::Clamp(low, high) => each!(|x| x.max_nan(low).min_nan(high)),
        Unary::Erf => each!(|x| Float::erf(x)),
        Unary::Exp => each!(|x| Float::exp(x)),
        Unary::Gelu => each!(|x| x * 0.5 * (1.0 + Float::erf(x * FRAC_1_SQRT_2))),
        Unary::LeakyRelu(slope) => each!(|x| if x > 0.0 { x } else { slope * x }),
        Unary::Log => each!(|x| Float::ln(x)),
        Unary::Negate => each!(|x| -x),
        Unary::Reciprocal => each!(|x| 1.0 / x),
        Unary::Relu => each!(|x| x.max_nan(0.0)),
        Unary::Sigmoid => each!(|x| Float::sigmoid(x)),
        Unary::Sqrt => each!(|x| x.sqrt()),
        Unary::Tanh => each!(|x| Float::tanh(x)),
    }
}

/// Applies a function of two elements to a block whose first element has this
/// position.
fn binary(
    function: Binary,
    source: Source,
    x: &mut [f32],
    first: usize,
    kept: &[f32],
    operands: &[&[f32]],
) {
    match source {
        Source::Number(y) => with_number(function, x, y),
        Source::Kept => with_slice(function, x, kept),
        Source::Operand { index, inner: 1, count } => {
            let (y, mut start) = (&operands[index][..count], first % count);
            let mut rest = x;
            while !rest.is_empty() {
                let length = rest.len().min(count - start);
                let (part, more) = rest.split_at_mut(length);
                with_slice(function, part, &y[start..]);
                (rest, start) = (more, 0);
            }
        }
        Source::Operand { index, inner, count } => {
            let (y, mut position) = (&operands[index][..count], first);
            let mut rest = x;
            while !rest.is_empty() {
                let length = rest.len().min(inner - position % inner);
                let (part, more) = rest.split_at_mut(length);
                with_number(function, part, y[position / inner % count]);
                (rest, position) = (more, position + length);
            }
        }
    }
}

macro_rules! of_two {
    ($function:expr, $apply:ident, $x:expr, $y:expr) => {
        match $function {
            Binary::Add => $apply!($x, $y, |x, y| x + y),
            Binary::Divide => $apply!($x, $y, |x, y| x / y),
            Binary::DivideInto => $apply!($x, $y, |x, y| y / x),
            Binary::Maximum => $apply!($x, $y, |x, y| x.max_nan(y)),
            Binary::Minimum => $apply!($x, $y, |x, y| x.min_nan(y)),
            Binary::Multiply => $apply!($x, $y, |x, y| x * y),
            Binary::Subtract => $apply!($x, $y, |x, y| x - y),
            Binary::SubtractFrom => $apply!($x, $y, |x, y| y - x),
        }
    };
}

fn with_number(function: Binary, x: &mut [f32], y: f32) {
    macro_rules! number {
        ($xs:expr, $number:expr, |$x:ident, $y:ident| $result:expr) => {{
            let $y = $number;
            each(
                $xs,
                #[inline(always)]
                |$x| $result,
            )
        }};
    }
    of_two!(function, number, x, y);
}

fn with_slice(function: Binary, x: &mut [f32], y: &[f32]) {
    macro_rules! slice {
        ($xs:expr, $ys:expr, |$x:ident, $y:ident| $result:expr) => {
            pairs(
                $xs,
                $ys,
                #[inline(always)]
                |$x, $y| $result,
            )
        };
    }
    of_two!(function, slice, x, y);
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Ops, Rng};

    use super::*;

    /// Chains compared with separate operations, at lengths that end within a
    /// block and within a task.
    #[test]
    fn a_chain_has_the_bits_of_its_operations() {
        let mut rng = Rng::seed(1);
        for shape in [[1, 3, 5, 7], [2, 5, 40, 50], [1, 2, 130, 131]] {
            let x = Tensor::<f32>::normal(shape, 0.0, 2.0, &mut rng);
            let channels = Tensor::<f32>::normal([1, shape[1], 1, 1], 0.0, 1.0, &mut rng);
            let columns = Tensor::<f32>::normal([shape[3]], 0.0, 1.0, &mut rng);
            let other = Tensor::<f32>::normal(shape, 0.0, 1.0, &mut rng);
            let [area, total] = [shape[2] * shape[3], shape.iter().product()];
            let links = [
                Link::Binary(
                    Binary::Multiply,
                    Source::Operand { index: 0, inner: area, count: shape[1] },
                ),
                Link::Binary(
                    Binary::SubtractFrom,
                    Source::Operand { index: 1, inner: 1, count: shape[3] },
                ),
                Link::Keep,
                Link::Binary(Binary::Add, Source::Number(3.0)),
                Link::Unary(Unary::Clamp(0.0, 6.0)),
                Link::Binary(Binary::Divide, Source::Number(6.0)),
                Link::Binary(Binary::Multiply, Source::Kept),
                Link::Binary(Binary::Add, Source::Operand { index: 2, inner: 1, count: total }),
                Link::Unary(Unary::Sigmoid),
                Link::Unary(Unary::Gelu),
            ];
            let scaled = columns.sub(&x.mul(&channels).unwrap()).unwrap();
            let expected = scaled.hardswish().add(&other).unwrap().sigmoid().gelu();
            let operands = [&channels, &columns, &other].map(|x| x.as_slice().unwrap());
            let chain = Chain { links: &links, operands: &operands };
            // Parts of any length have the same bits.
            let mut parts = x.to_vec();
            for (index, part) in parts.chunks_mut(1333).enumerate() {
                chain.run(index * 1333, part);
            }
            assert_eq!(parts, expected.to_vec());
            assert_eq!(chain.apply(x).to_vec(), expected.to_vec());
        }
    }
}
