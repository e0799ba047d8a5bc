//! Embeddings that reduce each bag of vectors to one vector.

mod traced;

use std::fmt;

use dendra_autograd::{Param, Tape, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, Result, ScatterReduction, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::embedding::{TableRules, beside, normal, table, table_rules, whole_numbers};
use crate::context;
use crate::init::{Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by};

/// How the vectors of a bag are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BagMode {
    /// The sum.
    Sum,
    /// The mean.
    #[default]
    Mean,
    /// The maximum of each element; equal maxima share the gradient.
    Max,
}

impl BagMode {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Max => "maximum",
        }
    }
}

/// The sum, the mean or the maximum of the vectors of a bag of indices:
/// [`Embedding`](super::Embedding) followed by that reduction. An empty bag
/// gives 0.
///
/// | | shape |
/// |---|---|
/// | input | `[N, L]`, N bags of L indices, or `[total]` with `offsets` |
/// | `offsets` | `[N]`, where each bag starts, or `[N + 1]` with `include_last_offset` |
/// | `per_sample_weights` | shape of the input |
/// | output | `[N, embedding_dim]` |
/// | `weight` | `[num_embeddings, embedding_dim]` |
///
/// The weight is initialised with N(0, 1). With `padding_idx`, that row is
/// initialised with 0 and gets no gradient, and its index is ignored in each
/// bag.
///
/// [`lookup`](Self::lookup) takes the indices as integers. [`Module::forward`]
/// takes bags `[N, L]` as floats, so that the layer can be the first of a
/// network.
///
/// ```
/// use dendra_nn::tensor::{Rng, Tensor};
/// use dendra_nn::{BagMode, EmbeddingBag};
///
/// let bag = EmbeddingBag::new(10, 3).mode(BagMode::Sum).init(&mut Rng::seed(0))?;
/// // Two bags, of 3 numbers and of 2.
/// let numbers = Tensor::from([1, 2, 4, 9, 4]);
/// let y = bag.lookup(&numbers, Some(&[0, 3]), None, None)?;
/// assert_eq!(*y.shape(), [2, 3]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct EmbeddingBag<T: Float = f32> {
    /// The vectors.
    pub weight: Param<T>,
    #[parameters(skip)]
    mode: BagMode,
    #[parameters(skip)]
    padding_idx: Option<usize>,
    #[parameters(skip)]
    include_last_offset: bool,
    #[parameters(skip)]
    rules: TableRules,
}

table_rules!(EmbeddingBagSettings);

impl EmbeddingBag {
    /// Settings of a table of `num_embeddings` vectors of `embedding_dim`
    /// values.
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> EmbeddingBagSettings {
        let rules = TableRules::default();
        EmbeddingBagSettings::with_defaults(num_embeddings, embedding_dim, rules)
    }
}

/// The settings of an [`EmbeddingBag`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingBagSettings {
    num_embeddings: usize,
    embedding_dim: usize,
    /// How the vectors of a bag are reduced.
    #[set(default = BagMode::Mean)]
    mode: BagMode,
    /// The index of padding, which is ignored.
    #[set]
    padding_idx: Option<usize>,
    /// Whether the last offset is the end of the last bag instead of the start
    /// of another.
    #[set(default = false)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    include_last_offset: bool,
    #[serde(default, skip_serializing_if = "TableRules::is_default")]
    rules: TableRules,
    /// The distribution that the weight is drawn from.
    #[set(default = normal())]
    #[serde(skip, default = "normal")]
    weight_init: Init,
}

initialised_by!(EmbeddingBagSettings => EmbeddingBag, any T: EmbeddingBag<T>);

impl Settings for EmbeddingBagSettings {
    type Layer<T: Float> = EmbeddingBag<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        match input.len() {
            1 => Ok([self.embedding_dim].into()),
            _ => Err(Error::shape("EmbeddingBag", format!("expected [L], got {input}"))),
        }
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<EmbeddingBag<T>> {
        let &Self { num_embeddings, embedding_dim, mode, padding_idx, rules, .. } = self;
        let (shape, rest) = ([num_embeddings, embedding_dim], (padding_idx, rules));
        let weight = table(source, "EmbeddingBag", shape, rest, self.weight_init)?;
        let include_last_offset = self.include_last_offset;
        Ok(EmbeddingBag { weight, mode, padding_idx, include_last_offset, rules })
    }
}

