//! Layers and models: everything that has a forward pass.

use dendra_autograd::{Parameters, Tape, Var};
use dendra_tensor::{Float, Result, Tensor};

/// A layer or a model: parameters, and a function of one value.
///
/// `forward` is pure. Whether this is training, and random numbers, come from
/// the tape of `x`. Changes of running statistics are recorded on that tape. A
/// plain value has no tape, and nothing is recorded.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no forward pass for numbers of type `{T}`",
    label = "expected a layer, a `Sequential`, or a type with `impl Module for {Self}`",
    note = "the settings of a layer become one by `.init(&mut rng)?`, a network by \
            `.build(&mut rng)?`"
)]
pub trait Module<T: Float = f32>: Parameters<T> {
    /// The output for an input `x`.
    ///
    /// # Errors
    ///
    /// When `x` has a shape that the model does not take.
    fn forward(&self, x: &Var<T>) -> Result<Var<T>>;
}

impl<T: Float, M: Module<T> + ?Sized> Module<T> for Box<M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        (**self).forward(x)
    }
}

/// A model of any input and output, as a trainer takes it.
///
/// Each [`Module`] is a model whose inputs are tensors of its floats. A model
/// of token ids, of several inputs or of a custom struct implements this trait
/// instead:
///
/// ```
/// use dendra_nn::autograd::{Tape, Var};
/// use dendra_nn::tensor::{Result, Rng, Tensor};
/// use dendra_nn::{Embedding, Linear, Model, Module, Parameters};
/// use dendra_nn::tensor::Ops;
///
/// #[derive(Parameters)]
/// #[parameters(crate = dendra_nn)]
/// struct BagOfWords {
///     embedding: Embedding,
///     head: Linear,
/// }
///
/// impl Model<Tensor<i64>> for BagOfWords {
///     type Output = Var;
///
///     fn run(&self, words: &Tensor<i64>, tape: &Tape) -> Result<Var> {
///         let words = self.embedding.lookup(words, Some(tape))?;
///         self.head.forward(&words.mean_axes(&[1], false)?)
///     }
/// }
///
/// let rng = &mut Rng::seed(1);
/// let embedding = Embedding::new(100, 8).init(rng)?;
/// let model = BagOfWords { embedding, head: Linear::new(8, 2).init(rng)? };
/// let logits = model.run(&Tensor::from([[3, 14, 15], [92, 65, 35]]), &Tape::training(42, 0))?;
/// assert_eq!(*logits.shape(), [2, 2]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model of inputs of type `{I}`",
    label = "its `Module` or `Model` takes something else than the data set gives",
    note = "a `Module` takes `Tensor`, a network of `Sequential::tokens` takes `Tensor<i64>`; for \
            other inputs write `impl Model<{I}> for {Self}`"
)]
pub trait Model<I, T: Float = f32>: Parameters<T> {
    /// The output: a [`Var`], or a tuple of several.
    type Output: Output;

    /// The output for a batch of inputs. The tape knows whether this is
    /// training, holds the random stream, and records operations;
    /// [`Tape::input`] puts data on it. Like [`Module::forward`], this changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// When the model does not take these inputs.
    fn run(&self, inputs: &I, tape: &Tape<T>) -> Result<Self::Output>;
}

impl<T: Float, M: Module<T>> Model<Tensor<T>, T> for M {
    type Output = Var<T>;

    fn run(&self, inputs: &Tensor<T>, tape: &Tape<T>) -> Result<Var<T>> {
        self.forward(&tape.input(inputs.clone()))
    }
}

/// The output of a [`Model`]: variables, which losses take, and their values,
/// which metrics and predictions take.
///
/// Tuples and vectors of outputs are outputs. A struct of variables implements
/// this trait and names the type of its values.
pub trait Output {
    /// The values: a tensor for a variable, a tuple of values for a tuple.
    type Values;

    /// The values alone, on no tape.
    fn into_values(self) -> Self::Values;
}

impl<T: Float> Output for Var<T> {
    type Values = Tensor<T>;

    fn into_values(self) -> Tensor<T> {
        self.into_value()
    }
}

impl<O: Output> Output for Vec<O> {
    type Values = Vec<O::Values>;

    fn into_values(self) -> Self::Values {
        self.into_iter().map(O::into_values).collect()
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Output),*> Output for ($($name,)*) {
            type Values = ($($name::Values,)*);

            #[allow(non_snake_case, reason = "the types' names serve for the values")]
            fn into_values(self) -> Self::Values {
                let ($($name,)*) = self;
                ($($name.into_values(),)*)
            }
        }
    };
}
tuples! { A B }
tuples! { A B C }
tuples! { A B C D }
