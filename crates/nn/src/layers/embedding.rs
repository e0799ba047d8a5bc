//! Embedding: a table of vectors by index.

use std::fmt;

use dendra_autograd::{AnyTensor, Function, Param, Plain, Tape, Var, integers};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::ops::{Attributes, embedding as operation};
use dendra_tensor::{Error, Float, Ops, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::context;
use crate::init::{Fans, Init, Source};
use crate::module::Module;
use crate::settings::{Settings, initialised_by};

/// A vector for each of `num_embeddings` indices, such as characters or words.
///
/// | | shape |
/// |---|---|
/// | input | any shape, integers from 0 to `num_embeddings` − 1 |
/// | output | shape of the input followed by `embedding_dim` |
/// | `weight` | `[num_embeddings, embedding_dim]` |
///
/// The weight is initialised with N(0, 1). With `padding_idx`, that row is
/// initialised with 0 and gets no gradient.
///
/// [`lookup`](Self::lookup) takes the indices as integers. [`Module::forward`]
/// takes them as floats, so that the layer can be the first of a network and
/// its input can be on a tape; `f32` represents integers up to 2²⁴ exactly.
///
/// ```
/// use dendra_nn::Embedding;
/// use dendra_nn::tensor::{Rng, Tensor};
///
/// let embedding = Embedding::new(10, 3).init(&mut Rng::seed(0))?;
/// let y = embedding.lookup(&Tensor::from([[1, 2], [4, 9]]), None)?;
/// assert_eq!(*y.shape(), [2, 2, 3]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Embedding<T: Float = f32> {
    /// The vectors.
    pub weight: Param<T>,
    #[parameters(skip)]
    padding_idx: Option<usize>,
    #[parameters(skip)]
    rules: TableRules,
}

/// Changes of the vectors of a table, and of their gradients, in a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableRules {
    pub(super) max_norm: Option<f64>,
    pub(super) norm_type: f64,
    pub(super) scale_grad_by_freq: bool,
}

impl Default for TableRules {
    fn default() -> Self {
        Self { max_norm: None, norm_type: 2.0, scale_grad_by_freq: false }
    }
}

impl TableRules {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self, kind: &str) -> Result<()> {
        let is_wrong = |number: f64| number <= 0.0 || number.is_nan();
        let message = match *self {
            Self { max_norm: Some(norm), .. } if is_wrong(norm) => {
                format!("max_norm must be above 0, got {norm}")
            }
            Self { norm_type, .. } if is_wrong(norm_type) => {
                format!("norm_type must be above 0, got {norm_type}")
            }
            _ => return Ok(()),
        };
        Err(Error::argument(kind, message))
    }

    /// Looks up the vectors of these indices.
    pub(super) fn lookup<T: Float>(
        &self,
        weight: &Var<T>,
        numbers: &Tensor<i64>,
        padding_idx: Option<usize>,
    ) -> Result<Var<T>> {
        let (indices, scale_grad_by_freq) = (numbers.clone(), self.scale_grad_by_freq);
        let operation = operation::Embedding { indices, padding_idx, scale_grad_by_freq };
        let vectors = Var::try_apply(operation, &[weight])?;
        let Some(max_norm) = self.max_norm else { return Ok(vectors) };
        let shorten = Shorten { max_norm, norm_type: self.norm_type };
        let shorter = shorten.of(vectors.value())?;
        vectors.note(shorten, &[vectors.value()], &shorter)?;
        // The value is that of the shortened vectors; the gradient is computed
        // as if the table contained them.
        vectors.sub(&Var::new(vectors.value().clone()))?.add(&Var::new(shorter))
    }
}

/// Shortens vectors to a largest norm.
#[derive(Clone, Copy)]
struct Shorten {
    max_norm: f64,
    norm_type: f64,
}

impl Shorten {
    fn of<T: Float>(self, vectors: &Tensor<T>) -> Result<Tensor<T>> {
        let norms = vectors.norm_axes(self.norm_type, &[-1], true)?;
        let max_norm = T::from_f64(self.max_norm);
        let scale = norms.map(|norm| match norm > max_norm {
            true => max_norm / (norm + T::from_f64(1e-7)),
            false => T::ONE,
        });
        vectors.mul(&scale)
    }
}

