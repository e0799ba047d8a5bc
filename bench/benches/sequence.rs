//! A training step of layers for sequences: the forward pass and all gradients (those of the
//! parameters and that of the input) for the sum of the outputs.
//!
//! A benchmark's name is the layer and the shape of its input, samples, steps and width, such as
//! `lstm/16x64x128`; the scripts of other frameworks run the case of the same name.

use criterion::{Criterion, Throughput};
use dendra::nn::{
    Attend, Embedding, GRU, LSTM, LayerNorm, Module, MultiheadAttention, RNN,
    TransformerEncoderLayer,
};
use dendra::tensor::{Ops, Result, Rng, Tensor};
use dendra::{Tape, Var};

mod case;

use case::{bytes, case, joined, normal};

/// Samples, steps and width of the inputs.
const SHAPES: [[usize; 3]; 7] = [
    [1, 64, 32],
    [1, 512, 256],
    [8, 512, 64],
    [16, 64, 128],
    [32, 32, 512],
    [64, 16, 32],
    [64, 128, 256],
];

/// Heads of the attention.
const HEADS: usize = 4;

/// Rows of the table of the embedding.
const WORDS: usize = 10_000;

/// The outputs of a layer.
type Layer = Box<dyn Fn(&Var) -> Result<Var>>;

/// The cases of a layer, one for each shape; `products` is the number of multiplications in the
/// forward pass.
fn layer(
    criterion: &mut Criterion,
    name: &str,
    work: impl Fn([usize; 3]) -> Throughput,
    make: impl Fn(usize, &mut Rng) -> Result<Layer>,
) {
    for shape in SHAPES {
        case(criterion, (name, &joined(&shape)), work(shape), |rng| {
            let layer = make(shape[2], rng).unwrap();
            let x = normal(&shape, rng);
            Box::new(move || step(|tape| layer(&tape.leaf(x.clone()))).unwrap())
        });
    }
}

/// A forward pass and its gradients.
fn step(forward: impl Fn(&Tape) -> Result<Var>) -> Result<dendra::Gradients> {
    let tape = Tape::training(0, 0);
    forward(&tape)?.sum().backward()
}

/// The operations of a training step, from the multiplications of the forward pass: the gradients
/// of the input and of the parameters need as many each.
fn operations(products: usize) -> Throughput {
    Throughput::Elements((3 * 2 * products) as u64)
}

fn recurrent(criterion: &mut Criterion) {
    let work = |gates| {
        move |[samples, steps, width]: [usize; 3]| {
            operations(samples * steps * 2 * gates * width * width)
        }
    };
    layer(criterion, "rnn", work(1), |width, rng| {
        let layer = RNN::new(width, width).batch_first(true).init(rng)?;
        Ok(Box::new(move |x| layer.forward(x)))
    });
    layer(criterion, "lstm", work(4), |width, rng| {
        let layer = LSTM::new(width, width).batch_first(true).init(rng)?;
        Ok(Box::new(move |x| layer.forward(x)))
    });
    layer(criterion, "gru", work(3), |width, rng| {
        let layer = GRU::new(width, width).batch_first(true).init(rng)?;
        Ok(Box::new(move |x| layer.forward(x)))
    });
}

fn attention(criterion: &mut Criterion) {
    // Four projections, and two products of all pairs of positions.
    let work = |[samples, steps, width]: [usize; 3]| {
        samples * steps * (4 * width * width + 2 * steps * width)
    };
    layer(
        criterion,
        "attention",
        |shape| operations(work(shape)),
        |width, rng| {
            let layer = MultiheadAttention::new(width, HEADS).batch_first(true).init(rng)?;
            Ok(Box::new(move |x| {
                layer.attend(x, x, x, Attend { is_causal: true, ..Attend::default() })
            }))
        },
    );
    // In addition, two layers of four times the width.
    layer(
        criterion,
        "transformer_layer",
        |shape| operations(work(shape) + 8 * shape.iter().product::<usize>() * shape[2]),
        |width, rng| {
            let settings = TransformerEncoderLayer::new(width, HEADS).batch_first(true);
            let settings = settings.dim_feedforward(4 * width).dropout(0.0).norm_first(true);
            let layer = settings.init_encoder(rng)?;
            Ok(Box::new(move |x| layer.encode(x, Attend { is_causal: true, ..Attend::default() })))
        },
    );
}

/// Layers that mainly move numbers.
fn others(criterion: &mut Criterion) {
    // Read and written in the forward pass; output, input and their gradients in the backward pass.
    let work = |shape: [usize; 3]| bytes(5 * shape.iter().product::<usize>());
    layer(criterion, "layer_norm", work, |width, rng| {
        let layer = LayerNorm::new([width]).init(rng)?;
        Ok(Box::new(move |x| layer.forward(x)))
    });
    for shape in SHAPES {
        case(criterion, ("embedding", &joined(&shape)), work(shape), |rng| {
            let layer = Embedding::new(WORDS, shape[2]).init(rng).unwrap();
            let words =
                Tensor::<i64>::from_fn(&shape[..2], |_| i64::from(rng.next_u32()) % WORDS as i64);
            Box::new(move || step(|tape| layer.lookup(&words, Some(tape))).unwrap())
        });
    }
}

fn main() {
    case::run(&[recurrent, attention, others]);
}
