//! Differentiable functions: the trait of operations, the table of all of them,
//! and the methods that tensors and variables share.
//!
//! Each operation is defined in one file: documentation, settings, shape rule,
//! forward pass, vector–Jacobian product and sample inputs. A row of the table in
//! `table.rs` registers it and gives it a method of [`Ops`]. [`Tensor`] and the
//! variables of automatic differentiation both implement this trait. Functions
//! without a gradient (comparisons, `argmax`) are plain methods of [`Tensor`].

use smallvec::SmallVec;

use crate::element::Float;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The name in errors and traces, derived from the name of an operation's type:
/// `log_sigmoid` for `LogSigmoid`.
macro_rules! snake_case {
    ($name:ident) => {{
        const NAME: &str = stringify!($name);
        const LETTERS: [u8; crate::ops::snake_case_length(NAME)] = crate::ops::snake_case(NAME);
        match std::str::from_utf8(&LETTERS) {
            Ok(name) => name,
            Err(_) => panic!("the name of a type is UTF-8"),
        }
    }};
}

const fn snake_case_length(name: &str) -> usize {
    let (mut length, mut i) = (name.len(), 1);
    while i < name.len() {
        length += name.as_bytes()[i].is_ascii_uppercase() as usize;
        i += 1;
    }
    length
}

const fn snake_case<const N: usize>(name: &str) -> [u8; N] {
    let (mut snake, mut from, mut to) = ([b'_'; N], 0, 0);
    while from < name.len() {
        let letter = name.as_bytes()[from];
        to += (from > 0 && letter.is_ascii_uppercase()) as usize;
        snake[to] = letter.to_ascii_lowercase();
        (from, to) = (from + 1, to + 1);
    }
    snake
}

#[macro_use]
mod rows;

pub mod activation;
pub mod adaptive_pool2d;
mod addmm;
mod applied;
mod arithmetic;
mod assignment;
pub mod attention;
mod attributes;
pub mod avg_pool2d;
pub mod batch_norm;
#[cfg(feature = "linalg")]
mod batches;
pub mod binary;
mod bits;
mod broadcast;
mod channelwise;
#[cfg(feature = "gradients")]
pub mod check;
#[cfg(feature = "linalg")]
pub mod cholesky;
mod combinations;
pub mod conv2d;
mod conv2d_per_sample;
pub mod conv2d_relu;
pub mod conv_transpose2d;
mod counting;
pub mod cross_entropy;
#[cfg(feature = "linalg")]
pub mod determinant;
pub mod div_rounded;
#[cfg(feature = "linalg")]
pub mod eigh;
pub mod embedding;
#[cfg(test)]
mod extremes;
#[cfg(feature = "fft")]
pub mod fft;
#[cfg(feature = "fft")]
pub mod fourier;
pub mod fractional_max_pool;
pub mod get;
pub mod grid_sample;
pub mod group_norm;
mod histogram;
mod indexing;
mod integer;
pub mod interpolate;
pub mod joining;
pub mod layer_norm;
pub mod layout;
pub mod lifted;
pub mod linear;
#[cfg(feature = "linalg")]
pub mod linear_algebra;
mod logic;
pub mod matmul;
#[cfg(feature = "linalg")]
pub mod matrix_exp;
pub mod max_pool2d;
pub mod max_unpool;
mod mixed;
mod narrow;
pub mod norm;
mod normalisation;
mod operators;
mod order;
pub mod padding;
mod per_sample;
pub mod pixels;
mod products;
#[cfg(feature = "linalg")]
pub mod qr;
pub mod quantile;
mod recipe;
mod recorded;
pub mod recurrent;
pub mod reduce;
pub mod scan;
pub mod scatter;
pub mod scatter_reduce;
pub mod sections;
pub mod selection;
mod slicing;
pub mod softmax;
#[cfg(feature = "linalg")]
pub mod solve;
pub mod special;
#[cfg(feature = "fft")]
mod spectrogram;
mod stacking;
mod statistics;
pub mod strided;
#[cfg(feature = "linalg")]
pub mod svd;
mod table;
mod transposed;
pub mod unary;
pub mod unfold;
mod uniques;

pub use applied::record;
pub use attributes::{Attribute, Attributes};
pub use mixed::MixedElement;
pub use narrow::{HalfTensor, NarrowInputs};
pub use per_sample::{SampleCotangents, SampleGradient, squared_norms};
pub use recipe::Recipe;
pub use recorded::{Parents, Recorded, Recorder, Term, TermCall, TermCotangents};
pub use table::Ops;
#[doc(hidden)]
pub use table::compile_here;

/// The table of all operations, those of the enabled features included.
pub fn table() -> Vec<Row> {
    let parts = [
        table::rows(),
        #[cfg(feature = "fft")]
        fourier::rows(),
        #[cfg(feature = "linalg")]
        linear_algebra::rows(),
    ];
    parts.into_iter().flatten().collect()
}

