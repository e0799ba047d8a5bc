//! Small versions of the example models that are not `Sequential`.

use dendra_nn::tensor::AttentionOptions;
use dendra_nn::{Model, autograd::Plain};

use super::*;

fn characters(samples: usize, seed: u64, length: usize) -> Tensor<i64> {
    Tensor::from_fn([samples, length], |place| (place as i64 * 5 + seed as i64) % 7)
}

/// The model of the example `char_rnn`.
#[derive(dendra_nn::Parameters)]
#[parameters(crate = dendra_nn)]
struct Reader {
    embedding: Embedding,
    rnn: LSTM,
    head: Linear,
}

impl Model<Tensor<i64>> for Reader {
    type Output = Var;

    fn run(&self, characters: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        let x = self.embedding.lookup(characters, Some(tape))?;
        self.head.forward(&self.rnn.run(&x, None, None)?.0)
    }
}

#[test]
fn a_network_that_reads_characters() {
    let rng = &mut Rng::seed(1);
    let model = Reader {
        embedding: Embedding::new(7, 4).init(rng).unwrap(),
        rnn: LSTM::new(4, 5).num_layers(2).dropout(0.5).batch_first(true).init(rng).unwrap(),
        head: Linear::new(5, 7).init(rng).unwrap(),
    };
    // The model is traced on one sample.
    let trace = Trace::of(&model, &characters(1, 3, 6)).unwrap();
    for samples in [1, 4] {
        let x = characters(samples, 1, 6);
        let expected = model.run(&x, &Tape::inference()).unwrap().into_value();
        assert!(trace.replay(&x).unwrap()[0].has_bits_of(&expected.into()), "{trace}");
    }
    let summary = trace.summary();
    assert_eq!(summary.trainable, model.parameter_count());
    let of = |name: &str| summary.rows.iter().find(|row| row.name == name).unwrap();
    // Two layers with 6 steps and 4 gates of 5 units. Each gate has 4 or 5 inputs
    // and 5 states.
    assert_eq!(of("rnn").multiply_adds, Some(6 * 20 * (4 + 5) + 6 * 20 * (5 + 5)));
    assert_eq!((of("embedding").parameters, of("head").parameters), (Some(28), Some(42)));
}

/// The model of the example `sine_forecast`.
#[test]
fn a_network_that_forecasts() {
    let rng = &mut Rng::seed(1);
    let gru = GRU::new(1, 5).batch_first(true).init(rng).unwrap();
    let head = Linear::new(5, 1).init(rng).unwrap();
    let inputs = |samples: usize, seed| normal(&[samples, 8, 1].into(), seed);
    check_function(&vec![head.weight.clone()], &[Some(0)], inputs, |x, tape| {
        let (_, state) = gru.run(&tape.input(x.clone()), None, None)?;
        Ok(vec![head.forward(&state.h.squeeze(0)?)?])
    });
}

/// The model of the example `translate_dates`.
#[derive(dendra_nn::Parameters)]
#[parameters(crate = dendra_nn)]
struct Translator {
    source: Embedding,
    encoder: GRU,
    bridge: Linear,
    target: Embedding,
    decoder: GRU,
    query: Linear,
    head: Linear,
}

#[test]
fn a_network_that_translates() {
    let rng = &mut Rng::seed(1);
    let bidirectional = GRU::new(3, 4).bidirectional(true).batch_first(true);
    let model = Translator {
        source: Embedding::new(7, 3).init(rng).unwrap(),
        encoder: bidirectional.init(rng).unwrap(),
        bridge: Linear::new(8, 8).init(rng).unwrap(),
        target: Embedding::new(7, 3).init(rng).unwrap(),
        decoder: GRU::new(3, 8).batch_first(true).init(rng).unwrap(),
        query: Linear::new(8, 8).bias(false).init(rng).unwrap(),
        head: Linear::new(16, 7).init(rng).unwrap(),
    };
    type Inputs = (Tensor<i64>, Tensor<i64>, Tensor<i64>);
    let inputs = |samples: usize, seed: u64| -> Inputs {
        let length = |sample: usize| (sample as i64 * 3 + seed as i64) % 6 + 1;
        let lengths = Tensor::from_fn([samples], length);
        (characters(samples, seed, 6), lengths, characters(samples, seed + 1, 4))
    };
    let translate = |(values, lengths, before): &Inputs, tape: &Tape| {
        let x = model.source.lookup(values, Some(tape))?;
        let counts: Vec<usize> = lengths.to_vec().iter().map(|&l| l as usize).collect();
        let (outputs, last) = model.encoder.run(&x, None, Some(&counts))?;
        let ends = [last.h.narrow(0, 0, 1)?, last.h.narrow(0, 1, 1)?];
        let h = model.bridge.forward(&Var::cat(&[&ends[0], &ends[1]], 2)?)?.tanh();
        let mask = Tensor::arange(6).lt(&lengths.unsqueeze(1)?)?;
        tape.note(Plain::LengthMask { length: 6 }, &[lengths], &mask)?;
        let state = RecurrentState { h, c: None };
        let (y, _) =
            model.decoder.run(&model.target.lookup(before, Some(tape))?, Some(&state), None)?;
        let mask = AttentionMask::Keep(mask.unsqueeze(1)?);
        let options = AttentionOptions { mask, ..AttentionOptions::default() };
        let query = model.query.forward(&y)?;
        let seen = query.scaled_dot_product_attention(&outputs, &outputs, options)?;
        let scores = model.head.forward(&Var::cat(&[&y, &seen], 2)?)?;
        Ok(vec![scores])
    };
    let trace = check_function(&model, &[Some(0); 3], inputs, translate);
    let text = trace.to_string();
    assert!(text.contains("length_mask(x1, length=6)"), "{text}");
    assert!(text.contains("lengths=x1, reverse=true"), "{text}");
}

/// The model of the example `vanishing_gradients`: a vector of layers with batch
/// normalisation.
#[test]
fn a_deep_network() {
    #[derive(dendra_nn::Parameters)]
    #[parameters(crate = dendra_nn)]
    struct Deep {
        hidden: Vec<Block>,
        output: Linear,
    }

    #[derive(dendra_nn::Parameters)]
    #[parameters(crate = dendra_nn)]
    struct Block {
        linear: Linear,
        norm: BatchNorm1d,
    }

    let rng = &mut Rng::seed(1);
    let mut hidden = Vec::new();
    for _ in 0..3 {
        let norm = BatchNorm1d::new(4).init(rng).unwrap();
        hidden.push(Block { linear: Linear::new(4, 4).init(rng).unwrap(), norm });
    }
    let model = Deep { hidden, output: Linear::new(4, 2).init(rng).unwrap() };
    let inputs = |samples: usize, seed| normal(&[samples, 4].into(), seed);
    let trace = check_function(&model, &[Some(0)], inputs, |x, tape| {
        let mut x = tape.input(x.clone());
        for Block { linear, norm } in &model.hidden {
            x = norm.forward(&linear.forward(&x)?)?.relu();
        }
        Ok(vec![model.output.forward(&x)?])
    });
    let parts: Vec<&str> = trace.parts().iter().map(|part| part.path.as_str()).collect();
    assert_eq!(parts[..3], ["hidden.0.linear", "hidden.0.norm", "hidden"], "{trace}");
    assert_eq!(trace.summary().trainable, model.parameter_count());
}
