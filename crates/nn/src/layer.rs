//! Custom layers of a network.

use dendra_autograd::Var;
use dendra_tensor::{Error, Float, Result, Shape, Tensor};

use crate::module::Module;

/// The maximum number of values in one sample of a trial run, which determines
/// the shape of an output.
const MAX_TRIAL: usize = 1 << 26;

/// The number of samples in a trial run. It is not 1, so that a layer that drops
/// the batch axis is detected.
const TRIAL_BATCH: usize = 2;

/// A custom module that can be a layer of a [`Sequential`](crate::Sequential).
/// It keeps its parameters when it is added.
///
/// A trial run on zeros determines the shape of its output, unless the layer
/// implements [`output_shape`](Self::output_shape).
///
/// ```
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Ops, Result, Rng};
/// use dendra_nn::{Layer, Linear, Module, Parameters, Sequential};
///
/// /// Multiplies each feature by a number in 0 ..= 1 that depends on all of them.
/// #[derive(Clone, Parameters)]
/// #[parameters(crate = dendra_nn)]
/// struct Gate {
///     fc: Linear,
/// }
///
/// impl Module for Gate {
///     fn forward(&self, x: &Var) -> Result<Var> {
///         x.mul(&self.fc.forward(x)?.sigmoid())
///     }
/// }
///
/// impl Layer for Gate {}
///
/// # fn main() -> Result<()> {
/// let mut rng = Rng::seed(42);
/// let gate = Gate { fc: Linear::new(8, 8).init(&mut rng)? };
/// let model = Sequential::input([4]).dense(8).layer(gate).dense(2).build(&mut rng)?;
/// assert_eq!(model.named_parameters()[2].0, "1.fc.weight");
/// # Ok(())
/// # }
/// ```
///
/// A network with such a layer can be saved with its architecture if the layer
/// is a [`SavedLayer`](crate::SavedLayer) and its kind is registered.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer for elements of type `{T}`",
    note = "a `Module` that is `Clone`, `Send` and `Sync` becomes one with \
            `impl Layer for {Self} {{}}`"
)]
pub trait Layer<T: Float = f32>: Module<T> + Clone + Send + Sync + 'static {
    /// Returns the shape of the output for an input of this shape, both without
    /// the batch axis.
    ///
    /// # Errors
    ///
    /// Returns an error if the layer does not accept this input.
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        trial(&|x| self.forward(x), input)
    }

    /// Returns the name in summaries, such as `Gate 8`. The default is the name
    /// of the type.
    fn description(&self) -> String {
        type_name::<Self>().to_owned()
    }
}

/// Returns the name of a type without its module path and generic arguments.
pub(crate) fn type_name<L>() -> &'static str {
    let name = std::any::type_name::<L>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// Runs `forward` on a batch of zeros and returns the shape of one output, for
/// an input of this shape.
pub(crate) fn trial<T: Float>(
    forward: &dyn Fn(&Var<T>) -> Result<Var<T>>,
    input: &Shape,
) -> Result<Shape> {
    if input.checked_elements().is_none_or(|values| values > MAX_TRIAL) {
        let message = format!(
            "an input of shape {input} is too large for a trial run of the layer: implement \
             Layer::output_shape"
        );
        return Err(Error::argument("", message));
    }
    let batch: Shape = [TRIAL_BATCH].into_iter().chain(input.iter().copied()).collect();
    let y = forward(&Var::new(Tensor::zeros(batch.clone())))?;
    match y.shape().split_first() {
        Some((&TRIAL_BATCH, sample)) => Ok(sample.into()),
        _ => {
            let message =
                format!("maps {batch} to {}, but axis 0 must remain the batch axis", y.shape());
            Err(Error::shape("", message))
        }
    }
}