impl<T: Float> EmbeddingBag<T> {
    /// The reduced vectors of bags, recorded on the tape if there is one.
    /// Indices `[N, L]` are N bags; in indices `[total]` each bag reaches from
    /// one offset to the next. In the mode [`BagMode::Sum`] each vector may be
    /// multiplied by a weight, which gets a gradient.
    ///
    /// # Errors
    ///
    /// When an index is not in the table, the offsets are not in order or out
    /// of range, the weights do not have the shape of the indices, or the mode
    /// is not `Sum`.
    pub fn lookup(
        &self,
        numbers: &Tensor<i64>,
        offsets: Option<&[usize]>,
        per_sample_weights: Option<&Var<T>>,
        tape: Option<&Tape<T>>,
    ) -> Result<Var<T>> {
        self.reduced(numbers, offsets, per_sample_weights, tape)
            .map_err(|error| context::in_layer(error, context::path(&self.weight), self))
    }

    fn reduced(
        &self,
        numbers: &Tensor<i64>,
        offsets: Option<&[usize]>,
        per_sample_weights: Option<&Var<T>>,
        tape: Option<&Tape<T>>,
    ) -> Result<Var<T>> {
        let tape = tape.or_else(|| per_sample_weights.and_then(|weights| weights.tape()));
        if let Some(tape) = tape.filter(|tape| tape.is_tracing()) {
            return self.traced(tape, numbers, offsets, per_sample_weights);
        }
        let (bags, bag_of) = bags(numbers.shape(), offsets, self.include_last_offset)?;
        if let Some(weights) = per_sample_weights {
            self.check_weights(weights.shape(), numbers.shape())?;
        }
        let weight = self.weight.on(&beside(tape));
        let &[rows, width] = &weight.shape()[..] else {
            let message = format!("expected a weight [rows, width], got {}", weight.shape());
            return Err(Error::shape("", message));
        };
        let values = numbers.to_vec();
        if let Some(position) = values.iter().position(|n| !(0..rows as i64).contains(n)) {
            let (wrong, shape) = (values[position], numbers.shape());
            let message = format!(
                "index {wrong} at position {position} of {shape} is out of range for a table of \
                 {rows} rows"
            );
            return Err(Error::data("", message));
        }
        let padding = self.padding_idx.map(|padding| padding as i64);
        // Indices of padding need no weight and get no gradient.
        let kept: Vec<usize> =
            (0..values.len()).filter(|&index| Some(values[index]) != padding).collect();
        let numbers = Tensor::from_fn([kept.len()], |i| values[kept[i]]);
        let bag_of: Vec<usize> = kept.iter().map(|&index| bag_of[index]).collect();

        let mut vectors = self.rules.lookup(&weight, &numbers, None)?;
        if let Some(weights) = per_sample_weights {
            let weights = weights.flatten(0, -1)?.index_select(0, &kept)?;
            vectors = vectors.mul(&weights.unsqueeze(1)?)?;
        }
        let zeros = Var::new(Tensor::zeros([bags, width]));
        match self.mode {
            BagMode::Sum => zeros.index_add(0, &bag_of, &vectors),
            BagMode::Mean => {
                let mut counts = vec![0_usize; bags];
                bag_of.iter().for_each(|&bag| counts[bag] += 1);
                let share = |bag: usize| T::from_f64(1.0 / counts[bag].max(1) as f64);
                let shares = Var::new(Tensor::from_fn([bags, 1], share));
                zeros.index_add(0, &bag_of, &vectors)?.mul(&shares)
            }
            BagMode::Max => {
                let index = Tensor::from_fn([kept.len(), 1], |i| bag_of[i] as i64);
                let index = index.broadcast_to([kept.len(), width])?;
                zeros.scatter_reduce(0, &index, &vectors, ScatterReduction::Max, false)
            }
        }
    }

    fn check_weights(&self, weights: &Shape, numbers: &Shape) -> Result<()> {
        if self.mode != BagMode::Sum {
            let message = "per_sample_weights need the mode Sum";
            return Err(Error::argument("", message));
        }
        if weights != numbers {
            let message = format!("expected per_sample_weights of shape {numbers}, got {weights}");
            return Err(Error::shape("", message));
        }
        Ok(())
    }
}