impl Function for Shorten {
    fn name(&self) -> &'static str {
        "max_norm"
    }

    fn attributes(&self) -> Attributes {
        vec![("max_norm", self.max_norm.into()), ("norm_type", self.norm_type.into())]
    }

    fn apply(&self, inputs: &[AnyTensor]) -> Result<AnyTensor> {
        match inputs {
            [AnyTensor::F32(vectors)] => Ok(self.of(vectors)?.into()),
            [AnyTensor::F64(vectors)] => Ok(self.of(vectors)?.into()),
            _ => Err(Error::argument("max_norm", "expected one tensor of floats")),
        }
    }
}

/// Defines methods for the settings in [`TableRules`].
macro_rules! table_rules {
    ($settings:ident) => {
        impl $settings {
            /// The largest norm of a vector (no limit). A longer vector is
            /// shortened when it is looked up, and gets the gradient of the
            /// shortened one. The table is not changed, unlike in PyTorch.
            #[must_use]
            pub fn max_norm(mut self, max_norm: f64) -> Self {
                self.rules.max_norm = Some(max_norm);
                self
            }

            /// The p of the norm that `max_norm` limits (2).
            #[must_use]
            pub fn norm_type(mut self, norm_type: f64) -> Self {
                self.rules.norm_type = norm_type;
                self
            }

            /// Whether the gradient of a vector is divided by the number of
            /// times it was looked up (false).
            #[must_use]
            pub fn scale_grad_by_freq(mut self, scale_grad_by_freq: bool) -> Self {
                self.rules.scale_grad_by_freq = scale_grad_by_freq;
                self
            }
        }
    };
}
pub(super) use table_rules;
table_rules!(EmbeddingSettings);

impl Embedding {
    /// Settings of a table of `num_embeddings` vectors of `embedding_dim`
    /// values.
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> EmbeddingSettings {
        let rules = TableRules::default();
        EmbeddingSettings::with_defaults(num_embeddings, embedding_dim, rules)
    }
}

/// The settings of an [`Embedding`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Setters)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSettings {
    num_embeddings: usize,
    embedding_dim: usize,
    /// The index of padding. Its vector is 0 and is not trained.
    #[set]
    padding_idx: Option<usize>,
    #[serde(default, skip_serializing_if = "TableRules::is_default")]
    rules: TableRules,
    /// The distribution that the weight is drawn from.
    #[set(default = normal())]
    #[serde(skip, default = "normal")]
    weight_init: Init,
}

/// The standard normal distribution.
pub(super) fn normal() -> Init {
    Init::Normal { mean: 0.0, std: 1.0 }
}

initialised_by!(EmbeddingSettings => Embedding, any T: Embedding<T>);

impl Settings for EmbeddingSettings {
    type Layer<T: Float> = Embedding<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        Ok(input.iter().copied().chain([self.embedding_dim]).collect())
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Embedding<T>> {
        let &Self { num_embeddings, embedding_dim, padding_idx, rules, weight_init } = self;
        let shape = [num_embeddings, embedding_dim];
        let weight = table(source, "Embedding", shape, (padding_idx, rules), weight_init)?;
        Ok(Embedding { weight, padding_idx, rules })
    }
}

/// A new table of this many rows and columns, with 0 in the row of the padding.
pub(super) fn table<T: Float>(
    source: &mut Source<'_>,
    kind: &str,
    [rows, width]: [usize; 2],
    (padding_idx, rules): (Option<usize>, TableRules),
    weight_init: Init,
) -> Result<Param<T>> {
    rules.check(kind)?;
    if let Some(padding_idx) = padding_idx.filter(|&padding| padding >= rows) {
        let message = format!("padding_idx {padding_idx} is not below {rows}");
        return Err(Error::argument(kind, message));
    }
    let fans = Fans { fan_in: width, fan_out: rows };
    let context = format!("{kind} {rows} × {width}");
    let mut weight = source.param(weight_init, [rows, width], fans, &context)?;
    if let (Some(padding_idx), Source::Random(_)) = (padding_idx, source) {
        weight.value_mut().make_mut()[padding_idx * width..][..width].fill(T::ZERO);
    }
    Ok(weight)
}

/// An empty value on the tape if there is one, to put a parameter on the same
/// tape.
pub(super) fn beside<T: Float>(tape: Option<&Tape<T>>) -> Var<T> {
    match tape {
        Some(tape) => tape.input(Tensor::zeros([0])),
        None => Var::new(Tensor::zeros([0])),
    }
}

/// Converts floats that are whole numbers to integers.
pub(super) fn whole_numbers<T: Float>(x: &Var<T>) -> Result<Tensor<i64>> {
    let numbers = integers(x.value())?;
    x.note(Plain::Integers, &[x.value()], &numbers)?;
    Ok(numbers)
}

