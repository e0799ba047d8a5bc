//! The traits of layers and models: `Module`, `Model` and `Output`.

use dendra_autograd::{Parameters, Tape, Var};
use dendra_tensor::{Float, Result, Tensor};

/// A layer or a model: parameters, and a function from one value to another.
///
/// `forward` is pure. The tape of `x` determines whether the model is in
/// training mode and provides random numbers. Updates of running statistics are
/// recorded on that tape. A plain value has no tape, so nothing is recorded.
/// Threads share a model when a batch is computed in parts, so it is `Sync`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no forward pass for elements of type `{T}`",
    label = "expected a layer, a `Sequential`, or a type with `impl Module for {Self}`",
    note = "the settings of a layer become one by `.init(&mut rng)?`, a network by \
            `.build(&mut rng)?`"
)]
pub trait Module<T: Float = f32>: Parameters<T> + Sync {
    /// Computes the output for the input `x`.
    ///
    /// # Errors
    ///
    /// Returns an error if the model does not accept the shape of `x`.
    fn forward(&self, x: &Var<T>) -> Result<Var<T>>;
}

impl<T: Float, M: Module<T> + ?Sized> Module<T> for Box<M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        (**self).forward(x)
    }
}

/// A model with any type of input and output. A trainer takes a `Model`.
///
/// Every [`Module`] is a model whose inputs are tensors of its float type. A
/// model of token ids, of several inputs or of a custom struct implements this
/// trait instead:
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
    label = "its `Module` or `Model` takes other inputs than the data set returns",
    note = "a `Module` takes `Tensor`, a network of `Sequential::tokens` takes `Tensor<i64>`; for \
            other inputs write `impl Model<{I}> for {Self}`"
)]
pub trait Model<I, T: Float = f32>: Parameters<T> + Sync {
    /// The type of the output: a [`Var`], or a tuple of several.
    type Output: Output;

    /// Computes the output for a batch of inputs. The tape determines the mode
    /// (training or evaluation), provides random numbers, and records operations;
    /// [`Tape::input`] puts data on it. Like [`Module::forward`], this changes
    /// nothing in the model.
    ///
    /// # Errors
    ///
    /// Returns an error if the model does not accept these inputs.
    fn run(&self, inputs: &I, tape: &Tape<T>) -> Result<Self::Output>;
}

impl<T: Float, M: Module<T>> Model<Tensor<T>, T> for M {
    type Output = Var<T>;

    fn run(&self, inputs: &Tensor<T>, tape: &Tape<T>) -> Result<Var<T>> {
        self.forward(&tape.input(inputs.clone()))
    }
}

/// The output of a [`Model`]: variables, which losses use, and their values,
/// which metrics and predictions use.
///
/// Tuples and vectors of outputs are outputs too. A struct of variables can
/// implement this trait and specify the type of its values.
pub trait Output {
    /// The type of the values: a tensor for a variable, a tuple of values for a
    /// tuple.
    type Values;

    /// Returns the values without the tape.
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

            #[allow(non_snake_case, reason = "each value has the name of its type")]
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
