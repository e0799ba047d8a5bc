//! The influence of training samples (TracIn).

use dendra_autograd::{SampleGradients, StateDict, Tape, Var};
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

/// The decrease of the loss of other samples due to the training on each sample
/// (Pruthi et al., 2020): the product of their gradients, summed over
/// checkpoints of the training, each times its learning rate. It is Captum's
/// `TracInCP`.
///
/// ```
/// use dendra_explain::TracIn;
/// use dendra_nn::tensor::{Ops, Rng, Tensor};
/// use dendra_nn::{Parameters, Sequential};
///
/// let model = Sequential::input([2]).dense(3).build(&mut Rng::seed(0))?;
/// let x = Tensor::normal([4, 2], 0.0, 1.0, &mut Rng::seed(1));
/// let samples = (x, Tensor::from([0_i64, 1, 2, 0]));
/// let influence = TracIn::new()
///     .checkpoint(model.state_dict(), 0.1)
///     .influence(&model, &samples, &samples, |outputs, labels| {
///         Ok(outputs.log_softmax(1)?.gather(1, &labels.unsqueeze(1)?)?.neg().squeeze(1)?)
///     })?;
/// assert_eq!(*influence.shape(), [4, 4]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TracIn {
    checkpoints: Vec<(StateDict, f64)>,
}

impl TracIn {
    /// Has no checkpoints.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a checkpoint and its learning rate.
    #[must_use]
    pub fn checkpoint(mut self, state: StateDict, learning_rate: f64) -> Self {
        self.checkpoints.push((state, learning_rate));
        self
    }

    /// The influence of each training sample on each test sample,
    /// `[test, training]`; positive if it decreased the loss. `loss` computes
    /// the loss of each sample, `[N]`, from outputs and labels.
    ///
    /// # Errors
    ///
    /// When there is no checkpoint, or one does not match the model, and the
    /// errors of [`backward_per_sample`](Var::backward_per_sample).
    pub fn influence<T: Float, M: Module<T> + Clone, L>(
        &self,
        model: &M,
        training: &(Tensor<T>, L),
        test: &(Tensor<T>, L),
        loss: impl Fn(&Var<T>, &L) -> Result<Var<T>>,
    ) -> Result<Tensor<T>> {
        let mut model = model.clone();
        let mut sum: Option<Tensor<T>> = None;
        for (state, learning_rate) in &self.checkpoints {
            model.load_state_dict(state)?;
            let gradients = |(x, labels): &(Tensor<T>, L)| -> Result<SampleGradients<T>> {
                let outputs = model.forward(&Tape::evaluation().input(x.clone()))?;
                loss(&outputs, labels)?.backward_per_sample()
            };
            let (training, test) = (gradients(training)?, gradients(test)?);
            for (_, param) in model.named_parameters() {
                let (Some(a), Some(b)) = (test.get(param), training.get(param)) else { continue };
                let product = a.flatten(1, -1)?.matmul(&b.flatten(1, -1)?.transpose(0, 1)?)?;
                let product = product.mul_scalar(*learning_rate);
                sum = Some(match sum {
                    None => product,
                    Some(sum) => sum + product,
                });
            }
        }
        sum.ok_or_else(|| Error::argument("TracIn", "expected at least one checkpoint, got none"))
    }
}