impl<T: Float> Embedding<T> {
    /// The vectors of these indices, recorded on the tape if one is given.
    ///
    /// # Errors
    ///
    /// When an index is not in the table.
    pub fn lookup(&self, numbers: &Tensor<i64>, tape: Option<&Tape<T>>) -> Result<Var<T>> {
        let weight = self.weight.on(&beside(tape));
        self.rules
            .lookup(&weight, numbers, self.padding_idx)
            .map_err(|error| context::in_layer(error, context::path(&self.weight), self))
    }
}

impl<T: Float> Module<T> for Embedding<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let numbers = whole_numbers(x)
            .map_err(|error| context::in_layer(error, context::path(&self.weight), self))?;
        self.lookup(&numbers, x.tape())
    }
}

impl<T: Float> fmt::Display for Embedding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight.value().shape()[..] {
            [rows, width] => write!(f, "Embedding {rows} × {width}"),
            _ => f.write_str("Embedding"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::Parameters;
    use dendra_tensor::Rng;

    use super::*;
    use crate::sequential::Sequential;

    #[test]
    fn numbers_find_their_vectors_and_padding_stays_0() {
        let layer = Embedding::new(4, 2).padding_idx(1).init(&mut Rng::seed(0)).unwrap();
        let tape = Tape::training(0, 0);
        let y = layer.forward(&tape.input(Tensor::from([3.0, 1.0, 3.0]))).unwrap();
        let weight = layer.weight.value().to_vec();
        assert_eq!(y.value().to_vec(), [&weight[6..], &[0.0, 0.0], &weight[6..]].concat());
        let gradients = y.sum().backward().unwrap();
        let expected = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0];
        assert_eq!(gradients.get(&layer.weight).unwrap().to_vec(), expected);
    }

    /// PyTorch 2.15: `F.embedding` of `[1, 0, 1]` in `[[3, 4], [0.3, 0.4]]`.
    #[test]
    fn long_vectors_are_shortened_and_frequent_ones_share_the_gradient() {
        let gradient = |settings: EmbeddingSettings| {
            let mut layer: Embedding<f64> = settings.init_as(&mut Rng::seed(0)).unwrap();
            *layer.weight.value_mut() = Tensor::from([[3.0, 4.0], [0.3, 0.4]]);
            let tape = Tape::training(0, 0);
            let y = layer.lookup(&Tensor::from([1, 0, 1]), Some(&tape)).unwrap();
            let gradients = y.sum().backward().unwrap();
            (y.into_value().to_vec(), gradients.get(&layer.weight).unwrap().to_vec())
        };
        let plain = || Embedding::new(2, 2);
        let (y, g) = gradient(plain().max_norm(1.0));
        let expected = [0.3, 0.4, 0.599999988, 0.799999984, 0.3, 0.4];
        assert!(y.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{y:?}");
        assert_eq!(g, [1.0, 1.0, 2.0, 2.0]);
        let (y, _) = gradient(plain().max_norm(3.5).norm_type(1.0));
        assert!((y[2] - 3.0 * 3.5 / (7.0 + 1e-7)).abs() < 1e-12 && y[0] == 0.3);
        let (_, g) = gradient(plain().scale_grad_by_freq(true));
        assert_eq!(g, [1.0; 4]);
        let wrong = plain().max_norm(f64::NAN).init(&mut Rng::seed(0)).unwrap_err().to_string();
        assert_eq!(wrong, "Embedding: max_norm must be above 0, got NaN");
    }

    #[test]
    fn a_network_may_begin_with_it() {
        let builder = Sequential::input([5]).embedding(7, 3).flatten().dense(2);
        let mut model = builder.build(&mut Rng::seed(0)).unwrap();
        let y = model.forward(&Var::new(Tensor::full([4, 5], 6.0))).unwrap();
        assert_eq!(*y.shape(), [4, 2]);
        model.name_parameters();
        let refuse =
            |value| model.forward(&Var::new(Tensor::full([4, 5], value))).unwrap_err().to_string();
        assert_eq!(refuse(0.5), "0 (Embedding 7 × 3): expected whole numbers, got 0.5");
        assert_eq!(
            refuse(7.0),
            "0 (Embedding 7 × 3): index 7 at position 0 of [4, 5] is out of range for a table of 7 \
             rows"
        );
        assert!(Embedding::new(4, 2).padding_idx(4).init(&mut Rng::seed(0)).is_err());
    }
}
