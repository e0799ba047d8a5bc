//! Networks whose input is token ids.

use dendra_autograd::{Tape, Var};
use dendra_tensor::{Error, Float, Result, Shape, Tensor};

use super::parts::{Part, PartName};
use super::plan::AnyLayer;
use super::{Input, Sequential, SequentialBuilder};
use crate::context;
use crate::layers::{Embedding, EmbeddingBag};
use crate::module::Model;

impl Sequential {
    /// Starts a network whose input is token ids, such as the indices of words in
    /// a vocabulary. The shape is without the batch axis: `[200]` for texts of 200
    /// words. The first layer must be an [`Embedding`], an [`EmbeddingBag`], or
    /// another network of tokens.
    ///
    /// Call the network with [`forward_tokens`](Self::forward_tokens), which takes
    /// a `Tensor<i64>`.
    ///
    /// ```
    /// use dendra_nn::Sequential;
    /// use dendra_nn::tensor::{Rng, Tensor};
    ///
    /// let model = Sequential::tokens([5])
    ///     .embedding(1000, 16)
    ///     .gru(8)
    ///     .last_step()
    ///     .dense(2)
    ///     .build(&mut Rng::seed(42))?;
    /// let ids = Tensor::from([[3, 14, 159, 2, 6], [5, 35, 89, 7, 9]]);
    /// assert_eq!(*model.forward_tokens(&ids, None)?.shape(), [2, 2]);
    /// # Ok::<(), dendra_nn::tensor::Error>(())
    /// ```
    pub fn tokens(shape: impl Into<Shape>) -> SequentialBuilder {
        SequentialBuilder::new(Input { shape: shape.into(), tokens: true })
    }
}

impl<T: Float> Sequential<T> {
    /// Returns whether the input of the network is token ids instead of floats.
    pub fn takes_tokens(&self) -> bool {
        self.input.tokens
    }

    /// Computes the output for token ids, in a network that was started by
    /// [`tokens`](Sequential::tokens). If a tape is given, operations are recorded
    /// on it.
    ///
    /// # Errors
    ///
    /// Returns an error if the input of the network is floats, the ids have
    /// another shape, or an id is out of range.
    pub fn forward_tokens(&self, ids: &Tensor<i64>, tape: Option<&Tape<T>>) -> Result<Var<T>> {
        self.input.check(true, ids.shape())?;
        let part = self.parts.first().ok_or_else(no_layer)?;
        let x = {
            let name = PartName(0, part.name.as_deref());
            let _part = tape.and_then(|tape| tape.enter(self, &name, &part.layer));
            lookup(part, ids, tape).ok_or_else(no_layer)?
        };
        self.forward_from(1, x.map_err(|error| self.explain(0, error))?)
    }
}

fn no_layer() -> Error {
    Error::argument("Sequential::tokens", "no layer takes token ids")
}

/// Computes the output of a layer that takes token ids; `None` for other layers.
fn lookup<T: Float>(
    part: &Part<T>,
    ids: &Tensor<i64>,
    tape: Option<&Tape<T>>,
) -> Option<Result<Var<T>>> {
    let Some(tape) = tape.filter(|_| part.evaluation) else {
        return lookup_in(&*part.layer, ids, tape);
    };
    let beside = tape.input(Tensor::zeros([0]));
    let looked_up = |beside: &Var<T>| lookup_in(&*part.layer, ids, beside.tape());
    Some(beside.in_evaluation(&|beside| looked_up(beside).unwrap_or_else(|| Err(no_layer()))))
}

fn lookup_in<T: Float>(
    layer: &dyn AnyLayer<T>,
    ids: &Tensor<i64>,
    tape: Option<&Tape<T>>,
) -> Option<Result<Var<T>>> {
    let layer = layer.as_any();
    if let Some(embedding) = layer.downcast_ref::<Embedding<T>>() {
        return Some(embedding.lookup(ids, tape));
    }
    if let Some(bag) = layer.downcast_ref::<EmbeddingBag<T>>() {
        return Some(bag.lookup(ids, None, None, tape));
    }
    layer.downcast_ref::<Sequential<T>>().map(|model| model.forward_tokens(ids, tape))
}

/// Returns an error if the first layer of a network of tokens does not take
/// tokens.
pub(super) fn check<T: Float>(parts: &[Part<T>]) -> Result<()> {
    let first = parts.first().ok_or_else(no_layer)?;
    let layer = (*first.layer).as_any();
    let takes_tokens = layer.is::<Embedding<T>>()
        || layer.is::<EmbeddingBag<T>>()
        || layer.downcast_ref::<Sequential<T>>().is_some_and(Sequential::takes_tokens);
    if takes_tokens {
        return Ok(());
    }
    let context = PartName(0, first.name.as_deref()).context(first.plan.kind());
    let message = "expected an Embedding, an EmbeddingBag or a network of tokens as the first \
                   layer of a network of token ids";
    Err(context::at(Error::argument("", message), context))
}

/// Implements [`Model`] for inputs of token ids. Through [`Module`](crate::Module)
/// every network is also a model of floats; a network of tokens returns an error
/// for them.
macro_rules! models_of_ids {
    ($($(#[$attribute:meta])* $type:ty;)*) => {$(
        // A generic implementation for all `T: Float` would overlap with the
        // implementation for modules if `i64` were a `Float`.
        impl Model<Tensor<i64>, $type> for Sequential<$type> {
            type Output = Var<$type>;

            $(#[$attribute])*
            fn run(&self, ids: &Tensor<i64>, tape: &Tape<$type>) -> Result<Var<$type>> {
                self.forward_tokens(ids, Some(tape))
            }
        }
    )*};
}
models_of_ids! {
    f32;
    // Inline, so that a crate that does not use it is not compiled for `f64`, with all layers and
    // operations.
    #[inline]
    f64;
}