/// A differentiable function of tensors.
///
/// `f64` settings are converted to the element type where they are used, so an
/// operation's struct seldom depends on `T`.
pub trait Op<T: Float>: Clone + Send + Sync + Sized + 'static {
    /// What `forward` keeps for the gradient besides inputs and output, such as
    /// the indices of the maxima. `()` for most operations.
    type Saved: Send + Sync + 'static;

    /// The name in errors and traces, in snake case like that of the method.
    const NAME: &'static str;

    /// The operands of products, which autocast rounds to half precision: bit i
    /// stands for input i.
    const PRODUCT_OPERANDS: u32 = 0;

    /// The shape of the output; the only part of an operation that can fail.
    ///
    /// # Errors
    ///
    /// When the inputs do not fit each other or the settings.
    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape>;

    /// The output, for inputs that `output_shape` accepts, and what the
    /// gradient needs.
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Self::Saved);

    /// The vector–Jacobian product: the gradients of ⟨cotangent, output⟩ with
    /// respect to those inputs that need one.
    fn vjp(&self, call: Call<'_, T, Self::Saved>) -> Cotangents<T>;

    /// Adds the gradient of the only input to a sum of gradients, if that is
    /// faster than computing it alone, as for the gradient of a small part of a
    /// large tensor. Returns whether it did so.
    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool {
        let _ = (cotangent, sum);
        false
    }

    /// The same gradients, computed by operations on terms, so that they can be
    /// differentiated again. Either a formula, or [`TermCall::compose`] for an
    /// operation that is a composition of others.
    ///
    /// # Errors
    ///
    /// When the gradient cannot be differentiated again.
    fn vjp_terms(&self, call: TermCall<'_, T, Self::Saved>) -> Result<TermCotangents<T>>;

    /// The gradients of each sample, when axis 0 of the output holds `samples`
    /// samples of one or several rows each. `None` when the operation does not
    /// implement this. It is meant for operations with inputs that all samples
    /// share: weights, biases.
    ///
    /// # Errors
    ///
    /// When the operation mixes samples.
    fn vjp_per_sample(
        &self,
        call: Call<'_, T, Self::Saved>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let _ = (call, samples);
        Ok(None)
    }

    /// The squared norms, `[samples]`, of the gradients of each sample with
    /// respect to the inputs that need one, without storing the gradients when
    /// they are large. `None` when this is not implemented for these inputs.
    fn sample_norms(
        &self,
        call: Call<'_, T, Self::Saved>,
        samples: usize,
    ) -> Option<Cotangents<T>> {
        let _ = (call, samples);
        None
    }

    /// Whether each element of the output depends on one element of each input,
    /// after broadcasting.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// The settings by name.
    fn attributes(&self) -> Attributes {
        Attributes::new()
    }

    /// The number of multiplications whose product is added to a sum: m·k·n for
    /// a matrix product of m×k and k×n. 0 for operations that do not sum
    /// products.
    fn multiply_adds(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let _ = (inputs, output);
        0
    }

    /// The same operation with another value of a setting that depends on the
    /// size of the batch or on its data, such as the shape of a reshape or the
    /// indices of an embedding. `None` for any other setting or value.
    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let _ = (name, value);
        None
    }

    /// Small inputs for checking the gradient, including an empty one if the
    /// operation accepts it.
    fn samples() -> Vec<(Self, Vec<Tensor<T>>)>;
}

/// One call of an operation, with everything that its gradient needs.
#[derive(Debug)]
pub struct Call<'a, T: Float, S> {
    /// The inputs.
    pub inputs: &'a [Tensor<T>],
    /// The output.
    pub output: &'a Tensor<T>,
    /// What `forward` kept for the gradient.
    pub saved: &'a S,
    /// Which inputs need a gradient.
    pub needs: &'a [bool],
    /// The gradient of the result with respect to the output. Its buffer may be
    /// reused.
    pub cotangent: Tensor<T>,
}

/// One gradient for each input; `None` where it is not needed.
pub type Cotangents<T> = SmallVec<[Option<Tensor<T>>; 3]>;

impl<T: Float, S> Call<'_, T, S> {
    /// The gradients of all inputs, computed only where needed.
    fn each(&self, gradient: impl Fn(usize) -> Tensor<T>) -> Cotangents<T> {
        #[inline(never)]
        fn where_needed<T: Float>(
            needs: &[bool],
            gradient: &dyn Fn(usize) -> Tensor<T>,
        ) -> Cotangents<T> {
            let needs = needs.iter().enumerate();
            needs.map(|(index, &needed)| needed.then(|| gradient(index))).collect()
        }
        where_needed(self.needs, &gradient)
    }
}

/// A row of the operation table.
#[derive(Debug)]
pub struct Row {
    /// The method.
    pub name: &'static str,
    /// The name in errors and traces, [`Op::NAME`].
    pub traced: &'static str,
    /// The trait that has the method: `"Ops"` or an extension of it.
    pub family: &'static str,
    /// The method's documentation.
    pub documentation: &'static str,
    /// The type with its path, such as `dendra_tensor::ops::softmax::Softmax`;
    /// the module is the name of the file in `ops/`.
    pub operation: &'static str,
    /// The samples, with their types erased.
    #[cfg(test)]
    samples: fn() -> Vec<check::Sample>,
    /// The same samples in single precision.
    #[cfg(test)]
    single: fn() -> Vec<check::Sample<f32>>,
}

impl<T: Float> Ops for Tensor<T> {
    type Element = T;

    fn value(&self) -> &Tensor<T> {
        self
    }

    fn constant(value: Tensor<T>) -> Self {
        value
    }

    fn apply<O: Op<T>>(operation: O, inputs: &[&Self]) -> Self {
        operation.forward(inputs).0
    }

    fn ensure_together(_: &[&Self]) -> Result<()> {
        Ok(())
    }
}