/// The number of bags, and the bag of each index.
fn bags(
    numbers: &Shape,
    offsets: Option<&[usize]>,
    include_last: bool,
) -> Result<(usize, Vec<usize>)> {
    match (&numbers[..], offsets) {
        (&[bags, length], None) => Ok((bags, (0..bags * length).map(|i| i / length).collect())),
        (&[total], Some(offsets)) => {
            let offsets = match offsets.split_last() {
                None if include_last => {
                    let message = "expected at least one offset, the end of the last bag, got none";
                    return Err(Error::argument("", message));
                }
                Some((&end, starts)) if include_last && end == total => starts,
                Some((&end, _)) if include_last => {
                    let message = format!("the last offset must be {total}, the end, got {end}");
                    return Err(Error::argument("", message));
                }
                _ => offsets,
            };
            let ordered = offsets.is_sorted() && offsets.last().is_none_or(|&last| last <= total);
            if !ordered || *offsets.first().unwrap_or(&total) > 0 {
                let message = format!(
                    "offsets of {total} numbers must begin with 0, not decrease, and be at most \
                     {total}"
                );
                return Err(Error::argument("", message));
            }
            let mut bag_of = Vec::with_capacity(total);
            for (bag, &start) in offsets.iter().enumerate() {
                let end = *offsets.get(bag + 1).unwrap_or(&total);
                bag_of.extend(std::iter::repeat_n(bag, end - start));
            }
            Ok((offsets.len(), bag_of))
        }
        _ => {
            let message = format!("expected [N, L], or [total] with offsets, got {numbers}");
            Err(Error::shape("", message))
        }
    }
}

impl<T: Float> Module<T> for EmbeddingBag<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let numbers = whole_numbers(x)
            .map_err(|error| context::in_layer(error, context::path(&self.weight), self))?;
        self.lookup(&numbers, None, None, x.tape())
    }
}

impl<T: Float> fmt::Display for EmbeddingBag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.mode.name();
        match self.weight.value().shape()[..] {
            [rows, width] => write!(f, "EmbeddingBag {rows} × {width}, {mode}"),
            _ => f.write_str("EmbeddingBag"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Gradients, Parameters};
    use dendra_tensor::Rng;

    use super::*;
    use crate::sequential::Sequential;

    fn layer(mode: BagMode, padding_idx: Option<usize>) -> EmbeddingBag<f64> {
        let settings = EmbeddingBagSettings { padding_idx, ..EmbeddingBag::new(6, 3).mode(mode) };
        settings.init_as(&mut Rng::seed(1)).unwrap()
    }

    #[test]
    fn the_last_offset_may_be_the_end() {
        let (numbers, offsets, _) = bags_of_three();
        let plain = layer(BagMode::Sum, None);
        let settings = EmbeddingBag::new(6, 3).mode(BagMode::Sum).include_last_offset(true);
        let ended: EmbeddingBag<f64> = settings.init_as(&mut Rng::seed(1)).unwrap();
        let expected = plain.lookup(&numbers, Some(&offsets), None, None).unwrap();
        let all = [&offsets[..], &[7]].concat();
        let y = ended.lookup(&numbers, Some(&all), None, None).unwrap();
        assert_eq!(y.value(), expected.value());
        let error = ended.lookup(&numbers, Some(&offsets), None, None).unwrap_err().to_string();
        assert!(error.ends_with("the last offset must be 7, the end, got 6"), "{error}");
        assert!(ended.lookup(&numbers, Some(&[]), None, None).is_err());
    }

    /// Indices, offsets, and weights of the indices.
    fn bags_of_three() -> (Tensor<i64>, [usize; 4], Tensor<f64>) {
        let numbers = Tensor::from([3, 1, 1, 5, 0, 2, 1]);
        let weights = Tensor::normal([7], 0.0, 1.0, &mut Rng::seed(2));
        (numbers, [0, 3, 3, 6], weights)
    }

    /// A weighted sum of the output, and the weights of the vectors.
    fn run(layer: &EmbeddingBag<f64>, weights: &Tensor<f64>) -> (Var<f64>, Var<f64>) {
        let (numbers, offsets, _) = bags_of_three();
        let tape = Tape::evaluation();
        let leaf = tape.leaf(weights.clone());
        let weights = (layer.mode == BagMode::Sum).then_some(&leaf);
        let y = layer.lookup(&numbers, Some(&offsets), weights, Some(&tape)).unwrap();
        let factors = Tensor::normal(y.shape(), 0.0, 1.0, &mut Rng::seed(3));
        (y.mul(&Var::new(factors)).unwrap().sum(), leaf)
    }

    #[test]
    fn gradients_are_right() {
        let (_, _, weights) = bags_of_three();
        for mode in [BagMode::Sum, BagMode::Mean, BagMode::Max] {
            for padding in [None, Some(1)] {
                let layer = layer(mode, padding);
                let (loss, leaf) = run(&layer, &weights);
                let gradients: Gradients<f64> = loss.backward().unwrap();
                let gradient = gradients.get(&layer.weight).unwrap();
                let mut rng = Rng::seed(4);
                let by = Tensor::normal([6, 3], 0.0, 1e-6, &mut rng);
                let moved = |sign: f64| {
                    let mut moved = layer.clone();
                    moved.weight.set(layer.weight.value() + &(&by * sign)).unwrap();
                    run(&moved, &weights).0.value().item().unwrap()
                };
                let slope = (gradient * &by).sum().item().unwrap();
                let expected = (moved(1.0) - moved(-1.0)) / 2.0;
                assert!((slope - expected).abs() < 1e-11, "{mode:?} {padding:?}");
                if mode == BagMode::Sum {
                    let gradient = gradients.wrt(&leaf).unwrap();
                    let by = Tensor::normal([7], 0.0, 1e-6, &mut rng);
                    let at = |sign: f64| {
                        let weights = &weights + &(&by * sign);
                        run(&layer, &weights).0.value().item().unwrap()
                    };
                    let slope = (gradient * &by).sum().item().unwrap();
                    assert!((slope - (at(1.0) - at(-1.0)) / 2.0).abs() < 1e-11);
                }
            }
        }
    }

    #[test]
    fn bags_are_those_of_the_offsets_and_padding_does_not_count() {
        let layer = layer(BagMode::Mean, Some(1));
        let (numbers, offsets, _) = bags_of_three();
        let y = layer.lookup(&numbers, Some(&offsets), None, None).unwrap();
        let weight = layer.weight.value().to_vec();
        assert_eq!(weight[3..6], [0.0; 3]);
        let y = y.value().to_vec();
        // The first bag has one index left, the second and the last none.
        assert_eq!(y[..3], weight[9..12]);
        assert_eq!(y[3..6], [0.0; 3]);
        assert_eq!(y[9..], [0.0; 3]);
        let mean = (weight[15] + weight[0] + weight[6]) / 3.0;
        assert!((y[6] - mean).abs() < 1e-12);
        let none = layer.lookup(&Tensor::zeros([0]), Some(&[]), None, None).unwrap();
        assert_eq!(*none.shape(), [0, 3]);
        let empty = layer.lookup(&Tensor::zeros([2, 0]), None, None, None).unwrap();
        assert_eq!(empty.value().to_vec(), [0.0; 6]);
    }

    #[test]
    fn a_network_may_begin_with_it() {
        let builder = Sequential::input([5]).layer(EmbeddingBag::new(7, 3).padding_idx(2)).dense(2);
        let mut model = builder.build(&mut Rng::seed(0)).unwrap();
        model.name_parameters();
        let answer = |value| model.forward(&Var::new(Tensor::full([4, 5], value)));
        assert_eq!(*answer(6.0).unwrap().shape(), [4, 2]);
        let refuse = |value| answer(value).unwrap_err().to_string();
        assert_eq!(refuse(0.5), "0 (EmbeddingBag 7 × 3, mean): expected whole numbers, got 0.5");
        assert!(
            refuse(7.0)
                .starts_with("0 (EmbeddingBag 7 × 3, mean): index 7 at position 0 of [4, 5]")
        );
        let images = Sequential::input([5, 5]).layer(EmbeddingBag::new(7, 3));
        let error = images.build(&mut Rng::seed(0)).unwrap_err().to_string();
        assert_eq!(error, "layer 0 (EmbeddingBag): expected [L], got [5, 5]");
    }

    #[test]
    fn wrong_bags_and_weights_are_told() {
        let refuse = |offsets: Option<&[usize]>, weights: Option<usize>, mode| {
            let numbers = Tensor::from([3, 1, 1, 5]);
            let weights = weights.map(|length| Var::new(Tensor::ones([length])));
            let y = layer(mode, None).lookup(&numbers, offsets, weights.as_ref(), None);
            y.unwrap_err().to_string()
        };
        let sum = BagMode::Sum;
        assert_eq!(
            refuse(None, None, sum),
            "EmbeddingBag 6 × 3, sum: expected [N, L], or [total] with offsets, got [4]"
        );
        for offsets in [&[1, 2][..], &[0, 3, 2], &[0, 5], &[]] {
            assert!(refuse(Some(offsets), None, sum).contains("must begin with 0"));
        }
        assert!(refuse(Some(&[0]), Some(3), sum).contains("expected per_sample_weights of shape"));
        assert!(refuse(Some(&[0]), Some(4), BagMode::Mean).contains("need the mode Sum"));
        let error = EmbeddingBag::new(4, 2).padding_idx(4).init(&mut Rng::seed(0)).unwrap_err();
        assert_eq!(error.to_string(), "EmbeddingBag: padding_idx 4 is not below 4");
    }
}
